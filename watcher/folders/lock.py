"""One instance a drop folder: a lock that dies with the process that holds it."""

import errno
import fcntl
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from types import TracebackType
from typing import Self

from watcher.domain import JsonObject, show_path
from watcher.errors import FolderMissing, FolderRefuses, InstanceRunning
from watcher.folders import disk, marker
from watcher.folders.holder import read_holder
from watcher.folders.root import words

_TRIES = 5  # each follows a change that somebody else made in that very moment


class Lock:
    """Held until it is closed, or the process ends in whatever way.

    `displaced` is the name that a stranger's file has now which was in the lock's place.
    """

    def __init__(self, held: int, displaced: bytes | None = None) -> None:
        self._held = held
        self.displaced = displaced

    def close(self) -> None:
        """Another may have it now. The file stays: removing it would let two hold "the" lock."""
        if self._held >= 0:
            with suppress(OSError):
                marker.write_note(self._held, {})
            os.close(self._held)
            self._held = -1

    def note(self, facts: JsonObject) -> None:
        """The file says these as well, for whoever asks who has it. OSError where it cannot be written."""
        if self._held >= 0:
            marker.write_note(self._held, {**_self(), **facts})

    def is_held_at(self, path: bytes) -> bool:
        """Whether the file at `path` is still the one that is locked, so that no other can lock it there.

        It is not when the folder, or the file, was removed and made again, or something else is mounted now.
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


def lock(path: bytes, owners: Collection[int] | None = None, *, owner: int | None = None) -> Lock:
    """The file at the absolute `path` is ours alone, and says so: host, boot id and pid.

    A file left by a killed process is taken over at once, since its lock died with it. `owners`: the folder is
    one that strangers can write in. Then nobody but us can open the file, and what is not ours (see
    marker.counts) is moved aside, so that no stranger can keep it from us. `owner`: whose it is, where root makes
    it; null: the folder's owner's.

    InstanceRunning, naming who has it; FolderMissing or FolderRefuses where the file can not be made or locked.
    """
    try:
        folder = os.open(os.path.dirname(path) or b".", disk.FOLDER & ~os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise FolderMissing(
            f"{show_path(os.path.dirname(path))} is not there: the lock {show_path(path)} can not be made",
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
            if _take(held, folder, path, owners):
                return Lock(held, displaced)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        os.close(folder)
    raise _refusal(path, OSError(errno.EBUSY, ""))


def _take(held: int, folder: int, path: bytes, owners: Collection[int] | None) -> bool:
    """Whether the open file is locked and still the one of its name; else it is closed, as on any error."""
    try:
        status = os.fstat(held)
        if owners is not None:
            if not marker.counts(status, folder, owners):
                os.close(held)
                return False
            if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                os.fchmod(held, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(status, os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)):
            os.close(held)
            return False
        marker.write_note(held, _self())
    except BaseException as error:
        holder = read_holder(held) if isinstance(error, BlockingIOError) else None
        os.close(held)
        if isinstance(error, FileNotFoundError):
            return False
        if isinstance(error, OSError) and error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise InstanceRunning(
                f"another instance is running{holder or ''}: it has {show_path(path)}",
                hint="stop it first (systemctl stop, or its terminal), or leave the work to it",
            ) from error
        raise
    return True


def _self() -> JsonObject:
    boot = ""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        boot = file.read().strip()
    return {"host": socket.gethostname(), "boot_id": boot, "pid": os.getpid()}


def _refusal(path: bytes, error: OSError) -> FolderRefuses:
    return FolderRefuses(
        f"the lock {show_path(path)} can not be had ({words(error)})",
        hint=f"let uid {os.geteuid()} write it and its folder, on a local file system",
    )
