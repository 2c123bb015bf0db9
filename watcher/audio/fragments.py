"""MP4 fragments: how long the sound in them lasts. Facts: ISO/IEC 14496-12, `moof`."""

import struct
from array import array
from dataclasses import dataclass
from sys import byteorder

from watcher.audio.boxes import Box, content, inner
from watcher.audio.source import Source
from watcher.audio.track import Track

_FRAGMENT_BYTES = 1_000_000
_RUNS = 256


@dataclass(slots=True)
class Heard:
    """What the examined fragments hold of one track."""

    samples: int = 0
    duration: int = 0  # in the track's timescale
    begin: int | None = None  # the time of the first, where given


def listen(source: Source, moof: Box, track: Track, heard: Heard) -> None:
    """Add the track's samples in this fragment to `heard`."""
    for part in inner(source, moof):
        if part.kind != b"traf":
            continue
        default = track.default_duration
        for box in list(inner(source, part))[:_RUNS]:
            if box.kind == b"tfhd":
                header = content(source, box, 40)
                if len(header) < 8 or int.from_bytes(header[4:8], "big") != track.number:
                    break
                default = _default_duration(header) or default
            elif box.kind == b"tfdt" and heard.begin is None:
                header = content(source, box, 12)
                heard.begin = int.from_bytes(header[4:], "big") if header[:1] in (b"\0", b"\1") else None
            elif box.kind == b"trun":
                _run(content(source, box, _FRAGMENT_BYTES), default, heard)


def _default_duration(header: bytes) -> int:
    """Return the duration of a sample by the fragment's header; 0 where it gives none."""
    flags = int.from_bytes(header[1:4], "big")
    at = 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
    return int.from_bytes(header[at : at + 4], "big") if flags & 0x8 and len(header) >= at + 4 else 0


def _run(run: bytes, default: int, heard: Heard) -> None:
    if len(run) < 8:
        return
    flags, count = struct.unpack_from(">II", run)
    heard.samples += count
    if not flags & 0x100:
        heard.duration += default * count
        return
    at = 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)
    fields = sum(1 for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag)
    rows = run[at : at + 4 * fields * count]
    numbers = array("I")
    numbers.frombytes(rows[: len(rows) // 4 * 4])
    if byteorder == "little":
        numbers.byteswap()
    heard.duration += sum(numbers[::fields])
