"""MP3 (and MPEG audio Layer II) and AAC in ADTS: frames one after another, with or without a header.

Facts: ISO/IEC 11172-3 and 13818-3 (frames), 14496-3 (ADTS); Xing, LAME and VBRI headers as encoders write them.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from watcher.audio import aac
from watcher.audio.examination import Completeness, Examination
from watcher.audio.source import HOLE_BYTES, Source
from watcher.audio.tags import leading_tags_end, trailing_tags_start

_HEADER = 7  # bytes, of the longer of the two kinds
_SEARCH = 64 * 1024  # how far after a tag the first frame may begin
_TAIL = 24 * 1024  # three of the largest ADTS frames
_BLOCK = 256 * 1024
_LARGEST_FREE = 6000
_SEARCHES = 64
_PROBES = 200_000  # positions without a frame to examine, at most
_TOLERATED = 44  # bytes: a header that counts slightly too many does not mean a cut
_LOST_SECONDS = 0.2  # a decoder tolerates less: streaming programs put titles between the frames
_SURE = 3  # this many frames in a row are no coincidence

_KBPS = {  # (MPEG-1, layer) → by index
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = (44100, 48000, 32000)
_CODECS = {2: "MPEG Layer II", 3: "MP3"}


@dataclass(frozen=True, slots=True)
class _Frame:
    length: int  # bytes, header included
    samples: int  # for one channel
    rate: int
    channels: int
    layer: int  # 2 or 3; 0: AAC
    version: int

    def continues(self, other: "_Frame") -> bool:
        """Return whether both can belong to one stream."""
        return (self.layer, self.version, self.rate) == (other.layer, other.version, other.rate)


_Parse = Callable[[bytes, int], _Frame | None]


@dataclass(frozen=True, slots=True)
class _Stated:
    """What a Xing, Info or VBRI header says about the whole file."""

    is_there: bool = False
    frames: int = 0
    audio_bytes: int = 0  # from the frame with the header to the end of the last frame
    skipped: int = 0  # samples that an encoder added before and after the sound


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a walk over all frames found."""

    seconds: float
    frames: int
    damage: str | None = None


def examine_mpeg(source: Source) -> Examination | None:
    """Examine the MP3 or ADTS file in `source`; None where no frames follow its start, or its ID3v2 tag.

    Proven: a Xing, Info or VBRI header counts exactly the bytes that are there. Without one, frames prove
    nothing: short if the last one is cut, by the bytes that it lacks, else unknown. Thorough: every frame is
    walked, to find the exact length and what is missing in between.
    """
    tagged_to = leading_tags_end(source)
    if tagged_to > source.size:
        return _examination(None, None, Completeness.SHORT, tagged_to - source.size, has_sound=False)
    if tagged_to < source.size < tagged_to + _HEADER and tagged_to:
        return _examination(None, None, Completeness.SHORT, 0, has_sound=False)
    if tagged_to and trailing_tags_start(source, tagged_to) == tagged_to:
        return _examination(None, None, Completeness.UNKNOWN, 0, has_sound=False)
    found = _first_frame(source, tagged_to)
    if found is None:
        return _free_format(source, tagged_to)
    return _examine_frames(source, *found)


def _examine_frames(source: Source, start: int, first: _Frame) -> Examination:
    end = trailing_tags_start(source, start)
    stated = _stated(source.at(start, min(first.length, 256)), first)
    if stated.audio_bytes:
        completeness, missing = _judge_stated(source, start + stated.audio_bytes, end)
        mean = 0.0
    else:
        completeness, missing, mean = _judge_frames(source, start, end, first)
    hole = source.hole(start, end)
    if completeness is not Completeness.SHORT and hole == end - HOLE_BYTES:
        completeness = Completeness.SHORT  # the space is allocated, and the copy goes on
    count = stated.frames or ((end - start) / mean if mean else 0)
    seconds = max(0, count * first.samples - stated.skipped) / first.rate
    damage = None
    if source.is_thorough and completeness is not Completeness.SHORT:
        heard = _walk(source, start, end, first)
        if abs(heard.frames - stated.frames - 1) > 1:  # the header does not count its own frame
            seconds = heard.seconds
        damage = heard.damage
        if hole is not None:
            damage = f"from byte {hole:,} on it has zeros instead of sound"
    has_sound = end > start + first.length if stated.is_there else True
    return _examination(first, seconds or None, completeness, missing, has_sound=has_sound, damage=damage)


