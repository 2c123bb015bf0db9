"""Obstacles: why a recording cannot be prepared or moved, or its receipt written; kept until it is done."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, insert, or_, select, update

from watcher.domain import MOVING, PATIENT, Fault, State
from watcher.store.compiled import Compiled
from watcher.store.schema import items, obstacles
from watcher.store.statements import is_one_of
from watcher.text import JsonObject, path_text, rfc3339

_PATIENT = is_one_of(items, PATIENT)
_STILL = or_(_PATIENT, items.c.receipt_due)  # else somebody else has done with the item
_OF = select(obstacles).where(obstacles.c.item_id == bindparam("id"))
_ITS = items.c.id == obstacles.c.item_id
# Not joins: those begin with the items, of which there may be a million, instead of the few obstacles (measured).
_IS_LISTED = exists().where(_ITS, _STILL)
_LISTED = (
    select(
        obstacles,
        select(items.c.path).where(_ITS).scalar_subquery().label("path"),
        select(items.c.state).where(_ITS).scalar_subquery().label("state"),
    )
    .where(_IS_LISTED)
    .order_by(obstacles.c.since, obstacles.c.item_id)
    .limit(bindparam("limit"))
)
_COUNT = select(func.count()).select_from(obstacles).where(_IS_LISTED)
_WAITING = (
    select(func.count())
    .select_from(obstacles)
    .where(exists().where(_ITS, is_one_of(items, MOVING)), obstacles.c.again_at > bindparam("now"))
)
_NEXT_AT = Compiled(select(func.min(obstacles.c.again_at)).where(obstacles.c.again_at > bindparam("now")))
_ADD = insert(obstacles)
_PUT = update(obstacles).where(obstacles.c.item_id == bindparam("the_id"))
_REMOVE = Compiled(delete(obstacles).where(obstacles.c.item_id == bindparam("id")))
_BRING_FORWARD = update(obstacles).where(obstacles.c.again_at > bindparam("now")).values(again_at=bindparam("now"))
_FORGET = delete(obstacles).where(
    ~select(items.c.id).where(and_(items.c.id == obstacles.c.item_id, _STILL)).exists()
)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an item cannot be prepared, filed or returned, or its receipt written; since when; when next tried."""

    item_id: str
    path: bytes
    state: State
    since: float
    again_at: float
    fault: Fault

    def as_json(self) -> JsonObject:
        return {
            "id": self.item_id,
            "path": path_text(self.path),
            "state": str(self.state),
            "since": rfc3339(self.since),
            "again_at": rfc3339(self.again_at),
            **self.fault.as_json(),
        }


class Obstacles:
    """The obstacles, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def listed(self, limit: int) -> list[Obstacle]:
        """The oldest obstacles, up to this many."""
        rows = self._connection.execute(_LISTED, {"limit": limit})
        return [
            Obstacle(
                row.item_id,
                row.path,
                State(row.state),
                row.since,
                row.again_at,
                Fault(row.code, row.message, row.hint),
            )
            for row in rows
        ]

    def total(self) -> int:
        """How many obstacles there are."""
        return int(self._connection.execute(_COUNT).scalar_one())

    def fault_of(self, item_id: str) -> Fault | None:
        """What is in this item's way; null for nothing."""
        row = self._connection.execute(_OF, {"id": item_id}).one_or_none()
        return None if row is None else Fault(row.code, row.message, row.hint)

    def waiting(self, now: float) -> int:
        """How many items to be moved wait for their next try."""
        return int(self._connection.execute(_WAITING, {"now": now}).scalar_one())

    def next_at(self, now: float) -> float | None:
        """When the next of the waiting items is tried again; null if none waits."""
        next_at: float | None = _NEXT_AT.value(self._connection, {"now": now})
        return next_at

    def put(self, item_id: str, fault: Fault, now: float, shortest: float, longest: float) -> bool:
        """Record what is in the item's way. It is tried again after as long as it has lasted, within bounds.

        Return whether it is news: the item had no obstacle, or one of another kind.
        """
        values: dict[str, Any] = {"code": fault.code, "message": fault.message, "hint": fault.hint}
        row = self._connection.execute(_OF, {"id": item_id}).one_or_none()
        if row is None:
            again_at = now + shortest
            self._connection.execute(_ADD, {"item_id": item_id, "since": now, "again_at": again_at, **values})
            return True
        again_at = now + min(max(now - row.since, shortest), longest)
        self._connection.execute(_PUT, {"the_id": item_id, "again_at": again_at, **values})
        return bool(row.code != fault.code)

    def remove(self, *item_ids: str) -> bool:
        """Delete the obstacles of these items, one at least. Return whether any had one."""
        return _REMOVE.change_each(self._connection, [{"id": one} for one in item_ids]) > 0

    def bring_forward(self, now: float) -> None:
        """Make all waiting items due now."""
        self._connection.execute(_BRING_FORWARD, {"now": now})

    def forget(self) -> None:
        """Delete the obstacles of items that need no preparation, move or receipt any more."""
        self._connection.execute(_FORGET)
