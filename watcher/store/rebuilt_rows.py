"""Rows that are rebuilt from receipts: which are there, where a new one belongs, what the ledger lacks."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, insert, select, text, update

from watcher.domain import MOVING, UNSENT, Attempt, Item, State
from watcher.store.rows import item_of
from watcher.store.schema import attempts, items, parts, tombstones, transitions
from watcher.store.scope import is_in_a_file, wide
from watcher.store.statements import ALL_ITEMS, is_one_of
from watcher.store.tallies import Tallies

_KNOWN = select(items.c.id).where(items.c.id.in_(bindparam("ids", expanding=True)))
# Without a condition on the state: for many ids SQLite would use its index, and look at all that is done.
_PLACES = select(items.c.id, items.c.filed_as, items.c.moves_to, items.c.state).where(
    items.c.id.in_(bindparam("ids", expanding=True)), items.c.filed_as.is_not(None)
)
_BURIED = select(tombstones.c.id).where(tombstones.c.id.in_(bindparam("ids", expanding=True)))
_PLACES_A_MILLISECOND = 1_000_000
_LAST_PLACE = select(func.max(items.c.serial)).where(items.c.serial.between(bindparam("low"), bindparam("high")))
_LOWEST_PLACE = 1 << 40
_PLACED = (
    select(items.c.serial)
    .where(items.c.serial >= bindparam("low"))
    .order_by(items.c.serial)
    .limit(bindparam("limit"))
)
# A server gives numbers from a sequence, which several sites share.
_NEXT_NUMBERS = text(
    "SELECT nextval(pg_get_serial_sequence('items', 'serial')) FROM generate_series(1, :number) ORDER BY 1"
)
_RENUMBER = update(items).where(items.c.serial == bindparam("old")).values(serial=bindparam("new"))
_LAST_CHANGE = select(func.max(transitions.c.at)).where(transitions.c.item_id == bindparam("id"))
_IS_NUMBER_TAKEN = select(attempts.c.number).where(attempts.c.number == bindparam("number"))
_MOST_NUMBER = 1 << 30
_ADD = insert(attempts)
_RECOUNT = (
    update(items)
    .where(items.c.id == bindparam("the_id"))
    .values(
        attempts=select(func.count()).where(attempts.c.item_id == bindparam("the_id")).scalar_subquery(),
        attempted_at=select(func.max(attempts.c.started_at))
        .where(attempts.c.item_id == bindparam("the_id"))
        .scalar_subquery(),
    )
)
_PAID = select(attempts.c.identifier).where(attempts.c.identifier.is_not(None))
_is_summed_up = exists().where(  # what an erased recording cost is in the sums, and its copies cost nothing
    tombstones.c.id.in_([items.c.id, items.c.duplicate_of]), tombstones.c.charged > 0
)
_ITEMS_UNPAID = (
    select(items.c.id, items.c.identifier, items.c.submitted_at, items.c.arrived_at, items.c.size)
    .where(
        items.c.identifier.is_not(None),
        items.c.plan_mode.is_(None),
        items.c.identifier.not_in(_PAID),
        ~_is_summed_up,
    )
    .limit(bindparam("limit"))
)
_PARTS_UNPAID = (
    select(
        parts.c.item_id,
        parts.c["index"].label("part"),
        parts.c.identifier,
        parts.c.submitted_at,
        items.c.arrived_at,
        parts.c.size,
    )
    .join(items, items.c.id == parts.c.item_id)
    .where(parts.c.identifier.is_not(None), parts.c.identifier.not_in(_PAID), ~_is_summed_up)
    .limit(bindparam("limit"))
)
_UNSENT_AFTER = ALL_ITEMS.where(items.c.serial > bindparam("serial"), is_one_of(items, UNSENT - MOVING)).limit(
    bindparam("limit")
)


class RebuiltRows:
    """What rebuilding asks and writes beyond what a step does, within one transaction."""

    def __init__(self, connection: Connection, tallies: Tallies) -> None:
        self._connection = connection
        self._tallies = tallies

    def known(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that items have."""
        return set(self._connection.execute(_KNOWN, {"ids": sorted(set(ids))}).scalars())

    def places(self, ids: Iterable[str]) -> dict[str, tuple[bytes | None, bytes | None]]:
        """Return where in done/ those of the ids that are done lie, and where they are moved on to."""
        rows = self._connection.execute(_PLACES, {"ids": sorted(set(ids))})
        return {row.id: (row.filed_as, row.moves_to) for row in rows if row.state == State.DONE}

    def buried(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that tombstones have."""
        return set(self._connection.execute(_BURIED, {"ids": sorted(set(ids))}).scalars())

    def place_for(self, arrived_at: float) -> int:
        """Return a free number for an item of that arrival, far above all that steps give; see `renumber`."""
        low = max(round(arrived_at * 1000), _LOWEST_PLACE) * _PLACES_A_MILLISECOND
        with wide(self._connection):  # another site may be rebuilt at the same time
            last = self._connection.execute(
                _LAST_PLACE, {"low": low, "high": low + _PLACES_A_MILLISECOND - 1}
            ).scalar()
        return low if last is None else int(last) + 1

    def renumber(self, limit: int) -> int:
        """Put the first items numbered by `place_for` behind the others, in their order. Return how many.

        So all numbers have the order of arrival, without gaps: whoever goes through them does so in ranges.
        """
        placed = self._connection.execute(_PLACED, {"low": _LOWEST_PLACE, "limit": limit}).scalars().all()
        if placed:
            rows = zip(placed, self._next_numbers(len(placed)), strict=True)
            self._connection.execute(_RENUMBER, [{"old": old, "new": new} for old, new in rows])
        return len(placed)

    def _next_numbers(self, number: int) -> Iterable[int]:
        if not is_in_a_file(self._connection):
            return self._connection.execute(_NEXT_NUMBERS, {"number": number}).scalars().all()
        highest = self._connection.execute(_LAST_PLACE, {"low": 0, "high": _LOWEST_PLACE - 1}).scalar() or 0
        return range(highest + 1, highest + 1 + number)

    def changed_at(self, item_id: str) -> float:
        """Return when the item's history ends."""
        return float(self._connection.execute(_LAST_CHANGE, {"id": item_id}).scalar() or 0.0)

    def add_attempt(self, attempt: Attempt) -> None:
        """Add a line to the ledger, under its own number if that is free, and no server gives the numbers."""
        values: dict[str, Any] = {field.name: getattr(attempt, field.name) for field in fields(Attempt)}
        number = {"number": attempt.number}
        if (
            not is_in_a_file(self._connection)
            or not 1 <= attempt.number < _MOST_NUMBER
            or self._connection.execute(_IS_NUMBER_TAKEN, number).first() is not None
        ):
            del values["number"]
        self._connection.execute(_ADD, values)
        if attempt.ended_at is not None:
            seconds = attempt.ended_at - attempt.started_at
            self._tallies.count_attempt(attempt.outcome, attempt.charged, attempt.status, seconds)

    def recount(self, item_id: str) -> None:
        """Have the item's row count its lines in the ledger."""
        self._connection.execute(_RECOUNT, {"the_id": item_id})

    def without_line(self, limit: int) -> list[Attempt]:
        """Return the lines that are missing for identifiers which items or parts have and the ledger has not."""
        found: dict[str, Attempt] = {}
        for query in (_ITEMS_UNPAID, _PARTS_UNPAID):
            for row in self._connection.execute(query, {"limit": limit}):
                known = row._mapping  # noqa: SLF001 — SQLAlchemy's public name for it
                item_id = known.get("id") or known["item_id"]
                at = row.submitted_at or row.arrived_at
                found.setdefault(
                    row.identifier,
                    Attempt(
                        number=0,
                        item_id=item_id,
                        started_at=at,
                        size=row.size or 0,
                        released_at=at,
                        ended_at=at,
                        identifier=row.identifier,
                        part=known.get("part"),
                    ),
                )
        return list(found.values())

    def unsent_after(self, serial: int, limit: int) -> list[tuple[int, Item]]:
        """Return the first items after this number that are queued or being prepared, each with its number."""
        rows = self._connection.execute(_UNSENT_AFTER, {"serial": serial, "limit": limit})
        return [(row.serial, item_of(row)) for row in rows]
