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

    def __init__(self, connection: Connection, over: threading.Condition) -> None:
        self.connection = connection
        self.over = over
        self.members = 1
        self.is_over = False
        self.error: BaseException | None = None


class GroupCommit:
    """Gives one thread at a time a transaction. `opened` opens one, and commits it at the end of its block."""

    def __init__(self, opened: Callable[[], AbstractContextManager[Connection]], name: str) -> None:
        self._opened = opened
        self._name = name
        self._lock = threading.Lock()  # of two conditions: waking a thread in vain costs as much as a statement
        self._turn = threading.Condition(self._lock)  # for those who wait for a turn
        self._alone = threading.Condition(self._lock)  # for the one who began the group, and is to commit it
        self._waiting = 0  # for a turn
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
        with self._lock:
            if self._in_turn == threading.get_ident():
                raise RuntimeError("a transaction within another one of the same thread")
            self._waiting += 1
            try:
                self._turn.wait_for(self._is_free)
            except BaseException:  # a signal's: somebody else is to have what it was woken for
                self._waiting -= 1
                self._wake_next()
                raise
            self._waiting -= 1
            self._in_turn = threading.get_ident()
            if self._group is not None:
                self._group.members += 1
            return self._group

    def _is_free(self) -> bool:
        return self._in_turn is None and (self._group is None or self._group.members < MOST_MEMBERS)

    def _give_turn(self) -> None:
        with self._lock:
            self._in_turn = None
            self._wake_next()

    def _wake_next(self) -> None:
        """Wake the one who may go on now: the first who waits for a turn, or who is to commit the group."""
        if self._waiting and self._is_free():
            self._turn.notify()
        elif self._is_complete():
            self._alone.notify()

    def _is_complete(self) -> bool:
        """Whether the group may be committed."""
        is_full = self._group is not None and self._group.members >= MOST_MEMBERS
        return self._in_turn is None and (not self._waiting or is_full)

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
            with self._lock:
                if group is not None:
                    group.is_over = True
                    group.over.notify_all()
                self._group = self._in_turn = None
                self._wake_next()

    def _let_others_follow(self, connection: Connection) -> _Group:
        """Return the group, once nobody waits to join it, or it has enough members; its turn is ours again."""
        group = _Group(connection, threading.Condition(self._lock))
        with self._lock:
            self._group, self._in_turn = group, None
            self._wake_next()
            self._alone.wait_for(self._is_complete)
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
        with self._lock:
            group.over.wait_for(lambda: group.is_over)
        if group.error is not None:
            raise group.error
