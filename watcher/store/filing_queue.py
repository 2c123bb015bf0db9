"""What is due on the disk: moves, receipts, and recordings that were altered after filing."""

from functools import cache
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, exists, or_, select, update

from watcher.alarms import Alarm
from watcher.domain import FILED, Item, State
from watcher.store.compiled import Compiled
from watcher.store.condition_rows import Conditions
from watcher.store.dialects import unindexed
from watcher.store.rows import flattened
from watcher.store.schema import items, obstacles
from watcher.store.statements import ALL_ITEMS, BY_ARRIVAL, all_of, has_identifier, is_one_of

_IS_OBSTRUCTED = exists().where(
    obstacles.c.item_id == items.c.id,
    obstacles.c.again_at > bindparam("now"),
    obstacles.c.again_at <= bindparam("latest"),  # a later time is of before the clock was set back
)


@cache
def _to_move(state: State, outcome: State) -> Compiled:
    is_done = items.c.outcome == State.DONE
    return Compiled(
        select(items)
        .where(
            items.c.state == state,
            is_done if outcome is State.DONE else items.c.outcome.is_distinct_from(State.DONE),
            ~_IS_OBSTRUCTED,
        )
        .order_by(*BY_ARRIVAL)
        .limit(bindparam("limit"))
    )


@cache
def _receipt_due(state: State) -> Compiled:
    due = ALL_ITEMS.where(items.c.receipt_due, items.c.state == state, ~_IS_OBSTRUCTED)
    return Compiled(due.limit(bindparam("limit")))


_TO_MOVE_ON = ALL_ITEMS.where(items.c.moves_to.is_not(None), items.c.state == State.DONE, ~_IS_OBSTRUCTED).limit(
    bindparam("limit")
)
_WORK = Compiled(
    select(
        exists().where(items.c.moves_to.is_not(None), items.c.state == State.DONE),
        exists().where(items.c.state == State.FILING),
        exists().where(items.c.state == State.RETURNING),
        exists().where(items.c.receipt_due, is_one_of(items, FILED)),
    )
)
_MOVES_ON = select(items.c.moves_to).where(items.c.moves_to.is_not(None))
_ALTERED = ALL_ITEMS.where(items.c.altered.is_not(None), is_one_of(items, FILED)).limit(bindparam("limit"))
_MARK_ALTERED = (
    update(items)
    .where(items.c.id == bindparam("the_id"), unindexed(items.c.state) == bindparam("the_state"))
    .where(
        or_(
            items.c.altered.is_distinct_from(bindparam("new_kind")),
            items.c.altered_size.is_distinct_from(bindparam("new_size")),
        )
    )
    .values(
        altered=bindparam("altered"),
        altered_size=bindparam("altered_size"),
        altered_at=bindparam("altered_at"),
        receipt_due=True,
    )
)
_RECEIPT_WRITTEN = Compiled(update(items).where(items.c.id == bindparam("the_id")).values(receipt_due=False))
_MARK_RECEIPTS_DUE = update(items).where(has_identifier(bindparam("the_identifier"))).values(receipt_due=True)
_ALL_RECEIPTS_DUE = ALL_ITEMS.where(items.c.receipt_due, is_one_of(items, FILED))


class Work(NamedTuple):
    """Whether there is any item to move on, to file, or to return, and any receipt to bring up to date."""

    moving_on: bool
    filing: bool
    returning: bool
    receipts: bool


class FilingQueue:
    """The items that are moved and those at rest in done/ and failed/, within one transaction.

    What has an obstacle is left out until its time comes; none is later than `latest`.
    """

    def __init__(self, connection: Connection, conditions: Conditions) -> None:
        self._connection = connection
        self._conditions = conditions

    def work(self) -> Work:
        """What kinds of work there are at all, whether or not something is in the way of it."""
        return Work(*_WORK.row(self._connection))

    def to_file(self, outcome: State, now: float, latest: float, limit: int) -> list[Item]:
        """The oldest items that are being moved to done/ or failed/."""
        query = _to_move(State.FILING, outcome)
        return all_of(self._connection, query, now=now, latest=latest, limit=limit)

    def to_return(self, outcome: State, now: float, latest: float, limit: int) -> list[Item]:
        """The oldest items that are being moved back to the drop folder, from done/ or from failed/."""
        query = _to_move(State.RETURNING, outcome)
        return all_of(self._connection, query, now=now, latest=latest, limit=limit)

    def to_move_on(self, now: float, latest: float, limit: int) -> list[Item]:
        """Items that are done, and are being moved on to the folder of their verdict."""
        return all_of(self._connection, _TO_MOVE_ON, now=now, latest=latest, limit=limit)

    def moves_on(self) -> list[bytes]:
        """Where in done/ items are being moved on to, whether or not something is in their way."""
        return list(self._connection.execute(_MOVES_ON).scalars())

    def with_receipt_due(self, state: State, now: float, latest: float, limit: int) -> list[Item]:
        """Items at rest in done/ or failed/ whose receipts are out of date."""
        return all_of(self._connection, _receipt_due(state), now=now, latest=latest, limit=limit)

    def with_any_receipt_due(self) -> list[Item]:
        """All such items, whether or not something is in their way."""
        return all_of(self._connection, _ALL_RECEIPTS_DUE)

    def altered(self, limit: int) -> list[Item]:
        """Items at rest whose recordings were altered after filing, oldest arrival first."""
        return all_of(self._connection, _ALTERED, limit=limit)

    def mark_receipts_due(self, identifier: str) -> None:
        """Mark every receipt that names this identifier as due."""
        self._connection.execute(_MARK_RECEIPTS_DUE, {"the_identifier": identifier})

    def mark_altered(self, item: Item) -> None:
        """Record how the recording was altered after filing, and mark its receipt as due.

        Not where it left its folder meanwhile, nor where that is known already.
        """
        values = flattened({"altered": item.altered})
        expected = {"the_id": item.id, "the_state": item.state}
        news = {"new_kind": values["altered"], "new_size": values["altered_size"]}
        marked = self._connection.execute(_MARK_ALTERED, expected | news | values).rowcount
        if marked and item.altered is not None:
            self._conditions.open(Alarm.GROWN, item.id, item.altered.at)

    def mark_receipt_written(self, item_id: str) -> None:
        _RECEIPT_WRITTEN.change(self._connection, {"the_id": item_id})
