"""The spool: where the parts of recordings lie until these are filed, and beside each its identifier."""

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from watcher.errors import FolderMissing, FolderRefuses
from watcher.folders import disk
from watcher.folders.folder import free_bytes
from watcher.folders.names import is_draft
from watcher.folders.root import Root
from watcher.mounts import mount_of, read_mounts, resolve
from watcher.text import JsonObject, from_json, show_path, to_json

_MODE = 0o700  # nobody else reads a recording here that he may not read in the drop folder
_NAME = re.compile(r"(?P<item>[0-9a-f]{16})-[1-9][0-9]{0,5}\.[a-z0-9]{1,8}(?P<note>\.json)?")
_MAKING = re.compile(r"\.(?P<item>[0-9a-f]{16})\.making")
_NOTE = ".json"
_NOTE_BYTES = 16_000_000
_RESERVE_BYTES = 32_000_000  # for the database, with its log
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


class Spool:
    """A folder of our own, made when it is needed. What has no name of ours in it is left alone.

    Every operation may raise FolderRefuses, or FolderFull, of the spool: no recording is to blame for that.
    """

    def __init__(self, root: bytes) -> None:
        self._root = Root(root, "spool")
        self._lies_on = b"", b""  # the folder without links, and the mount point that it was last seen on

    @property
    def root(self) -> bytes:
        return self._root.root

    @contextmanager
    def making(self, item_id: str) -> Iterator[int]:
        """Open an empty folder for the parts of this item until they are whole; remove it after the block."""
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
        """Move what was made in that folder, from these names to those in the spool, durably.

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
        """Open the part of this name; None where none is there. The caller closes it."""
        with self._root.taking(os.fsencode(name)), self._opened_if_there() as here:
            try:
                opened = None if here is None else os.open(name, disk.RECORDING, dir_fd=here)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP):  # a link is not followed: it is no part
                    raise
                opened = None
            if opened is None:
                return None
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                disk.close(opened)
                return None
            return os.fdopen(opened, "rb")

    def sizes(self) -> dict[str, int]:
        """Return the parts that lie in the spool, and how many bytes each has."""
        found = {}
        with self._root.taking(b""), self._opened_if_there() as here:
            for name in _names(here):
                match = _NAME.fullmatch(name)
                if match is not None and match["note"] is None:
                    with suppress(FileNotFoundError):
                        found[name] = os.stat(name, dir_fd=here, follow_symlinks=False).st_size
        return found

    def items(self) -> set[str]:
        """Return the ids of the items that anything in the spool belongs to."""
        with self._root.taking(b""), self._opened_if_there() as here:
            matches = [_NAME.fullmatch(name) or _MAKING.fullmatch(name) for name in _names(here)]
        return {match["item"] for match in matches if match is not None}

    def check_takes(self, size: int, *, beside: Path) -> None:
        """Check that there is room for so many bytes; FolderFull where there is not.

        On the disk of the database, `beside`, some room stays for that: without any nothing could be paid for.
        """
        with self._root.taking(b""), self._opened(making=True) as here:
            free = free_bytes(here, os.fstatvfs(here))
            with suppress(OSError):
                if os.stat(beside.parent).st_dev == os.fstat(here).st_dev:
                    size += _RESERVE_BYTES
            if free < size:
                raise self._root.no_room(b"", f"{free:,} bytes are free, {size:,} are needed for the next part")

    def remove(self, names: Collection[str]) -> None:
        """Remove these parts; their identifiers stay."""
        if not names:
            return
        with self._root.taking(b""), self._opened_if_there() as here:
            for name in names if here is not None else ():
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=here)

    def clear(self, item_ids: Collection[str]) -> None:
        """Remove everything of these items."""
        with self._root.taking(b""), self._opened_if_there() as here:
            for name in _names(here):
                if (match := _NAME.fullmatch(name)) is not None and match["item"] in item_ids:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=here)
                elif (match := _MAKING.fullmatch(name)) is not None and match["item"] in item_ids:
                    _remove_folder(here or -1, name.encode())

    def sweep(self) -> None:
        """Remove what is half made: for a start, when nobody makes anything."""
        with self._root.taking(b""), self._opened_if_there() as here:
            for name in _names(here):
                if is_draft(os.fsencode(name)):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=here)
                elif _MAKING.fullmatch(name):
                    _remove_folder(here or -1, name.encode())

    # Identifiers, for whoever has lost the database

    def noted(self) -> set[str]:
        """Return the parts beside which an identifier lies."""
        with self._root.taking(b""), self._opened_if_there() as here:
            return {
                name.removesuffix(_NOTE) for name in _names(here) if (m := _NAME.fullmatch(name)) and m["note"]
            }

    def read_note(self, name: str) -> JsonObject | None:
        """Return what lies beside the part of this name; None where that is no note of ours."""
        with self._root.taking(os.fsencode(name)), self._opened_if_there() as here:
            try:
                opened = -1 if here is None else os.open(name + _NOTE, disk.RECORDING, dir_fd=here)
            except FileNotFoundError:
                return None
            if opened < 0:
                return None
            with os.fdopen(opened, "rb") as file:
                return from_json(file.read(_NOTE_BYTES))

    def note(self, name: str, content: JsonObject) -> None:
        """Write beside the part of this name what is known of it, whole and durably."""
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
        self._check_mounted()
        if making:
            self._make()
        with self._root.opened() as here:
            self._check_mounted()  # again: what was opened may be the bare mount point
            found = os.fstat(here)
            if found.st_uid not in self._owners():
                raise FolderRefuses(
                    f"{self._root.label()} belongs to somebody else",
                    hint=f"remove it, or give it to the user that runs watcher: {self._root.quoted()}",
                )
            if stat.S_IMODE(found.st_mode) & ~_MODE:
                os.fchmod(here, _MODE)
            yield here

    def _check_mounted(self) -> None:
        """Check that the disk that it was on is there: parts are recordings, and belong on no other.

        That is known from the first operation on. A new start takes the folder as it is: it has no mark.
        """
        path = resolve(self.root)
        mount, (known, point) = mount_of(path, read_mounts()), self._lies_on
        if mount is None:
            return
        if path == known and len(mount.point) < len(point):  # both hold it, so this one holds that one's point
            raise FolderRefuses(
                f"{self._root.label()} is not mounted: {show_path(point)} is away",
                hint=f"mount it again; or restart watcher, if {self._root.quoted()} is to be used as it is",
            )
        self._lies_on = path, mount.point

    def _owners(self) -> set[int]:
        """Return who may own it: we; for root, as whom the folder above it is given away, that one's owner too."""
        ours = {os.geteuid()}
        return ours if os.geteuid() else ours | {os.stat(os.path.dirname(self.root)).st_uid}

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
    """Remove the folder and the files in it."""
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
