"""Items with the same bytes, options, base URL and account: which one decides for all, and which wait for it."""

from sqlalchemy import Connection, and_, bindparam, case, or_, select

from watcher.domain import UNDECIDED, Item, State
from watcher.store.schema import WAITS_FOR_ANOTHER, items
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
            (IS_ACCEPTED, 0),
            (is_one_of(items, UNDECIDED), 1),
            (items.c.state == State.HELD, 2),
            else_=3,
        ),
        items.c.serial,
    )
    .limit(1)
)
_SAME_CONTENT = select(items).where(items.c.content_key == bindparam("content_key")).order_by(*BY_ARRIVAL)
_DUPLICATES_OF = ALL_ITEMS.where(items.c.duplicate_of == bindparam("id"), WAITS_FOR_ANOTHER).limit(
    bindparam("limit")
)
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


class Copies:
    """Items of the same content, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def original_of(self, content_key: str, apart_from: str = "") -> Item | None:
        """The item that decides for all with the same bytes, options, base URL and account.

        That is one with an identifier, else one on its way to it, else one that a person must decide on,
        else one that the service refused; an item that was withdrawn decides nothing.
        """
        return one(self._connection, _ORIGINAL_OF, content_key=content_key, apart_from=apart_from)

    def with_content(self, content_key: str) -> list[Item]:
        """All items with the same bytes, options, base URL and account, oldest arrival first."""
        return all_of(self._connection, _SAME_CONTENT, content_key=content_key)

    def duplicates_of(self, item_id: str, limit: int = 500) -> list[Item]:
        """The first of the queued or held items that wait for the outcome of this one."""
        return all_of(self._connection, _DUPLICATES_OF, id=item_id, limit=limit)

    def decided_originals(self) -> list[str]:
        """The ids of some items that others wait for, and that no longer wait themselves."""
        return list(self._connection.execute(_DECIDED_ORIGINALS).scalars())
