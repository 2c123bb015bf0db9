"""Tell that the server is away, and that it is back: once each, whatever number of steps meets it how often."""

import threading

from watcher import logs
from watcher.clock import SystemClock
from watcher.errors import StoreAway

_log = logs.get_logger(__name__)

_STEADY_SECONDS = 3.0  # it is back once it has answered for so long: one that comes and goes is away


class Outage:
    """Whether the server is away, as far as the transactions of this process have met it. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._is_told = False
        self._began_at: float | None = None  # monotonic
        self._failed_at = 0.0

    def tell(self) -> None:
        """Log it from now on."""
        self._is_told = True

    def note_failure(self, error: StoreAway) -> None:
        """A transaction failed because the server is away, or takes nothing."""
        with self._lock:
            self._failed_at = self._clock.monotonic()
            if self._began_at is None and self._is_told:
                self._began_at = self._failed_at
                _log.error("database.away", database=self._name, reason=error.message, hint=error.hint)

    def note_success(self) -> None:
        """A transaction has come to its end."""
        with self._lock:
            if self._began_at is None:
                return
            now = self._clock.monotonic()
            if now - self._failed_at >= _STEADY_SECONDS:
                _log.info("database.back", database=self._name, seconds=round(now - self._began_at, 1))
                self._began_at = None
