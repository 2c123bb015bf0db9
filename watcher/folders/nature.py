"""What is believed of the file system that a folder lies on: from what it is, and from what a probe of it shows.

What it is tells `watcher.mounts.Part`: who else can write it, whether locks taken here reach them, whether numbers
and times last, which names it changes. What it does, files of our own show. No name of a file system is asked for
anywhere else: one that nobody thought of is handled by its properties.
"""

import os
from dataclasses import dataclass
from enum import StrEnum

from watcher.folders import disk
from watcher.folders.folder import Folder
from watcher.folders.holder import take_lock
from watcher.mounts import Part


class Rename(StrEnum):
    """How a file gets a new name without overwriting what has it."""

    WHOLE = "in one step"
    LINK = "by a second name, then without the first"
    PLACEHOLDER = "over an empty file of our own"


@dataclass(frozen=True, slots=True)
class Nature:
    """What one part of a folder is like."""

    part: Part
    rename: Rename
    lock_refused: str  # why no lock can be had there, or what it covers not be read; "" where it can

    def __str__(self) -> str:
        part = self.part
        kind = str(part.mount or "of an unknown kind")
        reach = part.lock_limits
        told = [
            f"{kind}: others can write it unheard" if part.elsewhere else f"{kind}: only this machine writes it",
            f"a file is renamed {self.rename}",
            f"locks stay here ({reach}): a heartbeat does not" if reach else "locks reach all users",
            "a file keeps its number and times" if part.keeps_identity else "numbers and times change: bytes tell",
        ]
        return "; ".join(filter(None, [*told, part.name_limits]))


def examine(folder: Folder, part: Part) -> Nature:
    """The nature of this part; nothing of the probe is left there. FolderMissing, FolderRefuses."""
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
    """Why what is locked there cannot be locked, or read by others meanwhile; "" where both can be done."""
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
