"""When the next request may end at the service, so that none is ever refused for coming too fast.

The service counts a request when it has received all of it, in fixed windows that open at their first hit. We
can see neither. What is safe under every phase of such windows is a sliding log: the next request ends no
sooner than S seconds after the N-th last one ended. Of a request we know two moments: when we let its last
part go (it cannot have been counted before) and when it was answered (it was counted by then). So the log
holds answers, and what it allows is a letting-go.

What a 429 teaches, and how many submissions a day or a month may have, is reckoned here too. All of it is pure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

from watcher.config import Window

_SLEW = 1.001
"""The two machines' clocks may run apart, by 500 ppm each at the most while one is being adjusted."""


def room_at(
    windows: Sequence[Window],
    nth_last_end: Callable[[int], float | None],
    now: float,
    *,
    unended: int = 0,
    ahead: int = 0,
) -> float:
    """The earliest time at which one more request may be let go; `now` or before means at once.

    `nth_last_end(n)` tells when the n-th last of the answered requests was answered, null when there are fewer.
    `unended` requests were let go and are not answered yet: they may be counted at any time from now on, so
    where one of them stands in the way the answer is only a lower bound, and is to be asked again. `ahead`
    requests will be let go before this one.
    """
    return max((_room_in(w, nth_last_end, now, unended, ahead) for w in windows), default=now)


def _room_in(
    window: Window, nth_last_end: Callable[[int], float | None], now: float, unended: int, ahead: int
) -> float:
    seconds = window.seconds * _SLEW
    rounds, ahead = divmod(ahead, window.limit)
    n = window.limit - ahead
    if n <= unended:
        end: float | None = now
    else:
        end = nth_last_end(n - unended)
    if end is None:
        return now + rounds * seconds
    # A clock that was set back leaves ends in the future: they are over all the same.
    return min(end, now) + (rounds + 1) * seconds


# What a 429 teaches


@dataclass(frozen=True, slots=True)
class Lesson:
    """One window allows less than is configured: this share of it, until that time."""

    share: float
    until: float


Lessons = Mapping[str, Lesson]
"""By the window, as "30/60": a window that is configured anew has none."""

_LASTS_SECONDS = 3600.0
_STEP = 0.8
_LEAST_SHARE = 0.05


def name_window(window: Window) -> str:
    return f"{window.limit}/{window.seconds:g}"


def lower(windows: Sequence[Window], lessons: Lessons, limit: int | None, now: float) -> dict[str, Lesson]:
    """The lessons after a 429 whose X-RateLimit-Limit was `limit`; those that are over are gone.

    It names the window that was hit: the one of that limit, else the one that was configured too wide. Without
    it, or where it fits none, every window may be meant.
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
    """The windows to keep to now."""
    return tuple(_lowered(window, lessons.get(name_window(window)), now) for window in windows)


def _lowered(window: Window, lesson: Lesson | None, now: float) -> Window:
    if lesson is None or lesson.until <= now:
        return window
    allowed = window.limit * lesson.share
    limit = max(floor(allowed), 1)
    return Window(limit, window.seconds * limit / allowed)  # what is lost to whole numbers is given back in time


def read_lessons(fact: Any) -> dict[str, Lesson]:
    """The lessons as `write_lessons` made them; none where there is nothing."""
    return {name: Lesson(share, until) for name, (share, until) in (fact or {}).items()}


def write_lessons(lessons: Lessons) -> Any:
    """The lessons as JSON can hold them."""
    return {name: [lesson.share, lesson.until] for name, lesson in lessons.items()}


# Caps


def day_of(now: float, zone: ZoneInfo | None) -> tuple[float, float]:
    """When the local day that `now` lies in began, and when the next one begins; null: the system's zone."""
    today = datetime.fromtimestamp(now, UTC).astimezone(zone)
    tomorrow = datetime.fromordinal(today.toordinal() + 1)
    return _midnight(datetime(today.year, today.month, today.day), zone), _midnight(tomorrow, zone)  # noqa: DTZ001


def month_of(now: float, zone: ZoneInfo | None) -> tuple[float, float]:
    """When the local month that `now` lies in began, and when the next one begins."""
    today = datetime.fromtimestamp(now, UTC).astimezone(zone)
    years, month = divmod(today.month, 12)
    first = datetime(today.year, today.month, 1)  # noqa: DTZ001
    return _midnight(first, zone), _midnight(datetime(today.year + years, month + 1, 1), zone)  # noqa: DTZ001


def _midnight(day: datetime, zone: ZoneInfo | None) -> float:
    """The instant at which this day begins there: the first of two midnights; the jump, where there is none."""
    return day.replace(tzinfo=zone).timestamp()  # without a zone it is the system's
