"""The server of the database is away, comes back, cuts connections or only reads: nothing is lost or paid twice.

Nothing is paid for while that could not be written down, and an answer that is in hand is written once the server
is back. The log has a line when it begins and one when it ends, however many steps meet it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lost_commits import losing
from tests.places import Place
from tests.postgresql import Server, running_pooler, running_server
from tests.process.conftest import MakePlace
from tests.process.programs import Program, Programs, let_pass, posts, wait_until
from watcher.errors import Exit
from watcher.sandbox import FaultKind, Sandbox


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this file's own, to be stopped and started."""
    with running_server() as server:
        yield server


@pytest.fixture
def name(server: Server) -> Iterator[str]:
    """The name of an empty database."""
    name = server.database()
    yield name
    server.drop(name)


@pytest.fixture
def site(make_place: MakePlace, server: Server, name: str) -> Place:
    """A site on the server, where an answer that was lost would be a person's to decide."""
    return make_place(store={"url": server.url(name)}, identifai={"in_doubt": "hold"})


def all_done(watcher: Programs, place: Place, daemon: Program, service: Sandbox, number: int) -> None:
    """So many recordings are done, each sent to its end once, and the daemon ends well."""
    wait_until(lambda: len(daemon.events("recording.done")) == number, f"{number} done", told=lambda: daemon.err)
    assert daemon.stop() == Exit.WELL, daemon.err
    assert len([post for post in posts(service) if post.is_whole]) == service.charged == number
    watcher.ask(place, "reconcile")


def told(daemon: Program) -> list[str]:
    """What the log tells of the database, and of steps that failed."""
    names = ("database.away", "database.back", "step.failed", "maintenance.failed")
    return [str(line["event"]) for line in daemon.log if line["event"] in names]


def test_a_server_that_is_stopped_in_mid_work_is_waited_for_until_it_takes_writes(
    site: Place, server: Server, service: Sandbox, watcher: Programs
) -> None:
    """Nothing is sent meanwhile, nor while it is back as a standby, until somebody promotes it; then all is.

    The log has two lines of it.
    """
    daemon = watcher.daemon(site)
    for number in range(4):
        site.drop(f"early{number}.wav")
    daemon.wait_for("recording.done")
    server.stop()
    daemon.wait_for("database.away")
    sent = len(posts(service))
    site.drop("late.wav")
    let_pass(2)
    server.stand_by()
    let_pass(2)
    assert len(posts(service)) <= sent + 1  # the one in flight
    server.execute("SELECT pg_promote()")
    daemon.wait_for("database.back")
    all_done(watcher, site, daemon, service, 5)
    assert told(daemon) == ["database.away", "database.back"]


@pytest.mark.parametrize("ends", ["waits", "is killed"])
def test_an_answer_in_hand_is_written_once_the_server_is_back(
    ends: str, site: Place, server: Server, service: Sandbox, watcher: Programs
) -> None:
    """It was paid for when the server went away. Whether the daemon lives on or not, it is not sent again."""
    service.add_fault(FaultKind.SLOW_AFTER, seconds=3)
    daemon = watcher.daemon(site)
    site.drop("call.wav")
    wait_until(lambda: service.charged, "it is charged")
    server.stop()
    (kept,) = daemon.wait_for("answer.unrecorded")
    if ends == "is killed":
        daemon.kill()
    server.start()
    if ends == "is killed":
        daemon = watcher.daemon(site)
    all_done(watcher, site, daemon, service, 1)
    (item,) = watcher.ask_json(site, "list")
    assert item["identifier"] == kept["identifier"]


def test_connections_that_are_cut_again_and_again_delay_the_work_and_no_more(
    site: Place, server: Server, name: str, service: Sandbox, watcher: Programs
) -> None:
    """An administrator, or a firewall, ends whatever session there is: each recording is sent once."""
    daemon = watcher.daemon(site)
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    for number in range(12):
        site.drop(f"{number}.wav")
        server.execute(cut)
        let_pass(0.3)
    all_done(watcher, site, daemon, service, 12)
    assert told(daemon) in ([], ["database.away"], ["database.away", "database.back"])


LOST = {
    "the claim": rb"INSERT INTO attempts",
    "the release": rb"UPDATE attempts SET released_at",
    "the answer": rb"UPDATE attempts SET ended_at",
    "the filing": rb"UPDATE items SET state.*done",
    "the question": rb"INSERT INTO hits.*read",
}
"""What a transaction has, by what it is for."""


