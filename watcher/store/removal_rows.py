"""What is removed: what retention finds to be due, what a person wants erased, and the rows that go with it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, exists, func, or_, select, update

from watcher.alarms import Alarm
from watcher.domain import FILED, Fault, Item, Removed, State, VerdictState
from watcher.store.condition_rows import Conditions
from watcher.store.dialects import insert_or_replace, unindexed
from watcher.store.rows import item_of
from watcher.store.schema import (
    attempts,
    items,
    obstacles,
    parts,
    pauses,
    removals,
    results,
    transitions,
    verdicts,
)
from watcher.store.tallies import ITEMS, Tallies
from watcher.store.verdict_copies import sites_with
from watcher.tombstone import Why

RECORDING = "recording"
RECEIPT = "receipt"
EVERYTHING = "everything"

_others = items.alias("others")
_other_parts = parts.alias("other_parts")


def _is_at_rest(identifier: Any) -> Any:
    """Whether the verdict on this identifier came to rest before then: known, or an error for good."""
    return exists().where(
        verdicts.c.identifier == identifier,
        or_(*(verdicts.c.state == state for state in (VerdictState.KNOWN, VerdictState.ERRORED))),
        func.coalesce(verdicts.c.asked_at, verdicts.c.since) <= bindparam("before"),
    )


_HAS_REST = and_(
    items.c.filed_at <= bindparam("before"),
    # Not the bare column: through an index on it, each look would read and sort all rows of these states.
    items.c.state.concat("").in_(sorted(FILED)),
    items.c.claim.is_(None),
    items.c.moves_to.is_(None),
    or_(items.c.identifier.is_(None), _is_at_rest(items.c.identifier)),
    ~exists().where(
        parts.c.item_id == items.c.id, parts.c.identifier.is_not(None), ~_is_at_rest(parts.c.identifier)
    ),
    ~exists().where(removals.c.item_id == items.c.id, removals.c.fault_code.is_(None)),
)
_IS_GONE = or_(items.c.removed_at.is_not(None), items.c.filed_as.is_(None))
_AFTER = and_(
    items.c.filed_at >= bindparam("after_at"),  # by itself, so that the index is entered there
    or_(items.c.filed_at > bindparam("after_at"), items.c.serial > bindparam("after")),
)


def _due(*conditions: Any) -> Select[Any]:
    return (
        select(items)
        .where(_HAS_REST, _AFTER, *conditions)
        .order_by(items.c.filed_at, items.c.serial)
        .limit(bindparam("limit"))
    )


_DUE_RECORDINGS = _due(
    items.c.removed_at.is_(None),
    items.c.filed_as.is_not(None),
    items.c.altered.is_(None),
    ~items.c.receipt_due,  # it may be about to say that the recording was altered
)
_DUE_ALTERED = _due(items.c.removed_at.is_(None), items.c.filed_as.is_not(None), items.c.altered.is_not(None))
_DUE_RECEIPTS = _due(items.c.receipt_removed_at.is_(None), or_(_IS_GONE, bindparam("foresees")))
_DUE_ROWS = _due(
    or_(_IS_GONE, bindparam("foresees")),
    or_(items.c.receipt_removed_at.is_not(None), bindparam("keeps_receipts"), bindparam("foresees")),
)
_LAST_FILED = select(func.max(items.c.filed_at))
_LAST_CHANGE = (
    select(func.max(transitions.c.at))
    .where(transitions.c.item_id == items.c.id)
    .correlate(items)
    .scalar_subquery()
)
_DUE_WITHDRAWN = (
    select(items)
    .where(
        items.c.state == State.WITHDRAWN,
        items.c.arrived_at <= bindparam("before"),
        items.c.serial > bindparam("after"),
        ~items.c.in_doubt,  # nobody else knows that it may have been paid for
        ~exists().where(parts.c.item_id == items.c.id, or_(parts.c.in_doubt, parts.c.identifier.is_not(None))),
        ~exists().where(removals.c.item_id == items.c.id),
        bindparam("before") >= _LAST_CHANGE,
    )
    .order_by(items.c.serial)
    .limit(bindparam("limit"))
)

_ASK = insert_or_replace(removals)
_MOVES_ON = exists().where(items.c.id == removals.c.item_id, items.c.moves_to.is_not(None))
_CLAIMED = (
    select(removals)
    .where(removals.c.fault_code.is_(None), ~_MOVES_ON)
    .order_by(removals.c.asked_at, removals.c.item_id)
    .limit(bindparam("limit"))
)
_GET = select(removals).where(removals.c.item_id == bindparam("id"))
_END = delete(removals).where(removals.c.item_id == bindparam("id"))
_FAIL = update(removals).where(removals.c.item_id == bindparam("the_id"))
_SAME_ROW = and_(
    items.c.id == bindparam("the_id"), unindexed(items.c.state) == bindparam("the_state"), items.c.claim.is_(None)
)
_REMOVED = update(items).where(_SAME_ROW, items.c.filed_as.is_not_distinct_from(bindparam("the_name")))
_FORGET_ITEM = delete(items).where(_SAME_ROW, items.c.filed_as.is_not_distinct_from(bindparam("the_name")))
_OF_ITEM = {
    table: delete(table).where(table.c.item_id == bindparam("id"))
    for table in (attempts, parts, obstacles, removals)
}
_LAST_SERIAL = select(func.max(transitions.c.serial)).scalar_subquery()
_FORGET_HISTORY = delete(transitions).where(
    transitions.c.item_id.in_([bindparam("id"), bindparam("nobody")]), transitions.c.serial < _LAST_SERIAL
)
_KEEP_NUMBER = (
    update(transitions)
    .where(transitions.c.item_id == bindparam("the_id"))
    .values(item_id=bindparam("nobody"), before=transitions.c.after, note="", by=None)
)
_FORGET_VERDICT = tuple(
    delete(table).where(
        table.c.identifier == bindparam("identifier"),
        ~select(_others.c.id).where(_others.c.identifier == bindparam("identifier")).exists(),
        ~select(_other_parts.c.item_id).where(_other_parts.c.identifier == bindparam("identifier")).exists(),
    )
    for table in (verdicts, results)
)
_FORGET_PAUSES = delete(pauses).where(
    pauses.c.ended_at < bindparam("before"),
    pauses.c.serial < select(func.max(pauses.c.serial)).scalar_subquery(),  # its number is never given again
)
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class Removal:
    """Something that is to be removed, or is just being removed. `fault`: why it could not be."""

    item_id: str
    what: str
    why: Why
    asked_at: float
    by: str | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a look at what is due has come: behind this item."""

    at: float = -1.0
    serial: int = 0


