"""A site whose database is on a PostgreSQL server: the same program with the same promises."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.places import REFUSED, Place, speech
from tests.postgresql import Server, postgresql  # noqa: F401 — a fixture
from tests.process.conftest import MakePlace
from tests.process.programs import Programs, let_pass, posts, wait_until
from watcher.domain import FILED, PauseKind, State
from watcher.errors import Exit
from watcher.sandbox import FaultKind, Sandbox

SiteAt = Callable[..., Place]


@pytest.fixture
def database(postgresql: Server) -> Iterator[str]:  # noqa: F811
    """The name of a database without tables."""
    name = postgresql.database()
    yield name
    postgresql.drop(name)


@pytest.fixture
def site_at(make_place: MakePlace, postgresql: Server, database: str, tmp_path: Path) -> SiteAt:  # noqa: F811
    """Sites in one database, each in a folder of its own."""

    def make(folder: str = "site", **settings: dict[str, object]) -> Place:
        store = {"url": postgresql.url(database), **settings.pop("store", {})}
        return make_place(tmp_path / folder, store=store, **settings)

    return make


def own_site(place: Place) -> str:
    """The site that the node's file names."""
    return str(json.loads((place.root / "watcher.node").read_text())["site"])


def marked(place: Place) -> str:
    """The site that the drop folder is marked for."""
    return str(json.loads((place.root / "drop/.watcher").read_text())["site"])


def test_before_the_first_start_it_can_be_looked_at_and_paused(site_at: SiteAt, watcher: Programs) -> None:
    """check says what a start will do; who pauses makes the tables and the site, which the start then is."""
    place = site_at()
    checked = watcher.call("check", "--config", place.config_path)
    assert checked.process.returncode == Exit.WELL, checked.out
    assert "answers; the first start makes its tables" in checked.out
    assert watcher.ask_json(place, "list") == []
    assert "not running" in watcher.ask(place, "status")
    assert not (place.root / "watcher.node").exists(), "who only looks leaves nothing"
    watcher.ask(place, "pause", "--reason", "not yet")
    site = own_site(place)
    place.drop("one.wav")
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == Exit.UNAVAILABLE
    assert (own_site(place), marked(place)) == (site, site)
    watcher.ask(place, "resume")
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == Exit.WELL
    checked = watcher.call("check", "--config", place.config_path)
    assert checked.process.returncode == Exit.WELL, checked.out
    assert "has this version and can be written" in checked.out
    assert "already has this version" in watcher.ask(place, "migrate")


