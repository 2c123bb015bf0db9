"""Where to cut a recording: in the middle of the quietest stretch of the last fifth of what fits.

Pure: loudness in, borders out. Nothing overlaps, nothing is left out.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil, gcd, isfinite, log2, sqrt
from operator import mul
from sys import byteorder
from typing import NamedTuple

from watcher.audio.g711 import decoded

LEAST_SECONDS = 10.0
"""No part is shorter, where the limit leaves a choice: the service wants that much speech."""

WINDOW = 0.2
"""The share of a part, at its end, in which a quiet place is looked for."""

_GRAINS_A_SECOND = 50
_SAMPLES_A_GRAIN = 160  # more tell no more about its loudness, and cost time
_QUIET = 0.15  # of the way from the 10th to the 90th percentile
_SPEECH = 0.25  # of the 90th percentile: louder is no pause, though pauses be rarer than one grain in ten
_STRETCH_GRAINS = 15  # 0.3 s: a shorter gap may lie inside a word
_MOMENT_GRAINS = 5


class TooDense(Exception):
    """Not even one unit fits into a part."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The loudness of each grain of 20 ms: root mean square of (a few of) its samples, as if they had 16 bits."""

    values: "array[float]"
    grain_seconds: float

    def grain(self, seconds: float) -> int:
        """Return the grain at this time, within what there is."""
        return min(max(0, int(seconds / self.grain_seconds)), len(self.values))

    def is_faint(self, start_seconds: float, end_seconds: float) -> bool:
        """Return whether this stretch may be silent: what was skipped in measuring could still be loud."""
        return max(self.values[self.grain(start_seconds) : self.grain(end_seconds) + 1], default=0.0) <= _FAINT


