"""The interface of a database: what the store needs of any kind of database.

Each kind is a folder beside this file, and a line in `open_database`. Locks, files, pragmas and recovery from a
kill are its own affair.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection

from watcher.errors import StoreError
from watcher.outlet import Show
from watcher.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from watcher.store.server_facts import ServerFacts
    from watcher.store.terms import Terms


class Database(Protocol):
    """One database. Opening it neither creates nor upgrades it.

    Everything here raises StoreError when the database cannot be used, StoreUnavailable when that may pass by
    itself, and StoreContradicted when it refuses what contradicts what it holds.
    """

    name: str
    """What a person calls it: its file's path, or its address without the password."""

    path: Path
    """Its file; of one on a server, the file that stands for it on this machine. The lock of the process that
    works with it lies beside it, and its owner is the service's user."""

    is_shared: bool
    """Whether other sites and nodes may use it, too: it is on a server, not a file of this machine's."""

    @property
    def terms(self) -> "Terms | None":
        """The lease of this node; null where one process alone uses the database, and its lock is enough."""

    def exists(self) -> bool:
        """Whether it exists and has our tables, of any version."""

    def size(self) -> int | None:
        """Its size in bytes; 0 where it has no tables, null where there is none. Raises OSError as well."""

    def writing(self, *, late: bool = False) -> AbstractContextManager[Connection]:
        """One transaction, alone among all threads and processes. Committed at the end; rolled back on error.

        Raises StoreLeaseLost where this node had the lease of its site and another has it now; not if `late`.
        """

    def reading(self) -> AbstractContextManager[Connection]:
        """A consistent read-only view that blocks no writer. Before a site's first start it is empty."""

    def filling(self) -> AbstractContextManager[Connection]:
        """One transaction, however long, in which a whole site is put into it. Holds up no other site's node."""

    def lock(self, connection: Connection) -> None:
        """Let this transaction, opened by `filling`, be alone among all that write, until it ends."""

    def version(self) -> str | None:
        """Its version; null if it does not exist or is empty."""

    def is_of_this_version(self) -> bool:
        """Whether it exists and has exactly this program's version."""

    def is_older(self) -> bool:
        """Whether it exists and has an older version, which `migrate` upgrades."""

    def check_version(self) -> None:
        """Raise StoreError unless it has exactly this program's version."""

    def migrate(self, show: Show | None = None) -> tuple[str | None, str | None]:
        """Upgrade it to this program's version; a failure changes nothing. Return both versions.

        `show` is told how far it has come: with a million rows it takes a while.
        """

    def check_place(self) -> None:
        """Raise StoreError unless a database can be kept at its place."""

    def find_damage(self, seconds: float = inf) -> list[str]:
        """The first three damages in it, in the database's own words; none if it is intact.

        Reads all of it, or as much as it can in this time; hinders nobody, and changes nothing.
        """

    def copies_with(self, item_ids: Collection[str]) -> list[str]:
        """The copies beside it from before upgrades that may still have one of these items."""

    def check_damage(self, seconds: float) -> None:
        """Raise StoreError where find_damage finds any in this time. Nothing is repaired."""

    def tidy(self) -> None:
        """Do its regular housekeeping, and log what a person should know."""

    def changes(self) -> int | None:
        """Return a number that differs once anybody has committed something; null where none can be had cheaply.

        Raises nothing: it is null where the database cannot be used, too, which whoever looks finds out.
        """

    def checkpoint(self) -> None:
        """Move everything that was committed to its final place, unless it is being read now."""

    def own_site(self) -> str | None:
        """The id of the site whose rows are seen; "" where it is not known yet, null in a file, which has one."""

    def belong_to(self, site: str, *, keeping: bool = True) -> None:
        """See the rows of this site from now on; `keeping`: in all processes of this node. A file has one site."""

    def examine(self) -> "ServerFacts | None":
        """Ask the server about itself; null for a file. Raises StoreError."""

    def tell_outages(self) -> None:
        """Log from now on, once each, that a server is away and that it is back."""

    def close(self) -> None:
        """Close everything. It may be used again."""


def open_database(url: str, local: Path | None = None, account: str = "") -> Database:
    """The database that the URL names. Raises StoreError if it is not of a known kind.

    `local`: the file that stands for one on a server, on this machine. `account`: whose rows are seen there.
    """
    kind = url.partition(":")[0].partition("+")[0]
    if kind == "postgresql" and local is not None:
        from watcher.store.postgresql import PostgresqlDatabase  # noqa: PLC0415 — what it needs is an extra

        return PostgresqlDatabase(url, local, account)
    if kind == "sqlite":
        return SqliteDatabase(url)
    msg = f"store.url: {url} names no file"
    raise StoreError(msg, hint='Name a file, as in store.url = "sqlite:///watcher.db".')
