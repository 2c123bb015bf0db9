"""The only module that reads a clock or waits on one. Everything else takes `now`, or a Clock."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """The time, and a way to wait."""

    def now(self) -> float:
        """Return the seconds since the epoch, UTC: what is stored and shown. It may jump."""

    def monotonic(self) -> float:
        """Return the seconds since some fixed moment: for measuring durations. It never jumps."""

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        """Wait `seconds`, or less if `wake` is set. Return whether it was set."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()  # noqa: TID251

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251

    def since_boot(self) -> float:
        """Return the seconds since the machine started, those in which it slept included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        return wake.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX))
