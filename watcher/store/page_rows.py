"""What the pages ask besides: counts that are capped, so that none takes long, and the latest events."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Executable,
    Float,
    LargeBinary,
    Select,
    bindparam,
    exists,
    func,
    literal,
    select,
    tuple_,
    union_all,
)

from watcher.domain import ARTIFICIAL, HUMAN, INCONCLUSIVE, State, VerdictState
from watcher.store.listed_rows import Place
from watcher.store.schema import TO_SEE, UNJUDGED, items, parts, transitions, verdicts
from watcher.store.statements import is_one_of

CAP = 10_000
"""A page counts no further."""

_MOST_CALLED = 5
_SHORTEST_CALLED = 6  # characters of an id or identifier

_SERIAL: BindParameter[int] = bindparam("serial")
_LIMIT: BindParameter[int] = bindparam("limit")
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)


def _capped(name: str, *conditions: Any) -> Select[str, int]:
    counted = select(literal(1)).where(*conditions).limit(CAP + 1).subquery()
    return select(literal(name), func.count()).select_from(counted)


_STATES = union_all(*(_capped(state, items.c.state == state) for state in State))
_ORDER = (items.c.arrived_at.desc(), items.c.serial.desc())
_TO_SEE = select(func.count()).select_from(
    select(literal(1)).select_from(items).where(TO_SEE).limit(CAP + 1).subquery()
)


def _in_parts(name: str, condition: ColumnElement[bool]) -> Select[str, int]:
    """How many recordings have a part whose verdict is such."""
    found = select(parts.c.item_id).select_from(verdicts)
    found = found.join(parts, parts.c.identifier == verdicts.c.identifier).where(condition).limit(CAP + 1)
    return select(literal(name), func.count()).select_from(found.distinct().subquery())


_PENDING = (VerdictState.AWAITED, VerdictState.OVERDUE)
# One part that is artificial, or has no verdict yet, tells of its recording. What else the parts say does not.
_ASKED = union_all(
    *(_capped(s, UNJUDGED, items.c.judged_state == s) for s in (*_PENDING, VerdictState.ERRORED)),
    *(_in_parts(state, verdicts.c.state == state) for state in _PENDING),
)
_CLASSES = union_all(*(_capped(name, items.c.judged_as == name) for name in (ARTIFICIAL, HUMAN, INCONCLUSIVE)))
_ARTIFICIAL_IN_PARTS = _in_parts(ARTIFICIAL, verdicts.c.classification == ARTIFICIAL)
# The same, looked for from the side of the recordings: all artificial verdicts may be very many more.
_SENT_IN_PARTS = (items.c.plan_mode.is_not(None), is_one_of(items, set(State)))
_ARTIFICIAL_OF_FEW_IN_PARTS = _capped(
    ARTIFICIAL,
    *_SENT_IN_PARTS,
    exists()
    .where(parts.c.item_id == items.c.id, verdicts.c.identifier == parts.c.identifier)
    .where(verdicts.c.classification == ARTIFICIAL),
)
_FEW_IN_PARTS = 2_000
_MANY_IN_PARTS = select(literal(1)).select_from(items).where(*_SENT_IN_PARTS).offset(_FEW_IN_PARTS).limit(1)
_EVENTS = (
    select(
        transitions.c.serial,
        transitions.c.at,
        transitions.c.before,
        transitions.c.after,
        transitions.c.note,
        transitions.c.by,
        items.c.id,
        items.c.path,
        items.c.filed_as,
    )
    .join(items, items.c.id == transitions.c.item_id)
    .where(transitions.c.serial < _SERIAL)
    .order_by(transitions.c.serial.desc())
    .limit(_LIMIT)
)


def _of_these(condition: ColumnElement[bool]) -> Select[Any]:
    return (
        select(transitions)
        .where(transitions.c.item_id.in_(_IDS), transitions.c.serial > _SERIAL, condition)
        .order_by(transitions.c.serial)
    )


_LATEST_TO_SEE = select(items.c.serial).where(TO_SEE).order_by(*_ORDER).limit(_LIMIT)
_BEHIND = (
    select(items.c.arrived_at)
    .where(tuple_(items.c.arrived_at, items.c.serial) < tuple_(bindparam("arrived_at", type_=Float), _SERIAL))
    .order_by(*_ORDER)
    .offset(_LIMIT)
    .limit(1)
)
_VERDICT: BindParameter[str] = bindparam("verdict")
_PLACES_OF_VERDICTS = (
    select(items.c.arrived_at, items.c.serial).where(items.c.judged_as == _VERDICT).limit(_LIMIT),
    select(items.c.arrived_at, items.c.serial)
    .select_from(verdicts)
    .join(items, items.c.identifier == verdicts.c.identifier)
    .where(verdicts.c.state == _VERDICT)
    .limit(_LIMIT),
)
_PLACES_IN_PARTS = select(items.c.arrived_at, items.c.serial).where(*_SENT_IN_PARTS).limit(_LIMIT)
_FIRST_PATH: BindParameter[bytes] = bindparam("first", type_=LargeBinary)
_NO_PATH: BindParameter[bytes] = bindparam("behind", type_=LargeBinary)
_PLACES_IN_FOLDER = (
    select(items.c.arrived_at, items.c.serial)
    .where(items.c.path >= _FIRST_PATH, items.c.path < _NO_PATH)
    .limit(_LIMIT)
)
_LOW: BindParameter[str] = bindparam("low")
_HIGH: BindParameter[str] = bindparam("high")
_BY_ID = select(items.c.serial).where(items.c.id.between(_LOW, _HIGH)).limit(_LIMIT)
_BY_IDENTIFIER = select(items.c.serial).where(items.c.identifier.between(_LOW, _HIGH)).limit(_LIMIT)
_BY_PART = (
    select(items.c.serial)
    .where(items.c.id.in_(select(parts.c.item_id).where(parts.c.identifier.between(_LOW, _HIGH)).limit(_LIMIT)))
    .limit(_LIMIT)
)
_SERIAL_OF = select(items.c.serial).where(items.c.id == bindparam("id"))
_DECIDED = _of_these(transitions.c.by.is_not(None))
_CHANGED = _of_these(transitions.c.before.is_distinct_from(transitions.c.after) | transitions.c.by.is_not(None))


class EventRow(NamedTuple):
    """A line of the histories, with the recording that it is of."""

    serial: int
    at: float
    before: str | None
    after: str
    note: str
    by: str | None
    id: str
    path: bytes
    filed_as: bytes | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are. Beyond CAP nobody has counted."""

    number: int

    @property
    def is_capped(self) -> bool:
        return self.number > CAP

    def __str__(self) -> str:
        return f"{CAP:,}+" if self.is_capped else f"{self.number:,}"

    def __bool__(self) -> bool:
        return self.number > 0


