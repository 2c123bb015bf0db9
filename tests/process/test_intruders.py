"""Whoever may drop recordings may also remove, replace and lock what lies in the folders: that stops no daemon."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.people import (
    CREW,
    SOMEBODY,
    STRANGER,
    Person,
    StrangersPython,
    drop,
)
from tests.places import KEY, Place, speech
from tests.process.programs import CLOCK, ENVIRONMENT, Program, Programs, posts
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox

INTRUDER = Person("intruder", uid=SOMEBODY, gid=SOMEBODY, groups=(CREW,))
NAMES = (".watcher", ".watcher.lock")


def run(watcher: Programs, python: StrangersPython, site: Place, *words: str) -> Program:
    """The stranger runs `watcher run`."""
    return watcher.start(
        *["run", *words, "--config", str(site.config_path)],
        executable=python.executable,
        environment=ENVIRONMENT | python.environment | {"IDENTIFAI_API_KEY": KEY},
        cwd="/",
        **STRANGER.spawning(),
    )


# What an intruder does to a name of ours


def aside(path: str) -> None:
    """Whatever had the name is out of the way, be it ours."""
    if os.path.lexists(path):
        os.rename(path, f"{path}.{os.urandom(4).hex()}")


def remove(path: str) -> None:
    aside(path)


def claim_for_another_site(path: str) -> None:
    aside(path)
    Path(path).write_text('{"site": "another", "host": "elsewhere", "boot_id": "", "pid": 1}')


def close_to_all(path: str) -> None:
    claim_for_another_site(path)
    os.chmod(path, 0)


def put_a_folder_there(path: str) -> None:
    aside(path)
    os.makedirs(f"{path}/full")
    os.chmod(path, 0o700)


def put_a_link_there(path: str) -> None:
    aside(path)
    os.symlink("/etc/passwd", path)


def put_a_pipe_there(path: str) -> None:
    aside(path)
    os.mkfifo(path, 0o666)


def fill(path: str) -> None:
    aside(path)
    Path(path).write_bytes(b"[" * 1_000_000)


DEEDS = [
    remove,
    claim_for_another_site,
    close_to_all,
    put_a_folder_there,
    put_a_link_there,
    put_a_pipe_there,
    fill,
]


def insist(deed: Callable[[str], None], path: str) -> None:
    """The deed is done, though a daemon puts its own file back in the middle of it."""
    deadline = CLOCK.monotonic() + 60
    while True:
        try:
            return deed(path)
        except OSError:
            if CLOCK.monotonic() > deadline:
                raise


def do_everywhere(site: Place, deed: Callable[[str], None]) -> None:
    for folder in ("drop", "done", "failed"):
        for name in NAMES:
            INTRUDER.does(insist, deed, str(site.root / folder / name))


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_whatever_is_put_in_the_place_of_ours_stops_no_daemon(
    deed: Callable[[str], None], site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """Before its first start, between two starts, and while it is at work: recordings go on being filed."""
    do_everywhere(site, deed)
    drop(site.root / "drop" / "one.wav", speech("one"))
    first = run(watcher, python, site, "--once")
    assert first.end() == Exit.WELL, first.err
    do_everywhere(site, deed)
    drop(site.root / "drop" / "two.wav", speech("two"))
    daemon = run(watcher, python, site)
    daemon.wait_for("recording.done")
    do_everywhere(site, deed)
    drop(site.root / "drop" / "three.wav", speech("three"))
    daemon.wait_for("recording.done", 2)

    assert daemon.stop() == 0
    assert set(site.states().values()) == {State.DONE}
    assert len(posts(service)) == 3
    assert not daemon.events("submitting.paused")


@pytest.fixture
def locking(site: Place, python: StrangersPython) -> Iterator[None]:
    """The intruder has a lock on whatever can be locked under our names, and the folder itself, all the time."""
    script = (
        "import fcntl, os, sys\n"
        "for path in sys.argv[1:]:\n"
        "    flags = os.O_RDONLY if os.path.lexists(path) else os.O_RDWR | os.O_CREAT\n"
        "    fcntl.flock(os.open(path, flags, 0o666), fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    paths = [str(site.root / "drop"), *(str(site.root / "drop" / name) for name in NAMES)]
    process = subprocess.Popen(
        [python.executable, "-c", script, *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **INTRUDER.spawning(),
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.communicate()


@pytest.mark.usefixtures("locking")
def test_a_lock_of_a_strangers_keeps_nobody_out(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """The daemon starts, says what it moved aside, and keeps a second one out all the same."""
    drop(site.root / "drop" / "one.wav", speech("one"))
    daemon = run(watcher, python, site)
    daemon.wait_for("recording.done")
    displaced = {line["path"] for line in daemon.events("stranger.displaced")}
    assert displaced == {str(site.root / "drop" / name) for name in NAMES}

    second = run(watcher, python, site, "--once")

    assert second.end() == Exit.RUNNING
    assert f"process {daemon.pid}" in second.err
    daemon.kill()
    drop(site.root / "drop" / "two.wav", speech("two"))
    third = run(watcher, python, site, "--once")
    assert third.end() == Exit.WELL, third.err
    assert len(posts(service)) == 2


def test_two_databases_do_not_share_a_drop_folder(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """The second one, of the same site by its mark, is told who has the folder; nobody else can lock our lock."""
    daemon = run(watcher, python, site)
    daemon.wait_for("daemon.started")
    other = site.root / "other.toml"
    other.write_text(site.config_path.read_text().replace("watcher.db", "other.db"))
    second = watcher.start(
        *["run", "--once", "--config", str(other)],
        executable=python.executable,
        environment=ENVIRONMENT | python.environment | {"IDENTIFAI_API_KEY": KEY},
        cwd="/",
        **STRANGER.spawning(),
    )
    assert second.end() == Exit.RUNNING, second.err
    with pytest.raises(PermissionError):
        INTRUDER.does(os.open, str(site.root / "drop" / ".watcher.lock"), os.O_RDONLY)
    assert daemon.stop() == 0
