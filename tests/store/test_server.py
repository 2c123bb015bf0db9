"""What only a database on a server has: several machines write to it, and it can be away."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from tests.postgresql import Server, running_server
from tests.store.processes import kill, start
from tests.store.recordings import address_of, count_up, item, stop_while_writing
from watcher.clock import SystemClock
from watcher.errors import StoreError, StoreUnavailable
from watcher.store import Store, revisions
from watcher.store.schema import metadata

NEWEST = revisions.known()[-1]
_LOCAL = Path("watcher.node")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what stands for the database on this machine may lie."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def empty(postgresql: Server) -> Iterator[str]:
    """The address of a database without tables."""
    name = postgresql.database()
    yield postgresql.url(name)
    postgresql.drop(name)


@pytest.fixture
def name(postgresql: Server, migrated: str) -> Iterator[str]:
    """The name of a database of this version with nothing in it."""
    name = postgresql.database(migrated)
    yield name
    postgresql.drop(name)


@pytest.mark.parametrize("version", revisions.known())
def test_from_every_version_the_revisions_lead_to_the_tables_of_the_program(empty: str, version: str) -> None:
    """An upgraded database and the schema in the code are the same: tables, columns, indexes."""
    with Store(empty, _LOCAL) as store:
        assert store.database.version() is None
        with store.database.writing() as connection:
            config = Config()
            config.set_main_option("script_location", str(revisions.folder()))
            config.attributes["connection"] = connection
            command.upgrade(config, version)
        assert store.database.migrate() == (version, NEWEST)
        with store.database.reading() as connection:
            compared = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(compared, metadata) == []


def test_several_nodes_that_start_at_once_on_an_empty_database_make_it_once(empty: str) -> None:
    """One makes the tables; the others wait for it and find them made."""

    def migrate(_: int) -> tuple[str | None, str | None]:
        with Store(empty, _LOCAL) as store:
            return store.database.migrate()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(migrate, range(4)))
    assert sorted(found, key=str) == [(NEWEST, NEWEST)] * 3 + [(None, NEWEST)]


def test_an_upgrade_that_fails_half_way_leaves_the_tables_as_they_were(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All revisions are one transaction."""

    def fail(*_: object) -> None:
        raise RuntimeError

    with Store(empty, _LOCAL) as store:
        with monkeypatch.context() as broken:
            broken.setattr(revisions, "apply", fail)
            with pytest.raises(RuntimeError):
                store.database.migrate()
        assert not store.database.exists()
        assert store.database.migrate() == (None, NEWEST)


def test_an_upgrade_may_stand_still_for_longer(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may read its modules from the disk for seconds, and nothing is to be done but this."""
    found: list[str] = []
    apply = revisions.apply

    def look_and_apply(connection: Connection, *rest: Any) -> None:
        found.append(connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one())
        apply(connection, *rest)

    monkeypatch.setattr(revisions, "apply", look_and_apply)
    with Store(empty, _LOCAL) as store:
        assert store.database.migrate() == (None, NEWEST)
    assert found == ["1min"]


def test_before_a_first_start_it_reads_as_empty(empty: str) -> None:
    """A command that only reads makes no tables."""
    with Store(empty, _LOCAL) as store:
        with store.reading() as books:
            assert books.items.get(item(1).id) is None
        assert not store.database.exists()


def test_a_node_that_stands_still_in_a_transaction_loses_it(postgresql: Server, name: str) -> None:
    """The server ends it after a while, five seconds: the others go on, and nothing of it was written."""
    with Store(postgresql.url(name), _LOCAL) as store:
        with store.database.writing() as connection:
            patience = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()
        assert patience == "5s"
        process, pipe = start(stop_while_writing, *address_of(store))
        assert pipe.recv() == "inside"
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        assert count_up(store) == 1
        kill(process)


def test_a_server_that_is_away_is_worth_another_try_and_is_used_again_when_it_is_back(tmp_path: Path) -> None:
    """Killed in mid-work: what was committed is there, each transaction of that time says that it may pass."""
    with running_server() as server, Store(server.url(server.database()), tmp_path / "watcher.node") as store:
        store.database.migrate()
        assert count_up(store) == 1
        with pytest.raises(StoreUnavailable), store.writing() as books:  # noqa: PT012 — it dies in between
            books.site.put("count", 7)
            server.stop()
        with pytest.raises(StoreUnavailable, match="cannot be reached") as raised:
            count_up(store)
        assert "pg_isready" in raised.value.hint
        server.start()
        assert count_up(store) == 2


def test_connections_that_were_cut_are_made_anew(postgresql: Server, name: str) -> None:
    """Who restarted a pooler, or ended our sessions, is not seen in anything but a moment's delay."""
    with Store(postgresql.url(name), _LOCAL) as store:
        count_up(store)
        with store.reading() as books:
            books.site.get("count")
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        postgresql.execute(cut)
        assert count_up(store) == 2
        with store.reading() as books:
            assert books.site.get("count") == 2


def test_a_server_that_only_reads_takes_nothing(postgresql: Server, name: str) -> None:
    """A standby, or one on which an administrator forbade writing: that may pass, and it is said."""
    with Store(postgresql.url(name), _LOCAL) as store:
        count_up(store)
        postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        with pytest.raises(StoreUnavailable, match=r"standby|cannot be reached"):
            count_up(store)


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("postgresql+psycopg://watcher@/nowhere?host={folder}", "createdb"),
        ("postgresql+psycopg://watcher:secret@127.0.0.1:1/site", "pg_isready"),
    ],
)
def test_what_is_wrong_with_the_address_is_said_without_the_password(
    postgresql: Server, address: str, hint: str
) -> None:
    with Store(address.format(folder=postgresql.folder), _LOCAL) as store, pytest.raises(StoreError) as raised:
        store.database.migrate()
    assert hint in raised.value.hint
    assert "secret" not in str(raised.value)


def test_a_commit_is_kept_whatever_the_server_s_default(postgresql: Server, name: str) -> None:
    """synchronous_commit off would lose what was paid for; other settings of an administrator's stand."""
    for default, used in (("off", "on"), ("local", "local")):
        postgresql.execute(f"ALTER DATABASE {name} SET synchronous_commit = {default}")
        with Store(postgresql.url(name), _LOCAL) as store, store.database.writing() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == used


def test_who_waits_for_the_writer_sees_what_it_wrote(postgresql: Server, name: str) -> None:
    """The lock comes before the first look: nothing that was read is old."""
    url = postgresql.url(name)
    inside, waited = threading.Event(), threading.Event()
    with Store(url, _LOCAL) as first, Store(url, _LOCAL) as second:

        def write_slowly() -> None:
            with first.writing() as books:
                books.site.put("count", 1)
                inside.set()
                SystemClock().wait(0.5, waited)

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write_slowly)
            assert inside.wait(30)
            assert count_up(second) == 2
            writing.result()
