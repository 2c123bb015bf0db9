"""A site's rows are copied from one kind of database into the other, whole and compared, or not at all."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
)

from tests.postgresql import Server
from tests.store.recordings import item, verdict
from watcher.domain import Deed, Pause, PauseKind, State, VerdictState
from watcher.errors import LeaseHeld
from watcher.store import LAST, Node, Place, Sought, Store, Wish
from watcher.store.database import Database
from watcher.store.dialects import OF_SCOPE
from watcher.store.schema import metadata
from watcher.store.site_copy import copy_site, refuse_rows

SITE = "0123456789abcdef"

TABLES = metadata.tables.keys() - {"leases"}  # which a node has, not a site

Rows = dict[str, list[dict[str, Any]]]


def nothing(_what: str, _number: int, _total: int | None) -> None:
    """Whom nothing is shown."""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Store]:
    """A site's database in a file."""
    with Store(f"sqlite:///{tmp_path}/watcher.db") as store:
        store.database.migrate()
        yield store


@pytest.fixture
def server(postgresql: Server, migrated: str, tmp_path: Path) -> Iterator[Store]:
    """A database on a server with nothing in it."""
    name = postgresql.database(migrated)
    with Store(postgresql.url(name), tmp_path / "watcher.node") as store:
        store.database.belong_to(SITE)
        yield store
    postgresql.drop(name)


def _value(column: Column[Any], number: int, chance: random.Random) -> Any:
    """Any value that the column may have; in a key, another for each number."""
    of_any_size = {"serial": 3 * number, "seen": 3 * number, "reached": 3 * number, "number": 2 * number}
    if column.primary_key and isinstance(column.type, BigInteger | Integer) and column.name in of_any_size:
        return of_any_size[column.name]
    match column.type:
        case Boolean():
            return chance.random() < 0.5
        case LargeBinary():
            return b"%d" % number + chance.randbytes(9)
        case BigInteger():
            return of_any_size.get(column.name) or chance.choice([0, 1 << 62, -(1 << 63), chance.getrandbits(40)])
        case Integer():
            return number if column.primary_key else chance.choice([0, (1 << 31) - 1, -1])
        case Float():
            return number + chance.choice([0.1, 1e-300, 1764183600.123456])
        case String() | Text():
            longest = column.type.length or 99
            return (f"{number:x}" + chance.choice(["", "é", "\u00fc\U0001f600 \\ ' \"", "\x01\n"]))[:longest]
    raise AssertionError(column)


def fill(connection: Connection, number: int) -> None:
    """Each table has so many rows, and every column any values, none too, where it may have none."""
    chance = random.Random(number)
    for table in map(metadata.tables.__getitem__, sorted(TABLES)):
        rows = []
        for one in range(1, number + 1):
            columns = [column for column in table.c if column.info != OF_SCOPE]
            values = {column.name: _value(column, one, chance) for column in columns}
            for column in columns:
                if column.nullable and chance.random() < 0.2:
                    values[column.name] = None
            rows.append(values)
        connection.execute(delete(table))
        connection.execute(insert(table), rows)


def rows_of(database: Database) -> Rows:
    """All that it has of this site, but whose the rows are."""
    with database.reading() as connection:
        return {
            table.name: sorted((row._asdict() for row in connection.execute(_content(table))), key=repr)
            for table in map(metadata.tables.__getitem__, sorted(TABLES))
        }


def _content(table: Table) -> Select[Any]:
    return select(*(column for column in table.c if column.info != OF_SCOPE))


@pytest.mark.parametrize("to_server", [True, False], ids=["to a server", "to a file"])
def test_every_row_of_every_table_arrives_as_it_was(file: Store, server: Store, to_server: bool) -> None:
    """Numbers of 64 bits, any bytes, any text, none at all: read back, each is what it was; the source is too."""
    source, target = (file, server) if to_server else (server, file)
    with source.database.writing() as connection:
        fill(connection, 1_234)
    before = rows_of(source.database)
    copied = copy_site(source.database, target.database, nothing)
    assert {one.table: one.rows for one in copied} == dict.fromkeys(TABLES, 1_234)
    assert rows_of(target.database) == before == rows_of(source.database)


