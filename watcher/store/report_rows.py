"""What a report is made of: what arrived within a period, and what was asked of the service in it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import (
    BindParameter,
    Connection,
    Integer,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    null,
    select,
    text,
    tuple_,
)

from watcher.domain import ARTIFICIAL, Charged, Item, State
from watcher.store.dialects import first_folder, is_of_own_site
from watcher.store.listed_rows import LISTED, OF_SERIALS, Listed, Place, listed
from watcher.store.rows import item_of
from watcher.store.schema import attempts, items, spent_sums

QUARTER_SECONDS = 900
"""Wherever a local day begins, it begins at a quarter of an hour: so days are made of these."""

CONFIDENCE_STEPS = 20
"""Into so many equal steps confidences are counted."""

_BATCH = 5_000

_SINCE: BindParameter[float] = bindparam("since")
_UNTIL: BindParameter[float] = bindparam("until")
_SERIAL: BindParameter[int] = bindparam("serial")
_LIMIT: BindParameter[int] = bindparam("limit")


class Count(NamedTuple):
    """How many recordings sent as they are have all of this in common."""

    quarter: int  # since the epoch, of the arrival
    state: str
    fault_code: str | None
    verdict_state: str | None
    classification: str | None
    number: int


class Judged(NamedTuple):
    """How many verdicts on recordings sent as they are have all of this in common."""

    classification: str | None
    confidence_step: int | None
    delay_step: int | None  # the index in DELAYS of the first that is longer; as many as those for none
    number: int


class FolderCount(NamedTuple):
    """How many recordings of a subfolder have this in common; it is "" for the drop folder itself."""

    folder: bytes
    state: str
    classification: str | None  # null also of those in parts
    number: int


DELAYS = (10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400)
"""The seconds from the arrival to the verdict, by which recordings are counted."""


class SpentQuarter(NamedTuple):
    """What was sent in a quarter of an hour: requests that reached the service, and how many of them cost."""

    quarter: int
    requests: int
    charged: int
    unsure: int  # may have been charged


class SpentFor(NamedTuple):
    """What was sent of recordings that have their first folder, or their owner, in common; see SpentQuarter.

    Null: of those whose rows are gone, or whose owner nobody has looked for.
    """

    key: bytes | int | None
    requests: int
    charged: int
    unsure: int


_Columns: TypeAlias = Any  # SQLAlchemy's types of many columns cannot be spelled out


def _number(number: int) -> _Columns:
    """Return the number as literal text: a parameter would keep SQLite from knowing an expression again."""
    return literal_column(str(number), Integer)


def _step(seconds: _Columns, first: int = 0, last: int = len(DELAYS)) -> _Columns:
    """Return the index of the first of DELAYS that is longer, found by halving."""
    if first == last:
        return _number(first)
    middle = (first + last) // 2
    lower, upper = _step(seconds, first, middle), _step(seconds, middle + 1, last)
    return case((seconds < _number(DELAYS[middle]), lower), else_=upper)


def _quarter(at: _Columns) -> _Columns:
    return cast(func.floor(at / _number(QUARTER_SECONDS)), Integer)


_IN_PERIOD = (items.c.arrived_at >= _SINCE, items.c.arrived_at < _UNTIL)
_AS_IT_IS = (*_IN_PERIOD, items.c.plan_mode.is_(None))
_KEY = (
    _quarter(items.c.arrived_at),
    items.c.state,
    items.c.fault_code,
    items.c.judged_state,
    items.c.judged_as,
)
_COUNTS = select(*_KEY, func.count()).where(*_AS_IT_IS).group_by(*_KEY)
# Apart from the counts: together they would make as many groups as there are recordings, or nearly.
_JUDGED_KEY = (
    items.c.judged_as,
    cast(items.c.judged_confidence * _number(CONFIDENCE_STEPS), Integer),
    case((items.c.judged_at.is_not(None), _step(items.c.judged_at - items.c.arrived_at))),
)
_JUDGED = (
    select(*_JUDGED_KEY, func.count()).where(*_AS_IT_IS, items.c.judged_state.is_not(None)).group_by(*_JUDGED_KEY)
)
_FOLDER = first_folder(items.c.path)
_FOLDER_CLASS = case((items.c.plan_mode.is_(None), items.c.judged_as))
_BY_FOLDER = (
    select(_FOLDER, items.c.state, _FOLDER_CLASS, func.count())
    .where(*_IN_PERIOD)
    .group_by(_FOLDER, items.c.state, _FOLDER_CLASS)
)
_LATEST_FIRST = (items.c.arrived_at.desc(), items.c.serial.desc())
_LATEST = select(items.c.serial).where(*_IN_PERIOD).order_by(*_LATEST_FIRST).limit(_LIMIT)
_LATEST_IN = _LATEST.where(items.c.state == bindparam("state"))
_ARTIFICIAL = (*_AS_IT_IS, items.c.judged_as == text(f"'{ARTIFICIAL}'"))  # literal: see the index
_LATEST_ARTIFICIAL = (
    select(items.c.arrived_at, items.c.serial).where(*_ARTIFICIAL).order_by(*_LATEST_FIRST).limit(_LIMIT)
)
_NUMBER_ARTIFICIAL = select(func.count()).where(*_ARTIFICIAL)
_LATEST_FAILED = (
    select(func.max(items.c.serial)).where(items.c.state == State.FAILED, *_IN_PERIOD).group_by(items.c.fault_code)
)
_FAILED_SINCE = (
    select(items)
    .where(items.c.state == State.FAILED, items.c.filed_at >= _SINCE, items.c.dismissed_at.is_(None))
    .order_by(items.c.filed_at.desc(), items.c.serial.desc())
    .limit(_LIMIT)
)
_DISMISSED = select(func.count()).where(
    items.c.state == State.FAILED, items.c.dismissed_at.is_not(None), *_IN_PERIOD
)
# By state, as their own index is: by the time alone, all of the period would be read (measured).
_IN_PARTS = select(items).where(*_IN_PERIOD, items.c.plan_mode.is_not(None), items.c.state.in_(list(State)))


_ROWS_AFTER = (
    LISTED.where(
        tuple_(items.c.arrived_at, items.c.serial) > tuple_(_SINCE, _SERIAL),
        items.c.arrived_at < _UNTIL,
    )
    .order_by(items.c.arrived_at, items.c.serial)
    .limit(_LIMIT)
)
_SUMS = (
    func.count(),
    func.sum(case((attempts.c.charged == Charged.YES, 1), else_=0)),
    func.sum(case((attempts.c.charged == Charged.UNKNOWN, 1), else_=0)),
)
_SENT = (attempts.c.started_at >= _SINCE, attempts.c.started_at < _UNTIL, is_of_own_site(attempts.c.site))
_SENT_BEFORE = (spent_sums.c.since >= _SINCE, spent_sums.c.since < _UNTIL, is_of_own_site(spent_sums.c.site))
_SPENT = select(_quarter(attempts.c.started_at), *_SUMS).where(*_SENT).group_by(_quarter(attempts.c.started_at))
_SPENT_FOR = {
    by: select(key, *_SUMS)
    .select_from(attempts.outerjoin(items, items.c.id == attempts.c.item_id))
    .where(*_SENT)
    .group_by(key)
    for by, key in (("folder", _FOLDER), ("user", items.c.owner))
}
_FORGOTTEN = (
    select(null(), func.sum(spent_sums.c.requests), func.sum(spent_sums.c.charged), literal(0))
    .where(*_SENT_BEFORE)
    .having(func.count() > 0)
)
_SUMMED = select(_quarter(spent_sums.c.since), spent_sums.c.requests, spent_sums.c.charged, literal(0)).where(
    *_SENT_BEFORE
)


class ReportRows:
    """The rows of a report, within one transaction. Periods are by arrival: from `since`, before `until`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def counts(self, since: float, until: float) -> Iterator[Count]:
        """Yield how many recordings have each combination of what is counted; see Count."""
        for row in self._connection.execute(_COUNTS, {"since": since, "until": until}):
            yield Count._make(row)

    def judged(self, since: float, until: float) -> Iterator[Judged]:
        """Yield how many verdicts have each confidence and time in common; see Judged."""
        for row in self._connection.execute(_JUDGED, {"since": since, "until": until}):
            yield Judged._make(row)

    def folders(self, since: float, until: float) -> Iterator[FolderCount]:
        """Yield how many recordings came into each first subfolder, by their states and verdicts now."""
        for row in self._connection.execute(_BY_FOLDER, {"since": since, "until": until}):
            yield FolderCount._make(row)

    def latest_artificial(self, since: float, until: float, limit: int) -> list[tuple[float, int]]:
        """Return arrival and number of the latest ones sent as they are that are artificial, the latest first."""
        values = {"since": since, "until": until, "limit": limit}
        return [(row.arrived_at, row.serial) for row in self._connection.execute(_LATEST_ARTIFICIAL, values)]

    def number_artificial(self, since: float, until: float) -> int:
        """Return how many of those sent as they are are artificial."""
        return int(self._connection.execute(_NUMBER_ARTIFICIAL, {"since": since, "until": until}).scalar_one())

    def in_parts(self, since: float, until: float) -> Iterator[tuple[int, Item]]:
        """Yield those that were or will be sent otherwise than as they are, each with its number, in no order."""
        values = {"since": since, "until": until}
        with self._connection.execute(_IN_PARTS, values, execution_options={"yield_per": _BATCH}) as rows:
            for row in rows:
                yield row.serial, item_of(row)

    def latest(self, since: float, until: float, limit: int, state: State | None = None) -> list[int]:
        """Return the numbers of the latest arrivals, of all or of those in this state, the latest first."""
        query = _LATEST if state is None else _LATEST_IN
        values = {"since": since, "until": until, "limit": limit} | ({"state": state} if state else {})
        return list(self._connection.execute(query, values).scalars())

    def failed_examples(self, since: float, until: float) -> dict[str, Listed]:
        """Return the latest recording that failed for each reason, by its code."""
        serials = self._connection.execute(_LATEST_FAILED, {"since": since, "until": until}).scalars().all()
        return {row.fault_code or "unknown": row for row in self.rows_of(serials)}

    def dismissed(self, since: float, until: float) -> int:
        """Return how many of the failed ones were dismissed."""
        return int(self._connection.execute(_DISMISSED, {"since": since, "until": until}).scalar_one())

    def failed_since(self, since: float, limit: int) -> list[Item]:
        """Return what was filed as failed since then and not dismissed, the latest first."""
        rows = self._connection.execute(_FAILED_SINCE, {"since": since, "limit": limit})
        return [item_of(row) for row in rows]

    def rows_after(self, after: Place, until: float, limit: int) -> list[Listed]:
        """Return the first rows after this place in the list."""
        values = {"since": after.arrived_at, "serial": after.serial, "until": until, "limit": limit}
        return listed(self._connection.execute(_ROWS_AFTER, values))

    def rows_of(self, serials: Sequence[int]) -> list[Listed]:
        """Return the rows with these numbers, in no order."""
        return listed(self._connection.execute(OF_SERIALS, {"serials": serials}))

    def spent(self, since: float, until: float) -> list[SpentQuarter]:
        """Return what was sent, by the quarter of an hour in which it began; those whose lines are gone too."""
        values = {"since": since, "until": until}
        found = [*self._connection.execute(_SPENT, values), *self._connection.execute(_SUMMED, values)]
        return list(map(SpentQuarter._make, found))

    def spent_for(self, by: str, since: float, until: float) -> list[SpentFor]:
        """Return what was spent by "folder" or by "user", in no order."""
        values = {"since": since, "until": until}
        found = [*self._connection.execute(_SPENT_FOR[by], values), *self._connection.execute(_FORGOTTEN, values)]
        return list(map(SpentFor._make, found))
