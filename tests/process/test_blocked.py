"""Recordings that the service's user cannot read or move: told loudly, once, and mended as `check` says."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.clock import FalseClock
from tests.people import CREW, SOMEBODY, STRANGER, Person, StrangersPython, as_user, drop, needs_acl, shared_folder
from tests.people import place as open_folder
from tests.places import KEY, Place, speech
from tests.process.programs import ENVIRONMENT, Program, Programs, last_scan_at, wait_until, waiting
from tests.queues import Lines, drain, listening, queued, settle, told
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.text import JsonObject

__all__ = ["open_folder"]  # a fixture

DROPPER = Person("dropper", uid=SOMEBODY, gid=SOMEBODY, groups=(CREW,))
DAY = 24 * 3600.0


def start(watcher: Programs, python: StrangersPython, *arguments: str | Path) -> Program:
    """The stranger runs `watcher`, and has the key in the environment."""
    return watcher.start(
        *arguments,
        executable=python.executable,
        environment=ENVIRONMENT | python.environment | {"IDENTIFAI_API_KEY": KEY},
        cwd="/",
        **STRANGER.spawning(),
    )


def put(path: Path, mode: int) -> None:
    """The file has this mode from its first byte: one that could be read for a moment may be sent in it."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as file:
        os.fchmod(file.fileno(), mode)
        file.write(speech(path.name))


def looked_again(place: Place, times: int) -> None:
    """The daemon has looked through the drop folder so many times more."""
    for _ in range(times):
        before = last_scan_at(place)
        wait_until(lambda before=before: last_scan_at(place) != before, "it looks again")  # type: ignore[misc]