def _examination(
    frame: _Frame | None,
    seconds: float | None,
    completeness: Completeness,
    missing: int,
    *,
    has_sound: bool = True,
    damage: str | None = None,
) -> Examination:
    is_aac = frame is not None and frame.layer == 0
    return Examination(
        container="AAC" if is_aac else "MP3",
        codec="AAC" if is_aac else _CODECS[frame.layer] if frame else None,
        media_type="audio/aac" if is_aac else "audio/mpeg",
        extension=".aac" if is_aac else ".mp3",
        seconds=seconds,
        channels=frame.channels or None if frame else None,
        sample_rate=frame.rate if frame else None,
        completeness=completeness if damage is None else Completeness.UNKNOWN,
        missing_bytes=missing,
        has_sound=has_sound,
        damage=damage,
    )


def _mpeg_frame(data: bytes, at: int) -> _Frame | None:
    """Return the MPEG audio frame whose header is at `at`, if any."""
    header = data[at : at + 4]
    return _mpeg_header(header) if len(header) == 4 and header[0] == 0xFF else None


@lru_cache(maxsize=4096)
def _mpeg_header(header: bytes) -> _Frame | None:
    """Parse a frame header. Cached, since a file has few different ones.

    Not accepted are free-format frames and Layer I, which nobody uses: it would match UTF-16 text and raw G.711.
    """
    if header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbps_index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer not in (2, 3) or kbps_index in (0, 15) or rate_index == 3:
        return None
    full = version == 3  # MPEG-1; 2: MPEG-2, half the rates; 0: MPEG-2.5, a quarter
    kbps = _KBPS[full, layer][kbps_index]
    rate = _MPEG_RATES[rate_index] >> (0 if full else 1 if version == 2 else 2)
    samples = 576 if layer == 3 and not full else 1152
    length = samples // 8 * kbps * 1000 // rate + (header[2] >> 1 & 1)
    channels = 1 if header[3] >> 6 == 3 else 2
    return _Frame(length, samples, rate, channels, layer, version)


def _aac_frame(data: bytes, at: int) -> _Frame | None:
    """Return the ADTS frame whose header is at `at`, if any."""
    if at + _HEADER > len(data) or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    rate_index = data[at + 2] >> 2 & 15
    length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if rate_index >= len(aac.RATES) or length <= _HEADER:
        return None
    channels = (data[at + 2] & 1) << 2 | data[at + 3] >> 6
    samples = 1024 * ((data[at + 6] & 3) + 1)
    return _Frame(length, samples, aac.RATES[rate_index], 8 if channels == 7 else channels, 0, 0)


def _first_frame(source: Source, start: int) -> tuple[int, _Frame] | None:
    """Return the first frame and its position: at `start`, or some way after a tag. The next must match it."""
    data = source.at(start, _SEARCH) if start else source.head
    at = 0
    while 0 <= at < len(data):
        for parse in (_mpeg_frame, _aac_frame):
            frame = parse(data, at)
            if frame and _is_followed(source, start + at + frame.length, frame, parse):
                if not frame.channels:  # given by an element inside the frame
                    header = _HEADER if data[at + 1] & 1 else _HEADER + 2
                    told = aac.program_channels(source.at(start + at + header, 64))
                    frame = replace(frame, channels=told or 0)
                return start + at, frame
        at = data.find(b"\xff", at + 1) if start else -1
    return None


def _is_followed(source: Source, after: int, frame: _Frame, parse: _Parse) -> bool:
    header = source.at(after, _HEADER)
    if len(header) < _HEADER:
        return True  # the file ends before the next frame
    following = parse(header, 0)
    return header[:3] == b"TAG" or header == b"APETAGE" or bool(following and following.continues(frame))


