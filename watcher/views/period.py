"""The period that a person asks about: from a date, or so many days or hours back."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from watcher.errors import UsageError
from watcher.identifai.budget import day_of
from watcher.text import show_text

LONG_AGO, FAR_AWAY = -1e11, 1e11
_YEARS = range(1000, 4900)
_FIRST, _LAST = -3e10, 9.4e10  # in years that every clock has
_BACK = re.compile(r"([0-9]{1,5})([dh])")
_SECONDS = {"d": 86_400.0, "h": 3_600.0}


@dataclass(frozen=True, slots=True)
class Period:
    """From `since`, before `until`, in seconds since the epoch. Either may be so far away that it is no bound."""

    since: float = LONG_AGO
    until: float = FAR_AWAY
    zone: ZoneInfo | None = None  # whose days; None: the system's

    @property
    def begins(self) -> bool:
        """Whether it has a beginning."""
        return self.since > LONG_AGO

    @property
    def ends(self) -> bool:
        """Whether it has an end."""
        return self.until < FAR_AWAY

    def has(self, at: float) -> bool:
        """Return whether the moment is in it."""
        return self.since <= at < self.until

    def local(self, at: float) -> datetime:
        """Return the moment as its zone has it."""
        return datetime.fromtimestamp(at, UTC).astimezone(self.zone)

    def day(self, at: float) -> date:
        return self.local(at).date()


ALWAYS = Period()
"""From the first moment to the last."""


def read_period(since: str | None, until: str | None, now: float, zone_name: str = "") -> Period:
    """Return the period that a person typed: dates, or `7d` and `24h` back from now.

    A date as `until` includes that day. Raises UsageError for anything else, and for an end before the beginning.
    """
    zone = ZoneInfo(zone_name) if zone_name else None
    first = LONG_AGO if since is None else _moment("since", since, now, zone)[0]
    last = FAR_AWAY if until is None else _moment("until", until, now, zone)[1]
    if last <= first:
        raise UsageError(f"--until {until} is not after --since {since}", hint="swap them")
    return Period(first, last, zone)


def _moment(option: str, said: str, now: float, zone: ZoneInfo | None) -> tuple[float, float]:
    """Return when what was said begins and ends: a day, or one moment."""
    if back := _BACK.fullmatch(said):
        at = now - int(back[1]) * _SECONDS[back[2]]
        return at, at
    try:
        day = date.fromisoformat(said)
        if day.year not in _YEARS:  # as some write "always": its midnight may be out of a clock's range
            return (LONG_AGO, _FIRST) if day.year < _YEARS.start else (_LAST, FAR_AWAY)
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone).timestamp()
        return day_of(noon, zone)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"--{option} {show_text(said)} is neither a date nor a time back from now",
            hint="Give a date, such as 2026-03-01, or 7d or 24h for so long ago.",
        ) from None


def day_starting(day: date, zone: ZoneInfo | None) -> float:
    """Return when this day of the zone begins."""
    return day_of(datetime(day.year, day.month, day.day, 12, tzinfo=zone).timestamp(), zone)[0]


def days_between(first: date, last: date) -> Iterator[date]:
    """Yield every day from the first to the last."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)
