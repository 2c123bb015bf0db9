"""The only thing the tests fake: time."""

import threading


class FalseClock:
    """A clock that stands still until somebody waits on it. Real in everything else, threads included."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        if not wake.is_set():
            self.advance(seconds)
        return wake.is_set()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds
            self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """The wall clock was set; durations are not moved."""
        with self._lock:
            self._now += seconds
