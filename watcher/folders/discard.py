"""Remove one file from a folder, durably, and only if it is the one that is meant.

The check and the removal cannot be one call to the system, so the file first gets a hidden name of ours: what was
checked is what has that name, or it gets its own name back. A kill leaves it under the hidden name, where the next
try finds it.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from watcher.domain import Fingerprint
from watcher.errors import RecordingChanged, RecordingGone
from watcher.folders import disk
from watcher.folders.folder import Folder

Check = Callable[[int, Fingerprint], bool]
"""Whether the open file, with this fingerprint, is the one that is meant."""

_START = b".watcher-removing-"


def discard(folder: Folder, path: bytes, item_id: str, is_meant: Check) -> int:
    """Remove the item's file at `path`. Return how many other names (hard links) it has, which stay.

    Raises RecordingGone where no regular file has the name, RecordingChanged where one has that is not meant: it
    stays. FolderRefuses, FolderMissing; RecordingUnreachable where it may not be read or removed.
    """
    with folder.giving(path), folder.holder(path) as (here, name):
        aside = _aside(name, item_id)
        with suppress(FileNotFoundError):
            return _finish(folder, here, path, aside, is_meant)
        opened = _open(folder, here, path, name)
        try:
            before = disk.fingerprint_of(os.fstat(opened))
            if not is_meant(opened, before):
                raise _changed(folder, path)
        finally:
            disk.close(opened)
        disk.rename_noreplace(here, name, here, aside)
        try:
            # Where inode numbers do not last, it is read once more.
            return _finish(
                folder, here, path, aside, lambda at, there: there.same_content(before) or is_meant(at, there)
            )
        except FileNotFoundError as error:
            raise RecordingGone(f"{folder.label(path)} was taken away meanwhile") from error


def _finish(folder: Folder, here: int, path: bytes, aside: bytes, is_meant: Check) -> int:
    """Remove what has the hidden name, if it is meant; else give it its own name back. FileNotFoundError."""
    opened = os.open(aside, disk.RECORDING, dir_fd=here)
    try:
        status = os.fstat(opened)
        is_it = stat.S_ISREG(status.st_mode) and is_meant(opened, disk.fingerprint_of(status))
    finally:
        disk.close(opened)
    if not is_it:
        try:
            disk.rename_noreplace(here, aside, here, os.path.basename(path))
        except FileExistsError:  # a newcomer has its name: it stays where it is, and is named
            path = os.path.join(os.path.dirname(path), aside)
        raise _changed(folder, path)
    os.unlink(aside, dir_fd=here)
    disk.sync(here)
    return status.st_nlink - 1


def _open(folder: Folder, here: int, path: bytes, name: bytes) -> int:
    """Open the regular file of this name; opening anything else can have effects."""
    if not stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
        raise RecordingGone(f"{folder.label(path)} is not a regular file", hint="it is left as it is")
    return os.open(name, disk.RECORDING, dir_fd=here)


def _changed(folder: Folder, path: bytes) -> RecordingChanged:
    return RecordingChanged(
        f"{folder.label(path)} is not what was filed there: it is left as it is",
        hint=f"look at it, and remove it yourself if it is to go: rm {folder.quoted(path)}",
    )


def _aside(name: bytes, item_id: str) -> bytes:
    return _START + f"{item_id}-{sha256(name).hexdigest()[:8]}".encode()
