"""Programs that write recordings, each in its own way: `python recorders.py SOURCES DROP SILENCE`

A process of its own, since they are another user's than the daemon. Each way, a function below, writes a file of
its own name into DROP, with what lies under that name in SOURCES, all of them at the same time. Whatever they do
before they fall silent is done within the first second; then nothing happens for SILENCE seconds, nor before there
is a file "go" in SOURCES. Printed for each, as JSON: its name, where the file lies in the end, and the moment just
before its last close.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL


@dataclass
class Take:
    """One recording to be written."""

    content: bytes
    path: str  # in the drop folder
    silence: float
    closed_at: float = 0.0  # just before the last close

    @property
    def half(self) -> int:
        return len(self.content) // 2

    def fall_silent(self) -> None:
        time.sleep(self.silence)
        while not (SOURCES / "go").exists():
            time.sleep(0.05)

    def write(self, opened: int, start: int, end: int | None = None) -> None:
        rest = memoryview(self.content)[start:end]
        os.lseek(opened, start, os.SEEK_SET)
        while rest:
            rest = rest[os.write(opened, rest) :]

    def close(self, opened: int) -> None:
        self.closed_at = time.time()
        os.close(opened)


def new(path: str) -> int:
    return os.open(path, NEW, 0o664)


# Recorders


def rings_first(take: Take) -> None:
    """A header without lengths at once, nothing while it rings, then the call; the header is mended at the end."""
    opened = new(take.path)
    os.write(opened, header_of(take, 0))
    take.fall_silent()
    take.write(opened, 44)
    take.write(opened, 0, 44)
    take.close(opened)


def falls_silent(take: Take) -> None:
    """In mid-call, with a header as a stream has it, of lengths that nobody knows yet."""
    opened = new(take.path)
    os.write(opened, header_of(take, 0xFFFFFFFF))
    take.write(opened, 44, take.half)
    take.fall_silent()
    take.write(opened, take.half)
    take.write(opened, 0, 44)
    take.close(opened)


def keeps_its_header_right(take: Take) -> None:
    """Its lengths are those of what is there, all the time: it looks whole whenever it is silent."""
    opened = new(take.path)
    half = 44 + (take.half - 44) // 2 * 2
    os.write(opened, header_of(take, half - 44))
    take.write(opened, 44, half)
    take.fall_silent()
    take.write(opened, half)
    take.write(opened, 0, 44)
    take.close(opened)


def appends(take: Take) -> None:
    """Frame by frame, of a kind that never tells how much is to come."""
    opened = os.open(take.path, NEW | os.O_APPEND, 0o664)
    take.write(opened, 0, take.half)
    take.fall_silent()
    take.write(opened, take.half)
    take.close(opened)


def buffers(take: Take) -> None:
    """Nothing reaches the file but its first bytes, until the buffer is written out at the close."""
    opened = new(take.path)
    take.write(opened, 0, 4096)
    take.fall_silent()
    take.write(opened, 4096)
    take.close(opened)


def header_of(take: Take, length: int) -> bytes:
    """The WAV header of what is written, saying this length."""
    whole = 0xFFFFFFFF if length == 0xFFFFFFFF else length + 36 if length else 0
    return (
        take.content[:4]
        + whole.to_bytes(4, "little")
        + take.content[8:40]
        + length.to_bytes(4, "little")
    )  # fmt: skip


# Copiers


def sets_the_size_first(take: Take) -> None:
    """The rest is zeros until it comes; by its header it is whole from the beginning."""
    opened = new(take.path)
    os.ftruncate(opened, len(take.content))
    take.write(opened, 0, take.half)
    take.fall_silent()
    take.write(opened, take.half)
    take.close(opened)


def allocates_first(take: Take) -> None:
    opened = new(take.path)
    os.posix_fallocate(opened, 0, len(take.content))
    take.fall_silent()
    take.write(opened, 0)
    take.close(opened)


def writes_backwards(take: Take) -> None:
    """The end is there first, and the header last but one byte."""
    opened = new(take.path)
    take.write(opened, take.half)
    take.write(opened, 0, take.half - 1)
    take.fall_silent()
    take.write(opened, take.half - 1, take.half)
    take.close(opened)


def maps_it(take: Take) -> None:
    """The descriptor is closed long before what is written through the mapping."""
    opened = new(take.path)
    os.ftruncate(opened, len(take.content))
    mapped = mmap.mmap(opened, len(take.content))
    os.close(opened)
    mapped[: take.half] = take.content[: take.half]
    take.fall_silent()
    mapped[take.half :] = take.content[take.half :]
    take.closed_at = time.time()
    mapped.close()


def renames_it_while_it_is_open(take: Take) -> None:
    """A temporary name, hidden, and the last one before all is written."""
    folder, name = os.path.split(take.path)
    temporary = os.path.join(folder, f".{name}.Xa3f9")
    opened = new(temporary)
    take.write(opened, 0, take.half)
    time.sleep(0.2)
    os.rename(temporary, take.path)
    take.fall_silent()
    take.write(opened, take.half)
    take.close(opened)


def moves_it_down_while_it_is_open(take: Take) -> None:
    """Into a subfolder, which is then called otherwise as well."""
    folder, name = os.path.split(take.path)
    below, renamed = os.path.join(folder, "incoming"), os.path.join(folder, "final")
    os.mkdir(below, 0o2775)
    os.chmod(below, 0o2775)
    opened = new(take.path)
    take.write(opened, 0, take.half)
    time.sleep(0.2)
    os.rename(take.path, os.path.join(below, name))
    os.rename(below, renamed)
    take.path = os.path.join(renamed, name)
    take.fall_silent()
    take.write(opened, take.half)
    take.close(opened)


def begins_in_a_new_folder(take: Take) -> None:
    folder, name = os.path.split(take.path)
    os.makedirs(os.path.join(folder, "agent-7", "today"), 0o2775)
    for made in ("agent-7", "agent-7/today"):
        os.chmod(os.path.join(folder, made), 0o2775)
    time.sleep(0.3)
    take.path = os.path.join(folder, "agent-7", "today", name)
    sets_the_size_first(take)


def names_it_before_it_is_written(take: Take) -> None:
    """Made without a name; the name that it is given is heard of, and neither its open nor its close."""
    folder = os.path.dirname(take.path)
    opened = os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o664)
    take.write(opened, 0, take.half)
    here = os.open(folder, os.O_RDONLY)  # with it Python follows the link
    os.link(f"/proc/self/fd/{opened}", take.path, src_dir_fd=here, follow_symlinks=True)
    os.close(here)
    take.fall_silent()
    take.write(opened, take.half)
    take.close(opened)


def links_it_while_it_is_open(take: Take) -> None:
    """Written under a hidden name, which goes when all is written: the last name's open was never heard."""
    folder, name = os.path.split(take.path)
    temporary = os.path.join(folder, f".{name}.Qk81z")
    opened = new(temporary)
    take.write(opened, 0, take.half)
    os.link(temporary, take.path)
    take.fall_silent()
    take.write(opened, take.half)
    take.close(opened)
    os.unlink(temporary)


