"""The journey on each kind of database: what is marked `server` runs on a PostgreSQL server, too."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.places import Place, sandbox
from tests.postgresql import Server, postgresql  # noqa: F401 — a fixture
from watcher.sandbox import Sandbox
from watcher.store import Store


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked on each kind of database, but for what is SQLite's own."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "server" in marks and "sqlite" not in marks:
        metafunc.parametrize("kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def migrated(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> str:  # noqa: F811
    """The name of a PostgreSQL database of this version with nothing in it: a template."""
    name = postgresql.database()
    with Store(postgresql.url(name), tmp_path_factory.mktemp("node") / "watcher.node") as store:
        store.database.migrate()
    return name


@pytest.fixture(autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """All places of the test have their databases in files, or are sites of one database on a server."""
    kind = getattr(request, "param", "sqlite")
    if kind == "sqlite":
        yield kind
        return
    server: Server = request.getfixturevalue("postgresql")
    name = server.database(request.getfixturevalue("migrated"))
    # The windows are on the server's clock, which is real; the tests' is not.
    no_limits: dict[str, Any] = {"writes": [], "reads": []}
    monkeypatch.setattr(Place, "usual", {"store": {"url": server.url(name)}, "limits": no_limits})
    yield kind
    server.drop(name)


@pytest.fixture
def service(kind: str, clock: FalseClock) -> Iterator[Sandbox]:
    """The sandbox on the false clock, at the service's own limits; beside a server without any."""
    limits: dict[str, Any] = {} if kind == "sqlite" else {"writes": (), "reads": ()}
    with sandbox(clock, **limits) as running:
        yield running
