r"""What is mounted where: whether a folder is on a network file system, and who else can write to it.

Formats: proc_pid_mountinfo(5), and exportfs(8)'s table. Spaces, tabs, newlines and backslashes in their fields are
octal, as in `\040`.
"""

import os
import re
import select
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache

MOUNTINFO = "/proc/self/mountinfo"
_TABLE_BYTES = 64 * 1024
_EXPORTS = ("/proc/fs/nfsd/exports", "/var/lib/nfs/etab")  # what the kernel's NFS server exports, and is to export

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "coda", "davfs", "glusterfs", "gpfs", "lustre"),
        *("ncp", "ncpfs", "orangefs", "pvfs2", "beegfs", "gfs2", "ocfs2"),
        # Folders of a host in its guest: what the host writes raises no event, and locks do not reach it.
        *("9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs"),
        *("fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.osxfs"),
        *("fuse.sshfs", "fuse.smbnetfs", "fuse.davfs2", "fuse.davfs", "fuse.curlftpfs", "fuse.gvfsd-fuse"),
        *("fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs", "fuse.seaweedfs", "fuse.moosefs"),
        *("fuse.mfs", "fuse.lizardfs", "fuse.rclone", "fuse.s3fs", "fuse.s3ql", "fuse.goofys", "fuse.geesefs"),
        *("fuse.mount-s3", "fuse.gcsfuse", "fuse.blobfuse", "fuse.blobfuse2", "fuse.onedriver", "fuse.afp"),
    }
)
"""File systems that other machines can write to: no events arrive, and no lock can be trusted."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the kernel's mount table. `point` is an absolute path; `device` is major:minor."""

    id: int
    parent: int
    device: str
    point: bytes
    kind: str
    source: str
    options: frozenset[str] = frozenset()  # of the file system, not of this mount of it
    flags: frozenset[str] = field(default=frozenset(), compare=False)  # of this mount of it
    root: bytes = field(default=b"/", compare=False)  # the folder of the file system that it shows
    lower: "Mount | None" = None  # the mount that a FUSE or stacked file system takes its files from, if known

    @property
    def is_network(self) -> bool:
        """Whether other machines can write to it, or to the mount below it, without raising events here."""
        return is_network(self.kind) or (self.lower is not None and self.lower.is_network)

    @property
    def is_stacked(self) -> bool:
        """Whether it shows the files of another file system."""
        return self.kind in _STACKED or self.kind.startswith("fuse.")

    def __str__(self) -> str:
        return self.kind if self.lower is None else f"{self.kind} over {self.lower}"


_SMB = frozenset({"cifs", "smb3", "smbfs"})
_LOCAL_LOCKS = frozenset({"nobrl", "nolock", "local_lock=all", "local_lock=posix"})
_STACKED = frozenset({"fuse", "ecryptfs"})
_MOST_LINKS = 40  # the kernel's limit


_WITHOUT_CTIME = frozenset({"fuse", "fuseblk", "vfat", "msdos", "exfat"})
"""File systems without a true ctime: it is the mtime, which a copy takes from its original, or up to a program."""


def is_network(kind: str) -> bool:
    """Return whether other machines can write to a file system of this kind without raising events here."""
    return kind in NETWORK


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """All mounts at one time; one object for as long as they stay."""

    mounts: tuple[Mount, ...] = ()
    shares: frozenset[bytes] = frozenset()  # mount points below which nothing is looked at


