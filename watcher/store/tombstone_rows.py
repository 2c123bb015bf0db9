"""The tombstones: what stays of recordings that were erased, and of those whose receipts or rows are gone."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, func, or_, select

from watcher.domain import Mode, State
from watcher.errors import NoSuchItem
from watcher.store.dialects import insert_or_replace, is_of_own_site
from watcher.store.facts import AccountFacts
from watcher.store.schema import items, tombstones
from watcher.tombstone import Tombstone, Why, parts_from_json

_KEY = "tombstone.key"

_PUT = insert_or_replace(tombstones)
_GET = select(tombstones).where(tombstones.c.id == bindparam("id"))
_BY_BEGINNING = (
    select(tombstones)
    .where(tombstones.c.id.between(bindparam("low"), bindparam("high")), is_of_own_site(tombstones.c.site))
    .limit(2)
)
_is_accepted = or_(tombstones.c.identifier.is_not(None), tombstones.c.outcome == State.DONE)
_OF_CONTENT = (
    select(tombstones)
    .where(tombstones.c.content == bindparam("content"))
    .order_by(
        case((_is_accepted, 0), (tombstones.c.refused, 1), (tombstones.c.in_doubt, 2), else_=3),
        tombstones.c.erased_at,
    )
    .limit(1)
)
_IS_OWN = is_of_own_site(tombstones.c.site)
_IDENTIFIERS = select(tombstones.c.identifier, tombstones.c.parts).where(_IS_OWN)
_FORGOTTEN = (
    select(func.count())
    .select_from(tombstones)
    .where(_IS_OWN, ~select(items.c.id).where(items.c.id == tombstones.c.id).exists())
)


class Tombstones:
    """The tombstones, within one transaction."""

    def __init__(self, connection: Connection, account: AccountFacts) -> None:
        self._connection = connection
        self._account = account
        self._known: tuple[bytes, ...] | None = None  # once asked for: nobody else writes meanwhile

    def known_keys(self) -> tuple[bytes, ...]:
        """Return the keys to the contents of the account's tombstones, the oldest first; none before the first.

        There are several where sites have joined the account with tombstones of their own.
        """
        if self._known is None:
            known = self._account.get(_KEY) or ()
            self._known = tuple(bytes.fromhex(text) for text in ([known] if isinstance(known, str) else known))
        return self._known

    def add_key(self, key: bytes) -> None:
        """Let this key be among them."""
        known = [one.hex() for one in self.known_keys()]
        if key.hex() not in known:
            self._account.put(_KEY, [*known, key.hex()] if known else key.hex())
            self._known = None

    def put(self, tombstone: Tombstone) -> None:
        """Add the tombstone, in place of an earlier one of its item."""
        values = {name: getattr(tombstone, name) for name in Tombstone.__dataclass_fields__}
        values["parts"] = json.dumps([part.as_json() for part in tombstone.parts])
        self._connection.execute(_PUT, values)

    def get(self, item_id: str) -> Tombstone | None:
        row = self._connection.execute(_GET, {"id": item_id}).one_or_none()
        return None if row is None else _tombstone(row)

    def find(self, beginning: str) -> Tombstone | None:
        """Return the tombstone whose id begins so; None for none. Raises NoSuchItem where several do."""
        values = {"low": beginning, "high": f"{beginning}g"}
        rows = self._connection.execute(_BY_BEGINNING, values).all()
        if len(rows) > 1:
            msg = f"{beginning}: more than one erased item's id begins with this"
            raise NoSuchItem(msg, hint="Give more characters of the id.")
        return _tombstone(rows[0]) if rows else None

    def of_content(self, content: str) -> Tombstone | None:
        """Return the tombstone of this content that tells most: accepted, else refused, else in doubt."""
        row = self._connection.execute(_OF_CONTENT, {"content": content}).one_or_none()
        return None if row is None else _tombstone(row)

    def identifiers(self) -> Iterator[str]:
        """Yield every identifier that any of them has."""
        with self._connection.execute(_IDENTIFIERS, execution_options={"yield_per": 1000}) as rows:
            for row in rows:
                if row.identifier is not None:
                    yield row.identifier
                for part in json.loads(row.parts):
                    if part["identifier"] is not None:
                        yield part["identifier"]

    def forgotten(self) -> int:
        """Return of how many items a tombstone is all that is left."""
        number: int = self._connection.execute(_FORGOTTEN).scalar_one()
        return number


def _tombstone(row: Row[Any]) -> Tombstone:
    fields = {name: getattr(row, name) for name in Tombstone.__dataclass_fields__}
    fields |= {
        "outcome": None if row.outcome is None else State(row.outcome),
        "mode": None if row.mode is None else Mode(row.mode),
        "parts": parts_from_json(json.loads(row.parts)),
        "why": Why(row.why),
    }
    return Tombstone(**fields)