def test_what_cannot_be_taken_is_told_once_in_the_log_and_first_in_status(
    site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """A folder made with umask 022, and a file moved in from /tmp: a line each, whatever the looks."""
    (site.root / "drop" / "empty.wav").touch()
    daemon = start(watcher, python, "run", "--config", site.config_path)
    daemon.wait_for("daemon.started")
    wait_until(lambda: "empty.wav" in waiting(site), "the harmless one waits")
    DROPPER.does(os.mkdir, site.root / "drop" / "sub")
    DROPPER.does(put, site.root / "drop" / "sub" / "call.wav", 0o644)
    DROPPER.does(put, site.root / "drop" / "moved.wav", 0o600)
    DROPPER.does(os.mkdir, site.root / "drop" / "closed", 0o700)

    daemon.wait_for("recording.blocked", 2)
    daemon.wait_for("folder.unreadable")
    looked_again(site, 3)

    blocked = {"moved.wav", "sub/call.wav"}
    lines = daemon.events("recording.blocked")
    assert {line["path"] for line in lines} == blocked
    assert len(lines) == 2
    assert len(daemon.events("folder.unreadable")) == 1
    assert {line["level"] for line in lines} == {"warning"}
    rows = watcher.ask_json(site, "list", "--waiting")
    assert [row["path"] for row in rows if row["blocked"]] == [row["path"] for row in rows[:3]]
    assert {row["path"] for row in rows[:3]} == {*blocked, "closed"}
    assert [row["path"] for row in rows[3:]] == ["empty.wav"]
    assert all(row["reason"] and row["since"] for row in rows)
    table = watcher.ask(site, "list", "--waiting")
    assert all(path in table for path in (*blocked, "closed", "empty.wav", "could not be moved out", "is empty"))
    (facts,) = watcher.ask_json(site, "status")
    assert (facts["blocked_total"], facts["waiting_total"]) == (3, 4)
    assert {one["path"] for one in facts["blocked"]} == {*blocked, "closed"}
    words = watcher.ask(site, "status").splitlines()
    names = [line.split()[0] for line in words]
    assert names.index("blocked") < min(names.index(name) for name in ("rate", "backlog", "waiting"))
    (line,) = (line for line in words if line.startswith("blocked"))
    assert " 3 " in line
    assert facts["blocked"][0]["message"] in line
    assert daemon.stop() == Exit.WELL


def test_a_pass_tells_what_it_could_not_take(site: Place, watcher: Programs, python: StrangersPython) -> None:
    """It ends before anything has been quiet for long, and warns all the same; `list` tells afterwards."""
    drop(site.root / "drop" / "theirs.wav", speech("theirs"), mode=0o600)

    program = start(watcher, python, "run", "--once", "--config", site.config_path)

    assert program.end() == Exit.INCOMPLETE
    assert [line["path"] for line in program.events("recording.blocked")] == ["theirs.wav"]
    (row,) = watcher.ask_json(site, "list", "--waiting")
    assert row["path"] == "theirs.wav"
    call = watcher.call("list", "--waiting", "--config", site.config_path)
    assert "theirs.wav" in call.out
    assert "no daemon is running" in call.err
    both = watcher.call("list", "--waiting", "--state", "done", "--config", site.config_path)
    assert both.process.returncode == Exit.USAGE


def stranger_s_place(root: Path, url: str) -> Place:
    for name in ("drop", "done", "failed"):
        shared_folder(root / name, 0o2775)
    os.chown(root, STRANGER.uid or 0, STRANGER.gid)
    place = Place(root, url, FalseClock())
    with place.opened():
        pass  # what an upgrade needs is where the stranger cannot read it
    return place


def test_it_is_told_again_once_a_day_and_when_it_comes_back(open_folder: Path, service: Sandbox) -> None:
    """Two and a half days of looks make three lines; mended and broken again, one more."""
    place = stranger_s_place(open_folder, service.url)
    path = open_folder / "drop" / "mine.wav"

    def live_through() -> list[int]:
        place.drop("mine.wav")
        path.chmod(0)
        with place.opened() as journey, listening() as log:
            counts = []
            for _ in range(60):
                settle(journey)
                place.clock.wait(3600, journey.stopping)
            counts.append(len(told(log, "recording.blocked")))
            for change in (b"", speech("again")):
                path.chmod(0o600)
                path.write_bytes(change)
                path.chmod(0 if change else 0o600)
                for _ in range(3):
                    place.clock.wait(60, journey.stopping)
                    settle(journey)
            counts.append(len(told(log, "recording.blocked")))
            return counts

    assert as_user(live_through) == [3, 4]


def test_one_that_was_queued_is_told_as_seldom(open_folder: Path, service: Sandbox) -> None:
    """It is tried again every ten minutes: a day makes one line in the log, and one in its history."""
    place = stranger_s_place(open_folder, service.url)

    def live_through() -> tuple[Lines, list[JsonObject]]:
        with queued(place, "sub/one") as journey, listening() as log:
            (open_folder / "drop" / "sub").chmod(0o500)
            drain(journey, DAY - 3600)
            with place.books() as books:
                history = books.items.history(place.item_in(books, "sub/one.wav").id)
            drain(journey, DAY)
            return told(log, "recording.postponed"), history

    lines, history = as_user(live_through)
    assert len(lines) == 2
    assert len([change for change in history if "one.wav" in change["note"]]) == 1


def newcomers(watcher: Programs, python: StrangersPython, site: Place) -> JsonObject | None:
    program = start(watcher, python, "check", "--json", "--config", site.config_path)
    program.end()
    checks: list[JsonObject] = json.loads(program.out)["checks"]
    return next((check for check in checks if check["name"] == "newcomers"), None)


@pytest.mark.parametrize("mode", [0o2770, 0o2775, 0o777])
def test_check_foresees_what_others_will_drop_and_its_command_mends_it(
    mode: int, site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """Folders made with umask 022 and 077, before and after: none can be emptied; after the command all can."""
    needs_acl()
    top = site.root / "drop"
    top.chmod(mode)
    DROPPER.does(os.mkdir, top / "before", 0o755)
    DROPPER.does(put, top / "before" / "call.wav", 0o600)
    found = newcomers(watcher, python, site)
    assert found is not None
    assert found["state"] == "warning"
    assert "umask 022" in found["found"]
    assert "before in the drop folder" in found["found"]

    subprocess.run(found["hint"].removeprefix("As root: "), shell=True, check=True)

    found = newcomers(watcher, python, site)
    assert found is not None
    assert found["state"] == "well", found
    for umask in (0o022, 0o077):
        DROPPER.does(drop_with, umask, top / f"new{umask:o}")
    program = start(watcher, python, "run", "--once", "--config", site.config_path)
    assert program.end() == Exit.WELL, program.err
    assert {*site.states()} == {"before/call.wav", "new22/sub/call.wav", "new77/sub/call.wav"}
    assert not [path for path in site.files() if path.startswith("drop/")]


def drop_with(umask: int, folder: Path) -> None:
    os.umask(umask)
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "call.wav").write_bytes(speech(folder.name))


def test_a_drop_folder_of_the_service_alone_needs_no_list(
    site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """Where nobody else can put anything, there is nothing to warn of."""
    os.chown(site.root / "drop", STRANGER.uid or 0, STRANGER.gid)
    (site.root / "drop").chmod(0o700)
    assert newcomers(watcher, python, site) is None
