"""Parts of statements that several tables share.

The statements are built once: building one costs several times as much as running it (measured).
"""

from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, FromClause, Select, and_, exists, or_, select

from watcher.domain import UNDECIDED, Item, State
from watcher.store.compiled import Compiled
from watcher.store.dialects import in_a_file_or_not, state_anywhere
from watcher.store.rows import item_of
from watcher.store.schema import items, parts


def is_one_of(table: FromClause, states: AbstractSet[State]) -> ColumnElement[bool]:
    """Whether the state is one of these. A bound list would be expanded anew on each execution (measured)."""
    return or_(*(table.c.state == state for state in State if state in states))


ALL_ITEMS = select(items).order_by(items.c.serial)
LATEST_FIRST = select(items).order_by(items.c.serial.desc())
BY_ARRIVAL = (items.c.arrived_at, items.c.serial)

FIRST = items.alias("first")
_state_of_first = state_anywhere(items.c.duplicate_of)
WAITS: ColumnElement[bool] = in_a_file_or_not(
    exists().where(FIRST.c.id == items.c.duplicate_of, is_one_of(FIRST, UNDECIDED)),
    and_(
        items.c.duplicate_of.is_not(None),
        or_(*(_state_of_first == state for state in State if state in UNDECIDED)),
    ),
)
"""Whether the item waits for another one with the same bytes, FIRST, which may lie at another site."""


def has_identifier(identifier: BindParameter[str]) -> ColumnElement[bool]:
    """Return whether the item has this identifier, or one of its parts has it."""
    of_parts = select(parts.c.item_id).where(parts.c.identifier == identifier)
    return or_(items.c.identifier == identifier, items.c.id.in_(of_parts))


def one(connection: Connection, query: Select[Any] | Compiled, **values: Any) -> Item | None:
    if isinstance(query, Compiled):
        row = query.row(connection, values)
    else:
        row = connection.execute(query, values).one_or_none()
    return None if row is None else item_of(row)


def all_of(connection: Connection, query: Select[Any] | Compiled, **values: Any) -> list[Item]:
    if isinstance(query, Compiled):
        return [item_of(row) for row in query.rows(connection, values)]
    return [item_of(row) for row in connection.execute(query, values)]
