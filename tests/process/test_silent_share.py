"""The server of a share does not answer: what asks the disk waits without end, and nobody else may."""

import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.odd_disk import OddDisk, odd_disk
from tests.places import Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import Programs, wait_until, waiting
from watcher.domain import State

__all__ = ["odd_disk"]

SOON = {"watcher.shutdown._STOP_SECONDS": 3.0}
"""For a stop. One test waits for all of the product's own."""


@pytest.fixture
def share(tmp_path: Path, odd_disk: OddDisk) -> Iterator[OddDisk]:
    """Mounted at `share`, with the three folders on it."""
    point = tmp_path / "share"
    point.mkdir()
    odd_disk.mount(point)
    for name in ("drop", "done", "failed"):
        (point / name).mkdir()
    yield odd_disk
    odd_disk.rule()


@pytest.fixture
def place(tmp_path: Path, share: OddDisk, make_place: MakePlace) -> Place:
    folders = {name: str(tmp_path / "share" / name) for name in ("drop", "done", "failed")}
    # A pass waits for what is given up within a minute: so it is at work when the share falls silent.
    arrivals = {"incomplete_minutes": 0.9}
    return make_place(folders=folders, identifai={"read_timeout_seconds": 2}, arrivals=arrivals)


def test_whatever_reads_the_books_answers(place: Place, share: OddDisk, tmp_path: Path, watcher: Programs) -> None:
    """What reads, and what decides; `status` and `check` say which folder does not answer."""
    drop = tmp_path / "share" / "drop"
    (drop / "a.wav").write_bytes(speech("a"))
    program = watcher.call("run", "--once", "--config", place.config_path)
    assert program.process.returncode == 0, program.err
    asked = ["status", "list", "show a.wav", "why a.wav", f"why {drop}/a.wav", "pause", "resume"]
    share.rule(hangs=True)
    try:
        _ask_all(place, drop, watcher, [*asked, "retry --failed"])
    finally:
        share.rule()


def _ask_all(place: Place, drop: Path, watcher: Programs, asked: list[str]) -> None:
    """All at once: each waits for as long as a folder has to answer."""
    told = {}
    for command in [*asked, "status --json", "check"]:
        name, *rest = command.split()
        told[command] = watcher.start(name, "--config", place.config_path, *rest)
    for command, program in told.items():
        code = program.end(seconds=60)
        assert code == 0 or command == "check", program.err
    assert f"the drop folder {drop} does not answer" in told["status"].out
    (status,) = told["status --json"].out.splitlines()
    assert [one["code"] for one in json.loads(status)["silent"]] == ["folder_silent"] * 3
    assert "does not answer" in told["check"].out


@pytest.mark.lengthy
def test_a_daemon_that_is_held_ends_all_the_same(
    place: Place, share: OddDisk, tmp_path: Path, watcher: Programs
) -> None:
    """SIGTERM is obeyed within a bound; what hung is said, and the next start goes on with it."""
    daemon = watcher.daemon(place)
    share.rule(hangs=True)
    try:
        wait_until(lambda: _is_held(daemon.pid), "a thread waits for the share", seconds=60)
        wait_until(lambda: len(daemon.events("folder.silent")) == 3, "it is told of all three", seconds=60)
        daemon.process.send_signal(signal.SIGTERM)
        said = wait_until(lambda: daemon.events("daemon.cut_off"), "it says what hangs", seconds=100)
    finally:
        share.rule()  # else nothing could end it, nor this test
    assert "arrive" in said[0]["steps"]
    assert str(tmp_path / "share" / "drop") in said[0]["reason"]
    assert daemon.end(seconds=60) == 1
    (tmp_path / "share" / "drop" / "a.wav").write_bytes(speech("a"))
    daemon = watcher.daemon(place)
    wait_until(lambda: place.states().get("a.wav") is State.DONE, "it is done", told=lambda: daemon.err)


