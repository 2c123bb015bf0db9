"""Where the sound of a recording lies by its header, for kinds that have it in one piece."""

from dataclasses import dataclass

from watcher.audio.examination import Completeness
from watcher.audio.source import Source

_MOST_CHANNELS = 512
_HIGHEST_RATE = 1_000_000
_LEAST_HEADER, _MOST_HEADER = 44, 128  # what some writers count as sound: no sound is missing then
_PADDING = 7


@dataclass(slots=True)
class Extent:
    """`start` and `length` of the sound, and where the file should end; None where that is not written yet."""

    start: int | None = None
    length: int | None = None
    file_end: int | None = None
    ended: bool = True  # the walk reached the sound or the end of the file over plausible chunks

    def present(self, source: Source) -> int:
        """Return how many bytes of sound are there."""
        if self.start is None:
            return 0
        there = max(0, source.size - self.start)
        return there if self.length is None else min(there, self.length)

    def judge(self, source: Source) -> tuple[Completeness, int]:
        """Return what the lengths say, and how many bytes are missing at least.

        A file that is longer than its lengths is not proven: somebody is appending, or never finished the header.
        """
        size = source.size
        if self.start is None:
            missing = max(0, self.file_end - size) if self.file_end is not None else 0
            return (Completeness.SHORT, missing) if self.ended else (Completeness.UNKNOWN, 0)
        if self.length is None:
            return Completeness.UNKNOWN, 0
        end = self.start + self.length
        if end > size:
            missing = max(end, self.file_end or 0) - size
            tolerated = max(_LEAST_HEADER, min(self.start, _MOST_HEADER))
            is_whole = missing <= tolerated and size > self.start
            return (Completeness.UNKNOWN, 0) if is_whole else (Completeness.SHORT, missing)
        is_exact = self.file_end is not None and 0 <= size - self.file_end <= (
            _PADDING if end == self.file_end else 0
        )
        if is_exact and not source.at(self.file_end or 0, _PADDING).strip(b"\0") and not source.ends_in_zeros():
            return Completeness.PROVEN, 0
        return Completeness.UNKNOWN, 0


def nonsense(channels: int, rate: float) -> str | None:
    """Return why no decoder can play so many channels at such a rate; None if one can."""
    if not 0 < channels <= _MOST_CHANNELS:
        return f"its header says {channels} channels"
    if not 0 < rate <= _HIGHEST_RATE:
        return f"its header says {rate:.0f} samples a second"
    return None
