"""What is said goes out in order, a line a write, holds nobody up, and says itself how much of it is missing."""

import io
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import pytest

from watcher import outlet
from watcher.clock import SystemClock
from watcher.outlet import Outlet

CLOCK = SystemClock()
PATIENCE_SECONDS = 20.0


def describe_loss(lines: int) -> str:
    return f"{lines} lines are missing\n"


@contextmanager
def pipe(*, is_full: bool = False) -> Iterator[tuple[int, TextIO]]:
    """A pipe, empty or full of NUL bytes: its end for reading, and what writes into it."""
    reading, writing = os.pipe()
    with open(writing, "w") as stream:
        if is_full:
            fill(writing)
        try:
            yield reading, stream
        finally:
            os.close(reading)


def fill(writing: int) -> None:
    """The pipe takes nothing any more."""
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)


def read_all(reading: int, said: Outlet) -> list[str]:
    """Every line that comes, until all of it has gone out."""
    data = b""
    drained = threading.Event()

    def drain() -> None:
        said.drain(PATIENCE_SECONDS)
        drained.set()

    threading.Thread(target=drain, daemon=True).start()
    os.set_blocking(reading, False)
    until = CLOCK.monotonic() + PATIENCE_SECONDS
    while CLOCK.monotonic() < until:
        was_drained = drained.is_set()
        try:
            data += os.read(reading, 1 << 16)
        except BlockingIOError:
            if was_drained:
                break
            CLOCK.wait(0.001, threading.Event())
    return data.lstrip(b"\0").decode().splitlines()


def test_a_reader_that_stands_still_holds_nobody_up_and_misses_what_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Far more than pipe and queue hold is said at once; what comes later is in order, and no loss is untold."""
    monkeypatch.setattr(outlet, "MOST_CHARACTERS", 50_000)
    with pipe(is_full=True) as (reading, stream):
        out = Outlet(stream, describe_loss)
        for number in range(20_000):
            out.write(f"line {number}\n")
        lines = read_all(reading, out)
        out.write("afterwards\n")
        lines += read_all(reading, out)
        out.close()
    assert lines[-1] == "afterwards"
    expected = 0
    for line in lines[:-1]:
        if missing := re.fullmatch(r"(\d+) lines are missing", line):
            expected += int(missing[1])
        else:
            assert line == f"line {expected}"
            expected += 1
    assert expected == 20_000
    assert sum("missing" in line for line in lines) == 1


def test_a_reader_that_comes_and_goes_is_told_of_each_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number stands where the lines are missing, between those before and those after."""
    monkeypatch.setattr(outlet, "MOST_CHARACTERS", 1000)
    told: list[str] = []
    with pipe() as (reading, stream):
        out = Outlet(stream, describe_loss)
        for batch in range(3):
            fill(stream.fileno())
            for number in range(1000):
                out.write(f"{batch} {number}\n")
            told += read_all(reading, out)
        out.close()
    gaps = [index for index, line in enumerate(told) if "missing" in line]
    assert len(gaps) == 3
    for batch, gap in enumerate(gaps):
        assert told[gap - 1].startswith(f"{batch} ")
        assert gap + 1 == len(told) or told[gap + 1] == f"{batch + 1} 0"


def test_a_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many threads speak at once: whoever reads gets each line whole, whatever its length."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, open(os.dup(theirs.fileno()), "w") as stream:
        out = Outlet(stream, describe_loss)
        lines = {f"{n} " + "x" * (n * 700) + "\n" for n in range(100)}
        speakers = [threading.Thread(target=out.write, args=(line,)) for line in lines]
        for speaker in speakers:
            speaker.start()
        ours.settimeout(PATIENCE_SECONDS)
        assert {ours.recv(1 << 20).decode() for _ in lines} == lines
        for speaker in speakers:
            speaker.join()
        out.close()


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_stream_that_would_not_block_is_waited_for(is_blocking: bool) -> None:
    """Whoever shares it with us may have set it so: no line is lost by that."""
    with pipe() as (reading, stream):
        os.set_blocking(stream.fileno(), is_blocking)
        out = Outlet(stream, describe_loss)
        for number in range(10_000):
            out.write(f"line {number}\n")
        assert read_all(reading, out) == [f"line {number}" for number in range(10_000)]
        out.close()


def test_the_end_waits_for_the_last_lines_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a slow reader takes in time goes out; one that has stopped is left."""
    with pipe() as (reading, stream):
        out = Outlet(stream, describe_loss)
        out.write("x" * 100_000 + "\n")
        slow = threading.Timer(0.2, lambda: [os.read(reading, 1 << 20) for _ in range(2)])
        slow.start()
        out.close()
        slow.join()
        assert out.drain(0)
    monkeypatch.setattr(outlet, "LAST_SECONDS", 0.2)
    with pipe() as (_, stream):
        out = Outlet(stream, describe_loss)
        out.write("x" * 100_000 + "\n")
        began = CLOCK.monotonic()
        out.close()
        out.close()
        assert 0.2 <= CLOCK.monotonic() - began < PATIENCE_SECONDS
        assert out.write("too late\n") == 9


def test_a_disk_that_was_full_has_whole_lines_again_and_the_number_of_those_that_are_missing() -> None:
    """A line that was cut off by the full disk does not swallow the next one."""
    script = """
        import os, resource, sys
        from watcher.outlet import Outlet

        out = Outlet(open(sys.argv[1], "w"), lambda lines: f"{lines} lines are missing\\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))  # cuts off the third line
        for number in range(6):
            out.write(f"line {number}\\n")
        out.drain(20)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        out.write("line 6\\n")
        out.close()
    """
    with open(os.memfd_create("log"), "r+") as file:
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        subprocess.run([sys.executable, "-c", textwrap.dedent(script), path], check=True, timeout=60)
        lines = file.read().splitlines()
    assert lines == ["line 0", "line 1", "line 2", "4 lines are missing", "line 6"]


def test_a_line_for_people_stands_behind_what_was_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the log is behind; and on standard error as it is, where nothing is logged."""
    with pipe() as (reading, stream):
        monkeypatch.setattr(sys, "stderr", stream)
        out = Outlet(stream, describe_loss)
        for number in range(9000):
            out.write(f"line {number}\n")
        outlet.say("left: one.wav")
        assert read_all(reading, out)[-1] == "left: one.wav"
        out.close()
    other = io.StringIO()
    monkeypatch.setattr(sys, "stderr", other)
    outlet.say("watcher: no such command")
    assert other.getvalue() == "watcher: no such command\n"
    monkeypatch.setattr(sys, "stderr", None)
    outlet.say("nobody hears it")


def test_a_closed_stream_never_gets_anothers_lines() -> None:
    """The descriptor that a closed log had may be the next file's, the database's say: no line goes there."""
    with pipe() as (reading, stream):
        out = Outlet(stream, describe_loss)
        number = stream.fileno()
        stream.close()
        other = os.open(os.devnull, os.O_RDONLY)
        assert other == number
        out.write("line\n")
        assert read_all(reading, out) == ["line"]
        os.close(other)
        out.close()
