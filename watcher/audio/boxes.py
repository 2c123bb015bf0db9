"""The boxes of MP4 and its relatives, found by their lengths. Facts: ISO/IEC 14496-12."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from watcher.audio.source import Source

_INNER_BOXES = 64


class Ending(Enum):
    """How a walk over boxes ended."""

    EXACT = auto()  # the last box ends where the file does
    CUT = auto()  # the last box, or its header, goes beyond the end of the file
    OPEN = auto()  # the last box extends to the end of the file, wherever that is
    LOST = auto()  # no box follows, or too many do


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its kind, and where its content is."""

    kind: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Walk:
    """Consecutive boxes, and how they end."""

    boxes: list[Box]
    ending: Ending
    missing: int = 0

    def whole(self) -> list[Box]:
        """Return the complete boxes."""
        return self.boxes[:-1] if self.ending is Ending.CUT and self.missing else self.boxes


def walk(source: Source, start: int, end: int, limit: int) -> Walk:
    """Return the boxes between `start` and `end`, up to `limit` of them."""
    boxes: list[Box] = []
    at = start
    while at < end:
        header = source.at(at, min(16, end - at))
        if len(boxes) == limit:
            return Walk(boxes, Ending.LOST)
        if len(header) < 8:
            return Walk(boxes, Ending.CUT)
        length, kind = struct.unpack(">I4s", header[:8])
        content = at + 8
        if length == 1:
            if len(header) < 16:
                return Walk(boxes, Ending.CUT)
            length, content = int.from_bytes(header[8:], "big"), at + 16
        if not (kind.decode("latin-1").isprintable() and kind[1:].isascii()):
            return Walk(boxes, Ending.LOST)
        if length == 0:
            boxes.append(Box(kind, content, end))
            return Walk(boxes, Ending.OPEN)
        if at + length < content:
            return Walk(boxes, Ending.LOST)
        boxes.append(Box(kind, content, at + length))
        at += length
    if at == end:
        return Walk(boxes, Ending.EXACT)
    return Walk(boxes, Ending.CUT, at - end)


def inner(source: Source, parent: Box) -> Iterator[Box]:
    """Yield the boxes inside one, as far as they fit into it."""
    found = walk(source, parent.start, min(parent.end, source.size), _INNER_BOXES)
    return (box for box in found.boxes if box.end <= parent.end)


def descend(source: Source, parent: Box, *kinds: bytes) -> Box | None:
    """Return the first box of the last kind, inside the first of the kind before it, and so on."""
    found: Box | None = parent
    for kind in kinds:
        if found is None:
            return None
        found = next((box for box in inner(source, found) if box.kind == kind), None)
    return found


def content(source: Source, box: Box, most: int) -> bytes:
    """Return the content of the box, up to `most` bytes."""
    return source.at(box.start, min(box.end - box.start, most))
