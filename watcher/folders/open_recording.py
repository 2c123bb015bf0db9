"""A file of a folder that is open for reading."""

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from watcher.errors import RecordingUnreachable
from watcher.folders.root import Root

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class OpenFile(io.FileIO):
    """A file opened for reading only; see disk.close."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class OpenRecording(OpenFile):
    """An open recording that raises our errors for the disk's."""

    def __init__(self, opened: int, folder: Root, path: bytes) -> None:
        super().__init__(opened, "rb")
        self._folder = folder
        self._path = path

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        try:
            return cast("int", super().readinto(buffer))
        except OSError as error:
            raise self._unreadable(error) from error

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> RecordingUnreachable:
        return RecordingUnreachable(
            f"{self._folder.label(self._path)} cannot be read to its end ({os.strerror(error.errno or 0)})",
            hint=f"look at the disk or share of {self._folder.quoted(self._path)}, and in dmesg",
        )
