"""FLAC: the last frame shows whether it is the last of the stream. Facts: RFC 9639."""

from dataclasses import dataclass

from watcher.audio.examination import Completeness, Examination
from watcher.audio.source import Source
from watcher.audio.tags import trailing_tags_start

_SYNCS = (b"\xff\xf8", b"\xff\xf9")
_LEAST_BLOCK = 16
_BLOCKS = 128
_CANDIDATES = 64
_LAST_FRAMES = 4
_REST_BYTES = 64
_SEARCH = 256 * 1024
_LOST_SECONDS = 0.05
_WINDOW_MIN, _WINDOW_MAX = 16 * 1024, 256 * 1024


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    """Return the remainders of all bytes, for a CRC that starts at the highest bit."""
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    remainders = []
    for byte in range(256):
        crc = byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ (polynomial if crc & top else 0)) & mask
        remainders.append(crc)
    return tuple(remainders)


# By the header's code; with 6 and 7 the number itself follows, 0 is reserved.
_BLOCK_SAMPLES = (0, 192, 576, 1152, 2304, 4608, 0, 0, *(1 << code for code in range(8, 16)))

_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}  # per sample, by the header's code; else the stream's

_CRC8 = _table(0x07, 8)
_CRC16 = _table(0x8005, 16)


@dataclass(frozen=True, slots=True)
class _Stream:
    block_samples: int
    frame_bytes: int  # the largest frame; 0: not known
    rate: int
    channels: int
    bits: int  # per sample
    samples: int  # in total; 0: not known

    def damage(self) -> str | None:
        if not self.rate or self.block_samples < _LEAST_BLOCK:
            return f"its header says {self.rate} samples a second, in blocks of {self.block_samples}"
        return None


@dataclass(frozen=True, slots=True)
class _Frame:
    first_sample: int
    samples: int

    @property
    def end(self) -> int:
        return self.first_sample + self.samples


def examine_flac(source: Source) -> Examination:
    """Examine the FLAC in `source`, which begins with `fLaC`.

    Proven: the file ends with a frame whose number makes it the last one by the header's count of samples, and
    whose checksum is right. Without such a count, the checksum shows a cut, but nothing proves the end.
    Thorough: the frames follow each other without a gap.
    """
    stream, audio_start, missing = _metadata(source)
    completeness, damage, samples = Completeness.SHORT, None, stream.samples if stream else 0
    end = trailing_tags_start(source, audio_start) if audio_start is not None else 0
    has_frames = audio_start is not None and end > audio_start
    if missing is not None:
        pass
    elif stream is None or audio_start is None:
        completeness, damage = Completeness.UNKNOWN, "its metadata does not describe the stream"
    elif not has_frames:
        completeness = Completeness.SHORT if stream.samples else Completeness.UNKNOWN
    else:
        completeness, last = _judge(source, stream, audio_start, end)
        samples = samples or (last.end if last else 0)
        if completeness is not Completeness.SHORT:
            damage = stream.damage() or _damage(source, stream, audio_start, end)
    return Examination(
        container="FLAC",
        codec="FLAC",
        media_type="audio/flac",
        extension=".flac",
        seconds=samples / stream.rate if samples and stream and stream.rate else None,
        channels=stream.channels if stream else None,
        sample_rate=stream.rate or None if stream else None,
        completeness=completeness if damage is None else Completeness.UNKNOWN,
        missing_bytes=missing or 0,
        has_sound=has_frames,
        damage=damage,
    )


def _metadata(source: Source) -> tuple[_Stream | None, int | None, int | None]:
    """Return the stream's description, where the frames begin, and how many bytes of metadata are missing."""
    stream = None
    at = 4
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
        bits=(packed >> 36 & 31) + 1,
        samples=packed & (1 << 36) - 1,
    )