def test_a_stop_does_not_wait_for_a_look_through_a_slow_share(
    place: Place, share: OddDisk, tmp_path: Path, watcher: Programs
) -> None:
    """Each name takes its time, and all of them far longer than a stop may: it ends before the next name."""
    drop = tmp_path / "share" / "drop"
    for number in range(1_000):
        (drop / f"{number}.wav").touch()
    share.rule(look_seconds=0.2)
    try:
        daemon = watcher.daemon(place)
        wait_until(lambda: _is_held(daemon.pid, 1), "it looks at the share", seconds=60)
        assert daemon.end(signal.SIGTERM, seconds=60) == 0
    finally:
        share.rule()
    assert daemon.events("daemon.cut_off") == []
    assert daemon.events("daemon.stopped")
    (drop / "1.wav").write_bytes(speech("1"))
    daemon = watcher.daemon(place)
    wait_until(lambda: place.states() == {"1.wav": State.DONE}, "it is done", told=lambda: daemon.err)


@pytest.mark.lengthy
def test_a_copy_that_a_stop_cuts_off_is_made_again_at_the_next_start(
    tmp_path: Path, odd_disk: OddDisk, make_place: MakePlace, watcher: Programs
) -> None:
    """To another file system, and slower than a stop may be: no half of it has the recording's name, the recording
    is where it was, and the next start files it whole and sweeps what was left.
    """
    # It is too large and may not be made smaller: so it is filed as soon as it was examined.
    place = make_place(limits={"max_upload_bytes": 1_000_000}, audio={"oversize": "fail"})
    odd_disk.mount(place.root / "failed")
    content = speech("long", seconds=200)
    assert len(content) > 3_000_000
    odd_disk.rule(write_seconds=1.0)
    try:
        daemon = watcher.daemon(place, bounds=SOON)
        place.drop("long.wav", content)
        wait_until(lambda: _drafts(place), "the copy is under way", seconds=60, told=lambda: daemon.err)
        assert daemon.end(signal.SIGTERM, seconds=100) == 1
    finally:
        odd_disk.rule()
    assert daemon.events("daemon.cut_off")[0]["steps"] == ["file"]
    assert not (place.root / "failed" / "long.wav").exists()
    assert _drafts(place)
    assert (place.root / "drop" / "long.wav").read_bytes() == content

    daemon = watcher.daemon(place)

    daemon.wait_for("recording.failed")
    assert place.states() == {"long.wav": State.FAILED}
    assert (place.root / "failed" / "long.wav").read_bytes() == content
    assert not (place.root / "drop" / "long.wav").exists()
    assert _drafts(place) == []
    assert daemon.stop() == 0


def _drafts(place: Place) -> list[Path]:
    """What is half written in failed/, of a recording's size."""
    found = []
    for path in (place.root / "failed").glob(".watcher-*.tmp"):
        with suppress(FileNotFoundError):  # a trial's, gone again
            if path.stat().st_size > 65_536:
                found.append(path)
    return found


def test_a_pass_that_is_held_ends_all_the_same(
    place: Place, share: OddDisk, tmp_path: Path, watcher: Programs
) -> None:
    """SIGTERM is obeyed within a bound by `run --once` as well."""
    (tmp_path / "share" / "drop" / "a.wav").write_bytes(speech("a")[:-100])  # it waits for the rest of this one
    program = watcher.start("run", "--once", "--config", place.config_path, bounds=SOON)
    wait_until(lambda: place.config.books.exists() and waiting(place), "it is at work")
    share.rule(hangs=True)
    try:
        wait_until(lambda: _is_held(program.pid, 1), "it waits for the share", seconds=60)
        program.process.send_signal(signal.SIGTERM)
        wait_until(lambda: program.events("daemon.cut_off"), "it says that it is cut off", seconds=100)
    finally:
        share.rule()
    assert program.end(seconds=60) == 1


def _is_held(pid: int, number: int = 2) -> bool:
    """Whether so many of its threads wait for FUSE, as the kernel tells."""
    waiting = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/wchan")]
    return sum("fuse" in what or "request_wait" in what for what in waiting) >= number