@pytest.mark.parametrize("to_server", [True, False], ids=["to a server", "to a file"])
def test_a_site_that_a_node_works_on_is_not_copied(file: Store, server: Store, to_server: bool) -> None:
    """On whatever machine that node is: what it writes meanwhile would be lost, or written twice."""
    with server.writing() as books:
        books.leases.take(SITE, Node("elsewhere", "far", "boot", "1"), 3_600)
    source, target = (file, server) if to_server else (server, file)
    before = rows_of(target.database)
    with pytest.raises(LeaseHeld, match="elsewhere"):
        copy_site(source.database, target.database, nothing)
    assert rows_of(target.database) == before


@pytest.fixture
def joined(postgresql: Server, migrated: str, tmp_path: Path) -> Iterator[Callable[[int], Store]]:
    """Each site of an account, with two recordings of its own, copied from its file into one database on a server.

    All sites have "shared" as their second recording's identifier: it was the same content.
    """
    name = postgresql.database(migrated)
    with ExitStack() as stack:

        def join(number: int) -> Store:
            file = stack.enter_context(Store(f"sqlite:///{tmp_path}/{number}.db"))
            file.database.migrate()
            with file.writing() as books:
                for one, identifier in ((10 * number, f"own {number}"), (10 * number + 1, "shared")):
                    books.items.add(item(one, state=State.DONE, identifier=identifier), f"site {number}")
                    is_known = number == 2
                    state = VerdictState.KNOWN if is_known else VerdictState.AWAITED
                    classification = "artificial" if is_known else None
                    books.verdicts.add(
                        verdict(identifier, state=state, classification=classification, since=number)
                    )
                books.tombstones.add_key(bytes([number]))
                books.site.put("number", number)
                for kind in (PauseKind.PERSON, PauseKind.ACCOUNT):
                    books.pauses.set(Pause(kind, "code", f"site {number}", 1.0, None))
                books.wishes.ask(
                    Wish(Deed.RETRY, Sought(), 2, seen=2, asked_at=1.0, by="anna", reached=Place(1.0, 2))
                )
            store = Store(postgresql.url(name), tmp_path / f"{number}.node", account="https://service ours")
            stack.enter_context(store)
            store.database.belong_to(f"site {number}")
            refuse_rows(store.database)
            copy_site(file.database, store.database, nothing)
            return store

        yield join
    postgresql.drop(name)


def test_a_second_site_joins_the_first_and_its_rows_keep_their_order(joined: Callable[[int], Store]) -> None:
    """Its numbers are others, since those are taken; what refers to a number refers to the same row as before."""
    for number in (1, 2, 3):
        with joined(number).reading() as books:
            listed = list(books.items.listed())
            assert [one.id for one in listed] == [item(10 * number).id, item(10 * number + 1).id]
            assert {one.site for one in listed} == {f"site {number}"}
            assert [len(books.items.history(one.id)) for one in listed] == [1, 1]
            assert books.site.get("number") == number
            wish = books.wishes.next()
            assert wish is not None
            assert wish.reached.serial == books.page.serial_of(listed[1].id)
            assert wish.seen == books.items.last_change()


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_what_the_account_has_already_is_left_and_what_it_lacks_is_added(
    first: int, second: int, joined: Callable[[int], Store]
) -> None:
    """One verdict on one identifier, the known one; one pause of the account; the keys to all tombstones."""
    stores = {number: joined(number) for number in (first, second)}
    for number, store in stores.items():
        with store.reading() as books:
            known = books.verdicts.get("shared")
            assert known is not None
            assert (known.state, known.classification) == (VerdictState.KNOWN, "artificial")
            pauses = {pause.kind: pause.reason for pause in books.pauses.active()}
            assert pauses == {PauseKind.PERSON: f"site {number}", PauseKind.ACCOUNT: f"site {first}"}
            assert books.tombstones.known_keys() == (bytes([first]), bytes([second]))
    with stores[second].reading() as books:
        found = books.sought.page(Sought(verdicts=frozenset({"artificial"})), LAST, 9, newest_first=True)
        assert item(10 * second + 1).id in {row.id for row in found}
