"""Ogg: Opus, Vorbis, Speex and FLAC in pages with checksums. Facts: RFC 3533, 7845, 5334."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from watcher.audio.examination import Completeness, Examination
from watcher.audio.source import Source

_HEADER = 27
_PAGE_BYTES = _HEADER + 255 + 255 * 255  # the largest possible page
_FIRST_PAGES = 16  # examined in any case: they hold the headers
_PAGES = 512
_ALL_PAGES = 500_000  # an hour of Opus in pages of one packet each has 180,000
_FALSE_STARTS = 32
_SEARCHES = 1000
_BEGINS, _ENDS = 0x02, 0x04
_NONE_ENDS = -1  # the granule of a page in which no packet ends
_HEAD_BYTES = 200  # a page lost before this is one of the headers
_LOST_SECONDS = 0.05  # a decoder does not notice a loss this small
_LIVE_SECONDS = 5.0  # a first page that ends later than this was cut out of a running stream

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    end: int
    flags: int
    granule: int  # the position in samples at its end; -1: no packet ends here
    serial: int
    number: int
    body: bytes  # its first bytes, as far as they were read


@dataclass(frozen=True, slots=True)
class _Codec:
    name: str | None
    channels: int | None = None
    rate: int | None = None
    clock: int = 0  # granules per second
    skip: int = 0  # granules before the first sound


@dataclass(slots=True)
class _Stream:
    """One logical stream, from its first page to its last."""

    codec: _Codec
    number: int = 0  # of its last page
    first_granule: int = 0  # of the first page with sound
    last_granule: int = 0
    has_ended: bool = False

    def take(self, page: _Page) -> None:
        self.number = page.number
        if page.granule > 0:
            self.first_granule = self.first_granule or page.granule
            self.last_granule = page.granule
        self.has_ended = bool(page.flags & _ENDS)

    def can_spare(self, number: int) -> bool:
        """Return whether a decoder can do without the page of this number: FLAC's comments."""
        return self.codec.name == "FLAC" and number == 1

    def seconds(self) -> float:
        if not self.codec.clock:
            return 0.0
        begins_late = self.first_granule > self.codec.skip + _LIVE_SECONDS * self.codec.clock
        begin = self.first_granule if begins_late else self.codec.skip
        return max(0, self.last_granule - begin) / self.codec.clock


@dataclass(slots=True)
class _Survey:
    """The result of a walk over the pages."""

    streams: list[_Stream]
    damage: str | None = None
    is_whole: bool = False  # every page was walked

    def codec(self) -> _Codec:
        """Return the first stream's codec that is sound, else the first."""
        codecs = [stream.codec for stream in self.streams]
        return next((codec for codec in codecs if codec.clock), codecs[0] if codecs else _Codec(None))

    def seconds(self) -> float:
        """Return the total length of the chained streams. Of parallel streams, only the one of sound counts."""
        return sum(stream.seconds() for stream in self.streams)

    def every_stream_ended(self) -> bool:
        return bool(self.streams) and all(stream.has_ended for stream in self.streams)


def is_ogg_video(head: bytes) -> bool:
    """Return whether an Ogg file's first stream is video."""
    return head.startswith((b"\x80theora", b"BBCD\0", b"\x01video"), 28)


def examine_ogg(source: Source) -> Examination:
    """Examine the Ogg file in `source`, which begins with `OggS`.

    Proven: the last page ends with the file, its checksum is right, it ends its stream, and all other streams have
    ended. In a chain of streams, a cut between two of them cannot be detected. Thorough: the checksum of every
    page is right.
    """
    survey = _survey(source, _ALL_PAGES if source.is_thorough else _FIRST_PAGES)
    codec = survey.codec()
    completeness, missing, last = _judge(source, survey)
    seconds: float | None = survey.seconds()
    if not survey.is_whole:
        only = survey.streams[0] if len(survey.streams) == 1 else None
        if only is None or last is None or last.granule == _NONE_ENDS:
            seconds = None
        else:
            only.last_granule = max(only.last_granule, last.granule)
            seconds = only.seconds()
    damage = None if completeness is Completeness.SHORT else survey.damage
    return Examination(
        container="Ogg",
        codec=codec.name,
        media_type="audio/ogg",
        extension=".ogg",
        seconds=seconds,
        channels=codec.channels or None,
        sample_rate=codec.rate or None,
        completeness=completeness if damage is None else Completeness.UNKNOWN,
        missing_bytes=missing,
        has_sound=seconds != 0 or (codec.clock == 0 and not survey.is_whole),
        damage=damage,
    )


def _page(data: bytes, at: int, offset: int) -> _Page | None:
    """Return the page at `at` in `data`, which is at `offset` of the file; None for none, or a cut header."""
    if data[at : at + 5] != b"OggS\0" or len(data) < at + _HEADER:
        return None
    flags, granule, serial, number, segments = struct.unpack_from("<5xBqII4xB", data, at)
    lacing = data[at + _HEADER : at + _HEADER + segments]
    if len(lacing) < segments:
        return None
    body = at + _HEADER + segments
    length = _HEADER + segments + sum(lacing)
    return _Page(offset + at, offset + at + length, flags, granule, serial, number, data[body : body + 64])