class _Reading:
    """The kernel's table, which takes it long to write out: it is read again once poll(2) tells of a change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = _Table()
        self._process: int | None = None  # that opened it; None: it is not open
        self._opened = -1
        self._poll = select.poll()

    def read(self) -> _Table:
        """Return the mounts as they are now. OSError."""
        if not MOUNTINFO.startswith("/proc/"):
            with open(MOUNTINFO, "rb") as file:
                return _parsed(file.read())
        with self._lock:
            if self._process != os.getpid():  # a child that shares what its parent opened would take its news
                self._open()
            elif not self._poll.poll(0):
                return self._table
            try:
                self._table = _parsed(self._whole())
            except OSError:
                self._process = None  # it is not told again
                os.close(self._opened)
                raise
            return self._table

    def _open(self) -> None:
        self._opened = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._opened, select.POLLPRI)
        self._process = os.getpid()

    def _whole(self) -> bytes:
        os.lseek(self._opened, 0, os.SEEK_SET)
        return b"".join(iter(lambda: os.read(self._opened, _TABLE_BYTES), b""))


_reading = _Reading()


def _read() -> _Table:
    """Return all mounts that this process can see; none where the system does not say."""
    try:
        return _reading.read()
    except OSError:
        return _Table()


def read_mounts() -> tuple[Mount, ...]:
    """Return all mounts that this process can see; none where the system does not say."""
    return _read().mounts


@lru_cache(maxsize=1)
def _parsed(text: bytes) -> _Table:
    """Return what `parse` does. The table is read at each question, and seldom says anything new."""
    mounts = parse(os.fsdecode(text))
    return _Table(tuple(mounts), _shares_among(mounts))


def _shares_among(mounts: Iterable[Mount]) -> frozenset[bytes]:
    return frozenset(mount.point for mount in mounts if mount.is_network or mount.is_stacked) - {b"/"}


def parse(text: str) -> list[Mount]:
    """Return the mounts in the text of a mountinfo file, in order. A line that cannot be parsed is left out."""
    mounts = []
    for line in text.split("\n"):
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(rest) < 2 or not (fields[0].isdecimal() and fields[1].isdecimal()):
            continue
        number, parent, device, root, point, flags, *_ = fields
        kind, source, *options = rest
        whole = Mount(
            int(number),
            int(parent),
            device,
            _unescaped(point),
            kind,
            os.fsdecode(_unescaped(source)),
            frozenset(options[0].split(",")) if options else frozenset(),
            frozenset(flags.split(",")),
            _unescaped(root),
        )
        mounts.append(whole)
    return [_with_lower(mount, mounts) for mount in mounts]


def _with_lower(mount: Mount, others: list[Mount]) -> Mount:
    """Return the mount with the one it is stacked on: a network mount first, where there are several."""
    parts = mount.source.split(":")
    # A FUSE file system may name anything as its source; many name the folders that they show.
    if not mount.is_stacked or is_network(mount.kind) or not all(part.startswith("/") for part in parts):
        return mount
    folders = [part.partition("=")[0] for part in parts]
    others = [other for other in others if other.id != mount.id]  # it may be mounted over its own source
    found = [below for folder in folders if (below := mount_of(os.fsencode(folder), others)) is not None]
    lower = [_with_lower(below, others) for below in found]
    return replace(mount, lower=next((below for below in lower if below.is_network), lower[0] if lower else None))


def read_exports() -> list[bytes]:
    """Return the absolute paths that this machine's NFS server lets others write; none where that is not known."""
    found: list[bytes] = []
    for table in _EXPORTS:
        with suppress(OSError), open(table, "rb") as file:
            found += parse_exports(os.fsdecode(file.read()))
    return sorted(set(found))


def parse_exports(text: str) -> list[bytes]:
    """Return the writable folders in the NFS server's export table."""
    found = []
    for line in text.split("\n"):
        path, _, clients = line.replace("\t", " ").partition(" ")
        options = {option for listed in re.findall(r"\(([^)]*)\)", clients) for option in listed.split(",")}
        if path.startswith("/") and "rw" in options:
            found.append(_unescaped(path))
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """A folder, or what is mounted or exported inside it, and who else can write to it."""

    path: bytes  # absolute
    mount: Mount | None
    elsewhere: str  # why other machines can write it without raising events here, in words; "" if they cannot

    @property
    def has_ctime(self) -> bool:
        """Whether a file's ctime can be trusted: this machine's kernel sets it, and nobody else can."""
        return (
            not self.elsewhere
            and self.mount is not None
            and not (self.mount.is_stacked or self.mount.kind in _WITHOUT_CTIME)
        )

    @property
    def keeps_identity(self) -> bool:
        """Whether an untouched file keeps its inode number and its times.

        FUSE programs renumber their files, at each mount and in between; the SMB client takes a new file's times
        first from its own clock and then from the server's [measured].
        """
        return self.mount is None or not (self.mount.is_stacked or self.mount.kind in _SMB)

    @property
    def lock_limits(self) -> str:
        """Why a lock taken here is not seen by everybody who uses the folder, in words; "" if it is."""
        if self.mount is None or not self.elsewhere:
            return ""
        if self.mount.is_stacked:
            return f"{self.mount.kind} keeps them to itself"
        local = _LOCAL_LOCKS & self.mount.options
        return f"it is mounted with {', '.join(sorted(local))}" if local else ""

    @property
    def name_limits(self) -> str:
        """Which names it shows differently from how they were written, in words; "" if none is known."""
        if self.mount is None or self.mount.kind not in _SMB:
            return ""
        limits = (
            "a name with a character that Windows refuses, or a dot at its end, shows in short form (A1B2C~3.WAV)"
        )
        if "iocharset=utf8" in self.mount.options:
            return limits
        return (
            f"{limits}; without iocharset=utf8, a name with letters outside its character set may be unreachable"
        )

    def contains(self, path: bytes) -> bool:
        return _contains(self.path, path)