def reserves_its_name(take: Take) -> None:
    """An empty file keeps the name until another is moved over it, before all of that is written."""
    os.close(new(take.path))
    time.sleep(0.2)
    renames_it_while_it_is_open(take)


def sets_the_size_by_its_path(take: Take) -> None:
    """No open is heard of that; the content comes later."""
    os.close(new(take.path))
    time.sleep(0.3)
    os.truncate(take.path, len(take.content))
    take.fall_silent()
    opened = os.open(take.path, os.O_RDWR)
    take.write(opened, 0)
    take.close(opened)


def cuts_it_by_its_path(take: Take) -> None:
    """More was allocated than was needed; it is cut to its length while it is open."""
    opened = new(take.path)
    os.posix_fallocate(opened, 0, 2 * len(take.content))
    take.write(opened, 0, take.half)
    os.truncate(take.path, len(take.content))
    take.fall_silent()
    take.write(opened, take.half)
    take.close(opened)


# Several who have it open


def opens_it_twice(take: Take) -> None:
    """The first descriptor is closed early, the second one goes on."""
    first = new(take.path)
    take.write(first, 0, take.half)
    time.sleep(0.3)
    second = os.open(take.path, os.O_RDWR)
    time.sleep(0.1)
    os.close(first)
    take.fall_silent()
    take.write(second, take.half)
    take.close(second)


def mends_through_another_descriptor(take: Take) -> None:
    """The header is mended through a second one, which is closed at once; both are closed together at the end."""
    opened = new(take.path)
    take.write(opened, 0, take.half)
    time.sleep(0.3)
    for _ in range(3):
        again = os.open(take.path, os.O_RDWR)
        take.write(again, 0, 44)
        os.close(again)
    take.fall_silent()
    take.write(opened, take.half)
    again = os.open(take.path, os.O_RDWR)
    take.closed_at = time.time()
    os.close(again)
    os.close(opened)


def is_read_meanwhile(take: Take) -> None:
    """A virus scanner, and somebody who listens until after the end."""
    opened = new(take.path)
    take.write(opened, 0, take.half)
    for _ in range(5):
        time.sleep(0.05)
        with open(take.path, "rb") as scanner:
            scanner.read()
    listener = os.open(take.path, os.O_RDONLY)
    take.fall_silent()
    take.write(opened, take.half)
    os.close(opened)
    take.close(listener)


def leaves_it_to_a_child(take: Take) -> None:
    """The descriptor is inherited: it is open for as long as anybody has it."""
    opened = new(take.path)
    take.write(opened, 0)
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[opened])
    os.close(opened)
    take.fall_silent()
    take.closed_at = time.time()
    child.communicate()


