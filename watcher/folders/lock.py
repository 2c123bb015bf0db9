"""One instance a drop folder: a lock that dies with the process that holds it."""

import errno
import fcntl
import os
import socket
from contextlib import suppress
from types import TracebackType
from typing import Self

from watcher.domain import JsonObject, show_path
from watcher.errors import FolderMissing, FolderRefuses, InstanceRunning
from watcher.folders import disk, marker
from watcher.folders.root import words


class Lock:
    """Held until it is closed, or the process ends in whatever way."""

    def __init__(self, held: int) -> None:
        self._held = held

    def close(self) -> None:
        """Another may have it now. The file stays: removing it would let two hold "the" lock."""
        if self._held >= 0:
            with suppress(OSError):
                marker.write_note(self._held, _mark_of(self._held))
            os.close(self._held)
            self._held = -1

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


def lock(path: bytes) -> Lock:
    """The marker at the absolute `path` is ours alone, and says so: host, boot id and pid, beside its site.

    A file left by a killed process is taken over at once, since its lock died with it. InstanceRunning,
    naming who has it; FolderMissing or FolderRefuses where the file can not be made or locked.
    """
    try:
        held = _open(path)
    except FileNotFoundError as error:
        raise FolderMissing(
            f"{show_path(os.path.dirname(path))} is not there: the lock {show_path(path)} can not be made",
            hint="create or mount that folder",
        ) from error
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        _take(held, path)
    except BaseException:
        os.close(held)
        raise
    return Lock(held)


def _open(path: bytes) -> int:
    folder = os.open(os.path.dirname(path) or b".", disk.FOLDER & ~os.O_NOFOLLOW)
    try:
        return marker.open_marker(folder, os.path.basename(path))
    finally:
        os.close(folder)


def _take(held: int, path: bytes) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        marker.write_note(held, {**_mark_of(held), **_self()})
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise _refusal(path, error) from error
        raise InstanceRunning(
            f"another instance is running{_holder(held)}: it has {show_path(path)}",
            hint="stop it first (systemctl stop, or its terminal), or leave the work to it",
        ) from error


def _mark_of(held: int) -> JsonObject:
    """The part of the note that outlives the lock."""
    return {name: value for name, value in marker.read_note(held).items() if name == "site"}


def _self() -> JsonObject:
    boot = ""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        boot = file.read().strip()
    return {"host": socket.gethostname(), "boot_id": boot, "pid": os.getpid()}


def _holder(held: int) -> str:
    """Who has it, as far as the file tells: its holder may be about to write, or just gone."""
    with suppress(OSError, KeyError):
        note = marker.read_note(held)
        return f" on {note['host']}, process {note['pid']}"
    return ""


def _refusal(path: bytes, error: OSError) -> FolderRefuses:
    return FolderRefuses(
        f"the lock {show_path(path)} can not be had ({words(error)})",
        hint=f"let uid {os.geteuid()} write it and its folder, on a local file system",
    )
