"""MP3 (and MPEG audio Layer II) and AAC in ADTS: frame after frame, with or without a header in front.

Facts: ISO/IEC 11172-3 and 13818-3 (frames), 14496-3 (ADTS); Xing, LAME and VBRI headers as encoders write them.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from watcher.audio.examination import Completeness, Examination
from watcher.audio.source import Source
from watcher.audio.tags import leading_tags_end, trailing_tags_start

_HEADER = 7  # the longer of the two kinds'
_SEARCH = 64 * 1024  # how far behind a tag the first frame may lie
_TAIL = 24 * 1024  # three of the largest ADTS frames
_SURE = 3  # so many frames in a row are no coincidence

_KBPS = {  # (MPEG-1, layer) → by index
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = (44100, 48000, 32000)
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
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
        """Whether both can belong to one stream."""
        return (self.layer, self.version, self.rate) == (other.layer, other.version, other.rate)


@dataclass(frozen=True, slots=True)
class _Stated:
    """What a Xing, Info or VBRI header says of the whole."""

    frames: int = 0
    audio_bytes: int = 0  # from the frame that holds the header to the end of the last


def examine_mpeg(source: Source) -> Examination | None:
    """What the MP3 or ADTS file in `source` is; null where no such frames begin it, be it behind an ID3v2 tag.

    Proven: a Xing, Info or VBRI header counts exactly the bytes that are there. Without one, frames prove
    nothing: short when the last is cut, with the bytes that this frame lacks, else unknown.
    """
    tagged_to = leading_tags_end(source)
    if tagged_to and source.size - tagged_to < _HEADER:
        return _examination(None, None, Completeness.SHORT, max(0, tagged_to - source.size))
    found = _first_frame(source, tagged_to)
    if found is None:
        return None
    start, first = found
    end = trailing_tags_start(source, start)
    stated = _stated(source.at(start, min(first.length, 256)), first)
    if stated.audio_bytes:
        completeness, missing = _judge_stated(source, start + stated.audio_bytes, end)
        mean = 0.0
    else:
        completeness, missing, mean = _judge_frames(source, start, end, first)
    count = stated.frames or ((end - start) / mean if mean else 0)
    seconds = count * first.samples / first.rate
    return _examination(first, seconds or None, completeness, missing)


def _examination(
    frame: _Frame | None, seconds: float | None, completeness: Completeness, missing: int
) -> Examination:
    aac = frame is not None and frame.layer == 0
    return Examination(
        container="AAC" if aac else "MP3",
        codec="AAC" if aac else _CODECS[frame.layer] if frame else None,
        media_type="audio/aac" if aac else "audio/mpeg",
        extension=".aac" if aac else ".mp3",
        seconds=seconds,
        channels=frame.channels or None if frame else None,
        sample_rate=frame.rate if frame else None,
        completeness=completeness,
        missing_bytes=missing,
    )


def _mpeg_frame(data: bytes, at: int) -> _Frame | None:
    """The MPEG audio frame whose header lies at `at`; null where none does.

    Free-format frames are none, and Layer I, which nobody uses: it would take in UTF-16 text and raw G.711.
    """
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] < 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    kbps_index, rate_index = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or layer not in (2, 3) or kbps_index in (0, 15) or rate_index == 3:
        return None
    full = version == 3  # MPEG-1; 2: MPEG-2, half the rates; 0: MPEG-2.5, a quarter
    kbps = _KBPS[full, layer][kbps_index]
    rate = _MPEG_RATES[rate_index] >> (0 if full else 1 if version == 2 else 2)
    samples = 576 if layer == 3 and not full else 1152
    length = samples // 8 * kbps * 1000 // rate + (data[at + 2] >> 1 & 1)
    channels = 1 if data[at + 3] >> 6 == 3 else 2
    return _Frame(length, samples, rate, channels, layer, version)


def _aac_frame(data: bytes, at: int) -> _Frame | None:
    """The ADTS frame whose header lies at `at`; null where none does."""
    if at + _HEADER > len(data) or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    rate_index = data[at + 2] >> 2 & 15
    length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if rate_index >= len(_AAC_RATES) or length <= _HEADER:
        return None
    channels = (data[at + 2] & 1) << 2 | data[at + 3] >> 6
    samples = 1024 * ((data[at + 6] & 3) + 1)
    return _Frame(length, samples, _AAC_RATES[rate_index], 8 if channels == 7 else channels, 0, 0)


def _first_frame(source: Source, start: int) -> tuple[int, _Frame] | None:
    """Where the first frame begins, and it: at `start`, or some way behind a tag. The next must agree with it."""
    data = source.at(start, _SEARCH) if start else source.head
    at = 0
    while 0 <= at < len(data):
        for parse in (_mpeg_frame, _aac_frame):
            frame = parse(data, at)
            if frame and _is_followed(source, start + at + frame.length, frame, parse):
                return start + at, frame
        at = data.find(b"\xff", at + 1) if start else -1
    return None


def _is_followed(source: Source, after: int, frame: _Frame, parse: Callable[[bytes, int], _Frame | None]) -> bool:
    header = source.at(after, _HEADER)
    if len(header) < _HEADER:
        return True  # the file ends before it could be told
    following = parse(header, 0)
    return header[:3] == b"TAG" or header == b"APETAGE" or bool(following and following.continues(frame))


def _stated(frame_start: bytes, frame: _Frame) -> _Stated:
    """The numbers of the header that a first MP3 frame may hold in place of sound."""
    if frame.layer != 3:
        return _Stated()
    if frame_start[36:40] == b"VBRI" and len(frame_start) >= 54:
        audio_bytes, frames = struct.unpack_from(">II", frame_start, 46)
        return _Stated(frames, audio_bytes)
    side_bytes = (17 if frame.channels == 1 else 32) if frame.version == 3 else (9, 17)[frame.channels - 1]
    at = 4 + side_bytes
    if frame_start[at : at + 4] not in (b"Xing", b"Info") or len(frame_start) < at + 16:
        return _Stated()
    flags, *numbers = struct.unpack_from(">III", frame_start, at + 4)
    frames = numbers.pop(0) if flags & 1 else 0
    return _Stated(frames, numbers.pop(0) if flags & 2 else 0)


def _judge_stated(source: Source, stated_end: int, end: int) -> tuple[Completeness, int]:
    """The header's count against the file, with its trailing tags or without, as encoders differ."""
    if stated_end in (end, source.size):
        return (Completeness.UNKNOWN if source.ends_in_zeros() else Completeness.PROVEN), 0
    if stated_end > source.size:
        return Completeness.SHORT, stated_end - source.size
    return Completeness.UNKNOWN, 0


