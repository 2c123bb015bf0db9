"""Files in the drop folder without an item: those that wait to get one, and those that are left there."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, insert, select

from watcher.errors import FolderRefuses, RecordingUnreachable
from watcher.store.facts import SiteFacts
from watcher.store.schema import waiting
from watcher.text import JsonObject, path_text, rfc3339

WAITING_SHOWN = 1000
FOLDER_UNREADABLE = "folder_unreadable"
NAME_UNREACHABLE = "unreachable_name"
STUMBLED = "stumbled"
BLOCKED = frozenset({RecordingUnreachable.code, FolderRefuses.code, FOLDER_UNREADABLE, NAME_UNREACHABLE, STUMBLED})
"""The codes of files that are not taken until a person acts."""
_WAITING_TOTAL = "waiting"
_BLOCKED_TOTAL = "blocked"
_LEFT = "left"

_WAITING = select(waiting).order_by(waiting.c.since, waiting.c.path)
_WAITING_AT = select(waiting).where(waiting.c.path == bindparam("path"))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file in the drop folder that is not taken yet, and why not. `since`: when that reason began.

    A folder that cannot be looked into counts as one, with size 0 and the code FOLDER_UNREADABLE.
    """

    path: bytes
    since: float
    size: int
    code: str
    reason: str

    @property
    def is_blocked(self) -> bool:
        """Whether it will not be taken until a person acts."""
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
    """The files in the drop folder that are left there, not being recordings: how many, and the first names."""

    foreign: int = 0
    orphaned: int = 0  # markers and sidecars without their recording
    first: tuple[bytes, ...] = ()  # of the foreign ones


class WaitingFiles:
    """The waiting table and its totals, within one transaction."""

    def __init__(self, connection: Connection, facts: SiteFacts) -> None:
        self._connection = connection
        self._facts = facts

    def publish(self, files: Iterable[Waiting], total: int | None = None, blocked: int | None = None) -> None:
        """Replace the waiting table by the first 1,000 of these files.

        `total`: how many wait in all; `blocked`: how many of those are blocked; null: count `files`.
        """
        given = list(files)
        shown, total = given[:WAITING_SHOWN], len(given) if total is None else total
        blocked = sum(file.is_blocked for file in given) if blocked is None else blocked
        self.publish_totals(total, blocked)
        if set(shown) == set(self.listed()):
            return  # a transaction that writes nothing needs no sync
        self._connection.execute(waiting.delete())
        if shown:
            rows = [asdict(file) for file in shown]
            self._connection.execute(insert(waiting), rows)

    def publish_totals(self, total: int, blocked: int) -> None:
        """Record how many files wait in all, and how many of those are blocked."""
        if total != self._facts.get(_WAITING_TOTAL):
            self._facts.put(_WAITING_TOTAL, total)
        if blocked != self._facts.get(_BLOCKED_TOTAL):
            self._facts.put(_BLOCKED_TOTAL, blocked)

    def listed(self) -> list[Waiting]:
        """The published files: blocked ones first, then by how long they wait."""
        rows = self._connection.execute(_WAITING)
        files = [Waiting(r.path, r.since, r.size, r.code, r.reason) for r in rows]
        return sorted(files, key=lambda file: not file.is_blocked)

    def total(self) -> int:
        """How many files waited at the last scan, published or not."""
        total: int | None = self._facts.get(_WAITING_TOTAL)
        return len(self.listed()) if total is None else total

    def blocked(self) -> int:
        """How many of those were blocked."""
        total: int | None = self._facts.get(_BLOCKED_TOTAL)
        return sum(file.is_blocked for file in self.listed()) if total is None else total

    def at(self, path: bytes) -> Waiting | None:
        """The one under this path, if it is published."""
        row = self._connection.execute(_WAITING_AT, {"path": path}).one_or_none()
        return None if row is None else Waiting(row.path, row.since, row.size, row.code, row.reason)

    def publish_left(self, left: Left) -> None:
        """Record which files are left where they are because they are not recordings."""
        if left != self.left():
            self._facts.put(_LEFT, {**asdict(left), "first": [os.fsdecode(path) for path in left.first]})

    def left(self) -> Left:
        """What was left at the last scan."""
        fact = self._facts.get(_LEFT)
        return Left() if fact is None else Left(**{**fact, "first": tuple(map(os.fsencode, fact["first"]))})
