"""The hours in which people work, such as "Mon-Fri 08:00-18:00", in a time zone. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_SPAN = re.compile(r"([A-Z][a-z]{2})(?:-([A-Z][a-z]{2}))? ([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Hours:
    """On some days of the week, from one minute of the day to another; past midnight, where that is earlier."""

    days: frozenset[int]  # 0 is Monday
    begin: int
    end: int

    def on(self, day: date, zone: tzinfo | None) -> tuple[float, float] | None:
        """Return when they begin and end on this day; None: not on this day. `zone`: None is the system's.

        The clock on the wall counts: with daylight saving time a night may last an hour more or less.
        """
        if day.weekday() not in self.days:
            return None
        ends_on = day + timedelta(days=self.end <= self.begin)
        return _moment(day, self.begin, zone), _moment(ends_on, self.end, zone)


def parse_hours(text: str) -> tuple[Hours, ...]:
    """Parse "Mon-Fri 08:00-18:00, Sat 09:00-13:00"; "" is always. Raises ValueError for anything else."""
    return tuple(_parse_span(span.strip()) for span in text.split(",")) if text.strip() else ()


def _parse_span(text: str) -> Hours:
    found = _SPAN.fullmatch(text)
    if found is None or not {found[1], found[2] or found[1]} <= set(DAYS):
        raise ValueError(text)
    begin, end = (int(found[at]) * 60 + int(found[at + 1]) for at in (3, 5))
    if max(int(found[4]), int(found[6])) > 59 or begin >= _DAY_MINUTES or end > _DAY_MINUTES or begin == end:
        raise ValueError(text)
    first, last = DAYS.index(found[1]), DAYS.index(found[2] or found[1])
    days = frozenset((first + n) % 7 for n in range((last - first) % 7 + 1))
    return Hours(days, begin, end)


def is_working(hours: tuple[Hours, ...], now: float, zone: tzinfo | None) -> bool:
    """Return whether people work now."""
    return not hours or any(begin <= now < end for begin, end in _spans(hours, now, now, zone))


def working_seconds(
    hours: tuple[Hours, ...], since: float, until: float, zone: tzinfo | None, enough: float
) -> float:
    """Return how long people worked between the two moments. Once it is `enough`, no further is counted."""
    if not hours:
        return max(0.0, until - since)
    counted, reached = 0.0, since
    for begin, end in _spans(hours, since, until, zone):
        counted += max(0.0, min(end, until) - max(begin, reached))
        reached = max(reached, min(end, until))  # spans may overlap
        if counted >= enough:
            break
    return counted


def _spans(
    hours: tuple[Hours, ...], since: float, until: float, zone: tzinfo | None
) -> Iterator[tuple[float, float]]:
    """Yield the hours of each day from the one before `since`, by their beginning."""
    day = datetime.fromtimestamp(since, UTC).astimezone(zone).date() - timedelta(days=1)
    last = datetime.fromtimestamp(until, UTC).astimezone(zone).date()
    while day <= last:
        yield from sorted(span for each in hours if (span := each.on(day, zone)) is not None)
        day += timedelta(days=1)


def _moment(day: date, minutes: int, zone: tzinfo | None) -> float:
    at = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001 — on the wall
    return at.replace(tzinfo=zone).timestamp()
