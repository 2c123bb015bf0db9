"""The queue: which queued item is submitted next, and what keeps the others back."""

from collections.abc import Sequence

from sqlalchemy import BindParameter, ColumnElement, Connection, and_, bindparam, func, or_, select, update

from watcher.domain import Item, State
from watcher.store.compiled import Compiled
from watcher.store.parts import HAS_BEGUN, IS_SENDABLE
from watcher.store.schema import HINDERED, items
from watcher.store.statements import BY_ARRIVAL, WAITS, all_of, one

_FREE = select(items).where(items.c.state == State.QUEUED, ~WAITS, IS_SENDABLE).limit(1)
_MOST_AHEAD_SECONDS = 60.0  # that an item without a fault is put off
_NOW: BindParameter[float] = bindparam("now")
_IS_DUE = or_(
    items.c.due_at <= _NOW,
    # The clock was set back since: what was to be sent at once, or was tried, would wait until it is there again.
    items.c.attempted_at > _NOW,
    and_(items.c.fault_code.is_(None), items.c.due_at - _MOST_AHEAD_SECONDS > _NOW),
)
_DUE = _FREE.where(_IS_DUE).order_by(*BY_ARRIVAL)
_NEXT_DUE = Compiled(_DUE)


def _has_room(period: str) -> ColumnElement[bool]:
    left: BindParameter[int] = bindparam(f"left_{period}")
    never_has_room_for_all = items.c.parts_most > bindparam(f"most_{period}")
    return or_(func.coalesce(items.c.parts_most, 1) <= left, and_(never_has_room_for_all, left > 0))


_IS_AFFORDABLE = or_(and_(_has_room("day"), _has_room("month")), HAS_BEGUN)
_NEXT_AFFORDABLE = Compiled(_DUE.where(_IS_AFFORDABLE))
_NEXT_CANARY = _FREE.order_by(func.coalesce(items.c.attempted_at, 0.0), *BY_ARRIVAL)
_NEXT_AFFORDABLE_CANARY = _NEXT_CANARY.where(_IS_AFFORDABLE)
_NEXT_DUE_AT = Compiled(
    select(func.min(items.c.due_at)).where(items.c.state == State.QUEUED, items.c.due_at > bindparam("now"))
)
_PUT_OFF = (
    select(items)
    .where(items.c.state == State.QUEUED, items.c.due_at > bindparam("now"))
    .where(items.c.fault_code == bindparam("code"))
    .order_by(*BY_ARRIVAL)
)
_IS_BLOCKED = and_(HINDERED, ~WAITS, items.c.fault_code.in_(bindparam("codes", expanding=True)))
# Few are, of the many that may be queued: with the sum, SQLite does not read all of these in their order.
_BLOCKED = select(items).where(_IS_BLOCKED).order_by(items.c.arrived_at + 0.0, items.c.serial)
_BLOCKED = _BLOCKED.limit(bindparam("limit"))
_HOW_MANY_BLOCKED = select(func.count()).select_from(items).where(_IS_BLOCKED)
_HAS_FAILED_SO = and_(
    items.c.fault_code.is_not(None),
    items.c.fault_code.in_(bindparam("codes", expanding=True)),
    func.coalesce(items.c.attempted_at, 0.0) >= bindparam("since"),
)
_OTHERS_QUEUED = select(items.c.id).where(items.c.state == State.QUEUED, ~WAITS, ~_HAS_FAILED_SO).limit(1)
_BRING_FORWARD = (
    update(items)
    .where(items.c.id.in_(bindparam("ids", expanding=True)), items.c.state == State.QUEUED)
    # Others were accepted between the faults of one with more: they are its own, and so is its back-off.
    .where(items.c.due_at > bindparam("now"), items.c.faults <= 1)
    .values(due_at=bindparam("now"))
)


class Queue:
    """The queued items, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next_due(self, now: float, *, canary: bool) -> Item | None:
        """The queued item to submit next: the oldest arrival that is due.

        A canary is another item each time, due or not: the one that was tried least recently. An item whose
        bytes are with another item now waits for that one.
        """
        return one(self._connection, _NEXT_CANARY) if canary else one(self._connection, _NEXT_DUE, now=now)

    def next_affordable(
        self, now: float, *, canary: bool, day: tuple[int, int], month: tuple[int, int]
    ) -> Item | None:
        """As next_due, of those for which both caps have room: how many submissions each has left, of how many."""
        (left_day, most_day), (left_month, most_month) = day, month
        room = {"left_day": left_day, "most_day": most_day, "left_month": left_month, "most_month": most_month}
        if canary:
            return one(self._connection, _NEXT_AFFORDABLE_CANARY, **room)
        return one(self._connection, _NEXT_AFFORDABLE, now=now, **room)

    def next_due_at(self, now: float) -> float | None:
        """When the next queued item in back-off is due; null if there is none."""
        due_at: float | None = _NEXT_DUE_AT.value(self._connection, {"now": now})
        return due_at

    def postponed(self, code: str, now: float) -> list[Item]:
        """Queued items that are postponed because of this fault, oldest arrival first."""
        return all_of(self._connection, _PUT_OFF, code=code, now=now)

    def blocked(self, codes: Sequence[str], limit: int) -> list[Item]:
        """Up to this many queued items whose last try met one of these faults, oldest arrival first."""
        return all_of(self._connection, _BLOCKED, codes=codes, limit=limit)

    def how_many_blocked(self, codes: Sequence[str]) -> int:
        """How many such items there are in all."""
        return int(self._connection.execute(_HOW_MANY_BLOCKED, {"codes": codes}).scalar_one())

    def has_others_queued(self, codes: Sequence[str], since: float) -> bool:
        """Whether there is a queued original that has not met one of these faults since then."""
        found = self._connection.execute(_OTHERS_QUEUED, {"codes": codes, "since": since})
        return found.first() is not None

    def ahead_of(self, item: Item) -> int:
        """How many queued items are now ahead of this one."""
        serial = select(items.c.serial).where(items.c.id == item.id).scalar_subquery()
        same_moment = and_(items.c.arrived_at == item.arrived_at, items.c.serial < serial)
        earlier = or_(items.c.arrived_at < item.arrived_at, same_moment)
        return self._connection.execute(
            select(func.count()).where(items.c.state == State.QUEUED, earlier)
        ).scalar_one()

    def bring_forward(self, ids: Sequence[str], now: float) -> None:
        """Make those of these items that are in back-off due now, except one with faults of its own."""
        self._connection.execute(_BRING_FORWARD, {"ids": list(ids), "now": now})
