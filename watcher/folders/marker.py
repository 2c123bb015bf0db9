"""The file `.watcher` in each folder: whose folder it is; in the drop folder, also which process has it."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from watcher.domain import JsonObject, from_json
from watcher.folders import disk
from watcher.ownership import make_file

MARKER = b".watcher"
LONGEST = 4096
"""Bytes in a marker, at the most."""

_SECTOR = 512
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

Judgement = Literal["ours", "new", "adopt", "foreign", "not_mounted"]


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a folder lies. Device numbers may be others after a reboot: only compare two of the same moment."""

    device: int
    parent_device: int  # of the folder that holds it
    inode: int

    @property
    def is_apart(self) -> bool:
        """Whether it is on another device than the folder that holds it: something is mounted there."""
        return self.device != self.parent_device


def judge_marker(known: Situation | None, found: Situation, marker: str | None, site_id: str) -> Judgement:
    """What a folder is to this site. `known`: as it was when it was marked; None when it never was.

    ours: it bears our mark. foreign: it bears another site's, which has it. new: it is to be marked, as at the
    first start. adopt: somebody removed it and made it again where it was, so it is to be marked again, and that
    said. not_mounted: the mark is missing, and a mount point is or was there; so what lies there may be the bare
    mount point, or another disk. Nothing may be put there, marked or believed of it. (Where another disk is meant
    to be there from now on, a person copies the mark to it from one of the other two folders.)

    A bind mount from the file system that its mount point lies on is a plain folder to this.
    """
    if marker is not None:
        return "ours" if marker == site_id else "foreign"
    if known is None:
        return "new"
    return "not_mounted" if known.is_apart or found.is_apart else "adopt"


# The file itself. It is written in place, since its inode may be locked, and always as one whole sector or
# several: neither a kill nor a power cut leaves half of what it says.


def open_marker(folder: int, name: bytes = MARKER) -> int:
    """A descriptor of the marker in this open folder, for reading and writing; it is made if it is not there."""
    try:
        return os.open(name, _OPEN, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another process was quicker
            make_file(folder, name, 0o640, lambda made: disk.adopt(made, folder))
        return os.open(name, _OPEN, dir_fd=folder)


def read_note(marker: int) -> JsonObject:
    """What the marker says; nothing where that is not ours."""
    return parse_note(os.pread(marker, LONGEST, 0))


def parse_note(data: bytes) -> JsonObject:
    """See read_note."""
    return from_json(data) or {}


def write_note(marker: int, note: JsonObject) -> None:
    """The marker says this, and nothing else; not yet durably."""
    data = json.dumps(note).encode()
    size = -(-(len(data) + 1) // _SECTOR) * _SECTOR
    data = data.ljust(size - 1) + b"\n"
    os.lseek(marker, 0, os.SEEK_SET)
    disk.write(marker, data)
    if os.fstat(marker).st_size > size:
        os.ftruncate(marker, size)