def reopens_it(take: Take) -> None:
    """Written, closed, and opened again at once, to mend the header in the end, as Java does it."""
    opened = new(take.path)
    os.write(opened, header_of(take, 0))
    take.write(opened, 44)
    os.close(opened)
    opened = os.open(take.path, os.O_RDWR)
    take.fall_silent()
    take.write(opened, 0, 44)
    take.close(opened)


def mends_its_header_after_the_close(take: Take) -> None:
    """It is opened again a moment after its close, as muxers do that mend what they wrote."""
    opened = new(take.path)
    os.write(opened, header_of(take, 0xFFFFFFFF))
    take.write(opened, 44)
    os.close(opened)
    time.sleep(0.3)
    opened = os.open(take.path, os.O_RDWR)
    take.fall_silent()
    take.write(opened, 0, 44)
    take.close(opened)


def shows_it_after_the_close(take: Take) -> None:
    """Its owner's alone until then, as copiers do that set a mode last; a new mode closes nothing."""
    opened = os.open(take.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    take.write(opened, 0)
    take.fall_silent()
    take.close(opened)
    time.sleep(1.0)
    os.chmod(take.path, 0o664)


def opens_for_each_piece(take: Take) -> None:
    """Opened, appended to and closed, many times, one straight after the other; the last time takes long."""
    piece = len(take.content) // 20
    for start in range(0, 19 * piece, piece):
        with open(take.path, "ab") as file:
            file.write(take.content[start : start + piece])
    opened = os.open(take.path, os.O_RDWR)
    take.fall_silent()
    take.write(opened, 19 * piece)
    take.close(opened)


# Programs


def cat(take: Take) -> None:
    feed(take, "cat")


def dd(take: Take) -> None:
    feed(take, "dd", "bs=4k", "status=none")


def feed(take: Take, *command: str) -> None:
    with open(take.path, "xb") as file:
        writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
    assert writer.stdin is not None
    writer.stdin.write(take.content[: take.half])
    writer.stdin.flush()
    take.fall_silent()
    writer.stdin.write(take.content[take.half :])
    take.closed_at = time.time()
    writer.stdin.close()
    writer.wait()


def rsync(take: Take) -> None:
    stall(take)


def rsync_in_place(take: Take) -> None:
    stall(take, "--inplace")


def stall(take: Take, *options: str) -> None:
    """The line stalls in the middle: every process of it stands still."""
    source = Path(take.path)
    writer = subprocess.Popen(
        ["rsync", "--times", "--bwlimit=100", *options, str(SOURCES / source.name), str(source.parent) + "/"],
        start_new_session=True,
    )
    time.sleep(0.8)
    os.killpg(writer.pid, signal.SIGSTOP)
    take.fall_silent()
    take.closed_at = time.time()
    os.killpg(writer.pid, signal.SIGCONT)
    assert writer.wait() == 0


SOURCES = Path()  # what is to be written

RECORDERS: list[Callable[[Take], None]] = [
    *(rings_first, falls_silent, keeps_its_header_right, appends, buffers),
    *(sets_the_size_first, allocates_first, writes_backwards, maps_it),
    *(renames_it_while_it_is_open, moves_it_down_while_it_is_open, begins_in_a_new_folder),
    *(names_it_before_it_is_written, links_it_while_it_is_open, reserves_its_name),
    *(sets_the_size_by_its_path, cuts_it_by_its_path, mends_its_header_after_the_close),
    shows_it_after_the_close,
    *(opens_it_twice, mends_through_another_descriptor, is_read_meanwhile, leaves_it_to_a_child),
    *(reopens_it, opens_for_each_piece, cat, dd, rsync, rsync_in_place),
]

UNHEARD: list[Callable[[Take], None]] = [names_it_before_it_is_written, links_it_while_it_is_open]
"""Nothing tells of their close: they must have been quiet for long."""

HEARD_AMID: list[Callable[[Take], None]] = [rsync]
"""Where nobody listened when the file was made, a close says nothing of who else has it open since before; but for
one under a copier's own temporary name, and a rename then.
"""


def name_of(way: Callable[[Take], None]) -> str:
    return way.__name__ + (".mp3" if way in (appends, opens_for_each_piece) else ".wav")


def run(way: Callable[[Take], None], drop: str, silence: float) -> None:
    name = name_of(way)
    take = Take((SOURCES / name).read_bytes(), os.path.join(drop, name), silence)
    way(take)
    told = {"name": name, "path": os.path.relpath(take.path, drop), "closed_at": take.closed_at}
    print(json.dumps(told) + "\n", end="", flush=True)


if __name__ == "__main__":
    SOURCES = Path(sys.argv[1])
    os.umask(0o002)
    threads = [threading.Thread(target=run, args=(way, sys.argv[2], float(sys.argv[3]))) for way in RECORDERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
