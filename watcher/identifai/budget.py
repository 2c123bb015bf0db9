"""When the next request may be completed, so that none is ever refused as too fast.

The service counts a request when it has received all of it, in fixed windows that open at their first request. We
can see neither. A sliding log is safe for any phase of such windows: the next request is completed no sooner than
S seconds after the N-th last one. We know two moments of a request: when we released its last part (it cannot have
been counted before) and when it was answered (it had been counted by then). So the log holds the times of answers,
and limits the time of the next release.

Also here: what a 429 teaches, and the days and months of the caps. All of it is pure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

from watcher.config import Window

_SLEW = 1.001
"""Allowance for clock drift between the two machines, at most 500 ppm each while a clock is adjusted."""


def room_at(
    windows: Sequence[Window],
    nth_last_end: Callable[[int], float | None],
    now: float,
    *,
    unended: int = 0,
    ahead: int = 0,
    margin: float = 0.0,
) -> float:
    """Return the earliest time at which one more request may be released; `now` or before means at once.

    `nth_last_end(n)` returns when the n-th last of the answered requests was answered, None if there are fewer.
    `unended` requests are released and not answered yet: they may be counted at any time from now on, so where one
    of them is in the way, the result is only a lower bound, to be computed again. `ahead` requests will be
    released before this one. `margin`: seconds that may pass between the grant of a release and the release.
    """
    return max((_room_in(w, nth_last_end, now, unended, ahead, margin) for w in windows), default=now)


def n_in(window: Window, ahead: int = 0) -> int:
    """Return which request from the last must have left the window, for one more after those `ahead` of it."""
    return window.limit - ahead % window.limit


def _room_in(
    window: Window,
    nth_last_end: Callable[[int], float | None],
    now: float,
    unended: int,
    ahead: int,
    margin: float,
) -> float:
    seconds, rounds = window.seconds * _SLEW, ahead // window.limit
    n = n_in(window, ahead)
    if n <= unended:
        end: float | None = now
    else:
        end = nth_last_end(n - unended)
    if end is None:
        return now + rounds * seconds
    # A clock that was set back leaves answers in the future: treat them as past.
    return min(end, now) + (rounds + 1) * seconds + margin


class Pace:
    """The ends of this process's own requests on the monotonic clock, by their numbers.

    The books hold them in wall time, which may be set: an hour forward would empty every window at once. It is
    told within a writing transaction, of which there is one at a time, and asked by any thread: it needs no lock.
    """

    def __init__(self) -> None:
        self._ends: tuple[tuple[int, float], ...] = ()  # in their order

    def ended(self, number: int, monotonic: float, windows: Sequence[Window]) -> None:
        """This request has ended by now; told again, it ended the first time."""
        if any(known == number for known, _ in self._ends):
            return
        most = max((window.limit for window in windows), default=0)
        self._ends = (*self._ends, (number, monotonic))[-most:] if most else ()

    def nth_last_end(self, n: int) -> float | None:
        """When the n-th last of them ended; None if there are fewer."""
        ends = self._ends
        return ends[-n][1] if 0 < n <= len(ends) else None


# What a 429 teaches


@dataclass(frozen=True, slots=True)
class Lesson:
    """One window allows only this share of what is configured, until that time."""

    share: float
    until: float


Lessons = Mapping[str, Lesson]
"""By window, as "30/60": a changed window starts without lessons."""

_LASTS_SECONDS = 3600.0
_STEP = 0.8
_LEAST_SHARE = 0.05


def name_window(window: Window) -> str:
    return f"{window.limit}/{window.seconds:g}"


def lower(windows: Sequence[Window], lessons: Lessons, limit: int | None, now: float) -> dict[str, Lesson]:
    """Return the lessons after a 429 with this X-RateLimit-Limit, without the expired ones.

    The limit identifies the window that was exceeded: the one with that limit, else the one configured too wide.
    Without it, or if it fits none, every window may be meant.
    """
    kept = {name: lesson for name, lesson in lessons.items() if lesson.until > now}
    for window in _hit_by(windows, limit):
        name = name_window(window)
        share = kept[name].share if name in kept else 1.0
        allowed = share * _STEP
        if limit is not None and 0 < limit < window.limit * share:
            allowed = limit / window.limit
        kept[name] = Lesson(max(allowed, _LEAST_SHARE), now + _LASTS_SECONDS)
    return kept


def _hit_by(windows: Sequence[Window], limit: int | None) -> Sequence[Window]:
    if limit is None or limit < 1:
        return windows
    at_least = [window for window in windows if window.limit >= limit]
    return [min(at_least, key=lambda window: window.limit)] if at_least else windows


def lowered(windows: Sequence[Window], lessons: Lessons, now: float) -> tuple[Window, ...]:
    """Return the windows to keep to now."""
    return tuple(_lowered(window, lessons.get(name_window(window)), now) for window in windows)


def _lowered(window: Window, lesson: Lesson | None, now: float) -> Window:
    if lesson is None or lesson.until <= now:
        return window
    allowed = window.limit * lesson.share
    limit = max(floor(allowed), 1)
    return Window(limit, window.seconds * limit / allowed)  # rounding the limit is compensated in seconds


def read_lessons(fact: Any) -> dict[str, Lesson]:
    """Return the lessons from the JSON of `write_lessons`; none for None."""
    return {name: Lesson(share, until) for name, (share, until) in (fact or {}).items()}


def write_lessons(lessons: Lessons) -> Any:
    """Return the lessons as JSON."""
    return {name: [lesson.share, lesson.until] for name, lesson in lessons.items()}


# Caps


def day_of(now: float, zone: ZoneInfo | None) -> tuple[float, float]:
    """Return when the local day of `now` began and when the next begins. `zone`: None for the system's."""
    today = datetime.fromtimestamp(now, UTC).astimezone(zone)
    tomorrow = datetime.fromordinal(today.toordinal() + 1)
    return _midnight(datetime(today.year, today.month, today.day), zone), _midnight(tomorrow, zone)  # noqa: DTZ001


def month_of(now: float, zone: ZoneInfo | None) -> tuple[float, float]:
    """Return when the local month of `now` began and when the next begins."""
    today = datetime.fromtimestamp(now, UTC).astimezone(zone)
    years, month = divmod(today.month, 12)
    first = datetime(today.year, today.month, 1)  # noqa: DTZ001
    return _midnight(first, zone), _midnight(datetime(today.year + years, month + 1, 1), zone)  # noqa: DTZ001


def _midnight(day: datetime, zone: ZoneInfo | None) -> float:
    """Return when this day begins: the first of two midnights, or the jump where there is none."""
    return day.replace(tzinfo=zone).timestamp()  # without a zone: the system's