def _free_format(source: Source, start: int) -> Examination | None:
    """Examine a free-format MP3, where the length of a frame is the distance from one header to the next.

    Few decoders support it. Five headers at the same distance are no coincidence.
    """
    data = source.at(start, 5 * _LARGEST_FREE)
    if len(data) < 4 or data[0] != 0xFF or data[2] >> 4:
        return None
    like = _mpeg_header(data[:2] + bytes([data[2] | 0x10, data[3]]))  # the same frame at a fixed bit rate
    length = data.find(data[:2], 24) if like else -1
    for _ in range(_SEARCHES):
        if like is None or not 0 < length <= _LARGEST_FREE:
            return None
        places = [number * length for number in range(5)]
        if all(data[at : at + 2] == data[:2] and data[at + 2 : at + 3] < b"\x10" for at in places):
            seconds = (source.size - start) / length * like.samples / like.rate
            damage = "it is in MP3's free format, which most decoders cannot play"
            return _examination(like, seconds, Completeness.UNKNOWN, 0, damage=damage)
        length = data.find(data[:2], length + 1)
    return None


def _stated(frame_start: bytes, frame: _Frame) -> _Stated:
    """Parse the header that the first MP3 frame may hold instead of sound."""
    if frame.layer != 3:
        return _Stated()
    if frame_start[36:40] == b"VBRI" and len(frame_start) >= 54:
        audio_bytes, frames = struct.unpack_from(">II", frame_start, 46)
        return _Stated(True, frames, audio_bytes)
    side_bytes = (17 if frame.channels == 1 else 32) if frame.version == 3 else (9, 17)[frame.channels - 1]
    at = 4 + side_bytes
    if frame_start[at : at + 4] not in (b"Xing", b"Info") or len(frame_start) < at + 16:
        return _Stated()
    flags = int.from_bytes(frame_start[at + 4 : at + 8], "big")
    at += 8
    numbers = []
    for flag, width in ((1, 4), (2, 4), (4, 100), (8, 4)):  # frames, bytes, seek table, quality
        present = width if flags & flag else 0
        numbers.append(int.from_bytes(frame_start[at : at + present], "big") if width == 4 else 0)
        at += present
    delays = int.from_bytes(frame_start[at + 21 : at + 24], "big")  # LAME's extension: 12 bits each
    skipped = (delays >> 12) + (delays & 0xFFF) if frame_start[at : at + 1].isalpha() else 0
    return _Stated(True, numbers[0], numbers[1], skipped)


def _judge_stated(source: Source, stated_end: int, end: int) -> tuple[Completeness, int]:
    """Compare the header's count with the file, with and without trailing tags, since encoders differ."""
    if stated_end in (end, source.size):
        return (Completeness.UNKNOWN if source.ends_in_zeros() else Completeness.PROVEN), 0
    if stated_end > source.size + _TOLERATED:
        return Completeness.SHORT, stated_end - source.size
    return Completeness.UNKNOWN, 0


def _walk(source: Source, start: int, end: int, first: _Frame) -> _Heard:
    """Walk every frame from `start` to `end`, and note what is between them; tags in the middle lose no sound."""
    parse: _Parse = _aac_frame if first.layer == 0 else _mpeg_frame
    run = _aac_run if first.layer == 0 else _mpeg_run
    seconds, samples, rate, frames, at = 0.0, 0, first.rate, 0, start
    gap_start, lost_at, longest, probes = -1, 0, 0, _PROBES
    block, block_start = b"", 0
    while at < end:
        if at + _HEADER > block_start + len(block):
            block, block_start = source.at(at, min(_BLOCK, end - at)), at
            if not block:  # the file has shrunk
                break
        frame = parse(block, at - block_start)
        if frame is not None and (gap_start < 0 or _is_sure(source, at, parse)):
            if gap_start >= 0 and at - gap_start > longest:
                lost_at, longest = gap_start, at - gap_start
            gap_start = -1
            if frame.rate != rate:
                seconds, samples, rate = seconds + samples / rate, 0, frame.rate
            count, after = run(block, at - block_start, frame)
            samples, frames, at = samples + count * frame.samples, frames + count, block_start + after
        elif tagged := _tag_bytes(source, at) if block[at - block_start] in b"ITA" else 0:
            at += tagged
        elif probes == 0:
            break
        else:
            probes -= 1
            gap_start = at if gap_start < 0 else gap_start
            found = block.find(b"\xff", at - block_start + 1)
            at = block_start + found if found >= 0 else block_start + len(block)
    seconds += samples / rate
    lost = longest * seconds / max(1, end - start - longest)
    told = f"{lost:.1f} s from byte {lost_at:,} on are not sound" if lost > _LOST_SECONDS else None
    return _Heard(seconds, frames, told)


