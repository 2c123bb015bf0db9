"""Who has a lock, for whoever only wants to know."""

import fcntl
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from watcher.domain import JsonObject, show_text
from watcher.errors import FolderRefuses
from watcher.folders import disk, marker
from watcher.folders.root import words


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a lock, as it says itself. `note`: what else it says."""

    host: str
    pid: int
    note: JsonObject = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, note: JsonObject) -> Self | None:
        """Who wrote this note; null where it names nobody."""
        host, pid = note.get("host"), note.get("pid")
        return cls(show_text(host), pid, note) if isinstance(host, str) and isinstance(pid, int) else None

    def __str__(self) -> str:
        return f" on {self.host}, process {self.pid}"


def read_holder(opened: int) -> Holder | None:
    """Who has the lock on the open file, as far as that tells: its holder may be about to write, or just gone."""
    with suppress(OSError):
        return Holder.of(marker.read_note(opened))
    return None


def holder_of(path: bytes, owners: Collection[int] | None = None) -> Holder | None:
    """The process that holds the lock at the absolute `path`; None: nobody does. `owners`: as lock has them.

    Nothing is made or written. FolderRefuses where the file can not be read, so that nobody can tell.
    """
    try:
        folder = os.open(os.path.dirname(path) or b".", disk.FOLDER & ~os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _untold(path, error) from error
    try:
        name = os.path.basename(path)
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if owners is not None and not marker.counts(status, folder, owners):
            return None
        opened = os.open(name, disk.RECORDING, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _untold(path, error) from error
    finally:
        os.close(folder)
    try:
        holder = read_holder(opened)
        if holder is None:
            return None  # not tried: for that moment an instance that starts just now would find it taken
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return holder
        return None  # its holder was killed
    finally:
        os.close(opened)


def _untold(path: bytes, error: OSError) -> FolderRefuses:
    return FolderRefuses(
        f"who has the lock {os.fsdecode(path)!r} can not be told ({words(error)})",
        hint="run this as the user that the daemon runs as",
    )
