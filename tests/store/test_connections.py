"""Connections to a file that one transaction leaves to the next: nothing of the one is seen by the other."""

import os
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.store.recordings import count_up, sqlite_of
from watcher.store import Store

pytestmark = pytest.mark.sqlite
THREADS = 5


def descriptors(store: Store) -> int:
    """How many descriptors this process has of the database and the files beside it."""
    names = [Path("/proc/self/fd") / one for one in os.listdir("/proc/self/fd")]
    return sum(os.readlink(one).startswith(str(store.database.path)) for one in names if one.is_symlink())


def connection_of(books: object) -> Connection:
    connection: Connection = books._connection  # type: ignore[attr-defined]
    return connection


def test_who_reads_after_another_has_its_connection(store: Store) -> None:
    """And so does who writes: none is made anew."""
    for opened in (store.reading, store.writing):
        drivers = []
        for _ in range(3):
            with opened() as books:
                drivers.append(connection_of(books).connection.driver_connection)
        assert len(set(map(id, drivers))) == 1


def test_who_read_looks_at_nothing_any_more(store: Store) -> None:
    """Its view ended with its block: the next sees what was written since, and the log can be put away."""
    with store.reading() as books:
        assert books.site.get("count") is None
    count_up(store)
    store.database.checkpoint()
    assert sqlite_of(store).log_size() == 0
    with store.reading() as books:
        assert books.site.get("count") == 1


@pytest.mark.parametrize("writes", [False, True])
def test_what_failed_is_not_left_to_the_next(store: Store, writes: bool) -> None:
    """Neither its transaction nor what it wrote."""
    opened = store.writing if writes else store.reading
    with pytest.raises(ZeroDivisionError), opened() as books:  # noqa: PT012 — it fails within
        assert books.site.get("count") is None
        if writes:
            books.site.put("count", 7)
        raise ZeroDivisionError
    assert count_up(store) == 1
    with opened() as books:
        assert books.site.get("count") == 1


def test_who_read_at_the_same_time_as_others_leaves_nothing_open_when_all_is_closed(store: Store) -> None:
    """Nor does who still reads when it is closed: its connection is let go when it is through."""
    before = descriptors(store)
    met = threading.Barrier(THREADS)

    def read() -> None:
        with store.reading() as books:
            books.site.get("count")
            met.wait()

    threads = [threading.Thread(target=read) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count_up(store)
    assert descriptors(store) > before
    with store.reading() as books:
        books.site.get("count")
        store.close()
    assert descriptors(store) == 0
    assert count_up(store) == 2
