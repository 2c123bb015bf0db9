"""The items as `list` shows them: what it needs of each, with its verdict, in batches, oldest arrival first."""

from collections.abc import Sequence
from contextlib import closing
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    CursorResult,
    Select,
    bindparam,
    false,
    func,
    or_,
    select,
    union_all,
)

from watcher.domain import Item, State
from watcher.store.rows import item_of
from watcher.store.schema import items, verdicts
from watcher.store.statements import BY_ARRIVAL


class Place(NamedTuple):
    """Where in the list an item stands: its arrival, and its number for those that arrived at once."""

    arrived_at: float
    serial: int


FIRST = Place(-1e12, 0)
"""Before all items."""

LAST = Place(1e12, 1 << 62)
"""After all items."""


class Listed(NamedTuple):
    """A row of the list: columns of the item, then those of its verdict, which are null without one."""

    serial: int
    id: str
    path: bytes
    state: str
    size: int
    sha256: str | None
    container: str | None
    codec: str | None
    seconds: float | None
    channels: int | None
    sample_rate: int | None
    arrived_at: float
    identifier: str | None
    duplicate_of: str | None
    attempts: int
    filed_as: bytes | None
    submitted_at: float | None
    filed_at: float | None
    site: str
    verdict_state: str | None
    classification: str | None
    confidence: float | None
    heuristic: str | None
    models: str | None  # as JSON
    api_version: str | None
    known_at: float | None
    detail: str | None
    result_url: str | None
    # From here on, what few recordings have: see _SELDOM.
    plan_mode: str | None
    fault_code: str | None
    fault_message: str | None
    fault_hint: str | None
    warning: str | None
    altered: str | None
    dismissed_at: float | None
    dismissed_by: str | None
    removed_at: float | None
    removed_how: str | None
    review_word: str | None
    review_note: str | None
    review_by: str | None
    review_at: float | None
    forced: int | None  # 0 or 1, or the like
    machine_classification: str | None
    machine_confidence: float | None

    @property
    def place(self) -> Place:
        return Place(self.arrived_at, self.serial)

    @property
    def is_plain(self) -> bool:
        """Whether the row tells all of its item: it has no parts, and was not altered since it was filed."""
        return self.plan_mode is None and self.altered is None


_SELDOM = Listed._fields.index("plan_mode")
"""The first field that few recordings have. Every column costs a list half a percent of its time (measured)."""

_NAMED = {column.name: column for column in (*verdicts.c, *items.c)} | {"verdict_state": verdicts.c.state}
_TELLING = ("plan_mode", "fault_code", "warning", "altered", "dismissed_at", "removed_at", "review_word")
"""Without these and a forced verdict, nothing of what is seldom is told of a recording."""


def _rows(*columns: ColumnElement[Any]) -> Select[tuple[object, ...]]:
    joined = items.outerjoin(verdicts, verdicts.c.identifier == items.c.identifier)
    return select(*columns).select_from(joined)


LISTED = _rows(*(_NAMED[name] for name in Listed._fields))
"""Rows of the list, of all items in no order."""

_SHORT = _rows(
    *(_NAMED[name] for name in Listed._fields[:_SELDOM]),
    or_(*(_NAMED[name].is_not(None) for name in _TELLING), func.coalesce(verdicts.c.forced, false())),
)
"""The same without what is seldom; instead, whether there is any of it."""


def listed(result: CursorResult[Any]) -> list[Listed]:
    """Return the rows of such a query, as the driver has them: SQLAlchemy's cost a tenth of a list (measured)."""
    with closing(result):
        return list(map(_as_listed, result.cursor.fetchall()))


_as_listed = partial(tuple.__new__, Listed)  # Listed._make counts the columns of each row
_NOTHING_SELDOM = (None,) * (len(Listed._fields) - _SELDOM)

_SERIAL: BindParameter[int] = bindparam("serial")
_ARRIVED_AT: BindParameter[float] = bindparam("arrived_at")
_LIMIT: BindParameter[int] = bindparam("limit")
_ALL_AFTER = _SHORT.where(items.c.serial > _SERIAL).order_by(items.c.serial).limit(_LIMIT)
OF_SERIALS = LISTED.where(items.c.serial.in_(bindparam("serials", expanding=True)))
"""Those with these numbers, in no order."""
_ITEMS_AFTER = select(items).where(items.c.serial > _SERIAL).order_by(items.c.serial).limit(_LIMIT)


class Listing:
    """The list, within one transaction.

    Whoever reads all of it opens a transaction for each batch, so that none is open while its reader takes its
    time: an item that changes its state meanwhile is listed in the one or in the other.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def after(self, place: Place, limit: int, states: Sequence[State] = ()) -> list[Listed]:
        """Return the first rows after this place: of all items, or of those in these states."""
        given = {**place._asdict(), "limit": limit}
        if states:
            return listed(self._connection.execute(_after(tuple(sorted(set(states)))), given))
        with closing(self._connection.execute(_ALL_AFTER, given)) as result:
            short = result.cursor.fetchall()
        serials = [row[0] for row in short if row[-1]]
        known = listed(self._connection.execute(OF_SERIALS, {"serials": serials})) if serials else ()
        whole = {row.serial: row for row in known}
        return [whole[row[0]] if row[-1] else _as_listed(row[:-1] + _NOTHING_SELDOM) for row in short]

    def items_after(self, place: Place, limit: int, states: Sequence[State] = ()) -> list[tuple[Place, Item]]:
        """Return the first whole items after this place, each with its own."""
        query = _items_after(tuple(sorted(set(states)))) if states else _ITEMS_AFTER
        rows = self._connection.execute(query, {**place._asdict(), "limit": limit})
        return [(Place(row.arrived_at, row.serial), item_of(row)) for row in rows.all()]

    def items_of(self, serials: Sequence[int]) -> dict[int, Item]:
        """Return the items with these numbers."""
        rows = self._connection.execute(_WITH_SERIALS, {"serials": serials})
        return {row.serial: item_of(row) for row in rows}


_WITH_SERIALS = select(items).where(items.c.serial.in_(bindparam("serials", expanding=True)))


@cache
def _after(states: tuple[State, ...]) -> Select[tuple[object, ...]]:
    return _in_order(LISTED, states)


@cache
def _items_after(states: tuple[State, ...]) -> Select[tuple[object, ...]]:
    return _in_order(select(items), states)


def _in_order(rows: Select[tuple[object, ...]], states: tuple[State, ...]) -> Select[tuple[object, ...]]:
    """The rows in these states, found through the index of each: none that was listed is looked at again."""
    same, later = items.c.arrived_at == _ARRIVED_AT, items.c.arrived_at > _ARRIVED_AT
    firsts = [
        select(items.c.serial).where(items.c.state == state, *is_after).order_by(*BY_ARRIVAL).limit(_LIMIT)
        for state in states
        for is_after in (
            (same, items.c.serial > _SERIAL),
            (later,),
        )  # as one, all of the same moment are read again
    ]
    keys = union_all(*(select(first.subquery().c.serial) for first in firsts))
    return rows.where(items.c.serial.in_(keys)).order_by(*BY_ARRIVAL).limit(_LIMIT)
