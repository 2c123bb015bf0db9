"""File systems that come and go, and folders as deep as nobody makes them."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.people import missing, needs_root
from watcher.folders import Folder


class Disk:
    """A file system of its own, which can be mounted at a folder, taken away under open files, and come back."""

    def __init__(self, home: Path, *options: str) -> None:
        needs_root()
        self.home = home
        self.mounts: list[Path] = []
        home.mkdir()
        self._mount("-t", "tmpfs", *options, "tmpfs", home)

    def mount(self, point: Path) -> None:
        self._mount("--bind", self.home, point)

    def remount(self, point: Path, *options: str) -> None:
        subprocess.run(["mount", "-o", ",".join(("remount", "bind", *options)), point], check=True)

    def unmount(self, point: Path) -> None:
        """Lazily: as a share that drops off, or a disk that is pulled out."""
        subprocess.run(["umount", "--lazy", point], check=True)
        self.mounts.remove(point)

    def close(self) -> None:
        for point in reversed(self.mounts.copy()):
            self.unmount(point)

    def _mount(self, *words: str | Path) -> None:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"nothing can be mounted here: {done.stderr.strip()}")
        self.mounts.append(Path(words[-1]))


def deepen(folder: Folder, depth: int, name: bytes) -> None:
    """Folders in folders, deeper than any path can say, each with a file and two subfolders in it."""
    here = os.open(folder.root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        os.mkdir(b"side", dir_fd=here)
        os.close(os.open(b"call.wav", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


class LoopDisk(Disk):
    """An ext4 or xfs of its own, in a file."""

    def __init__(self, home: Path, kind: str, *, megabytes: int = 320) -> None:
        """xfs wants 300 MB at the least; the file has holes."""
        needs_root()
        self.home = home
        self.mounts: list[Path] = []
        image = home.with_name(f"{home.name}.img")
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        maker = shutil.which(f"mkfs.{kind}", path="/usr/sbin:/sbin:/usr/bin")
        if maker is None:
            missing(f"no mkfs.{kind} here. Wanted: apt-get install e2fsprogs xfsprogs")
        subprocess.run([maker, "-q", image], check=True, capture_output=True)
        home.mkdir()
        self._mount("-o", "loop", image, home)
