"""Where no lock tells of the other: through another mount, or on another machine. The note in it does."""

import json
import os
from pathlib import Path

import pytest

from tests.odd_disk import OddDisk, odd_disk
from tests.people import STRANGER, needs_root
from tests.places import Place
from tests.process.conftest import MakePlace
from tests.process.programs import CLOCK, Programs, let_pass, wait_until
from watcher.domain import State
from watcher.errors import Exit, InstanceRunning
from watcher.folders import LOCK
from watcher.folders.holder import Holder, holder_of, take_lock
from watcher.journey import instance

__all__ = ["odd_disk"]

ANOTHER = {"host": "another", "boot_id": "its own", "pid": 7, "started": "1", "at": 1.0}


def two_sites(tmp_path: Path, odd_disk: OddDisk, make_place: MakePlace) -> tuple[Place, Place]:
    """Two with databases of their own, whose folders are the same, each through a mount of its own."""
    sites = []
    for name in ("first", "second"):
        point = tmp_path / f"mount of the {name}"
        point.mkdir()
        odd_disk.mount(point)
        for folder in ("drop", "done", "failed"):
            (point / folder).mkdir(exist_ok=True)
        folders = {folder: str(point / folder) for folder in ("drop", "done", "failed")}
        sites.append(make_place(tmp_path / name, folders=folders))
    return sites[0], sites[1]


def test_a_second_instance_through_another_mount_is_refused(
    tmp_path: Path, odd_disk: OddDisk, make_place: MakePlace, watcher: Programs
) -> None:
    """Neither mount's locks reach the other: the second is told who is the first, by `check` too."""
    first, second = two_sites(tmp_path, odd_disk, make_place)
    daemon = watcher.daemon(first)
    refused = watcher.call("run", "--config", second.config_path)
    assert refused.process.returncode == Exit.RUNNING, refused.err
    assert f"process {daemon.pid}" in refused.err
    assert f"process {daemon.pid}" in watcher.call("check", "--config", second.config_path).out


def test_one_that_was_killed_is_followed_at_once_through_another_mount(
    tmp_path: Path, odd_disk: OddDisk, make_place: MakePlace, watcher: Programs
) -> None:
    """Its note is still there, and its process is looked up."""
    first, second = two_sites(tmp_path, odd_disk, make_place)
    watcher.daemon(first).kill()

    (Path(second.config.folders.drop.decode()) / "one.wav").write_bytes(second.drop("x").read_bytes())
    daemon = watcher.daemon(second)
    wait_until(lambda: second.states().get("one.wav") is State.DONE, "it is done", told=lambda: daemon.err)
    assert daemon.events("instance.waiting") == []


def note(place: Place) -> Path:
    return place.root / "drop" / LOCK.decode()


def test_one_of_another_machine_that_is_silent_is_followed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next word is waited for, and does not come."""
    monkeypatch.setattr(instance, "BEAT_SECONDS", 0.05)
    note(place).write_text(json.dumps(ANOTHER))
    with place.opened():
        assert json.loads(note(place).read_bytes())["pid"] == Holder.ourselves().pid


def test_one_of_another_machine_that_lives_is_left_the_work(
    place: Place, watcher: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says another time than before, whatever that is: its clock need not agree with ours."""
    note(place).write_text(json.dumps(ANOTHER))
    program = watcher.start("run", "--config", place.config_path)
    program.wait_for("instance.waiting")
    wait_until(lambda: _beat(place) or program.process.poll() is not None, "it has ended", seconds=60)
    assert program.end() == Exit.RUNNING, program.err
    assert "another, process 7" in program.err
    assert json.loads(note(place).read_bytes())["host"] == "another"


def _beat(place: Place) -> bool:
    note(place).write_text(json.dumps({**ANOTHER, "at": CLOCK.monotonic()}))
    let_pass(0.5)
    return False


def test_a_rival_whose_note_stands_there_ends_the_daemon(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both began at once: who finds the other's word in the lock leaves the work to it."""
    monkeypatch.setattr(instance, "BEAT_SECONDS", 0.05)
    with place.opened() as journey:
        note(place).write_text(json.dumps(ANOTHER))

        def is_told() -> bool:
            try:
                journey.instance.keep()
            except InstanceRunning as error:
                return "another, process 7" in error.message
            return False

        wait_until(is_told, "it leaves the work to the other")
    assert json.loads(note(place).read_bytes())["host"] == "another"


def test_a_lock_that_its_server_still_holds_for_ourselves_is_waited_for(place: Place) -> None:
    """Once a share is back its server may keep the lock that was closed, with nobody named in it."""
    with place.opened() as journey:
        note(place).unlink()
        with note(place).open("wb") as other:
            take_lock(other.fileno())
            journey.instance.keep()
            assert holder_of(os.fsencode(note(place))) is None
        journey.instance.keep()
        assert json.loads(note(place).read_bytes())["pid"] == os.getpid()

        note(place).unlink()
        with note(place).open("wb") as other:
            take_lock(other.fileno())
            other.write(json.dumps(ANOTHER).encode())
            other.flush()
            with pytest.raises(InstanceRunning, match="another, process 7"):
                journey.instance.keep()


def test_each_time_that_a_share_comes_back_its_server_has_as_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time in which the share was away does not count."""
    drop, aside = place.root / "drop", place.root / "aside"
    with place.opened() as journey:
        note(place).unlink()
        with note(place).open("wb") as other:
            take_lock(other.fileno())
            journey.instance.keep()
            drop.rename(aside)
            journey.instance.keep()
            let_pass(0.2)
            monkeypatch.setattr(instance, "_OWN_REST_SECONDS", 0.1)
            aside.rename(drop)
            journey.instance.keep()


def test_whoever_is_named_in_a_file_of_the_service_s_user_is_no_lock_of_ours(place: Place) -> None:
    """The daemon is run by root: a note that the database's owner wrote counts for it."""
    needs_root()
    with place.opened() as journey:
        os.chown(place.config.books, STRANGER.uid or 0, -1)
        note(place).unlink()
        with note(place).open("wb") as other:
            os.chown(note(place), STRANGER.uid or 0, -1)
            take_lock(other.fileno())
            other.write(json.dumps(ANOTHER).encode())
            other.flush()
            with pytest.raises(InstanceRunning, match="another, process 7"):
                journey.instance.keep()
