"""The file `.watcher` in each folder, which says which site owns it; and strangers' files in its place.

Anybody who may drop recordings may also remove and rename files in the folder, ours too. So only a file that
belongs to us, root or the folder's owner counts. Anything else under a name of ours is ignored, and moved aside
when the name is needed.
"""

import json
import os
import secrets
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from watcher.folders import disk
from watcher.ownership import make_file
from watcher.text import JsonObject, from_json

MARKER = b".watcher"
LOCK = b".watcher.lock"
"""In the drop folder: locked by the one process that works on it. Nobody else can open or lock it."""

LONGEST = 4096
"""The most bytes a marker may have."""

_SECTOR = 512
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a folder is. Device numbers may change at a reboot: compare only two of the same moment.

    `identity` never changes, and is unique among all folders on all disks; "" where it is not known.
    """

    device: int
    parent_device: int  # of the folder above it
    inode: int
    identity: str = ""

    @property
    def is_apart(self) -> bool:
        """Whether it is on another device than the folder above it: something is mounted there."""
        return self.device != self.parent_device

    def is_known_as(self, other: "Situation") -> bool:
        """Return whether both are certainly the same folder, whatever its content."""
        return self.identity != "" and self.identity == other.identity


@dataclass(frozen=True, slots=True)
class Mark:
    """The content of a folder's marker."""

    site: str
    owner: int  # of the file
    inode: int | None = None  # of the folder that it was written for; None: written by an older version


# Files under a name of ours


def counts(status: os.stat_result, folder: int, owners: Collection[int] = ()) -> bool:
    """Return whether it is a file that no stranger owns, in this open folder. `owners`: who else is trusted."""
    trusted = {os.geteuid(), 0, os.fstat(folder).st_uid, *owners}
    return stat.S_ISREG(status.st_mode) and status.st_uid in trusted


def displace(folder: int, name: bytes) -> bytes:
    """Free the name in this open folder by renaming whatever has it. Return its new name."""
    aside = name + b"~" + secrets.token_hex(3).encode()
    disk.rename_noreplace(folder, name, folder, aside)
    return aside


def clear_for_us(folder: int, name: bytes, owners: Collection[int]) -> bytes | None:
    """Move a stranger's file away from the name. Return its new name; None where there was none."""
    with suppress(FileNotFoundError):
        if not counts(os.stat(name, dir_fd=folder, follow_symlinks=False), folder, owners):
            return displace(folder, name)
    return None


# The file itself. One that is ours is written in place, and always in whole sectors: neither a kill nor a power
# cut leaves it half written.


def open_marker(folder: int, name: bytes = MARKER, mode: int = 0o640, owner: int | None = None) -> int:
    """Open the marker in this open folder for reading and writing, creating it if necessary.

    `owner`: who gets the file if root creates it; None: the folder's owner.
    """

    def own(made: int) -> None:
        if owner is None or os.geteuid() != 0:
            disk.adopt(made, folder)
        else:
            os.fchown(made, owner, -1)

    try:
        return os.open(name, _OPEN, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another process was faster
            make_file(folder, name, mode, own)
        return os.open(name, _OPEN, dir_fd=folder)


def read_mark(folder: int, owners: Collection[int] = ()) -> Mark | None:
    """Return the mark in this open folder; None where there is no trusted marker, or it names no site."""
    try:
        if not counts(os.stat(MARKER, dir_fd=folder, follow_symlinks=False), folder, owners):
            return None  # not opened: opening a device can have effects
        opened = os.open(MARKER, disk.RECORDING, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        status, note = os.fstat(opened), read_note(opened)
        is_one = counts(status, folder, owners) and isinstance(note.get("site"), str)
    finally:
        disk.close(opened)
    inode = note.get("folder")
    return Mark(note["site"], status.st_uid, inode if isinstance(inode, int) else None) if is_one else None


def write_mark(folder: int, site_id: str, owners: Collection[int] = ()) -> tuple[int, bytes | None]:
    """Mark the folder for the site, durably.

    Return the marker's owner as the file system shows it, and the new name of a stranger's file in its place.
    """
    displaced = clear_for_us(folder, MARKER, {*owners, disk.uid_given(folder)})
    try:
        opened = open_marker(folder)
    except PermissionError:  # for instance root's
        displaced = displace(folder, MARKER)
        opened = open_marker(folder)
    try:
        write_note(opened, {"site": site_id, "folder": os.fstat(folder).st_ino})
        os.fsync(opened)
        owner = os.fstat(opened).st_uid
    finally:
        disk.close(opened)
    disk.sync(folder)
    return owner, displaced


def read_note(marker: int) -> JsonObject:
    """Return the note in the file; empty where the content is not ours."""
    return from_json(os.pread(marker, LONGEST, 0)) or {}


def write_note(marker: int, note: JsonObject) -> None:
    """Replace the file's content with this note; not yet durably."""
    data = json.dumps(note).encode()
    size = -(-(len(data) + 1) // _SECTOR) * _SECTOR
    data = data.ljust(size - 1) + b"\n"
    os.lseek(marker, 0, os.SEEK_SET)
    disk.write(marker, data)
    if os.fstat(marker).st_size > size:
        os.ftruncate(marker, size)
