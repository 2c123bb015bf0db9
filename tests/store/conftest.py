"""What the store's tests share: they are one suite, run on each kind of database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import Server, postgresql  # noqa: F401 — a fixture
from watcher.store import Store
from watcher.store.schema import metadata

_MIGRATED = "migrated"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An SQLite file, for what is SQLite's own."""
    return f"sqlite:///{tmp_path}/watcher.db"


@pytest.fixture(scope="session")
def migrated(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> str:  # noqa: F811
    """The name of a PostgreSQL database of this version with nothing in it: a template, which nobody writes to."""
    postgresql.execute(f"CREATE DATABASE {_MIGRATED} OWNER watcher TEMPLATE template0")
    with Store(postgresql.url(_MIGRATED), tmp_path_factory.mktemp("node") / "watcher.node") as store:
        store.database.migrate()
    return _MIGRATED


@pytest.fixture(scope="session")
def emptied(postgresql: Server, migrated: str) -> str:  # noqa: F811
    """The name of a PostgreSQL database that the tests of a store use, one after the other."""
    return postgresql.database(migrated)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run on each kind of database what is not SQLite's own."""
    if "store" in metafunc.fixturenames:
        is_of_a_file = any(mark.name == "sqlite" for mark in metafunc.definition.iter_markers())
        metafunc.parametrize("store", ["sqlite"] if is_of_a_file else ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of this version with nothing in it."""
    if request.param == "sqlite":
        with Store(f"sqlite:///{tmp_path}/watcher.db") as store:
            store.database.migrate()
            yield store
        return
    server: Server = request.getfixturevalue("postgresql")
    name = request.getfixturevalue("emptied")
    tables = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
    server.execute(f"TRUNCATE {tables} RESTART IDENTITY", name)  # a tenth of the time of another database
    with Store(server.url(name), tmp_path / "watcher.node") as store:
        yield store
