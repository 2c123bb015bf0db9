"""MP4 and its relatives M4A, M4B, M4P, M4R and 3GP: boxes, by their own lengths.

Facts: ISO/IEC 14496-12 (boxes), 14496-14 (MP4), 3GPP TS 26.244 (3GP).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from watcher.audio.examination import Completeness, Examination
from watcher.audio.source import Source

_BOXES = 256
_INNER_BOXES = 32

_TOP_LEVEL = frozenset(
    b"ftyp styp moov mdat moof mfra sidx ssix free skip wide uuid meta udta pdin prft emsg jumb".split()
)
_AUDIO_BRANDS = {
    b"M4A ": ("M4A", "audio/m4a", ".m4a"),
    b"M4B ": ("M4B", "audio/m4b", ".m4b"),
    b"M4P ": ("M4P", "audio/m4p", ".m4p"),
    b"M4R ": ("M4R", "audio/m4r", ".m4r"),
}
_3GP = ("3GP", "audio/3gp", ".3gp")
_MP4 = ("MP4", "video/mp4", ".mp4")
_FOREIGN_BRANDS = frozenset(
    (b"qt  ", b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"jp2 ", b"crx ")
)
_CODECS = {
    b"mp4a": "AAC",
    b"samr": "AMR",
    b"sawb": "AMR-WB",
    b"sawp": "AMR-WB+",
    b"Opus": "Opus",
    b"fLaC": "FLAC",
    b"alac": "ALAC",
    b"ac-3": "AC-3",
    b"ec-3": "E-AC-3",
    b".mp3": "MP3",
    b"ulaw": "µ-law",
    b"alaw": "A-law",
    b"enca": "encrypted",
    b"drms": "encrypted",
}


class _Ending(Enum):
    """How a walk over boxes came to its end."""

    EXACT = auto()  # the last box ends where the file does
    CUT = auto()  # the last box, or its header, reaches beyond
    OPEN = auto()  # the last box says that it goes on to the end of the file, wherever that is
    LOST = auto()  # no box follows, or too many do


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int  # of its content
    end: int


@dataclass(frozen=True, slots=True)
class _Walk:
    boxes: list[_Box]
    ending: _Ending
    missing: int = 0

    def kinds(self) -> set[bytes]:
        """The kinds of the boxes that are whole."""
        whole = self.boxes[:-1] if self.ending is _Ending.CUT and self.missing else self.boxes
        return {box.kind for box in whole}


def is_mp4(head: bytes) -> bool:
    """Whether a file that begins so is one of the kinds that the service takes, as far as can be told yet."""
    return head[4:8] == b"ftyp" and head[8:12] not in _FOREIGN_BRANDS


def examine_mp4(source: Source) -> Examination:
    """What the MP4, M4A or 3GP in `source` is; it begins with an `ftyp` box."""
    container, media_type, extension = _brand(source.head)
    walk = _walk(source, 0, source.size, _BOXES)
    completeness, missing = _judge(walk)
    if completeness is Completeness.PROVEN and source.ends_in_zeros():
        completeness = Completeness.UNKNOWN
    seconds, codec, channels, rate = _describe(source, walk)
    return Examination(
        container=container,
        codec=codec,
        media_type=media_type,
        extension=extension,
        seconds=seconds,
        channels=channels,
        sample_rate=rate,
        completeness=completeness,
        missing_bytes=missing,
    )


def _brand(head: bytes) -> tuple[str, str, str]:
    """Container, media type and extension: the major brand speaks, and a brand nobody knows by its relatives."""
    end = min(int.from_bytes(head[:4], "big"), 256)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
    if brands[0] in _AUDIO_BRANDS:
        return _AUDIO_BRANDS[brands[0]]
    if brands[0][:2] == b"3g":
        return _3GP
    return _MP4


def _walk(source: Source, start: int, end: int, limit: int) -> _Walk:
    boxes: list[_Box] = []
    at = start
    while at < end:
        header = source.at(at, min(16, end - at))
        if len(boxes) == limit:
            return _Walk(boxes, _Ending.LOST)
        if len(header) < 8:
            return _Walk(boxes, _Ending.CUT)
        length, kind = struct.unpack(">I4s", header[:8])
        content = at + 8
        if length == 1:
            if len(header) < 16:
                return _Walk(boxes, _Ending.CUT)
            length, content = int.from_bytes(header[8:], "big"), at + 16
        if not (kind.decode("latin-1").isprintable() and kind[1:].isascii()):
            return _Walk(boxes, _Ending.LOST)
        if length == 0:
            boxes.append(_Box(kind, content, end))
            return _Walk(boxes, _Ending.OPEN)
        if at + length < content:
            return _Walk(boxes, _Ending.LOST)
        boxes.append(_Box(kind, content, at + length))
        at += length
    if at == end:
        return _Walk(boxes, _Ending.EXACT)
    return _Walk(boxes, _Ending.CUT, at - end)


def _judge(walk: _Walk) -> tuple[Completeness, int]:
    """Whole with `ftyp`, `moov` and `mdat`, and nothing beyond them open.

    A fragmented file can go on after any fragment: only the index that closes it (`mfra`) proves its end.
    """
    kinds = walk.kinds()
    whole = {b"moov", b"mdat"} <= kinds
    if walk.ending is _Ending.CUT:
        if whole and walk.missing and walk.boxes[-1].kind not in _TOP_LEVEL:
            return Completeness.UNKNOWN, 0  # not a box, but something that was put behind the last one
        return Completeness.SHORT, walk.missing
    if walk.ending is _Ending.LOST:
        return Completeness.UNKNOWN, 0
    if not whole:
        return Completeness.SHORT, 0
    if walk.ending is _Ending.OPEN:
        return Completeness.UNKNOWN, 0
    if b"moof" in kinds and walk.boxes[-1].kind != b"mfra":
        return Completeness.UNKNOWN, 0
    return Completeness.PROVEN, 0


def _describe(source: Source, walk: _Walk) -> tuple[float | None, str | None, int | None, int | None]:
    """Seconds, codec, channels and samples a second of the first sound track."""
    seconds: float | None = None
    for moov in walk.boxes:
        if moov.kind != b"moov" or moov.end > source.size:
            continue
        for box in _inner(source, moov):
            if box.kind == b"mvhd":
                seconds = _duration(source.at(box.start, min(32, box.end - box.start)))
            elif box.kind == b"trak" and (entry := _sound(source, box)):
                return seconds, *entry
        break
    return seconds, None, None, None


def _duration(header: bytes) -> float | None:
    """Seconds, from the movie header: version 1 has 64-bit times."""
    form = ">20xIQ" if header[:1] == b"\1" else ">12xII"
    if len(header) < struct.calcsize(form):
        return None
    scale, duration = struct.unpack_from(form, header)
    unknown = duration in (0, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)
    return None if scale == 0 or unknown else duration / scale


def _sound(source: Source, track: _Box) -> tuple[str, int | None, int | None] | None:
    """Codec, channels and samples a second, where the track is one of sound."""
    media = _child(source, track, b"mdia")
    handler = media and _child(source, media, b"hdlr")
    if media is None or handler is None or source.at(handler.start + 8, 4) != b"soun":
        return None
    table: _Box | None = media
    for kind in (b"minf", b"stbl", b"stsd"):
        table = table and _child(source, table, kind)
    entry = source.at(table.start + 8, 36) if table else b""
    if len(entry) < 36:
        return None
    kind = entry[4:8]
    codec = _CODECS.get(kind, kind.decode("latin-1").strip())
    if kind in (b"samr", b"sawb"):
        return codec, 1, 8000 if kind == b"samr" else 16000  # the entry's own numbers are fixed, and wrong
    channels, rate = struct.unpack(">24xH6xH2x", entry)
    return codec, channels or None, rate or None


def _child(source: Source, parent: _Box, kind: bytes) -> _Box | None:
    return next((box for box in _inner(source, parent) if box.kind == kind), None)


def _inner(source: Source, parent: _Box) -> Iterator[_Box]:
    """The boxes inside one, as far as they keep within it."""
    walk = _walk(source, parent.start, min(parent.end, source.size), _INNER_BOXES)
    return (box for box in walk.boxes if box.end <= parent.end)
