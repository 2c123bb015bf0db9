"""Items with the same bytes, options, base URL and account: which one decides for all, and which wait for it.

They may lie at several sites of the account. Nobody waits for one at a site that stands still: on which no node
works, which a person has paused, or whose folders are away.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    bindparam,
    case,
    exists,
    literal,
    or_,
    select,
)

from watcher.domain import UNDECIDED, Item, PartState, PauseKind, State
from watcher.store.compiled import Compiled
from watcher.store.dialects import OWN_SITE, shared_time
from watcher.store.schema import WAITS_FOR_ANOTHER, items, leases, parts, pauses
from watcher.store.scope import is_in_a_file, wide
from watcher.store.statements import ALL_ITEMS, BY_ARRIVAL, FIRST, all_of, is_one_of, one

IS_ACCEPTED = items.c.outcome == State.DONE
"""Whether the service has given an identifier for it, or, where it is sent in parts, for at least one of them."""

_ORIGINAL_OF = (
    select(items)
    .where(
        items.c.content_key == bindparam("content_key"),
        items.c.id != bindparam("apart_from"),
        or_(items.c.duplicate_of.is_(None), IS_ACCEPTED),
        or_(
            IS_ACCEPTED,
            is_one_of(items, UNDECIDED | {State.HELD}),
            and_(items.c.outcome == State.FAILED, items.c.fault_code == "refused"),
        ),
    )
    .order_by(
        case(
            (and_(IS_ACCEPTED, items.c.duplicate_of.is_(None)), 0),
            (IS_ACCEPTED, 1),
            (is_one_of(items, UNDECIDED), 2),
            (items.c.state == State.HELD, 3),
            else_=4,
        ),
        items.c.serial,
    )
    .limit(1)
)
_SAME_CONTENT = Compiled(
    select(items).where(items.c.content_key == bindparam("content_key")).order_by(*BY_ARRIVAL)
)
_DUPLICATES_OF = Compiled(
    ALL_ITEMS.where(items.c.duplicate_of == bindparam("id"), WAITS_FOR_ANOTHER).limit(bindparam("limit"))
)
_BY_ID = select(items).where(items.c.id == bindparam("id"))
_DECIDED_ORIGINALS = (
    select(items.c.duplicate_of)
    .where(WAITS_FOR_ANOTHER, items.c.duplicate_of == FIRST.c.id)
    .where(
        or_(
            and_(items.c.state == State.QUEUED, ~is_one_of(FIRST, UNDECIDED)),
            and_(items.c.state == State.HELD, FIRST.c.state != State.HELD),
        )
    )
    .distinct()
    .limit(100)
)


_ANY_WAITING = select(items.c.id).where(WAITS_FOR_ANOTHER).limit(1)
_IS_OWN = items.c.site == OWN_SITE


def _is_stranded(table: FromClause) -> ColumnElement[bool]:
    """Whether the item is at another site that stands still, and nothing of it may have been paid for.

    Only on a server, where sites have leases.
    """
    site = table.c.site
    on_the_wire = or_(parts.c.in_doubt, parts.c.state == PartState.SUBMITTING)
    is_paused = or_(pauses.c.kind == PauseKind.PERSON, pauses.c.kind == PauseKind.FOLDER)
    return and_(
        site != OWN_SITE,
        is_one_of(table, (UNDECIDED | {State.HELD}) - {State.SUBMITTING}),
        ~table.c.in_doubt,
        ~exists().where(parts.c.item_id == table.c.id, on_the_wire),
        or_(
            ~exists().where(leases.c.site == site, leases.c.until > shared_time(literal(0.0))),
            exists().where(pauses.c.site == site, is_paused, pauses.c.ended_at.is_(None)),
        ),
    )


_ORIGINAL_IN_A_FILE = Compiled(_ORIGINAL_OF)
_ORIGINAL_OF_ALL = Compiled(_ORIGINAL_OF.where(~_is_stranded(items)))
_STRANDED = select(items.c.id).where(items.c.content_key == bindparam("content_key"), _is_stranded(items))
_DECIDED_IN_A_FILE = Compiled(_DECIDED_ORIGINALS)
_DECIDED_ANYWHERE = _DECIDED_ORIGINALS.where(_IS_OWN)
_STRANDED_ORIGINALS = (
    select(items.c.duplicate_of)
    .where(WAITS_FOR_ANOTHER, _IS_OWN, items.c.duplicate_of == FIRST.c.id, _is_stranded(FIRST))
    .distinct()
    .limit(100)
)
_ELSEWHERE = select(items.c.site).where(items.c.id == bindparam("id"), items.c.site != OWN_SITE)


class Copies:
    """Items of the same content at all sites of the account, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_alone = is_in_a_file(connection)

    def original_of(self, content_key: str, apart_from: str = "") -> Item | None:
        """The item that decides for all with the same bytes, options, base URL and account.

        That is one with an identifier, its own before one that it shares; else one on its way to it, else one that
        a person must decide on, else one that the service refused; an item that was withdrawn decides nothing.
        """
        query = _ORIGINAL_IN_A_FILE if self._is_alone else _ORIGINAL_OF_ALL
        with wide(self._connection):
            return one(self._connection, query, content_key=content_key, apart_from=apart_from)

    def with_content(self, content_key: str) -> list[Item]:
        """All items with the same bytes, options, base URL and account, oldest arrival first."""
        with wide(self._connection):
            return all_of(self._connection, _SAME_CONTENT, content_key=content_key)

    def stranded(self, content_key: str) -> Collection[str]:
        """The ids of those that nobody waits for, since their site stands still."""
        if self._is_alone:
            return ()
        with wide(self._connection):
            return set(self._connection.execute(_STRANDED, {"content_key": content_key}).scalars())

    def get(self, item_id: str) -> Item | None:
        """The item with this id, at whatever site."""
        with wide(self._connection):
            return one(self._connection, _BY_ID, id=item_id)

    def site_elsewhere(self, item_id: str) -> str | None:
        """The site of the item, where that is another one than the transaction's."""
        if self._is_alone:
            return None
        with wide(self._connection):
            return self._connection.execute(_ELSEWHERE, {"id": item_id}).scalar()

    def duplicates_of(self, item_id: str, limit: int = 500) -> list[Item]:
        """The first of this site's queued or held items that wait for the outcome of this one."""
        return all_of(self._connection, _DUPLICATES_OF, id=item_id, limit=limit)

    def decided_originals(self) -> list[str]:
        """The ids of some items that others of this site wait for, and that no longer wait themselves."""
        if self._is_alone:
            return [row[0] for row in _DECIDED_IN_A_FILE.rows(self._connection)]
        return self._originals(_DECIDED_ANYWHERE)

    def stranded_originals(self) -> list[str]:
        """The ids of some items that others of this site wait for in vain, since their site stands still."""
        return [] if self._is_alone else self._originals(_STRANDED_ORIGINALS)

    def _originals(self, query: Select[Any]) -> list[str]:
        if self._connection.execute(_ANY_WAITING).first() is None:
            return []
        with wide(self._connection):
            return list(self._connection.execute(query).scalars())
