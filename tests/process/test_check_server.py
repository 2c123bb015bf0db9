"""What `check` finds on the database's server: settings, rights, clocks, connections, and whose site it is."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import Place
from tests.postgresql import Server, postgresql  # noqa: F401 — a fixture
from tests.process.checks import Checked, with_key
from tests.process.conftest import MakePlace
from watcher.clock import SystemClock
from watcher.errors import Exit
from watcher.store import Node

__all__ = ["with_key"]  # a fixture


@pytest.fixture
def database(postgresql: Server) -> Iterator[str]:  # noqa: F811
    name = postgresql.database()
    yield name
    postgresql.drop(name)


@pytest.fixture
def site(make_place: MakePlace, postgresql: Server, database: str) -> Place:  # noqa: F811
    """A site that was started once."""
    place = make_place(store={"url": postgresql.url(database)})
    with place.opened():
        pass
    return place


def test_all_is_well_on_a_server_as_it_should_be(
    postgresql: Server,  # noqa: F811
    database: str,
    site: Place,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each has a line. (The tests' own server does without fsync, and that is said.)"""
    checked = Checked(site, capsys)
    assert checked.code == Exit.WELL
    checked.but("server")
    checked.is_now("server", "warning", "PostgreSQL 1", "psycopg 3", "fsync is off", "postgresql.conf")
    checked.is_now("rights", "well", "watcher is an ordinary user, owns the tables")
    checked.is_now("connections", "well", "all sites (1) and some commands need 10")
    checked.is_now("server clock", "well", "as this machine's")
    checked.is_now("site", "well", json.loads((site.root / "watcher.node").read_text())["site"])
    checked.is_now("lease", "well", "no node works on it now")

    postgresql.execute(f"ALTER DATABASE {database} SET synchronous_commit = local")
    Checked(site, capsys).is_now("server", "warning", "fsync is off")


def test_in_a_file_nothing_is_said_of_a_server(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"server", "lease", "site", "rights"}.isdisjoint(Checked(place, capsys).checks)


def test_tables_of_somebody_else_and_no_right_to_make_them(
    postgresql: Server,  # noqa: F811
    database: str,
    site: Place,
    make_place: MakePlace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without tables yet the right to make them is missing now; with them, at the next upgrade."""
    fresh = postgresql.database()
    postgresql.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", fresh)
    postgresql.execute("ALTER SCHEMA public OWNER TO postgres", fresh)
    checked = Checked(make_place(tmp_path / "fresh", store={"url": postgresql.url(fresh)}), capsys)
    checked.is_now("rights", "wrong", "may create no tables in the schema public", "GRANT CREATE ON SCHEMA public")
    postgresql.drop(fresh)

    postgresql.execute("ALTER SCHEMA public OWNER TO postgres", database)
    Checked(site, capsys).is_now("rights", "warning", "the next upgrade will fail", "TO watcher")
    postgresql.execute("ALTER TABLE parts OWNER TO postgres", database)
    postgresql.execute("GRANT ALL ON parts TO watcher", database)
    Checked(site, capsys).is_now(
        "rights", "wrong", "somebody else owns parts", "ALTER TABLE parts OWNER TO watcher"
    )


def test_too_few_connections_for_all_sites(
    postgresql: Server,  # noqa: F811
    database: str,
    site: Place,
    capsys: pytest.CaptureFixture[str],
) -> None:
    postgresql.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 7")
    Checked(site, capsys).is_now("connections", "warning", "of 7 in use", "max_connections")


@pytest.mark.parametrize(("ahead", "state"), [(5, "warning"), (-5, "warning"), (300, "wrong")])
def test_clocks_that_differ(
    site: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ahead: float, state: str
) -> None:
    """More than a second is worth a warning; longer than the longest rate window is wrong."""
    honest = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda clock: honest(clock) + ahead)
    way = "ahead of the server's" if ahead > 0 else "behind the server's"
    Checked(site, capsys).is_now("server clock", state, way, "set-ntp true")


def test_a_node_that_was_given_the_folder_of_another_site(site: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The node's file and the mark in the drop folder are compared; what to do is said for either case."""
    (site.root / "watcher.node").write_text('{"site": "0123456789abcdef"}')
    Checked(site, capsys).is_now("site", "wrong", "site 0123456789abcdef, but", "folders.drop", "watcher.node")


def test_who_has_the_lease(site: Place, capsys: pytest.CaptureFixture[str]) -> None:
    own = json.loads((site.root / "watcher.node").read_text())["site"]
    node = Node("hamburg", "elsewhere", "boot", "1", pid=77)
    with site.books() as books:
        books.leases.take(own, node, 600)
    Checked(site, capsys).is_now("lease", "well", "hamburg (process 77 on elsewhere", "s more")
