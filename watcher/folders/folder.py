"""A folder: what is in it, reading from it, and writing to it."""

import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import BinaryIO

from watcher.accounts import describe_user
from watcher.domain import Fingerprint, Marks
from watcher.errors import FolderRefuses, NameTaken, RecordingGone, RecordingUnreachable, TooLong
from watcher.folders import disk
from watcher.folders.capability import CAP_FOWNER, has_capability
from watcher.folders.marker import MARKER, Mark, Situation, read_mark, write_mark
from watcher.folders.names import LONGEST as LONGEST_NAME
from watcher.folders.names import is_draft
from watcher.folders.open_recording import OpenFile, OpenRecording
from watcher.folders.root import Root
from watcher.folders.unsynced import Unsynced
from watcher.folders.walk import Scan

RESERVE_BYTES = 64 * 1024
"""Room for a receipt, and for the subfolders on its path."""

_RESERVE_INODES = 4
_NO_SUCH_NAME = frozenset({errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})


@dataclass(frozen=True, slots=True)
class Folder(Root):
    """The drop, done or failed folder. Paths are bytes, relative to `root`: `a/b/call.wav`.

    `owning`: what is moved into it becomes a copy of our own, which nobody else can change.

    Any operation may raise FolderMissing (the root is not there) and FolderRefuses (permission, no space,
    read-only); each says what else it raises.
    """

    owning: bool = False

    def walk(
        self,
        ignore: Callable[[bytes], str | None],
        *,
        known: Mapping[bytes, int] | None = None,
        below: bytes = b"",
        stopping: threading.Event | None = None,
        take: Callable[[dict[bytes, Marks]], None] | None = None,
        is_usual: Callable[[bytes], object] | None = None,
    ) -> Scan:
        """Return a scan of the folder, or of the subfolder `below`, that leaves out what is `known`; see Scan."""
        return Scan(self, ignore, known, below, stopping, take, is_usual)

    # Reading and taking out

    def fingerprint(self, path: bytes) -> Fingerprint:
        """Return the fingerprint of the file at `path`. RecordingGone where there is no regular file."""
        with self.giving(path), self.holder(path, unheard=True) as (here, name):
            return self._regular(path, os.stat(name, dir_fd=here, follow_symlinks=False))

    def owner(self, path: bytes) -> int:
        """Return the uid of the owner of the file at `path`; RecordingGone as in `fingerprint`."""
        with self.giving(path), self.holder(path, unheard=True) as (here, name):
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            self._regular(path, status)
            return status.st_uid

    def there_since(self, path: bytes) -> float:
        """Return since when the file at `path` has existed, in seconds since the epoch, on its disk's clock.

        Its birth, where that is known: every chmod and rename renews its ctime. RecordingGone as in `fingerprint`.
        """
        with self.giving(path), self.holder(path, unheard=True) as (here, name):
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            self._regular(path, status)
            born = disk.birth_of(here, name)
        return min(status.st_ctime_ns, status.st_ctime_ns if born is None else born) / 1e9

    def open(self, path: bytes) -> tuple[BinaryIO, Fingerprint]:
        """Open the recording for reading. Return it with its fingerprint; the caller closes it.

        RecordingGone, RecordingUnreachable; its `read` raises the latter too, when the disk fails.
        """
        with self.giving(path), self.holder(path, unheard=True) as (here, name):
            # Stat first, since opening a device can have effects.
            self._regular(path, os.stat(name, dir_fd=here, follow_symlinks=False))
            opened = os.open(name, disk.RECORDING, dir_fd=here)
            try:
                fingerprint = self._regular(path, os.fstat(opened))
                with suppress(OSError):
                    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_SEQUENTIAL)
                file = io.BufferedReader(OpenRecording(opened, self, path), disk.CHUNK)
            except BaseException:
                disk.close(opened)
                raise
        return file, fingerprint

    def check_gives(self, path: bytes, *, reading: bool = True) -> None:
        """Check that the file can be read and moved out of its folder; RecordingUnreachable says why not.

        RecordingGone where it is not there. `reading`: false for a file that is only to be renamed.
        """
        with self.giving(path), self.holder(path, unheard=True) as (here, name):
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            self._regular(path, status)
            above = os.fstat(here)
            readable = not reading or os.access(name, os.R_OK, dir_fd=here, effective_ids=True)
            movable = os.access(b".", os.W_OK | os.X_OK, dir_fd=here, effective_ids=True)
            read_only = bool(os.fstatvfs(here).f_flag & os.ST_RDONLY)
            kept, kept_above = disk.attribute_that_keeps(here, name), disk.attribute_that_keeps(here)
        is_sticky = bool(above.st_mode & stat.S_ISVTX) and os.geteuid() not in (status.st_uid, above.st_uid)
        if readable and movable and not (kept or kept_above or read_only or is_sticky):
            return
        user, where = describe_user(os.geteuid()), self.label(os.path.dirname(path))
        troubles = [] if readable else [f"cannot be read by {user}"]
        if read_only:
            troubles.append(f"could not be moved out afterwards: {where} is mounted read-only")
        elif kept or kept_above:  # before access(2), whose answer is less exact; not even root can move it out
            attribute = kept or kept_above
            of = "it" if kept else where
            troubles.append(f"could not be moved out afterwards: {of} is {attribute.word if attribute else ''}")
        elif not movable:
            troubles.append(f"could not be moved out afterwards: {user} may not write in {where}")
        elif is_sticky and not has_capability(CAP_FOWNER):
            troubles.append(
                f"could not be moved out afterwards: {where} is sticky, so only the owner of a file may move it"
            )
        if troubles:
            raise RecordingUnreachable(
                f"{self.label(path)} {', and '.join(troubles)}",
                hint=self.lack(path, reading=reading).remedy or self._unknown(path),
            )

    # Writing

    def check_takes(self, size: int, path: bytes = b"", *, alone: bool = False, trying: bool = False) -> None:
        """Check that the folder can take a file of `size` bytes, at `path` where one is given.

        `alone`: no receipt will be written beside it, so the room reserved for one may be used.
        `trying`: also write a receipt's bytes and remove them, since nothing else shows that a quota is used up.
        FolderRefuses: not writable, or mounted read-only. FolderFull: no room for the file and its receipt.
        """
        with self._deepest(path) as (here, subfolder):
            room = os.fstatvfs(here)
            if room.f_flag & os.ST_RDONLY:
                raise self.not_taken(subfolder, OSError(errno.EROFS, ""))
            attribute = disk.attribute_that_keeps(here)
            if attribute:
                raise FolderRefuses(
                    f"{self.label(subfolder)} is {attribute.word}: nothing can be filed there",
                    hint=f"remove the attribute as root: chattr -{attribute.letter} {self.quoted(subfolder)}",
                )
            # Readable too: a folder has to be opened to be synced.
            if not os.access(b".", os.R_OK | os.W_OK | os.X_OK, dir_fd=here, effective_ids=True):
                raise self.not_taken(subfolder, OSError(errno.EACCES, ""))
            # A total of zero: the file system does not count inodes.
            inodes, wanted = (1, size) if alone else (_RESERVE_INODES, size + RESERVE_BYTES)
            if room.f_files and room.f_favail < inodes:
                raise self.no_room(subfolder, f"{room.f_favail:,} inodes are free, {inodes} are needed")
            free = free_bytes(here, room)
            if free < wanted:
                what = "a file" if alone else "a recording and its receipt" if size else "a receipt"
                raise self.no_room(subfolder, f"{free:,} bytes are free, {wanted:,} are needed for {what}")
            if trying:
                disk.try_to_write(here, RESERVE_BYTES)

    def free_bytes(self, path: bytes = b"") -> float:
        """Return how many bytes are free for a file at `path`; infinity where the file system does not say."""
        with self._deepest(path) as (here, _):
            return free_bytes(here, os.fstatvfs(here))

    def bytes_to_copy(self, source: "Folder", path: bytes, to: bytes) -> int | None:
        """Return how many bytes moving the source's file to `to` would copy; None where a rename will do.

        RecordingGone where there is no file, RecordingUnreachable.
        """
        with source.giving(path), source.holder(path) as (above, name):
            status = os.stat(name, dir_fd=above, follow_symlinks=False)
            source._regular(path, status)  # noqa: SLF001 — of the same class
            left = os.fstat(above).st_dev, disk.mount_of(above)
        with self._deepest(to) as (here, _):
            if not self.owning and (os.fstat(here).st_dev, disk.mount_of(here)) == left:
                return None
            keeps_holes = disk.kind_of_file_system(here) in disk.LOCAL
        return min(status.st_size, status.st_blocks * 512) if keeps_holes else status.st_size

    def names_at(self, path: bytes) -> tuple[tuple[int, int], int]:
        """Return the file system that a file at `path` would be on, and its limit for a name in bytes."""
        with self._deepest(path) as (here, _):
            room = os.fstatvfs(here)
            return (os.fstat(here).st_dev, room.f_fsid), min(room.f_namemax or LONGEST_NAME, LONGEST_NAME)

    def is_barred(self, path: bytes) -> bool:
        """Whether a file has the name of a subfolder on the way to `path`."""
        names = self.components(path)
        for depth in range(1, len(names)):
            way = b"/".join(names[:depth])
            with (
                self.taking(path),
                suppress(FileNotFoundError, NotADirectoryError),
                self.holder(way) as (here, name),
            ):
                if stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                    return True
        return False

    @contextmanager
    def _deepest(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Open the deepest subfolder on the way to `path`, unheard: each may be closed to us, or another disk."""
        above = self.components(path)[:-1] if path else []
        with self.opened(unheard=True) as top, self.taking(path):
            here = top
            while above and here == top:
                try:
                    here = disk.descend(top, above, unheard=True)
                except OSError as error:
                    if error.errno not in _NO_SUCH_NAME:
                        raise
                    above.pop()
            try:
                yield here, b"/".join(above)
            finally:
                if here != top:
                    disk.close(here)

    def write_whole(self, path: bytes, data: bytes, *, replacing: bool, unsynced: Unsynced | None = None) -> None:
        """Write `data` to `path`, atomically and durably.

        Missing subfolders are created. `replacing`: overwrite a file of that name; otherwise NameTaken
        where anything has it. `unsynced`: the name, but not its bytes, is on the disk only once that is settled.
        """
        with (
            nullcontext(unsynced) if unsynced is not None else Unsynced() as changed,
            self.taking(path),
            self.holder(path, making=True) as (here, name),
        ):
            with disk.draft(here) as (made, draft):
                disk.write(made, data)
                os.fsync(made)
                if replacing:
                    os.replace(draft, name, src_dir_fd=here, dst_dir_fd=here)
                else:
                    try:
                        disk.rename_noreplace(here, draft, here, name)
                    except FileExistsError as error:
                        raise self.taken(path) from error
            changed.made(self, path, here)

    def read(self, path: bytes, limit: int) -> bytes | None:
        """Return the content of a small file (a receipt); None where there is no regular file.

        None too for a file that we may not read: it is not ours. TooLong where it has more than `limit`
        bytes, Unreadable where the disk is damaged.
        """
        found = self.read_owned(path, limit)
        return None if found is None else found[0]

    def read_owned(self, path: bytes, limit: int) -> tuple[bytes, int] | None:
        """Return the content and the owner of a small file; None, and raises, as in `read`."""
        with self.taking(path):
            try:
                with self.holder(path, unheard=True) as (here, name), self.looking(path):
                    if not stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                        return None
                    try:
                        opened = os.open(name, disk.RECORDING, dir_fd=here)
                    except PermissionError:
                        return None
            except (FileNotFoundError, NotADirectoryError):
                return None
            owner = os.fstat(opened).st_uid
            with self.looking(path), OpenFile(opened) as file, io.BufferedReader(file) as whole:
                data = whole.read(limit + 1)
        if len(data) > limit:
            raise TooLong(
                f"{self.label(path)} has more than {limit} bytes, so it is not one of our receipts",
                hint=f"look at it, and move it aside: {self.quoted(path)}",
            )
        return data, owner

    def remove(self, path: bytes) -> None:
        """Remove a file of ours at `path`, durably. A missing one is not an error."""
        with self.taking(path), suppress(FileNotFoundError, NotADirectoryError), self.holder(path) as (here, name):
            os.unlink(name, dir_fd=here)
            disk.sync(here)

    def occupied(self, path: bytes) -> bool:
        """Return whether anything has this path. Unreadable where the disk is damaged, so that something has."""
        with self.taking(path):
            try:
                with self.holder(path, unheard=True) as (here, name), self.looking(path):
                    return disk.look(here, name) is not None
            except (FileNotFoundError, NotADirectoryError):
                return False

    def sweep(self, before: float, subfolders: Iterable[bytes] | None = None) -> list[bytes]:
        """Remove our drafts last changed `before` that time (seconds since the epoch). Return their paths.

        `subfolders`: look only in these, not below them, b"" being the root; None: everywhere. Called at the start
        of the one instance, when their writers are dead. What cannot be removed stays.
        """
        drafts = (
            list(_drafts_in(self.walk(lambda _: None)))
            if subfolders is None
            else [path for subfolder in subfolders for path in self.drafts(subfolder)]
        )
        # Look at all before removing any: removing one of two names of a file renews the ctime of the other.
        old = [path for path in drafts if self._is_older(path, before)]
        return [path for path in old if self._swept(path)]

    def drafts(self, subfolder: bytes = b"") -> list[bytes]:
        """Return the drafts in this one subfolder, or in the root."""
        # The scan starts at the subfolder; only names that are part of the way to it are entered.
        way = subfolder.split(b"/")
        looked = self.walk(lambda name: None if name in way or is_draft(name) else "no draft", below=subfolder)
        return list(_drafts_in(looked))

    def _is_older(self, path: bytes, before: float) -> bool:
        with suppress(OSError), self.holder(path) as (here, name):
            # ctime, since a copy of a recording has the recording's mtime.
            return os.stat(name, dir_fd=here, follow_symlinks=False).st_ctime < before
        return False

    def _swept(self, path: bytes) -> bool:
        with suppress(OSError), self.holder(path) as (here, name):
            os.unlink(name, dir_fd=here)
            return True
        return False

    def taken(self, path: bytes) -> NameTaken:
        """Return the error for a name that is taken."""
        return NameTaken(f"{self.label(path)} already exists", hint="nothing was overwritten")

    # Identity and mark

    def situation(self) -> Situation:
        """Return where the folder is now."""
        with self.opened(unheard=True) as here, self.taking(b""):
            ours, parent = os.fstat(here), os.stat(b"..", dir_fd=here)
            birth = disk.birth_of(here)
            identity = ""
            if birth is not None:
                kind, number = disk.kind_of_file_system(here), os.fstatvfs(here).f_fsid
                identity = f"{kind}:{number}:{ours.st_ino}:{birth}"
        return Situation(ours.st_dev, parent.st_dev, ours.st_ino, identity)

    def mark_found(self, owners: Collection[int] = ()) -> Mark | None:
        """Return the folder's mark; None for none, or only a stranger's. `owners`: see marker.counts."""
        with self.taking(MARKER), self.opened(unheard=True) as here:
            return read_mark(here, owners)

    def marker(self, owners: Collection[int] = ()) -> str | None:
        """Return the site that the folder is marked for; None where it is not marked."""
        mark = self.mark_found(owners)
        return None if mark is None else mark.site

    def identity(self) -> tuple[int, int] | None:
        """Return the device and inode of the root now, which takes microseconds; None where that is not known."""
        try:
            status = os.stat(self.root)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def mark(self, site_id: str, owners: Collection[int] = ()) -> tuple[int, bytes | None]:
        """Mark the folder for the site, durably. See marker.write_mark."""
        with self.taking(MARKER), self.opened() as here:
            return write_mark(here, site_id, owners)

    def _regular(self, path: bytes, status: os.stat_result) -> Fingerprint:
        if not stat.S_ISREG(status.st_mode):
            raise RecordingGone(
                f"{self.label(path)} is not, or no longer, a regular file",
                hint="links, pipes and devices are not sent: put the recording itself there",
            )
        return disk.fingerprint_of(status)


def _drafts_in(scan: Scan) -> Iterator[bytes]:
    return (entry.path for entry in scan if entry.kind == "file" and is_draft(os.path.basename(entry.path)))


def free_bytes(here: int, room: os.statvfs_result) -> float:
    """Return how many bytes are free for us in this open folder; infinity where that is not known.

    Some FUSE file systems do not count, or always report nothing free: only a write shows.
    Blocks reserved for root do not count as free, not even for root.
    """
    if room.f_blocks == 0 or room.f_bavail > room.f_blocks:
        return float("inf")
    free = room.f_bavail * room.f_frsize
    if free == 0 and (room.f_bfree == 0 or disk.kind_of_file_system(here) == disk.FUSE):
        try:
            disk.try_to_write(here, RESERVE_BYTES)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        else:
            return float("inf")
    return free
