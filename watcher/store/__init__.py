"""The only SQL of the project. A step opens one transaction and finds the books in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from watcher.store.database import Database, empty_database
from watcher.store.items import Items
from watcher.store.ledger import Ledger
from watcher.store.pauses import Pauses
from watcher.store.site import SiteFacts, Waiting
from watcher.store.verdicts import Verdicts

__all__ = ["Books", "Store", "Waiting"]


class Books:
    """Everything that is written down, as one transaction sees it."""

    def __init__(self, connection: Connection) -> None:
        self.items = Items(connection)
        self.ledger = Ledger(connection)
        self.pauses = Pauses(connection)
        self.verdicts = Verdicts(connection)
        self.site = SiteFacts(connection)


class Store:
    """The door to the database.

    `writing()` is one transaction, alone among all threads and processes, on the disk when it ends;
    `reading()` is one consistent view that hinders nobody.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)

    @contextmanager
    def writing(self) -> Iterator[Books]:
        with self.database.writing() as connection:
            yield Books(connection)

    @contextmanager
    def reading(self) -> Iterator[Books]:
        """What is there now; before a site's first start that is nothing at all."""
        if not self.database.exists():
            with empty_database().connect() as connection:
                yield Books(connection)
            return
        with self.database.reading() as connection:
            yield Books(connection)

    def tidy(self, *, hits_before: float) -> None:
        """The write-ahead log is in the database file, and hits that count no more are gone."""
        with self.writing() as books:
            books.ledger.forget_hits(hits_before)
        self.database.checkpoint()

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
