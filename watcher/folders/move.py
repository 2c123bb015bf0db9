"""The durable move: a recording is at its old path or at its new one, whatever happens in between."""

import errno
import hashlib
import os
import secrets
import stat
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from watcher.domain import Fingerprint
from watcher.errors import FolderMissing, FolderRefuses, RecordingChanged, RecordingGone, RecordingUnreachable
from watcher.folders import disk
from watcher.folders.folder import Folder
from watcher.folders.lease import is_being_written
from watcher.folders.names import alternative
from watcher.folders.unsynced import Unsynced
from watcher.mounts import part_of
from watcher.text import show_path

_OWN_MODE = 0o640
_GRAINS_NS = (2 * 10**9, 10**9, 10**7, 10**6, 10**3, 10**2, 1)  # resolutions of file systems' times


def move(  # noqa: PLR0913 — four say what goes where, each of the others is one promise
    source: Folder,
    path: bytes,
    target: Folder,
    target_path: bytes,
    expected: Fingerprint,
    *,
    sha256: str | None = None,
    alone: bool = False,
    unsynced: Unsynced | None = None,
    root: tuple[int, int] | None = None,
) -> Fingerprint:
    """Move the recording `expected` from `path` to `target_path`, durably. Return its fingerprint there.

    Nothing is overwritten, both folders are synced, and repeating the move after a crash at any point completes
    it. Where the target is `owning`, the result is a copy with mode 0640 and the owner of its folder's files,
    compared with the original before that is removed.

    `sha256`, of the examined bytes, verifies a copy across file systems. With it, harmless changes do not make the
    recording another file: where only its times differ (chmod, chown, another link to it, touch), its device
    number (a reboot) or its inode number (a file system that renumbers), it is read again, and is the same if its
    bytes are. And its bytes are synced before it gets the new name, whoever wrote them: otherwise a recording that
    has a receipt could turn out empty after a power cut. (Measured on ext4: 0.1 ms where they are on the disk
    already, 0.3 ms for 200 KB that are not.) Without `sha256` any difference counts, and nothing is synced.

    The caller has claimed `target_path`: it wrote the receipt beside that name before the first attempt, when
    the name was free. A file there that equals `expected` is then the copy of an interrupted attempt. Within one
    file system no claim is needed: the recording itself is recognised.

    `alone`: a copy may use the room that Folder.check_takes reserves for a receipt. `unsynced`: its new name is
    on the disk only once that is settled, which the caller does for many; else when this returns. `root`: the
    device and inode that the target was recognised by: it may be unmounted at any moment, and nothing may end on
    its mount point.

    RecordingChanged: another file is at `path`, and stays there. RecordingGone: it is in neither place.
    NameTaken: something else has `target_path`. RecordingUnreachable: it cannot be read or moved out.
    FolderMissing, FolderRefuses: of either folder.
    """
    with source.giving(path):
        here = source.look(path)
    if here is not None and _is_same(source, path, here, expected, sha256):
        expected = here
    with target.taking(target_path):
        there = target.look(target_path)
        if there is not None and (
            there.same_content(expected)
            # A copy was completed; then the source was removed, by us, or replaced by a new file. While it is
            # still here, only trying to rename tells our copy from another recording with the same bytes.
            or (here != expected and _is_copy(target, target_path, there, expected, sha256))
        ):
            return _finish(source, path, target, target_path, there, unsynced)
    if here is None:
        raise RecordingGone(f"{source.label(path)} is no longer there", hint="put it back to have it sent")
    if here != expected:
        raise _changed(source, path)
    with (
        source.giving(path),
        source.holder(path) as (from_folder, from_name),
        target.taking(target_path),
        target.holder(target_path, making=True) as (to_folder, to_name),
    ):
        if root is not None and target.identity() != root:  # once it is open, since from there on it cannot change
            raise FolderMissing(
                f"{target.label()} is not the folder that it was a moment ago",
                hint=f"see what is mounted at {target.quoted()}; it is looked at again by itself",
            )
        left = _Place(source, path, from_folder, from_name)
        right = _Place(target, target_path, to_folder, to_name)
        if sha256 is not None:
            _sync_data(left)
        there = None if target.owning else _rename(left, right, expected, sha256)
        if there is not None:
            return _finish(source, path, target, target_path, there, unsynced)
        there = _copy(left, right, expected, sha256, alone=alone)
    return _finish(source, path, target, target_path, there, unsynced, expected, sha256)


