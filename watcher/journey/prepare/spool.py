"""The spool: where the parts of recordings lie until these are filed, and beside each its identifier."""

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import BinaryIO

from watcher.errors import FolderMissing, FolderRefuses
from watcher.folders import disk
from watcher.folders.names import is_draft
from watcher.folders.root import Root
from watcher.text import JsonObject, to_json

_MODE = 0o700  # nobody else reads a recording here that he may not read in the drop folder
_NAME = re.compile(r"(?P<item>[0-9a-f]{16})-[1-9][0-9]{0,5}\.[a-z0-9]{1,8}(?P<note>\.json)?")
_MAKING = re.compile(r"\.(?P<item>[0-9a-f]{16})\.making")
_NOTE = ".json"
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


class Spool:
    """A folder of our own, made when it is needed. What has no name of ours in it is left alone.

    Every operation may raise FolderRefuses, or FolderFull, of the spool: no recording is to blame for that.
    """

    def __init__(self, root: bytes) -> None:
        self._root = Root(root, "spool")

    @property
    def root(self) -> bytes:
        return self._root.root

    @contextmanager
    def making(self, item_id: str) -> Iterator[int]:
        """An empty folder for the parts of this item until they are whole, open; it is gone after the block."""
        name = b".%s.making" % item_id.encode()
        with self._root.taking(b""), self._opened(making=True) as here:
            _remove_folder(here, name)
            os.mkdir(name, _MODE, dir_fd=here)
            made = os.open(name, disk.FOLDER, dir_fd=here)
            try:
                yield made
            finally:
                disk.close(made)
                with suppress(OSError):  # the next one empties it
                    _remove_folder(here, name)

    def keep(self, made: int, names: Mapping[str, str]) -> None:
        """What was made in that folder under these names lies in the spool, on the disk, under those.

        A part that lies there under its name is replaced.
        """
        with self._root.taking(b""), self._opened() as here:
            for name, kept in names.items():
                file = os.open(name, disk.RECORDING, dir_fd=made)
                try:
                    disk.sync(file)
                finally:
                    disk.close(file)
                os.rename(name, kept, src_dir_fd=made, dst_dir_fd=here)
            disk.sync(here)

    def open(self, name: str) -> BinaryIO | None:
        """The part of this name, open; null where none is there. The caller closes it."""
        with self._root.taking(os.fsencode(name)), self._opened_if_there() as here:
            try:
                opened = None if here is None else os.open(name, disk.RECORDING, dir_fd=here)
            except FileNotFoundError:
                opened = None
            if opened is None:
                return None
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                disk.close(opened)
                return None
            return os.fdopen(opened, "rb")

    def sizes(self) -> dict[str, int]:
        """The parts that lie in the spool, and how many bytes each has."""
        found = {}
        with self._root.taking(b""), self._opened_if_there() as here:
            for name in _names(here):
                match = _NAME.fullmatch(name)
                if match is not None and match["note"] is None:
                    with suppress(FileNotFoundError):
                        found[name] = os.stat(name, dir_fd=here, follow_symlinks=False).st_size
        return found

    def items(self) -> set[str]:
        """The ids of the items that anything in the spool is of."""
        with self._root.taking(b""), self._opened_if_there() as here:
            matches = [_NAME.fullmatch(name) or _MAKING.fullmatch(name) for name in _names(here)]
        return {match["item"] for match in matches if match is not None}

    def remove(self, names: Collection[str]) -> None:
        """These parts lie there no longer; their identifiers do."""
        if not names:
            return
        with self._root.taking(b""), self._opened_if_there() as here:
            for name in names if here is not None else ():
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=here)

    def clear(self, item_ids: Collection[str]) -> None:
        """Nothing of these items lies there any more."""
        with self._root.taking(b""), self._opened_if_there() as here:
            for name in _names(here):
                if (match := _NAME.fullmatch(name)) is not None and match["item"] in item_ids:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=here)
                elif (match := _MAKING.fullmatch(name)) is not None and match["item"] in item_ids:
                    _remove_folder(here or -1, name.encode())

    def sweep(self) -> None:
        """Nothing is half made: for a start, when nobody makes anything."""
        with self._root.taking(b""), self._opened_if_there() as here:
            for name in _names(here):
                if is_draft(os.fsencode(name)):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=here)
                elif _MAKING.fullmatch(name):
                    _remove_folder(here or -1, name.encode())

    # Identifiers, for whoever has lost the database

    def noted(self) -> set[str]:
        """The parts beside which an identifier lies."""
        with self._root.taking(b""), self._opened_if_there() as here:
            return {
                name.removesuffix(_NOTE) for name in _names(here) if (m := _NAME.fullmatch(name)) and m["note"]
            }

    def note(self, name: str, content: JsonObject) -> None:
        """Beside the part of this name lies what is known of it, whole, on the disk."""
        with self._root.taking(os.fsencode(name)), self._opened(making=True) as here, disk.draft(here) as draft:
            file, draft_name = draft
            os.fchmod(file, 0o600)
            disk.write(file, to_json(content).encode())
            os.fsync(file)
            os.rename(draft_name, name + _NOTE, src_dir_fd=here, dst_dir_fd=here)
            disk.sync(here)

    # Within

    @contextmanager
    def _opened(self, *, making: bool = False) -> Iterator[int]:
        if making:
            self._make()
        with self._root.opened() as here:
            found = os.fstat(here)
            if stat.S_IMODE(found.st_mode) & ~_MODE:
                if found.st_uid not in (os.geteuid(), 0):
                    raise FolderRefuses(
                        f"{self._root.label()} belongs to somebody else, and others can read it",
                        hint=f"give it to the user that runs watcher, with mode 700: {self._root.quoted()}",
                    )
                os.fchmod(here, _MODE)
            yield here

    @contextmanager
    def _opened_if_there(self) -> Iterator[int | None]:
        try:
            with self._opened() as here:
                yield here
        except FolderMissing:
            yield None

    def _make(self) -> None:
        try:
            os.mkdir(self.root, _MODE)
        except FileExistsError:
            return
        parent = os.open(os.path.dirname(self.root), disk.FOLDER & ~os.O_NOFOLLOW)
        try:
            made = os.open(os.path.basename(self.root), disk.FOLDER, dir_fd=parent)
            try:
                disk.adopt(made, parent)
            finally:
                disk.close(made)
            disk.sync(parent)
        finally:
            disk.close(parent)


def _names(folder: int | None) -> list[str]:
    return [] if folder is None else os.listdir(folder)


def _remove_folder(above: int, name: bytes) -> None:
    """The folder and the files in it are gone."""
    try:
        folder = os.open(name, disk.FOLDER, dir_fd=above)
    except _NOT_THERE:
        return
    try:
        for file in os.listdir(folder):
            os.unlink(file, dir_fd=folder)
    finally:
        disk.close(folder)
    os.rmdir(name, dir_fd=above)
