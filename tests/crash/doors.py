"""The three doors of the product, wrapped from outside, with a crash at any crossing of any of them.

Whatever outlasts a process passes one of them: the service (`Client`), the folders (`Folder`, `move`, `Spool`),
the store (`SqliteDatabase`). A run under `Doors` counts the crossings and ends at the one it is told. What is on
the disk and at the service then is what a killed process leaves: nothing that runs while the crash unwinds can
change it.
"""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from enum import Enum, auto
from functools import wraps
from typing import Any

import pytest

from watcher import ownership
from watcher.folders import Folder, acceptance, discard, disk, folder, marker, move
from watcher.folders.lock import Lock
from watcher.identifai.client import Client
from watcher.identifai.upload import Body
from watcher.journey.prepare import part_file, spool
from watcher.journey.prepare.makers import Makers
from watcher.journey.prepare.spool import Spool
from watcher.journey.retain import removing
from watcher.store.sqlite import SqliteDatabase

CHANGES_FOLDER = frozenset({"write_whole", "remove", "sweep", "mark"})
"""What changes a folder, of Folder's operations. Beside them only `move` and `discard` do."""

CHANGES_SPOOL = frozenset({"keep", "note", "remove", "clear", "sweep"})
"""What changes the spool, of Spool's operations, beside what is made in a folder of its own there."""

_SYSCALLS = frozenset({"unlink", "rmdir", "rename", "replace", "link", "mkdir", "write", "fchmod", "utime"})
_MOVE = sys.modules[move.__module__]  # the package's own attribute of this name is the function


class Crash(BaseException):
    """The process ended. No Exception: nothing in the product can go on after it."""


class Moment(Enum):
    """When, at a crossing, the process ends."""

    BEFORE = auto()
    AFTER = auto()