def _is_same(source: Folder, path: bytes, here: Fingerprint, expected: Fingerprint, sha256: str | None) -> bool:
    """Return whether this file is the expected recording, even if its times or device number differ."""
    if here == expected or sha256 is None:
        return here == expected
    if here.size != expected.size:
        return False
    if here.inode != expected.inode and part_of(source.root, path).keeps_identity:
        return False
    try:
        file, opened = source.open(path)
    except RecordingGone:
        return False
    with file, source.giving(path):
        return opened == here and disk.digest(file.fileno()) == sha256


def _is_unchanged(now: Fingerprint, before: Fingerprint, sha256: str | None) -> bool:
    """Return whether nobody touched it meanwhile; its ctime may differ if its bytes are compared anyway."""
    return now == before if sha256 is None else now.same_content(before)


def _sync_data(left: "_Place") -> None:
    with left.folder.giving(left.path):
        try:
            opened = os.open(left.name, disk.RECORDING, dir_fd=left.holder)
        except PermissionError:  # it can still be moved
            return
        try:
            disk.sync(opened)
        finally:
            disk.close(opened)


class _Place(NamedTuple):
    """A path in a folder, with the open descriptor and the last name that lead to it."""

    folder: Folder
    path: bytes
    holder: int
    name: bytes


def _finish(
    source: Folder,
    path: bytes,
    target: Folder,
    target_path: bytes,
    there: Fingerprint,
    unsynced: Unsynced | None,
    copied: Fingerprint | None = None,
    sha256: str | None = None,
) -> Fingerprint:
    """Make the new name durable, and remove the old one if it is still the same recording's.

    `copied`: the fingerprint of what was copied, where it was not renamed.
    """
    if unsynced is None:
        with Unsynced() as alone:
            return _finish(source, path, target, target_path, there, alone, copied, sha256)
    with target.taking(target_path), target.holder(target_path) as (folder, _):
        unsynced.made(target, target_path, folder)
    linked = False
    with (
        source.giving(path),
        suppress(FileNotFoundError, NotADirectoryError),  # the whole subfolder was removed meanwhile: just as well
        source.holder(path) as (folder, name),
    ):
        here = disk.look(folder, name)
        # A new file of its name stays. The same file is there if it was linked, where the file system has no
        # better rename.
        linked = here is not None and here.same_file(there)
        if linked or (here is not None and copied is not None and _is_same(source, path, here, copied, sha256)):
            unsynced.settle()  # before the only other name goes
            os.unlink(name, dir_fd=folder)
        unsynced.removed(source, path, folder)
    if linked:
        with target.taking(target_path):
            return target.look(target_path) or there  # removing a link changes the ctime
    return there


def _rename(left: _Place, right: _Place, expected: Fingerprint, sha256: str | None) -> Fingerprint | None:
    """Rename the recording. None, with nothing done, where the new name is on another file system."""
    try:
        disk.rename_noreplace(left.holder, left.name, right.holder, right.name)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return None
        # A network file system may report an error for a rename that it has done: look at what is there.
        there = disk.look(right.holder, right.name)
        if there is None or not _has_arrived(right, there, expected, sha256):
            if isinstance(error, FileExistsError):
                raise right.folder.taken(right.path) from error
            left.folder.check_gives(left.path)  # raises if the recording is the one to blame
            raise
    there = disk.look(right.holder, right.name)
    if there is None:
        raise RecordingGone(f"{right.folder.label(right.path)} was filed, and removed at once")
    if not _has_arrived(right, there, expected, sha256):
        raise _given_back(left, right)
    return there


def _has_arrived(right: _Place, there: Fingerprint, expected: Fingerprint, sha256: str | None) -> bool:
    """Return whether this is the file that was to be moved; its bytes decide where inode and times do not last."""
    if there.same_content(expected):
        return True
    if sha256 is None or there.size != expected.size or part_of(right.folder.root, right.path).keeps_identity:
        return False
    opened = os.open(right.name, disk.RECORDING, dir_fd=right.holder)
    try:
        return stat.S_ISREG(os.fstat(opened).st_mode) and disk.digest(opened) == sha256
    finally:
        disk.close(opened)


def _given_back(left: _Place, right: _Place) -> RecordingChanged:
    """Move back what was moved by mistake, under its old name unless that is taken."""
    for name in (left.name, alternative(left.name, secrets.token_hex(3))):
        with suppress(OSError):
            disk.rename_noreplace(right.holder, right.name, left.holder, name)
            disk.sync(left.holder)
            disk.sync(right.holder)
            return _changed(left.folder, left.path)
    return RecordingChanged(
        f"{left.folder.label(left.path)} was replaced while it was moved, and is now"
        f" {right.folder.label(right.path)}",
        hint="move it back by hand",
    )


