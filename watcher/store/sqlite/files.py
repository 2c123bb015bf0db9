"""The files beside the database's, its folder, and the lock between processes."""

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

from watcher import mounts
from watcher.clock import SystemClock
from watcher.errors import StoreError, StoreUnavailable
from watcher.store.local_files import check_is_folder, create, refused_by_system

_POLL_SECONDS = 0.0005


def remove(path: Path, *, but_itself: bool = False) -> None:
    """Remove the database at `path` and SQLite's files beside it; with `but_itself` only the latter."""
    for ending in ("-journal", "-wal", "-shm") if but_itself else ("-journal", "-wal", "-shm", ""):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Raise StoreError unless a database can be kept in this folder: reachable, and on this machine."""
    check_is_folder(folder, "store.url")
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
