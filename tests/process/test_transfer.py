"""`watcher migrate --from`: a site's books move into another database, and the site goes on with them there."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.places import Place, speech
from tests.postgresql import Server, postgresql  # noqa: F401 — a fixture
from tests.process.conftest import MakePlace
from tests.process.programs import CLOCK, Program, Programs, mend, posts, spoil, wait_until
from watcher.domain import Pause, PauseKind
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.store import Store

FILE = "sqlite:///watcher.db"


@pytest.fixture
def server_url(postgresql: Server) -> Iterator[str]:  # noqa: F811
    """The address of an empty database on a server."""
    name = postgresql.database()
    yield postgresql.url(name)
    postgresql.drop(name)


@pytest.fixture
def books(place: Place) -> Iterator[Path]:
    """A site's database in a file, after a day's work; it is the same, to the byte, after the test."""
    for name in ("one.wav", "a/two.wav", "notes.wav"):
        place.drop(name, b"Call back on Monday.\n" if name == "notes.wav" else None)
    place.run_once(verdicts=True)
    with place.books() as books:
        books.pauses.set(Pause(PauseKind.PERSON, "person", "we move", CLOCK.now(), None, by="anna"))
    place.drop("three.wav")
    place.run_once()
    path = place.root / "watcher.db"
    before = path.read_bytes()
    yield path
    assert path.read_bytes() == before


def once(watcher: Programs, place: Place, expected: Exit = Exit.WELL) -> Program:
    program = watcher.call("run", "--once", "--verdicts", "--config", place.config_path)
    assert program.process.returncode == expected, program.err
    return program


def move(watcher: Programs, place: Place, source: str = FILE, expected: Exit = Exit.WELL) -> Program:
    program = watcher.call("migrate", "--from", source, "--config", place.config_path)
    assert program.process.returncode == expected, program.err
    return program


def told(watcher: Programs, place: Place) -> list[Any]:
    """All that the books tell of the site, but for its name: a file's only one has none."""
    listed = [{**item, "site": ""} for item in watcher.ask_json(place, "list")]
    shown = [{**watcher.ask_json(place, "show", str(item["id"]))[0], "site": ""} for item in listed]
    status = watcher.ask_json(place, "status")[0]
    return [listed, shown, *(status[name] for name in ("states", "pauses", "spend", "last_scan_at"))]


@pytest.mark.parametrize("back", [False, True], ids=["to a server", "and back"])
def test_a_site_goes_on_with_another_database_as_if_it_had_always_had_it(
    books: Path,
    back: bool,
    server_url: str,
    make_place: MakePlace,
    place: Place,
    watcher: Programs,
    service: Sandbox,
) -> None:
    """Recordings, histories, pauses and sums are the same there; nothing is paid for again, what waits is sent."""
    before, charged = told(watcher, place), service.charged
    moved = make_place(store={"url": server_url})
    said = move(watcher, moved).out
    assert f"{'items':<12} {4:>11,} copied" in said
    if back:
        moved = make_place(store={"url": "sqlite:///again.db"})
        move(watcher, moved, server_url)
    assert told(watcher, moved) == before
    watcher.ask(moved, "resume")
    moved.drop("again.wav", speech("one.wav"))
    once(watcher, moved)
    states = watcher.ask_json(moved, "status")[0]["states"]
    assert (states["done"], states["failed"], states["queued"]) == (4, 1, 0)
    assert service.charged == charged + 1
    watcher.ask(moved, "reconcile")


def test_it_is_told_what_was_copied_and_a_second_time_is_refused(
    books: Path, server_url: str, make_place: MakePlace, watcher: Programs
) -> None:
    """Where the site is already, its rows would be there twice: what is there is named, nothing is changed."""
    moved = make_place(store={"url": server_url})
    lines = move(watcher, moved).out.splitlines()
    assert len([line for line in lines if line.endswith(" copied")]) > 15
    assert str(books) in lines[-2]
    before = told(watcher, moved)
    refused = move(watcher, moved, expected=Exit.CONFIG)
    assert "4 items" in refused.err
    assert told(watcher, moved) == before


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("watcher.db", "sqlite:///"),
        ("mysql://somebody:secret@localhost/watcher", "sqlite:///"),
        ("postgresql://somebody:secret@localhost/watcher", "postgresql+psycopg://"),
        ("sqlite:///elsewhere.db", "elsewhere.db"),
        ("sqlite:////nowhere/watcher.db", "/nowhere/watcher.db"),
        ("sqlite:///again.db", "store.url names"),
        ("sqlite:///drop/three.wav", "three.wav"),
        ("sqlite:///empty.db", "empty.db"),
    ],
)
def test_what_is_no_database_of_the_site_is_said(
    source: str, words: str, books: Path, make_place: MakePlace, watcher: Programs
) -> None:
    """In words, with what is expected, and without a password; no database is made."""
    moved = make_place(store={"url": "sqlite:///again.db"})
    (moved.root / "empty.db").touch()
    program = watcher.call("migrate", "--from", source, "--config", moved.config_path)
    assert program.process.returncode in (Exit.USAGE, Exit.CONFIG)
    assert words in program.err
    assert "secret" not in program.err
    assert "Traceback" not in program.err
    assert not (moved.root / "again.db").exists()


