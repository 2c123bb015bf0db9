"""A clock that several processes share: it stands still until one of them waits on it."""

import mmap
import struct
import threading
from pathlib import Path

_TIMES = struct.Struct("dd")


class SharedClock:
    """As tests.clock.FalseClock, in a file of 16 bytes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_TIMES.pack(1_700_000_000.0, 1000.0))
        with path.open("r+b") as file:
            self._times = mmap.mmap(file.fileno(), _TIMES.size)
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._read()[0]

    def monotonic(self) -> float:
        return self._read()[1]

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        if not wake.is_set():
            self._move(max(seconds, 0.0), max(seconds, 0.0))
        return wake.is_set()

    def jump(self, seconds: float) -> None:
        """The wall clock was set."""
        self._move(seconds, 0.0)

    def _read(self) -> tuple[float, float]:
        now, monotonic = _TIMES.unpack(self._times[:])
        return now, monotonic

    def _move(self, wall: float, monotonic: float) -> None:
        with self._lock:
            now, since = self._read()
            self._times[:] = _TIMES.pack(now + wall, since + monotonic)
