"""One file is removed, and only the one that is meant, whoever else is at work in the folder."""

import os
from pathlib import Path

import pytest

from watcher.domain import Fingerprint
from watcher.errors import RecordingChanged, RecordingGone
from watcher.folders import Folder, disk
from watcher.folders.discard import discard

ITEM = "0123456789abcdef"


@pytest.fixture
def done(tmp_path: Path) -> Folder:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/call.wav").write_bytes(b"ours")
    return Folder(os.fsencode(tmp_path), "done")


def is_ours(opened: int, _: Fingerprint) -> bool:
    return os.pread(opened, 100, 0) == b"ours"


def names(tmp_path: Path) -> set[str]:
    return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}


def test_it_is_gone_and_nothing_else(done: Folder, tmp_path: Path) -> None:
    (tmp_path / "a/other.wav").write_bytes(b"ours")
    assert discard(done, b"a/call.wav", ITEM, is_ours) == 0
    assert names(tmp_path) == {"a/other.wav"}
    with pytest.raises(RecordingGone):
        discard(done, b"a/call.wav", ITEM, is_ours)


def test_other_names_of_it_are_counted(done: Folder, tmp_path: Path) -> None:
    os.link(tmp_path / "a/call.wav", tmp_path / "second.wav")
    assert discard(done, b"a/call.wav", ITEM, is_ours) == 1
    assert names(tmp_path) == {"second.wav"}


def test_what_is_not_meant_stays(done: Folder, tmp_path: Path) -> None:
    (tmp_path / "a/call.wav").write_bytes(b"theirs")
    with pytest.raises(RecordingChanged, match="is not what was filed there"):
        discard(done, b"a/call.wav", ITEM, is_ours)
    assert (tmp_path / "a/call.wav").read_bytes() == b"theirs"


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_file_stays(done: Folder, tmp_path: Path, kind: str) -> None:
    """A link is not followed, a pipe is not opened."""
    path = tmp_path / "a/call.wav"
    os.rename(path, tmp_path / "target.wav")
    make = {"link": lambda: path.symlink_to(tmp_path / "target.wav"), "fifo": lambda: os.mkfifo(path)}
    make.get(kind, path.mkdir)()
    with pytest.raises(RecordingGone):
        discard(done, b"a/call.wav", ITEM, is_ours)
    assert os.path.lexists(path)
    assert (tmp_path / "target.wav").read_bytes() == b"ours"


def test_a_link_in_place_of_the_subfolder_is_not_followed(done: Folder, tmp_path: Path) -> None:
    os.rename(tmp_path / "a", tmp_path / "elsewhere")
    (tmp_path / "a").symlink_to("elsewhere")
    with pytest.raises(RecordingGone):
        discard(done, b"a/call.wav", ITEM, is_ours)
    assert (tmp_path / "elsewhere/call.wav").read_bytes() == b"ours"


def test_a_file_that_takes_its_place_after_the_check_gets_its_name_back(
    done: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody replaces it between the check and the removal."""
    rename = disk.rename_noreplace

    def swapped(folder: int, name: bytes, to_folder: int, to_name: bytes) -> None:
        monkeypatch.setattr(disk, "rename_noreplace", rename)
        os.rename(tmp_path / "a/call.wav", tmp_path / "moved.wav")
        (tmp_path / "a/call.wav").write_bytes(b"theirs")
        rename(folder, name, to_folder, to_name)

    monkeypatch.setattr(disk, "rename_noreplace", swapped)
    with pytest.raises(RecordingChanged):
        discard(done, b"a/call.wav", ITEM, is_ours)
    assert (tmp_path / "a/call.wav").read_bytes() == b"theirs"
    assert names(tmp_path) == {"a/call.wav", "moved.wav"}


def test_where_its_name_was_taken_meanwhile_it_stays_and_is_named(
    done: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then two of theirs lie there: neither is overwritten or removed."""
    rename = disk.rename_noreplace

    def swapped(folder: int, name: bytes, to_folder: int, to_name: bytes) -> None:
        monkeypatch.setattr(disk, "rename_noreplace", rename)
        (tmp_path / "new.wav").write_bytes(b"theirs")
        os.rename(tmp_path / "new.wav", tmp_path / "a/call.wav")
        rename(folder, name, to_folder, to_name)
        (tmp_path / "a/call.wav").write_bytes(b"another's")

    monkeypatch.setattr(disk, "rename_noreplace", swapped)
    with pytest.raises(RecordingChanged, match=r"a/\.watcher-removing-"):
        discard(done, b"a/call.wav", ITEM, is_ours)
    assert sorted((tmp_path / name).read_bytes() for name in names(tmp_path)) == [b"another's", b"theirs"]
