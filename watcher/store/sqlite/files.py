"""The database's file and those beside it: creating them with the right owner, and the lock between processes."""

import fcntl
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from watcher import mounts
from watcher.clock import SystemClock
from watcher.errors import StoreError, StoreUnavailable
from watcher.ownership import make_file
from watcher.store.sqlite.error_codes import refused_by_system
from watcher.text import quote_path, show_path

_POLL_SECONDS = 0.0005
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


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


def remove(path: Path, *, but_itself: bool = False) -> None:
    """Remove the database at `path` and SQLite's files beside it; with `but_itself` only the latter."""
    for ending in ("-journal", "-wal", "-shm") if but_itself else ("-journal", "-wal", "-shm", ""):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in the folder survive a power failure."""
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_folder(folder: Path) -> None:
    """Raise StoreError unless a database can be kept in this folder: reachable, and on this machine."""
    try:
        is_there = stat.S_ISDIR(os.stat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_there = False
    except OSError as error:
        raise refused_by_system(folder, "the database's folder cannot be reached", error) from error
    if not is_there:
        raise StoreError(
            f"store.url: the folder {show_path(os.fsencode(folder))} does not exist",
            hint=f"Create it (mkdir -p {quote_path(os.fsencode(folder))}), mount its disk, or correct store.url.",
        )
    mount = mounts.mount_of(os.fsencode(os.path.realpath(folder)), mounts.read_mounts())
    if mount is not None and mount.is_network:
        raise StoreError(
            f"store.url: {folder} is on a network file system ({mount.kind} from {mount.source}), "
            "where SQLite's locks cannot be trusted",
            hint='Put the database on a disk of this machine, as in store.url = "sqlite:////var/lib/…/watcher.db".',
        )


class FileLock:
    """An exclusive lock between processes. It ends with the process that holds it, however that ends."""

    def __init__(self, path: Path, like: Path) -> None:
        self.path = path
        self._like = like
        self._descriptor: int | None = None
        self._clock = SystemClock()

    def acquire(self, seconds: float) -> None:
        """Acquire the lock. Raises StoreUnavailable if it is not free within this many seconds."""
        end = self._clock.monotonic() + seconds
        while not self._try():
            if self._clock.monotonic() > end:
                raise StoreUnavailable(
                    f"{self._like}: another process has been writing to it for {seconds:.0f} seconds",
                    hint=f"`fuser -v {self.path}` names it. If it hangs, end it.",
                )
            self._clock.wait(_POLL_SECONDS, threading.Event())

    def release(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> bool:
        if self._descriptor is None:
            self._descriptor = self._open()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if os.fstat(self._descriptor).st_nlink:
            return True
        self.close()  # somebody tidied the file away: a lock on it excludes nobody who comes now
        return False

    def _open(self) -> int:
        try:
            if not os.path.lexists(self.path):
                with suppress(FileExistsError):  # another process was faster
                    create(self.path, self._like if self._like.exists() else None)
            return os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise refused_by_system(self.path, "the lock cannot be opened", error) from error
