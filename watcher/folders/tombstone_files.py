"""Tombstones in the folders, and the site's key to the contents that they name.

A tombstone lies where the receipt lay, under the item's id: the receipt's own name may be a person's. The key lies
in done/, so that it outlives the database; nobody but the service's user can read it.
"""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from watcher.errors import FolderError, RecordingError, TooLong
from watcher.folders import disk
from watcher.folders.folder import Folder
from watcher.folders.marker import clear_for_us, counts, displace, open_marker, read_note, write_note
from watcher.text import from_json, to_json
from watcher.tombstone import KEY_BYTES, Tombstone, read_tombstone

KEY = b".watcher-key"

LONGEST = 1 << 20
"""Anything longer is no tombstone of ours."""

_NAME = re.compile(rb"[0-9a-f]{16}\.erased\.json")


@dataclass(frozen=True, slots=True)
class FoundTombstone:
    """A tombstone in a folder: its path there, who owns its file, and what it says."""

    path: bytes
    owner: int
    tombstone: Tombstone


def tombstone_name(beside: bytes, item_id: str) -> bytes:
    """Return the name of the item's tombstone in the subfolder of the file at `beside`."""
    return os.path.join(os.path.dirname(beside), f"{item_id}.erased.json".encode())


def is_tombstone_name(path: bytes) -> bool:
    """Return whether a file of this name may be a tombstone."""
    return _NAME.fullmatch(os.path.basename(path)) is not None


def write_tombstone(folder: Folder, beside: bytes, tombstone: Tombstone) -> bytes:
    """Write the tombstone beside the file at `beside`, whole and durably. Return its path.

    What has the name is an earlier one of the same item, as ids are random; it is replaced.
    """
    path = tombstone_name(beside, tombstone.id)
    folder.write_whole(path, to_json(tombstone.as_json(), indent=2).encode() + b"\n", replacing=True)
    return path


def tombstone_at(folder: Folder, path: bytes) -> Tombstone | None:
    """Return the tombstone that lies there; None for anything else. Raises FolderError."""
    if not is_tombstone_name(path):
        return None
    try:
        return read_tombstone(from_json(folder.read(path, LONGEST)))
    except TooLong:
        return None


def read_tombstones(folder: Folder) -> Iterator[FoundTombstone]:
    """Yield every tombstone in the folder, in no order. Anybody may have written one: its owner tells.

    What cannot be read is left out. Raises FolderError where the folder itself cannot be read.
    """
    for entry in folder.walk(lambda name: "hidden" if name.startswith(b".") else None):
        if entry.kind != "file" or not is_tombstone_name(entry.path):
            continue
        with suppress(FolderError, RecordingError):
            owner, tombstone = folder.owner(entry.path), tombstone_at(folder, entry.path)
            named = os.path.basename(entry.path).partition(b".")[0].decode()
            if tombstone is not None and tombstone.id == named:
                yield FoundTombstone(entry.path, owner, tombstone)


def read_key(folder: Folder, owners: Collection[int] = ()) -> bytes | None:
    """Return the site's key that lies in done/; None where none does, or only a stranger's.

    `owners`: who else is trusted; see marker.counts. Raises FolderError.
    """
    with folder.taking(KEY), folder.opened() as here:
        try:
            if not counts(os.stat(KEY, dir_fd=here, follow_symlinks=False), here, owners):
                return None
            opened = os.open(KEY, disk.RECORDING, dir_fd=here)
        except (FileNotFoundError, PermissionError):  # nobody can read it but whoever wrote it
            return None
        try:
            trusted, note = counts(os.fstat(opened), here, owners), read_note(opened)
        finally:
            disk.close(opened)
    with suppress(ValueError):
        key = bytes.fromhex(str(note.get("key")))
        return key if trusted and len(key) == KEY_BYTES else None
    return None


def write_key(folder: Folder, key: bytes, owners: Collection[int] = ()) -> bytes | None:
    """Write the site's key into done/, durably. Raises FolderError.

    `owners`: the service's user, who gets it where root writes it: the folder may be another's. Return the new
    name of a file in its place that is a stranger's, or closed to us.
    """
    with folder.taking(KEY), folder.opened() as here:
        displaced = clear_for_us(here, KEY, owners)
        owner = next(iter(owners), None)
        try:
            opened = open_marker(here, KEY, 0o600, owner)
        except PermissionError:
            displaced = displace(here, KEY)
            opened = open_marker(here, KEY, 0o600, owner)
        try:
            write_note(opened, {"key": key.hex()})
            os.fsync(opened)
        finally:
            disk.close(opened)
        disk.sync(here)
    return displaced
