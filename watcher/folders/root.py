"""Access to a folder, and the one place where the disk's errors become ours."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from watcher.accounts import describe_user
from watcher.domain import Fingerprint
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
from watcher.text import quote_path, show_path

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
    """One of the folders: `root` is its path on this machine, `name` its role ("drop").

    No descriptor stays open between operations, since that would block an unmount. The root itself may
    be a symbolic link; none is followed below it. A folder that is known to be silent is not touched.
    """

    root: bytes
    name: str
    answers: bool = True

    @contextmanager
    def opened(self, *, unheard: bool = False) -> Iterator[int]:
        """Open the root for the length of the block. FolderMissing, FolderRefuses.

        `unheard`: names are only looked up in it; it can be neither listed nor synced. See disk.open_unheard.
        """
        if not self.answers:
            raise self.silence()
        try:
            if unheard:
                here = disk.open_unheard(self.root, following=True)
            else:
                here = os.open(self.root, disk.FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            raise self.no_way_in(error) from error
        try:
            yield here
        finally:
            disk.close(here)

    @contextmanager
    def holder(self, path: bytes, *, making: bool = False, unheard: bool = False) -> Iterator[tuple[int, bytes]]:
        """Open the folder that holds `path`: its descriptor, and the last component of `path`.

        `making`: create missing subfolders. `unheard`: as in `opened`. OSErrors are left to `giving` or `taking`
        around it.
        """
        *above, name = self.components(path)
        with self.opened(unheard=unheard) as top:
            here = disk.descend(top, above, making=making, unheard=unheard) if above else top
            try:
                yield here, name
            finally:
                if here != top:
                    disk.close(here)

    def look(self, path: bytes) -> Fingerprint | None:
        """Return the fingerprint of whatever lies at `path`; None where nothing does, or a subfolder is missing.

        OSErrors are left to `giving` or `taking` around it.
        """
        try:
            with self.holder(path, unheard=True) as (here, name):
                return disk.look(here, name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def components(self, path: bytes) -> list[bytes]:
        """Split `path` into its names. RecordingUnreachable where it would lead out of the folder."""
        names = path.split(b"/")
        if b"\0" in path or any(name in (b"", b".", b"..") for name in names):
            raise RecordingUnreachable(
                f"{show_path(path)!r} is not a path inside {self.label()}",
                hint="a path is relative to its folder, without . and ..",
            )
        return names

    @contextmanager
    def giving(self, path: bytes) -> Iterator[None]:
        """Blame the recording at `path` for OSErrors in the block."""
        try:
            yield
        except OSError as error:
            raise self.not_given(path, error) from error

    @contextmanager
    def taking(self, path: bytes) -> Iterator[None]:
        """Blame the folder that should take `path` for OSErrors in the block."""
        try:
            yield
        except OSError as error:
            raise self.not_taken(path, error) from error

    @contextmanager
    def looking(self, path: bytes) -> Iterator[None]:
        """Turn a disk error in the block, at a `path` whose folder could be opened, into Unreadable."""
        try:
            yield
        except OSError as error:
            if error.errno not in _DAMAGED:
                raise
            raise Unreadable(
                f"{self.label(path)} cannot be read ({words(error)})", hint=self._remedy(error, path)
            ) from error

    def no_way_in(self, error: OSError) -> FolderError:
        """Return the error for a root that cannot be opened."""
        if error.errno in _NOT_THERE | _AWAY:
            return FolderMissing(
                f"{self.label()} is not there ({words(error)})",
                hint=f"mount or create it: {self.quoted()}; nothing is submitted until then",
            )
        return FolderRefuses(f"{self.label()} cannot be opened ({words(error)})", hint=self._remedy(error))

    def silence(self) -> FolderSilent:
        """Return the error for a folder that does not answer."""
        return FolderSilent(
            f"{self.label()} does not answer: its server was silent for {ANSWER_SECONDS:g} s",
            hint=f"check its server and the network to it; findmnt -T {self.quoted()} shows which server",
        )

    def not_given(self, path: bytes, error: OSError) -> WatcherError:
        """Return the error for a recording at `path` that could not be read or moved."""
        if error.errno in _NOT_THERE:
            return RecordingGone(f"{self.label(path)} is no longer there", hint="put it back to have it sent")
        if error.errno in _NOT_ALLOWED:
            return RecordingUnreachable(
                f"{self.label(path)} cannot be reached or read by {describe_user(os.geteuid())} ({words(error)})",
                hint=self.lack(path).remedy or self._unknown(path),
            )
        if error.errno == errno.EWOULDBLOCK:
            return RecordingBusy(
                f"{self.label(path)} is held by another program, which was asked to release it",
                hint="nothing to do: it is tried again",
            )
        return FolderRefuses(f"{self.label(path)} cannot be used ({words(error)})", hint=self._remedy(error, path))

    def not_taken(self, path: bytes, error: OSError) -> FolderRefuses:
        """Return the error for a folder that could not take `path`."""
        kind = FolderFull if error.errno in _FULL else FolderRefuses
        return kind(f"{self.label(path)} cannot be written ({words(error)})", hint=self._remedy(error, path))

    def no_room(self, path: bytes, how: str) -> FolderFull:
        """Return the error for a folder without room at `path`; `how` says what is short."""
        hint = self._remedy(OSError(errno.ENOSPC, ""))
        return FolderFull(f"No space in {self.label(path)}: {how}", hint=hint)

    def hint_to_enter(self, path: bytes, reason: str) -> str:
        """Return what to do about a subfolder that cannot be looked into, for this reason; see Scan.unreadable."""
        if reason not in {os.strerror(number) for number in _NOT_ALLOWED}:
            return f"look at the disk or share of {self.quoted(path)}, and in dmesg"
        return self.lack(path, moving=False).remedy or self._unknown(path)

    def lack(self, path: bytes = b"", *, reading: bool = True, moving: bool = True) -> Lack:
        """Return which rights this process lacks; see rights.find_lack."""
        return find_lack(self.root, path, reading=reading, moving=moving) if self.answers else Lack()

    def _unknown(self, path: bytes) -> str:
        """Return what to do where no mode, ACL or attribute explains the refusal."""
        return (
            f"let {describe_user(os.geteuid())} use {self.quoted(path)}: modes and ACLs here allow it, so "
            "its server or the system's policy (SELinux, AppArmor, the unit) refuses it"
        )

    def label(self, path: bytes = b"") -> str:
        """Name the folder, and the path in it, for a message."""
        folder = f"the {self.name} folder {show_path(self.root)}"
        return f"{show_path(path)} in {folder}" if path else folder

    def quoted(self, path: bytes = b"") -> str:
        """Return the absolute path for a hint, quoted so that it can be pasted into a shell."""
        return quote_path(os.path.join(self.root, path) if path else self.root)

    def _remedy(self, error: OSError, path: bytes = b"") -> str:
        """Return what to do about it. `path`: where the error occurred, perhaps a disk or share of its own."""
        if error.errno in _NOT_ALLOWED:
            return self.lack(path, moving=False).remedy or self._unknown(path)
        if error.errno in _FULL:
            return f"free space or inodes, or raise the quota, where {self.quoted()} lies; until then it waits"
        if error.errno == errno.EROFS:
            return f"mount {self.quoted()} read-write; dmesg says why it is not"
        if error.errno in _AWAY and path:
            lies_in = self.quoted(os.path.dirname(path))
            return f"check the share that it is on (findmnt -T {lies_in} shows which); it is tried again"
        if error.errno in _AWAY:
            return f"mount {self.quoted()} again; nothing is submitted until then"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return "raise the limit on open files (LimitNOFILE= in the unit)"
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return "something that is not a folder has the name of a subfolder: move it aside"
        return f"look at the disk or share of {self.quoted(path)}, and in dmesg"


def words(error: OSError) -> str:
    """Return the system's reason, in its words."""
    return os.strerror(error.errno) if error.errno else str(error)