def _judge_frames(source: Source, start: int, end: int, first: _Frame) -> tuple[Completeness, int, float]:
    """What the last frames say, how many bytes the last lacks, and the mean length of those that were seen."""
    parse = _aac_frame if first.layer == 0 else _mpeg_frame
    offset = max(start, end - _TAIL)
    tail = source.at(offset, end - offset)
    begin = after = -1
    frames = 0
    while not (frames >= _SURE or (frames and offset + begin == start)):
        begin = tail.find(b"\xff", begin + 1)
        if begin < 0:
            return Completeness.UNKNOWN, 0, float(first.length)
        frames, after = _chain(tail, begin, first, parse)
    mean = (after - begin) / frames
    if after > len(tail):
        return Completeness.SHORT, after - len(tail), mean
    header_is_cut = len(tail) - after < _HEADER and _begins_frame(tail[after:])
    return (Completeness.SHORT if header_is_cut else Completeness.UNKNOWN), 0, mean


def _begins_frame(rest: bytes) -> bool:
    return rest[:1] == b"\xff" and rest[1:2] >= b"\xe0"[: len(rest) - 1]


def _chain(data: bytes, at: int, first: _Frame, parse: Callable[[bytes, int], _Frame | None]) -> tuple[int, int]:
    """How many frames follow each other from `at`, and where the last of them ends, beyond the data perhaps."""
    count = 0
    while (frame := parse(data, at)) and frame.continues(first):
        count += 1
        at += frame.length
    return count, at