def parts_of(path: bytes, mounts: Iterable[Mount], exports: Iterable[bytes] = ()) -> list[Part]:
    """Return the folder at this absolute path without links, and each part of it that may differ from the rest."""
    mounts, exports = list(mounts), list(exports)
    points = {mount.point for mount in mounts_below(path, mounts)}
    points |= {export for export in exports if export != path and _contains(path, export)}
    found = []
    for point in (path, *sorted(points)):
        mount = mount_of(point, mounts)
        exported = any(_contains(export, point) for export in exports)
        found.append(Part(point, mount, _elsewhere(mount, is_exported=exported)))
    return found


def part_of(folder: bytes, path: bytes) -> Part:
    """Return the innermost part of the folder that `path`, relative to it, now lies in."""
    whole = resolve(folder)
    parts, full = _parts_within(whole, _read(), tuple(read_exports())), os.path.join(whole, path)
    return max((part for part in parts if part.contains(full)), key=lambda part: len(part.path))


@lru_cache(maxsize=8)
def _parts_within(path: bytes, table: _Table, exports: tuple[bytes, ...]) -> list[Part]:
    """Return what `parts_of` does. It is asked for each recording, and all stays as it is for days."""
    return parts_of(path, table.mounts, exports)


def _elsewhere(mount: Mount | None, *, is_exported: bool) -> str:
    if mount is None:
        return "its file system is not known"
    if mount.is_network:
        return f"it is {mount}, which raises no event for what other machines write"
    if mount.is_stacked and mount.lower is None:
        return f"it is {mount.kind}, and what lies below that is not known"
    # The server opens and closes an NFSv3 client's file as it likes: a lease does not show its writer [measured].
    return "this machine's NFS server lets others write it" if is_exported else ""


def mount_of(path: bytes, mounts: Iterable[Mount]) -> Mount | None:
    """Return the mount that this absolute path without links lies on; None where the table does not say.

    Walks from the root as the kernel does: where mounts cover each other, the one on top counts.
    """
    mounts = list(mounts)
    numbers = {mount.id for mount in mounts}
    below: dict[int, list[Mount]] = {}
    for mount in mounts:
        below.setdefault(mount.parent, []).append(mount)
    roots = [m for m in mounts if m.point == b"/" and (m.parent not in numbers or m.parent == m.id)]
    current = roots[-1] if roots else None
    while current is not None:
        entered = [m for m in below.get(current.id, ()) if m.id != current.id and _contains(m.point, path)]
        if not entered:
            break
        current = min(entered, key=lambda mount: len(mount.point))
    return current


def resolve(path: bytes, mounts: Iterable[Mount] | None = None) -> bytes:
    """Return the absolute path with links resolved, up to the first share: nothing on a share is looked at.

    Like os.path.realpath, which would hang on a share that does not answer.
    """
    shares = _read().shares if mounts is None else _shares_among(mounts)
    done, rest, links = b"/", os.path.abspath(path).split(b"/")[::-1], 0
    while rest:
        name = rest.pop()
        if name in (b"", b"."):
            continue
        here = os.path.dirname(done) if name == b".." else os.path.join(done, name)
        if here in shares:
            return os.path.normpath(os.path.join(here, *rest[::-1]))
        try:
            target = os.readlink(here) if name != b".." and links < _MOST_LINKS else b""
        except OSError:
            target = b""
        if target:
            links += 1
            rest += target.split(b"/")[::-1]
            done = b"/" if target.startswith(b"/") else done
        else:
            done = here
    return done


def mounts_below(path: bytes, mounts: Iterable[Mount]) -> list[Mount]:
    """Return the reachable mounts strictly below this absolute path."""
    mounts = list(mounts)
    inside = [m for m in mounts if m.point != path and _contains(path, m.point)]
    return sorted((m for m in inside if mount_of(m.point, mounts) == m), key=lambda mount: mount.point)


def _contains(folder: bytes, path: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _unescaped(field: str) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), os.fsencode(field))