@dataclass(slots=True)
class Listener:
    """Hears interleaved little-endian samples of one form, piece by piece.

    Forms: "u8", "s16", "s24", "s32", "s64", "f32", "f64", "mulaw", "alaw".
    """

    form: str
    channels: int
    rate: int
    _values: "array[float]" = field(default_factory=lambda: array("f"))
    _rest: bytes = b""

    def hear(self, data: bytes) -> None:
        """Measure what completes a grain, and keep the rest for the next piece."""
        count = self._grain_frames * self.channels
        step = count * WIDTHS[self.form]
        data = self._rest + data
        whole = len(data) // step * step
        self._rest = data[whole:]
        self._measure(data[:whole], count)

    def levels(self) -> Levels:
        """Return what was heard; the last grain may be a shorter one."""
        width = WIDTHS[self.form] * self.channels
        if rest := self._rest[: len(self._rest) // width * width]:
            self._measure(rest, len(rest) // WIDTHS[self.form])
            self._rest = b""
        return Levels(self._values, self._grain_frames / self.rate)

    @property
    def _grain_frames(self) -> int:
        return max(1, round(self.rate / _GRAINS_A_SECOND))

    def _measure(self, data: bytes, count: int) -> None:
        stride = max(1, count // _SAMPLES_A_GRAIN)
        while gcd(stride, self.channels) != 1:  # else some channels would never be heard
            stride += 1
        squares = _SQUARES.get(self.form)
        samples: Sequence[float] = data if squares else as_numbers(self.form, data)
        full = _FULL if self.form in ("f32", "f64") else 1.0
        for at in range(0, len(samples), count):
            heard = samples[at : at + count : stride]
            power = sum(map(squares.__getitem__, heard)) if squares else sum(map(mul, heard, heard))  # type: ignore[arg-type]
            loudness = sqrt(power / len(heard)) * full if isfinite(power) else _DEAFENING
            self._values.append(min(loudness, _DEAFENING))


WIDTHS = {"u8": 1, "mulaw": 1, "alaw": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8, "s64": 8}
"""The bytes of one sample of each form."""

_FAINT = 64.0
_DEAFENING = 1e30
_FULL = 32768.0  # what 1.0 is, in samples of 16 bits
_SQUARES = {
    "u8": [(value - 128) ** 2 << 16 for value in range(256)],
    "mulaw": [value * value for value in decoded("mulaw")],
    "alaw": [value * value for value in decoded("alaw")],
}


def as_numbers(form: str, data: bytes) -> "array[int] | array[float]":
    """Return the samples; of wider whole numbers the two highest bytes, which are enough to hear by.

    The bytes of "u8", "mulaw" and "alaw" are no numbers yet.
    """
    if form in ("f32", "f64"):
        floats = array("f" if form == "f32" else "d", data)
        if byteorder == "big":
            floats.byteswap()
        return floats
    width = WIDTHS[form]
    if width > 2:
        high = bytearray(len(data) // width * 2)
        high[0::2], high[1::2] = data[width - 2 :: width], data[width - 1 :: width]
        data = bytes(high)
    numbers = array("h", data)
    if byteorder == "big":
        numbers.byteswap()
    return numbers


class Ruler(NamedTuple):
    """What can be cut: so many units, and how many bytes and seconds lie before each. Both never fall."""

    units: int
    bytes_before: Callable[[int], float]
    seconds_before: Callable[[int], float]

    def last_within(self, most_bytes: float, start: int) -> int:
        """Return the last border so that no more bytes lie between it and `start`."""
        most = self.bytes_before(start) + most_bytes
        return bisect_right(range(self.units + 1), most, lo=start, key=self.bytes_before) - 1

    def first_at(self, seconds: float) -> int:
        """Return the first border that does not lie before this time."""
        return bisect_left(range(self.units + 1), seconds, key=self.seconds_before)

    def last_at(self, seconds: float) -> int:
        """Return the last border that does not lie after this time."""
        return bisect_right(range(self.units + 1), seconds, key=self.seconds_before) - 1


def cuts(ruler: Ruler, most_bytes: float, levels: Levels | None, least: float = LEAST_SECONDS) -> list[int]:
    """Return the borders between the parts, the beginning and the end included.

    No part has more than `most_bytes`; each lasts at least `least` seconds, wherever twice as much fits into one;
    where only less fits, at least half of what does. Without `levels` a border lies in the middle of its window.
    Raises TooDense where one unit alone is larger than a part may be.
    """
    borders = [0]
    while (far := ruler.last_within(most_bytes, borders[-1])) < ruler.units:
        if far == borders[-1]:
            raise TooDense
        first, last = _window(ruler, borders[-1], far, least)
        borders.append(_quietest(ruler, levels, borders[-1], first, last))
    return [*borders, ruler.units] if ruler.units > borders[-1] or len(borders) == 1 else borders


def counts(total_bytes: float, most_bytes: float) -> tuple[int, int]:
    """Return how many parts there are at the least and at the most, where each second takes as many bytes."""
    if total_bytes <= most_bytes:
        return 1, 1
    return ceil(total_bytes / most_bytes), 1 + ceil((total_bytes - most_bytes) / ((1 - WINDOW) * most_bytes))


def _window(ruler: Ruler, start: int, far: int, least: float) -> tuple[int, int]:
    """Return the first and the last border that may end the part which begins at `start`."""
    begin, end = ruler.seconds_before(start), ruler.seconds_before(ruler.units)
    fits = ruler.seconds_before(far) - begin
    for lasting in (least, min(least, fits / 2), min(least, (end - begin) / 2)):
        last = min(far, ruler.last_at(end - lasting))
        earliest = max(begin + lasting, ruler.seconds_before(last) - WINDOW * fits)
        first = max(ruler.first_at(earliest), start + 1)
        if first <= last:
            return first, last
    return far, far


def _quietest(ruler: Ruler, levels: Levels | None, start: int, first: int, last: int) -> int:
    """Return the border in the window that is nearest to the middle of its quietest stretch."""
    early, late = ruler.seconds_before(first), ruler.seconds_before(last)
    middle = (early + late) / 2
    if levels is not None:
        low, high = levels.grain(early), levels.grain(late)
        if high > low:
            context = levels.values[levels.grain(ruler.seconds_before(start)) : high]
            middle = (low + _middle_of_quiet(levels.values[low:high], context)) * levels.grain_seconds
    after = ruler.first_at(middle)
    before = max(after - 1, 0)
    nearest = before if middle - ruler.seconds_before(before) < ruler.seconds_before(after) - middle else after
    return min(max(nearest, first), last)


def _middle_of_quiet(window: "array[float]", context: "array[float]") -> float:
    """Return the middle of the window's quietest stretch, in grains; what is quiet, the whole part tells."""
    ordered = sorted(context)
    low, high = ordered[len(ordered) // 10], ordered[len(ordered) * 9 // 10]
    threshold = min(low + _QUIET * (high - low), high * _SPEECH)
    stretches = []
    for is_quiet, grains in groupby(range(len(window)), lambda at: window[at] <= threshold):
        at = list(grains)
        if is_quiet:
            stretches.append((at[0], at[-1] + 1))
    if stretches:
        long = [one for one in stretches if one[1] - one[0] >= _STRETCH_GRAINS]
        first, last = min(long or stretches, key=lambda one: _rank(window, *one, by_level=bool(long)))
        return (first + last) / 2
    sums = [sum(window[at : at + _MOMENT_GRAINS]) for at in range(max(1, len(window) - _MOMENT_GRAINS + 1))]
    return sums.index(min(sums)) + min(_MOMENT_GRAINS, len(window)) / 2


def _rank(window: "array[float]", first: int, last: int, *, by_level: bool) -> tuple[int, int]:
    """Rank a stretch: the quieter first, in steps of 6 dB; of equal ones the longer."""
    level = sum(window[first:last]) / (last - first)
    return round(log2(level + 1e-9)) if by_level and level > 0 else -99 * by_level, first - last
