"""What is known about a recording once its headers have been read."""

from dataclasses import dataclass
from enum import StrEnum


class Completeness(StrEnum):
    """What the lengths in a recording's headers say about its file.

    PROVEN is about lengths and ends, not about every byte between them: a writer that still has the file open,
    or that fills holes later, has to be detected by other means.
    """

    PROVEN = "proven"  # they match the file
    UNKNOWN = "unknown"  # they say nothing, or contradict each other
    SHORT = "short"  # bytes are missing


@dataclass(frozen=True, slots=True)
class Examination:
    """A recording of a kind that the service accepts, judged by its content alone.

    Completeness, sound and damage are independent: a header alone may be proven complete and hold no sound, and a
    file may be damaged at its beginning and cut at its end.
    """

    container: str  # "WAV", "MP3", "AAC", "Ogg", "FLAC", "MP4", "M4A", "M4B", "M4P", "M4R" or "3GP"
    codec: str | None  # None where it is not known, and where no track has sound
    media_type: str  # one from the service's documentation
    extension: str  # the documented one that fits the content, lower case, with its dot
    seconds: float | None  # by its headers; an estimate for MP3 and AAC without a header
    channels: int | None
    sample_rate: int | None  # Hz
    completeness: Completeness
    missing_bytes: int = 0  # with SHORT: at least this many; 0 if not known
    has_sound: bool = True  # false: only headers, or pictures; digital silence is sound
    damage: str | None = None  # why no decoder can play it, as a clause; never with PROVEN
