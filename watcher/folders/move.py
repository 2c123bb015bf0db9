"""The durable move: a recording is in its old place or in its new one, whatever happens in between."""

import errno
import hashlib
import os
import secrets
import stat
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from watcher.domain import Fingerprint, show_path
from watcher.errors import FolderRefuses, RecordingChanged, RecordingGone, RecordingUnreachable
from watcher.folders import disk
from watcher.folders.folder import Folder
from watcher.folders.lease import is_being_written
from watcher.folders.names import alternative
from watcher.mounts import part_of

_OWN_MODE = 0o640
_GRAINS_NS = (2 * 10**9, 10**9, 10**7, 10**6, 10**3, 10**2, 1)  # how coarsely file systems keep times


def move(
    source: Folder,
    path: bytes,
    target: Folder,
    target_path: bytes,
    expected: Fingerprint,
    *,
    sha256: str | None = None,
    alone: bool = False,
) -> Fingerprint:
    """The recording `expected` lies at `target_path`, and no longer at `path`; its fingerprint there.

    Nothing is overwritten, both folders outlast a power cut, and repeating the move after a crash at any
    point completes it. Where the target is `owning`, what lies there is a copy of mode 0640, of whom its folder's
    files are, compared with the original before that is removed.

    `sha256`, of the bytes that were vetted, is what a copy across file systems is known by. With it, what is
    harmless does not make another file of the recording: where only its times differ (chmod, chown, another
    link to it, touch) or its device's number (a reboot), it is read again, and is the same if its bytes are. So
    it is where its file system numbers it anew. And
    its own bytes outlast a power cut before it bears the new name, whoever wrote them: else what a receipt names
    could turn out empty. (Measured on ext4: 0.1 ms where they are on the disk already, 0.3 ms for 200 KB that
    are not.) Without it the least difference counts, and the bytes are left to the system.

    The caller has claimed `target_path`: its receipt was written beside that name before the first attempt,
    when nothing lay there. What lies there later and equals `expected` is then the copy of an attempt that was
    cut short. Within one file system no claim is needed: the recording itself is recognised.

    `alone`: a copy may use up what Folder.check_takes keeps free for a receipt.

    RecordingChanged: another file lies at `path`, and still does. RecordingGone: it lies in neither
    place. NameTaken: something else lies at `target_path`. RecordingUnreachable: it can not be read or taken
    out. FolderMissing, FolderRefuses: of either folder.
    """
    with source.giving(path):
        here = source.look(path)
    if here is not None and _is_same(source, path, here, expected, sha256):
        expected = here
    with target.taking(target_path):
        there = target.look(target_path)
        if there is not None and (
            there.same_content(expected)
            # A copy was completed; then the source was removed, by us or by a newcomer. While it is here,
            # only trying to rename tells a copy of ours from another recording of equal bytes.
            or (here != expected and _is_copy(target, target_path, there, expected, sha256))
        ):
            return _finish(source, path, target, target_path, there)
    if here is None:
        raise RecordingGone(f"{source.label(path)} is not there any more", hint="put it back to have it sent")
    if here != expected:
        raise _changed(source, path)
    with (
        source.giving(path),
        source.holder(path) as (from_folder, from_name),
        target.taking(target_path),
        target.holder(target_path, making=True) as (to_folder, to_name),
    ):
        left = _Place(source, path, from_folder, from_name)
        right = _Place(target, target_path, to_folder, to_name)
        if sha256 is not None:
            _sync_data(left)
        there = None if target.owning else _rename(left, right, expected, sha256)
        if there is not None:
            return _finish(source, path, target, target_path, there)
        there = _copy(left, right, expected, sha256, alone=alone)
    return _finish(source, path, target, target_path, there, expected, sha256)


def _is_same(source: Folder, path: bytes, here: Fingerprint, expected: Fingerprint, sha256: str | None) -> bool:
    """Whether what lies here is the recording that was expected, though its times or device be others."""
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
    """Whether nobody touched it in between; where its bytes are compared anyway, its ctime may be another."""
    return now == before if sha256 is None else now.same_content(before)


def _sync_data(left: "_Place") -> None:
    with left.folder.giving(left.path):
        try:
            opened = os.open(left.name, disk.RECORDING, dir_fd=left.holder)
        except PermissionError:  # it can be moved all the same
            return
        try:
            disk.sync(opened)
        finally:
            disk.close(opened)


