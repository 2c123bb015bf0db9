"""What the items have of their verdicts, so that a report need not look up each of them.

Whatever gives an item an identifier, or changes a verdict, calls one of these in its transaction.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, bindparam, select, union, update

from watcher.store.compiled import Compiled
from watcher.store.dialects import OWN_SITE
from watcher.store.facts import ACCOUNT
from watcher.store.schema import items, parts, site, verdicts
from watcher.store.scope import is_in_a_file, wide

COPIED = {
    "judged_state": verdicts.c.state,
    "judged_as": verdicts.c.classification,
    "judged_confidence": verdicts.c.confidence,
    "judged_at": verdicts.c.known_at,
}
"""Each column of an item, and that of the verdict which it repeats."""


def copied_from(identifier: ColumnElement[str]) -> dict[str, Any]:
    """Return the values of these columns for an item that has this identifier."""
    of_it = verdicts.c.identifier == identifier
    return {name: select(column).where(of_it).scalar_subquery() for name, column in COPIED.items()}


def _copying() -> Update:
    return update(items).values(copied_from(items.c.identifier))


_TO_ITEM = _copying().where(items.c.id == bindparam("the_id"))
_TO_ALL = Compiled(_copying().where(items.c.identifier == bindparam("the_identifier")))


_own = site.alias("own")
_OWN_ACCOUNT = select(_own.c.value).where(_own.c.name == ACCOUNT, _own.c.site == OWN_SITE).scalar_subquery()
_WITH_ACCOUNT = select(site.c.site).where(site.c.name == ACCOUNT, site.c.value == _OWN_ACCOUNT)
_ELSEWHERE = [
    select(table.c.site).where(
        table.c.identifier == bindparam("identifier"),
        table.c.site != OWN_SITE,
        table.c.site.in_(_WITH_ACCOUNT),
    )
    for table in (items, parts)
]
_SITES_WITH = union(*_ELSEWHERE)


def sites_with(connection: Connection, identifier: str) -> list[str]:
    """The other sites of the account that have items or parts with this identifier."""
    if is_in_a_file(connection):
        return []
    with wide(connection):
        return sorted(connection.execute(_SITES_WITH, {"identifier": identifier}).scalars())


def copy_to_item(connection: Connection, item_id: str) -> None:
    """Let the item have what is known of its identifier, which may have changed."""
    connection.execute(_TO_ITEM, {"the_id": item_id})


def copy_to_all(connection: Connection, identifier: str) -> None:
    """Let all items with this identifier have what is known of it, which may have changed."""
    _TO_ALL.change(connection, {"the_identifier": identifier})
