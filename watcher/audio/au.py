"""AU, also called SND. Facts: Sun's audio file format; codecs from FFmpeg's decoders."""

import struct

from watcher.audio.examination import Examination, Lengths, foreign
from watcher.audio.extents import Extent, nonsense
from watcher.audio.source import Source

_UNKNOWN = 0xFFFF_FFFF
_LEAST_HEADER = 24
_CODECS = {  # encoding → codec, bits per sample
    1: ("µ-law", 8),
    2: ("PCM", 8),
    3: ("PCM", 16),
    4: ("PCM", 24),
    5: ("PCM", 32),
    6: ("IEEE float", 32),
    7: ("IEEE float", 64),
    23: ("G.721", 4),
    25: ("G.723 ADPCM", 3),
    26: ("G.723 ADPCM", 5),
    27: ("A-law", 8),
}


def examine_au(source: Source) -> Examination:
    """Examine the AU in `source`."""
    head = source.head
    if len(head) < _LEAST_HEADER:
        return foreign("AU", None, None, None, Lengths(*Extent().judge(source), has_sound=False))
    start, length, encoding, rate, channels = struct.unpack_from(">4x5I", head)
    extent = Extent(start, None if length in (0, _UNKNOWN) else length)
    if extent.length is not None:
        extent.file_end = start + extent.length
    codec, bits = _CODECS.get(encoding, (None, 0))
    damage = nonsense(channels, rate)
    if start < _LEAST_HEADER:
        damage = f"its header says that the sound begins at byte {start}"
    elif codec is None:
        damage = damage or f"its header names an unknown codec ({encoding})"
    present = extent.present(source)
    expected = present if extent.length is None else extent.length
    seconds = expected * 8 / bits / channels / rate if damage is None else None
    completeness, missing = extent.judge(source)
    has_sound = present * 8 >= max(8, bits * min(channels, 512))
    told = Lengths(completeness, missing, seconds, has_sound, damage)
    is_plain = codec in ("PCM", "IEEE float")
    return foreign("AU", codec, channels, rate, told, bits=bits if is_plain else None, is_big_endian=is_plain)
