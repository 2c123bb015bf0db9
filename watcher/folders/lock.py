"""One instance per drop folder: a lock that ends with its process, and a heartbeat in the lock file.

A lock taken by another machine, by the server, or through another mount is not always visible here (SMB with
nobrl, sshfs, a folder that its server uses too). So the holder also writes a heartbeat, and others check it.
"""

import errno
import os
import threading
from collections.abc import Collection
from contextlib import suppress
from types import TracebackType
from typing import Self

from watcher.accounts import describe_user
from watcher.errors import FolderMissing, FolderRefuses, InstanceRunning
from watcher.folders import disk, marker
from watcher.folders.holder import Holder, read_holder, take_lock
from watcher.folders.rights import find_lack
from watcher.folders.root import words
from watcher.text import JsonObject, quote_path, show_path

SHARED_BY = "database"
"""In the note of a lock that is shared: by those who name the same database, which lets one work at a time."""

_TRIES = 5  # a try fails only if somebody else changed the file at that very moment


class Lock:
    """A lock that is held until it is closed or the process ends.

    `displaced`: the new name of a stranger's file that was in the lock's place. `found`: whom its note named
    before; nobody if it was released in order.
    """

    def __init__(self, held: int, displaced: bytes | None = None, shared_by: str | None = None) -> None:
        self._held = held
        self._facts: JsonObject = {} if shared_by is None else {SHARED_BY: shared_by}
        # One thread writes the heartbeat, another closes. A file that is closed under a system call stays locked
        # until that returns, and we would be in our own way; and its descriptor may be another file by then.
        self._using = threading.Lock()
        self.displaced = displaced
        self.found: Holder | None = None

    def close(self) -> None:
        """Release the lock. The file stays: if it were removed, two processes could both hold "the" lock."""
        with self._using:
            if self._held >= 0:
                with suppress(OSError):
                    if Holder.ourselves().is_same(read_holder(self._held)):
                        marker.write_note(self._held, {})
            self._release()

    def abandon(self) -> None:
        """Release the lock, but leave the note as it is: another instance's."""
        with self._using:
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, -1  # first: the descriptor is closed even if close reports an error
        if held >= 0:
            disk.close(held)

    def tell(self, now: float) -> None:
        """Write the heartbeat, which other machines see too: we hold the lock and are alive `now`. OSError."""
        with self._using:
            if self._held >= 0:
                marker.write_note(self._held, {**Holder.ourselves().as_note(), **self._facts, "at": now})
                disk.sync(self._held)

    def note(self, facts: JsonObject) -> None:
        """Add these facts to the note, for commands that ask. OSError where it cannot be written."""
        with self._using:
            if self._held >= 0:
                marker.write_note(self._held, {**Holder.ourselves().as_note(), **facts})

    def owners(self) -> frozenset[int]:
        """Return the owner of the lock file as the file system shows it, to recognise another instance's files."""
        with self._using:
            try:
                return frozenset({os.fstat(self._held).st_uid})
            except OSError:
                return frozenset()

    def is_held_at(self, path: bytes) -> bool:
        """Return whether the file at `path` is still the locked one, so that nobody else can lock it there.

        It is not if the folder or the file was removed and created again, or something else is mounted now.
        """
        if self._held < 0:
            return False
        try:
            return os.path.samestat(os.fstat(self._held), os.stat(path, follow_symlinks=False))
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock(
    path: bytes,
    owners: Collection[int] | None = None,
    *,
    owner: int | None = None,
    tells: bool = True,
    shared_by: str | None = None,
) -> Lock:
    """Lock the file at the absolute `path`, and write into it who holds it: host, boot id and pid.

    A file left by a killed process is taken over at once, since its lock ended with it. `owners`: given for a
    folder that strangers can write to. Then nobody but us can open the file, and a file that is not ours (see
    marker.counts) is moved aside, so that no stranger can block us. `owner`: who gets the file if root creates
    it; None: the folder's owner. Without `tells` the note stays as it was until Lock.tell. `shared_by`: others may
    have the lock, too, if they ask for it so; whether they say the same, `found` tells.

    InstanceRunning, naming the holder; FolderMissing or FolderRefuses where the file cannot be created or locked.
    """
    try:
        folder = os.open(os.path.dirname(path) or b".", disk.FOLDER & ~os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise FolderMissing(
            f"{show_path(os.path.dirname(path))} is not there: the lock {show_path(path)} cannot be created",
            hint="create or mount that folder",
        ) from error
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        name, displaced = os.path.basename(path), None
        if owners is not None:
            owners = {*owners, disk.uid_given(folder)}
        for _ in range(_TRIES):
            if owners is not None:
                displaced = marker.clear_for_us(folder, name, owners) or displaced
            held = marker.open_marker(folder, name, 0o640 if owners is None else 0o600, owner)
            if _take(held, folder, path, owners, shared=shared_by is not None):
                taken = Lock(held, displaced, shared_by)
                taken.found = read_holder(held)
                try:
                    if tells:
                        taken.note({})
                except OSError:
                    taken.abandon()
                    raise
                return taken
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        disk.close(folder)
    raise _refusal(path, OSError(errno.EBUSY, ""))


def _take(held: int, folder: int, path: bytes, owners: Collection[int] | None, *, shared: bool) -> bool:
    """Lock the open file. Return whether it is still the one of its name; if not, and on any error, close it."""
    try:
        status = os.fstat(held)
        if owners is not None:
            if not marker.counts(status, folder, owners):
                disk.close(held)
                return False
            if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                with suppress(PermissionError):  # a share whose server has no modes
                    os.fchmod(held, 0o600)
        take_lock(held, shared=shared)
        if not os.path.samestat(status, os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)):
            disk.close(held)
            return False
    except BaseException as error:
        holder = read_holder(held) if isinstance(error, BlockingIOError) else None
        disk.close(held)
        if isinstance(error, FileNotFoundError):
            return False
        if isinstance(error, BlockingIOError):
            raise running(path, holder) from error
        raise
    return True


def running(path: bytes, holder: Holder | None) -> InstanceRunning:
    """Return the error for a lock that somebody else holds."""
    return InstanceRunning(
        f"another instance is running{holder or ''}: it holds {show_path(path)}",
        hint="stop it first (systemctl stop, or its terminal), or leave the work to it",
    )


def _refusal(path: bytes, error: OSError) -> FolderRefuses:
    return FolderRefuses(
        f"the lock {show_path(path)} cannot be taken ({words(error)})",
        hint=_remedy(path, error),
    )


def _remedy(path: bytes, error: OSError) -> str:
    folder = os.path.dirname(path) or b"."
    user = describe_user(os.geteuid())
    lack = find_lack(folder, moving=False) if error.errno in (errno.EACCES, errno.EPERM) else None
    if lack:
        return lack.remedy
    return f"let {user} write it and its folder, on a local file system (ls -l {quote_path(path)})"
