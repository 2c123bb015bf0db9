"""What is assumed about the file system that a folder is on, from its kind and from a probe.

`watcher.mounts.Part` knows the kind: who else can write to it, whether they see our locks, whether inode numbers
and times last, which names it changes. Files of our own probe its behaviour. No other code looks at the name of a
file system, but for what `watcher drill` says of it: an unknown one is handled by its properties.
"""

import os
from dataclasses import dataclass
from enum import StrEnum

from watcher.folders import disk
from watcher.folders.folder import Folder
from watcher.folders.holder import take_lock
from watcher.mounts import Part


class Rename(StrEnum):
    """How a file can be renamed without overwriting another."""

    WHOLE = "in one step"
    LINK = "by a second name, then without the first"
    PLACEHOLDER = "over an empty file of our own"


@dataclass(frozen=True, slots=True)
class Nature:
    """The properties of one part of a folder."""

    part: Part
    rename: Rename
    lock_refused: str  # why a file cannot be locked there, or not be read while locked; "" if it can

    def __str__(self) -> str:
        part = self.part
        kind = str(part.mount or "of an unknown kind")
        reach = part.lock_limits
        told = [
            f"{kind}: others can write to it" if part.elsewhere else f"{kind}: only this machine writes to it",
            f"a file is renamed {self.rename}",
            f"locks are local ({reach}), so a heartbeat is used" if reach else "locks are seen by all users",
            "inode numbers and times last"
            if part.keeps_identity
            else "inode numbers or times change: bytes decide",
        ]
        return "; ".join(filter(None, [*told, part.name_limits]))


def examine(folder: Folder, part: Part) -> Nature:
    """Probe this part, leaving nothing behind. FolderMissing, FolderRefuses."""
    with folder.taking(b""):
        here = os.open(part.path, disk.FOLDER)
        try:
            return Nature(part, _try_rename(here), _try_lock(here))
        finally:
            disk.close(here)


def _try_rename(here: int) -> Rename:
    with disk.draft(here) as (_, name):
        other = disk.name_of_draft()
        is_whole = disk.renames_whole(here, name, other)
        os.unlink(other if is_whole else name, dir_fd=here)
    if is_whole:
        return Rename.WHOLE
    return Rename.LINK if disk.links_share_inode(here) else Rename.PLACEHOLDER


def _try_lock(here: int) -> str:
    """Return why a file there cannot be locked, or not be read by others meanwhile; "" if both work."""
    with disk.draft(here) as (made, name):
        try:
            disk.write(made, b"held\n")
            take_lock(made)
            opened = os.open(name, disk.RECORDING, dir_fd=here)
            try:
                os.pread(opened, 512, 0)
            finally:
                disk.close(opened)
        except OSError as error:
            return os.strerror(error.errno or 0)
        finally:
            os.unlink(name, dir_fd=here)
    return ""
