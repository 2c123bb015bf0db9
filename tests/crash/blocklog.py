"""A disk whose writes and flushes are noted in their order, and the images that a power cut may leave of it.

qemu-storage-daemon does it (blklogwrites, exported over FUSE), in the format of the kernel's dm-log-writes. Up to
a flush all is on the disk. Of what was written since, a disk with a volatile cache may have lost any of it.
"""

import os
import random
import signal
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.crash.powered import copy_empty, copy_image
from tests.process.programs import wait_until

PROGRAM = "qemu-storage-daemon"
PACKAGE = "qemu-system-common"

_FLUSH, _FUA, _DISCARD = 1, 2, 4
_SUPER = struct.Struct("<QQQI")  # magic, version, entries, the size of a sector
_ENTRY = struct.Struct("<QQQQ")  # sector, sectors, flags, bytes of a mark
_MAGIC = 0x6A736677736872
_BLOCK = 4096  # what a write is torn into


@dataclass(frozen=True)
class Entry:
    """A write, or a flush."""

    at: int  # where it stands in the log
    offset: int  # on the disk
    size: int
    flags: int
    data_at: int

    @property
    def is_flush(self) -> bool:
        """Whether all that was written before it is on the disk from here on, and itself."""
        return bool(self.flags & (_FLUSH | _FUA))


class NotedDisk:
    """`export` is a disk with an empty file system of this kind; whatever is written to it stands in `log`."""

    def __init__(self, kind: str, home: Path) -> None:
        self.log, self.export = home / "log", home / "export"
        self._base = home / "base"
        image = home / "noted"
        for copy in (self._base, image):
            copy_empty(kind, copy)
        self.log.touch()
        self.export.touch()
        said = (home / "said").open("wb")
        with said:
            self._process = subprocess.Popen(
                [
                    PROGRAM,
                    *("--blockdev", f"driver=file,node-name=image,filename={image}"),
                    *("--blockdev", f"driver=file,node-name=log,filename={self.log}"),
                    *("--blockdev", "driver=blklogwrites,node-name=noted,file=image,log=log"),
                    *("--export", f"type=fuse,id=export,node-name=noted,mountpoint={self.export},writable=on"),
                ],
                stdout=said,
                stderr=said,
            )
        size = image.stat().st_size
        wait_until(
            lambda: self._process.poll() is not None or self.export.stat().st_size == size,
            told=(home / "said").read_text,
        )
        if self._process.poll() is not None:
            raise OSError(f"{PROGRAM}: {(home / 'said').read_text().strip()}")

    @property
    def noted(self) -> int:
        """How long the log is by now."""
        return self.log.stat().st_size

    def close(self) -> None:
        """It is gone; what it left is the log, and what the disk was before."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()

    def images(self, target: Path, since: int, chance: random.Random, subsets: int) -> Iterator[tuple[str, int]]:
        """What a cut may leave lies in `target`: at each flush from this place in the log on, and after it.

        Tells which image it is, and where the next flush stands: whatever happened until then may have happened.
        """
        written: list[Entry] = []
        with self.log.open("rb") as log, self._base.open("r+b", buffering=0) as base:
            for number, entry in enumerate(_entries(log.fileno())):
                written.append(entry)
                if not entry.is_flush:
                    continue
                if entry.at > since:
                    copy_image(self._base, target)
                    yield f"{number}", entry.at
                    for subset in range(subsets if _is_torn(written) else 0):
                        copy_image(self._base, target)
                        with target.open("r+b", buffering=0) as torn:
                            for piece in _choose(written, chance):
                                _write(log.fileno(), torn.fileno(), piece)
                        yield f"{number}, of what followed the subset {subset}", entry.at
                for each in written:
                    _write(log.fileno(), base.fileno(), each)
                written.clear()


def _entries(log: int) -> Iterator[Entry]:
    magic, _, _, sector = _SUPER.unpack(os.pread(log, _SUPER.size, 0))
    assert magic == _MAGIC, "no log of writes"
    at = sector
    while len(head := os.pread(log, _ENTRY.size, at)) == _ENTRY.size:
        first, sectors, flags, _ = _ENTRY.unpack(head)
        yield Entry(at, first * sector, sectors * sector, flags, at + sector)
        at += sector + (0 if flags & _DISCARD else sectors * sector)


def _is_torn(written: list[Entry]) -> bool:
    """Whether there is more than one way to lose some of it."""
    return sum(each.size for each in written) > _BLOCK


def _choose(written: list[Entry], chance: random.Random) -> Iterator[Entry]:
    """Some blocks of what was written, in their order: few of them, half, or most."""
    share = chance.choice([0.1, 0.5, 0.9])
    for each in written:
        if each.flags & _DISCARD:
            if chance.random() < share:
                yield each
            continue
        for start in range(0, each.size, _BLOCK):
            if chance.random() < share:
                size = min(_BLOCK, each.size - start)
                yield replace(each, offset=each.offset + start, size=size, data_at=each.data_at + start)


def _write(log: int, disk: int, entry: Entry) -> None:
    if entry.size:
        data = bytes(entry.size) if entry.flags & _DISCARD else os.pread(log, entry.size, entry.data_at)
        os.pwrite(disk, data, entry.offset)
