"""The full look: every name below a folder, however deep, as fast as the disk tells."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from watcher.folders import disk
from watcher.folders.root import Root, words

Kind = Literal["file", "link", "fifo", "socket", "device"]

_HELD = 32  # descriptors of folders kept to come back to; further up, they are opened again


class Entry(NamedTuple):
    """A name that is no folder: its path relative to the root, and what the listing itself tells of it."""

    path: bytes
    inode: int
    kind: Kind


class Scan:
    """One look at everything below the root, each time it is iterated. No file is opened or stat'ed.

    `ignore` is asked for each name (one component) of a file or folder: a reason leaves it out, and all
    below it. Links are yielded, never followed; mount points are crossed; what vanishes meanwhile is
    passed over. Raises FolderMissing or FolderRefuses when the root itself can not be read.
    """

    def __init__(self, root: Root, ignore: Callable[[bytes], str | None]) -> None:
        self._root = root
        self._ignore = ignore
        self.unreadable: list[tuple[bytes, str]] = []
        """Subfolders that could not be read, and why: nothing is known of what lies in them.

        Complete once the iteration has ended.
        """

    def __iter__(self) -> Iterator[Entry]:
        self.unreadable = []
        with self._root.opened() as top:
            trail = [_Level(os.dup(top), b"")]
            try:
                yield from self._list(trail[0])
                while trail:
                    below = self._enter(top, trail)
                    if below is not None:
                        yield from self._list(below)
            finally:
                for level in trail:
                    level.close()

    def _enter(self, top: int, trail: list["_Level"]) -> "_Level | None":
        """The next subfolder, opened and put on the trail; None where there is nothing to list."""
        level = trail[-1]
        if not level.subfolders:
            trail.pop().close()
            return None
        path = level.prefix + level.subfolders.pop()
        try:
            if level.folder < 0:
                _reopen(top, trail)
            here = os.open(path[len(level.prefix) :], disk.FOLDER, dir_fd=level.folder)
        except OSError as error:
            self._pass_over(path, error)
            return None
        if not level.subfolders:
            trail.pop().close()  # nothing to come back for: a chain of folders, however long, holds one
        below = _Level(here, path + b"/")
        trail.append(below)
        if len(trail) > _HELD:
            trail[-_HELD - 1].close()
        return below

    def _list(self, level: "_Level") -> Iterator[Entry]:
        prefix, subfolders = level.prefix, level.subfolders
        ignore, encoding = self._ignore, sys.getfilesystemencoding()
        try:
            with os.scandir(level.folder) as found:
                for entry in found:
                    name = entry.name.encode(encoding, "surrogateescape")  # os.fsencode, without its tests
                    if ignore(name) is not None:
                        continue
                    if entry.is_file(follow_symlinks=False):
                        yield Entry(prefix + name, entry.inode(), "file")
                    elif entry.is_dir(follow_symlinks=False):
                        subfolders.append(name)
                    elif (kind := _kind(entry)) is not None:
                        yield Entry(prefix + name, entry.inode(), kind)
        except OSError as error:
            if not prefix:
                raise self._root.no_way_in(error) from error
            self._pass_over(prefix[:-1], error)

    def _pass_over(self, path: bytes, error: OSError) -> None:
        # Removed, or replaced by a file or link since it was listed: the next look sees what it is now.
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self.unreadable.append((path, words(error)))


@dataclass(slots=True)
class _Level:
    """A folder on the way down: its descriptor (-1: closed), its path with a slash, what is left in it."""

    folder: int
    prefix: bytes
    subfolders: list[bytes] = field(default_factory=list)

    def close(self) -> None:
        if self.folder >= 0:
            os.close(self.folder)
            self.folder = -1


def _reopen(top: int, trail: list[_Level]) -> None:
    """The end of the trail has descriptors again: many at once, or the way back up would be quadratic."""
    above, prefix = top, b""
    for level in trail[-_HELD:]:
        if level.folder < 0:
            level.folder = disk.descend(above, level.prefix[len(prefix) :].split(b"/")[:-1])
        above, prefix = level.folder, level.prefix


def _kind(entry: "os.DirEntry[str]") -> Kind | None:
    if entry.is_symlink():
        return "link"
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISFIFO(mode):
        return "fifo"
    return "socket" if stat.S_ISSOCK(mode) else "device"