def test_a_site_on_a_server_does_all_that_one_in_a_file_does(
    site_at: SiteAt, service: Sandbox, watcher: Programs
) -> None:
    """Sent, filed, judged, told; a duplicate is not paid for; what a person decides is carried out."""
    place = site_at(retention={"recordings_days": 30})
    service.add_fault(**REFUSED, sha256=_digest("refused"), times=1)
    daemon = watcher.daemon(place)
    for name in ("one", "folder/two", "refused", "gone"):
        place.drop(f"{name}.wav", speech(name))
    daemon.wait_for("recording.done", 3)
    place.drop("again.wav", speech("one"))
    daemon.wait_for("recording.done", 4)
    daemon.wait_for("recording.failed")
    daemon.wait_for("verdict.known", 3)
    assert Counter(entry.sha256 for entry in posts(service) if entry.charged).total() == 3
    assert place.receipt("done/again.wav.json")["identifier"] == place.receipt("done/one.wav.json")["identifier"]
    wait_until(lambda: place.receipt("done/one.wav.json")["verdict"]["classification"], "the receipt has it")

    watcher.ask(place, "retry", "refused.wav")
    daemon.wait_for("recording.done", 5)
    watcher.ask(place, "pause")
    place.drop("later.wav")
    daemon.wait_for("recording.queued", 6)
    assert place.pauses()[0].kind is PauseKind.PERSON
    assert "paused" in watcher.ask(place, "why", "later.wav")
    watcher.ask(place, "resume")
    daemon.wait_for("recording.done", 6)
    watcher.ask(place, "erase", "gone.wav")
    wait_until(lambda: not (place.root / "done/gone.wav").exists(), "it is erased")
    daemon.wait_for("recording.erased")

    (status,) = watcher.ask_json(place, "status")
    assert status["states"]["done"] == 5
    listed = {item["path"]: item for item in watcher.ask_json(place, "list")}
    assert set(listed) == {"one.wav", "folder/two.wav", "refused.wav", "again.wav", "later.wav"}
    assert {item["site"] for item in listed.values()} == {own_site(place)} == {marked(place)}
    (shown,) = watcher.ask_json(place, "show", "refused.wav")
    assert shown["attempts"] == 2
    refreshed = watcher.call("verdicts", "--refresh", "--config", place.config_path)
    assert refreshed.process.returncode == Exit.WELL, refreshed.err
    assert "4 asked for again" in refreshed.err
    for command, *more in (
        ("report", "--format", "json"),
        ("report", "--format", "csv"),
        ("spend",),
        ("spend", "--by", "folder"),
        ("where", "one.wav"),
        ("prune", "--dry-run"),
        ("estimate", place.root / "done"),
        ("review", "one.wav", "--human"),
        ("list", "--name", "WAV", "--sort", "size"),
    ):
        assert watcher.ask(place, command, *map(str, more))
    reconciled = watcher.call("reconcile", "--hashes", "--config", place.config_path)
    assert reconciled.process.returncode == Exit.WELL, reconciled.out
    assert daemon.stop() == Exit.WELL
    assert [line for line in daemon.log if line["level"] == "error"] == []


def _digest(name: str) -> str:
    return sha256(speech(name)).hexdigest()


def test_killed_at_any_moment_it_pays_for_nothing_twice(
    site_at: SiteAt, service: Sandbox, watcher: Programs
) -> None:
    """Killed again and again, in mid-upload for one: in doubt is what was on the wire, as the settings have it."""
    place = site_at(identifai={"in_doubt": "hold"})
    names = [f"{n}.wav" for n in range(6)]
    for name in names:
        place.drop(name)
    service.add_fault(FaultKind.SLOW_AFTER, times=1, seconds=600)
    daemon = watcher.start("run", "--config", place.config_path)
    wait_until(lambda: posts(service), "one is on the wire", told=lambda: daemon.err)
    daemon.kill()
    for seconds in (0.6, 1.2, 1.8):
        daemon = watcher.start("run", "--config", place.config_path)
        let_pass(seconds)
        daemon.kill()
    program = watcher.call("run", "--once", "--config", place.config_path)
    states = Counter(place.states().values())
    assert set(states) <= {State.DONE, State.HELD}, program.err
    assert states[State.HELD] >= 1
    charged = Counter(entry.sha256 for entry in posts(service))
    assert set(charged.values()) == {1}, "under hold nothing is sent twice unasked"
    watcher.ask(place, "release", "--all")
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == Exit.WELL
    assert set(place.states().values()) == {State.DONE}
    assert Counter(entry.sha256 for entry in posts(service) if entry.charged).total() == len(names)
    reconciled = watcher.call("reconcile", "--config", place.config_path)
    assert reconciled.process.returncode == Exit.WELL, reconciled.out


