"""FLAC: the last frame says whether it is the last one. Facts: RFC 9639."""

from dataclasses import dataclass

from watcher.audio.examination import Completeness, Examination
from watcher.audio.source import Source
from watcher.audio.tags import trailing_tags_start

_BLOCKS = 128
_CANDIDATES = 64
_WINDOW_MIN, _WINDOW_MAX = 16 * 1024, 256 * 1024


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    """The remainders of all bytes, for a CRC that runs from the highest bit down."""
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    remainders = []
    for byte in range(256):
        crc = byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ (polynomial if crc & top else 0)) & mask
        remainders.append(crc)
    return tuple(remainders)


# By the header's code; 6 and 7 say that the number itself follows, 0 is reserved.
_BLOCK_SAMPLES = (0, 192, 576, 1152, 2304, 4608, 0, 0, *(1 << code for code in range(8, 16)))

_CRC8 = _table(0x07, 8)
_CRC16 = _table(0x8005, 16)


@dataclass(frozen=True, slots=True)
class _Stream:
    block_samples: int
    frame_bytes: int  # the largest frame; 0: not told
    rate: int
    channels: int
    samples: int  # in all; 0: not told


@dataclass(frozen=True, slots=True)
class _Frame:
    first_sample: int
    samples: int


def examine_flac(source: Source, start: int) -> Examination:
    """What the FLAC in `source` is, whose `fLaC` lies at `start`.

    Proven: the file ends with a frame whose number makes it the last of the samples that the header promises,
    and whose checksum is right. A header without that number proves nothing.
    """
    stream, audio_start, missing = _metadata(source, start)
    if missing is not None:
        completeness = Completeness.SHORT
    elif stream is None or stream.samples == 0 or audio_start is None:
        completeness = Completeness.UNKNOWN
    else:
        completeness = _judge(source, stream, audio_start)
    return Examination(
        container="FLAC",
        codec="FLAC",
        media_type="audio/flac",
        extension=".flac",
        seconds=stream.samples / stream.rate if stream and stream.samples and stream.rate else None,
        channels=stream.channels if stream else None,
        sample_rate=stream.rate or None if stream else None,
        completeness=completeness,
        missing_bytes=missing or 0,
    )


def _metadata(source: Source, start: int) -> tuple[_Stream | None, int | None, int | None]:
    """The stream's description, where the frames begin, and how many bytes the blocks before them lack, if any."""
    stream = None
    at = start + 4
    for _ in range(_BLOCKS):
        header = source.at(at, 4)
        if len(header) < 4:
            return stream, None, 4 - len(header)
        length = int.from_bytes(header[1:], "big")
        if header[0] & 0x7F == 0 and stream is None:
            stream = _stream(source.at(at + 4, min(length, 34)))
        at += 4 + length
        if at > source.size:
            return stream, None, at - source.size
        if header[0] & 0x80:
            return stream, at, None
    return stream, None, None


def _stream(block: bytes) -> _Stream | None:
    if len(block) < 34:
        return None
    packed = int.from_bytes(block[10:18], "big")
    return _Stream(
        block_samples=int.from_bytes(block[2:4], "big"),
        frame_bytes=int.from_bytes(block[7:10], "big"),
        rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        samples=packed & (1 << 36) - 1,
    )


def _judge(source: Source, stream: _Stream, audio_start: int) -> Completeness:
    end = trailing_tags_start(source, audio_start)
    if end == audio_start:
        return Completeness.SHORT
    sync = source.at(audio_start, 2)
    if sync not in (b"\xff\xf8", b"\xff\xf9"):
        return Completeness.UNKNOWN
    window = min(max(2 * stream.frame_bytes, _WINDOW_MIN), _WINDOW_MAX, end - audio_start)
    tail = source.at(end - window, window)
    at = len(tail)
    for _ in range(_CANDIDATES):
        at = tail.rfind(sync, 0, at)
        if at < 0:
            break
        frame = _frame(tail[at : at + 16], stream)
        if frame is None:
            continue
        if frame.first_sample + frame.samples == stream.samples:
            return _judge_last(tail[at:])
        if frame.first_sample + frame.samples < stream.samples:
            return Completeness.SHORT  # the frames that should follow this one are not there
    return Completeness.UNKNOWN


def _judge_last(frame: bytes) -> Completeness:
    """A frame with its footer leaves a CRC of 0. Where that happens before the end, something may follow it."""
    crc, table = 0, _CRC16
    ended_before = False
    for byte in frame[:-1]:
        crc = (crc << 8 & 0xFF00) ^ table[crc >> 8 ^ byte]
        if crc == 0:
            ended_before = True
    if table[crc >> 8 ^ frame[-1]] == crc << 8 & 0xFF00:
        return Completeness.PROVEN
    return Completeness.UNKNOWN if ended_before else Completeness.SHORT


def _frame(header: bytes, stream: _Stream) -> _Frame | None:
    """The frame that begins with `header`, where it is one by its checksum; its CRC-8 covers all before it."""
    if len(header) < 6 or header[3] & 1 or header[3] >> 4 > 10 or header[2] & 15 == 15:
        return None
    number_bytes = max(1, 8 - (header[4] ^ 0xFF).bit_length())
    if header[4] == 0xFF or 0x80 <= header[4] < 0xC0:
        return None
    number = header[4] & (0x7F if number_bytes == 1 else 0x7F >> number_bytes)
    at = 4 + number_bytes
    for byte in header[5:at]:
        number = number << 6 | byte & 0x3F
    size_code, rate_code = header[2] >> 4, header[2] & 15
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    samples = _BLOCK_SAMPLES[size_code] or int.from_bytes(header[at : at + size_bytes], "big") + 1
    at += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    crc = 0
    for byte in header[:at]:
        crc = _CRC8[crc ^ byte]
    if size_code == 0 or at >= len(header) or header[at] != crc:
        return None
    variable = header[1] & 1
    return _Frame(number if variable else number * stream.block_samples, samples)
