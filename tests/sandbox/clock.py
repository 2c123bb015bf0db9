"""The sandbox's time."""

import threading


class FalseClock:
    """A clock that stands still until it is told, or until somebody waits on it."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0
        self.waited: list[float] = []

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        self.waited.append(seconds)
        self.seconds += seconds
        return wake.is_set()
