r"""What is mounted where: whether a folder lies on a network file system, and what is mounted below it.

Format: proc_pid_mountinfo(5). Spaces, tabs, newlines and backslashes in its fields are octal, as in `\040`.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

MOUNTINFO = "/proc/self/mountinfo"

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "coda", "davfs", "glusterfs", "gpfs", "lustre"),
        *("ncp", "ncpfs", "orangefs", "pvfs2", "beegfs", "gfs2", "ocfs2"),
        # A host's folders in its guest: what the host writes raises no event, and locks do not reach it.
        *("9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs"),
        *("fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.osxfs"),
        *("fuse.sshfs", "fuse.smbnetfs", "fuse.davfs2", "fuse.davfs", "fuse.curlftpfs", "fuse.gvfsd-fuse"),
        *("fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs", "fuse.seaweedfs", "fuse.moosefs"),
        *("fuse.mfs", "fuse.lizardfs", "fuse.rclone", "fuse.s3fs", "fuse.s3ql", "fuse.goofys", "fuse.geesefs"),
        *("fuse.mount-s3", "fuse.gcsfuse", "fuse.blobfuse", "fuse.blobfuse2", "fuse.onedriver", "fuse.afp"),
    }
)
"""Kinds of file system that other machines write to, unseen: no events come, and no lock can be trusted."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the kernel's table. `point` is an absolute path; `device` is major:minor."""

    id: int
    parent: int
    device: str
    point: bytes
    kind: str
    source: str

    @property
    def is_network(self) -> bool:
        return is_network(self.kind)


def is_network(kind: str) -> bool:
    """Whether other machines may write to a file system of this kind without this one hearing of it."""
    return kind in NETWORK


def read_mounts() -> list[Mount]:
    """All mounts that this process can see; none where the system does not tell."""
    try:
        with open(MOUNTINFO, "rb") as file:
            return parse(os.fsdecode(file.read()))
    except OSError:
        return []


def parse(text: str) -> list[Mount]:
    """The mounts in a mountinfo file's text, in its order. A line that is not understood is left out."""
    mounts = []
    for line in text.split("\n"):
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(rest) < 2 or not (fields[0].isdecimal() and fields[1].isdecimal()):
            continue
        number, parent, device, _root, point, *_ = fields
        kind, source, *_ = rest
        whole = Mount(int(number), int(parent), device, _unescaped(point), kind, os.fsdecode(_unescaped(source)))
        mounts.append(whole)
    return mounts


def mount_of(path: bytes, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that this absolute path without links lies on; null when the table does not say.

    Followed from the root as the kernel does: of mounts that cover each other, the one that is on top counts.
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


def mounts_below(path: bytes, mounts: Iterable[Mount]) -> list[Mount]:
    """The mounts strictly below this absolute path that can be reached, by their points."""
    mounts = list(mounts)
    inside = [m for m in mounts if m.point != path and _contains(path, m.point)]
    return sorted((m for m in inside if mount_of(m.point, mounts) == m), key=lambda mount: mount.point)


def _contains(folder: bytes, path: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _unescaped(field: str) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), os.fsencode(field))
