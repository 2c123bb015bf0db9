"""What each test would pay for anew and none is about: the making of the tables, the compiling of the statements.

An upgrade of a new database through all revisions takes longer than a recording's whole journey, and each opening
of a store compiles what it asks.
"""

import sqlite3
import sqlite3.dump  # loaded at first use otherwise, when the stranger cannot
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine

from watcher.outlet import Show
from watcher.store import revisions
from watcher.store.sqlite import connections

_script: list[str] = []


@contextmanager
def compiled_once() -> Iterator[None]:
    """In the block, a statement is compiled at its first use by any store, not by each store anew."""
    first: dict[str, Engine] = {}
    make = connections.make_engine

    def engine(connect: Callable[[], sqlite3.Connection], begin: str, *, size: int) -> Engine:
        if begin not in first:
            first[begin] = make(_memory, begin, size=1)
            with first[begin].connect():
                pass  # at its first connection a dialect learns SQLite's version
            first[begin].dispose()
        made, known = make(connect, begin, size=size), first[begin]
        made.dialect, made._compiled_cache = known.dialect, known._compiled_cache
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "make_engine", engine)
        yield


def _memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


@contextmanager
def made_at_once() -> Iterator[None]:
    """In the block, the revisions make the tables of the first new database; each later one gets the same tables.

    By the same statements in the same transaction of the same file: all but the revisions is the product's own.
    """
    apply, own = revisions.apply, revisions.folder()

    def applied(connection: Connection, before: str | None, show: Show | None = None) -> None:
        driver = connection.connection.driver_connection
        if before is not None or revisions.folder() != own or not isinstance(driver, sqlite3.Connection):
            apply(connection, before, show)
        elif _script:
            for statement in _script:
                connection.exec_driver_sql(statement)
        else:
            apply(connection, before, show)
            _script.extend(list(driver.iterdump())[1:-1])  # without its BEGIN and COMMIT

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisions, "apply", applied)
        yield
