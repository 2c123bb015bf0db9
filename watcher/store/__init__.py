"""The only SQL of the project. A step opens one transaction and finds the books in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine

from watcher import logs
from watcher.store.database import Database, empty_database
from watcher.store.items import Items
from watcher.store.ledger import Ledger
from watcher.store.obstacles import Obstacle, Obstacles
from watcher.store.pauses import Pauses
from watcher.store.site import Left, SiteFacts, Waiting
from watcher.store.verdicts import Verdicts

__all__ = ["Books", "Database", "Left", "Obstacle", "Store", "Waiting"]

_log = logs.get_logger(__name__)

_LONG_LOG_BYTES = 64_000_000


class Books:
    """Everything that is written down, as one transaction sees it.

    Nothing touches a disk, speaks or waits within a transaction: that would hold up all others, and what was said
    might be undone. What is to be said of it is said afterwards.
    """

    def __init__(self, connection: Connection) -> None:
        self._afterwards: list[Callable[[], object]] = []
        self.items = Items(connection)
        self.ledger = Ledger(connection)
        self.obstacles = Obstacles(connection)
        self.pauses = Pauses(connection)
        self.verdicts = Verdicts(connection)
        self.site = SiteFacts(connection)

    def afterwards(self, say: Callable[[], object]) -> None:
        """`say` is called once the transaction is over: after its commit, and never when it was rolled back."""
        self._afterwards.append(say)

    def conclude(self) -> None:
        """The transaction is over, and well: what was to be said of it is said."""
        for say in self._afterwards:
            say()


class Store:
    """The door to the database.

    `writing()` is one transaction, alone among all threads and processes, on the disk when it ends;
    `reading()` is one consistent view that hinders nobody.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._empty: Engine | None = None
        self._bytes_worth_saying = _LONG_LOG_BYTES

    @contextmanager
    def writing(self) -> Iterator[Books]:
        with self.database.writing() as connection:
            books = Books(connection)
            yield books
        books.conclude()

    @contextmanager
    def reading(self) -> Iterator[Books]:
        """What is there now; before a site's first start that is nothing at all."""
        if not self.database.exists():
            self._empty = self._empty or empty_database()
            with self._empty.connect() as connection:
                books = Books(connection)
                yield books
        else:
            with self.database.reading() as connection:
                books = Books(connection)
                yield books
        books.conclude()

    def tidy(self, *, hits_before: float) -> None:
        """Hits that ended before then are gone, and the write-ahead log is in the database file.

        While somebody reads, the log keeps what was written since: that it grows is said once, and again each
        time it has doubled.
        """
        with self.writing() as books:
            books.ledger.forget_hits(hits_before)
        self.database.checkpoint()
        size = self.database.log_size()
        if size >= self._bytes_worth_saying:
            self._bytes_worth_saying = 2 * size
            hint = "A command has been reading for long, such as `watcher list` in a pager: end it."
            _log.warning("database.log_grew", path=str(self.database.path), bytes=size, hint=hint)
        elif size < _LONG_LOG_BYTES < self._bytes_worth_saying:
            self._bytes_worth_saying = _LONG_LOG_BYTES
            _log.info("database.log_shrank", path=str(self.database.path), bytes=size)

    def close(self) -> None:
        self.database.close()
        if self._empty is not None:
            self._empty.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
