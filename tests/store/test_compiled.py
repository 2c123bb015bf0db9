"""What is compiled once finds, changes and refuses what SQLAlchemy does, on either kind of database."""

from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from tests.postgresql import Server
from tests.store.recordings import count_up, item
from watcher.errors import StoreContradicted, StoreUnavailable
from watcher.store import Store
from watcher.store.compiled import Compiled
from watcher.store.schema import attempts, items, site

BY_PATH = select(items).where(items.c.path == bindparam("path")).limit(2)
ADD = Compiled(insert(site))
BEGIN = {"item_id": "a", "started_at": 1, "size": 1, "outcome": "x", "charged": "no"}


def connection_of(books: Any) -> Connection:
    connection: Connection = books.items._connection
    return connection


def test_a_row_has_the_values_and_the_names_that_sqlalchemy_gives_them(store: Store) -> None:
    """Bytes are bytes, what is true is true and not 1, numbers are of the column's kind."""
    with store.writing() as books:
        books.items.add(item(1, path=b"\xff.wav", in_doubt=True, companions=(b"a.xml",)))
        books.items.add(item(2))
    with store.reading() as books:
        expected = connection_of(books).execute(BY_PATH, {"path": b"\xff.wav"}).one()
        (row,) = Compiled(BY_PATH).rows(connection_of(books), {"path": b"\xff.wav"})
        assert row == tuple(expected)
        assert row._asdict() == expected._asdict()
        assert list(map(type, row)) == list(map(type, expected))
        assert row.in_doubt is True
        assert Compiled(BY_PATH).row(connection_of(books), {"path": b"none.wav"}) is None


def test_one_row_is_not_taken_for_many(store: Store) -> None:
    with store.writing() as books:
        ADD.change_each(connection_of(books), [{"name": name, "value": "1"} for name in "abc"])
        with pytest.raises(ValueError, match="3 rows"):
            Compiled(select(site.c.name).where(site.c.value == bindparam("value"))).row(
                connection_of(books), {"value": "1"}
            )


def test_what_is_changed_is_counted(store: Store) -> None:
    """Whether by one set of values or by several; a column that is named only once is left alone next time."""
    change = Compiled(update(site).where(site.c.name == bindparam("the_name")))
    remove = Compiled(delete(site).where(site.c.name == bindparam("name")))
    with store.writing() as books:
        connection = connection_of(books)
        assert ADD.change_each(connection, [{"name": name, "value": "1"} for name in "abc"]) == 3
        assert change.change(connection, {"the_name": "a", "value": "2"}) == 1
        assert change.change(connection, {"the_name": "none", "value": "2"}) == 0
        assert change.change(connection, {"the_name": "a", "name": "d"}) == 1
        assert Compiled(select(site.c.name, site.c.value).order_by(site.c.name)).rows(connection) == [
            ("b", "1"),
            ("c", "1"),
            ("d", "2"),
        ]
        assert remove.change_each(connection, [{"name": name} for name in ("a", "b", "c")]) == 2


def test_a_new_row_s_number_is_told(store: Store) -> None:
    begin = Compiled(insert(attempts).returning(attempts.c.number))
    with store.writing() as books:
        first, second = (begin.value(connection_of(books), BEGIN) for _ in range(2))
        assert second == first + 1


def test_what_the_database_refuses_is_told_as_sqlalchemy_tells_it(store: Store) -> None:
    """And as a store error to whoever opened the transaction, of which nothing is kept."""
    with pytest.raises(StoreContradicted) as raised, store.writing() as books:  # noqa: PT012 — it is refused within
        ADD.change(connection_of(books), {"name": "a", "value": "1"})
        ADD.change(connection_of(books), {"name": "a", "value": "1"})
    cause = raised.value.__cause__
    assert isinstance(cause, IntegrityError)
    assert "INSERT INTO site" in str(cause)
    assert count_up(store) == 1
    with store.reading() as books:
        assert books.site.get("a") is None


def test_its_transaction_is_the_connection_s(store: Store) -> None:
    """What it writes is rolled back with the rest, and what it reads is one view to the end."""
    with pytest.raises(ZeroDivisionError), store.writing() as books:  # noqa: PT012 — it fails within
        books.site.put("before", 1)
        ADD.change(connection_of(books), {"name": "a", "value": "1"})
        raise ZeroDivisionError
    asked = Compiled(select(site.c.name))
    with store.reading() as books:
        assert asked.rows(connection_of(books)) == []
        count_up(store)
        assert asked.rows(connection_of(books)) == []
    with store.reading() as books:
        assert asked.rows(connection_of(books)) == [("count",)]


def test_a_lost_connection_is_given_up(postgresql: Server, migrated: str, tmp_path: Any) -> None:
    """Though it was lost under a compiled statement: the next transaction has another."""
    name = postgresql.database(migrated)
    with Store(postgresql.url(name), tmp_path / "watcher.node") as store:
        with pytest.raises(StoreUnavailable), store.writing() as books:  # noqa: PT012 — it dies in between
            ADD.change(connection_of(books), {"name": "a", "value": "1"})
            postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            ADD.change(connection_of(books), {"name": "b", "value": "1"})
        assert count_up(store) == 1


@pytest.mark.sqlite
def test_a_list_of_values_is_refused(store: Store) -> None:
    """Its text has a mark for each of them: one that was kept would be wrong the next time."""
    among = Compiled(select(site).where(site.c.name.in_(bindparam("names", expanding=True))))
    with store.reading() as books, pytest.raises(TypeError, match="not the same text"):
        among.rows(connection_of(books), {"names": ["a"]})


@pytest.mark.sqlite
def test_a_value_that_is_missing_is_said(store: Store) -> None:
    with store.reading() as books, pytest.raises(TypeError, match="no value for path"):
        Compiled(BY_PATH).rows(connection_of(books))
