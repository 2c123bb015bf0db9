"""What was charged: against the caps, and by day, subfolder or whose recordings they were."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from zoneinfo import ZoneInfo

from watcher.accounts import user_name
from watcher.config import Limits
from watcher.domain import SPEND_BY
from watcher.identifai.budget import day_of, month_of
from watcher.store import Books
from watcher.store.report_rows import QUARTER_SECONDS
from watcher.text import JsonObject, show_path
from watcher.views.context import CommandContext
from watcher.views.period import Period

DAY = SPEND_BY[0]
FORGOTTEN = "(no longer known)"
_DROP_ITSELF = "(the drop folder itself)"


class Charge(NamedTuple):
    """What was charged since a day or month began, as its cap counts it. `cap`: 0 for none."""

    span: str  # "day" or "month"
    charged: int
    cap: int
    since: float
    until: float

    def as_json(self) -> JsonObject:
        return {"charged": self.charged, "cap": self.cap or None}


class Row(NamedTuple):
    """Requests that reached the service, how many were charged, and how many more may have been."""

    key: str
    requests: int
    charged: int
    unsure: int


@dataclass(frozen=True, slots=True)
class Spend:
    """What was charged within a period, and where the caps stand now."""

    now: list[Charge]
    period: Period
    by: str
    rows: list[Row]

    @property
    def total(self) -> Row:
        rows = self.rows
        return Row("all", sum(r.requests for r in rows), sum(r.charged for r in rows), sum(r.unsure for r in rows))


def read_charges(books: Books, limits: Limits, now: float) -> list[Charge]:
    """Return what today and this month have cost. What may have been charged counts, as it does for the caps."""
    zone = ZoneInfo(limits.timezone) if limits.timezone else None
    charges = []
    for span, cap, bounds in (("day", limits.per_day, day_of), ("month", limits.per_month, month_of)):
        since, until = bounds(now, zone)
        charges.append(Charge(span, books.ledger.spent_since(since), cap, since, until))
    return charges


def read_spend(context: CommandContext, period: Period, by: str = DAY) -> Spend:
    """Return what was charged within the period, by one of SPEND_BY."""
    with context.store.reading() as books:
        charges = read_charges(books, context.config.limits, context.clock.now())
        quarters = books.report.spent(period.since, period.until) if by == DAY else []
        others = books.report.spent_for(by, period.since, period.until) if by != DAY else []
    days = [Row(str(period.day(one.quarter * QUARTER_SECONDS)), *one[1:]) for one in quarters]
    named = [Row(_name(key), *numbers) for key, *numbers in others]  # the system is asked for users' names
    return Spend(charges, period, by, [*sorted(_summed(days)), *_most_first(_summed(named))])


def _name(key: bytes | int | None) -> str:
    if key is None:
        return FORGOTTEN
    return user_name(key) if isinstance(key, int) else show_path(key.rstrip(b"/")) or _DROP_ITSELF


def _summed(rows: Iterable[Row]) -> list[Row]:
    sums: dict[str, list[int]] = {}
    for key, *numbers in rows:
        known = sums.setdefault(key, [0, 0, 0])
        known[:] = [one + more for one, more in zip(known, numbers, strict=True)]
    return [Row(key, *numbers) for key, numbers in sums.items()]


def _most_first(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row.charged - row.unsure, row.key))


def this_month(limits: Limits, now: float) -> Period:
    """Return the month so far, as the caps have it."""
    zone = ZoneInfo(limits.timezone) if limits.timezone else None
    return Period(since=month_of(now, zone)[0], zone=zone)