def test_two_sites_in_one_database_see_nothing_of_each_other(
    site_at: SiteAt, service: Sandbox, watcher: Programs
) -> None:
    """The same name dropped at both is two recordings, each filed where it came; a pause of one stops one."""
    one, other = site_at("one"), site_at("other")
    first = watcher.daemon(one)
    watcher.ask(other, "pause", "--reason", "holidays")
    for place in (one, other):
        place.drop("a.wav", speech(place.root.name))
    first.wait_for("recording.done")
    second = watcher.daemon(other)
    second.wait_for("recording.queued")
    assert {item["path"]: item["state"] for item in watcher.ask_json(one, "list")} == {"a.wav": "done"}
    assert {item["path"]: item["state"] for item in watcher.ask_json(other, "list")} == {"a.wav": "queued"}
    (status,), (their_status,) = watcher.ask_json(one, "status"), watcher.ask_json(other, "status")
    assert (status["states"]["done"], status["paused"]) == (1, None)
    assert (their_status["states"]["done"], their_status["states"]["queued"]) == (0, 1)
    assert their_status["paused"]["reason"] == "holidays"
    assert own_site(one) != own_site(other)
    watcher.ask(other, "resume")
    second.wait_for("recording.done")
    (mine,), (theirs,) = watcher.ask_json(one, "list"), watcher.ask_json(other, "list")
    refused = watcher.call("show", "--config", one.config_path, theirs["id"])
    assert refused.process.returncode == Exit.USAGE
    assert mine["identifier"] != theirs["identifier"]
    for place, daemon in ((one, first), (other, second)):
        assert (place.root / "done/a.wav").read_bytes() == speech(place.root.name)
        reconciled = watcher.call("reconcile", "--config", place.config_path)
        assert reconciled.process.returncode == Exit.WELL, reconciled.out
        assert daemon.stop() == Exit.WELL


def test_a_node_that_lost_its_file_finds_its_site_by_the_mark(site_at: SiteAt, watcher: Programs) -> None:
    """So does one that comes second. Who only looks writes no file."""
    place = site_at()
    place.drop("one.wav")
    watcher.call("run", "--once", "--config", place.config_path)
    site = own_site(place)
    (place.root / "watcher.node").unlink()
    assert [item["path"] for item in watcher.ask_json(place, "list")] == ["one.wav"]
    assert not (place.root / "watcher.node").exists()
    place.drop("two.wav")
    watcher.call("run", "--once", "--config", place.config_path)
    assert set(place.states()) == {"one.wav", "two.wav"}
    assert own_site(place) == site
    (place.root / "watcher.node").write_text('{"site": "0123456789abcdef"}')  # of a database that is no more
    place.drop("three.wav")
    watcher.call("run", "--once", "--config", place.config_path)
    assert set(place.states()) == {"one.wav", "two.wav", "three.wav"}
    assert own_site(place) == site == marked(place)


def test_a_site_whose_rows_are_lost_is_rebuilt_from_its_receipts(
    site_at: SiteAt,
    postgresql: Server,  # noqa: F811
    database: str,
    service: Sandbox,
    watcher: Programs,
) -> None:
    """Another site of the database is at work meanwhile. Nothing is paid for twice; no number is given twice."""
    place, other = site_at("one"), site_at("other")
    for n in range(4):
        place.drop(f"{n}.wav")
    place.drop("again.wav", speech("0.wav"))
    watcher.call("run", "--once", "--verdicts", "--config", place.config_path)
    paid = Counter(entry.sha256 for entry in posts(service) if entry.charged)
    before = watcher.ask_json(place, "list")
    postgresql.drop(database)
    postgresql.execute(f"CREATE DATABASE {database} OWNER watcher TEMPLATE template0")
    beside = watcher.daemon(other)
    for n in range(3):
        other.drop(f"theirs{n}.wav")
    beside.wait_for("recording.done", 3)

    refused = watcher.call("run", "--once", "--config", place.config_path)
    assert refused.process.returncode == Exit.UNAVAILABLE
    assert f"knows nothing of this site ({own_site(place)})" in refused.err
    assert "watcher recover" in refused.err
    trial = watcher.call("recover", "--dry-run", "--config", place.config_path)
    assert trial.process.returncode == Exit.CONFIG
    assert "on a server" in trial.err
    recovered = watcher.call("recover", "--config", place.config_path)
    assert recovered.process.returncode == Exit.WELL, recovered.err
    after = watcher.ask_json(place, "list")
    facts = ("path", "state", "identifier", "verdict")
    for item in before:
        (same,) = (one for one in after if one["id"] == item["id"])
        assert {name: same[name] for name in facts} == {name: item[name] for name in facts}

    for site in (place, other):
        for n in range(3):
            site.drop(f"later{n}.wav", speech(f"{site.root.name} {n}"))
    place.drop("once more.wav", speech("1.wav"))
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == Exit.WELL
    beside.wait_for("recording.done", 6)
    again = Counter(entry.sha256 for entry in posts(service) if entry.charged)
    assert {digest: again[digest] for digest in paid} == dict(paid)
    assert set(place.states().values()) | set(other.states().values()) <= FILED
    for site in (place, other):
        reconciled = watcher.call("reconcile", "--config", site.config_path)
        assert reconciled.process.returncode == Exit.WELL, reconciled.out
    assert beside.end(signal.SIGTERM) == Exit.WELL


