"""Wave64, Sony's form of WAV with 64-bit lengths. Facts: Sony Pictures Digital, Sony Wave64."""

from watcher.audio.examination import Examination, Lengths, foreign
from watcher.audio.extents import Extent
from watcher.audio.riff import Format
from watcher.audio.source import Source

MAGIC = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_WAVE = b"wave\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_TAIL = _WAVE[4:]  # every other chunk's identifier ends so
_CHUNKS = 256
_PLACEHOLDER = 1 << 62
_HEADER = 24


def examine_wave64(source: Source) -> Examination:
    """Examine the Wave64 in `source`."""
    extent, chunk, counted = _walk(source)
    completeness, missing = extent.judge(source)
    described = Format.of(chunk)
    present = extent.present(source)
    if described is None:
        lack = "it has no `fmt ` chunk" if extent.start is not None else "it has no `data` chunk"
        return foreign(
            "Wave64", None, None, None, Lengths(completeness, missing, has_sound=present > 0, damage=lack)
        )
    seconds = described.seconds_of(present if extent.length is None else extent.length, counted)
    damage = "it has no `data` chunk" if extent.start is None else described.damage()
    told = Lengths(completeness, missing, seconds, present >= max(1, described.frame_bytes), damage)
    bits = described.bits if described.frame_bytes else None
    return foreign("Wave64", described.codec, described.channels, described.rate, told, bits=bits)


def _walk(source: Source) -> tuple[Extent, bytes, int]:
    """Return where the sound lies, the content of `fmt `, and the samples that `fact` counts."""
    total = int.from_bytes(source.at(16, 8), "little")
    extent = Extent(file_end=total if _HEADER < total < _PLACEHOLDER else None)
    chunk, counted, at = b"", 0, 40
    extent.ended = _WAVE.startswith(source.at(24, 16))
    for _ in range(_CHUNKS):
        header = source.at(at, _HEADER)
        if len(header) < _HEADER or not extent.ended:
            return extent, chunk, counted
        kind, length = header[:4], int.from_bytes(header[16:], "little")
        is_open = length <= _HEADER or length >= _PLACEHOLDER
        if kind == b"data" and header[4:16] == _TAIL:
            extent.start = at + _HEADER
            is_open = is_open or extent.file_end is None
            extent.length = None if is_open else length - _HEADER
            if is_open or chunk:
                return extent, chunk, counted
        elif kind == b"fmt " and not chunk:
            chunk = source.at(at + _HEADER, min(max(0, length - _HEADER), 40))
        elif kind == b"fact":
            counted = int.from_bytes(source.at(at + _HEADER, 8), "little")
        if is_open:
            break
        at += length + -length % 8
    extent.ended = False
    return extent, chunk, counted
