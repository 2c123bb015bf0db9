"""The items that a person looks for: by state, verdict, name, folder and time of arrival, in any order."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from watcher.domain import State
from watcher.store.dialects import begins_with, path_has, path_has_digits
from watcher.store.listed_rows import LISTED, OF_SERIALS, Listed, Place, listed
from watcher.store.schema import items
from watcher.store.statements import is_one_of

_AT: BindParameter[float] = bindparam("arrived_at")
_SERIAL: BindParameter[int] = bindparam("serial")
_LIMIT: BindParameter[int] = bindparam("limit")
_BEFORE_ALL = -1  # among those that arrived at one moment

SORTS: dict[str, ColumnElement[Any]] = {
    "arrived": items.c.arrived_at,
    "submitted": items.c.submitted_at,
    "filed": items.c.filed_at,
    "name": items.c.path,
    "state": items.c.state,
    "size": items.c.size,
    "seconds": items.c.seconds,
    "confidence": items.c.judged_confidence,
}
"""What items are sorted by. What is not known comes last."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What a person looks for. Empty: whatever it is. Times are of the arrival: from `since`, before `until`.

    `verdicts`: classes, or states of the verdict. Of what was sent in parts they are only known to who reads all
    parts: such items are found whatever these are. `names`: spellings of a part of the path; `digits`: the same,
    where it may be a number. `folder`: with a slash at its end.
    """

    states: frozenset[State] = frozenset()
    verdicts: frozenset[str] = frozenset()
    names: tuple[bytes, ...] = ()
    digits: str = ""
    folder: bytes = b""
    since: float | None = None
    until: float | None = None
    to_see: bool = False  # of the failed ones, those that were not dismissed

    @property
    def is_all(self) -> bool:
        return self == Sought()


class SoughtRows:
    """The rows that a person looks for, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(self, sought: Sought, place: Place, limit: int, *, newest_first: bool = False) -> list[Listed]:
        """Return the first rows after this place: the oldest arrival first, or the newest."""
        # The bound is the place: as a condition, the index would be read from its end on.
        if newest_first and sought.until is not None:
            place = min(place, Place(sought.until, _BEFORE_ALL))
        elif not newest_first and sought.since is not None:
            place = max(place, Place(sought.since, _BEFORE_ALL))
        query = _page(sought, newest_first=newest_first)
        values = {"arrived_at": place.arrived_at, "serial": place.serial, "limit": limit}
        return listed(self._connection.execute(query, values))

    def among(self, sought: Sought, serials: Sequence[int]) -> list[Listed]:
        """Return the rows with these numbers that are looked for, in their order."""
        return self._in_order(OF_SERIALS.where(*_met_by(sought)), serials)

    def count(self, sought: Sought, most: int) -> int:
        """Return how many are found, counting no further than `most`: those in parts whatever their verdicts."""
        found = select(literal(1)).select_from(items)
        found = found.where(*_met_by(sought)).limit(most)
        return int(self._connection.execute(select(func.count()).select_from(found.subquery())).scalar_one())

    def sorted(self, sought: Sought, key: str, *, reverse: bool = False) -> "array[int]":
        """Return the numbers of all that are found, sorted by one of SORTS."""
        column = SORTS[key]
        order = [column.desc() if reverse else column, items.c.serial.desc() if reverse else items.c.serial]
        query = select(items.c.serial).where(*_met_by(sought))
        if column.nullable:
            order.insert(0, column.is_(None))
        rows = self._connection.execute(query.order_by(*order), execution_options={"yield_per": 10_000})
        return array("q", rows.scalars())

    def rows_of(self, serials: Sequence[int]) -> list[Listed]:
        """Return the rows with these numbers, in their order."""
        return self._in_order(OF_SERIALS, serials)

    def _in_order(self, query: Select[Any], serials: Sequence[int]) -> list[Listed]:
        rows = listed(self._connection.execute(query, {"serials": list(serials)}))
        known = {row.serial: row for row in rows}
        return [known[serial] for serial in serials if serial in known]


@lru_cache(maxsize=8)
def _page(sought: Sought, *, newest_first: bool) -> Select[Any]:
    """The rows after a place, read in the order of an index: none that was listed is looked at again."""
    at, serial = items.c.arrived_at, items.c.serial
    order = (at.desc(), serial.desc()) if newest_first else (at, serial)
    conditions = _conditions(sought)
    if not sought.states:
        place = tuple_(at, serial)
        here = tuple_(_AT, _SERIAL)
        is_after = place < here if newest_first else place > here
        return LISTED.where(is_after, *conditions).order_by(*order).limit(_LIMIT)
    same = (at == _AT, serial < _SERIAL if newest_first else serial > _SERIAL)
    later = (at < _AT if newest_first else at > _AT,)
    firsts = [
        select(serial)
        .select_from(items)
        .where(items.c.state == state, *is_after, *conditions)
        .order_by(*order)
        .limit(_LIMIT)
        for state in sorted(sought.states)
        for is_after in (same, later)  # as one, all of the same moment are read again
    ]
    keys = union_all(*(select(first.subquery().c.serial) for first in firsts))
    return LISTED.where(serial.in_(keys)).order_by(*order).limit(_LIMIT)


def _met_by(sought: Sought) -> list[ColumnElement[bool]]:
    """What the items meet, wherever in the list they stand."""
    states = [is_one_of(items, sought.states)] if sought.states else []
    return [*states, *_conditions(sought)]


def _conditions(sought: Sought) -> list[ColumnElement[bool]]:
    """What the items meet, but for their states, and where in the list they stand."""
    found: list[ColumnElement[bool]] = []
    if sought.since is not None:
        found.append(items.c.arrived_at >= sought.since)
    if sought.until is not None:
        found.append(items.c.arrived_at < sought.until)
    if sought.folder:
        found.append(begins_with(items.c.path, _bytes(sought.folder)))
    if sought.names or sought.digits:
        filed_elsewhere = and_(items.c.filed_as != items.c.path, _is_named(items.c.filed_as, sought))
        found.append(or_(_is_named(items.c.path, sought), filed_elsewhere))
    if sought.to_see:
        found.append(or_(items.c.state != State.FAILED, items.c.dismissed_at.is_(None)))
    if sought.verdicts:
        said = sorted(sought.verdicts)
        judged = or_(items.c.judged_as.in_(said), items.c.judged_state.in_(said))
        found.append(or_(items.c.plan_mode.is_not(None), judged))
    return found


def _is_named(path: ColumnElement[bytes], sought: Sought) -> ColumnElement[bool]:
    named: list[ColumnElement[bool]] = [path_has(path, _bytes(name)) for name in sought.names]
    digits = [path_has_digits(path, literal(sought.digits))] if sought.digits else []
    return or_(*named, *digits)


def _bytes(value: bytes) -> ColumnElement[bytes]:
    return literal(value, LargeBinary())