def test_a_superuser_s_address_is_refused(site_at: SiteAt, postgresql: Server, watcher: Programs) -> None:  # noqa: F811
    """It would see the rows of all sites as its own: nothing is made, and the hint has the words to say."""
    url = postgresql.url("postgres").replace("watcher@", "postgres@")
    place = site_at(store={"url": url})
    for command in ("run", "check"):
        program = watcher.call(command, "--config", place.config_path)
        assert program.process.returncode in (Exit.CONFIG, Exit.INCOMPLETE), program.err
        assert "is a superuser" in program.out + program.err
        assert "CREATE ROLE watcher LOGIN" in program.out + program.err
    assert postgresql.execute("SELECT 1 FROM pg_tables WHERE tablename = 'items'") == []


def test_two_sites_beside_one_spool_are_told_to_part(site_at: SiteAt, watcher: Programs) -> None:
    """What stands for the database here names one site: the other is not taken for it, and nothing is marked."""
    one = site_at("one")
    other = site_at("other", audio={"spool": str(one.root / "spool")})
    watcher.call("run", "--once", "--config", one.config_path)
    program = watcher.call("run", "--once", "--config", other.config_path)
    assert program.process.returncode == Exit.CONFIG
    assert f"is not the drop folder of the site that {one.root}/watcher.node names" in program.err
    assert "an audio.spool, so a site, of its own" in program.err
    assert not (other.root / "drop/.watcher").exists()
    other = site_at("other")
    watcher.call("run", "--once", "--config", other.config_path)
    other = site_at("other", audio={"spool": str(one.root / "spool")})
    program = watcher.call("run", "--once", "--config", other.config_path)
    assert f"belongs to another site ({marked(other)})" in program.err
    assert f"{one.root}/watcher.node says that this node works on {own_site(one)}" in program.err


def test_under_another_name_of_its_account_a_site_keeps_what_is_known_of_its_recordings(
    site_at: SiteAt, service: Sandbox, watcher: Programs
) -> None:
    """The verdict that was there is shown as before, with what it rests on; one that was awaited is asked for."""
    place = site_at()
    daemon = watcher.daemon(place)
    place.drop("known.wav")
    wait_until(
        lambda: _shown(watcher, place, "known.wav")["state"] == "known", "its verdict", told=lambda: daemon.err
    )
    known = _shown(watcher, place, "known.wav")
    assert daemon.stop() == Exit.WELL
    daemon = watcher.daemon(site_at(verdicts={"fetch": False}))
    place.drop("awaited.wav")
    daemon.wait_for("recording.done")
    assert daemon.stop() == Exit.WELL
    renamed = site_at(identifai={"account": "renamed"})
    assert renamed.root == place.root
    daemon = watcher.daemon(renamed)
    assert _shown(watcher, renamed, "known.wav") == known
    wait_until(
        lambda: _shown(watcher, renamed, "awaited.wav")["state"] == "known", "the other", told=lambda: daemon.err
    )
    assert daemon.stop() == Exit.WELL
    assert service.charged == 2


def _shown(watcher: Programs, place: Place, path: str) -> dict[str, Any]:
    found = watcher.call("show", "--json", "--config", place.config_path, path)
    told = json.loads(found.out) if found.process.returncode == Exit.WELL else {}
    return told.get("verdict") or {"state": None}
