"""Fixed windows of requests, as the service's framework keeps them. Pure: every function takes `now`."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_LIMIT = re.compile(r"([1-9][0-9]*)/(?:(second|minute|hour|day)|([1-9][0-9]*)s)")


@dataclass(frozen=True, slots=True)
class Passed:
    """The request was counted. The numbers are those of the tightest window; None without any window."""

    limit: int | None
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The request exceeds the window of `limit` requests.

    `retry_after` is in whole seconds and may be 0 while the window is still open: the service compares
    whole seconds only. `reset` is in seconds since the epoch.
    """

    limit: int
    retry_after: int
    reset: int


@dataclass(slots=True)
class _Window:
    limit: int
    seconds: int
    opened: float = -math.inf
    hits: int = 0

    def is_open(self, now: float) -> bool:
        return now < self.opened + self.seconds


class Throttle:
    """Counts requests in all of its windows at once. A window opens at the first request after its last end."""

    def __init__(self, limits: Sequence[str]) -> None:
        """`limits` as in the configuration, such as "1/second" or "5/10s"; none: nothing is refused.

        Raises ValueError for a text that is not a limit.
        """
        self._windows = [_parse_window(text) for text in limits]

    def hit(self, now: float) -> Passed | Refused:
        """Count the request, or refuse it. `now` is in seconds since the epoch.

        Windows are asked in their order. A refusal does not count in the window that refuses nor in those
        behind it, but has counted in those before it, as in the framework's middleware.
        """
        for window in self._windows:
            if not window.is_open(now):
                window.opened, window.hits = now, 0
            if window.hits >= window.limit:
                ends = math.floor(window.opened + window.seconds)
                retry_after = max(0, ends - math.floor(now))
                return Refused(window.limit, retry_after, math.floor(now) + retry_after)
            window.hits += 1
        if not self._windows:
            return Passed(None, None)
        tightest = min(self._windows, key=lambda window: window.limit - window.hits)
        return Passed(tightest.limit, tightest.limit - tightest.hits)


def _parse_window(text: str) -> _Window:
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise ValueError(f'not a limit: {text!r}; expected "N/second", "N/minute", "N/hour", "N/day" or "N/10s"')
    hits, unit, seconds = match.groups()
    return _Window(int(hits), _UNITS[unit] if unit else int(seconds))
