"""Nobody reads the log, or nobody can: the work goes on, a stop is heeded, and a pass comes to its end."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.places import KEY, Place
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, PATIENCE_SECONDS, wait_until
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.store import Store

_END_SECONDS = 10.0  # the log's last seconds, and a slow machine


def full_pipe(left: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    left.callback(os.close, reading)
    fill(writing)
    return reading, writing


def dead_socket(left: ExitStack) -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    left.callback(ours.close)
    writing = theirs.detach()
    fill(writing)
    return ours.fileno(), writing


def stopped_terminal(left: ExitStack) -> tuple[int, int]:
    ours, theirs = pty.openpty()
    left.callback(os.close, ours)
    termios.tcflow(theirs, termios.TCOOFF)  # as Ctrl-S does
    return ours, theirs


def gone_reader(left: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    os.close(reading)
    return -1, writing


def full_disk(left: ExitStack) -> tuple[int, int]:
    return -1, os.open("/dev/full", os.O_WRONLY)


LOGS: dict[str, Callable[[ExitStack], tuple[int, int]]] = {
    "full pipe": full_pipe,
    "dead socket": dead_socket,
    "stopped terminal": stopped_terminal,
    "gone reader": gone_reader,
    "full disk": full_disk,
}


def fill(writing: int) -> None:
    """It takes nothing any more, until somebody reads."""
    os.set_blocking(writing, False)
    for piece in (b"\n" * 4096, b"\n"):
        with suppress(BlockingIOError):
            while True:
                os.write(writing, piece)
    os.set_blocking(writing, True)


@contextmanager
def running(
    place: Place, kind: str, *more: str, key: str = KEY
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """`watcher run` with such a standard error, and our end of that."""
    with ExitStack() as left:
        ours, theirs = LOGS[kind](left)
        process = subprocess.Popen(
            [sys.executable, "-m", "watcher", "run", "--config", str(place.config_path), *more],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env=ENVIRONMENT | {"IDENTIFAI_API_KEY": key, "TERM": "xterm"},
        )
        os.close(theirs)
        left.callback(process.wait)
        left.callback(process.kill)
        yield process, ours


def filed(place: Place) -> list[Path]:
    return sorted((place.root / "done").rglob("*.wav"))


@pytest.mark.parametrize("kind", LOGS)
def test_a_daemon_works_on_and_heeds_a_stop(make_place: MakePlace, service: Sandbox, kind: str) -> None:
    """From its first line on nobody takes its log: recordings are sent and filed, and SIGTERM ends it well."""
    place = make_place(limits={"writes": []}, log={"level": "debug"})
    for number in range(5):
        place.drop(f"{number}.wav")
    with running(place, kind) as (process, _):
        wait_until(lambda: len(filed(place)) == 5, "five are filed")
        place.drop("later.wav")
        place.drop("notes.wav", b"Call back on Monday.\n")
        wait_until(lambda: len(filed(place)) == 6 and State.FAILED in place.states().values(), "the others too")
        process.send_signal(signal.SIGTERM)
        assert process.wait(_END_SECONDS) == Exit.WELL
    assert service.charged == 6


@pytest.mark.parametrize("kind", LOGS)
def test_a_pass_comes_to_its_end(make_place: MakePlace, service: Sandbox, kind: str) -> None:
    """With its lines, its bar and the names of what it left unread, it exits as if they had been read."""
    place = make_place(limits={"writes": []})
    for number in range(5):
        place.drop(f"{number}.wav")
    place.drop("empty.wav", b"")
    with running(place, kind, "--once") as (process, _):
        assert process.wait(PATIENCE_SECONDS) == Exit.INCOMPLETE
    assert len(filed(place)) == service.charged == 5


@pytest.mark.parametrize("kind", ["full pipe", "dead socket"])
def test_whoever_reads_late_gets_it_all_in_order(make_place: MakePlace, service: Sandbox, kind: str) -> None:
    """A log's reader that stood still goes on: no line is missing as long as the queue had room."""
    place = make_place(limits={"writes": []})
    with running(place, kind) as (process, ours):
        place.drop("one.wav")
        wait_until(lambda: len(filed(place)) == 1, "it is filed")
        os.set_blocking(ours, False)
        data = b""

        def read() -> bool:
            nonlocal data
            with suppress(BlockingIOError):
                data += os.read(ours, 1 << 20)
            return b"recording.done" in data and data.endswith(b"\n")

        wait_until(read, "its lines")
        events = [json.loads(line)["event"] for line in data.splitlines() if line]
        said = ["daemon.started", "recording.queued", "recording.submitted", "recording.done"]
        assert [event for event in events if event in said] == said
        process.send_signal(signal.SIGTERM)
        assert process.wait(_END_SECONDS) == Exit.WELL


def test_a_stop_is_heeded_though_something_was_said_before_the_work_began(make_place: MakePlace) -> None:
    """Whoever writes the log takes no signal: a SIGTERM is for those who end the work in order."""
    place = make_place()
    with Store(place.config.store.url) as store:
        store.database.migrate()
    place.drop("one.wav")
    with running(place, "full pipe", key="abc") as (process, _):  # so short a key is told of at once
        wait_until(lambda: State.QUEUED in place.states().values(), "it is at work")
        process.send_signal(signal.SIGTERM)
        assert process.wait(_END_SECONDS) == Exit.WELL


def test_an_error_that_nobody_reads_ends_the_program(place: Place) -> None:
    """A second instance, whose message nobody takes, does not stand beside the first one."""
    with running(place, "full pipe"):
        marker = place.root / "drop" / ".watcher.lock"
        wait_until(lambda: marker.exists() and b"pid" in marker.read_bytes(), "the first one has the folder")
        with running(place, "full pipe", "--once") as (second, _):
            assert second.wait(PATIENCE_SECONDS) == Exit.RUNNING
