"""The file `.watcher` in each folder, which says whose folder it is; and what strangers may put in its place.

Whoever may drop a recording may also remove and rename what lies in the folder, ours too. So what counts is a
file of ours, root's or the folder's owner's: anything else under a name of ours is as good as nothing, and moved
aside when the name is needed.
"""

import json
import os
import secrets
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from watcher.domain import JsonObject, from_json
from watcher.folders import disk
from watcher.ownership import make_file

MARKER = b".watcher"
LOCK = b".watcher.lock"
"""In the drop folder: locked by the one process that works on it. Nobody else can open it, or lock it."""

LONGEST = 4096
"""Bytes in a marker, at the most."""

_SECTOR = 512
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

Judgement = Literal["ours", "new", "adopt", "foreign", "not_mounted"]


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a folder lies. Device numbers may be others after a reboot: only compare two of the same moment.

    `identity` is the same for ever, and another one for every other folder on any disk; "" where nothing tells.
    """

    device: int
    parent_device: int  # of the folder that holds it
    inode: int
    identity: str = ""

    @property
    def is_apart(self) -> bool:
        """Whether it is on another device than the folder that holds it: something is mounted there."""
        return self.device != self.parent_device

    def is_known_as(self, other: "Situation") -> bool:
        """Whether both are certainly one folder, whatever lies in it."""
        return self.identity != "" and self.identity == other.identity


@dataclass(frozen=True, slots=True)
class Mark:
    """What a folder's marker says."""

    site: str
    owner: int  # of the file
    inode: int | None = None  # of the folder that it was written for; null: an older program's


def judge_marker(known: Situation | None, found: Situation, marker: str | None, site_id: str) -> Judgement:
    """What a folder is to this site. `known`: as it was when it was marked; None when it never was.

    ours: it bears our mark. foreign: it bears another site's, which has it. new: it is to be marked, as at the
    first start. adopt: somebody removed the mark, or the folder, and made it again where it was, so it is to be
    marked again, and that said. not_mounted: the mark is missing, and a mount point is or was there; so what lies
    there may be the bare mount point, or another disk. Nothing may be put there, marked or believed of it. (Where
    another disk is meant to be there from now on, a person copies the mark to it from one of the other folders.)

    A bind mount from the file system that its mount point lies on is a plain folder to this.
    """
    if marker is not None:
        return "ours" if marker == site_id else "foreign"
    if known is None:
        return "new"
    if found.is_known_as(known):
        return "adopt"
    return "not_mounted" if known.is_apart or found.is_apart else "adopt"


# What is under a name of ours


def counts(status: os.stat_result, folder: int, owners: Collection[int] = ()) -> bool:
    """Whether it is a file, and no stranger's, in this open folder. `owners`: whom we trust besides."""
    trusted = {os.geteuid(), 0, os.fstat(folder).st_uid, *owners}
    return stat.S_ISREG(status.st_mode) and status.st_uid in trusted


def displace(folder: int, name: bytes) -> bytes:
    """Nothing lies under the name in this open folder; what did has the name that is returned."""
    aside = name + b"~" + secrets.token_hex(3).encode()
    disk.rename_noreplace(folder, name, folder, aside)
    return aside


def clear_for_us(folder: int, name: bytes, owners: Collection[int]) -> bytes | None:
    """Under the name lies a file that counts, or nothing; where a stranger's had it, its name now."""
    with suppress(FileNotFoundError):
        if not counts(os.stat(name, dir_fd=folder, follow_symlinks=False), folder, owners):
            return displace(folder, name)
    return None


# The file itself. It is written in place where it is ours, and always as one whole sector or several: neither a
# kill nor a power cut leaves half of what it says.


def open_marker(folder: int, name: bytes = MARKER, mode: int = 0o640, owner: int | None = None) -> int:
    """A descriptor of the marker in this open folder, for reading and writing; it is made if it is not there.

    `owner`: whose it is, where root makes it; null: the folder's owner's.
    """

    def own(made: int) -> None:
        if owner is None or os.geteuid() != 0:
            disk.adopt(made, folder)
        else:
            os.fchown(made, owner, -1)

    try:
        return os.open(name, _OPEN, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another process was quicker
            make_file(folder, name, mode, own)
        return os.open(name, _OPEN, dir_fd=folder)


def read_mark(folder: int, owners: Collection[int] = ()) -> Mark | None:
    """What the marker in this open folder says; null where there is none that counts, or none that says a site."""
    try:
        if not counts(os.stat(MARKER, dir_fd=folder, follow_symlinks=False), folder, owners):
            return None  # not opened: opening a device can do something
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
    """The folder bears the site's mark, and that outlasts a power cut.

    Whose the file is, as the file system has it; and the name that a stranger's has now which lay in its place.
    """
    displaced = clear_for_us(folder, MARKER, {*owners, disk.uid_given(folder)})
    try:
        opened = open_marker(folder)
    except PermissionError:  # root's, say
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
    """What the file says; nothing where that is not ours."""
    return from_json(os.pread(marker, LONGEST, 0)) or {}


def write_note(marker: int, note: JsonObject) -> None:
    """The file says this, and nothing else; not yet durably."""
    data = json.dumps(note).encode()
    size = -(-(len(data) + 1) // _SECTOR) * _SECTOR
    data = data.ljust(size - 1) + b"\n"
    os.lseek(marker, 0, os.SEEK_SET)
    disk.write(marker, data)
    if os.fstat(marker).st_size > size:
        os.ftruncate(marker, size)
