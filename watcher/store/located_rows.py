"""The items as `reconcile` looks for them: where each lies, and what its receipt must say. In order of arrival."""

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select

from watcher.store.schema import items


class Located(NamedTuple):
    """Columns of an item."""

    serial: int
    id: str
    state: str
    path: bytes
    filed_as: bytes | None
    size: int
    sha256: str | None
    fingerprint: str
    identifier: str | None
    removed_at: float | None

    @property
    def mtime_ns(self) -> int:
        return int(self.fingerprint.split(":")[3])


_AFTER = (
    select(*(items.c[name] for name in Located._fields))
    .where(items.c.serial > bindparam("serial"))
    .order_by(items.c.serial)
    .limit(bindparam("limit"))
)


class LocatedItems:
    """The items, within one transaction. Whoever reads all of them opens one for each batch."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def after(self, serial: int, limit: int) -> list[Located]:
        """Return the first items with greater numbers than this."""
        rows = self._connection.execute(_AFTER, {"serial": serial, "limit": limit})
        return list(map(Located._make, rows.all()))
