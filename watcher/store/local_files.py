"""Files of the store on this machine, whatever its database: their owner, and what the system refuses."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watcher.errors import PASSING_ERRORS, StoreError, StoreUnavailable
from watcher.ownership import make_file
from watcher.text import quote_path, show_path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SYSTEM_HINTS = {
    errno.ENOSPC: "Make room on the disk of {folder}.",
    errno.EDQUOT: "Make room on the disk of {folder}, or raise the quota.",
    errno.EIO: "Check the disk: `dmesg`, `df {folder}`.",
    errno.EROFS: "The disk of {folder} is mounted read-only.",
}
_BY_THE_WRONG_USER = "Run this as the user that the daemon runs as, who must be able to write there."


def create(path: Path, like: Path | None = None) -> None:
    """Create an empty file at `path`, durably. Raises FileExistsError if the name is taken.

    If root creates it, it gets the owner of `like`, else of the folder, since the daemon's user must be able to
    write what a command run by root leaves behind. Strangers cannot read it: names of recordings contain phone
    numbers. The owner is set through the descriptor of the new file, so that no link in somebody else's folder
    can make root give another file away.
    """
    owner = os.stat(like or path.parent)
    folder = os.open(path.parent, _FOLDER)
    try:
        make_file(folder, os.fsencode(path.name), 0o660, lambda made: _give(made, owner))
        os.fsync(folder)
    finally:
        os.close(folder)


def _give(made: int, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(made, owner.st_uid, owner.st_gid)
        if owner.st_mode & stat.S_IWGRP:
            os.fchmod(made, 0o660)


@contextmanager
def copied_aside(path: Path) -> Iterator[Path]:
    """Yield a copy of the database file with its log, which is gone after the block. Nobody may write to it."""
    with tempfile.TemporaryDirectory(prefix="watcher-") as folder:
        copy = Path(folder, "watcher.db")
        for ending in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{ending}", f"{copy}{ending}")
        yield copy


def sync_folder(folder: Path) -> None:
    """Make the names in the folder survive a power failure."""
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refused_by_system(path: Path, what: str, error: OSError) -> StoreError:
    """The error for what the system refused to do with the database or a file beside it."""
    kind = StoreUnavailable if error.errno in PASSING_ERRORS else StoreError
    hint = _SYSTEM_HINTS.get(error.errno or 0, _BY_THE_WRONG_USER)
    return kind(f"{path}: {what}: {os.strerror(error.errno or 0)}", hint=hint.format(folder=path.parent))


def check_is_folder(folder: Path, setting: str) -> None:
    """Raise StoreError unless the folder, which follows from this setting, is there and can be reached."""
    try:
        is_there = stat.S_ISDIR(os.stat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_there = False
    except OSError as error:
        raise refused_by_system(folder, "the database's folder cannot be reached", error) from error
    if not is_there:
        raise StoreError(
            f"{setting}: the folder {show_path(os.fsencode(folder))} does not exist",
            hint=f"Create it (mkdir -p {quote_path(os.fsencode(folder))}), mount its disk, or correct {setting}.",
        )
