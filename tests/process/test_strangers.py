"""The daemon as an unattended server runs it: a user of its own, on the files and folders of others."""

import os
import re
import stat
import subprocess
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from tests.people import (
    CREW,
    SOMEBODY,
    STRANGER,
    Person,
    StrangersPython,
    drop,
    shared_folder,
)
from tests.places import KEY, Place, speech
from tests.process.programs import (
    ENVIRONMENT,
    Program,
    Programs,
    last_scan_at,
    let_pass,
    posts,
    wait_until,
    waiting,
)
from watcher.domain import Pause, PauseKind, State
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.text import JsonObject

OWNER = Person("owner", uid=SOMEBODY, gid=CREW)
OTHER = Person("other", uid=SOMEBODY + 2, gid=CREW)


def start(watcher: Programs, python: StrangersPython, *arguments: str | Path) -> Program:
    """The stranger runs `watcher`, and has the key in the environment."""
    return watcher.start(
        *arguments,
        executable=python.executable,
        environment=ENVIRONMENT | python.environment | {"IDENTIFAI_API_KEY": KEY},
        cwd="/",
        **STRANGER.spawning(),
    )


def daemon_of(watcher: Programs, python: StrangersPython, site: Place) -> Program:
    program = start(watcher, python, "run", "--config", site.config_path)
    program.wait_for("daemon.started")
    assert os.stat(f"/proc/{program.pid}").st_uid == STRANGER.uid
    return program


def _tells_verdict(receipt: Callable[[], JsonObject]) -> bool:
    return bool(receipt()["verdict"]["state"] == "known")


def test_what_nobody_lets_us_read_in_done_is_not_ours(
    watcher: Programs, site: Place, python: StrangersPython, service: Sandbox
) -> None:
    """A recording whose receipt would have that name is paid for once, and filed beside it; so is the next."""
    private = site.root / "done/call.wav.json"
    private.write_text("{}")
    private.chmod(0o600)
    daemon = daemon_of(watcher, python, site)
    for number in (1, 2):
        drop(site.root / "drop/call.wav", speech(f"call {number}"))
        daemon.wait_for("recording.done", number)
    assert daemon.events("recording.stuck") == []
    daemon.wait_for("verdict.known", 2)
    with site.books() as books:
        items = list(books.items.listed())
    assert [item.filed_as for item in items] == [f"call~{item.id[:6]}.wav".encode() for item in items]
    for item in items:
        receipt = partial(site.receipt, f"done/call~{item.id[:6]}.wav.json")
        wait_until(partial(_tells_verdict, receipt), "its receipt tells the verdict")
        assert receipt()["id"] == item.id
    assert private.read_text() == "{}"
    assert service.charged == 2


