"""Matroska and WebM. Facts: RFC 8794 (EBML), RFC 9559 (Matroska); codecs from FFmpeg's decoders."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite

from watcher.audio.examination import Completeness, Examination, Lengths, foreign
from watcher.audio.riff import Format
from watcher.audio.source import Source

MAGIC = b"\x1a\x45\xdf\xa3"
_EBML, _DOC_TYPE, _SEGMENT, _INFO, _TRACKS = 0x1A45DFA3, 0x4282, 0x18538067, 0x1549A966, 0x1654AE6B
_CLUSTER, _CUES, _TAGS, _CHAPTERS, _ATTACHMENTS, _SEEK_HEAD = (
    *(0x1F43B675, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, 0x114D9B74),
)
_TOP = frozenset((_INFO, _TRACKS, _CLUSTER, _CUES, _TAGS, _CHAPTERS, _ATTACHMENTS, _SEEK_HEAD, 0xEC, 0xBF))
_SCALE, _DURATION = 0x2AD7B1, 0x4489
_ENTRY, _NUMBER, _TYPE, _CODEC, _PRIVATE, _AUDIO, _ENCODINGS = 0xAE, 0xD7, 0x83, 0x86, 0x63A2, 0xE1, 0x6D80
_RATE, _OUTPUT_RATE, _CHANNELS, _DEPTH = 0xB5, 0x78B5, 0x9F, 0x6264
_ENCRYPTION = 0x5035
_TIMESTAMP, _BLOCK, _GROUP, _INNER_BLOCK = 0xE7, 0xA3, 0xA0, 0xA1
_SOUND = 2
_ELEMENTS = 6000  # examined unless thorough
_ALL_ELEMENTS = 2_000_000
_INNER = 200
_LONGEST_HEADER = 12
_CONTENT_BYTES = 64 * 1024
_STRETCH_BYTES = 128 * 1024

_CODECS = {
    "A_OPUS": "Opus",
    "A_VORBIS": "Vorbis",
    "A_MPEG/L3": "MP3",
    "A_MPEG/L2": "MPEG Layer II",
    "A_MPEG/L1": "MPEG Layer I",
    "A_PCM/INT/LIT": "PCM",
    "A_PCM/INT/BIG": "PCM",
    "A_PCM/FLOAT/IEEE": "IEEE float",
    "A_FLAC": "FLAC",
    "A_ALAC": "ALAC",
    "A_AC3": "AC-3",
    "A_EAC3": "E-AC-3",
    "A_DTS": "DTS",
    "A_TRUEHD": "TrueHD",
    "A_TTA1": "True Audio",
    "A_WAVPACK4": "WavPack",
}


@dataclass(frozen=True, slots=True)
class _Element:
    kind: int
    start: int  # of its content
    end: int | None  # None: its length is not known


@dataclass(slots=True)
class _Track:
    number: int = 0
    codec: str | None = None
    channels: int = 1
    rate: float = 8000.0
    bits: int | None = None
    is_big_endian: bool = False
    is_encrypted: bool = False


@dataclass(slots=True)
class _Layout:
    doc_type: bytes = b""
    scale: int = 1_000_000  # nanoseconds
    duration: float = 0.0
    tracks: list[_Track] = field(default_factory=list)
    clusters: int = 0
    blocks: int = 0  # with sound, of those that were looked at
    last: float = 0.0  # time of the last block that was looked at, in units of the scale
    segment: _Element | None = None
    at: int = 0  # where the walk ended
    missing: int = 0
    is_cut: bool = False
    is_lost: bool = False
    heard: int = 0  # elements within clusters
    torn: int | None = None  # where what is no element stands in the middle of the sound


def examine_matroska(source: Source) -> Examination:
    """Examine the WebM or Matroska in `source`. It is proven where its segment has a length, and ends with it."""
    layout = _read(source)
    container = "WebM" if layout.doc_type == b"webm" else "Matroska"
    completeness = Completeness.UNKNOWN
    if layout.is_cut:
        completeness = Completeness.SHORT
    elif (
        not layout.is_lost
        and layout.torn is None
        and layout.segment
        and layout.segment.end == layout.at == source.size
        and layout.clusters
    ):
        completeness = Completeness.UNKNOWN if source.ends_in_zeros() else Completeness.PROVEN
    track = next(iter(layout.tracks), None)
    damage = None
    if layout.segment is None or (layout.is_lost and not layout.tracks):
        damage = "it begins as Matroska, but what follows is not"
    elif track is not None and track.is_encrypted:
        damage = "its sound is encrypted"
    elif track is not None and track.codec is None:
        damage = "its header names an unknown codec"
    elif layout.is_lost and not layout.blocks:
        damage = f"at byte {layout.at:,} there is no element"
    elif layout.torn is not None:
        damage = f"from byte {layout.torn:,} on it has something else instead of sound"
    length = (layout.duration or layout.last) * layout.scale / 1e9
    told = Lengths(
        completeness,
        layout.missing,
        length if 0 < length < 1e9 else None,
        track is not None and layout.blocks > 0,
        damage,
    )
    if track is None:
        return foreign(container, None, None, None, told)
    rate = round(track.rate) if 0 < track.rate < 1 << 31 else None
    return foreign(
        container,
        track.codec,
        track.channels,
        rate,
        told,
        bits=track.bits,
        is_big_endian=track.is_big_endian,
    )


def _read(source: Source) -> _Layout:
    layout = _Layout()
    at = 0
    for _ in range(_INNER):
        element = _element(source, at)
        if element is None:
            layout.is_cut = at + _LONGEST_HEADER > source.size
            layout.is_lost = not layout.is_cut
            layout.at = at
            return layout
        if element.kind == _SEGMENT:
            layout.segment = element
            break
        if element.end is None:
            layout.is_lost = True
            return layout
        if element.kind == _EBML:
            layout.doc_type = next((_text(source, one) for one in _children(source, element, _DOC_TYPE)), b"")
        at = element.end
    if layout.segment is None:
        layout.is_cut = at >= source.size
        layout.is_lost = not layout.is_cut
        return layout
    _walk(source, layout, layout.segment)
    end = layout.segment.end
    if end is not None and end > source.size:
        layout.is_cut, layout.missing = True, max(layout.missing, end - source.size)
        layout.is_lost = False
    elif not layout.clusters and layout.at >= source.size:
        layout.is_cut = True
    return layout


def _walk(source: Source, layout: _Layout, segment: _Element) -> None:
    """Go over what the segment holds, into clusters of no length too: those end where something else begins."""
    at, in_cluster, stamp = segment.start, False, 0
    end = segment.end if segment.end is not None and segment.end < source.size else source.size
    for _ in range(_ALL_ELEMENTS if source.is_thorough else _ELEMENTS):
        if at >= end:
            break
        element = _element(source, at)
        in_cluster = in_cluster and element is not None and element.kind not in _TOP
        if element is None or not (in_cluster or element.kind in _TOP):
            layout.is_cut = element is None and end - at < _LONGEST_HEADER
            layout.is_lost = not layout.is_cut
            break
        if element.end is None and element.kind != _CLUSTER:
            layout.is_lost = True
            break
        if in_cluster:
            stamp = _number(source, element) if element.kind == _TIMESTAMP else stamp
            _note_block(source, layout, element, stamp)
        else:
            in_cluster = element.end is None
            _note(source, layout, element)
        at = element.start if element.end is None else element.end
        if at > source.size:
            layout.is_cut, layout.missing = True, at - source.size
            break
    layout.at = at
    if source.is_thorough and layout.is_lost and layout.blocks and _has_cluster(source, at, end):
        layout.torn = at


def _has_cluster(source: Source, at: int, end: int) -> bool:
    """Return whether sound goes on somewhere behind what is no element."""
    return any(
        _CLUSTER.to_bytes(4, "big") in source.at(start, _STRETCH_BYTES + 3)
        for start in range(at, end, _STRETCH_BYTES)
    )


def _note(source: Source, layout: _Layout, element: _Element) -> None:
    """Take what this element of the segment tells."""
    if element.kind == _CLUSTER:
        layout.clusters += 1
        wants_more = layout.blocks == 0 or source.is_thorough or not layout.duration
        if element.end is not None and wants_more and layout.heard < _ALL_ELEMENTS:
            _hear(source, layout, element)
    elif element.end is None or element.end > source.size:
        return
    elif element.kind == _INFO:
        for child in _children(source, element):
            if child.kind == _SCALE:
                layout.scale = _number(source, child) or layout.scale
            elif child.kind == _DURATION:
                layout.duration = _float(source, child)
    elif element.kind == _TRACKS:
        tracks = (_track(source, entry) for entry in _children(source, element, _ENTRY))
        layout.tracks += [track for track in tracks if track is not None]


def _track(source: Source, entry: _Element) -> _Track | None:
    """Return the track if it is one of sound."""
    found = {child.kind: child for child in _children(source, entry)}
    if _TYPE not in found or _number(source, found[_TYPE]) != _SOUND:
        return None
    track = _Track()
    if _NUMBER in found:
        track.number = _number(source, found[_NUMBER])
    if _ENCODINGS in found:
        encodings = _children(source, found[_ENCODINGS])
        track.is_encrypted = any(True for one in encodings for _ in _children(source, one, _ENCRYPTION))
    if _AUDIO in found:
        _note_sound(source, track, found[_AUDIO])
    name = _text(source, found[_CODEC]).rstrip(b"\0").decode("ascii", "replace") if _CODEC in found else ""
    track.codec = _CODECS.get(name) or ("AAC" if name.startswith("A_AAC") else None)
    if name == "A_MS/ACM" and _PRIVATE in found:
        described = Format.of(_text(source, found[_PRIVATE]))
        track.codec = described.codec if described is not None and described.damage() is None else None
    if track.codec not in ("PCM", "IEEE float"):
        track.bits = None
    track.is_big_endian = name == "A_PCM/INT/BIG"
    if track.codec == "Opus":
        track.rate = 48000.0  # at which it is decoded, whatever it was made of
    return track


def _note_sound(source: Source, track: _Track, audio: _Element) -> None:
    for child in _children(source, audio):
        if child.kind == _CHANNELS:
            track.channels = _number(source, child)
        elif child.kind in (_RATE, _OUTPUT_RATE):
            track.rate = _float(source, child)
        elif child.kind == _DEPTH:
            track.bits = _number(source, child)


def _hear(source: Source, layout: _Layout, cluster: _Element) -> None:
    """Note the blocks of a cluster. It is torn where its elements do not fill it: no player finds the rest."""
    stamp, at = 0, cluster.start
    for child in _children(source, cluster):
        at = child.end or at
        layout.heard += 1
        if layout.heard > _ALL_ELEMENTS:
            return  # enough for hours: nobody waits for more
        if child.kind == _TIMESTAMP:
            stamp = _number(source, child)
        _note_block(source, layout, child, stamp)
        if layout.blocks and not source.is_thorough and layout.duration:
            return
    is_read = source.is_thorough and cluster.end is not None and cluster.end <= source.size
    if is_read and at != cluster.end and layout.torn is None:
        layout.torn = at


def _note_block(source: Source, layout: _Layout, element: _Element, stamp: int) -> None:
    block: _Element | None = element
    if element.kind == _GROUP:
        block = next(iter(_children(source, element, _INNER_BLOCK)), None)
    if block is None or block.kind not in (_BLOCK, _INNER_BLOCK):
        return
    header = source.at(block.start, 12)
    number, width = _vint(header)
    if number is None or len(header) < width + 2 or (layout.tracks and number != layout.tracks[0].number):
        return
    (relative,) = struct.unpack_from(">h", header, width)
    layout.blocks += 1
    layout.last = max(layout.last, float(stamp + relative))


def _vint(data: bytes, *, keeps_marker: bool = False) -> tuple[int | None, int]:
    """Return the number of variable length at the beginning, and its width; None for "not known"."""
    if not data or not data[0]:
        return None, 0
    width = 9 - data[0].bit_length()
    if len(data) < width:
        return None, 0
    number = int.from_bytes(data[:width], "big")
    if keeps_marker:
        return number, width
    number &= (1 << 7 * width) - 1
    return (None if number == (1 << 7 * width) - 1 else number), width


def _element(source: Source, at: int) -> _Element | None:
    header = source.at(at, _LONGEST_HEADER)
    kind, width = _vint(header, keeps_marker=True)
    if kind is None or width > 4:
        return None
    length, length_width = _vint(header[width:])
    if not length_width:
        return None
    start = at + width + length_width
    return _Element(kind, start, None if length is None else start + length)


def _children(source: Source, parent: _Element, *kinds: int) -> Iterator[_Element]:
    at = parent.start
    end = source.size if parent.end is None else min(parent.end, source.size)
    for _ in range(_ALL_ELEMENTS if source.is_thorough else _INNER):
        element = _element(source, at) if at < end else None
        if element is None or element.end is None:
            return
        if not kinds or element.kind in kinds:
            yield element
        at = element.end


def _text(source: Source, element: _Element) -> bytes:
    return source.at(element.start, min((element.end or element.start) - element.start, _CONTENT_BYTES))


def _number(source: Source, element: _Element) -> int:
    return int.from_bytes(_text(source, element)[:8], "big")


def _float(source: Source, element: _Element) -> float:
    content = _text(source, element)
    if len(content) not in (4, 8):
        return 0.0
    (number,) = struct.unpack(">f" if len(content) == 4 else ">d", content)
    return float(number) if isfinite(number) and number > 0 else 0.0
