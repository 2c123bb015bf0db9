"""Warn about a lasting trouble once, and then once a day, not at each look."""

import threading
from collections.abc import Callable, Hashable

AGAIN_SECONDS = 24 * 3600.0


class Reminders:
    """The last warning about each subject, and when it was given. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told: dict[Hashable, tuple[str, float]] = {}

    def is_due(self, about: Hashable, what: str) -> bool:
        """Return whether to warn now: true once, again for another text, and again after a day."""
        now = self._monotonic()
        with self._lock:
            before = self._told.get(about)
            if before is not None and before[0] == what and now < before[1] + AGAIN_SECONDS:
                return False
            self._told[about] = what, now
            return True

    def forget(self, about: Hashable) -> None:
        """The trouble is over: should it come again, warn again."""
        with self._lock:
            self._told.pop(about, None)
