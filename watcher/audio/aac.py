"""AAC in an MP4: the elementary stream descriptor, and the AudioSpecificConfig in it.

Facts: ISO/IEC 14496-1 (descriptors), 14496-3 (AudioSpecificConfig).
"""

from dataclasses import dataclass

RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

_CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 11: 7, 12: 8, 13: 24, 14: 8}
_SBR, _PS = (
    5,
    29,
)  # spectral band replication, which doubles the rate; parametric stereo, which doubles the channels
_KNOWN = frozenset((1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23, 36, 37, 38, 39, 42))
_OBJECTS = {0x40: "AAC", 0x66: "AAC", 0x67: "AAC", 0x68: "AAC", 0x69: "MP3", 0x6B: "MP3"}
_OBJECTS |= {0xA5: "AC-3", 0xA6: "E-AC-3", 0xA9: "DTS", 0xAD: "Opus", 0xDD: "Vorbis", 0xE1: "QCELP"}


@dataclass(frozen=True, slots=True)
class Voice:
    """The codec, rate and channels of a track; None where its descriptor does not say."""

    codec: str
    channels: int | None = None
    rate: int | None = None


class _Bits:
    """Bytes, read bit by bit; zeros beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self.left = 8 * len(data)

    def take(self, count: int) -> int:
        self.left -= count
        shifted = self._value >> self.left if self.left >= 0 else self._value << -self.left
        return shifted & (1 << count) - 1


def describe(esds: bytes) -> Voice | None:
    """Parse the descriptor, the content of an `esds` box; None where it describes nothing that can be played."""
    tag, body = _descriptor(esds[4:])
    if tag != 3 or len(body) < 3:
        return None
    flags = body[2]
    at = 3 + (2 if flags & 0x80 else 0)
    if flags & 0x40:
        at += 1 + (body[at] if at < len(body) else 0)
    tag, config = _descriptor(body[at + (2 if flags & 0x20 else 0) :])
    if tag != 4 or len(config) < 13:
        return None
    codec = _OBJECTS.get(config[0])
    if codec is None or codec != "AAC":
        return Voice(codec) if codec else None
    tag, specific = _descriptor(config[13:])
    return configured(specific) if tag == 5 and len(specific) >= 2 else None


def _descriptor(data: bytes) -> tuple[int, bytes]:
    """Return the tag and the body of the descriptor at the beginning; its length has seven bits per byte."""
    length = 0
    for at in range(1, min(5, len(data))):
        length = length << 7 | data[at] & 0x7F
        if not data[at] & 0x80:
            return data[0], data[at + 1 : at + 1 + length]
    return 0, b""


def configured(specific: bytes) -> Voice | None:
    """Parse an AudioSpecificConfig; None where no decoder accepts it."""
    bits = _Bits(specific)
    kind, rate, channels_index = _object(bits), _rate(bits), bits.take(4)
    extended: int | None = None
    has_stereo = kind == _PS
    if kind in (_SBR, _PS):
        extended, kind = _rate(bits), _object(bits)
    channels = _CHANNELS.get(channels_index)
    if kind not in _KNOWN or rate is None or (channels is None and channels_index):
        return None
    if channels_index == 0 and kind in (1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23):
        bits.take(1)  # frame length
        if bits.take(1):
            bits.take(14)  # delay of the core coder
        bits.take(1)
        channels = _element_channels(bits)
    elif extended is None and kind == 2:
        bits.take(3)
        extended, has_stereo = _extension(bits)
    return Voice("AAC", 2 if has_stereo and channels == 1 else channels, extended or rate)


def program_channels(block: bytes) -> int | None:
    """Return the channels by the first element of an AAC block; None where that does not say."""
    bits = _Bits(block)
    return _element_channels(bits) if bits.take(3) == 5 else None


def _object(bits: _Bits) -> int:
    kind = bits.take(5)
    return 32 + bits.take(6) if kind == 31 else kind


def _rate(bits: _Bits) -> int | None:
    index = bits.take(4)
    if index == 15:
        return bits.take(24) or None
    return RATES[index] if index < len(RATES) else None


def _extension(bits: _Bits) -> tuple[int | None, bool]:
    """Return the rate of the extension that is hidden from older decoders, and whether it adds stereo."""
    if bits.left < 16 or bits.take(11) != 0x2B7 or _object(bits) != _SBR or not bits.take(1):
        return None, False
    rate = _rate(bits)
    return rate, bits.left >= 12 and bits.take(11) == 0x548 and bits.take(1) == 1


def _element_channels(bits: _Bits) -> int | None:
    """Return the channels of a program config element, single ones and pairs."""
    bits.take(4 + 2 + 4)  # tag, object, rate
    front, side, back, effects = bits.take(4), bits.take(4), bits.take(4), bits.take(2)
    bits.take(3 + 4)  # data and coupling elements
    for width in (4, 4, 3):  # mono and stereo mixdown, and the matrix
        if bits.take(1):
            bits.take(width)
    channels = effects
    for _ in range(front + side + back):
        channels += 1 + bits.take(1)
        bits.take(4)
    return channels or None