class _Place(NamedTuple):
    """A path in a folder, and the open descriptor and last name that lead to it."""

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
    copied: Fingerprint | None = None,
    sha256: str | None = None,
) -> Fingerprint:
    """The new name is durable, and the old one is gone if it still leads to the same recording.

    `copied`: what was copied there, where it was not renamed.
    """
    with target.taking(target_path), target.holder(target_path) as (folder, _):
        disk.sync(folder)
    linked = False
    with (
        source.giving(path),
        suppress(FileNotFoundError, NotADirectoryError),  # the whole subfolder was removed since: as well
        source.holder(path) as (folder, name),
    ):
        here = disk.look(folder, name)
        # A newcomer of its name stays. What is the same file was linked, where the file system knows no
        # better rename.
        linked = here is not None and here.same_file(there)
        if linked or (here is not None and copied is not None and _is_same(source, path, here, copied, sha256)):
            os.unlink(name, dir_fd=folder)
        disk.sync(folder)
    if linked:
        with target.taking(target_path):
            return target.look(target_path) or there  # one link less is another ctime
    return there


def _rename(left: _Place, right: _Place, expected: Fingerprint, sha256: str | None) -> Fingerprint | None:
    """The recording bears its new name; None, and nothing done, where that is on another file system."""
    try:
        disk.rename_noreplace(left.holder, left.name, right.holder, right.name)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return None
        # A network file system may deny what it has done: believe only what lies there.
        there = disk.look(right.holder, right.name)
        if there is None or not _has_arrived(right, there, expected, sha256):
            if isinstance(error, FileExistsError):
                raise right.folder.taken(right.path) from error
            left.folder.check_gives(left.path)  # blames the recording, if it is the one to blame
            raise
    there = disk.look(right.holder, right.name)
    if there is None:
        raise RecordingGone(f"{right.folder.label(right.path)} was filed, and taken away at once")
    if not _has_arrived(right, there, expected, sha256):
        raise _given_back(left, right)
    return there


def _has_arrived(right: _Place, there: Fingerprint, expected: Fingerprint, sha256: str | None) -> bool:
    """Whether what lies there is what was to be moved; its bytes tell where its number and times do not last."""
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
    """What was moved by mistake lies in its old folder again, under its old name unless that is taken."""
    for name in (left.name, alternative(left.name, secrets.token_hex(3))):
        with suppress(OSError):
            disk.rename_noreplace(right.holder, right.name, left.holder, name)
            disk.sync(left.holder)
            disk.sync(right.holder)
            return _changed(left.folder, left.path)
    return RecordingChanged(
        f"{left.folder.label(left.path)} was replaced while it was moved, and lies at"
        f" {right.folder.label(right.path)} now",
        hint="move it back by hand",
    )


def _copy(left: _Place, right: _Place, expected: Fingerprint, sha256: str | None, *, alone: bool) -> Fingerprint:
    """A verified, durable copy bears the new name; the source is untouched."""
    left.folder.check_gives(left.path)  # a copy whose source can not be removed helps nobody
    file, opened = left.folder.open(left.path)
    with file:
        if not _is_unchanged(opened, expected, sha256):
            raise _changed(left.folder, left.path)
        if is_being_written(file):  # what is written after the copy, into a file without a name, would be lost
            raise RecordingUnreachable(
                f"{left.folder.label(left.path)} is open for writing, and would have to be copied",
                hint="nothing to do: it is moved when its writer has closed it",
            )
        there = disk.look(right.holder, right.name)
        if there is not None:
            found = disk.digest(file.fileno())
            if found != (sha256 or found) or not _is_copy(right.folder, right.path, there, expected, found):
                raise right.folder.taken(right.path)
            return there
        # What was never read may be larger than any disk, and hold nothing: its holes stay holes.
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
                os.posix_fadvise(made, 0, 0, os.POSIX_FADV_DONTNEED)  # so that the disk is read, not memory
            if disk.digest(made, disk.data_in(file.fileno(), expected.size) if sparsely else None) != digest:
                raise FolderRefuses(
                    f"{right.folder.label(right.path)} did not keep what was written to it: the copy was removed",
                    hint=f"look at the disk or share of {right.folder.quoted()}, and in dmesg",
                )
            try:
                disk.rename_noreplace(right.holder, draft, right.holder, right.name)
            except FileExistsError as error:
                raise right.folder.taken(right.path) from error
            return disk.fingerprint_of(os.fstat(made))


def _copy_data(file: BinaryIO, made: int, size: int, *, sparsely: bool) -> str:
    """The file's first `size` bytes lie in the new one. Their sha256: `sparsely`, of what lies between holes."""
    total = hashlib.sha256()
    # No more than that: a file that grows as fast as it is copied would have no end.
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
    """Whether a file system that was given the one time may keep it as the other."""
    grain = next(grain for grain in _GRAINS_NS if there_ns % grain == 0)
    return abs(there_ns - expected_ns) <= grain


def _is_copy(
    target: Folder, target_path: bytes, there: Fingerprint, expected: Fingerprint, sha256: str | None
) -> bool:
    """Whether the file at the new name is what a copy of `expected` left there."""
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
        f"{source.label(path)} is not the file it was: {show_path(path)} is looked at anew",
        hint="nothing to do: it is taken for a new arrival",
    )
