"""A glance at many files tells what a careful look tells, or nothing."""

import os
import socket
from pathlib import Path

from watcher.folders import Folder, Glance


def test_what_a_glance_tells_is_what_lies_there(tmp_path: Path) -> None:
    """In whatever order the subfolders are looked into, and after one of them is gone."""
    for path in ("a/b/1.wav", "a/2.wav", "3.wav"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    with Glance(Folder(os.fsencode(tmp_path), "done")) as glance:
        for path in ("a/b/1.wav", "3.wav", "a/2.wav", "a/b/1.wav", "a/gone/1.wav", "a/2.wav"):
            if "gone" in path:
                assert (glance.status(path.encode()), glance.read(path.encode(), 100)) == (None, None)
                continue
            assert glance.read(path.encode(), 100) == path.encode()
            found = glance.status(path.encode())
            assert found is not None
            assert found.st_ino == (tmp_path / path).stat().st_ino


def test_whatever_is_no_small_regular_file_inside_is_nothing(tmp_path: Path) -> None:
    """Links at any step of the way, pipes, sockets, folders, names that lead out, what is longer: never opened."""
    root = tmp_path / "done"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside.json").write_text("{}")
    (root / "long").write_bytes(bytes(101))
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to(tmp_path / "outside.json")
    (root / "way").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener, Glance(Folder(os.fsencode(root), "done")) as glance:
        listener.bind(os.fspath(root / "s"))
        for path in (b"pipe", b"link", b"s", b"sub", b"way/outside.json", b"../outside.json", b"", b"/x", b"a\0b"):
            assert glance.status(path) is None
            assert glance.read(path, 100) is None
        assert glance.read(b"long", 100) is None
        assert glance.status(b"long") is not None


def test_a_root_that_is_gone_is_nothing(tmp_path: Path) -> None:
    """And no descriptor is left open, whatever happened."""
    before = set(os.listdir("/proc/self/fd"))
    with Glance(Folder(os.fsencode(tmp_path / "gone"), "done")) as glance:
        assert glance.status(b"1.wav") is None
    (tmp_path / "1.wav").write_bytes(b"x")
    with Glance(Folder(os.fsencode(tmp_path), "done")) as glance:
        assert glance.read(b"1.wav", 10) == b"x"
    assert set(os.listdir("/proc/self/fd")) == before