class Doors:
    """Counts the crossings at these moments, and crashes at the `crash_at`-th of them (from 1; null: never).

    After the crash the process is dead: every door raises. `crossed` names what was crossed, in order.
    `counts_syscalls`: what counts is each call to the system that changes a folder, instead of the operations
    that are made of them; so a process can also end within one.
    """

    def __init__(
        self,
        crash_at: int | None = None,
        moments: Sequence[Moment] = tuple(Moment),
        *,
        counts_syscalls: bool = False,
    ) -> None:
        self.is_dead = False
        self.crossed: list[str] = []
        self.let_go = 0  # uploads that the service has whole
        self._crash_at = crash_at
        self._moments = moments
        self._counts_syscalls = counts_syscalls

    def check(self) -> None:
        """Raises Crash where the process is dead already."""
        if self.is_dead:
            raise Crash

    def cross(self, moment: Moment, door: str, *, is_syscall: bool = False) -> None:
        """The door is crossed, or the process ends here."""
        self.check()
        if moment not in self._moments or is_syscall is not self._counts_syscalls:
            return
        self.crossed.append(f"{moment.name.lower()} {door}")
        if len(self.crossed) == self._crash_at:
            self.is_dead = True
            raise Crash(self.crossed[-1])

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within, the product goes through these doors. A crash ends the block, and is over with it."""
        with pytest.MonkeyPatch.context() as patch, ExitStack() as left_by_the_dead:
            self._wrap_service(patch)
            self._wrap_folders(patch, left_by_the_dead)
            self._wrap_store(patch, left_by_the_dead)
            self._wrap_syscalls(patch)
            with suppress(Crash):
                yield

    def around(self, door: str, call: Callable[..., Any], *, is_syscall: bool = False) -> Callable[..., Any]:
        """The same call, as a door."""

        @wraps(call)
        def crossing(*args: Any, **kwargs: Any) -> Any:
            self.cross(Moment.BEFORE, door, is_syscall=is_syscall)
            result = call(*args, **kwargs)
            self.cross(Moment.AFTER, door, is_syscall=is_syscall)
            return result

        return crossing

    def _wrap_service(self, patch: pytest.MonkeyPatch) -> None:
        parts = Body.__iter__

        def sending(body: Body) -> Iterator[bytes]:
            yield from parts(body)
            if body.is_released:  # whoever takes parts has sent the last one, since it asks for the next
                self.let_go += 1
                self.cross(Moment.AFTER, "last part")

        patch.setattr(Body, "__iter__", sending)
        patch.setattr(Client, "submit", self.around("submit", Client.submit))
        patch.setattr(Client, "verdicts", self.around("verdicts", Client.verdicts))

    def _wrap_folders(self, patch: pytest.MonkeyPatch, left_by_the_dead: ExitStack) -> None:
        for name in sorted(CHANGES_FOLDER):
            patch.setattr(Folder, name, self.around(name, getattr(Folder, name)))
        for name in sorted(CHANGES_SPOOL):
            patch.setattr(Spool, name, self.around(f"spool's {name}", getattr(Spool, name)))
        patch.setattr(Makers, "make", self.around("make", Makers.make))
        for name, module in list(sys.modules.items()):
            if name.startswith("watcher.journey") and getattr(module, "move", None) is move:
                patch.setattr(module, "move", self.around("move", move))
        patch.setattr(removing, "discard", self.around("discard", discard.discard))
        take, close = Lock.__init__, Lock.close

        def taken(lock: Lock, *args: Any, **more: Any) -> None:
            take(lock, *args, **more)
            left_by_the_dead.callback(_let_go, lock)

        def closed(lock: Lock) -> None:
            if not self.is_dead:  # what is in the file stays
                close(lock)

        patch.setattr(Lock, "__init__", taken)
        patch.setattr(Lock, "close", closed)

    def _wrap_store(self, patch: pytest.MonkeyPatch, left_by_the_dead: ExitStack) -> None:
        writing, reading, close = SqliteDatabase.writing, SqliteDatabase.reading, SqliteDatabase.close

        @contextmanager
        def written(database: SqliteDatabase, **more: Any) -> Iterator[Any]:
            self.check()
            with writing(database, **more) as connection:
                driver: Any = connection.connection.driver_connection
                before = driver.total_changes
                yield connection
                has_changed = driver.total_changes != before
                if has_changed:  # else there is nothing that a crash could take or leave
                    self.cross(Moment.BEFORE, "commit")
            if has_changed:
                self.cross(Moment.AFTER, "commit")

        @contextmanager
        def read(database: SqliteDatabase) -> Iterator[Any]:
            self.check()
            with reading(database) as connection:
                yield connection

        def closed(database: SqliteDatabase) -> None:
            if self.is_dead and database.path.exists():
                # The last connection to be closed puts the log into the file; no killed process does. One that
                # only reads cannot, and stays until the others are closed.
                reader = sqlite3.connect(f"{database.path.as_uri()}?mode=ro", uri=True)
                left_by_the_dead.enter_context(closing(reader))
                reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
            close(database)

        patch.setattr(SqliteDatabase, "writing", written)
        patch.setattr(SqliteDatabase, "reading", read)
        patch.setattr(SqliteDatabase, "checkpoint", self.around("checkpoint", SqliteDatabase.checkpoint))
        patch.setattr(SqliteDatabase, "close", closed)

    def _wrap_syscalls(self, patch: pytest.MonkeyPatch) -> None:
        for module in (acceptance, discard, disk, folder, marker, ownership, part_file, spool, _MOVE):
            patch.setattr(module, "os", _System(self))
        patch.setattr(disk, "_renameat2", self.around("renameat2", disk._renameat2, is_syscall=True))


def _let_go(lock: Lock) -> None:
    """As the system does for the dead."""
    if lock._held >= 0:
        os.close(lock._held)
        lock._held = -1


class _System:
    """`os`, each call that changes a folder a door. Syncs are none: only a power cut could tell them."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)
        if name == "open":
            return self._open
        return self._doors.around(name, call, is_syscall=True) if name in _SYSCALLS else call

    def _open(self, path: bytes, flags: int, *args: Any, **kwargs: Any) -> int:
        if not flags & os.O_CREAT:
            return os.open(path, flags, *args, **kwargs)
        self._doors.cross(Moment.BEFORE, "create", is_syscall=True)
        made = os.open(path, flags, *args, **kwargs)
        try:
            self._doors.cross(Moment.AFTER, "create", is_syscall=True)
        except Crash:
            os.close(made)  # as the system does for the dead
            raise
        return made
