"""Who holds a lock, and whether that process is still alive, without taking the lock."""

import fcntl
import os
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self

from watcher.errors import FolderRefuses
from watcher.folders import disk, marker
from watcher.folders.root import words
from watcher.text import JsonObject, show_text

BEAT_SECONDS = 5.0
"""Seconds between a holder's heartbeats."""

_SILENT_SECONDS = 60.0  # without a heartbeat for so long it counts as dead, with some allowance between two clocks
_BYTE = 1 << 40  # far beyond what is ever read: SMB prevents others from reading a locked byte
_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of fcntl(2)


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock, from the note that it wrote. `note`: what else that says."""

    host: str
    pid: int
    boot_id: str = ""
    started: str = ""  # start time in kernel ticks, since the pid may be another process's by now
    at: float = 0.0  # wall clock of the last heartbeat
    note: JsonObject = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, note: JsonObject) -> Self | None:
        """Return who wrote this note; None where it names nobody."""
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
        """Return this process."""
        return cls(show_text(socket.gethostname()), os.getpid(), _boot_id(), _started(os.getpid()))

    def as_note(self) -> JsonObject:
        return {name: getattr(self, name) for name in ("host", "pid", "boot_id", "started", "at")}

    def is_same(self, other: "Holder | None") -> bool:
        """Return whether both are the same process."""
        return other is not None and replace(self, at=other.at) == other

    @property
    def lives(self) -> bool | None:
        """Whether the process runs; None for one on another machine, or from before a reboot of it."""
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


# The lock is an open file description lock on one byte, which a share's server sees too. It is released with the
# last descriptor, however the process ends.


def take_lock(opened: int, *, shared: bool = False) -> None:
    """Lock the open file. BlockingIOError where somebody else has locked it, unless both share the lock."""
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, _BYTE, 1, 0))
    except PermissionError as error:  # EACCES, the other error that fcntl(2) allows for a conflict
        raise BlockingIOError(error.errno, error.strerror) from error


def _is_locked(opened: int) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0)  # which a shared lock hinders too
    return bool(_FLOCK.unpack(fcntl.fcntl(opened, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)


def read_holder(opened: int) -> Holder | None:
    """Return who holds the lock on the open file, by its note, which a new holder may not have written yet."""
    with suppress(OSError):
        return Holder.of(marker.read_note(opened))
    return None


def read_note_at(path: bytes, owners: Collection[int] = ()) -> Holder | None:
    """Return whom the file at the absolute `path` names now, bypassing caches; None for nobody. OSError.

    A stranger's file names nobody. `owners`: who else is trusted; see marker.counts.
    """
    opened = _open(path, owners)
    if opened is None:
        return None
    try:
        return Holder.of(marker.read_note(opened))
    finally:
        disk.close(opened)


def holder_of(path: bytes, owners: Collection[int] | None = None, *, now: float | None = None) -> Holder | None:
    """Return the process that holds the lock at the absolute `path`; None for nobody. `owners`: see lock.

    With `now`, a holder with a recent heartbeat counts too, even if its lock does not reach this mount.
    Creates and writes nothing. FolderRefuses where the file cannot be read.
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
    if holder.lives is None:  # on another machine
        return holder if now is not None and abs(now - holder.at) < _SILENT_SECONDS else None
    return holder if holder.lives and not holder.is_same(Holder.ourselves()) else None


def _open(path: bytes, owners: Collection[int] | None) -> int | None:
    """Open the file for reading; None where it is not trusted. `owners`: None trusts anybody's."""
    folder = os.open(os.path.dirname(path) or b".", disk.FOLDER & ~os.O_NOFOLLOW)
    try:
        name = os.path.basename(path)
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)  # first: opening a device can have effects
        if owners is not None and not marker.counts(status, folder, owners):
            return None
        return os.open(name, disk.RECORDING, dir_fd=folder)
    finally:
        disk.close(folder)


def _untold(path: bytes, error: OSError) -> FolderRefuses:
    return FolderRefuses(
        f"cannot tell who holds the lock {os.fsdecode(path)!r} ({words(error)})",
        hint="run this as the user that the daemon runs as",
    )
