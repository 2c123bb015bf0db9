"""The only SQL of the project. A step opens one transaction and finds the books in it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from functools import cache
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection

from watcher.alarms import Noted
from watcher.store.database import Database, open_database
from watcher.store.scope import ending_with, is_in_a_file, see_as, seen_as, wide

if TYPE_CHECKING:
    from watcher.store.audit import Audit, Missing
    from watcher.store.condition_rows import Conditions, Message, Messages
    from watcher.store.copies import Copies
    from watcher.store.facts import AccountFacts, SiteFacts
    from watcher.store.filing_queue import FilingQueue
    from watcher.store.items import Items
    from watcher.store.lease_rows import Lease, Leases, Node
    from watcher.store.ledger import Ledger
    from watcher.store.listed_rows import FIRST, LAST, Listed, Listing, Place
    from watcher.store.located_rows import Located, LocatedItems
    from watcher.store.obstacles import Obstacle, Obstacles
    from watcher.store.page_rows import PageRows
    from watcher.store.parts import Parts
    from watcher.store.pause_rows import Pauses
    from watcher.store.queue import Queue
    from watcher.store.rebuilt_rows import RebuiltRows
    from watcher.store.removal_rows import Removal, Removals
    from watcher.store.report_rows import ReportRows, SpentQuarter
    from watcher.store.sought_rows import Sought, SoughtRows
    from watcher.store.tallies import Tallies
    from watcher.store.tombstone_rows import Tombstones
    from watcher.store.verdicts import Verdicts
    from watcher.store.waiting import Left, Waiting, WaitingFiles
    from watcher.store.wish_rows import Wish, Wishes

__all__ = [
    "FIRST",
    "LAST",
    "Books",
    "Database",
    "Lease",
    "Left",
    "Listed",
    "Located",
    "Message",
    "Missing",
    "Node",
    "Obstacle",
    "Place",
    "Removal",
    "Sought",
    "SpentQuarter",
    "Store",
    "Waiting",
    "Wish",
    "load_tables",
]


# A short command needs few of the tables, and the statements of all cost it a twentieth of its time (measured):
# each module is loaded when something of it is asked for.
_TABLES = {  # the name of a table among the books: its module, its class, and what else that is made of
    "conditions": ("condition_rows", "Conditions", "noted"),
    "messages": ("condition_rows", "Messages"),
    "items": ("items", "Items", "conditions", "tallies"),
    "queue": ("queue", "Queue"),
    "copies": ("copies", "Copies"),
    "parts": ("parts", "Parts"),
    "filing": ("filing_queue", "FilingQueue", "conditions"),
    "leases": ("lease_rows", "Leases"),
    "ledger": ("ledger", "Ledger", "tallies"),
    "listing": ("listed_rows", "Listing"),
    "located": ("located_rows", "LocatedItems"),
    "obstacles": ("obstacles", "Obstacles"),
    "pauses": ("pause_rows", "Pauses", "conditions"),
    "verdicts": ("verdicts", "Verdicts", "tallies"),
    "site": ("facts", "SiteFacts"),
    "account": ("facts", "AccountFacts"),
    "waiting": ("waiting", "WaitingFiles", "site"),
    "audit": ("audit", "Audit"),
    "rebuilt": ("rebuilt_rows", "RebuiltRows", "tallies"),
    "removals": ("removal_rows", "Removals", "conditions", "tallies"),
    "report": ("report_rows", "ReportRows"),
    "sought": ("sought_rows", "SoughtRows"),
    "tallies": ("tallies", "Tallies"),
    "tombstones": ("tombstone_rows", "Tombstones", "account"),
    "wishes": ("wish_rows", "Wishes"),
    "page": ("page_rows", "PageRows"),
}
_EXPORTED = {
    "FIRST": "listed_rows",
    "LAST": "listed_rows",
    "Lease": "lease_rows",
    "Left": "waiting",
    "Listed": "listed_rows",
    "Located": "located_rows",
    "Message": "condition_rows",
    "Missing": "audit",
    "Node": "lease_rows",
    "Obstacle": "obstacles",
    "Place": "listed_rows",
    "Removal": "removal_rows",
    "Sought": "sought_rows",
    "SpentQuarter": "report_rows",
    "Waiting": "waiting",
    "Wish": "wish_rows",
}


@cache
def _find(module: str, name: str) -> Any:
    return getattr(import_module(f"watcher.store.{module}"), name)


def load_tables() -> None:
    """Load all of them now: the program's files may be replaced while it runs."""
    for module, kind, *_ in _TABLES.values():
        _find(module, kind)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _EXPORTED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return _find(_EXPORTED[name], name)


