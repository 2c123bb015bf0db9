"""What the drill's folders lie on, how recordings move between them, and what that cannot promise."""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from watcher.drill.ground import FOLDERS, Place
from watcher.folders import Folder, disk
from watcher.folders.nature import Nature, examine
from watcher.mounts import Mount, mount_of, mounts_below, parts_of, read_exports, read_mounts
from watcher.text import show_path

_PROBE = b".probe"
_POWER = (
    "A kill is no power cut: it proves the order of what is written, not that a disk keeps what it was told to."
)
_COPIED = "a recording cannot be renamed across mounts: it is copied, compared and then removed, so written twice."
_UNHEARD = "what other machines write raises no event here, and is seen once they have closed it"
_MEMORY = "it is memory: a power cut or a restart loses all that lies there, receipts included."
_NFS = f"{_UNHEARD}; whether what is synced survives a power cut of the server is up to its export (async: no)."
_SMB = f"{_UNHEARD}; whether what is synced survives a power cut of the server is up to that (Samba: strict sync)."
_LAYERED = "it shows layers: what is written lies in the uppermost one, and goes with it (with the container)."
_BARE = "it has no journal: a power cut in the middle of a rename may damage the folder."
_KINDS = {
    **dict.fromkeys(("tmpfs", "ramfs", "rootfs"), (_MEMORY,)),
    **dict.fromkeys(("nfs", "nfs4"), (_NFS,)),
    **dict.fromkeys(("cifs", "smb3", "smbfs"), (_SMB,)),
    **dict.fromkeys(("overlay", "aufs"), (_LAYERED,)),
    **dict.fromkeys(("ext2", "vfat", "msdos", "exfat", "fuseblk", "udf"), (_BARE,)),
}
_UNSYNCED = frozenset({"nobarrier", "barrier=0", "fsync_mode=nobarrier", "volatile"})


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some of the folders, which lie on one mount."""

    names: tuple[str, ...]
    mount: Mount | None
    nature: Nature
    folds_case: bool
    syncs_folders: bool

    def __str__(self) -> str:
        mount = self.mount
        if mount is None:
            return f"{', '.join(self.names)}: a file system that the system does not name"
        lies = f"{mount.kind} on {mount.source} at {show_path(mount.point)}"
        part = f", {show_path(mount.root)} of it" if mount.root != b"/" else ""
        options = ",".join(sorted(mount.options | mount.flags))
        return f"{', '.join(self.names)}: {lies}{part} ({options})\n    {self.nature}"


@dataclass(frozen=True, slots=True)
class Terrain:
    """All of it. `copies`: moves that are a copy. `inside`: mounts inside the site's folders, not tried."""

    stretches: tuple[Stretch, ...]
    copies: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()

    def limits(self) -> list[str]:
        """Return what was not proven, and what these file systems cannot promise."""
        found = [_POWER]
        for stretch in self.stretches:
            named = ", ".join(stretch.names)
            found += [f"{named}: {said}" for said in _limits_of(stretch)]
        if self.copies:
            found.append(f"{' and '.join(self.copies)}: {_COPIED}")
        found += [f"{inside} is mounted inside a folder of the site, and was not tried." for inside in self.inside]
        return found


def survey(places: Sequence[Place]) -> Terrain:
    """Look at the drill's folders, by trying; nothing is left there. FolderMissing, FolderRefuses, OSError."""
    mounts, exports = read_mounts(), read_exports()
    by_mount: dict[Mount | None, list[Place]] = {}
    for place in places:
        by_mount.setdefault(mount_of(place.path, mounts), []).append(place)
    stretches = []
    for mount, lying in by_mount.items():
        first = lying[0]
        part = parts_of(first.path, mounts, exports)[0]
        nature = examine(Folder(first.path, first.name), part)
        names = tuple(place.name for place in lying)
        stretches.append(Stretch(names, mount, nature, _folds_case(first.path), _syncs_folders(first.path)))
    drop, *targets = places[: len(FOLDERS)]
    copies = [f"drop/ to {place.name}/" for place in targets if not _is_renamed(drop.path, place.path)]
    inside = [
        show_path(mount.point) for place in places[: len(FOLDERS)] for mount in mounts_below(place.above, mounts)
    ]
    return Terrain(tuple(stretches), tuple(copies), tuple(inside))


def _limits_of(stretch: Stretch) -> Iterator[str]:
    mount = stretch.mount
    if mount is None:
        yield "what the file system is, the system does not say."
        return
    yield from _KINDS.get(mount.kind) or _of_another_kind(mount)
    if mount.source.startswith("/dev/loop"):
        yield f"{mount.source} is a file: it keeps what the disk under that file keeps."
    if unsynced := sorted(_UNSYNCED & (mount.options | mount.flags)):
        yield f"mounted with {', '.join(unsynced)}: a power cut may lose what was synced."
    if "database" in stretch.names and (mount.is_network or mount.is_stacked):
        yield "a database there depends on another machine's locks: put it on a local disk (store.url)."
    if stretch.folds_case:
        yield "names that differ only in case are one name there: the second recording gets a ~ in its name."
    if not stretch.syncs_folders:
        yield "a folder cannot be synced: after a power cut a move may be undone, and is then repeated."


def _of_another_kind(mount: Mount) -> Iterator[str]:
    if mount.is_network:
        yield f"{mount}: {_UNHEARD}; whether what is synced survives a power cut is up to the server."
    elif mount.is_stacked:
        yield f"{mount}: whether a rename is one step, and a sync reaches a disk, is up to the program behind it."


def _folds_case(folder: bytes) -> bool:
    probe = os.path.join(folder, _PROBE)
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        return os.path.exists(os.path.join(folder, _PROBE.upper()))
    finally:
        _remove((probe,))


def _syncs_folders(folder: bytes) -> bool:
    opened = os.open(folder, disk.FOLDER)
    try:
        return disk.sync(opened)
    finally:
        os.close(opened)


def _is_renamed(folder: bytes, to_folder: bytes) -> bool:
    """Return whether a file gets from one to the other by a rename."""
    probe, arrived = os.path.join(folder, _PROBE), os.path.join(to_folder, _PROBE)
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        os.rename(probe, arrived)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    finally:
        _remove((probe, arrived))
    return True


def _remove(paths: Iterable[bytes]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)
