"""Several threads write at once: each alone, each on the disk when it returns, and all with few syncs."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from watcher.errors import StoreError, StoreUnavailable
from watcher.store import Store
from watcher.store.sqlite import SqliteDatabase
from watcher.store.sqlite.group_commit import MOST_MEMBERS

THREADS, WRITES = 8, 25
PUT = text("INSERT INTO site (name, value) VALUES (:name, :value)")


class Counted:
    """A database, and how often it has begun a transaction."""

    def __init__(self, path: Path) -> None:
        with Store(f"sqlite:///{path}") as store:
            store.database.migrate()
        self.database = SqliteDatabase(f"sqlite:///{path}")
        self.path, self.transactions = path, 0
        group = self.database._group_commit
        begin: Callable[[], AbstractContextManager[Connection]] = group._opened

        @contextmanager
        def opened() -> Iterator[Connection]:
            self.transactions += 1
            with begin() as connection:
                yield connection

        group._opened = opened

    def names(self) -> set[str]:
        """Of what is on the disk, as another process sees it."""
        with closing(sqlite3.connect(self.path)) as other:
            return {name for (name,) in other.execute("SELECT name FROM site WHERE name LIKE 'test-%'")}

    def put(self, name: str, size: int = 1) -> None:
        with self.database.writing() as connection:
            connection.execute(PUT, {"name": f"test-{name}", "value": "x" * size})

    def hold(self, *others: Callable[[], None]) -> None:
        """Write `first`; the others come while its block still runs, so that they follow in its group."""
        threads = [threading.Thread(target=other) for other in others]
        with self.database.writing() as connection:
            for number, thread in enumerate(threads, start=1):
                thread.start()
                while self.database._group_commit._waiting < number:
                    pass
            connection.execute(PUT, {"name": "test-first", "value": "x"})
        for thread in threads:
            thread.join()


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    made = Counted(tmp_path / "watcher.db")
    yield made
    made.database.close()


def test_each_is_on_the_disk_when_it_returns(counted: Counted) -> None:
    missing: list[str] = []

    def write(thread: int) -> None:
        for number in range(WRITES):
            counted.put(f"{thread}-{number}")
            if f"test-{thread}-{number}" not in counted.names():
                missing.append(f"{thread}-{number}")

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert len(counted.names()) == THREADS * WRITES


def test_those_who_wait_are_committed_together(counted: Counted) -> None:
    counted.hold(*(lambda n=n: counted.put(str(n)) for n in range(5)))
    assert len(counted.names()) == 6
    assert counted.transactions == 1


def test_a_group_has_an_end_however_many_wait(counted: Counted) -> None:
    counted.hold(*(lambda n=n: counted.put(str(n)) for n in range(MOST_MEMBERS + 3)))
    assert len(counted.names()) == MOST_MEMBERS + 4
    assert counted.transactions == 2


def test_one_that_fails_is_undone_alone(counted: Counted) -> None:
    failed: list[Exception] = []

    def fail() -> None:
        try:
            with counted.database.writing() as connection:
                connection.execute(PUT, {"name": "test-undone", "value": "x"})
                connection.execute(text("SELECT nothing FROM nowhere"))
        except StoreError as error:
            failed.append(error)

    def contradict() -> None:
        try:
            counted.put("first")
        except StoreError as error:
            failed.append(error)

    counted.hold(fail, contradict, lambda: counted.put("last"))
    assert counted.names() == {"test-first", "test-last"}
    assert len(failed) == 2
    assert counted.transactions == 1


def test_who_began_and_fails_takes_nobody_along(counted: Counted) -> None:
    def begin() -> None:
        with counted.database.writing() as connection:
            connection.execute(PUT, {"name": "test-undone", "value": "x"})
            thread.start()
            while not counted.database._group_commit._waiting:
                pass
            raise ZeroDivisionError

    thread = threading.Thread(target=lambda: counted.put("other"))
    with pytest.raises(ZeroDivisionError):
        begin()
    thread.join()
    assert counted.names() == {"test-other"}


def test_on_a_full_disk_none_of_them_is_told_that_it_was_written(counted: Counted) -> None:
    """SQLite rolls back all of it at once: who was done already, and who comes after, fail too."""
    told: dict[str, str] = {}

    def put(name: str, size: int = 1) -> None:
        try:
            counted.put(name, size)
            told[name] = "written"
        except StoreUnavailable:
            told[name] = "not now"

    with counted.database.writing() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one() + 20
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))
    before = counted.transactions
    with pytest.raises(StoreUnavailable):
        counted.hold(lambda: put("early"), lambda: put("large", 1_000_000), lambda: put("late"))
    assert counted.names() <= {"test-late"}  # unless it came late enough to begin another
    assert {name for name, said in told.items() if said == "written"} == {n[5:] for n in counted.names()}
    assert counted.transactions - before <= 2
    put("afterwards")
    assert told["afterwards"] == "written"


def test_a_transaction_within_another_of_the_same_thread_is_refused(counted: Counted) -> None:
    def write_within() -> None:
        with counted.database.writing():
            counted.put("within")

    with pytest.raises(RuntimeError, match="within another"):
        write_within()
    counted.put("after")
    assert counted.names() == {"test-after"}