def _codec(body: bytes) -> _Codec:
    """Return the codec that the first packet of a stream names."""
    if body.startswith(b"OpusHead") and len(body) >= 16:
        channels, skip = struct.unpack_from("<9xBH", body)
        return _Codec("Opus", channels, 48000, 48000, skip)  # it decodes at 48 kHz, whatever the input was
    if body.startswith(b"\x01vorbis") and len(body) >= 16:
        channels, rate = struct.unpack_from("<11xBI", body)
        return _Codec("Vorbis", channels, rate, rate)
    if body.startswith(b"Speex   ") and len(body) >= 52:
        rate, channels = struct.unpack_from("<36xI8xI", body)
        return _Codec("Speex", channels, rate, rate)
    if body.startswith(b"\x7fFLAC") and len(body) >= 30:
        packed = int.from_bytes(body[27:30], "big")
        return _Codec("FLAC", (packed >> 1 & 7) + 1, packed >> 4, packed >> 4)
    if body.startswith(b"CELT    ") and len(body) >= 44:
        rate, channels = struct.unpack_from("<36xII", body)
        return _Codec("CELT", channels, rate, rate)
    return _Codec(None)


def _survey(source: Source, limit: int) -> _Survey:
    """Walk the first pages, up to `limit` of them, and check their checksums: a decoder drops damaged ones."""
    found = _Survey([])
    current: dict[int, _Stream] = {}
    lost_bytes, lost_at, at = 0, 0, 0
    for page in _pages(source, limit):
        if page.end > source.size:
            break
        stream = current.get(page.serial)
        if not _checksum_holds(source.at(page.start, page.end - page.start)):
            if stream is None or not stream.can_spare(page.number):
                lost_bytes, lost_at = lost_bytes + page.end - at, lost_at or page.start
        else:
            is_missing = page.start > at and stream is not None and page.number > stream.number + 1
            if is_missing and stream and not (page.number == 2 and stream.can_spare(1)):
                lost_bytes, lost_at = lost_bytes + page.start - at, lost_at or at
            if page.flags & _BEGINS or stream is None:
                stream = current[page.serial] = _Stream(_codec(page.body))
                found.streams.append(stream)
            stream.take(page)
        at = page.end
    else:
        found.is_whole = at == source.size
    heard = found.seconds()
    if lost_bytes and (heard == 0 or lost_bytes / source.size * heard > _LOST_SECONDS or lost_at < _HEAD_BYTES):
        found.damage = f"the page at byte {lost_at:,} fails its checksum, so its sound is lost"
    if not found.streams:
        found.damage = "its first page fails its checksum"
    elif found.codec().name is None and len(found.streams) < _FIRST_PAGES:
        found.damage = "it has no audio stream of a known codec"
    return found


def _pages(source: Source, limit: int) -> Iterator[_Page]:
    """Yield the pages in order. What is between two of them is skipped: once, or often if thorough."""
    at, searches = 0, _SEARCHES if source.is_thorough else 1
    for _ in range(limit):
        page = _page(source.at(at, _HEADER + 255), 0, at)
        if (page is None or page.end > source.size) and searches:
            searches -= 1
            page = _next_page(source, at + 1) or page
        if page is None:
            return
        yield page
        at = page.end


def _next_page(source: Source, at: int) -> _Page | None:
    """Return the next page after a gap, at most the length of the largest page further on."""
    data = source.at(at, _PAGE_BYTES)
    found = -1
    for _ in range(_FALSE_STARTS):
        found = data.find(b"OggS\0", found + 1)
        if found < 0:
            return None
        page = _page(source.at(at + found, _HEADER + 255), 0, at + found)
        if page is not None and page.end <= source.size:
            return page
    return None


def _judge(source: Source, survey: _Survey) -> tuple[Completeness, int, _Page | None]:
    if not survey.streams and source.size < _HEADER + 255:
        return Completeness.SHORT, 0, None
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
            whole = last.flags & _ENDS and _every_stream_ended(source, survey, last)
            return (Completeness.PROVEN if whole else Completeness.UNKNOWN), 0, last
    return Completeness.UNKNOWN, 0, None


def _judge_rest(tail: bytes, last: _Page | None, offset: int) -> Completeness:
    """Judge what follows the last page: the beginning of another means a cut; anything else means nothing."""
    rest = tail[last.end - offset :] if last else b""
    return Completeness.SHORT if rest and b"OggS".startswith(rest) else Completeness.UNKNOWN


def _checksum_holds(page: bytes) -> bool:
    """Return whether the page's CRC-32 is right.

    Ogg's CRC takes the bits in the opposite order of zlib's, starts at 0 and is not inverted. With every byte
    mirrored and both inversions undone, zlib gives the same value, mirrored.
    """
    stored = int.from_bytes(page[22:26], "little")
    blank = page[:22] + bytes(4) + page[26:]
    crc = zlib.crc32(blank.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_MIRRORED), "big") == stored


def _every_stream_ended(source: Source, survey: _Survey, last: _Page) -> bool:
    """Return whether no stream is left open. Of one stream only the two ends are read, of more all pages."""
    if survey.is_whole:
        return survey.every_stream_ended()
    first = _page(source.head, 0, 0)
    if len(survey.streams) == 1 and first is not None and first.serial == last.serial:
        return True
    began: set[int] = set()
    ended: set[int] = set()
    end = 0
    for page in _pages(source, _PAGES):
        end = page.end
        if page.flags & _BEGINS:
            began.add(page.serial)
            ended.discard(page.serial)
        if page.flags & _ENDS:
            ended.add(page.serial)
    return end == source.size and began == ended