def _copy(left: _Place, right: _Place, expected: Fingerprint, sha256: str | None, *, alone: bool) -> Fingerprint:
    """Copy to the new name, verified and durable; the source is untouched."""
    left.folder.check_gives(left.path)  # a copy whose source cannot be removed is useless
    file, opened = left.folder.open(left.path)
    with file:
        if not _is_unchanged(opened, expected, sha256):
            raise _changed(left.folder, left.path)
        if is_being_written(file):  # what is written after the copy, to a file that is then removed, would be lost
            raise RecordingUnreachable(
                f"{left.folder.label(left.path)} is still open for writing, so it cannot be copied yet",
                hint="nothing to do: it is moved when its writer has closed it",
            )
        there = disk.look(right.holder, right.name)
        if there is not None:
            found = disk.digest(file.fileno())
            if found != (sha256 or found) or not _is_copy(right.folder, right.path, there, expected, found):
                raise right.folder.taken(right.path)
            return there
        # A file that was never read may be larger than any disk and consist of holes: they stay holes.
        sparsely = sha256 is None and disk.kind_of_file_system(right.holder) in disk.LOCAL  # see bytes_to_copy
        allocated = os.fstat(file.fileno()).st_blocks * 512
        size = min(expected.size, allocated) if sparsely else expected.size
        right.folder.check_takes(size, right.path, alone=alone)
        with disk.draft(right.holder) as (made, draft):
            digest = _copy_data(file, made, expected.size, sparsely=sparsely)
            status = os.fstat(file.fileno())
            with suppress(OSError):
                os.fchmod(made, _OWN_MODE if right.folder.owning else stat.S_IMODE(status.st_mode) & 0o777)
            with suppress(OSError):
                os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fsync(made)
            after = disk.fingerprint_of(status)
            if not _is_unchanged(after, opened, sha256) or digest != (sha256 or digest):
                raise _changed(left.folder, left.path)
            with suppress(OSError):
                os.posix_fadvise(made, 0, 0, os.POSIX_FADV_DONTNEED)  # so that the disk is read, not the cache
            if disk.digest(made, disk.data_in(file.fileno(), expected.size) if sparsely else None) != digest:
                raise FolderRefuses(
                    f"{right.folder.label(right.path)} does not hold what was written: the copy was removed",
                    hint=f"look at the disk or share of {right.folder.quoted()}, and in dmesg",
                )
            try:
                disk.rename_noreplace(right.holder, draft, right.holder, right.name)
            except FileExistsError as error:
                raise right.folder.taken(right.path) from error
            return disk.fingerprint_of(os.fstat(made))


def _copy_data(file: BinaryIO, made: int, size: int, *, sparsely: bool) -> str:
    """Copy the file's first `size` bytes. Return their sha256; `sparsely`, only of what is not a hole."""
    total = hashlib.sha256()
    # No more than that: copying a file that grows as fast as it is copied would not end.
    for start, end in disk.data_in(file.fileno(), size) if sparsely else [(0, size)]:
        file.seek(start)
        os.lseek(made, start, os.SEEK_SET)
        rest = end - start
        while rest > 0 and (chunk := file.read(min(disk.CHUNK, rest))):
            total.update(chunk)
            disk.write(made, chunk)
            rest -= len(chunk)
    if sparsely:
        os.ftruncate(made, size)
    return total.hexdigest()


def is_same_time(there_ns: int, expected_ns: int) -> bool:
    """Return whether a file system that was given the expected time may have stored the other."""
    grain = next(grain for grain in _GRAINS_NS if there_ns % grain == 0)
    return abs(there_ns - expected_ns) <= grain


def _is_copy(
    target: Folder, target_path: bytes, there: Fingerprint, expected: Fingerprint, sha256: str | None
) -> bool:
    """Return whether the file at the new name is a copy of `expected`."""
    if there.size != expected.size or not is_same_time(there.mtime_ns, expected.mtime_ns):
        return False
    if sha256 is None:
        return target.owning or there.device != expected.device
    with target.holder(target_path) as (folder, name):
        opened = os.open(name, disk.RECORDING, dir_fd=folder)
    try:
        return stat.S_ISREG(os.fstat(opened).st_mode) and disk.digest(opened) == sha256
    finally:
        disk.close(opened)


def _changed(source: Folder, path: bytes) -> RecordingChanged:
    return RecordingChanged(
        f"{source.label(path)} is no longer the same file: {show_path(path)} is taken for a new arrival",
        hint="nothing to do",
    )
