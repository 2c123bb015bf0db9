"""Ogg: Opus, Vorbis, Speex and FLAC in pages, each with its own checksum. Facts: RFC 3533, 7845, 5334."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from watcher.audio.examination import Completeness, Examination
from watcher.audio.source import Source

_HEADER = 27
_PAGE_BYTES = _HEADER + 255 + 255 * 255  # the largest there can be
_PAGES = 512
_FALSE_STARTS = 32
_BEGINS, _ENDS = 0x02, 0x04

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    end: int
    flags: int
    granule: int  # the position in samples at its end; -1: none ends here
    serial: int
    body: bytes  # its first bytes, as far as they were at hand


@dataclass(frozen=True, slots=True)
class _Codec:
    name: str | None
    channels: int | None = None
    rate: int | None = None
    clock: int = 0  # granules a second
    skip: int = 0  # granules before the first sound


def is_ogg_video(head: bytes) -> bool:
    """Whether an Ogg file's first stream is one of pictures."""
    return head.startswith((b"\x80theora", b"BBCD\0", b"\x01video"), 28)


def examine_ogg(source: Source) -> Examination:
    """What the Ogg file in `source` is; it begins with `OggS`.

    Proven: the last page ends with the file, its checksum is right, it ends its stream, and so did every other
    stream that began. In a chain of streams, a cut between two links can not be seen.
    """
    first = _page(source.head, 0, 0)
    codec = _codec(first.body) if first else _Codec(None)
    completeness, missing, last = _judge(source, first)
    seconds = None
    if first and last and last.serial == first.serial and last.granule >= 0 and codec.clock:
        seconds = max(0, last.granule - codec.skip) / codec.clock
    return Examination(
        container="Ogg",
        codec=codec.name,
        media_type="audio/ogg",
        extension=".ogg",
        seconds=seconds,
        channels=codec.channels or None,
        sample_rate=codec.rate or None,
        completeness=completeness,
        missing_bytes=missing,
    )


def _page(data: bytes, at: int, offset: int) -> _Page | None:
    """The page at `at` in `data`, which begins at `offset` of the file; null where none is, or a cut header."""
    if data[at : at + 5] != b"OggS\0" or len(data) < at + _HEADER:
        return None
    flags, granule, serial, segments = struct.unpack_from("<5xBqI8xB", data, at)
    lacing = data[at + _HEADER : at + _HEADER + segments]
    if len(lacing) < segments:
        return None
    body = at + _HEADER + segments
    length = _HEADER + segments + sum(lacing)
    return _Page(offset + at, offset + at + length, flags, granule, serial, data[body : body + 64])


def _codec(body: bytes) -> _Codec:
    """What the first packet of a stream says of itself."""
    if body.startswith(b"OpusHead") and len(body) >= 16:
        channels, skip, rate = struct.unpack_from("<9xBHI", body)
        return _Codec("Opus", channels, rate or 48000, 48000, skip)
    if body.startswith(b"\x01vorbis") and len(body) >= 16:
        channels, rate = struct.unpack_from("<11xBI", body)
        return _Codec("Vorbis", channels, rate, rate)
    if body.startswith(b"Speex   ") and len(body) >= 52:
        rate, channels = struct.unpack_from("<36xI8xI", body)
        return _Codec("Speex", channels, rate, rate)
    if body.startswith(b"\x7fFLAC") and len(body) >= 30:
        packed = int.from_bytes(body[27:30], "big")
        return _Codec("FLAC", (packed >> 1 & 7) + 1, packed >> 4, packed >> 4)
    return _Codec(None)


def _judge(source: Source, first: _Page | None) -> tuple[Completeness, int, _Page | None]:
    if first is None:
        cut = source.size < _HEADER + 255
        return (Completeness.SHORT if cut else Completeness.UNKNOWN), 0, None
    offset = max(0, source.size - _PAGE_BYTES)
    tail = source.at(offset, _PAGE_BYTES)
    at = len(tail)
    for _ in range(_FALSE_STARTS):
        at = tail.rfind(b"OggS", 0, at)
        if at < 0:
            break
        last = _page(tail, at, offset)
        if last is None and len(tail) - at < _HEADER + 255:
            return Completeness.SHORT, 0, None
        if last is None or last.end < source.size:
            return _judge_rest(tail, last, offset), 0, last
        if last.end > source.size:
            return Completeness.SHORT, last.end - source.size, None
        if _checksum_holds(tail[at:]):
            whole = last.flags & _ENDS and _every_stream_ended(source, first, last)
            return (Completeness.PROVEN if whole else Completeness.UNKNOWN), 0, last
    return Completeness.UNKNOWN, 0, None


def _judge_rest(tail: bytes, last: _Page | None, offset: int) -> Completeness:
    """Behind the last page, the beginning of another is a cut; anything else tells nothing."""
    rest = tail[last.end - offset :] if last else b""
    return Completeness.SHORT if rest and b"OggS".startswith(rest) else Completeness.UNKNOWN


def _checksum_holds(page: bytes) -> bool:
    """Whether the page's CRC-32 is right.

    Ogg's runs over the bits from the other end than zlib's, from 0 and not inverted: with every byte mirrored,
    and both inversions undone, zlib's gives the same, mirrored.
    """
    stored = int.from_bytes(page[22:26], "little")
    blank = page[:22] + bytes(4) + page[26:]
    crc = zlib.crc32(blank.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_MIRRORED), "big") == stored


def _every_stream_ended(source: Source, first: _Page, last: _Page) -> bool:
    """Whether no stream is left open. One alone is read off its two ends; of more, all pages are walked."""
    second = _page(source.at(first.end, _HEADER + 255), 0, first.end)
    alone = second is None or not second.flags & _BEGINS
    if alone and first.serial == last.serial:
        return True
    began: set[int] = set()
    ended: set[int] = set()
    end = 0
    for page in _pages(source):
        end = page.end
        if page.flags & _BEGINS:
            began.add(page.serial)
            ended.discard(page.serial)
        if page.flags & _ENDS:
            ended.add(page.serial)
    return end == source.size and began == ended


def _pages(source: Source) -> Iterator[_Page]:
    at = 0
    for _ in range(_PAGES):
        page = _page(source.at(at, _HEADER + 255), 0, at)
        if page is None:
            return
        yield page
        at = page.end
