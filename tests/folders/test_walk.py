"""The full look, beside what is known already."""

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.people import as_user, drop, missing, needs_root, shared_folder
from watcher.domain import Fingerprint, Marks
from watcher.errors import FolderMissing, RecordingUnreachable
from watcher.folders import Folder, walk


@pytest.fixture
def folder(place: Path) -> Folder:
    made = Folder(os.fsencode(shared_folder(place / "drop")), "drop")
    for name in (b"a", b"a/b", b"c"):
        os.mkdir(os.path.join(made.root, name))
        drop(os.path.join(made.root, name, b"call.wav"), name)
    drop(os.path.join(made.root, b"call.wav"), b"top")
    return made


EVERY = {b"call.wav", b"a/call.wav", b"a/b/call.wav", b"c/call.wav"}


def nothing(_: bytes) -> str | None:
    return None


def inodes(folder: Folder) -> dict[bytes, int]:
    return {entry.path: entry.inode for entry in folder.walk(nothing)}


def test_what_is_unknown_is_told_with_its_fingerprint(folder: Folder) -> None:
    """A new file need not be looked up again by its path."""
    found = {entry.path: entry.fingerprint for entry in folder.walk(nothing, known={})}
    assert found == {path: folder.fingerprint(path) for path in EVERY}


def test_files_are_handed_over_instead_of_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, some at a time, whether new or changed; what is no file is told still."""
    monkeypatch.setattr(walk, "_TAKEN_AT_ONCE", 2)
    os.symlink("call.wav", os.path.join(folder.root, b"link"))
    for known in ({}, {b"a/call.wav": 1}):
        taken: list[dict[bytes, Marks]] = []
        told = list(folder.walk(nothing, known=known, take=taken.append))
        assert [entry.kind for entry in told] == ["link"]
        assert len(taken) >= 2
        assert {path: Fingerprint.of(marks) for some in taken for path, marks in some.items()} == {
            path: folder.fingerprint(path) for path in EVERY
        }


def test_a_file_with_a_time_that_does_not_fit_is_told_by_itself(folder: Folder) -> None:
    """Its owner may set any: the years after 2262 do not fit into 64 bits of nanoseconds."""
    when = 13_569_465_600 * 10**9  # the year 2400
    os.utime(os.path.join(os.fsencode(folder.root), b"call.wav"), ns=(when, when))
    if folder.fingerprint(b"call.wav").mtime_ns != when:
        pytest.skip("this file system has no such times")
    taken: dict[bytes, Marks] = {}
    (told,) = folder.walk(nothing, known={}, take=taken.update)
    assert told == (b"call.wav", told.inode, "file", folder.fingerprint(b"call.wav"))
    assert taken.keys() == EVERY - {b"call.wav"}


def test_a_usual_name_is_not_asked_about(folder: Folder) -> None:
    asked = list[bytes]()
    found = folder.walk(asked.append, known={}, is_usual=lambda name: name == b"call.wav")
    assert {entry.path for entry in found} == EVERY
    assert sorted(asked) == [b"a", b"b", b"c"]


def test_what_is_known_is_passed_over_in_silence(folder: Folder) -> None:
    """It is neither told, nor looked at, nor are the ignored names asked: 100,000 such cost only the listing."""
    known = inodes(folder)
    asked = []

    def ignore(name: bytes) -> str | None:
        asked.append(name)
        return None

    assert list(folder.walk(ignore, known=known)) == []
    assert sorted(asked) == [b"a", b"b", b"c"]


def test_what_is_known_is_not_even_looked_at(folder: Folder) -> None:
    """Where a folder can be listed and not searched a look fails: what is new there makes it unreadable."""
    os.chmod(os.path.join(folder.root, b"c"), 0o744)
    known = inodes(folder)

    def look(known: dict[bytes, int]) -> list[tuple[bytes, str]]:
        scan = folder.walk(nothing, known=known)
        assert list(scan) == []
        return scan.unreadable

    assert as_user(look, known) == []
    del known[b"c/call.wav"]
    assert as_user(look, known) == [(b"c", "Permission denied")]


def test_another_file_under_a_known_name_is_told(folder: Folder) -> None:
    """Replaced since: it is a newcomer, and its name is not missing."""
    known = inodes(folder)
    os.rename(os.path.join(folder.root, b"call.wav"), os.path.join(folder.root, b"a/new.wav"))
    drop(os.path.join(folder.root, b"call.wav"), b"newcomer")
    scan = folder.walk(nothing, known=known)
    assert {entry.path: entry.fingerprint for entry in scan} == {
        b"call.wav": folder.fingerprint(b"call.wav"),
        b"a/new.wav": folder.fingerprint(b"a/new.wav"),
    }
    assert scan.missing == set()


def test_what_becomes_known_during_the_look_is_passed_over(folder: Folder) -> None:
    """The look asks anew at every name, also where nothing was known at first."""
    everything = inodes(folder)
    known: dict[bytes, int] = {}
    found = []
    for entry in folder.walk(nothing, known=known):
        found.append(entry.path)
        known.update(everything)
    assert len(found) == 1


def test_a_file_whose_listing_names_another_inode_is_known_by_its_own(folder: Folder, place: Path) -> None:
    """Over a mounted file, and on overlays, the listing tells of another inode than the file has."""
    needs_root()
    drop(place / "other.wav", b"other")
    target = os.path.join(folder.root, b"call.wav")
    mounted = subprocess.run(["mount", "--bind", place / "other.wav", target], capture_output=True, check=False)
    if mounted.returncode:
        missing("nothing can be mounted here")
    try:
        known = {path: folder.fingerprint(path).inode for path in EVERY}
        assert known != inodes(folder)
        assert list(folder.walk(nothing, known=known)) == []
        del known[b"call.wav"]
        (entry,) = folder.walk(nothing, known=known)
        assert (entry.path, entry.inode) == (b"call.wav", os.stat(place / "other.wav").st_ino)
    finally:
        subprocess.run(["umount", target], check=True)


# What is missing


def test_what_was_known_and_is_gone_is_missing(folder: Folder) -> None:
    """Taken away alone, or with its folder; not what the look did find, and not what nobody knows any more."""
    known = inodes(folder)
    os.rename(os.path.join(folder.root, b"a"), folder.root + b".aside")
    os.unlink(os.path.join(folder.root, b"call.wav"))
    os.unlink(os.path.join(folder.root, b"c/call.wav"))
    scan = folder.walk(nothing, known=known)
    assert list(scan) == []
    assert scan.missing == {b"a/call.wav", b"a/b/call.wav", b"call.wav", b"c/call.wav"}
    drop(os.path.join(folder.root, b"new.wav"), b"sound")
    for _ in scan:
        del known[b"c/call.wav"]  # filed meanwhile
    assert scan.missing == {b"a/call.wav", b"a/b/call.wav", b"call.wav"}


def replace_by_folder(path: bytes) -> None:
    os.mkdir(path)
    drop(os.path.join(path, b"below.wav"), b"sound")


def replace_by_link(path: bytes) -> None:
    os.symlink(b"call.wav", path)


@pytest.mark.parametrize("replace", [replace_by_folder, replace_by_link, os.mkfifo])
@pytest.mark.parametrize("same_number", [True, False])
def test_a_file_is_missing_where_something_else_has_its_name(
    folder: Folder, replace: Callable[[bytes], None], same_number: bool
) -> None:
    """A folder (which is looked into), a link, a pipe, even one that was given the number that the file had."""
    known = inodes(folder)
    path = os.path.join(folder.root, b"c/call.wav")
    os.unlink(path)
    replace(path)
    if same_number and replace is replace_by_folder:
        known[b"c/call.wav"] = os.lstat(path).st_ino
    scan = folder.walk(nothing, known=known)
    found = {entry.path for entry in scan}
    assert scan.missing == {b"c/call.wav"}
    assert (b"c/call.wav/below.wav" in found) is (replace is replace_by_folder)


def test_what_lies_in_an_unreadable_subfolder_is_not_missing(folder: Folder) -> None:
    """Nothing is known of it, so nothing is withdrawn."""
    known = inodes(folder)
    os.chmod(os.path.join(folder.root, b"a"), 0o700)
    os.unlink(os.path.join(folder.root, b"call.wav"))

    def look() -> tuple[set[bytes], list[tuple[bytes, str]]]:
        scan = folder.walk(nothing, known=known)
        assert list(scan) == []
        return scan.missing, scan.unreadable

    assert as_user(look) == ({b"call.wav"}, [(b"a", "Permission denied")])


def test_nothing_is_missing_in_a_folder_that_is_not_there(folder: Folder) -> None:
    """A missing folder is no empty one: the look fails, however much was known."""
    known = inodes(folder)
    os.rename(folder.root, folder.root + b".away")
    scan = folder.walk(nothing, known=known, below=b"a")
    with pytest.raises(FolderMissing):
        list(scan)
    assert scan.missing == set()


# A part


def test_a_subfolder_is_looked_at_alone(folder: Folder) -> None:
    """A folder that was moved in is looked at without the rest; its paths are those of the whole."""
    assert {entry.path for entry in folder.walk(nothing, below=b"a")} == {b"a/call.wav", b"a/b/call.wav"}
    scan = folder.walk(nothing, known={b"a/b/call.wav": 0, b"a/b/gone.wav": 1}, below=b"a/b")
    assert [(e.path, e.fingerprint) for e in scan] == [(b"a/b/call.wav", folder.fingerprint(b"a/b/call.wav"))]
    assert scan.missing == set()


def test_a_subfolder_that_vanished_is_passed_over(folder: Folder, place: Path) -> None:
    """Gone, a file, or a link by now: nothing is found, nothing followed, nothing raised."""
    os.symlink(b"a", os.path.join(folder.root, b"link"))
    for below in (b"gone", b"a/gone/too", b"call.wav", b"call.wav/x", b"link", b"link/b"):
        scan = folder.walk(nothing, known={}, below=below)
        assert list(scan) == []
        assert scan.unreadable == []


def test_a_subfolder_that_can_not_be_read_is_reported(folder: Folder) -> None:
    """The look at a part names it as the whole would."""
    os.chmod(os.path.join(folder.root, b"a"), 0o700)

    def look() -> list[tuple[bytes, str]]:
        scan = folder.walk(nothing, below=b"a/b")
        assert list(scan) == []
        return scan.unreadable

    assert as_user(look) == [(b"a/b", "Permission denied")]


def test_a_subfolder_of_an_ignored_one_is_ignored(folder: Folder) -> None:
    """The way to the part is asked for too."""

    def ignore(name: bytes) -> str | None:
        return "temporary" if name == b"a" else None

    assert list(folder.walk(ignore, below=b"a/b")) == []


def test_no_part_lies_outside(folder: Folder) -> None:
    """A path may come from anywhere."""
    with pytest.raises(RecordingUnreachable, match="not a path inside"):
        folder.walk(nothing, below=b"../drop")


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_a_stop_ends_it_before_the_next_name_and_nothing_is_missing(folder: Folder, is_known: bool) -> None:
    """Whether it is told at the beginning or in the middle: what was not met is not taken for gone."""
    stopping = threading.Event()
    known = inodes(folder) if is_known else {}

    def ignore(name: bytes) -> str | None:
        if name == b"b":
            stopping.set()
        return None

    scan = folder.walk(ignore, known=known, stopping=stopping)
    for before in (EVERY - {b"a/b/call.wav"}, set()):
        assert {entry.path for entry in scan} <= before
        assert scan.is_cut_short
        assert scan.missing == set()