@pytest.mark.parametrize("what", LOST)
def test_where_nobody_can_know_whether_a_commit_was_done_the_work_goes_on(
    what: str, make_place: MakePlace, server: Server, name: str, service: Sandbox, watcher: Programs
) -> None:
    """It was, and the connection ended before the server could say so.

    No recording stays behind, none is paid for twice, and the rate windows, with room for one at a time, are free.
    """
    one_at_a_time: dict[str, object] = {"writes": ["1/second"], "reads": ["1/second"]}
    with losing(server, LOST[what]) as way:
        site = make_place(
            store={"url": server.url(name, way.folder)}, identifai={"in_doubt": "hold"}, limits=one_at_a_time
        )
        daemon = watcher.daemon(site)
        for number in range(3):
            site.drop(f"{number}.wav")
        daemon.wait_for("recording.done", 3)
        wait_until(
            lambda: all(one["verdict"]["classification"] for one in watcher.ask_json(site, "list")), "all verdicts"
        )
        assert way.left == []
        all_done(watcher, site, daemon, service, 3)


def test_a_database_that_an_administrator_has_made_read_only_is_waited_for(
    site: Place, server: Server, name: str, service: Sandbox, watcher: Programs
) -> None:
    """As during a failover, or when a disk is nearly full: nothing is sent until it takes writes again."""
    daemon = watcher.daemon(site)
    forbid = f"ALTER DATABASE {name} SET default_transaction_read_only"
    server.execute(f"{forbid} = on")
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    site.drop("call.wav")
    daemon.wait_for("database.away")
    let_pass(2)
    assert posts(service) == []
    server.execute(f"{forbid} = off")
    all_done(watcher, site, daemon, service, 1)
    assert "step.failed" not in told(daemon)


def test_behind_a_pooler_that_lends_connections_for_a_transaction_all_works(
    make_place: MakePlace, server: Server, name: str, service: Sandbox, watcher: Programs, tmp_path: Path
) -> None:
    """PgBouncer in transaction mode, with two connections for two sites; the server is restarted behind it."""
    with running_pooler(server) as pooler:
        sites = [
            make_place(root, store={"url": server.url(name, pooler)})
            for root in (tmp_path / "one", tmp_path / "two")
        ]
        daemons = [watcher.daemon(site) for site in sites]
        for number, site in enumerate(sites):
            for one in range(4):
                site.drop(f"early {number} {one}.wav")
        for daemon in daemons:
            daemon.wait_for("recording.done")
        server.stop()
        server.start()
        for number, site in enumerate(sites):
            site.drop(f"late {number}.wav")
        for daemon in daemons:
            daemon.wait_for("recording.done", 5)
        assert [daemon.stop() for daemon in daemons] == [Exit.WELL, Exit.WELL]
        assert len([post for post in posts(service) if post.is_whole]) == service.charged == 10
        for site in sites:
            watcher.ask(site, "reconcile")


def test_a_transaction_that_the_server_undid_is_repeated_as_a_whole(
    site: Place, server: Server, name: str, service: Sandbox, watcher: Programs
) -> None:
    """A serialization failure, then a deadlock: of the intent, of the last part's release, of the answer."""
    daemon = watcher.daemon(site)
    server.execute(
        "CREATE SEQUENCE troubles; GRANT ALL ON SEQUENCE troubles TO watcher;"
        "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "DECLARE n bigint := nextval('troubles'); BEGIN "
        "IF n IN (1, 6) THEN RAISE EXCEPTION 'in the way' USING ERRCODE = '40001'; END IF;"
        "IF n IN (3, 9) THEN RAISE EXCEPTION 'in the way' USING ERRCODE = '40P01'; END IF;"
        "RETURN NEW; END $$;"
        "CREATE TRIGGER undone BEFORE INSERT OR UPDATE ON attempts FOR EACH ROW EXECUTE FUNCTION undo()",
        name,
    )
    site.drop("one.wav")
    site.drop("two.wav")
    all_done(watcher, site, daemon, service, 2)


def test_a_start_while_the_server_is_away_ends_and_says_so(site: Place, server: Server, watcher: Programs) -> None:
    """In words, at once, with an exit code after which systemd starts it again: 1, not 78."""
    server.stop()
    daemon = watcher.call("run", "--config", site.config_path)
    server.start()
    assert daemon.process.returncode == Exit.INCOMPLETE
    assert "cannot be reached" in daemon.err
    assert "pg_isready" in daemon.err
    assert "Traceback" not in daemon.err
    assert watcher.daemon(site).stop() == Exit.WELL
