"""Several nodes on one site: one works, the others stand by; whatever befalls the one, nothing is paid twice."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import LEASE_SECONDS, LONG, Nodes
from tests.places import Place, speech
from tests.postgresql import Server, postgresql  # noqa: F401 — a fixture
from tests.process.programs import Programs, posts, wait_until
from tests.process.test_notify import WATCHDOG, environment, listening
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.store import revisions


@pytest.fixture
def nodes(tmp_path: Path, postgresql: Server, service: Sandbox, watcher: Programs) -> Iterator[Nodes]:  # noqa: F811
    made = Nodes(tmp_path, postgresql, service, watcher)
    yield made
    watcher.close()
    postgresql.drop(made.name)


def test_the_work_of_a_node_that_was_killed_is_taken_up_by_the_one_that_stands_by(
    nodes: Nodes, service: Sandbox, watcher: Programs
) -> None:
    """With the next epoch; what was done stays done, and `nodes` says who works.

    That a process of this machine is dead needs no lease to end.
    """
    first = nodes.work("one", LONG)
    nodes.shared.drop("before.wav")
    nodes.wait_for_state("before.wav", State.DONE, first)
    second = nodes.stand_by("two")
    (told,) = second.events("node.standing_by")
    assert "one (process" in str(told["reason"])
    assert str(first.pid) in str(told["reason"])
    first.kill()
    nodes.shared.drop("after.wav")
    nodes.wait_for_state("after.wav", State.DONE, second)
    assert len(posts(service)) == 2
    (taken,) = second.events("lease.taken")
    assert taken["epoch"] == 2
    (node,) = watcher.ask_json(nodes.place("two"), "nodes")
    assert (node["node"], node["pid"], node["epoch"]) == ("two", second.pid, 2)
    assert (node["working"], node["this"]) == (True, True)
    assert second.stop() == Exit.WELL
    assert not nodes.lease().left


def test_nodes_that_start_at_once_on_a_new_site_agree_on_it(nodes: Nodes) -> None:
    """Each has thought of an id for it: were each to keep its own, both would work on the same folders."""
    started = [nodes.start(name, LONG) for name in ("one", "two", "three")]
    nodes.shared.drop("call.wav")
    nodes.wait_for_state("call.wav", State.DONE, *started)
    wait_until(lambda: sum(bool(node.events("node.standing_by")) for node in started) == 2, "two stand by")
    assert nodes.lease().epoch == 1  # of the only site


def test_a_node_that_ends_lets_the_next_one_work_at_once(nodes: Nodes, watcher: Programs) -> None:
    """It gives its lease up: nobody waits for the hour that this would last. Whoever stands by ends well, too."""
    first = nodes.work("one", LONG)
    second, third = nodes.stand_by("two", LONG), nodes.stand_by("three", LONG)
    status = watcher.ask(nodes.place("two", LONG), "status")
    assert "standing by" in status
    checked = watcher.call("check", "--config", nodes.place("two", LONG).config_path)
    assert "another node of this site" in checked.out, checked.out
    recovering = watcher.call("recover", "--config", nodes.place("two", LONG).config_path)
    assert recovering.process.returncode == Exit.RUNNING
    assert third.stop() == Exit.WELL
    assert not third.events("lease.taken")
    assert first.stop() == Exit.WELL
    second.wait_for("daemon.started")
    assert second.stop() == Exit.WELL


def test_a_pass_on_a_site_that_another_node_works_on_says_which(nodes: Nodes, watcher: Programs) -> None:
    """Exit code 75, and nothing is touched; once that node has ended the pass does its work."""
    first = nodes.work("one", LONG)
    place = nodes.place("two", LONG)
    refused = watcher.call("run", "--once", "--config", place.config_path)
    assert refused.process.returncode == Exit.RUNNING
    assert "another node works on this site: one (process" in refused.err
    assert first.stop() == Exit.WELL
    nodes.shared.drop("call.wav")
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == Exit.WELL
    assert nodes.items()["call.wav"].state is State.DONE


def test_a_node_that_stood_still_for_longer_than_its_lease_changes_nothing_but_brings_its_identifier(
    nodes: Nodes, service: Sandbox
) -> None:
    """The upload was on the wire, so whoever took over left it to a person; the answer says that it was paid."""
    first = nodes.work("one")
    second = nodes.stand_by("two")
    service.add_fault("slow_after", seconds=2.0)
    nodes.shared.drop("call.wav")
    wait_until(lambda: posts(service), "the service has the recording", told=lambda: first.err)
    first.process.send_signal(signal.SIGSTOP)
    nodes.wait_for_state("call.wav", State.HELD, first, second)
    (upload,) = posts(service)
    before = nodes.lease()
    nodes.shared.drop("next.wav")
    nodes.wait_for_state("next.wav", State.DONE, second)
    first.process.send_signal(signal.SIGCONT)
    (late,) = first.wait_for("answer.late")
    assert late["identifier"] == upload.identifier
    item = nodes.wait_for_state("call.wav", State.DONE, first, second)
    assert item.identifier == upload.identifier
    assert len(posts(service)) == 2
    first.wait_for("node.standing_by")
    assert len(first.events("lease.lost")) == 1
    assert [line for line in first.log if line["level"] == "error"] == []
    after = nodes.lease()
    assert (after.owner, after.epoch) == (before.owner, before.epoch)
    # It stands by in the same process, and works when it is its turn again.
    assert second.stop() == Exit.WELL
    first.wait_for("daemon.started", 2)
    nodes.shared.drop("last.wav")
    nodes.wait_for_state("last.wav", State.DONE, first)
    assert first.stop() == Exit.WELL


def test_an_upload_that_was_not_let_go_is_cut_off_with_the_lease(nodes: Nodes, service: Sandbox) -> None:
    """The service read slowly, and the node stood still: whoever took over sends it, and it is paid for once."""
    first = nodes.work("one")
    second = nodes.stand_by("two")
    service.add_fault("stall_reading", seconds=5.0)
    nodes.shared.drop("call.wav", speech(note=bytes(12_000_000)))  # more than lies on the way
    nodes.wait_for_state("call.wav", State.SUBMITTING, first)
    first.process.send_signal(signal.SIGSTOP)
    item = nodes.wait_for_state("call.wav", State.DONE, first, second)
    first.process.send_signal(signal.SIGCONT)
    first.wait_for("node.standing_by")
    assert [entry.identifier for entry in posts(service) if entry.is_whole] == [item.identifier]
    assert nodes.items()["call.wav"] == item
    assert first.stop() == Exit.WELL


def test_a_node_whose_connections_are_cut_keeps_its_lease(nodes: Nodes, service: Sandbox) -> None:
    """It makes new ones: nobody takes over, and all that was dropped is done."""
    first = nodes.work("one", LEASE_SECONDS * 5)
    second = nodes.stand_by("two")
    for number in range(5):
        nodes.shared.drop(f"{number}.wav")
        nodes.cut(first)
    for number in range(5):
        nodes.wait_for_state(f"{number}.wav", State.DONE, first)
    assert len(posts(service)) == 5
    assert not first.events("lease.lost")
    assert not second.events("lease.taken")


def test_a_server_that_is_away_for_longer_than_the_lease_costs_nobody_anything(
    nodes: Nodes, service: Sandbox
) -> None:
    """Whoever comes first goes on, in the same process, and what was answered meanwhile is recorded."""
    first, second = nodes.work("one"), nodes.stand_by("two")
    service.add_fault("slow_after", seconds=2.0)
    nodes.shared.drop("call.wav")
    wait_until(lambda: posts(service), "the service has the recording", told=lambda: first.err)
    nodes.server.stop()
    try:
        first.wait_for("lease.lost")
        nodes.shared.drop("next.wav")
    finally:
        nodes.server.start()
    for name in ("call.wav", "next.wav"):
        nodes.wait_for_state(name, State.DONE, first, second)
    assert len(posts(service)) == 2
    assert first.process.poll() is None
    assert second.stop() == Exit.WELL
    assert first.stop() == Exit.WELL


def test_an_identifier_on_the_disk_of_a_node_that_died_is_recorded_once_that_starts_again(
    nodes: Nodes, service: Sandbox
) -> None:
    """Another node works by then, and has left the recording to a person: it is done, paid for once."""
    first, second = nodes.work("one", LONG), nodes.stand_by("two")
    service.add_fault("slow_after", seconds=2.0)
    nodes.shared.drop("call.wav")
    wait_until(lambda: posts(service), "the service has the recording", told=lambda: first.err)
    nodes.server.stop()
    try:
        (kept,) = first.wait_for("answer.kept")
        first.kill()
    finally:
        nodes.server.start()
    nodes.wait_for_state("call.wav", State.HELD, first, second)
    again = nodes.stand_by("one", LONG)
    item = nodes.wait_for_state("call.wav", State.DONE, again, second)
    assert item.identifier == kept["identifier"]
    assert len(again.events("answer.recovered")) == 1
    assert len(posts(service)) == 1


def test_the_drop_folder_is_refused_to_nodes_of_another_database(nodes: Nodes, watcher: Programs) -> None:
    """Its lease would say nothing: the lock in the folder does, to a daemon with a file and to one on a server."""
    first = nodes.work("one", LONG)
    place = nodes.place("two", LONG)
    other = nodes.server.database()
    try:
        for url in (nodes.server.url(other), f"sqlite:///{place.root}/watcher.db"):
            text = place.config_path.read_text().replace(nodes.server.url(nodes.name), url)
            place.config_path.write_text(text)
            refused = watcher.call("run", "--once", "--config", place.config_path)
            assert refused.process.returncode in (Exit.RUNNING, Exit.CONFIG), refused.err
            nodes.place("two", LONG)
    finally:
        nodes.server.drop(other)
    nodes.shared.drop("call.wav")
    nodes.wait_for_state("call.wav", State.DONE, first)


def test_whoever_stands_by_tells_systemd_that_it_is_ready_and_alive(nodes: Nodes, watcher: Programs) -> None:
    """Else systemd would end it, and start it again, for weeks."""
    nodes.work("one", LONG)
    with listening() as ear:
        config = nodes.place("two", LONG).config_path
        second = watcher.start("run", "--config", config, environment=environment(ear, **WATCHDOG))
        heard = ear.hear()
        while heard.startswith("EXTEND_TIMEOUT_USEC"):
            heard = ear.hear()
        assert heard == "READY=1"
        assert [one for one in (ear.hear() for _ in range(6)) if one != "READY=1"] == ["WATCHDOG=1"] * 3
        assert second.stop() == Exit.WELL
    assert not second.events("lease.taken")


def test_a_newer_program_upgrades_nothing_under_an_older_one(
    nodes: Nodes, watcher: Programs, tmp_path: Path
) -> None:
    """It says who works with the older tables, and waits for that one's end; then it upgrades them, and works.

    Whoever is older and stands by does not take the site over: it would not know these tables.
    """
    newer, script = tmp_path / "newer", tmp_path / "newer.py"
    (newer / "versions").mkdir(parents=True)
    for path in (*revisions.folder().glob("*.*"), *revisions.folder().glob("versions/*.py")):
        (newer / path.relative_to(revisions.folder())).write_bytes(path.read_bytes())
    last = revisions.known()[-1]
    text = f'revision = "9999"\ndown_revision = "{last}"\n\n\ndef upgrade() -> None:\n    pass\n'
    (newer / "versions/9999_of_a_newer_program.py").write_text(text)
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom watcher.store import revisions\n"
        f"revisions.folder = lambda: Path({str(newer)!r})\n"
        "from watcher.cli import main\nsys.exit(main(sys.argv[3:]))\n"
    )
    run = tmp_path / "newer.sh"
    run.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    run.chmod(0o755)
    first, third = nodes.work("one", LONG), nodes.stand_by("three", LONG)
    config = nodes.place("two", LONG).config_path
    refused = watcher.call("migrate", "--config", config, executable=str(run))
    assert (refused.process.returncode, refused.out) == (Exit.RUNNING, "")
    second = watcher.start("run", "--config", config, executable=str(run))
    (told,) = second.wait_for("database.upgrade_waits")
    assert "one (process" in str(told["reason"])
    nodes.shared.drop("call.wav")
    nodes.wait_for_state("call.wav", State.DONE, first)
    assert third.stop() == Exit.WELL  # else it may be the first to see that the site is free
    assert first.stop() == Exit.WELL
    second.wait_for("daemon.started")
    assert second.events("database.migrated")
    assert len(second.events("database.upgrade_waits")) == 1
    fourth = nodes.start("four", LONG)
    assert fourth.end() == Exit.CONFIG
    assert "newer" in fourth.err
    assert second.stop() == Exit.WELL


def test_on_sqlite_there_is_one_node(place: Place, watcher: Programs) -> None:
    """The lock on the file says which process that is."""
    assert "one node" in watcher.ask(place, "nodes")
    assert watcher.ask_json(place, "nodes") == []
    daemon = watcher.daemon(place)
    (node,) = watcher.ask_json(place, "nodes")
    assert (node["pid"], node["this"], node["epoch"]) == (daemon.pid, True, None)
