"""Whether anything was committed: what a loop asks before it looks at the books again."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from watcher.store import Store


def changed(store: Store, before: int | None) -> bool:
    """Whether the store tells a commit since, and none twice."""
    now = store.database.changes()
    assert now is not None
    assert store.database.changes() == now
    return now != before


@pytest.mark.sqlite
def test_a_commit_is_told_whoever_made_it(store: Store) -> None:
    """This process, and a command beside the daemon. What only reads, or is rolled back, is none."""
    before = store.database.changes()
    with store.reading() as books:
        books.site.get("count")
    with pytest.raises(ZeroDivisionError), store.writing() as books:
        books.site.put("count", 1 // 0)
    assert not changed(store, before)
    with store.writing() as books:
        books.site.put("count", 1)
    assert changed(store, before)
    before = store.database.changes()
    with closing(sqlite3.connect(store.database.path, isolation_level=None)) as other:
        other.execute("DELETE FROM site WHERE name = 'count'")
    assert changed(store, before)
    store.database.checkpoint()
    before = store.database.changes()
    with store.writing() as books:
        books.site.put("count", 2)
    assert changed(store, before)


@pytest.mark.sqlite
def test_who_asks_of_a_database_that_is_gone_is_not_told_that_nothing_changed(store: Store) -> None:
    """Nor of one in whose place another lies: the step looks, and says what is wrong."""
    assert store.database.changes() is not None
    store.database.path.rename(store.database.path.with_name("away.db"))
    assert store.database.changes() is None
    store.database.path.write_bytes(b"")
    assert store.database.changes() is None


def test_who_asks_of_a_database_that_is_not_there_yet_makes_none(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/watcher.db") as store:
        assert store.database.changes() is None
    assert list(tmp_path.iterdir()) == []
