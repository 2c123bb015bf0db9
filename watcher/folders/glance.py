"""Looks at many files of one folder, as fast as the disk allows: what it cannot tell, a Folder tells."""

import os
import stat
from types import TracebackType
from typing import Self

from watcher.errors import WatcherError
from watcher.folders import disk
from watcher.folders.root import Root


class Glance:
    """Within its block, the subfolder that was looked into last stays open: neighbours are looked at together.

    An error of any kind is no answer: None, as for what is not there or is no regular file.
    """

    def __init__(self, folder: Root) -> None:
        self._folder = folder
        self._subfolder: bytes | None = None  # the one that is open
        self._here = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def status(self, path: bytes) -> os.stat_result | None:
        """Return the status of the regular file at `path`."""
        try:
            return self._status(path)[1]
        except (OSError, WatcherError):
            return None

    def read(self, path: bytes, limit: int) -> bytes | None:
        """Return the content of the regular file at `path`, if it has at most `limit` bytes."""
        try:
            name, status = self._status(path)
            if status is None or status.st_size > limit:
                return None
            opened = os.open(name, disk.RECORDING, dir_fd=self._here)
            try:
                content = os.read(opened, limit + 1)
            finally:
                disk.close(opened)
        except (OSError, WatcherError):
            return None
        return content if len(content) == status.st_size else None

    def _status(self, path: bytes) -> tuple[bytes, os.stat_result | None]:
        *above, name = self._folder.components(path)
        self._enter(above)
        status = os.stat(name, dir_fd=self._here, follow_symlinks=False)
        return name, status if stat.S_ISREG(status.st_mode) else None

    def _enter(self, above: list[bytes]) -> None:
        subfolder = b"/".join(above)
        if subfolder != self._subfolder:
            self._leave()
            with self._folder.opened() as top:
                self._here = disk.descend(top, above)
            self._subfolder = subfolder

    def _leave(self) -> None:
        if self._subfolder is not None:
            disk.close(self._here)
        self._subfolder, self._here = None, -1
