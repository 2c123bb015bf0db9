"""File systems in images of their own whose power can be cut: what was not synced is gone."""

import atexit
import fcntl
import itertools
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Event

from watcher.clock import SystemClock

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
_NO_LOG_FLUSH = struct.pack("=I", 2)
_MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
_BYTES = {"ext4": 48 << 20, "xfs": 300 << 20}  # the least that xfs takes
_OPTIONS = {"ext4": "commit=300", "xfs": "nouuid"}
"""ext4: nothing becomes durable by the mere passing of time. xfs: each is a copy of one image."""

POWERED = tuple(_MKFS)
"""The file systems that know how to lose their power."""

_ADD, _REMOVE = 0x4C80, 0x4C81  # LOOP_CTL_…
_numbers = (1000 + os.getpid() * 16 % 100_000 + each % 16 for each in itertools.count())
"""Of loop devices that whoever asks for a free one is not given: the lowest of those are."""

_MEMORY = "/dev/shm"
_PATIENCE_SECONDS = 20.0


class PoweredDisk:
    """A file system of its own in an image on a loop device, mounted at `point`, whose power can be cut.

    `image`: where the image is; without one it lies in memory, and goes with the disk. `number`: the device's: a
    file is another one to the program where that has changed, so it is the same before and after a cut.
    """

    def __init__(self, kind: str, point: Path, image: Path | None = None, number: int | None = None) -> None:
        self.kind = kind
        self.point = point
        self.number = next(_numbers) if number is None else number
        self._device = Path(f"/dev/loop{self.number}")
        self._home = Path(tempfile.mkdtemp(prefix="watcher-disk-", dir=_MEMORY)) if image is None else None
        self.image = image or Path(str(self._home), "image")
        if image is None:
            copy_empty(kind, self.image)
        point.mkdir(exist_ok=True)
        self.is_mounted = self.is_attached = False
        try:
            self.mount()
        except BaseException:
            self.close()
            raise

    def mount(self) -> None:
        """It is there. What its journal has was replayed."""
        if not self.is_attached:
            _control_devices(_ADD, self.number)
            _run_as_root("losetup", str(self._device), str(self.image))
            self.is_attached = True
        _run_as_root("mount", "-t", self.kind, "-o", _OPTIONS[self.kind], str(self._device), str(self.point))
        self.is_mounted = True

    def sync(self) -> None:
        """All that was written to it until now is durable."""
        subprocess.run(["sync", "--file-system", self.point], check=True)

    def cut(self) -> None:
        """Its power is off: what was not synced is gone, and every call fails from here on."""
        cut_power([str(self.point)])

    def restore(self) -> None:
        """Its power is back. Whoever had files open there must have ended."""
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        clock = SystemClock()
        until = clock.monotonic() + _PATIENCE_SECONDS
        while (done := _call("umount", str(self.point))).returncode:
            # The dead hold their files for a moment.
            assert "busy" in done.stderr, done.stderr
            assert clock.monotonic() < until, done.stderr
            clock.wait(0.01, Event())
        self.is_mounted = False

    def close(self) -> None:
        if self.is_mounted:
            self.unmount()
        if self.is_attached:
            _run_as_root("losetup", "--detach", str(self._device))
            self.is_attached = False
            with suppress(OSError):  # it is still busy, and stays
                _control_devices(_REMOVE, self.number)
        if self._home is not None:
            shutil.rmtree(self._home)


def cut_power(points: Sequence[str]) -> None:
    """The file systems that are mounted there forget all that was not synced, as when the power goes.

    As xfstests' godown does it. Nothing can be written to them any more.
    """
    for point in points:
        opened = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(opened, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(opened)


def _control_devices(request: int, number: int) -> None:
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        with suppress(FileExistsError):
            fcntl.ioctl(control, request, number)
    finally:
        os.close(control)


def copy_empty(kind: str, image: Path) -> None:
    """There is an empty file system of this kind."""
    copy_image(_formatted(kind), image)


def copy_image(image: Path, target: Path) -> None:
    """The target is the same, and has the same holes."""
    subprocess.run(["cp", "--sparse=always", image, target], check=True)


@cache
def _formatted(kind: str) -> Path:
    """An empty file system of this kind, to be copied."""
    made = Path(tempfile.mkdtemp(prefix="watcher-empty-", dir=_MEMORY))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    image = made / kind
    with image.open("wb") as file:
        file.truncate(_BYTES[kind])
    _run_as_root(*_MKFS[kind], str(image))
    return image


def _run_as_root(*words: str) -> None:
    """Raises OSError with what was said against it."""
    done = _call(*words)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


def _call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)