class Removals:
    """What is removed and what is due, within one transaction. `before`: at rest since then or longer."""

    def __init__(self, connection: Connection, conditions: Conditions, tallies: Tallies) -> None:
        self._connection = connection
        self._tallies = tallies
        self._conditions = conditions

    # What is due

    def due_recordings(self, before: float, after: Reached, limit: int) -> list[tuple[Reached, Item]]:
        """Items whose recordings lie in done/ or failed/, as far as is known, unaltered; first filed first."""
        return self._due(_DUE_RECORDINGS, before, after, limit)

    def due_altered(self, before: float, after: Reached, limit: int) -> list[tuple[Reached, Item]]:
        """Items whose time is over, and whose recordings stay, since they were altered after they were filed."""
        return self._due(_DUE_ALTERED, before, after, limit)

    def due_receipts(
        self, before: float, after: Reached, limit: int, *, foresees: bool = False
    ) -> list[tuple[Reached, Item]]:
        """Items whose recordings are gone and whose receipts are not, as far as is known.

        `foresees`: those whose recordings are still there as well.
        """
        return self._due(_DUE_RECEIPTS, before, after, limit, foresees=foresees)

    def due_rows(
        self, before: float, after: Reached, limit: int, *, keeps_receipts: bool, foresees: bool = False
    ) -> list[tuple[Reached, Item]]:
        """Items whose recordings are gone, and whose receipts are too unless these are kept for ever.

        `foresees`: those of which something is still there as well.
        """
        more = {"keeps_receipts": keeps_receipts, "foresees": foresees}
        return self._due(_DUE_ROWS, before, after, limit, **more)

    def last_filed(self) -> float | None:
        """Return when an item was last filed."""
        found: float | None = self._connection.execute(_LAST_FILED).scalar()
        return found

    def due_withdrawn(self, before: float, after: Reached, limit: int) -> list[tuple[Reached, Item]]:
        """Items that were withdrawn, and of which nothing can have been paid."""
        values = {"before": before, "after": after.serial, "limit": limit}
        return [
            (Reached(0.0, row.serial), item_of(row)) for row in self._connection.execute(_DUE_WITHDRAWN, values)
        ]

    def _due(
        self, query: Select[Any], before: float, after: Reached, limit: int, **more: Any
    ) -> list[tuple[Reached, Item]]:
        values = {"before": before, "after_at": after.at, "after": after.serial, "limit": limit}
        rows = self._connection.execute(query, values | more)
        return [(Reached(row.filed_at, row.serial), item_of(row)) for row in rows]

    # What is being removed

    def ask(self, removal: Removal) -> None:
        """Commit what is to be removed, before anything is touched. It replaces an earlier one of the item."""
        self._connection.execute(_ASK, _columns(removal))

    def get(self, item_id: str) -> Removal | None:
        row = self._connection.execute(_GET, {"id": item_id}).one_or_none()
        return None if row is None else _removal(row)

    def claimed(self, limit: int) -> list[Removal]:
        """What is to be removed, did not fail, and does not move within done/: the longest asked for first."""
        return [_removal(row) for row in self._connection.execute(_CLAIMED, {"limit": limit})]

    def fail(self, removal: Removal, fault: Fault) -> None:
        """Record why it cannot be removed: it is not tried again, unless it is asked for once more."""
        values = {"fault_code": fault.code, "fault_message": fault.message, "fault_hint": fault.hint}
        self._connection.execute(_FAIL.values(**values), {"the_id": removal.item_id})

    def end(self, item_id: str) -> None:
        """Nothing of the item is to be removed any more."""
        self._connection.execute(_END, {"id": item_id})

    # What is gone

    def mark_recording(self, item: Item, removed: Removed) -> bool:
        """Record that the recording is gone. False: the item has left its folder since it was read."""
        values: dict[str, Any] = {"removed_at": removed.at, "removed_how": removed.how, "receipt_due": True}
        if item.state is State.FAILED and item.dismissed is None:  # nobody can do anything about it any more
            values |= {"dismissed_at": removed.at, "dismissed_by": removed.how}
        done = self._connection.execute(_REMOVED.values(**values), self._as_read(item))
        for alarm in (Alarm.FAILED, Alarm.GROWN) if done.rowcount else ():
            self._conditions.close(alarm, item.id, removed.at)
        return done.rowcount == 1

    def mark_receipt(self, item: Item, now: float) -> bool:
        """Record that the receipt is gone. False: the item has left its folder since it was read."""
        values = {"receipt_removed_at": now, "receipt_due": False}
        done = self._connection.execute(_REMOVED.values(**values), self._as_read(item))
        return done.rowcount == 1

    def forget_item(self, item: Item) -> bool:
        """Delete the item's row. False, and nothing is deleted: it has changed since it was read."""
        if self._connection.execute(_FORGET_ITEM, self._as_read(item)).rowcount != 1:
            return False
        self._tallies.add(ITEMS, number=-1)
        return True

    def forget_rest(self, item_id: str, identifiers: list[str]) -> None:
        """Delete what is left of an item without a row: the ledger's lines, which are summed up, and its history.

        A verdict that another item shares stays. The number of the last change is never given again: readers ask
        what came after it.
        """
        for statement in _OF_ITEM.values():
            self._connection.execute(statement, {"id": item_id})
        self._conditions.forget(item_id)
        self._connection.execute(_FORGET_HISTORY, {"id": item_id, "nobody": _NOBODY})
        self._connection.execute(_KEEP_NUMBER, {"the_id": item_id, "nobody": _NOBODY})
        for identifier in identifiers:
            if not sites_with(self._connection, identifier):
                for statement in _FORGET_VERDICT:
                    self._connection.execute(statement, {"identifier": identifier})

    def forget_pauses(self, before: float) -> int:
        """Delete the pauses that ended before then. Return how many."""
        return self._connection.execute(_FORGET_PAUSES, {"before": before}).rowcount

    @staticmethod
    def _as_read(item: Item) -> dict[str, Any]:
        return {"the_id": item.id, "the_state": item.state, "the_name": item.filed_as}


def _columns(removal: Removal) -> dict[str, Any]:
    return {
        "item_id": removal.item_id,
        "what": removal.what,
        "why": removal.why,
        "asked_at": removal.asked_at,
        "by": removal.by,
        "fault_code": None,
        "fault_message": None,
        "fault_hint": None,
    }


def _removal(row: Row[Any]) -> Removal:
    fault = None if row.fault_code is None else Fault(row.fault_code, row.fault_message, row.fault_hint)
    return Removal(row.item_id, row.what, Why(row.why), row.asked_at, row.by, fault)
