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
    """A recording of a kind that the service accepts, or that can be made acceptable, judged by its content alone.

    Completeness, sound and damage are independent: a header alone may be proven complete and hold no sound, and a
    file may be damaged at its beginning and cut at its end.
    """

    container: (
        str  # "WAV", "MP3", "AAC", "Ogg", "FLAC", "MP4", "M4A", "M4B", "M4P", "M4R", "3GP", or one of FOREIGN
    )
    codec: str | None  # None where it is not known, and where no track has sound
    media_type: str  # one from the service's documentation, if it accepts this
    extension: str  # the documented one that fits the content, lower case, with its dot
    seconds: float | None  # by its headers; an estimate for MP3 and AAC without a header
    channels: int | None
    sample_rate: int | None  # Hz
    completeness: Completeness
    missing_bytes: int = 0  # with SHORT: at least this many; 0 if not known
    has_sound: bool = True  # false: only headers, or pictures; digital silence is sound
    damage: str | None = None  # why no decoder can play it, as a clause; never with PROVEN
    bits: int | None = None  # of one sample, of PCM and of fractions
    is_big_endian: bool = False
    is_accepted: bool = True  # false: the service takes no such container, but its sound can be put into another
    has_provenance: bool = False  # a C2PA manifest, which survives only if the bytes are sent as they are


FOREIGN = {
    "AIFF": ("audio/x-aiff", ".aiff"),
    "AIFF-C": ("audio/x-aiff", ".aifc"),
    "AU": ("audio/basic", ".au"),
    "Wave64": ("audio/x-w64", ".w64"),
    "CAF": ("audio/x-caf", ".caf"),
    "AMR": ("audio/amr", ".amr"),
    "AMR-WB": ("audio/amr-wb", ".awb"),
    "WMA": ("audio/x-ms-wma", ".wma"),
    "WebM": ("audio/webm", ".webm"),
    "Matroska": ("audio/x-matroska", ".mka"),
    "MOV": ("video/quicktime", ".mov"),
    "FLV": ("video/x-flv", ".flv"),
    "raw": ("application/octet-stream", ".raw"),
}
"""Containers that the service does not take, whose sound can be put into another: media type, extension."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """What the headers of a foreign recording say: how much there should be, and what is wrong."""

    completeness: Completeness
    missing_bytes: int = 0
    seconds: float | None = None
    has_sound: bool = True
    damage: str | None = None


def foreign(
    container: str,
    codec: str | None,
    channels: int | None,
    rate: int | None,
    told: Lengths,
    *,
    bits: int | None = None,
    is_big_endian: bool = False,
) -> Examination:
    """Return the examination of a recording in one of the containers of FOREIGN.

    What is short may lack what would make it whole: only the rest is called damaged.
    """
    media_type, extension = FOREIGN[container]
    damage = told.damage if told.completeness is not Completeness.SHORT else None
    return Examination(
        container=container,
        codec=codec,
        media_type=media_type,
        extension=extension,
        seconds=told.seconds,
        channels=channels or None,
        sample_rate=rate or None,
        completeness=told.completeness if damage is None else Completeness.UNKNOWN,
        missing_bytes=told.missing_bytes if told.completeness is Completeness.SHORT else 0,
        has_sound=told.has_sound,
        damage=damage,
        bits=bits,
        is_big_endian=is_big_endian,
        is_accepted=False,
    )
