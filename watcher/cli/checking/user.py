"""The user whose rights `check` uses when root runs it: the one that the daemon runs as."""

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watcher.accounts import user_name
from watcher.cli.checking.unit import Unit, find_unit
from watcher.errors import ConfigError, FolderError, UsageError
from watcher.folders import LOCK, MARKER
from watcher.folders.capability import CAP_FOWNER, CAP_LEASE
from watcher.key import CREDENTIAL, KEY_VARIABLE, Key, read_credential, read_handed
from watcher.text import show_path, show_text
from watcher.views.context import CommandContext

_KEPT = 1 << CAP_FOWNER | 1 << CAP_LEASE  # the capabilities that the daemon may be granted


@dataclass(frozen=True, slots=True)
class User:
    """A user of this machine and the rights of its processes. `source`: how we know that it is the daemon's."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    source: str
    capabilities: int = 0
    umask: int | None = None
    process: int | None = None  # the running daemon's
    unit: Unit | None = None  # which starts the daemon

    def __str__(self) -> str:
        return name_user(self.uid)


def name_user(uid: int) -> str:
    return f"{user_name(uid)} (uid {uid})"


def join_groups(uid: int) -> set[int]:
    """The groups of a process that this user would start now."""
    with suppress(KeyError):
        entry = pwd.getpwuid(uid)
        return set(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return set()


def find_user(context: CommandContext, named: str | None) -> User | None:
    """The user whose rights to check with: the one that a person `named`, else the daemon's, if that is known.

    Null: our own. Raises UsageError if anybody but root names another user, or if there is no such user, and
    ConfigError if the unit names a user who does not exist.
    """
    if os.geteuid() != 0:
        if named is not None and _entry(named).pw_uid != os.geteuid():
            raise UsageError(
                f"check: only root can check as {show_text(named)}", hint="Use: sudo watcher check --as USER"
            )
        return None
    unit = find_unit(context.config.path)
    process = _daemon(context)
    known = [user for user in (_of_process(process, unit), _of_unit(unit)) if user is not None]
    if named is None:
        return known[0] if known else _of_files(context, unit)
    entry = _entry(named)
    return next((user for user in known if user.uid == entry.pw_uid), None) or _of_entry(entry, "", unit)


def _entry(named: str) -> pwd.struct_passwd:
    with suppress(KeyError, OverflowError):
        return pwd.getpwnam(named)
    with suppress(KeyError, OverflowError, ValueError):
        return _entry_of(int(named))
    raise UsageError(
        f"check: --as {show_text(named)}: there is no such user", hint="Name one that `getent passwd` lists."
    )


def _entry_of(uid: int) -> pwd.struct_passwd:
    """The user's entry, made up for an unknown uid. Raises KeyError if the number cannot be a uid."""
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        if not 0 <= uid < 2**32 - 1:
            raise
        return pwd.struct_passwd(("", "", uid, uid, "", "/", ""))  # containers often have no entry


def _of_entry(entry: pwd.struct_passwd, source: str, unit: Unit | None = None) -> User:
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid) if entry.pw_name else [entry.pw_gid]
    return User(entry.pw_uid, entry.pw_gid, tuple(groups), source, unit=unit)


def _daemon(context: CommandContext) -> int | None:
    """The process on this machine that works on this site; null if there is none, or that is unknown."""
    with suppress(FolderError):
        holder = context.database_holder() or context.holder()
        if holder is not None and holder.host == show_text(socket.gethostname()):
            return holder.pid
    return None


def _of_process(pid: int | None, unit: Unit | None) -> User | None:
    """The daemon's user, with the groups and capabilities that the process really has."""
    if pid is None:
        return None
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        told = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        return User(
            uid=int(told["Uid"][1]),
            gid=int(told["Gid"][1]),
            groups=tuple(map(int, told["Groups"])),
            source=f"who runs the daemon, process {pid}",
            capabilities=int(told["CapEff"][0], 16) & _KEPT,
            umask=int(told["Umask"][0], 8),
            process=pid,
            unit=unit,
        )
    except (OSError, KeyError, IndexError, ValueError):  # it has just ended
        return None


def _of_unit(unit: Unit | None) -> User | None:
    if unit is None or not unit.user:
        return None
    try:
        entry = _entry(unit.user)
    except UsageError as error:
        raise ConfigError(
            f"{show_path(os.fsencode(unit.path))} runs the daemon as {show_text(unit.user)}, who does not exist",
            hint="Create that user (systemd-sysusers), or name another in User= (systemctl edit).",
        ) from error
    user = _of_entry(entry, f"User= in {show_path(os.fsencode(unit.path))}", unit)
    gid, groups = unit.gid(entry.pw_gid), unit.groups()
    granted = sum(
        1 << n for name, n in (("CAP_FOWNER", CAP_FOWNER), ("CAP_LEASE", CAP_LEASE)) if unit.grants(name)
    )
    return User(user.uid, gid, (*user.groups, *groups), user.source, granted, unit.umask(), unit=unit)


def _of_files(context: CommandContext, unit: Unit | None) -> User | None:
    """The owner of the daemon's files. Root's tell nothing: who tries it out by hand is often root."""
    for uid, source in _owners(context):
        if uid != 0:
            return _of_entry(_entry_of(uid), source, unit)
    return None


def _owners(context: CommandContext) -> Iterator[tuple[int, str]]:
    database = context.store.database.path
    places = [(os.fsencode(database), "the database's owner")]
    if not context.silent:
        # Not the drop folder's: whoever may drop there could have put a mark there.
        places += [
            (os.path.join(folder.root, MARKER), f"the owner of the mark in {folder.name}/")
            for folder in (context.done, context.failed)
        ]
        lock = os.path.join(context.drop.root, LOCK)
        with suppress(OSError):
            if os.stat(lock, follow_symlinks=False).st_uid == os.stat(context.drop.root).st_uid:
                places.append((lock, "the owner of the lock in drop/"))
    places.append((os.fsencode(database.parent), "the owner of the database's folder"))
    for path, source in places:
        with suppress(OSError):
            yield os.stat(path, follow_symlinks=False).st_uid, source


# The daemon's key: root may read the one that is passed to the daemon


def find_handed_key(user: User | None) -> Key | ConfigError | None:
    """The key that is passed to the daemon at its start, or what is wrong with it; null: it reads a file."""
    try:
        key = read_handed(os.environ)
        if key is None and user is not None and user.process is not None:
            key = _read_from_process(user.process)
        if key is None and user is not None and user.unit is not None:
            key = _read_from_unit(user.unit)
    except ConfigError as error:
        return error
    return key


def _read_from_process(pid: int) -> Key | None:
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    environ = dict(os.fsdecode(line).partition("=")[::2] for line in lines if line)
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        environ["CREDENTIALS_DIRECTORY"] = f"/proc/{pid}/root{folder}"  # as the daemon sees it
    return read_handed(environ, whose=f" of process {pid}")


def _read_from_unit(unit: Unit) -> Key | None:
    if key := read_handed({KEY_VARIABLE: unit.environment().get(KEY_VARIABLE, "")}, whose=f" of {unit.path.name}"):
        return key
    path = unit.credential(CREDENTIAL)
    return None if path is None else read_credential(path)
