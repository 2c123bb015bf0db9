"""Connections to an SQLite file, and engines over them, as all of this package's code needs them.

The driver's legacy transaction control begins late and deferred: a select-then-update claimed rows twice
(measured). So the driver is set to begin nothing (`isolation_level=None`), and every writing transaction is opened
with BEGIN IMMEDIATE.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import QueuePool

BUSY_SECONDS = 10.0  # for what is not ours, such as an sqlite3 shell


def connect(path: Path, mode: str = "rw") -> sqlite3.Connection:
    """A connection that begins no transaction by itself. Neither mode creates a missing file."""
    uri = f"{path.as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
    )
    if mode == "rw":
        with closed_on_error(connection):
            connection.execute("PRAGMA synchronous = FULL")
            # What is deleted is overwritten with zeros, not left in free pages; the default depends on the build.
            connection.execute("PRAGMA secure_delete = ON")
    return connection


@contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """Close what could not be set up: its locks and descriptors must not wait for the garbage collector."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


class Connections:
    """Connections that each transaction opens with `begin`, at most `size` at a time; 0: no limit.

    Whoever is through with one leaves it to the next as it is: to hand it back to the pool and fetch it from there
    costs more than a small question (measured).
    """

    def __init__(self, opened: Callable[[], sqlite3.Connection], begin: str, *, size: int) -> None:
        self._engine = make_engine(opened, begin, size=size)
        self._idle: list[Connection] = []

    @contextmanager
    def lent(self) -> Iterator[Connection]:
        """A connection that nobody else has meanwhile, in no transaction. What begins in the block ends there."""
        idle = self._idle
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._engine.connect()
        try:
            yield connection
            connection.rollback()
        except BaseException:
            connection.close()
            raise
        if idle is self._idle:
            idle.append(connection)
        else:  # all were closed meanwhile
            connection.invalidate()
            connection.close()

    def close(self) -> None:
        """Close all that nobody has now. New ones may be lent afterwards."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._engine.dispose()


def make_engine(opened: Callable[[], sqlite3.Connection], begin: str, *, size: int) -> Engine:
    """An engine that opens each transaction with `begin`, on at most `size` connections; 0: no limit."""
    engine = create_engine(
        "sqlite://", creator=opened, poolclass=QueuePool, pool_size=size, max_overflow=0, pool_timeout=0
    )

    def open_transaction(driver: Any) -> None:
        # A deferred BEGIN that turns into a write fails at once, whatever the busy timeout (cpython#124510).
        driver.execute(begin)

    # The dialect's own hook, not the engine's "begin" event: an engine that has one listener asks for
    # listeners at every statement, which makes a small transaction a third slower (measured).
    engine.dialect.do_begin = open_transaction  # type: ignore[assignment,method-assign]
    return engine
