"""Changes of folders that are not on the disk yet: each folder is synced once, however many names change in it."""

import os
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from watcher.errors import WatcherError
from watcher.folders import disk
from watcher.folders.root import Root

_Key = tuple[int, int]


class Unsynced(AbstractContextManager["Unsynced"]):
    """Folders in which names were made or removed since the last `settle`.

    Until then a power cut may undo any of these changes, and keep any other. So nothing may rest on one of them
    before that: no second name be removed for the first, no row be written. A kill loses nothing.
    """

    def __init__(self) -> None:
        self._made: dict[_Key, tuple[int, Root, bytes]] = {}
        self._removed: dict[_Key, tuple[int, Root, bytes]] = {}
        self._error: WatcherError | None = None

    def made(self, root: Root, path: bytes, here: int) -> None:
        """Note that `path` of this root has come to be in the open folder `here`."""
        _note(self._made, root, path, here)

    def removed(self, root: Root, path: bytes, here: int) -> None:
        """Note that `path` of this root has gone from the open folder `here`."""
        _note(self._removed, root, path, here)

    def settle(self) -> None:
        """Put all of it on the disk, new names first: a recording may be at both places, but never at none.

        FolderMissing, FolderRefuses, RecordingUnreachable: then nothing is known of any change that was noted
        here, and each further `settle` says so again.
        """
        if self._error is not None:
            raise self._error
        try:
            for here, root, path in self._made.values():
                with root.taking(path):
                    disk.sync(here)
            for here, root, path in self._removed.values():
                with root.giving(path):
                    disk.sync(here)
        except WatcherError as error:
            self._error = error
            raise
        finally:
            self._close()

    def _close(self) -> None:
        for noted in (self._made, self._removed):
            while noted:
                here, *_ = noted.popitem()[1]
                disk.close(here)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.settle()
        self._close()


def _note(noted: dict[_Key, tuple[int, Root, bytes]], root: Root, path: bytes, here: int) -> None:
    status = os.fstat(here)
    key = status.st_dev, status.st_ino
    if key not in noted:
        noted[key] = os.dup(here), root, path