class Decision(NamedTuple):
    """What somebody decided on an item."""

    at: float
    note: str
    by: str


class PageRows:
    """What the pages ask, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def counts(self) -> dict[State, int]:
        """Return how many items are in each state; CAP + 1 stands for any larger number."""
        return {State(state): number for state, number in self._connection.execute(_STATES)}

    def failed_to_see(self) -> int:
        """Return how many failed ones were not dismissed, capped as the others."""
        return int(self._connection.execute(_TO_SEE).scalar_one())

    def classes(self) -> dict[str, int]:
        """Return how many recordings have a verdict of each class, capped as the others.

        Of those in parts only the artificial ones are known, by the rule that one part makes them so.
        """
        are_many = self._connection.execute(_MANY_IN_PARTS).first() is not None
        in_parts = _ARTIFICIAL_IN_PARTS if are_many else _ARTIFICIAL_OF_FEW_IN_PARTS
        return dict(self._summed(_CLASSES, in_parts))

    def asked(self) -> dict[VerdictState, int]:
        """Return of how many recordings the verdict is awaited, overdue or in error, capped as the others."""
        return {VerdictState(state): number for state, number in self._summed(_ASKED).items()}

    def _summed(self, *queries: Executable) -> Counter[str]:
        found: Counter[str] = Counter()
        for query in queries:
            for name, number in self._connection.execute(query):
                found[name] += number
        return found

    def latest_to_see(self, limit: int) -> list[int]:
        """Return the numbers of the latest failed ones that were not dismissed, the latest first."""
        return list(self._connection.execute(_LATEST_TO_SEE, {"limit": limit}).scalars())

    def behind(self, place: Place, distance: int) -> Place | None:
        """Return the place of which at least so many arrivals stand before this one; null where it is none."""
        values = {**place._asdict(), "limit": distance}
        at = self._connection.execute(_BEHIND, values).scalar_one_or_none()
        return None if at is None else Place(at, 0)

    def few_with_verdict(self, said: str) -> list[Place] | None:
        """Return the places of all that may have this verdict, a class or a state; null where they are many.

        Of those in parts it is not known what their joined verdicts are.
        """
        values = {"verdict": said, "limit": CAP + 1}
        found: list[Place] = []
        for query in (*_PLACES_OF_VERDICTS, _PLACES_IN_PARTS):
            found += map(Place._make, self._connection.execute(query, values))
            if len(found) > CAP:
                return None
        return found

    def few_in_folder(self, folder: bytes) -> list[Place] | None:
        """Return the places of all that came into this folder or below it; null where they are many."""
        values = {"first": folder, "behind": folder[:-1] + b"0", "limit": CAP + 1}  # "0" follows "/"
        found = list(map(Place._make, self._connection.execute(_PLACES_IN_FOLDER, values)))
        return found if len(found) <= CAP else None

    def called(self, text: str) -> list[int]:
        """Return the numbers of the few whose ids, identifiers or parts' identifiers begin with this text."""
        if len(text) < _SHORTEST_CALLED:
            return []
        values = {"low": text, "high": text + "\U0010ffff", "limit": _MOST_CALLED}
        found = [
            serial
            for query in (_BY_ID, _BY_IDENTIFIER, _BY_PART)
            for serial in self._connection.execute(query, values).scalars()
        ]
        return list(dict.fromkeys(found))[:_MOST_CALLED]

    def serial_of(self, item_id: str) -> int | None:
        """Return the number of the item with this id."""
        serial: int | None = self._connection.execute(_SERIAL_OF, {"id": item_id}).scalar_one_or_none()
        return serial

    def events(self, before: int, limit: int) -> list[EventRow]:
        """Return the latest events before this number, the latest first."""
        rows = self._connection.execute(_EVENTS, {"serial": before, "limit": limit})
        return list(map(EventRow._make, rows))

    def decided(self, item_id: str, since: int) -> Decision | None:
        """Return what somebody first decided on the item after this change; null where nobody has."""
        row = self._connection.execute(_DECIDED, {"ids": [item_id], "serial": since}).first()
        return None if row is None else Decision(row.at, row.note, row.by)

    def changed(self, item_ids: Collection[str], since: int) -> set[str]:
        """Return those of these items that were moved, or that somebody decided on, after this change."""
        if not item_ids:
            return set()
        rows = self._connection.execute(_CHANGED, {"ids": list(item_ids), "serial": since})
        return {row.item_id for row in rows}
