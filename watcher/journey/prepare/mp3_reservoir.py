"""MP3's bit reservoir: a frame's sound may begin in the frames before it. Facts: ISO/IEC 11172-3, 13818-3.

Where an MP3 is cut, the first frame of a part would lack what lies before the cut. A carrier is one silent frame
that holds just those bytes, copied, at its end: the frame after it decodes, and no sound is in two parts.
"""

from dataclasses import dataclass

_KBPS = {  # by MPEG-1 or not
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_LAYER_III = 1


@dataclass(frozen=True, slots=True)
class _Shape:
    version: int  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    rate: int
    side_start: int
    side_bytes: int

    @classmethod
    def of(cls, frame: bytes) -> "_Shape | None":
        if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0 or frame[1] >> 1 & 3 != _LAYER_III:
            return None
        version, rate = frame[1] >> 3 & 3, frame[2] >> 2 & 3
        if version not in _RATES or rate == 3:
            return None
        is_mono = frame[3] >> 6 == 3
        side = (17 if is_mono else 32) if version == 3 else (9 if is_mono else 17)
        return cls(version, _RATES[version][rate], 4 if frame[1] & 1 else 6, side)

    @property
    def main_start(self) -> int:
        return self.side_start + self.side_bytes


def needs_before(frame: bytes) -> int:
    """Return how many bytes of sound this frame takes from those before it; 0 where it stands alone."""
    shape = _Shape.of(frame)
    if shape is None or len(frame) < shape.main_start:
        return 0
    bits = int.from_bytes(frame[shape.side_start : shape.side_start + 2], "big")
    return bits >> 7 if shape.version == 3 else bits >> 8


def sound_of(frame: bytes) -> bytes:
    """Return the frame's bytes behind its header and side information."""
    shape = _Shape.of(frame)
    return frame[shape.main_start :] if shape else b""


def carrier(frame: bytes, before: bytes) -> bytes:
    """Return the silent frame to put before `frame`, given the sound of those before it; b"" if none helps."""
    shape, needed = _Shape.of(frame), needs_before(frame)
    if shape is None or not needed or len(before) < needed:
        return b""
    for index, kbps in enumerate(_KBPS[shape.version == 3]):
        length = (144 if shape.version == 3 else 72) * kbps * 1000 // shape.rate
        room = length - 4 - shape.side_bytes
        if room >= needed:
            third = index << 4 | frame[2] & 0x0C  # the same rate, no padding
            head = bytes((0xFF, frame[1] | 1, third, frame[3]))  # no checksum
            return head + bytes(shape.side_bytes + room - needed) + before[-needed:]
    return b""
