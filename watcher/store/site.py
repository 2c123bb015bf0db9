"""What is known of the site as a whole: facts by name, and the files that are no items yet."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from watcher.domain import JsonObject, rfc3339, show_path
from watcher.store.schema import site, waiting

WAITING_SHOWN = 1000

_GET = select(site.c.value).where(site.c.name == bindparam("name"))
_PUT = update(site).where(site.c.name == bindparam("the_name"))
_ADD = insert(site)
_WAITING = select(waiting).order_by(waiting.c.since, waiting.c.path)
_WAITING_AT = select(waiting).where(waiting.c.path == bindparam("path"))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file in the drop folder that is not trusted yet, and why not. `since` is when that reason began."""

    path: bytes
    since: float
    size: int
    code: str
    reason: str

    def as_json(self) -> JsonObject:
        return {
            "path": show_path(self.path),
            "since": rfc3339(self.since),
            "size": self.size,
            "code": self.code,
            "reason": self.reason,
        }


class SiteFacts:
    """The site and waiting tables, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Any:
        """The fact of this name, as JSON holds it; null when nothing is known."""
        value = self._connection.execute(_GET, {"name": name}).scalar()
        return None if value is None else json.loads(value)

    def put(self, name: str, value: Any) -> None:
        text = json.dumps(value)
        done = self._connection.execute(_PUT, {"the_name": name, "value": text})
        if not done.rowcount:
            self._connection.execute(_ADD, {"name": name, "value": text})

    def publish_waiting(self, files: Iterable[Waiting]) -> None:
        """The waiting table holds these, the first 1,000 of them, and nothing else."""
        shown = list(islice(files, WAITING_SHOWN))
        if set(shown) == set(self.waiting()):
            return  # a transaction that writes nothing needs no sync
        self._connection.execute(waiting.delete())
        if shown:
            rows = [asdict(file) for file in shown]
            self._connection.execute(insert(waiting), rows)

    def waiting(self) -> list[Waiting]:
        """The published files, the longest waiting first."""
        rows = self._connection.execute(_WAITING)
        return [Waiting(r.path, r.since, r.size, r.code, r.reason) for r in rows]

    def waiting_at(self, path: bytes) -> Waiting | None:
        row = self._connection.execute(_WAITING_AT, {"path": path}).one_or_none()
        return None if row is None else Waiting(row.path, row.since, row.size, row.code, row.reason)
