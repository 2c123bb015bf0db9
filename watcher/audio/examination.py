"""What is known of a recording once its headers have been read."""

from dataclasses import dataclass
from enum import StrEnum


class Completeness(StrEnum):
    """What a recording's own lengths say about the file it lies in.

    PROVEN speaks of lengths and ends, not of every byte between them: a writer that still has the file open,
    or that leaves holes for later, must be found out by other means.
    """

    PROVEN = "proven"  # they agree with the file
    UNKNOWN = "unknown"  # they tell nothing, or contradict each other
    SHORT = "short"  # they say that bytes are missing


@dataclass(frozen=True, slots=True)
class Examination:
    """A recording of a kind that the service takes, by its content alone.

    Completeness, sound and damage are apart: a header alone may be proven whole and hold no sound, and a file may
    be damaged at its beginning and cut at its end.
    """

    container: str  # "WAV", "MP3", "AAC", "Ogg", "FLAC", "MP4", "M4A", "M4B", "M4P", "M4R" or "3GP"
    codec: str | None  # null where it cannot be told, and where no track holds sound
    media_type: str  # one that the service documents
    extension: str  # the documented one that fits the content, lower case, with its dot
    seconds: float | None  # as its headers tell it; for MP3 and AAC without a header, an estimate
    channels: int | None
    sample_rate: int | None  # Hz
    completeness: Completeness
    missing_bytes: int = 0  # with SHORT: at least so many; 0 where nobody can know
    has_sound: bool = True  # false: headers alone, or pictures; digital silence is sound
    damage: str | None = None  # why no decoder can play it, as the end of a sentence; never with PROVEN
