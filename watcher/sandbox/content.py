"""What a recording is by its first bytes, and what the sandbox makes of it."""

import re
from enum import StrEnum

LOOKED_AT_BYTES = 4_096
"""How far into a recording a marker is looked for."""

_BRAND = re.compile(rb"iso[m2-9]|mp4[12]|mp71|avc1|dash|MSNV|M4[ABPR] |3g[eghprs].", re.DOTALL)


class Fate(StrEnum):
    """The fate of a recording. Invented: the sandbox cannot tell human from artificial speech."""

    HUMAN = "human"
    ARTIFICIAL = "artificial"
    INCONCLUSIVE = "inconclusive"
    ERRORED = "errored"
    UNSUPPORTED = "unsupported"


def read_fate(start: bytes) -> Fate:
    """Return the fate that a marker, such as the ASCII text `sandbox:artificial`, names; else human.

    `start` holds the recording's first bytes; of several markers the first in the order of `Fate` counts.
    """
    if b"sandbox:" in start:
        for fate in Fate:
            if b"sandbox:" + fate.encode() in start:
                return fate
    return Fate.HUMAN


def is_supported(start: bytes) -> bool:
    """Whether the first bytes are those of a format the service takes: WAV of any codec (a bare or cut
    header too), MP3, Ogg, FLAC, AAC in ADTS, MP4, M4A and their kin, 3GP. Names and media types do not count.
    """
    if start[:4] in {b"RIFF", b"RF64"}:
        return start[8:12] == b"WAVE"
    if start[4:8] == b"ftyp":
        return _BRAND.fullmatch(start[8:12]) is not None
    return start.startswith((b"OggS", b"fLaC", b"ID3")) or _is_mpeg_frame(start)


def _is_mpeg_frame(start: bytes) -> bool:
    """Whether an MPEG layer III or an ADTS frame begins here."""
    if len(start) < 4 or start[0] != 0xFF or start[1] & 0xE0 != 0xE0:
        return False
    version, layer = start[1] >> 3 & 3, start[1] >> 1 & 3
    if layer == 0:  # ADTS: a twelve-bit sync word, and one of thirteen sampling rates
        return start[1] & 0xF0 == 0xF0 and start[2] >> 2 & 0xF < 13
    return layer == 1 and version != 1 and start[2] >> 4 != 0xF and start[2] >> 2 & 3 != 3
