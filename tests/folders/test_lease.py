"""Whether anybody still writes: asked of the kernel, about a real second process."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.people import ROOT, SOMEBODY, STRANGER, Person, as_user, drop, needs_root, shared_folder
from watcher.errors import RecordingUnreachable
from watcher.folders import Folder, is_being_written

HOLD = {
    "appending": "file = open(path, 'ab')",
    "reading and writing": "file = open(path, 'r+b')",
    "mapped, and closed": "file = mmap.mmap(os.open(path, os.O_RDWR), 0)",
}
LEASE = """
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(path, 'rb')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
"""


@pytest.fixture
def folder(place: Path) -> Folder:
    return Folder(os.fsencode(shared_folder(place / "drop")), "drop")


def put(folder: Folder, owner: int | None = None) -> bytes:
    """A recording of whoever runs the tests, or of `owner`. Its absolute path."""
    path = os.path.join(folder.root, b"call.wav")
    with open(path, "wb") as file:
        file.write(b"sound")
    if owner is not None:
        os.chown(path, owner, -1)
    os.chmod(path, 0o664)
    return path


@contextmanager
def holding(path: bytes, statements: str) -> Iterator[None]:
    """Another process has the file in hand for the length of the block."""
    program = f"import fcntl, mmap, os, signal, sys\npath = sys.argv[1]\n{statements}\nprint('held', flush=True)\n"
    other = subprocess.Popen(
        [sys.executable, "-c", program + "sys.stdin.read()", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other:
        assert other.stdout.readline() == b"held\n"
        yield
        other.stdin.close()


def ask(folder: Folder) -> bool | None:
    file, _ = folder.open(b"call.wav")
    with file:
        return is_being_written(file)


@pytest.mark.parametrize("way", HOLD)
def test_a_file_that_a_process_holds_for_writing_is_being_written(folder: Folder, way: str) -> None:
    """However long it has been quiet; and no longer than its writer has it."""
    path = put(folder)
    assert ask(folder) is False
    with holding(path, HOLD[way]):
        assert ask(folder) is True
        assert ask(folder) is True
    assert ask(folder) is False


def test_a_file_that_others_only_read_is_not_being_written(folder: Folder) -> None:
    """A virus scanner, or a person who listens, delays nothing."""
    with holding(put(folder), "file = open(path, 'rb')"):
        assert ask(folder) is False


@pytest.mark.parametrize(("who", "owner"), [(ROOT, SOMEBODY), (STRANGER, STRANGER.uid)], ids=["root", "owner"])
def test_root_and_the_owner_are_told(folder: Folder, who: Person, owner: int) -> None:
    """The file's own user needs no capability."""
    needs_root()
    path = put(folder, owner)
    assert who.does(ask, folder) is False
    with holding(path, HOLD["appending"]):
        assert who.does(ask, folder) is True


def test_a_stranger_is_told_nothing(folder: Folder) -> None:
    """On the files of others the kernel gives no lease: neither yes nor no may be made of that."""
    needs_root()
    path = put(folder, SOMEBODY)
    assert as_user(ask, folder) is None
    with holding(path, HOLD["appending"]):
        assert as_user(ask, folder) is None


def test_on_a_file_system_that_is_not_this_machines_own_nothing_is_told() -> None:
    """There a lease says nothing of who writes elsewhere, and its refusal nothing of who writes at all."""
    file, _ = Folder(f"/proc/{os.getpid()}".encode(), "drop").open(b"status")
    with file:
        assert is_being_written(file) is None


def test_who_opens_the_file_in_that_very_instant_kills_nobody_and_may_write_at_once(folder: Folder) -> None:
    """The kernel's signal to the lease's holder, whose default is death, is one that does nothing."""
    path = put(folder)
    call = fcntl.fcntl
    refused = []

    def granted_and_broken(opened: int, command: int, argument: int = 0) -> Any:
        outcome = call(opened, command, argument)
        if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_RDLCK):
            with pytest.raises(BlockingIOError):
                os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            refused.append(path)
        return outcome

    def probe() -> tuple[bool | None, int]:
        assert signal.getsignal(signal.SIGIO) is signal.SIG_DFL
        setattr(fcntl, "fcntl", granted_and_broken)  # noqa: B010
        file, _ = folder.open(b"call.wav")
        with file:
            told = is_being_written(file)
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return told, len(refused)

    assert ROOT.does(probe) == (False, 1)


def test_a_file_that_another_program_has_leased_waits_for_it(folder: Folder) -> None:
    """A server that keeps a file to itself (kernel oplocks) is asked to let go: that is about this file alone."""
    drop(os.path.join(folder.root, b"call.wav"), b"sound")
    with (
        holding(os.path.join(folder.root, b"call.wav"), LEASE),
        pytest.raises(RecordingUnreachable, match=r"call\.wav in the drop folder .* held by another program"),
    ):
        folder.open(b"call.wav")
    assert ask(folder) is False
