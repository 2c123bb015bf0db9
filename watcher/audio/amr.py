"""AMR and AMR-WB outside a container: frames behind a magic word.

Facts: RFC 4867, section 5; 3GPP TS 26.101 and 26.201.
"""

from watcher.audio.examination import Completeness, Examination, Lengths, foreign
from watcher.audio.source import Source

NARROW, WIDE = b"#!AMR\n", b"#!AMR-WB\n"
_NARROW_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 0, 0, 0, 1)  # of a frame of each type; 0: reserved
_WIDE_BYTES = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1)
_FRAME_SECONDS = 0.02
_BLOCK_BYTES = 64 * 1024
_BLOCKS = 8  # read unless thorough
_LONGEST = 61
_STRAY_BYTES = 16  # such as a second magic word, where two were joined
_SPARE_BITS = 0x83  # zero in the header of every frame


def examine_amr(source: Source) -> Examination:
    """Examine the frames behind the magic word. Nothing in them tells the end: they are never proven."""
    is_wide = source.head.startswith(WIDE)
    name, rate = ("AMR-WB", 16000) if is_wide else ("AMR", 8000)
    lengths = _WIDE_BYTES if is_wide else _NARROW_BYTES
    start = len(WIDE if is_wide else NARROW)
    return foreign(name, name, 1, rate, _walk(source, start, lengths))


def _walk(source: Source, start: int, lengths: tuple[int, ...]) -> Lengths:
    at, frames, bad, first_bad, missing = start, 0, 0, 0, 0
    data, begin = b"", start
    end = source.size if source.is_thorough else min(source.size, start + _BLOCKS * _BLOCK_BYTES)
    while at < end:
        if at + _LONGEST > begin + len(data) and begin + len(data) < source.size:
            data, begin = source.at(at, _BLOCK_BYTES), at
            if not data:
                break  # it shrank meanwhile
        header = data[at - begin]
        length = lengths[header >> 3 & 15]
        is_odd = bool(header & _SPARE_BITS) or not length
        if at + length > source.size and not is_odd:
            missing = at + length - source.size
            break
        if is_odd:
            bad, first_bad = bad + 1, first_bad or at
            if bad > _STRAY_BYTES + (frames + end - at) // 50:
                break  # no frames that may still come make up for it
        frames += not is_odd
        at += max(1, length)
    damage = None
    if bad > _STRAY_BYTES + frames // 50:
        damage = f"from byte {first_bad:,} on it has no frames"
    elif missing:
        return Lengths(Completeness.SHORT, missing, frames * _FRAME_SECONDS, frames > 0)
    scale = (source.size - start) / (at - start) if start < at < source.size else 1.0
    return Lengths(Completeness.UNKNOWN, 0, frames * scale * _FRAME_SECONDS, frames > 0, damage)
