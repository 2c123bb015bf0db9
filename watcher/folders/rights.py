"""Which rights this process lacks to read and move a file, and the one command that grants them all.

They are checked in the order in which the kernel does: each folder above the path, the path itself, and what keeps
even root from moving it. What is in a closed folder cannot be seen, so the command for that is recursive.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from shlex import quote

from watcher.accounts import describe_user, group_name, our_groups, user_name
from watcher.folders import disk
from watcher.folders.acl import READ, SEARCH, WRITE, access_of, keeps_lists
from watcher.folders.capability import CAP_DAC_OVERRIDE, CAP_FOWNER, has_capability
from watcher.mounts import mount_of, read_mounts, resolve
from watcher.text import quote_path

_LOOKED_AT = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OF_NO_OWN_MODES = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "cifs", "smb3", "smbfs"})
_ALL = READ | WRITE | SEARCH


@dataclass(frozen=True, slots=True)
class Want:
    """A file or folder on which we lack rights, and the rights that we need: a sum of those in acl."""

    path: bytes
    wanted: int
    status: os.stat_result | None = None  # None: it cannot be seen
    is_closed: bool = False  # its content cannot be seen
    is_above: bool = False  # above our own folders, where others have files too


@dataclass(frozen=True, slots=True)
class Lack:
    """What is lacking, for one path or several."""

    wants: tuple[Want, ...] = ()
    kept: tuple[tuple[str, bytes], ...] = ()  # letters of chattr(1), and what has that attribute
    sticky: tuple[bytes, ...] = ()
    read_only: tuple[bytes, ...] = ()  # mount points
    foreign: tuple[
        tuple[str, bytes], ...
    ] = ()  # file systems whose mount options set the rights, and their points
    group: int | None = None  # for files whose group is none of ours

    def __bool__(self) -> bool:
        return bool(self.wants or self.kept or self.sticky or self.read_only or self.foreign)

    def __or__(self, other: "Lack") -> "Lack":
        """Return both together."""
        return Lack(
            tuple(dict.fromkeys((*self.wants, *other.wants))),
            tuple(dict.fromkeys((*self.kept, *other.kept))),
            tuple(dict.fromkeys((*self.sticky, *other.sticky))),
            tuple(dict.fromkeys((*self.read_only, *other.read_only))),
            tuple(dict.fromkeys((*self.foreign, *other.foreign))),
            other.group if self.group is None else self.group,
        )

    @property
    def remedy(self) -> str:
        """The hint, which ends with one command; "" where nothing is known to be lacking."""
        user = describe_user(os.geteuid())
        if self.foreign:
            kind, point = self.foreign[0]
            where = quote_path(point)
            name = user_name(os.geteuid())
            return f"{kind} keeps no modes: its mount options set the rights. Mount {where} with uid={name}"
        commands = list(self._commands())
        if not commands:
            return ""
        unit = ""
        if self.read_only and "INVOCATION_ID" in os.environ:  # set by systemd: systemd.exec(5)
            unit = f"name {_paths(self.read_only)} in the unit's ReadWritePaths= where that lacks it; else "
        return f"{unit}let {user} have it, as {self._who()}: {' && '.join(commands)}"

    def _who(self) -> str:
        """Return who may run these commands."""
        owners = {want.status.st_uid if want.status is not None else 0 for want in self.wants}
        is_owners = not (self.kept or self.read_only or self.sticky or any(map(self._needs_group, self.wants)))
        if is_owners and len(owners) == 1 and owners != {0}:
            return f"{user_name(owners.pop())} or root"
        return "root"

    def _commands(self) -> Iterator[str]:
        for point in self.read_only:
            yield f"mount -o remount,rw {quote_path(point)}"
        # An immutable file keeps its other attributes too, so that one is removed first.
        for letter in sorted({letter for letter, _ in self.kept}, reverse=True):
            yield f"chattr -{letter} {_paths(path for of, path in self.kept if of == letter)}"
        group = quote(group_name(os.getegid() if self.group is None else self.group))
        if grouped := [want for want in self.wants if self._needs_group(want)]:
            for option in ("", "-R "):
                if some := [want.path for want in grouped if want.is_closed is bool(option)]:
                    yield f"chgrp {option}{group} {_paths(some)}"
        changes: dict[str, list[bytes]] = {}
        for want in self.wants:
            changes.setdefault(self._change(want), []).append(want.path)
        for change, paths in changes.items():
            yield f"{change} {_paths(paths)}"
        if self.sticky:
            yield f"chmod -t {_paths(self.sticky)}"

    def _change(self, want: Want) -> str:
        """Return the command that grants what we need, without the path."""
        us = os.geteuid()
        if want.is_closed:
            if _takes_lists(want.path):
                return f"setfacl -R -m u:{quote(user_name(us))}:rwX"
            return f"chmod -R {'u' if _is_ours(want) else 'g'}+rwX"
        letters = "".join(
            letter for bit, letter in ((READ, "r"), (WRITE, "w"), (SEARCH, "x")) if want.wanted & bit
        )
        if _is_ours(want):
            return f"chmod u+{letters}"
        if _has_list(want) or (want.is_above and _takes_lists(want.path)):
            return f"setfacl -m u:{quote(user_name(us))}:{letters}"
        return f"chmod {'o' if want.is_above and not _is_in_our_group(want) else 'g'}+{letters}"

    def _needs_group(self, want: Want) -> bool:
        """Return whether its group is none of ours, but is to get the right."""
        if want.is_above or _is_ours(want) or (want.is_closed and _takes_lists(want.path)):
            return False
        return not _has_list(want) and (want.is_closed or not _is_in_our_group(want))


def _paths(paths: Iterable[bytes]) -> str:
    return " ".join(quote_path(path) for path in dict.fromkeys(paths))


def _is_ours(want: Want) -> bool:
    return want.status is not None and want.status.st_uid == os.geteuid()


def _is_in_our_group(want: Want) -> bool:
    return want.status is not None and want.status.st_gid in our_groups()


def _has_list(want: Want) -> bool:
    """Return whether it has an ACL: then the group bits of its mode are only the mask of that."""
    return access_of(want.path) is not None and _takes_lists(want.path)


def _takes_lists(path: bytes) -> bool:
    while not os.path.lexists(path) and path != b"/":  # what cannot be seen is most likely on the same disk
        path = os.path.dirname(path)
    return shutil.which("setfacl") is not None and keeps_lists(path)


# Finding what is lacking


def find_lack(root: bytes, path: bytes = b"", *, reading: bool = True, moving: bool = True) -> Lack:
    """Return what we lack to read the file at `path` below the root and to move it out.

    Not `reading`: only to move it out. Not `moving`: to read, write and search the folder at `path` instead, or
    the deepest one that exists.
    """
    real = resolve(root)
    names = path.split(b"/") if path else []
    folders, name = (names[:-1], names[-1]) if moving and names else (names, None)
    lack = Lack(group=_group_of(real))
    if above := _find_above(real):
        return lack | above
    with suppress(OSError):
        here = os.open(real, _LOOKED_AT | os.O_DIRECTORY)
        try:
            lack = _find_below(real, here, folders, name, lack, reading=reading)
        finally:
            disk.close(here)
    return lack


def _find_above(real: bytes) -> Lack:
    """Check each folder above the root, which we have to search. One below a closed one is unseen, so included."""
    parts = real.split(b"/")[1:]
    above = [b"/", *(b"/" + b"/".join(parts[:depth]) for depth in range(1, len(parts)))]
    closed = next((n for n, path in enumerate(above) if not os.access(path, os.X_OK, effective_ids=True)), None)
    if closed is None:
        return Lack()
    wants = [Want(path, SEARCH, _stat(path), is_above=True) for path in above[closed:]]
    return Lack((*wants, Want(real, _ALL, _stat(real), is_above=True)))


def _find_below(
    real: bytes, top: int, folders: list[bytes], name: bytes | None, lack: Lack, *, reading: bool
) -> Lack:
    here, path = os.dup(top), real
    try:
        for depth in range(len(folders) + 1):
            is_last = depth == len(folders)
            if depth:
                path = os.path.join(path, folders[depth - 1])
                try:
                    below = os.open(folders[depth - 1], _LOOKED_AT | os.O_DIRECTORY, dir_fd=here)
                except FileNotFoundError:
                    return lack | _find_of_folder(here, os.path.dirname(path), _ALL)
                disk.close(here)
                here = below
            lack |= _find_of_folder(here, path, _ALL if is_last else READ | SEARCH)
            if any(want.is_closed for want in lack.wants):
                return lack
        if name is not None:
            with suppress(OSError):
                lack |= _find_of_file(here, path, name, reading=reading)
    finally:
        disk.close(here)
    return lack


def _find_of_folder(here: int, path: bytes, wanted: int) -> Lack:
    """Return what we lack on this open folder. One that we may not search is closed."""
    if os.access(b".", wanted, dir_fd=here, effective_ids=True):
        return Lack()
    if foreign := _foreign(path):
        return foreign
    status = os.fstat(here)
    lack = Lack(read_only=(_point(path),) if _is_read_only(path) else (), kept=_kept(here, path))
    if lack and _rights_by_mode(path, status) & wanted == wanted:
        return lack  # nothing else matters then
    is_closed = not os.access(b".", os.R_OK | os.X_OK, dir_fd=here, effective_ids=True)
    return lack | Lack((Want(path, _ALL if is_closed else wanted, status, is_closed=is_closed),))


def _kept(here: int, path: bytes, name: bytes = b"") -> tuple[tuple[str, bytes], ...]:
    return tuple((attribute.letter, path) for attribute in disk.attributes_that_keep(here, name))


def _rights_by_mode(path: bytes, status: os.stat_result) -> int:
    """Return the rights that mode and ACL give us, whatever else is in the way."""
    us, groups = os.geteuid(), our_groups()
    if has_capability(CAP_DAC_OVERRIDE):
        return _ALL
    if status.st_uid == us:
        return status.st_mode >> 6 & _ALL
    if (acl := access_of(path)) is not None:
        return acl.allows(us, groups, status.st_uid, status.st_gid)
    return (status.st_mode >> 3 if status.st_gid in groups else status.st_mode) & _ALL


def _find_of_file(here: int, above: bytes, name: bytes, *, reading: bool) -> Lack:
    path = os.path.join(above, name)
    status, folder, us = os.stat(name, dir_fd=here, follow_symlinks=False), os.fstat(here), os.geteuid()
    lack = Lack()
    if reading and not os.access(name, os.R_OK, dir_fd=here, effective_ids=True):
        lack |= _foreign(path) or Lack((Want(path, READ, status),))
    if _is_read_only(above):
        lack |= Lack(read_only=(_point(above),))
    lack |= Lack(kept=(*_kept(here, path, name), *_kept(here, above)))
    is_ours = us in (status.st_uid, folder.st_uid) or has_capability(CAP_FOWNER)
    if folder.st_mode & stat.S_ISVTX and not is_ours:
        lack |= Lack(sticky=(above,))
    return lack


def _group_of(real: bytes) -> int | None:
    """Return the group to give to files there: the folder's, where that is one of ours; else None."""
    status = _stat(real)
    return status.st_gid if status is not None and status.st_gid in our_groups() else None


def _stat(path: bytes) -> os.stat_result | None:
    with suppress(OSError):
        return os.stat(path)
    return None


def _is_read_only(path: bytes) -> bool:
    with suppress(OSError):
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    return False


def _point(path: bytes) -> bytes:
    mount = mount_of(path, read_mounts())
    return mount.point if mount is not None else path


def _foreign(path: bytes) -> Lack | None:
    mount = mount_of(path, read_mounts())
    if mount is None or mount.kind not in _OF_NO_OWN_MODES:
        return None
    return Lack(foreign=((mount.kind, mount.point),))
