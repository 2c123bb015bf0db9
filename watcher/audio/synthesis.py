"""Synthetic recordings for the demo: WAV files that sound like somebody mumbling, and AMR of noise."""

import random
import struct
from array import array
from collections.abc import Sequence
from functools import cache
from math import pi, sin
from sys import byteorder
from typing import Literal

Codec = Literal["pcm", "mulaw", "alaw"]

Marks = Sequence[tuple[bytes, float, float]]

_TAGS = {"pcm": 1, "alaw": 6, "mulaw": 7}
_HARMONICS = (1.0, 0.7, 0.45, 0.5, 0.3, 0.12)


def wav(
    seconds: float,
    *,
    rate: int = 8000,
    channels: int = 1,
    codec: Codec = "pcm",
    seed: int = 0,
    note: bytes = b"",
) -> bytes:
    """Return a WAV of `seconds`, at least one sample long. The same arguments give the same bytes.

    `rate` is in samples per second; PCM has 16 bits, `mulaw` and `alaw` 8. Each of several channels differs.
    `note`, if given, becomes a comment (LIST, INFO, ICMT) before the sound.
    """
    count = max(1, round(seconds * rate))
    samples = array("h", bytes(2 * count * channels))
    for channel in range(channels):
        samples[channel::channels] = _voice(count, rate, random.Random(f"{seed}/{channel}"))  # noqa: S311
    if codec == "pcm":
        if byteorder == "big":
            samples.byteswap()
        data = samples.tobytes()
    else:
        table = _companded(codec)
        data = bytes([table[sample >> 3] for sample in samples])
    return _riff(data, rate, channels, codec, note)


def long_wav(
    seconds: float, *, channels: int = 2, codec: Codec = "pcm", seed: int = 0, marks: Marks = ()
) -> bytes:
    """Return a WAV of whole minutes: one minute of `wav`, again and again, since more takes long to make.

    Over its sound lie `marks`: a note every quarter of a second, from one time to another.
    """
    minute = wav(60.0, channels=channels, codec=codec, seed=seed)
    at = minute.index(b"data") + 8
    sound = bytearray(minute[at:] * round(seconds / 60))
    a_second = (len(minute) - at) // 60
    for note, start, end in marks:
        for place in range(round(start * a_second), round(end * a_second), a_second // 4):
            sound[place : place + len(note)] = note
    return _riff(bytes(sound), 8000, channels, codec, b"")


def amr(seconds: float, *, seed: int = 0) -> bytes:
    """Return an AMR recording of 12.2 kbit/s, of noise. The same seed gives the same bytes."""
    chance = random.Random(seed)  # noqa: S311
    frames = (chance.randbytes(30) + bytes([chance.randrange(16) << 4]) for _ in range(round(seconds * 50)))
    return b"#!AMR\n" + b"".join(b"\x3c" + frame for frame in frames)


def _voice(count: int, rate: int, chance: random.Random) -> "array[int]":
    """Return syllables of some harmonics, each swelling and fading, with a little noise between them."""
    hiss = array("h", (chance.choice((-9, -6, -3, 4, 7, 10)) for _ in range(997)))
    pitch = chance.uniform(85, 220)
    sound = array("h")
    while len(sound) < count:
        period = max(2, round(rate / (pitch * chance.uniform(0.85, 1.2))))
        strengths = [strength * chance.uniform(0.4, 1) for strength in _HARMONICS]
        wave = [
            sum(s * sin(2 * pi * (n + 1) * at / period) for n, s in enumerate(strengths)) for at in range(period)
        ]
        held = chance.randint(4, 14)
        for level, times in ((900, 2), (2400, 2), (4200, held), (2800, 3), (1000, 2)):
            sound.extend(array("h", (int(level * value) + 1 for value in wave)) * times)
        pause = round(rate * chance.choice((0.03, 0.05, 0.08, 0.4)))
        sound.extend((hiss * (pause // len(hiss) + 1))[:pause])
    return sound[: count - 1] + array("h", [24])  # so that the end cannot be taken for a hole


def _riff(data: bytes, rate: int, channels: int, codec: Codec, note: bytes) -> bytes:
    width = 2 if codec == "pcm" else 1
    block = width * channels
    fmt = struct.pack("<HHIIHH", _TAGS[codec], channels, rate, rate * block, block, 8 * width)
    body = b"WAVE"
    if codec == "pcm":
        body += _chunk(b"fmt ", fmt)
    else:
        body += _chunk(b"fmt ", fmt + bytes(2)) + _chunk(b"fact", struct.pack("<I", len(data) // block))
    if note:
        body += _chunk(b"LIST", b"INFO" + _chunk(b"ICMT", note + b"\0"))
    return _chunk(b"RIFF", body + _chunk(b"data", data))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)


@cache
def _companded(codec: Codec) -> tuple[int, ...]:
    """Return the G.711 code of every 13-bit sample, those of negative samples at negative indices."""
    code = _mulaw if codec == "mulaw" else _alaw
    return tuple(code(value * 8) for value in (*range(4096), *range(-4096, 0)))


def _mulaw(sample: int) -> int:
    magnitude = min(abs(sample), 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | magnitude >> exponent + 3 & 15) & 0xFF


def _alaw(sample: int) -> int:
    magnitude = sample if sample >= 0 else ~sample
    exponent = max(0, magnitude.bit_length() - 8)
    mantissa = magnitude >> (exponent + 3 if exponent else 4) & 15
    return ((0x80 if sample >= 0 else 0) | exponent << 4 | mantissa) ^ 0x55
