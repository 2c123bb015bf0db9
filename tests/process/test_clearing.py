"""`erase` and `prune` beside a running daemon: they record the wish, the daemon does it, they tell the outcome."""

import json
from collections.abc import Iterator

import pytest

from tests.places import Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import Program, Programs, wait_until
from watcher.folders.tombstone_files import KEY
from watcher.sandbox import Sandbox


@pytest.fixture
def site(make_place: MakePlace) -> Place:
    return make_place(limits={"writes": ["10/second"]}, verdicts={"first_seconds": 0.1})


@pytest.fixture
def daemon(watcher: Programs, site: Place) -> Iterator[Program]:
    """A daemon that has filed one recording, whose verdict is known."""
    site.drop("call.wav", speech("call"))
    running = watcher.daemon(site)
    running.wait_for("verdict.known")
    wait_until(lambda: site.receipt("done/call.wav.json")["verdict"]["state"] == "known", "its receipt says so")
    yield running
    assert running.stop() == 0


def test_the_daemon_erases_and_the_command_tells(
    watcher: Programs, site: Place, daemon: Program, service: Sandbox
) -> None:
    """What is dropped again afterwards costs nothing. The log has a line, without the name."""
    (item,) = [
        json.loads(line) for line in watcher.call("list", "--json", "--config", site.config_path).out.splitlines()
    ]
    erasing = watcher.call("erase", item["id"], "--config", site.config_path)
    assert erasing.process.returncode == 0, erasing.err
    assert f"{item['id']}: is erased" in erasing.out
    (told,) = daemon.wait_for("recording.erased")
    assert told["item"] == item["id"]
    assert "call.wav" not in json.dumps(told)
    assert site.files() == {f"done/{item['id']}.erased.json"}
    assert (site.root / "done" / KEY.decode()).stat().st_mode & 0o777 == 0o600
    site.drop("again.wav", speech("call"))
    daemon.wait_for("recording.done", 2)
    assert site.receipt("done/again.wav.json")["identifier"] == item["identifier"]
    assert len([entry for entry in service.ledger if entry.method == "POST"]) == 1
    reconciling = watcher.call("reconcile", "--config", site.config_path)
    assert reconciling.process.returncode == 0, reconciling.out


def test_the_daemon_prunes_by_itself(watcher: Programs, make_place: MakePlace, service: Sandbox) -> None:
    """Without anybody's asking: recording, receipt and row, each with a line in the log."""
    a_second = 1 / 86_400
    site = make_place(
        limits={"writes": ["10/second"]},
        verdicts={"first_seconds": 0.1},
        retention={"recordings_days": a_second, "receipts_days": 2 * a_second, "history_days": 3 * a_second},
    )
    site.drop("call.wav", speech("call"))
    daemon = watcher.daemon(site)
    daemon.wait_for("recording.removed")
    daemon.wait_for("receipt.removed")
    daemon.wait_for("history.removed")
    assert not [path for path in site.files() if not path.endswith(".erased.json")]
    assert daemon.stop() == 0


def test_prune_has_the_daemon_do_it_at_once(watcher: Programs, make_place: MakePlace) -> None:
    """The command waits for it, and counts what went."""
    site = make_place(
        limits={"writes": ["10/second"]}, verdicts={"first_seconds": 0.1}, retention={"recordings_days": 3}
    )
    site.drop("call.wav", speech("call"))
    daemon = watcher.daemon(site)
    daemon.wait_for("verdict.known")
    wait_until(lambda: site.receipt("done/call.wav.json")["verdict"]["state"] == "known", "its receipt says so")
    assert "0 recordings" in watcher.call("prune", "--config", site.config_path).out
    with site.books() as books:
        change = books.removals._connection.exec_driver_sql
        change("UPDATE items SET filed_at = filed_at - 400000")
        change("UPDATE verdicts SET asked_at = asked_at - 400000, since = since - 400000")
    pruning = watcher.call("prune", "--config", site.config_path)
    assert "1 recordings, 0 receipts and 0 rows were removed." in pruning.out, pruning.err
    assert pruning.process.returncode == 0
    daemon.wait_for("recording.removed")
    wait_until(lambda: site.receipt("done/call.wav.json")["removed"] is not None, "its receipt says so")
    assert daemon.stop() == 0
