"""Backup and restore as the documents say: while the daemon works, with what a site has at its end."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from tests.places import Place
from tests.process.programs import Programs, posts, wait_until
from tests.process.servers import program
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox


def back_up(database: Path, target: Path) -> None:
    """As README has it."""
    command: list[str | Path] = [program("sqlite3"), database, f".backup '{target}'"]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)


def lose(place: Place) -> Path:
    database = place.root / "watcher.db"
    for ending in ("", "-wal", "-shm"):
        Path(f"{database}{ending}").unlink(missing_ok=True)
    return database


def test_a_backup_taken_beside_the_daemon_is_restored_with_nothing_lost_and_nothing_paid_twice(
    place: Place, service: Sandbox, watcher: Programs, tmp_path: Path
) -> None:
    """What was filed since the copy is not sent again and is told of from its receipt; what waits is sent once."""
    copy = tmp_path / "watcher.db.backup"
    daemon = watcher.start("run", "--config", place.config_path)
    place.drop("before.wav")
    daemon.wait_for("recording.done")
    back_up(place.root / "watcher.db", copy)
    place.drop("since.wav")
    daemon.wait_for("recording.done", 2)
    wait_until(lambda: len(posts(service)) == 2)
    assert daemon.stop() == Exit.WELL

    shutil.copy(copy, lose(place))
    place.drop("new.wav")
    daemon = watcher.start("run", "--config", place.config_path)
    daemon.wait_for("recording.done")

    for path in ("done/since.wav", "since.wav", "drop/since.wav", "done/since.wav.json"):
        said = watcher.call("why", "--config", place.config_path, path).out
        assert "was filed in done/ as since.wav" in said
        assert place.receipt("done/since.wav.json")["identifier"] in said
        assert "does not know it" in said
    shown = watcher.call("show", "--config", place.config_path, "done/since.wav")
    assert shown.process.returncode == Exit.WELL
    assert place.receipt("done/since.wav.json")["identifier"] in shown.out
    proof = watcher.call("reconcile", "--config", place.config_path)
    assert proof.process.returncode == Exit.INCOMPLETE
    (wrong,) = [line for line in proof.out.splitlines() if line.startswith("wrong:")]
    assert "since.wav.json" in wrong
    assert "do not drop the recording again" in wrong
    assert daemon.stop() == Exit.WELL
    assert place.files() >= {"done/before.wav", "done/since.wav", "done/new.wav"}
    assert service.charged == len(posts(service)) == 3


def test_a_copy_that_has_a_recording_as_waiting_does_not_send_what_was_filed_since(
    place: Place, service: Sandbox, watcher: Programs, tmp_path: Path
) -> None:
    """The item is the same, the copy knows nothing of its answer: the receipt does, and `reconcile` says so."""
    copy = tmp_path / "watcher.db.backup"
    watcher.call("pause", "--config", place.config_path)
    daemon = watcher.start("run", "--config", place.config_path)
    place.drop("call.wav")
    wait_until(lambda: place.states().get("call.wav") is State.QUEUED)
    back_up(place.root / "watcher.db", copy)
    watcher.call("resume", "--config", place.config_path)
    daemon.wait_for("recording.done")
    assert daemon.stop() == Exit.WELL

    shutil.copy(copy, lose(place))
    watcher.call("resume", "--config", place.config_path)
    daemon = watcher.start("run", "--config", place.config_path)
    wait_until(lambda: place.states()["call.wav"] is State.WITHDRAWN)
    assert daemon.stop() == Exit.WELL

    assert service.charged == len(posts(service)) == 1
    said = watcher.call("why", "--config", place.config_path, "done/call.wav").out
    assert place.receipt("done/call.wav.json")["identifier"] in said
    assert "call.wav.json" in watcher.call("reconcile", "--config", place.config_path).out


def test_an_update_is_rolled_back_with_the_copy_that_it_left(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """The newest copy beside the database, put in its place, is a database of the version before."""
    place.drop("call.wav")
    watcher.call("run", "--once", "--config", place.config_path)
    database = place.root / "watcher.db"
    with closing(sqlite3.connect(database)) as books:
        (head,) = books.execute("select version_num from alembic_version").fetchone()
    shutil.copy(database, place.root / f"watcher.db.before-{head}.bak")
    with closing(sqlite3.connect(database)) as books:
        books.execute("update alembic_version set version_num = '9999'")
        books.commit()
    refused = watcher.call("status", "--config", place.config_path)
    assert refused.process.returncode != Exit.WELL
    assert "newer than this program" in refused.err

    shutil.copy(max(place.root.glob("watcher.db.before-*.bak"), key=lambda p: p.stat().st_mtime), lose(place))

    assert "1 done" in watcher.call("status", "--config", place.config_path).out
    watcher.call("run", "--once", "--config", place.config_path)
    assert service.charged == 1
