"""Items and verdicts for the store's tests, and what other processes do to it."""

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from watcher.domain import Fingerprint, Item, State, Verdict, VerdictState
from watcher.store import Books, Store
from watcher.store.postgresql import PostgresqlDatabase
from watcher.store.sqlite import SqliteDatabase


def item(number: int, **changes: Any) -> Item:
    """A queued item that arrived at `number`; its id and path are made of the number too."""
    known: dict[str, Any] = {
        "id": f"{number:016x}",
        "path": b"%d.wav" % number,
        "state": State.QUEUED,
        "size": 1000,
        "arrived_at": float(number),
        "fingerprint": Fingerprint(1, number, 1000, 1, 1),
        "sha256": f"{number:064x}",
        "content_key": f"{number:064x}",
    }
    return Item(**known | changes)


def sqlite_of(store: Store) -> SqliteDatabase:
    """The store's database, for what only SQLite has."""
    assert isinstance(store.database, SqliteDatabase)
    return store.database


def verdict(identifier: str, **changes: Any) -> Verdict:
    known: dict[str, Any] = {
        "identifier": identifier,
        "state": VerdictState.AWAITED,
        "asked_at": None,
        "due_at": 10.0,
        "since": 5.0,
    }
    return Verdict(**known | changes)


def count_up(store: Store) -> int:
    """The fact `count` is one more than it was: read, then written, as a step does."""
    with store.writing() as books:
        count: int = (books.site.get("count") or 0) + 1
        books.site.put("count", count)
    return count


def address_of(store: Store) -> tuple[str, str]:
    """What another process opens the same database with."""
    database = store.database
    url = database.url if isinstance(database, PostgresqlDatabase) else f"sqlite:///{database.path}"
    return url, str(database.path)


def claim_all(url: str, local: str, name: str, answer: Connection) -> None:
    """A process that claims queued items, one a transaction, until there are none. Sends their ids."""
    claimed = []
    with Store(url, Path(local)) as store:
        answer.send("ready")
        answer.recv()
        while True:
            with store.writing() as books:
                found = books.queue.next_due(1e9, canary=False)
                if found is None:
                    break
                books.items.change(found, State.SUBMITTING, 1.0, claim=name)
                claimed.append(found.id)
            count_up(store)
    answer.send(claimed)


def write_until_killed(url: str, first: int, answer: Connection) -> None:
    """A process that adds item after item and counts them in the same transaction; sends each number after it."""
    with Store(url) as store:
        for number in range(first, first + 1_000_000):
            with store.writing() as books:
                books.items.add(item(number), "x" * 3000)
                books.site.put("count", number + 1)
            answer.send(number + 1)


def stop_while_writing(url: str, local: str, answer: Connection) -> None:
    """A process that stands still in the middle of a transaction, until it is killed."""
    with Store(url, Path(local)) as store, store.database.writing() as connection:
        Books(connection).site.put("count", "never committed")
        if isinstance(store.database, PostgresqlDatabase):  # its server's patience, shortened
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '1s'")
        answer.send("inside")
        signal.pause()
    os._exit(1)
