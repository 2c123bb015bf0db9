"""What is mounted is known at once, in every process, though the table is read only where it has changed."""

import os
from contextlib import closing
from pathlib import Path

from tests.disks import Disk
from watcher.mounts import read_mounts


def _points() -> list[bytes]:
    return [mount.point for mount in read_mounts()]


def test_what_is_mounted_or_unmounted_is_known_at_once(tmp_path: Path) -> None:
    before = read_mounts()
    assert read_mounts() is before, "nothing has changed: nothing is read"
    home = tmp_path / "disk"
    with closing(Disk(home)) as disk:
        assert os.fsencode(home) in _points()
        disk.remount(home, "ro")
        assert [mount.flags >= {"ro"} for mount in read_mounts() if mount.point == os.fsencode(home)] == [True]
    assert read_mounts() == before


def test_a_child_takes_the_news_from_nobody(tmp_path: Path) -> None:
    read_mounts()
    home = tmp_path / "disk"
    with closing(Disk(home)):
        child = os.fork()
        if not child:
            os._exit(os.fsencode(home) not in _points())
        _, ended = os.waitpid(child, 0)
        assert ended == 0
        assert os.fsencode(home) in _points()
