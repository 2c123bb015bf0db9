"""A page of ours in a folder that others write to: it replaces itself and nothing else."""

import os
import stat

from watcher.errors import NameTaken
from watcher.folders import disk
from watcher.folders.root import Root

_HEAD_BYTES = 4096
_READERS = 0o044


def put_page(folder: Root, name: bytes, data: bytes, mark: bytes) -> None:
    """Write the page into the folder, whole and durably, in place of an earlier one of ours.

    `mark`: what every page of ours has in its first bytes. It can be read by whoever can look into the folder.
    Raises NameTaken where anything else has the name, a link too: that is never followed, opened or replaced.
    """
    with folder.taking(name), folder.opened() as here:
        before = _look(here, name)
        if before is not None and not _is_ours(here, name, before, mark):
            raise NameTaken(
                f"{folder.label(name)} is not ours",
                hint=f"it is left as it is, and no page is written: move {folder.quoted(name)} away, or rename it",
            )
        with disk.draft(here) as (made, draft):
            disk.write(made, data)
            os.fchmod(made, 0o640 | (stat.S_IMODE(os.fstat(here).st_mode) & _READERS))
            os.fsync(made)
            if before is None:
                try:
                    disk.rename_noreplace(here, draft, here, name)
                except FileExistsError as error:
                    raise NameTaken(f"{folder.label(name)} is not ours", hint="it is left as it is") from error
            elif _look(here, name) == before:
                os.replace(draft, name, src_dir_fd=here, dst_dir_fd=here)
            else:
                raise NameTaken(f"{folder.label(name)} was just changed", hint="it is looked at again")
        disk.sync(here)


def has_page(folder: Root, name: bytes) -> bool:
    """Return whether anything has the name."""
    with folder.taking(name):
        return folder.look(name) is not None


def remove_page(folder: Root, name: bytes, mark: bytes) -> bool:
    """Remove the page if it is ours. Return whether it was."""
    with folder.taking(name), folder.opened() as here:
        found = _look(here, name)
        if found is None or not _is_ours(here, name, found, mark):
            return False
        os.unlink(name, dir_fd=here)
        disk.sync(here)
        return True


def _look(here: int, name: bytes) -> tuple[int, ...] | None:
    """Return which file has the name, and its last change; links are not followed."""
    try:
        found = os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mode, found.st_nlink, found.st_size, found.st_mtime_ns


def _is_ours(here: int, name: bytes, found: tuple[int, ...], mark: bytes) -> bool:
    _, _, mode, links, *_ = found
    if not stat.S_ISREG(mode) or links != 1:
        return False  # not opened: opening a device or a pipe can have effects
    try:
        opened = os.open(name, disk.RECORDING, dir_fd=here)
    except OSError:
        return False
    try:
        return mark in os.pread(opened, _HEAD_BYTES, 0)
    finally:
        disk.close(opened)