def test_a_waiting_file_that_becomes_a_folder_stops_nothing(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """Under its name there is a folder now into which the service may not look: that is what waits, once."""
    site.configure(store={"url": site.config.store.url}, arrivals={"settle_seconds": 0.3, "rescan_seconds": 600})
    daemon = daemon_of(watcher, python, site)
    daemon.wait_for("watch.chosen")
    path = site.root / "drop" / "call.wav"
    drop(path, speech("call")[:20_000])
    wait_until(lambda: waiting(site) == {"call.wav": "cut_short"}, "it waits")

    path.unlink()
    path.mkdir(0o700)

    wait_until(
        lambda: waiting(site) == {"call.wav": "folder_unreadable"}, "it waits", told=lambda: str(waiting(site))
    )
    drop(site.root / "drop" / "next.wav", speech("next"))
    daemon.wait_for("recording.done")
    assert daemon.events("step.failed") == []
    assert daemon.stop() == 0


def test_recordings_of_others_go_their_whole_way(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """Files of another user, in folders of a third, are submitted, moved and filed; they stay their owner's."""
    daemon = daemon_of(watcher, python, site)
    shared_folder(site.root / "drop" / "day")
    drop(site.root / "drop" / "one.wav", speech("one"))
    drop(site.root / "drop" / "day" / "two.wav", speech("two"))
    drop(site.root / "drop" / "notes.wav", b"no recording\n")
    owner = (site.root / "drop" / "one.wav").stat().st_uid

    daemon.wait_for("recording.done", 2)
    daemon.wait_for("recording.failed")

    assert site.files() == {
        f"{path}{ending}"
        for path in ("done/one.wav", "done/day/two.wav", "failed/notes.wav")
        for ending in ("", ".json")
    }
    assert service.charged == 2
    filed, receipt = site.root / "done" / "one.wav", site.root / "done" / "one.wav.json"
    assert filed.stat().st_uid == owner
    assert (receipt.stat().st_uid, receipt.stat().st_gid) == (STRANGER.uid, CREW)
    assert receipt.stat().st_mode & stat.S_IRGRP
    assert daemon.stop() == 0
    assert not {line["level"] for line in daemon.log} & {"error", "critical"}


def test_a_marker_counts_only_from_the_recordings_owner(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """Another's says nothing of it, whatever the quiet; with its owner's own it is sent."""
    site.configure(
        store={"url": site.config.store.url},
        arrivals={"marker": ".done", "settle_seconds": 0.3, "unclosed_seconds": 1, "rescan_seconds": 1},
    )
    daemon = daemon_of(watcher, python, site)
    daemon.wait_for("watch.chosen")
    call, content = site.root / "drop" / "call.wav", speech("call")
    marker = site.root / "drop" / "call.wav.done"
    OWNER.does(Path.write_bytes, call, content)
    OTHER.does(Path.touch, marker)
    wait_until(
        lambda: "does not count" in watcher.ask(site, "why", "call.wav"), "it is told", told=lambda: daemon.err
    )
    OWNER.does(Path.write_bytes, site.root / "drop" / "other.wav", speech("other"))
    OWNER.does(Path.touch, site.root / "drop" / "other.wav.done")
    daemon.wait_for("recording.done")
    let_pass(4)
    assert [entry.sha256 for entry in posts(service)] == [sha256(speech("other")).hexdigest()]

    OWNER.does(Path.unlink, marker)
    OWNER.does(Path.touch, marker)

    daemon.wait_for("recording.done", 2)
    assert posts(service)[1].sha256 == sha256(content).hexdigest()
    assert daemon.stop() == 0


STORM = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
os.umask(0o002)
n = 0
while True:
    for path in sys.argv[1:]:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o664))
        os.close(os.open(path, os.O_RDONLY))
        n += 1
        if n % 50 == 0:
            os.rename(path, path + ".x.wav")
            os.rename(path + ".x.wav", path)
        if n == 3000:
            print("it storms", flush=True)
"""
"""Opens, closes and renames these files without end, until its standard input does."""


def test_a_storm_of_events_on_a_few_names_holds_nobody_up(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """Recordings that come meanwhile get through, the full looks go on, and the daemon does not grow."""
    daemon = daemon_of(watcher, python, site)
    daemon.wait_for("watch.chosen")
    names = [str(site.root / "drop" / f"storm-{n}.wav") for n in range(3)]
    for name in names:
        OTHER.does(Path.write_bytes, Path(name), speech(name)[:44])
    OWNER.does(Path.write_bytes, site.root / "drop" / "first.wav", speech("first"))
    daemon.wait_for("recording.done")
    before = resident_kib(daemon)
    with subprocess.Popen(
        ["nice", "-n", "5", python.executable, "-c", STORM, *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=python.environment,
        **OTHER.spawning(),
    ) as storm:
        assert storm.stdout is not None
        assert storm.stdout.readline() == b"it storms\n"
        for n in range(10):
            scanned_at = last_scan_at(site) or 0.0
            OWNER.does(Path.write_bytes, site.root / "drop" / f"{n}.wav", speech(f"good {n}"))
            wait_until((site.root / "done" / f"{n}.wav").exists, f"{n} is filed", seconds=60)
            wait_until(partial(has_scanned, site, scanned_at), "all was looked at", seconds=60)
        assert storm.poll() is None
        grown = resident_kib(daemon) - before
        storm.communicate()
    assert grown < 48 * 1024
    assert len(posts(service)) == 11
    assert daemon.stop() == 0


def has_scanned(site: Place, since: float) -> bool:
    return (last_scan_at(site) or 0.0) > since


def resident_kib(program: Program) -> int:
    status = Path(f"/proc/{program.pid}/status").read_text()
    return int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0])


def hide(site: Place) -> Path:
    """It cannot be read."""
    drop(site.root / "drop" / "theirs.wav", speech("theirs"), mode=0o600)
    return site.root / "drop" / "theirs.wav"


def lock_in(site: Place) -> Path:
    """It can be read, but not taken out of its folder."""
    folder = site.root / "drop" / "locked"
    folder.mkdir(mode=0o755)
    drop(folder / "theirs.wav", speech("theirs"))
    return folder


def make_sticky(site: Place) -> Path:
    """The same, since only a file's owner may move it out of such a folder, as /tmp is one."""
    folder = shared_folder(site.root / "drop" / "sticky", 0o3775)
    drop(folder / "theirs.wav", speech("theirs"))
    return folder


@pytest.mark.parametrize("obstruct", [hide, lock_in, make_sticky])
def test_a_recording_that_can_not_be_read_or_moved_waits_unpaid_and_is_explained(
    obstruct: Callable[[Place], Path], site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """`status` and `why` tell it, the others go through; once it is put right, it goes by itself."""
    daemon = daemon_of(watcher, python, site)
    obstacle = obstruct(site)
    drop(site.root / "drop" / "good.wav", speech("good"))

    daemon.wait_for("recording.done")
    wait_until(lambda: list(waiting(site).values()) == ["unreachable_file"], "it waits", told=lambda: daemon.err)

    (path,) = waiting(site)
    assert path.endswith("theirs.wav")
    why = watcher.ask(site, "why", path)
    assert "theirs.wav" in why
    assert "chmod" in why, why
    (status,) = watcher.ask_json(site, "status")
    assert [file["path"] for file in status["waiting"]] == [path]
    assert len(posts(service)) == 1
    obstacle.chmod(0o2777 if obstacle.is_dir() else 0o644)
    daemon.wait_for("recording.done", 2)
    assert set(site.states().values()) == {State.DONE}
    assert service.charged == 2


def test_a_command_that_root_runs_leaves_nothing_that_the_daemon_can_not_write(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """An administrator migrates, pauses and resumes as root; the stranger's daemon then works as before."""
    for command in ("migrate", "pause", "resume", "status"):
        watcher.ask(site, command)
    assert {path.stat().st_uid for path in (site.root / "state").iterdir()} == {STRANGER.uid}
    drop(site.root / "drop" / "one.wav", speech("one"))
    daemon = daemon_of(watcher, python, site)
    daemon.wait_for("recording.done")
    watcher.ask(site, "pause")
    assert daemon.stop() == 0

    program = start(watcher, python, "run", "--once", "--config", site.config_path)

    assert program.end() == 0, program.err
    assert {path.stat().st_uid for path in (site.root / "state").iterdir()} == {STRANGER.uid}


@pytest.mark.parametrize("service_is_down", [False, True])
def test_one_pass_ends_though_what_was_queued_can_not_be_taken_any_more(
    service_is_down: bool, site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """Its folder was closed since: it is named with the reason, and not waited for, also while a pause stands."""
    site.configure(
        retry={"first_seconds": 1, "max_seconds": 1},
        store={"url": site.config.store.url},
        arrivals={"unclosed_seconds": 1},
    )
    folder = shared_folder(site.root / "drop" / "day")
    drop(folder / "theirs.wav", speech("theirs"))
    watcher.ask(site, "pause")
    first = start(watcher, python, "run", "--once", "--config", site.config_path)
    assert first.end() == Exit.UNAVAILABLE, first.err
    watcher.ask(site, "resume")
    folder.chmod(0o755)
    if service_is_down:
        with site.books() as books:
            books.pauses.set(Pause(PauseKind.SERVICE, "service_fault", "It is down.", site.clock.now(), 0.0))

    program = start(watcher, python, "run", "--once", "--config", site.config_path)

    assert program.end() == Exit.INCOMPLETE
    assert program.err.splitlines()[-1].startswith("left: day/theirs.wav: queued (")
    assert "chmod" in program.err.splitlines()[-1]
    assert posts(service) == []
