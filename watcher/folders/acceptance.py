"""Which names the folders' file systems accept: found out by creating files of these names, and remembered."""

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from watcher.errors import FolderRefuses
from watcher.folders import disk
from watcher.folders.folder import Folder
from watcher.folders.names import Strangeness, at_the_top, ordinary, receipt_name, strangeness, versions

_TRIAL = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIAL_MODE = (
    0o200  # an unusual mode, so that a trial file left by a crash is recognised, where the file system keeps modes
)
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_TRAITS_KEPT = 20_000


class Acceptance:
    """Finds a name that a folder accepts for a file: the file's own, or the closest that is not refused.

    Each file system is probed once with an ordinary name, and then only for unusual traits not yet probed: most
    paths cost nothing. Threads may share it; one file is tried at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[tuple[int, int], Strangeness] = {}  # by file system: what it is known to accept

    def fit(self, folder: Folder, path: bytes, item_id: str, token: str = "") -> bytes:
        """Return the name, with the token before its extension, that the folder accepts, and its receipt's too.

        It may be taken already. FolderRefuses where the folder accepts no name, not even an ordinary one;
        FolderMissing.
        """
        try:
            file_system, longest = folder.names_at(path)
            candidates = versions(path, item_id, token, longest)
        except FolderRefuses:
            if b"/" not in path or not folder.is_barred(path):
                raise
            # `a` was filed, and now there is `a/b.wav`: the file keeps its name.
            candidates = iter([at_the_top(path, item_id, token)])
            file_system, longest = folder.names_at(b"")
        for version in candidates:
            if self._is_taken(folder, version, file_system, longest):
                return version
        raise FolderRefuses(
            f"{folder.label(path)} cannot be put there under any name",
            hint=f"check the disk or share of {folder.quoted()}: it refuses every name that was tried",
        )

    def forget(self) -> None:
        """Forget all that was found: a new file system may have the device number of an old one."""
        with self._lock:
            self._taken.clear()

    def clear(self, folder: Folder, path: bytes) -> bool:
        """Remove the trial files that a crash left at `path` and its receipt's. Return whether there were any."""
        receipt = os.path.basename(receipt_name(path))
        with self._lock, folder.taking(path), folder.holder(path) as (here, name):
            cleared = [_clear(here, each) for each in (name, receipt)]
        return any(cleared)

    def _is_taken(self, folder: Folder, path: bytes, file_system: tuple[int, int], longest: int) -> bool:
        strange = strangeness(path)
        is_ordinary = strange.is_within(ordinary(longest))
        with self._lock:
            known = self._taken.get(file_system)
            if known is not None and (is_ordinary or strange.is_within(known)):
                return True
            if known is None:
                folder.check_takes(0, trying=True)
            if not _try(folder, path, itself=not is_ordinary):
                return False
            kept = known if known is not None and len(known.traits) < _TRAITS_KEPT else Strangeness()
            self._taken[file_system] = kept.joined(strange)
        return True


def _try(folder: Folder, path: bytes, *, itself: bool) -> bool:
    """Return whether the folder accepts the receipt's name, and with `itself` this one. No file is left there.

    If so, missing subfolders have been created for it. FolderRefuses where the folder takes no file at all, or
    something that is no folder has the name of a subfolder.
    """
    *above, name = folder.components(path)
    receipt = os.path.basename(receipt_name(path))
    with folder.opened() as top, folder.taking(path):
        here, made = os.dup(top), list[tuple[int, bytes]]()
        try:
            for subfolder in above:
                below = _enter(here, subfolder)
                if below is None:
                    below = _make(here, subfolder)
                    made.append((os.dup(here), subfolder))
                disk.close(here)
                here = below
            for each in (name, receipt) if itself else (receipt,):
                _touch(here, each)
        except _Refused:
            disk.try_to_write(
                here, 1
            )  # under an ordinary name, which shows whether it was the name that was refused
            for holder, subfolder in reversed(made):
                with suppress(OSError):  # somebody has put something in it
                    os.rmdir(subfolder, dir_fd=holder)
            return False
        finally:
            for holder in (here, *(holder for holder, _ in made)):
                disk.close(holder)
    return True


class _Refused(Exception):
    """The file system accepts no file or folder of this name, or none at all."""


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _Refused from error


def _enter(here: int, name: bytes) -> int | None:
    """Open the subfolder; None where there is none."""
    try:
        return os.open(name, disk.FOLDER, dir_fd=here)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENOTDIR and stat.S_ISREG(
            os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
        ):
            raise _Refused from error  # what was filed under it keeps it
        if error.errno in (*_NOT_THERE, errno.EACCES, errno.EPERM):
            raise
        raise _Refused from error  # some do not even look up a name that they refuse


def _make(here: int, name: bytes) -> int:
    with _refusing():
        return disk.make_folder(here, name)


def _touch(here: int, name: bytes) -> None:
    """Create a file of this name and remove it, with any that a crash left of an earlier trial."""
    with _refusing():
        try:
            made = os.open(name, _TRIAL, _TRIAL_MODE, dir_fd=here)
        except FileExistsError:  # under exactly this name, so the name is accepted
            _clear(here, name)
            return
        except OSError as error:
            if error.errno == errno.EIO and os.fsdecode(name) in os.listdir(here):
                return  # it lies on a bad block, but the name is accepted
            raise
        status = os.fstat(made)
        disk.close(made)
        there = os.stat(name, dir_fd=here, follow_symlinks=False)
        # Do not compare inodes: some FUSE file systems renumber them at each look.
        if (there.st_mode, there.st_uid, there.st_size) == (status.st_mode, status.st_uid, 0):
            os.unlink(name, dir_fd=here)


def _clear(here: int, name: bytes) -> bool:
    """Remove a trial file of this name. Return whether there was one."""
    try:
        status = os.stat(name, dir_fd=here, follow_symlinks=False)
    except OSError:  # nothing there, or nothing that could be ours
        return False
    is_trial = (
        stat.S_ISREG(status.st_mode)
        and stat.S_IMODE(status.st_mode) == _TRIAL_MODE
        and (status.st_size, status.st_nlink, status.st_uid) == (0, 1, os.geteuid())
    )
    if is_trial:
        os.unlink(name, dir_fd=here)
    return is_trial
