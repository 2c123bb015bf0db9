"""Who has a lock, for whoever only wants to know."""

import fcntl
import os

from watcher.domain import JsonObject
from watcher.errors import FolderRefuses
from watcher.folders import disk, marker
from watcher.folders.root import words


def holder_of(path: bytes) -> JsonObject | None:
    """The note (host, boot_id, pid) of the process that holds the lock at the absolute `path`; None: nobody does.

    Nothing is made or written. FolderRefuses where the file can not be read, so that nobody can tell.
    """
    try:
        opened = os.open(path, disk.RECORDING)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FolderRefuses(
            f"who has the lock {os.fsdecode(path)!r} can not be told ({words(error)})",
            hint="run this as the user that the daemon runs as",
        ) from error
    try:
        note = marker.read_note(opened)
        if "pid" not in note:
            return None  # not tried: for that moment an instance that starts just now would find it taken
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return note
        return None  # its holder was killed
    finally:
        os.close(opened)