_NOTHING = Noted()


class Books:
    """All tables, as one transaction sees them.

    Nothing touches a disk, speaks or waits within a transaction: that would hold up all others, and what was said
    might be undone. What is to be said of it is said afterwards.
    """

    if TYPE_CHECKING:
        conditions: Conditions
        messages: Messages
        items: Items
        queue: Queue
        copies: Copies
        parts: Parts
        filing: FilingQueue
        leases: Leases
        ledger: Ledger
        listing: Listing
        located: LocatedItems
        obstacles: Obstacles
        pauses: Pauses
        verdicts: Verdicts
        site: SiteFacts
        account: AccountFacts
        waiting: WaitingFiles
        audit: Audit
        rebuilt: RebuiltRows
        removals: Removals
        report: ReportRows
        sought: SoughtRows
        tallies: Tallies
        tombstones: Tombstones
        wishes: Wishes
        page: PageRows

    def __init__(self, connection: Connection, noted: Noted = _NOTHING) -> None:
        """`noted`: of which conditions somebody is told."""
        self._connection = connection
        self._afterwards: list[Callable[[], object]] = []
        self.noted = noted

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in _TABLES:
                raise AttributeError(name)
            module, kind, *others = _TABLES[name]
            made = _find(module, kind)(self._connection, *(getattr(self, other) for other in others))
            setattr(self, name, made)
            return made

    def wide(self) -> AbstractContextManager[None]:
        """Return the block in which the rows of all sites and accounts of the database are seen; see scope.py."""
        return wide(self._connection)

    @contextmanager
    def at(self, site: str) -> Iterator[None]:
        """Open the block in which the rows of this site are seen, as its own nodes do; a file has one site."""
        self.complete()
        with seen_as(self._connection, site), ending_with(self.complete):
            yield

    @property
    def is_shared(self) -> bool:
        """Whether other sites and nodes may use the database, too."""
        return not is_in_a_file(self._connection)

    def afterwards(self, say: Callable[[], object]) -> None:
        """Call `say` after the commit, and never if the transaction is rolled back."""
        self._afterwards.append(say)

    def complete(self) -> None:
        """Write what was added up, for the site that is seen: the last thing within the transaction."""
        if "tallies" in self.__dict__:
            self.tallies.write()

    def conclude(self) -> None:
        """Call what was registered, now that the transaction is committed."""
        for say in self._afterwards:
            say()


class Store:
    """The door to the database.

    `writing()` is one transaction, alone among all threads and processes, on the disk when it ends;
    `reading()` is one consistent view that hinders nobody.
    """

    def __init__(self, url: str, local: Path | None = None, noted: Noted = _NOTHING, *, account: str = "") -> None:
        """Open none yet. `local`: the file that stands for a database on a server, on this machine.

        `noted`: of which conditions somebody is told. `account`: whose credit it is, and of which service.
        """
        self._noted = noted
        self._site: str | None = None  # whose rows are seen; null: those of the node's own
        self.database = open_database(url, local, account)

    def at(self, site: str) -> Self:
        """Return the same door, through which the rows of this site are seen. A file has one site."""
        seen = copy(self)
        seen._site = site  # noqa: SLF001 — it is one of us
        return seen

    @contextmanager
    def writing(self, *, late: bool = False) -> Iterator[Books]:
        """`late`: it counts even if this node's lease is lost; only for what the service says of what was paid."""
        with self.database.writing(late=late) as connection:
            self._look(connection)
            books = Books(connection, self._noted)
            yield books
            books.complete()
        books.conclude()

    @contextmanager
    def reading(self) -> Iterator[Books]:
        """Open a read-only transaction. Before a site's first start it finds nothing."""
        with self.database.reading() as connection:
            self._look(connection)
            books = Books(connection)
            yield books
        books.conclude()

    def _look(self, connection: Connection) -> None:
        if self._site is not None:
            see_as(connection, self._site)

    def tidy(self, now: float, rate_events_for: float) -> None:
        """Rate events that ended longer ago than that are gone, and the database is tidy itself."""
        with self.writing() as books:
            books.ledger.forget_rate_events(rate_events_for, now)
        self.database.tidy()

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
