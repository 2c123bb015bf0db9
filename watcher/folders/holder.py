"""Who has a lock, for whoever only wants to know, and whether that process still lives."""

import fcntl
import os
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self

from watcher.domain import JsonObject, show_text
from watcher.errors import FolderRefuses
from watcher.folders import disk, marker
from watcher.folders.root import words

BEAT_SECONDS = 5.0
"""So often a holder says in its lock that it lives."""

_SILENT_SECONDS = 60.0  # after so long without a word it is dead, as far as the clocks of two machines agree
_BYTE = 1 << 40  # far behind all that is ever read: SMB keeps others from reading what is locked
_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of fcntl(2)


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a lock, as it says itself. `note`: what else it says."""

    host: str
    pid: int
    boot_id: str = ""
    started: str = ""  # when the process began, in its kernel's ticks: a number may be another process's by now
    at: float = 0.0  # wall clock: when it said so last
    note: JsonObject = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, note: JsonObject) -> Self | None:
        """Who wrote this note; null where it names nobody."""
        host, pid = note.get("host"), note.get("pid")
        if not isinstance(host, str) or not isinstance(pid, int):
            return None
        boot_id, started, at = note.get("boot_id"), note.get("started"), note.get("at")
        return cls(
            show_text(host),
            pid,
            boot_id if isinstance(boot_id, str) else "",
            started if isinstance(started, str) else "",
            at if isinstance(at, int | float) else 0.0,
            note,
        )

    @classmethod
    def ourselves(cls) -> Self:
        """This process."""
        return cls(show_text(socket.gethostname()), os.getpid(), _boot_id(), _started(os.getpid()))

    def as_note(self) -> JsonObject:
        return {name: getattr(self, name) for name in ("host", "pid", "boot_id", "started", "at")}

    def is_same(self, other: "Holder | None") -> bool:
        """Whether both are one process, whenever each was seen."""
        return other is not None and replace(self, at=other.at) == other

    @property
    def lives(self) -> bool | None:
        """Whether the process runs; null where it is another machine's, or one's that was started anew since."""
        if (self.host, self.boot_id) != (show_text(socket.gethostname()), _boot_id()):
            return None
        started = _started(self.pid)
        return bool(started) and started == (self.started or started)

    def __str__(self) -> str:
        return f" on {self.host}, process {self.pid}"


def _boot_id() -> str:
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()
    return ""


def _started(pid: int) -> str:
    """ "" where there is no such process."""
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]
    return ""


# The lock itself: of one byte, by open file description, as a share's server knows them too. It goes with the
# last descriptor, in whatever way its process ends.


def take_lock(opened: int) -> None:
    """The open file is locked. BlockingIOError where somebody else has it."""
    try:
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0))
    except PermissionError as error:  # the other of the two that fcntl(2) has for it
        raise BlockingIOError(error.errno, error.strerror) from error


def _is_locked(opened: int) -> bool:
    asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, _BYTE, 1, 0)
    return bool(_FLOCK.unpack(fcntl.fcntl(opened, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)


def read_holder(opened: int) -> Holder | None:
    """Who has the lock on the open file, as far as that tells: its holder may be about to write, or just gone."""
    with suppress(OSError):
        return Holder.of(marker.read_note(opened))
    return None


def read_note_at(path: bytes, owners: Collection[int] = ()) -> Holder | None:
    """Who the file at the absolute `path` names now, asked of its server anew; null for nobody. OSError.

    A stranger's file names nobody. `owners`: whom we trust besides; see marker.counts.
    """
    opened = _open(path, owners)
    if opened is None:
        return None
    try:
        return Holder.of(marker.read_note(opened))
    finally:
        disk.close(opened)


def holder_of(path: bytes, owners: Collection[int] | None = None, *, now: float | None = None) -> Holder | None:
    """The process that holds the lock at the absolute `path`; None: nobody does. `owners`: as lock has them.

    With `now`, one that has lately said that it lives counts too, though its lock does not reach this mount.
    Nothing is made or written. FolderRefuses where the file can not be read, so that nobody can tell.
    """
    try:
        opened = _open(path, owners)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _untold(path, error) from error
    if opened is None:
        return None
    try:
        holder = read_holder(opened)
        if holder is None or _is_locked(opened):
            return holder
    except OSError as error:
        raise _untold(path, error) from error
    finally:
        disk.close(opened)
    if holder.lives is None:  # another machine's
        return holder if now is not None and abs(now - holder.at) < _SILENT_SECONDS else None
    return holder if holder.lives and not holder.is_same(Holder.ourselves()) else None


def _open(path: bytes, owners: Collection[int] | None) -> int | None:
    """A descriptor of the file, for reading; null where it does not count. `owners`: null where anybody's does."""
    folder = os.open(os.path.dirname(path) or b".", disk.FOLDER & ~os.O_NOFOLLOW)
    try:
        name = os.path.basename(path)
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)  # first: opening a device can do something
        if owners is not None and not marker.counts(status, folder, owners):
            return None
        return os.open(name, disk.RECORDING, dir_fd=folder)
    finally:
        disk.close(folder)


def _untold(path: bytes, error: OSError) -> FolderRefuses:
    return FolderRefuses(
        f"who has the lock {os.fsdecode(path)!r} can not be told ({words(error)})",
        hint="run this as the user that the daemon runs as",
    )
