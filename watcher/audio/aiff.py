"""AIFF and AIFF-C.

Facts: Apple's Audio Interchange File Format 1.3, and its draft of AIFF-C; codecs from FFmpeg's decoders.
"""

import struct
from math import ldexp

from watcher.audio.examination import Examination, Lengths, foreign
from watcher.audio.extents import Extent, nonsense
from watcher.audio.source import Source

_CHUNKS = 256
_PLACEHOLDER = 0x7F00_0000  # and more: what writers that cannot seek back put in place of a length

# compression → codec, and its bytes and samples in each block of one channel; 0 bytes: as the header's bits say
_CODECS = {
    b"NONE": ("PCM", 0, 1),
    b"twos": ("PCM", 0, 1),
    b"sowt": ("PCM", 0, 1),
    b"raw ": ("PCM", 0, 1),
    b"in24": ("PCM", 3, 1),
    b"in32": ("PCM", 4, 1),
    b"fl32": ("IEEE float", 4, 1),
    b"FL32": ("IEEE float", 4, 1),
    b"fl64": ("IEEE float", 8, 1),
    b"FL64": ("IEEE float", 8, 1),
    b"ulaw": ("µ-law", 1, 1),
    b"ULAW": ("µ-law", 1, 1),
    b"alaw": ("A-law", 1, 1),
    b"ALAW": ("A-law", 1, 1),
    b"ima4": ("IMA ADPCM", 34, 64),
    b"GSM ": ("GSM 6.10", 33, 160),
    b"MAC3": ("MACE", 2, 6),
    b"MAC6": ("MACE", 1, 6),
}


def is_aiff(head: bytes) -> bool:
    """Return whether this is the beginning of AIFF or AIFF-C."""
    return head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")


def examine_aiff(source: Source) -> Examination:
    """Examine the AIFF in `source`."""
    container = "AIFF" if source.head[8:12] == b"AIFF" else "AIFF-C"
    extent, common = _walk(source)
    completeness, missing = extent.judge(source)
    if len(common) < 18:
        lack = "it has no `COMM` chunk" if extent.start is not None else "it has no sound chunk"
        return foreign(container, None, None, None, Lengths(completeness, missing, has_sound=False, damage=lack))
    channels, bits = struct.unpack_from(">H4xH", common)
    rate = _extended(common[8:18])
    kind = common[18:22] if container == "AIFF-C" else b"NONE"
    codec, width, block_samples = _CODECS.get(kind, (None, 0, 1))
    block = (width or (bits + 7) // 8) * channels
    present = extent.present(source)
    damage = nonsense(channels, rate)
    if codec is None:
        damage = damage or f"its header names an unknown codec ({kind.decode('ascii', 'replace')!a})"
    elif not width and not 0 < bits <= 32:
        damage = damage or f"its header says {bits} bits a sample"
    if extent.start is None:
        damage = "it has no sound chunk"
    length = present if extent.length is None else extent.length
    seconds = length / block * block_samples / rate if block and damage is None else None
    has_sound = present >= (max(1, block) if codec is not None else 1)
    told = Lengths(completeness, missing, seconds, has_sound, damage)
    is_plain = codec in ("PCM", "IEEE float")
    return foreign(
        container,
        codec,
        channels,
        round(rate),
        told,
        bits=8 * (width or (bits + 7) // 8) if is_plain else None,
        is_big_endian=is_plain and kind != b"sowt",
    )


def _walk(source: Source) -> tuple[Extent, bytes]:
    """Return where the sound lies, and the content of `COMM`."""
    total = int.from_bytes(source.head[4:8], "big")
    extent = Extent(file_end=None if total == 0 or total >= _PLACEHOLDER else total + 8)
    common = b""
    at = 12
    for _ in range(_CHUNKS):
        header = source.at(at, 8)
        if len(header) < 8:
            return extent, common
        kind, length = struct.unpack(">4sI", header)
        if kind == b"SSND" and extent.start is None:
            offset = int.from_bytes(source.at(at + 8, 4), "big")
            extent.start = at + 16 + min(offset, 1 << 16)
            is_open = length == 0 or length >= _PLACEHOLDER or extent.file_end is None
            extent.length = None if is_open else max(0, at + 8 + length - extent.start)
            if is_open or common:
                return extent, common
        elif kind == b"COMM" and not common:
            common = source.at(at + 8, min(length, 22))
        extent.ended &= kind.isascii() and kind.decode("ascii").isprintable()
        at += 8 + length + (length & 1)
    extent.ended = False
    return extent, common


def _extended(number: bytes) -> float:
    """Return an 80-bit number of IEEE 754; 0 where it is none that a rate can be."""
    exponent, mantissa = struct.unpack(">HQ", number)
    if exponent & 0x8000 or not 16383 <= exponent <= 16383 + 32:
        return 0.0
    return ldexp(mantissa, exponent - 16383 - 63)
