"""What the bytes of G.711 mean, as 16-bit samples. Facts: ITU-T G.711."""

from typing import Literal

_BIAS = 0x84


def decoded(law: Literal["mulaw", "alaw"]) -> tuple[int, ...]:
    """Return the sample of each of the 256 bytes."""
    return tuple(map(_mulaw if law == "mulaw" else _alaw, range(256)))


def _mulaw(byte: int) -> int:
    flipped = ~byte & 0xFF
    magnitude = (((flipped & 0x0F) << 3) + _BIAS << (flipped >> 4 & 7)) - _BIAS
    return -magnitude if flipped & 0x80 else magnitude


def _alaw(byte: int) -> int:
    flipped = byte ^ 0x55
    mantissa, exponent = flipped & 0x0F, flipped >> 4 & 7
    magnitude = (mantissa << 4) + (0x108 if exponent else 8) << max(0, exponent - 1)
    return magnitude if flipped & 0x80 else -magnitude