def test_a_source_that_a_daemon_works_with_is_refused(
    place: Place, make_place: MakePlace, watcher: Programs
) -> None:
    """What it would write meanwhile would be lost: 75, and the daemon is named."""
    daemon = watcher.daemon(place)
    moved = make_place(store={"url": "sqlite:///again.db"})
    refused = move(watcher, moved, expected=Exit.RUNNING)
    assert str(daemon.pid) in refused.err
    assert not (moved.root / "again.db").exists()


def test_a_copy_that_is_killed_leaves_nothing_and_the_next_one_copies_all(
    books: Path,
    postgresql: Server,  # noqa: F811
    server_url: str,
    make_place: MakePlace,
    place: Place,
    watcher: Programs,
) -> None:
    """All is one transaction: until its end nobody sees a row of it."""
    before = told(watcher, place)
    moved = make_place(store={"url": server_url})
    with Store(server_url, moved.root / "watcher.node") as store:
        store.database.migrate()  # the tables, and no row
    name = server_url.partition("@/")[2].partition("?")[0]
    identifier = before[0][0]["identifier"]
    account = moved.config.identifai.payer
    with psycopg.connect(host=str(postgresql.folder), user="postgres", dbname=name) as other:
        other.execute(  # uncommitted: the same verdict is waited for
            "INSERT INTO verdicts (identifier, state, since, due_at, site, account) "
            "VALUES (%s, 'awaited', 1, 1, 'another', %s)",
            (identifier, account),
        )
        copying = watcher.start("migrate", "--from", FILE, "--config", moved.config_path)
        waits = (
            f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock' AND "
            "query LIKE 'INSERT INTO verdicts%'"
        )
        wait_until(lambda: postgresql.execute(waits), told=lambda: copying.err)
        copying.end(signal.SIGKILL)
        other.rollback()
    count = "SELECT count(*) FROM {}"
    assert [postgresql.execute(count.format(table), name)[0][0] for table in ("items", "verdicts", "site")] == [
        0
    ] * 3
    move(watcher, moved)
    after = told(watcher, moved)
    del before[1], after[1]  # the requests have other numbers: those of the first try are gone
    assert after == before


def test_what_an_older_version_left_is_copied_upgraded_and_left_as_it_was(
    old: Place, make_place: MakePlace, server_url: str, watcher: Programs
) -> None:
    """store.url names the new database by now, so nobody can upgrade the old one first: a copy of it is."""
    file = old.root / "watcher.db"
    with Store(old.config.store.url) as store, store.database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO site (name, value) VALUES ('id', '\"0123456789abcdef\"')")
    before = file.read_bytes()
    moved = make_place(store={"url": server_url})
    move(watcher, moved)
    assert file.read_bytes() == before
    assert not list(old.root.glob("*.bak"))
    assert watcher.ask_json(moved, "list") == []
    with Store(server_url, moved.config.books) as store, store.reading() as books:
        assert books.site.get("id") == "0123456789abcdef"


def test_an_answer_that_no_database_had_taken_comes_along(
    make_place: MakePlace, server_url: str, service: Sandbox, watcher: Programs
) -> None:
    """An identifier that lies beside the old database is money: the recording is done with it, not sent again."""
    place = make_place(identifai={"in_doubt": "hold"})
    daemon = watcher.daemon(place)
    daemon.wait_for("watch.chosen")
    spoil(place, "UPDATE OF ended_at ON attempts")
    place.drop("call.wav")
    daemon.wait_for("answer.unrecorded")
    daemon.kill()
    mend(place)
    moved = make_place(store={"url": server_url}, identifai={"in_doubt": "hold"})
    move(watcher, moved)
    once(watcher, moved)
    (upload,) = posts(service)
    assert [item["identifier"] for item in watcher.ask_json(moved, "list")] == [upload.identifier]