# Nearly all the time goes into stepping from frame to frame, so no objects are created for frames that are alike.


def _mpeg_run(block: bytes, at: int, frame: _Frame) -> tuple[int, int]:
    """Count the frames like `frame`, which is at `at`, that follow each other in the block; and where they end.

    Alike means the same rate and number of samples.
    """
    lengths = {block[at : at + 3]: frame.length}  # the fourth byte only holds the channels
    last = len(block) - _HEADER
    count, at = 1, at + frame.length
    while at <= last:
        header = block[at : at + 3]
        length = lengths.get(header)
        if length is None:
            other = _mpeg_frame(block, at)
            if other is None or (other.rate, other.samples) != (frame.rate, frame.samples):
                break
            length = lengths[header] = other.length
        count += 1
        at += length
    return count, at


_AAC_ALIKE = 0xFFF63C00000003  # bits of an ADTS header's 7 bytes: sync word, rate and number of samples


def _aac_run(block: bytes, at: int, frame: _Frame) -> tuple[int, int]:
    """See _mpeg_run."""
    like = int.from_bytes(block[at : at + _HEADER], "big") & _AAC_ALIKE
    last = len(block) - _HEADER
    count, at = 1, at + frame.length
    while at <= last:
        header = int.from_bytes(block[at : at + _HEADER], "big")
        length = header >> 13 & 0x1FFF
        if header & _AAC_ALIKE != like or length <= _HEADER:
            break
        count += 1
        at += length
    return count, at


def _is_sure(source: Source, at: int, parse: _Parse) -> bool:
    """Return whether enough frames follow each other from `at` to rule out coincidence."""
    for _ in range(_SURE):
        frame = parse(source.at(at, _HEADER), 0)
        if frame is None:
            return False
        at += frame.length
    return True


def _tag_bytes(source: Source, at: int) -> int:
    """Return the size of the tag at `at`, between two joined recordings; 0 where there is none."""
    header = source.at(at, 32)
    if header[:3] == b"ID3":
        return leading_tags_end(source.behind(at))
    if header[:3] == b"TAG":
        return 128
    return int.from_bytes(header[12:16], "little") + 32 if header[:8] == b"APETAGEX" and len(header) == 32 else 0


def _judge_frames(source: Source, start: int, end: int, first: _Frame) -> tuple[Completeness, int, float]:
    """Judge by the last frames. Return also how many bytes the last lacks, and the mean length of a frame."""
    parse: _Parse = _aac_frame if first.layer == 0 else _mpeg_frame
    offset = max(start, end - _TAIL)
    tail = source.at(offset, end - offset)
    begin = after = -1
    frames = 0
    while not (frames >= _SURE or (frames and offset + begin == start)):
        begin = tail.find(b"\xff", begin + 1)
        if begin < 0:
            return Completeness.UNKNOWN, 0, float(first.length)
        frames, after = _chain(tail, begin, parse)
    mean = (after - begin) / frames
    if after > len(tail):
        return Completeness.SHORT, after - len(tail), mean
    header_is_cut = len(tail) - after < _HEADER and _begins_frame(tail[after:])
    return (Completeness.SHORT if header_is_cut else Completeness.UNKNOWN), 0, mean


def _begins_frame(rest: bytes) -> bool:
    return rest[:1] == b"\xff" and rest[1:2] >= b"\xe0"[: len(rest) - 1]


def _chain(data: bytes, at: int, parse: _Parse) -> tuple[int, int]:
    """Return how many frames follow each other from `at`, and where the last ends, perhaps beyond the data."""
    count = 0
    first: _Frame | None = None
    while (frame := parse(data, at)) and (first is None or frame.continues(first)):
        first = first or frame
        count += 1
        at += frame.length
    return count, at
