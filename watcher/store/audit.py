"""Prove the books: compare the items with their histories and the ledger, which are written separately."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Connection, and_, bindparam, exists, func, or_, select

from watcher.store.dialects import OWN_SITE, is_of_own_site
from watcher.store.schema import attempts, items, parts, transitions
from watcher.store.scope import is_in_a_file, wide

_ARRIVALS = select(func.count()).where(transitions.c.before.is_(None))
_FROM: BindParameter[int] = bindparam("after")
_UNTIL: BindParameter[int] = bindparam("until")
_ITEMS = and_(items.c.serial > _FROM, items.c.serial <= _UNTIL)
_REQUESTS = and_(attempts.c.number > _FROM, attempts.c.number <= _UNTIL, is_of_own_site(attempts.c.site))
_LAST_ITEM = select(func.coalesce(func.max(items.c.serial), 0))
_LAST_REQUEST = select(func.coalesce(func.max(attempts.c.number), 0)).where(is_of_own_site(attempts.c.site))

_steps = transitions.alias()
_LAST = select(func.max(_steps.c.serial)).where(_steps.c.item_id == items.c.id).correlate(items).scalar_subquery()
_AGAINST_HISTORY = (
    select(items.c.id, items.c.state, transitions.c.after)
    .join_from(items, transitions, transitions.c.serial == _LAST, isouter=True)
    .where(_ITEMS, transitions.c.after.is_distinct_from(items.c.state))
)
_LINES = select(func.count()).where(attempts.c.item_id == items.c.id).correlate(items).scalar_subquery()
_AGAINST_LEDGER = select(items.c.id, items.c.attempts, _LINES.label("lines")).where(
    _ITEMS, items.c.attempts != _LINES
)
_FOR_NOBODY = (
    select(attempts.c.item_id, func.count().label("lines"))
    .where(_REQUESTS, ~select(items.c.id).where(items.c.id == attempts.c.item_id).exists())
    .group_by(attempts.c.item_id)
)

# An identifier is in the ledger with its item, or with another item or part that has it: all found by an index.
_own, _others, _of_part = attempts.alias("own"), attempts.alias("others"), attempts.alias("of_part")
_holder, _part_holder = items.alias("holder"), parts.alias("part_holder")


def _is_in_ledger(item_id: ColumnElement[str], identifier: ColumnElement[str | None]) -> ColumnElement[bool]:
    return or_(
        exists().where(_own.c.item_id == item_id, _own.c.identifier == identifier),
        exists().where(
            _holder.c.identifier == identifier,
            _others.c.item_id == _holder.c.id,
            _others.c.identifier == identifier,
        ),
        exists().where(
            _part_holder.c.identifier == identifier,
            _of_part.c.item_id == _part_holder.c.item_id,
            _of_part.c.identifier == identifier,
        ),
    )


_NOT_IN_LEDGER = select(items.c.id, items.c.path, items.c.identifier).where(
    _ITEMS, items.c.identifier.is_not(None), ~_is_in_ledger(items.c.id, items.c.identifier)
)
_PARTS_NOT_IN_LEDGER = (
    select(parts.c.item_id, parts.c.index, parts.c.identifier)
    .join(items, items.c.id == parts.c.item_id)
    .where(_ITEMS, parts.c.identifier.is_not(None), ~_is_in_ledger(parts.c.item_id, parts.c.identifier))
)
_IS_OWN = items.c.site == OWN_SITE
_OWN_NOT_IN_LEDGER = _NOT_IN_LEDGER.where(_IS_OWN)
_OWN_PARTS_NOT_IN_LEDGER = _PARTS_NOT_IN_LEDGER.where(_IS_OWN)
_HELD_BY_NOBODY = select(attempts.c.identifier).where(
    _REQUESTS,
    attempts.c.identifier.is_not(None),
    ~exists().where(items.c.identifier == attempts.c.identifier),
    ~exists().where(parts.c.identifier == attempts.c.identifier),
)
_IDENTIFIERS = select(attempts.c.identifier).where(
    _REQUESTS, attempts.c.identifier.in_(bindparam("identifiers", expanding=True))
)


class Missing(NamedTuple):
    """An identifier of an item, or of a part of it, that the ledger seems not to have."""

    item_id: str
    path: bytes | None  # None: a part's
    part: int | None
    identifier: str


class Audit:
    """The items, their histories and the ledger, within one transaction.

    They are compared in ranges of their numbers, each in a transaction of its own: together they may be millions.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def arrivals(self) -> int:
        """How many recordings ever became items, by their histories, so that a lost row is still counted."""
        counted: int = self._connection.execute(_ARRIVALS).scalar_one()
        return counted

    def last_item(self) -> int:
        """The number of the latest item; 0 if there is none."""
        return int(self._connection.execute(_LAST_ITEM).scalar_one())

    def last_request(self) -> int:
        """The number of the latest line in the ledger; 0 if there is none."""
        return int(self._connection.execute(_LAST_REQUEST).scalar_one())

    def contradictions(self, after: int, until: int) -> list[tuple[str, str]]:
        """The ids of items with these numbers whose rows contradict their histories or the ledger, and how."""
        given = {"after": after, "until": until}
        found = [
            (row.id, f"is {row.state}, but its history ends with {row.after or 'nothing'}")
            for row in self._connection.execute(_AGAINST_HISTORY, given)
        ]
        return found + [
            (row.id, f"its row counts {row.attempts} of its requests, the ledger {row.lines}")
            for row in self._connection.execute(_AGAINST_LEDGER, given)
        ]

    def not_in_ledger(self, after: int, until: int) -> list[Missing]:
        """The identifiers of items with these numbers, and their parts, that no holder of them was given."""
        given = {"after": after, "until": until}
        if is_in_a_file(self._connection):
            of_items, of_parts = _NOT_IN_LEDGER, _PARTS_NOT_IN_LEDGER
        else:
            of_items, of_parts = _OWN_NOT_IN_LEDGER, _OWN_PARTS_NOT_IN_LEDGER
        with wide(self._connection):  # a duplicate's original may be another site's
            rows = self._connection.execute(of_items, given).all()
            parts_rows = self._connection.execute(of_parts, given).all()
        missing = [Missing(row.id, row.path, None, row.identifier) for row in rows]
        return missing + [Missing(item_id, None, index, identifier) for item_id, index, identifier in parts_rows]

    def for_nobody(self, after: int, until: int) -> dict[str, int]:
        """How many of the requests with these numbers were for an id that no item has, by that id."""
        rows = self._connection.execute(_FOR_NOBODY, {"after": after, "until": until})
        return {row.item_id: row.lines for row in rows}

    def held_by_nobody(self, after: int, until: int) -> set[str]:
        """The identifiers that these requests were given and that no item and no part has."""
        return set(self._connection.execute(_HELD_BY_NOBODY, {"after": after, "until": until}).scalars())

    def given(self, after: int, until: int, identifiers: Collection[str]) -> set[str]:
        """Those of these identifiers that one of these requests was given, whoever has it."""
        given = {"after": after, "until": until, "identifiers": list(identifiers)}
        return set(self._connection.execute(_IDENTIFIERS, given).scalars()) if identifiers else set()