def _judge(source: Source, stream: _Stream, start: int, end: int) -> tuple[Completeness, _Frame | None]:
    """Judge by the last frame between `start` and `end`, and return it."""
    sync = source.at(start, 2)
    if sync not in _SYNCS:
        return Completeness.UNKNOWN, None
    window = min(max(2 * stream.frame_bytes, _WINDOW_MIN), _WINDOW_MAX, end - start)
    tail = source.at(end - window, window)
    at, seen, latest = len(tail), 0, None
    for _ in range(_CANDIDATES):
        at = tail.rfind(sync, 0, at)
        if at < 0 or seen == _LAST_FRAMES:
            break
        frame = _frame(tail[at : at + 16], stream)
        if frame is None:
            continue
        if not stream.samples:
            # What looks like a frame may be inside of one: then the frame before it has the right checksum.
            seen, latest = seen + 1, latest or frame
            if _judge_last(tail[at:]) is not Completeness.SHORT:
                return Completeness.UNKNOWN, frame
        elif frame.end == stream.samples:
            return _judge_last(tail[at:]), frame
        elif frame.end < stream.samples:
            return Completeness.SHORT, frame  # the frames that should follow are missing
    return (Completeness.SHORT if seen else Completeness.UNKNOWN), latest


def _damage(source: Source, stream: _Stream, start: int, end: int) -> str | None:
    """Return why a decoder loses sound between `start` and `end`: there is no frame, or some are missing."""
    header = source.at(start, 16)
    first = _frame(header, stream) if header[:2] in _SYNCS else None
    if first is None:
        return "no frame of sound follows its metadata"
    channels = min(header[3] >> 4, 8)
    bits = _BITS.get(header[3] >> 1 & 7, stream.bits)
    if (stream.channels, stream.bits) != (2 if channels == 8 else channels + 1, bits):
        return "its header and its first frame do not agree"
    lost = _lost(source, stream, first, start, end) if source.is_thorough else 0
    if lost > _LOST_SECONDS * stream.rate:
        return f"{lost / stream.rate:.1f} s of its sound are missing in the middle"
    return None


def _lost(source: Source, stream: _Stream, first: _Frame, start: int, end: int) -> int:
    """Return how many of the counted samples are in no frame."""
    sync, expected, at, lost = source.at(start, 2), first.end, start + 2, 0
    ahead: dict[int, _Frame] = {}  # frames beyond a gap, by where their successors should begin
    while at < end:
        wanted = min(_SEARCH, end - at)
        data = source.at(at, wanted)
        found = data.find(sync)
        while found >= 0:
            frame = _frame(data[found : found + 16], stream)
            if frame is None or frame.first_sample < expected:
                pass
            elif frame.first_sample == expected:
                expected = frame.end
            elif (before := ahead.get(frame.first_sample)) is not None:
                lost += before.first_sample - expected  # two consecutive frames are no coincidence
                expected = frame.end
                ahead.clear()
            elif len(ahead) < _CANDIDATES:
                ahead[frame.end] = frame
            found = data.find(sync, found + 2)
        if len(data) < wanted or at + wanted == end:  # what should follow may be gone since its size was taken
            break
        at += max(1, wanted - 16)
    return lost + max(0, stream.samples - expected)


def _judge_last(frame: bytes) -> Completeness:
    """Judge the last frame by its CRC, which is 0 over frame and footer. Something else may follow it briefly."""
    crc, table = 0, _CRC16
    ended = 0
    for at, byte in enumerate(frame):
        crc = (crc << 8 & 0xFF00) ^ table[crc >> 8 ^ byte]
        if crc == 0:
            ended = at + 1
    if ended == len(frame):
        return Completeness.PROVEN
    # Further back, 16 bits are 0 by chance too often; and what follows may be the next frame, cut.
    is_whole = ended and ended >= len(frame) - _REST_BYTES and not _SYNCS[0].startswith(frame[ended:][:1])
    return Completeness.UNKNOWN if is_whole else Completeness.SHORT


def _frame(header: bytes, stream: _Stream) -> _Frame | None:
    """Return the frame that begins with `header`, if its CRC-8, over the header so far, is right."""
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
