"""The only place that reads a clock or waits on one. Everything else takes `now`, or a Clock."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the time is, and a way to let some pass."""

    def now(self) -> float:
        """Seconds since the epoch, UTC: what is stored and shown. It may jump."""

    def monotonic(self) -> float:
        """Seconds since some moment: what durations are measured with. It never jumps."""

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        """Let `seconds` pass, or less when `wake` is set. Whether it was set."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()  # noqa: TID251

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        return wake.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX))
