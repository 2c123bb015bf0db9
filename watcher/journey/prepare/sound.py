"""Whether a channel has any sound, and whether two channels are the same: exact, and cheap once it is a no."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from watcher.audio.g711 import decoded
from watcher.journey.prepare.quiet import as_numbers

FAINT = 16
"""Samples of 16 bits that differ by no more than this are no sound: idle A-law alternates between two values."""

_TABLES = {
    "u8": tuple(value - 128 << 8 for value in range(256)),
    "mulaw": decoded("mulaw"),
    "alaw": decoded("alaw"),
}


@dataclass(slots=True)
class Silence:
    """Hears interleaved samples of one of quiet's forms, whole samples of all channels at a time."""

    form: str
    channels: int
    _least: list[float] = field(default_factory=list)
    _most: list[float] = field(default_factory=list)

    def note(self, data: bytes) -> None:
        """Widen the range of each channel that has shown no sound yet."""
        silent = [channel for channel, found in enumerate(self.of_channels()) if found]
        if not silent or not data:
            return
        table = _TABLES.get(self.form)
        if not self._least:
            self._least, self._most = [float("inf")] * self.channels, [float("-inf")] * self.channels
        scale = 32768 if self.form in ("f32", "f64") else 1
        numbers = () if table else as_numbers(self.form, data)
        for channel in silent:
            values: Sequence[float] = numbers[channel :: self.channels]
            if table:
                values = [table[byte] for byte in set(data[channel :: self.channels])]
            self._least[channel] = min(self._least[channel], min(values) * scale)
            self._most[channel] = max(self._most[channel], max(values) * scale)

    def of_channels(self) -> tuple[bool, ...]:
        """Return for each channel whether it has had no sound so far."""
        if not self._least:
            return (True,) * self.channels
        return tuple(not most - least > FAINT for least, most in zip(self._least, self._most, strict=True))


class Comparison:
    """Finds channels that are the same, sample by sample."""

    def __init__(self, channels: int) -> None:
        self._same = [set(range(channel)) for channel in range(channels)]  # as each of those before it

    def note(self, data: bytes, width: int) -> None:
        """Compare what is interleaved here, samples of so many bytes."""
        channels = len(self._same)
        step = width * channels
        for channel, others in enumerate(self._same):
            for other in tuple(others):
                pairs = (
                    (data[channel * width + at :: step], data[other * width + at :: step]) for at in range(width)
                )
                if any(one != two for one, two in pairs):
                    others.discard(other)

    def same_as(self) -> tuple[int, ...]:
        """Return for each channel the first one that has exactly its samples: itself, if none before it has."""
        return tuple(min(others, default=channel) for channel, others in enumerate(self._same))
