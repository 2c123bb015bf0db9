"""What is known of the site as a whole: facts by name, files that are no items yet, and what proves the rest."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from watcher.domain import JsonObject, path_text, rfc3339
from watcher.errors import FolderRefuses, RecordingUnreachable
from watcher.store.schema import attempts, items, site, transitions, waiting

WAITING_SHOWN = 1000
FOLDER_UNREADABLE = "folder_unreadable"
NAME_UNREACHABLE = "unreachable_name"
STUMBLED = "stumbled"
BLOCKED = frozenset({RecordingUnreachable.code, FolderRefuses.code, FOLDER_UNREADABLE, NAME_UNREACHABLE, STUMBLED})
"""The codes of what is not taken until somebody does something about it."""
_WAITING_TOTAL = "waiting"
_BLOCKED_TOTAL = "blocked"
_LEFT = "left"

_GET = select(site.c.value).where(site.c.name == bindparam("name"))
_PUT = update(site).where(site.c.name == bindparam("the_name"))
_ADD = insert(site)
_WAITING = select(waiting).order_by(waiting.c.since, waiting.c.path)
_WAITING_AT = select(waiting).where(waiting.c.path == bindparam("path"))

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


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file in the drop folder that is not trusted yet, and why not. `since` is when that reason began.

    A folder that can not be looked into is one too, of size 0 and the code FOLDER_UNREADABLE.
    """

    path: bytes
    since: float
    size: int
    code: str
    reason: str

    @property
    def is_blocked(self) -> bool:
        """Whether it will not be taken until somebody does something about it."""
        return self.code in BLOCKED

    def as_json(self) -> JsonObject:
        return {
            "path": path_text(self.path),
            "since": rfc3339(self.since),
            "size": self.size,
            "code": self.code,
            "reason": self.reason,
            "blocked": self.is_blocked,
        }


@dataclass(frozen=True, slots=True)
class Left:
    """What lies in the drop folder and is left there, as it is no recording: how many, and the first names."""

    foreign: int = 0
    orphaned: int = 0  # markers and sidecars without their recording
    first: tuple[bytes, ...] = ()  # of the foreign ones


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

    def publish_waiting(
        self, files: Iterable[Waiting], total: int | None = None, blocked: int | None = None
    ) -> None:
        """The waiting table holds these, the first 1,000 of them, and nothing else.

        `total`: how many wait in all, `blocked`: how many of them until somebody acts; null where these are all.
        """
        given = list(files)
        shown, total = given[:WAITING_SHOWN], len(given) if total is None else total
        blocked = sum(file.is_blocked for file in given) if blocked is None else blocked
        if total != self.waiting_total():
            self.put(_WAITING_TOTAL, total)
        if blocked != self.blocked_total():
            self.put(_BLOCKED_TOTAL, blocked)
        if set(shown) == set(self.waiting()):
            return  # a transaction that writes nothing needs no sync
        self._connection.execute(waiting.delete())
        if shown:
            rows = [asdict(file) for file in shown]
            self._connection.execute(insert(waiting), rows)

    def waiting(self) -> list[Waiting]:
        """The published files: what is blocked first, and the longest waiting."""
        rows = self._connection.execute(_WAITING)
        files = [Waiting(r.path, r.since, r.size, r.code, r.reason) for r in rows]
        return sorted(files, key=lambda file: not file.is_blocked)

    def waiting_total(self) -> int:
        """How many files waited at the last look, published or not."""
        total: int | None = self.get(_WAITING_TOTAL)
        return len(self.waiting()) if total is None else total

    def blocked_total(self) -> int:
        """How many of those were blocked."""
        total: int | None = self.get(_BLOCKED_TOTAL)
        return sum(file.is_blocked for file in self.waiting()) if total is None else total

    def publish_left(self, left: Left) -> None:
        """So many files are left where they are, and are not recordings."""
        if left != self.left():
            self.put(_LEFT, {**asdict(left), "first": [os.fsdecode(path) for path in left.first]})

    def left(self) -> Left:
        """What was left at the last look."""
        fact = self.get(_LEFT)
        return Left() if fact is None else Left(**{**fact, "first": tuple(map(os.fsencode, fact["first"]))})

    def waiting_at(self, path: bytes) -> Waiting | None:
        row = self._connection.execute(_WAITING_AT, {"path": path}).one_or_none()
        return None if row is None else Waiting(row.path, row.since, row.size, row.code, row.reason)

    # Counted twice: what the items say, against what was written down beside them

    def arrivals(self) -> int:
        """How many recordings ever became items, by their histories: a lost row is counted all the same."""
        counted: int = self._connection.execute(_ARRIVALS).scalar_one()
        return counted

    def contradictions(self) -> list[tuple[str, str]]:
        """Ids of items, and in what their rows disagree with their histories or with the ledger."""
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
