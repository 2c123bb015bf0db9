"""Prove the books: compare the items with their histories and the ledger, which are written separately."""

from sqlalchemy import Connection, func, select

from watcher.store.schema import attempts, items, transitions

_ARRIVALS = select(func.count()).where(transitions.c.before.is_(None))
_steps = transitions.alias()
_LAST = select(func.max(_steps.c.serial)).where(_steps.c.item_id == items.c.id).correlate(items).scalar_subquery()
_AGAINST_HISTORY = (
    select(items.c.id, items.c.state, transitions.c.after)
    .join_from(items, transitions, transitions.c.serial == _LAST, isouter=True)
    .where(transitions.c.after.is_distinct_from(items.c.state))
)
_REQUESTS = select(func.count()).where(attempts.c.item_id == items.c.id).correlate(items).scalar_subquery()
_AGAINST_LEDGER = select(items.c.id, items.c.attempts, _REQUESTS.label("lines")).where(
    items.c.attempts != _REQUESTS
)
_FOR_NOBODY = (
    select(attempts.c.item_id, func.count().label("lines"))
    .where(~select(items.c.id).where(items.c.id == attempts.c.item_id).exists())
    .group_by(attempts.c.item_id)
)


class Audit:
    """The items, their histories and the ledger, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def arrivals(self) -> int:
        """How many recordings ever became items, by their histories, so that a lost row is still counted."""
        counted: int = self._connection.execute(_ARRIVALS).scalar_one()
        return counted

    def contradictions(self) -> list[tuple[str, str]]:
        """The ids of items whose rows contradict their histories or the ledger, and how."""
        execute = self._connection.execute
        found = [
            (row.id, f"is {row.state}, but its history ends with {row.after or 'nothing'}")
            for row in execute(_AGAINST_HISTORY)
        ]
        found += [
            (row.id, f"its row counts {row.attempts} of its requests, the ledger {row.lines}")
            for row in execute(_AGAINST_LEDGER)
        ]
        return found + [
            (row.item_id, f"the ledger has {row.lines} of its requests, but it is no item")
            for row in execute(_FOR_NOBODY)
        ]
