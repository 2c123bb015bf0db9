"""The full scan: every name below a folder, however deep, as fast as the disk allows."""

import os
import stat
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from watcher.domain import MARKS, Fingerprint, Marks
from watcher.folders import disk
from watcher.folders.root import Root, words

Kind = Literal["file", "link", "fifo", "socket", "device"]

_FORMAT, _REGULAR = stat.S_IFMT(0o177777), stat.S_IFREG  # of a mode
_TAKEN_AT_ONCE = 1_000
_HELD = 32  # open descriptors on the way down, at most; folders further up are reopened on the way back


class Entry(NamedTuple):
    """A name that is not a folder: its path relative to the root, and what the scan knows about it."""

    path: bytes
    inode: int
    kind: Kind
    fingerprint: Fingerprint | None = None  # of a file, where `known` was given and stat succeeded


class Scan:
    """Each iteration is one scan of everything below the root. No file is opened.

    `ignore` is called with each name (one component) of a file or folder: if it returns a reason, the name and
    everything below it is left out. Links are yielded, never followed; mount points are crossed; what vanishes
    meanwhile is skipped. Raises FolderMissing or FolderRefuses when the root itself cannot be read.

    `known` maps paths to inodes (a dict, for speed), and may change during the scan. A path known with its current
    inode is not yielded, not stat'ed and not passed to `ignore`: so a scan costs less than twice the bare listing.
    Every other file is stat'ed through its folder, which spares the caller the way from the root. Without `known`
    everything is yielded and nothing is stat'ed.

    `below`, relative to the root, limits the scan to one subfolder. Nothing is yielded when that is gone, is no
    folder, or is ignored by any of its components.

    `take` is given every file that would be yielded with a fingerprint, if that has marks: a thousand at a time,
    and the rest at the end. Where a first look meets 100,000, a step of an iteration for each costs too much. For
    the same reason `ignore` is not called with a name for which `is_usual` is true.

    Once `stopping` is set the scan ends before the next name, and `is_cut_short` is true: a slow share takes
    minutes for 100,000 names. What was not met is then not missing.
    """

    def __init__(
        self,
        root: Root,
        ignore: Callable[[bytes], str | None],
        known: Mapping[bytes, int] | None = None,
        below: bytes = b"",
        stopping: threading.Event | None = None,
        take: Callable[[dict[bytes, Marks]], None] | None = None,
        is_usual: Callable[[bytes], object] | None = None,
    ) -> None:
        self._root = root
        self._take = take
        self._is_usual = is_usual
        self._to_take: dict[bytes, Marks] = {}
        self._is_told_to_stop = (stopping or threading.Event()).is_set
        self._ignore = ignore
        self._known = known
        self._below = root.components(below) if below else []
        self._unmet: dict[bytes, int] = {}  # the known paths that the scan has not met yet
        self.is_cut_short = False
        self.unreadable: list[tuple[bytes, str]] = []
        """Subfolders that could not be read or searched, and why: their content is unknown.

        Complete once the iteration has ended.
        """
        self.nameless: dict[bytes, str] = {}
        """Paths that were listed but cannot be stat'ed, and why; "" where there is no such file: gone
        meanwhile, or its server knows no such name.

        Complete once the iteration has ended.
        """
        self.missing: set[bytes] = set()
        """Paths that were known before the scan and still are, but where nothing lies any more.

        Complete once an iteration over the whole folder has ended; empty after a scan `below`. What lies in
        an unreadable subfolder is not missing.
        """

    def __iter__(self) -> Iterator[Entry]:
        self.unreadable, self.is_cut_short = [], False
        self.missing, self.nameless, self._to_take = set(), {}, {}
        self._unmet = dict(self._known or {})
        if any(self._ignore(name) is not None for name in self._below):
            return
        below = b"/".join(self._below)
        with self._root.opened() as top:
            try:
                start = disk.descend(top, self._below)
            except OSError as error:
                if not below:
                    raise self._root.no_way_in(error) from error
                self._pass_over(below, error)
                return
            trail = [_Level(start, below + b"/" if below else b"")]
            try:
                yield from self._list(trail[0])
                while trail and not self.is_cut_short:
                    level = self._enter(top, trail)
                    if level is not None:
                        yield from self._list(level)
            finally:
                for level in trail:
                    level.close()
        if self._take is not None:
            self._take(self._to_take)
        if self._known is not None and not self._below and not self.is_cut_short:
            unread = tuple(path + b"/" for path, _ in self.unreadable)
            self.missing = {p for p in self._unmet if p in self._known and not p.startswith(unread)}

    def _enter(self, top: int, trail: list["_Level"]) -> "_Level | None":
        """Open the next subfolder and put it on the trail; None where there is nothing to list."""
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
            trail.pop().close()  # nothing to come back for: so a long chain of folders keeps one descriptor open
        below = _Level(here, path + b"/")
        trail.append(below)
        if len(trail) > _HELD:
            trail[-_HELD - 1].close()
        return below

    def _list(self, level: "_Level") -> Iterator[Entry]:  # noqa: C901, PLR0912, PLR0915 — a call costs as much as a look
        # Hardly a function call for known paths: with 100,000 files waiting, this loop is the cost of a scan.
        prefix, subfolders = level.prefix, level.subfolders
        ignore, is_usual, encoding = self._ignore, self._is_usual, sys.getfilesystemencoding()
        unmet, pack = self._unmet, MARKS.pack
        known_now = None if self._known is None else self._known.get
        known_once, is_told_to_stop = unmet.pop, self._is_told_to_stop
        take, to_take = self._take, self._to_take
        try:
            with os.scandir(level.folder) as listing:
                for found in listing:
                    if is_told_to_stop():
                        self.is_cut_short = True
                        return
                    name = found.name.encode(encoding, "surrogateescape")  # os.fsencode without its checks
                    path = prefix + name
                    inode = known_once(path, None) if unmet else None
                    # Something else may have been given the number that the file had.
                    if inode is not None and inode == found.inode() and found.is_file(follow_symlinks=False):
                        continue
                    if (is_usual is None or not is_usual(name)) and ignore(name) is not None:
                        continue
                    if known_now is not None and inode is None and found.is_file(follow_symlinks=False):
                        # A newcomer, of which a first look meets 100,000: what `_tell` does, without its calls.
                        try:
                            status = found.stat(follow_symlinks=False)
                        except OSError:
                            status = None  # `_tell` meets it again, and says what it means
                        if status is not None and status.st_mode & _FORMAT == _REGULAR:
                            inode = status.st_ino
                            if known_now(path) != inode:
                                device = status.st_dev
                                size, mtime, ctime = status.st_size, status.st_mtime_ns, status.st_ctime_ns
                                try:
                                    marks = pack(ctime, device, inode, size, mtime) if take is not None else None
                                except struct.error:
                                    marks = None
                                if take is None or marks is None:
                                    fingerprint = Fingerprint(device, inode, size, mtime, ctime)
                                    yield Entry(path, inode, "file", fingerprint)
                                else:
                                    to_take[path] = marks
                                    if len(to_take) >= _TAKEN_AT_ONCE:
                                        take(to_take)
                                        to_take = self._to_take = {}
                            continue
                    if found.is_dir(follow_symlinks=False):
                        subfolders.append(name)
                        if inode is not None:
                            unmet[path] = inode  # no file lies there any more
                    elif (entry := self._tell(found, path)) is not None:
                        if inode is not None and entry.kind != "file":
                            unmet[path] = inode
                        marks = None if entry.fingerprint is None else entry.fingerprint.marks
                        if take is None or marks is None:
                            yield entry
                        else:
                            to_take[path] = marks
        except OSError as error:
            if not prefix:
                raise self._root.no_way_in(error) from error
            self._pass_over(prefix[:-1], error)

    def _tell(self, found: "os.DirEntry[str]", path: bytes) -> Entry | None:
        """Return the entry for a name that is not a folder; None where it vanished, or is known after all."""
        is_file = found.is_file(follow_symlinks=False)
        if is_file:
            if self._known is None:
                return Entry(path, found.inode(), "file")
        elif found.is_symlink():
            return Entry(path, found.inode(), "link")
        try:
            status = found.stat(follow_symlinks=False)
        except FileNotFoundError:
            self.nameless[path] = ""
            return None
        except PermissionError:  # the folder may be listed but not searched: none of its files can be opened
            raise
        except OSError as error:  # about this file alone; whoever opens it gets the reason
            self.nameless[path] = words(error)
            return Entry(path, found.inode(), "file") if is_file else None
        if not stat.S_ISREG(status.st_mode):
            kind = _kind(status.st_mode)
            return Entry(path, status.st_ino, kind) if kind else None
        # Listings may give other inodes than the files have (overlays, mounted files): only stat is reliable.
        if self._known is not None and self._known.get(path) == status.st_ino:
            return None
        return Entry(path, status.st_ino, "file", disk.fingerprint_of(status))

    def _pass_over(self, path: bytes, error: OSError) -> None:
        # Removed, or replaced by a file or link since it was listed: the next scan sees what it is now.
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self.unreadable.append((path, words(error)))


@dataclass(slots=True)
class _Level:
    """A folder on the way down: its descriptor (-1: closed), its path with a slash, what is left to list."""

    folder: int
    prefix: bytes
    subfolders: list[bytes] = field(default_factory=list)

    def close(self) -> None:
        if self.folder >= 0:
            disk.close(self.folder)
            self.folder = -1


def _reopen(top: int, trail: list[_Level]) -> None:
    """Reopen the folders at the end of the trail: many at once, or the way back up would be quadratic."""
    above, prefix = top, b""
    for level in trail[-_HELD:]:
        if level.folder < 0:
            level.folder = disk.descend(above, level.prefix[len(prefix) :].split(b"/")[:-1])
        above, prefix = level.folder, level.prefix


def _kind(mode: int) -> Kind | None:
    if stat.S_ISFIFO(mode):
        return "fifo"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else None
