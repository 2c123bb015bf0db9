"""The door to the database: what the store asks of it, of whatever kind it is.

Each kind is a folder beside `sqlite/`, and a line below. Locks, files, pragmas and recovery from a kill are its
own affair.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from watcher.errors import StoreError
from watcher.store.sqlite import SqliteDatabase

_KINDS = {"sqlite": SqliteDatabase}


class Database(Protocol):
    """One database. Opening it neither creates nor upgrades it.

    Everything here raises StoreError when the database cannot be used, StoreUnavailable when that may pass by
    itself, and StoreContradicted when it refuses what contradicts what it holds.
    """

    path: Path
    """Its file. The lock of the process that works with it lies beside it, and its owner is the service's user."""

    def exists(self) -> bool:
        """Whether it is there and holds our tables, of whatever version."""

    def writing(self) -> AbstractContextManager[Connection]:
        """One transaction, alone among all threads and processes. Committed at the end; rolled back on error."""

    def reading(self) -> AbstractContextManager[Connection]:
        """One consistent view, read only. It hinders no writer. Before a site's first start it is empty."""

    def version(self) -> str | None:
        """The version it is at; null while there is none, or nothing in it."""

    def is_of_this_version(self) -> bool:
        """Whether it is there, and exactly of this program's version."""

    def is_older(self) -> bool:
        """Whether it is there, of an older version that `migrate` brings up to this program's."""

    def check_version(self) -> None:
        """Raise StoreError unless it is exactly of this program's version."""

    def migrate(self) -> tuple[str | None, str | None]:
        """It is of this program's version; whatever fails leaves it as it was. (before, after)"""

    def check_place(self) -> None:
        """Raise StoreError unless a database can be where this one is to be."""

    def find_damage(self) -> list[str]:
        """What is damaged in it, the first three finds, in its own words; none where it is well.

        Reads all of it, hinders nobody, and changes nothing.
        """

    def tidy(self) -> None:
        """What it does now and then for its own sake. Says what somebody should know of it."""

    def checkpoint(self) -> None:
        """Everything committed is where it stays, unless somebody reads it now."""

    def close(self) -> None:
        """Nothing of it is open any more. It may be used again."""


def open_database(url: str) -> Database:
    """The database that the URL names. StoreError where it names none of a known kind."""
    kind = _KINDS.get(url.partition(":")[0].partition("+")[0])
    if kind is None:
        msg = f"store.url: {url} names no file"
        raise StoreError(msg, hint='Name a file, as in store.url = "sqlite:///watcher.db".')
    return kind(url)
