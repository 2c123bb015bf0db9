"""Many names, few syncs: what is on the disk when, told by the syncs of the folders themselves."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from watcher.errors import FolderRefuses
from watcher.folders import Folder, Unsynced, disk, move


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are synced, in their order."""
    known: list[str] = []

    def sync(opened: int) -> None:
        known.append(Path(os.readlink(f"/proc/self/fd/{opened}")).name)
        os.fsync(opened)

    monkeypatch.setattr(disk, "sync", sync)
    return known


def _folders(root: Path) -> tuple[Folder, Folder]:
    for name in ("drop", "done"):
        (root / name).mkdir()
    return Folder(os.fsencode(root / "drop"), "drop"), Folder(os.fsencode(root / "done"), "done")


def _move_all(drop: Folder, done: Folder, names: list[bytes], unsynced: Unsynced) -> None:
    for name in names:
        move(drop, name, done, name, drop.fingerprint(name), unsynced=unsynced)


def test_each_folder_is_synced_once_the_new_names_first(tmp_path: Path, synced: list[str]) -> None:
    drop, done = _folders(tmp_path)
    names = [b"%d.wav" % n for n in range(20)]
    for name in names:
        (tmp_path / "drop" / name.decode()).write_bytes(b"RIFF" + name)
    with Unsynced() as unsynced:
        for name in names:
            done.write_whole(name + b".json", b"{}", replacing=False, unsynced=unsynced)
        assert synced == []
        unsynced.settle()
        assert synced == ["done"]
        _move_all(drop, done, names, unsynced)
    assert synced == ["done", "done", "drop"]
    assert sorted(os.listdir(tmp_path / "done")) == sorted(n.decode() + e for n in names for e in ("", ".json"))


def test_alone_each_change_is_on_the_disk_when_it_returns(tmp_path: Path, synced: list[str]) -> None:
    drop, done = _folders(tmp_path)
    (tmp_path / "drop" / "a.wav").write_bytes(b"RIFF")
    done.write_whole(b"a.wav.json", b"{}", replacing=False)
    assert synced == ["done"]
    move(drop, b"a.wav", done, b"a.wav", drop.fingerprint(b"a.wav"))
    assert synced == ["done", "done", "drop"]


def test_the_old_name_of_a_copy_goes_only_once_the_copy_is_on_the_disk(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drop, done = _folders(tmp_path)
    (tmp_path / "drop" / "a.wav").write_bytes(b"RIFF")
    owning = Folder(done.root, "done", owning=True)
    unlink, seen = os.unlink, list[list[str]]()

    def unlinked(name: bytes, **more: Any) -> None:
        if name == b"a.wav":
            seen.append(list(synced))
        unlink(name, **more)

    monkeypatch.setattr(os, "unlink", unlinked)
    with Unsynced() as unsynced:
        move(drop, b"a.wav", owning, b"a.wav", drop.fingerprint(b"a.wav"), unsynced=unsynced)
    assert seen == [["done"]]
    assert synced == ["done", "drop"]


def test_after_a_sync_that_failed_nothing_noted_there_counts_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the next sync would succeed: the disk may have dropped what it could not write."""
    _, done = _folders(tmp_path)
    sync, calls = disk.sync, iter([OSError(errno.EIO, os.strerror(errno.EIO))])

    def failing(opened: int) -> None:
        if (error := next(calls, None)) is not None:
            raise error
        sync(opened)

    monkeypatch.setattr(disk, "sync", failing)
    unsynced = Unsynced()
    done.write_whole(b"a.json", b"{}", replacing=False, unsynced=unsynced)
    for _ in range(2):
        with pytest.raises(FolderRefuses):
            unsynced.settle()


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    _, done = _folders(tmp_path)

    def be_cut_off() -> None:
        with Unsynced() as unsynced:
            done.write_whole(b"b/a.json", b"{}", replacing=False, unsynced=unsynced)
            raise FolderRefuses("not now", hint="")

    with pytest.raises(FolderRefuses):
        be_cut_off()
    assert set(os.listdir("/proc/self/fd")) == before
