"""Recordings without a header: somebody has to say what they are.

Facts: ITU-T G.711, G.722 and G.729; 3GPP TS 46.010 (GSM 06.10), and the mark of its frames from libgsm.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import mul
from sys import byteorder
from typing import NamedTuple

from watcher.audio.examination import Completeness, Examination, Lengths, foreign
from watcher.audio.g711 import decoded
from watcher.audio.source import Source

_PIECES, _PIECE_BYTES = 16, 4096
_LOUD = 3000.0  # root mean square of 16 bits: no talk is so loud, and so unlike itself a sample later
_ALIKE = 0.15
_EXTREME, _EXTREME_SHARE = 28_000, 0.2
_GSM_BYTES, _GSM_MARK = 33, 0xD0
_MARKED_SHARE = 0.9


class _Coding(NamedTuple):
    name: str
    block_bytes: int
    block_samples: int
    rate: int | None = None  # the only one


_CODINGS: dict[str, _Coding] = {
    "mulaw": _Coding("µ-law", 1, 1),
    "alaw": _Coding("A-law", 1, 1),
    "pcm": _Coding("PCM", 2, 1),
    "s16be": _Coding("PCM", 2, 1),
    "gsm": _Coding("GSM 6.10", _GSM_BYTES, 160, 8000),
    "g722": _Coding("G.722", 1, 2, 16000),
    "g729": _Coding("G.729", 10, 80, 8000),
}


@dataclass(frozen=True, slots=True)
class Raw:
    """What a headerless recording is said to be."""

    codec: str  # a key of _CODINGS
    rate: int
    channels: int


def examine_raw(source: Source, raw: Raw) -> Examination:
    """Examine `source` as what it is said to be. Nothing in it tells its end: it is never proven.

    It is damaged where what it is said to be would surely make noise of it.
    """
    coding = _CODINGS[raw.codec]
    seconds = source.size / coding.block_bytes * coding.block_samples / raw.rate / raw.channels
    damage = _mismatch(source, raw, coding)
    told = Lengths(Completeness.UNKNOWN, 0, seconds, source.size >= coding.block_bytes * raw.channels, damage)
    is_plain = coding.block_bytes == 2
    return foreign(
        "raw",
        coding.name,
        raw.channels,
        raw.rate,
        told,
        bits=16 if is_plain else None,
        is_big_endian=raw.codec == "s16be",
    )


def _mismatch(source: Source, raw: Raw, coding: _Coding) -> str | None:
    if raw.codec == "gsm":
        marks = [source.at(at, 1) for at in _places(source, _GSM_BYTES)]
        marked = sum(bool(mark) and mark[0] & 0xF0 == _GSM_MARK for mark in marks)
        if marked < _MARKED_SHARE * len(marks):
            return (
                f"it is no GSM 6.10: only {marked:,} of {len(marks):,} frames looked at begin like one (audio.raw)"
            )
        return None
    if coding.block_samples != 1:
        return None
    noise = _Noise(raw.channels)
    for at in _places(source, coding.block_bytes * raw.channels):
        noise.hear(_samples(source.at(at, _PIECE_BYTES), raw))
    if noise.is_sure:
        return (
            f"it is no {coding.name} of {raw.channels} channels at {raw.rate} Hz: that would be noise (audio.raw)"
        )
    return None


def _places(source: Source, step: int) -> list[int]:
    """Return where to look into the sound: a few places, or many single blocks, evenly far apart."""
    blocks = max(1, source.size // step)
    count = min(_PIECES if step < _GSM_BYTES else 200, blocks)
    return [blocks * one // count * step for one in range(count)]


def _samples(data: bytes, raw: Raw) -> Sequence[int]:
    if raw.codec in ("mulaw", "alaw"):
        return list(map(decoded("mulaw" if raw.codec == "mulaw" else "alaw").__getitem__, data))
    numbers = array("h", data[: len(data) // 2 * 2])
    if (byteorder == "big") != (raw.codec == "s16be"):
        numbers.byteswap()
    return numbers


@dataclass(slots=True)
class _Noise:
    """Tells noise from sound, where it is sure: each sample of sound is much like the one before it."""

    channels: int
    count: int = 0
    power: float = 0.0
    likeness: float = 0.0
    extreme: int = 0

    def hear(self, samples: Sequence[int]) -> None:
        if len(samples) <= self.channels:
            return
        mean = sum(samples) / len(samples)
        level = [sample - mean for sample in samples]
        self.count += len(level)
        self.power += sum(map(mul, level, level))
        self.likeness += sum(_products(level, self.channels))
        self.extreme += sum(abs(sample) > _EXTREME for sample in samples)

    @property
    def is_sure(self) -> bool:
        if not self.count or not self.power:
            return False
        is_loud = (self.power / self.count) ** 0.5 > _LOUD
        is_unlike = abs(self.likeness / self.power) < _ALIKE
        return (is_loud and is_unlike) or self.extreme > _EXTREME_SHARE * self.count


def _products(level: list[float], apart: int) -> Iterator[float]:
    return map(mul, level, islice(level, apart, None))
