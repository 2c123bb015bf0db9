"""Group commit: transactions of several threads, one after the other in one of SQLite's, on the disk by one sync.

Each is alone while it runs, as before, and is rolled back alone. Whoever began the group commits it, once nobody
waits for a turn or it has enough members; none of them goes on before that, so each is on the disk when it ends.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import Connection

from watcher.errors import StoreUnavailable

MOST_MEMBERS = 16
"""In one group: the first waits for all, and so do the commands of other processes."""


class _Group:
    """Those whose transactions are committed together."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.members = 1
        self.is_over = False
        self.error: BaseException | None = None


class GroupCommit:
    """Gives one thread at a time a transaction. `opened` opens one, and commits it at the end of its block."""

    def __init__(self, opened: Callable[[], AbstractContextManager[Connection]], name: str) -> None:
        self._opened = opened
        self._name = name
        self._changed = threading.Condition()
        self._waiting = 0
        self._in_turn: int | None = None  # the thread whose block runs, or who opens or commits
        self._group: _Group | None = None  # that may be joined, or is about to be committed

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, committed when the block has ended; rolled back alone on error."""
        group = self._take_turn()
        if group is None:
            with self._begun() as connection:
                yield connection
            return
        try:
            with self._savepoint(group):
                yield group.connection
        finally:
            self._give_turn()
        self._await_commit(group)

    def _take_turn(self) -> _Group | None:
        """Wait until no other thread's block runs. Return the group to join; null to begin one."""
        with self._changed:
            if self._in_turn == threading.get_ident():
                raise RuntimeError("a transaction within another one of the same thread")
            self._waiting += 1
            try:
                self._changed.wait_for(self._is_free)
            finally:
                self._waiting -= 1
            self._in_turn = threading.get_ident()
            if self._group is not None:
                self._group.members += 1
            return self._group

    def _is_free(self) -> bool:
        return self._in_turn is None and (self._group is None or self._group.members < MOST_MEMBERS)

    def _give_turn(self) -> None:
        with self._changed:
            self._in_turn = None
            self._changed.notify_all()

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        """Begin a group, be its first, let the others follow, and commit it."""
        group = None
        try:
            with self._opened() as connection:
                yield connection
                group = self._let_others_follow(connection)
                self._check_whole(connection)
        except BaseException as error:
            if group is not None:
                group.error = error
            raise
        finally:
            with self._changed:
                if group is not None:
                    group.is_over = True
                self._group = self._in_turn = None
                self._changed.notify_all()

    def _let_others_follow(self, connection: Connection) -> _Group:
        """Return the group, once nobody waits to join it, or it has enough members; its turn is ours again."""
        group = _Group(connection)
        with self._changed:
            self._group, self._in_turn = group, None
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._in_turn is None and (not self._waiting or group.members >= MOST_MEMBERS)
            )
            self._in_turn = threading.get_ident()
        return group

    @contextmanager
    def _savepoint(self, group: _Group) -> Iterator[None]:
        driver = self._check_whole(group.connection)  # else a savepoint would begin a transaction
        driver.execute("SAVEPOINT member")
        try:
            yield
        except BaseException:
            if driver.in_transaction:  # else SQLite has rolled back all of it, as on a full disk
                driver.execute("ROLLBACK TO member")
                driver.execute("RELEASE member")
            raise
        driver.execute("RELEASE member")

    def _check_whole(self, connection: Connection) -> Any:
        """Return the driver's connection, in the transaction that the group began."""
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            raise StoreUnavailable(
                f"{self._name}: what was written together was rolled back together: the disk is full, or failed",
                hint="Nothing of it was kept, and it is tried again. Make room on the disk, or check it.",
            )
        return driver

    def _await_commit(self, group: _Group) -> None:
        with self._changed:
            self._changed.wait_for(lambda: group.is_over)
        if group.error is not None:
            raise group.error
