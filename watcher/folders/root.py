"""The way into a folder, and the border where the disk's errors become ours."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from watcher.accounts import describe_user
from watcher.domain import Fingerprint, quote_path, show_path
from watcher.errors import (
    FolderError,
    FolderFull,
    FolderMissing,
    FolderRefuses,
    FolderSilent,
    RecordingBusy,
    RecordingGone,
    RecordingUnreachable,
    Unreadable,
    WatcherError,
)
from watcher.folders import disk
from watcher.folders.rights import Lack, find_lack
from watcher.silence import ANSWER_SECONDS

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_AWAY = frozenset(
    {
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ENODEV,
        errno.ENXIO,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
    }
)
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM})
_DAMAGED = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Root:
    """One of the folders: `root` is its path on this machine, `name` what it is called ("drop").

    No descriptor stays open between operations, since one would block an unmount. The root itself may
    be a symbolic link; below it none is ever followed. Where it is known not to answer, nobody asks it.
    """

    root: bytes
    name: str
    answers: bool = True

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the root, for the length of the block. FolderMissing, FolderRefuses."""
        if not self.answers:
            raise self.silence()
        try:
            here = os.open(self.root, disk.FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            raise self.no_way_in(error) from error
        try:
            yield here
        finally:
            disk.close(here)

    @contextmanager
    def holder(self, path: bytes, *, making: bool = False) -> Iterator[tuple[int, bytes]]:
        """The folder that holds `path`, as a descriptor, and the last name of it.

        `making`: missing subfolders exist afterwards. OSErrors are left to `giving` or `taking` around it.
        """
        *above, name = self.components(path)
        with self.opened() as top:
            here = disk.descend(top, above, making=making)
            try:
                yield here, name
            finally:
                disk.close(here)

    def look(self, path: bytes) -> Fingerprint | None:
        """What lies at `path`, of any kind; None where nothing does, or no folder leads there.

        OSErrors are left to `giving` or `taking` around it.
        """
        try:
            with self.holder(path) as (here, name):
                return disk.look(here, name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def components(self, path: bytes) -> list[bytes]:
        """The names in `path`. RecordingUnreachable where it would lead out of the folder."""
        names = path.split(b"/")
        if b"\0" in path or any(name in (b"", b".", b"..") for name in names):
            raise RecordingUnreachable(
                f"{show_path(path)!r} is no path inside {self.label()}",
                hint="a path is relative to its folder, without . and ..",
            )
        return names

    @contextmanager
    def giving(self, path: bytes) -> Iterator[None]:
        """In the block, what the disk refuses is about the recording at `path`."""
        try:
            yield
        except OSError as error:
            raise self.not_given(path, error) from error

    @contextmanager
    def taking(self, path: bytes) -> Iterator[None]:
        """In the block, what the disk refuses is about the folder that should take `path`."""
        try:
            yield
        except OSError as error:
            raise self.not_taken(path, error) from error

    @contextmanager
    def looking(self, path: bytes) -> Iterator[None]:
        """In the block, whose folder was entered, a damaged disk makes what lies at `path` Unreadable."""
        try:
            yield
        except OSError as error:
            if error.errno not in _DAMAGED:
                raise
            raise Unreadable(
                f"{self.label(path)} can not be read ({words(error)})", hint=self._remedy(error, path)
            ) from error

    def no_way_in(self, error: OSError) -> FolderError:
        """The root can not be opened."""
        if error.errno in _NOT_THERE | _AWAY:
            return FolderMissing(
                f"{self.label()} is not there ({words(error)})",
                hint=f"mount or create it: {self.quoted()}; nothing is submitted until then",
            )
        return FolderRefuses(f"{self.label()} can not be opened ({words(error)})", hint=self._remedy(error))

    def silence(self) -> FolderSilent:
        """The error for a folder that does not answer."""
        return FolderSilent(
            f"{self.label()} does not answer: nothing came from its server for {ANSWER_SECONDS:g} s",
            hint=f"look at its server, and the network to it; findmnt -T {self.quoted()} says which",
        )

    def not_given(self, path: bytes, error: OSError) -> WatcherError:
        """The recording at `path` could not be had."""
        if error.errno in _NOT_THERE:
            return RecordingGone(f"{self.label(path)} is not there any more", hint="put it back to have it sent")
        if error.errno in _NOT_ALLOWED:
            return RecordingUnreachable(
                f"{self.label(path)} cannot be reached or read by {describe_user(os.geteuid())} ({words(error)})",
                hint=self.lack(path).remedy or self._unknown(path),
            )
        if error.errno == errno.EWOULDBLOCK:
            return RecordingBusy(
                f"{self.label(path)} is held by another program, which was asked to let go",
                hint="nothing to do: it is tried again",
            )
        return FolderRefuses(f"{self.label(path)} can not be had ({words(error)})", hint=self._remedy(error, path))

    def not_taken(self, path: bytes, error: OSError) -> FolderRefuses:
        """The folder could not take `path`."""
        kind = FolderFull if error.errno in _FULL else FolderRefuses
        return kind(f"{self.label(path)} can not be written ({words(error)})", hint=self._remedy(error, path))

    def no_room(self, path: bytes, how: str) -> FolderFull:
        """The folder could take nothing at `path`; `how` little room there is."""
        hint = self._remedy(OSError(errno.ENOSPC, ""))
        return FolderFull(f"No space in {self.label(path)}: {how}", hint=hint)

    def hint_to_enter(self, path: bytes, reason: str) -> str:
        """What to do about a subfolder that can not be looked into, for this reason; see Scan.unreadable."""
        if reason not in {os.strerror(number) for number in _NOT_ALLOWED}:
            return f"look at the disk or share of {self.quoted(path)}, and in dmesg"
        return self.lack(path, moving=False).remedy or self._unknown(path)

    def lack(self, path: bytes = b"", *, reading: bool = True, moving: bool = True) -> Lack:
        """What this process may not do that it wants to; see rights.find_lack."""
        return find_lack(self.root, path, reading=reading, moving=moving) if self.answers else Lack()

    def _unknown(self, path: bytes) -> str:
        """What to do where no mode, list or attribute says why it is refused."""
        return (
            f"let {describe_user(os.geteuid())} have {self.quoted(path)} where its server or the system's policy "
            "(SELinux, AppArmor, the unit) refuses it: modes and lists of this machine allow it"
        )

    def label(self, path: bytes = b"") -> str:
        """For a message: which folder, and which path in it."""
        folder = f"the {self.name} folder {show_path(self.root)}"
        return f"{show_path(path)} in {folder}" if path else folder

    def quoted(self, path: bytes = b"") -> str:
        """For a hint: the path from the machine's root, fit to be pasted into a shell."""
        return quote_path(os.path.join(self.root, path) if path else self.root)

    def _remedy(self, error: OSError, path: bytes = b"") -> str:
        """What to do about it. `path`: where it was met, which may be a disk or a share of its own."""
        if error.errno in _NOT_ALLOWED:
            return self.lack(path, moving=False).remedy or self._unknown(path)
        if error.errno in _FULL:
            return f"free space or inodes, or raise the quota, where {self.quoted()} lies; until then it waits"
        if error.errno == errno.EROFS:
            return f"mount {self.quoted()} read-write, and look in dmesg for why it is not"
        if error.errno in _AWAY and path:
            lies_in = self.quoted(os.path.dirname(path))
            return f"look at the share that it lies on (findmnt -T {lies_in} says which); it is tried again"
        if error.errno in _AWAY:
            return f"mount {self.quoted()} again; nothing is submitted until then"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return "raise the limit of open files (LimitNOFILE= in the unit)"
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return "what is no folder has the name of a subfolder: move it aside"
        return f"look at the disk or share of {self.quoted(path)}, and in dmesg"


def words(error: OSError) -> str:
    """The system's reason, in its words."""
    return os.strerror(error.errno) if error.errno else str(error)
