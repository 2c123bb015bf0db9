"""The mark of a site in its folders, what a folder is by it, and the lock that shares its file."""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.people import CREW, STRANGER, DiedError, Person, as_user, drop, needs_root, shared_folder
from watcher.errors import FolderMissing, FolderRefuses, InstanceRunning
from watcher.folders import LOCK, MARKER, Folder, Situation, judge_marker, lock, marker
from watcher.folders.holder import holder_of
from watcher.text import JsonObject


@pytest.fixture
def folder(place: Path) -> Folder:
    return Folder(os.fsencode(shared_folder(place / "drop")), "drop")


def path_of(folder: Folder) -> bytes:
    return os.path.join(folder.root, MARKER)


def lock_of(folder: Folder) -> bytes:
    return os.path.join(folder.root, LOCK)


def says(path: bytes) -> object:
    with open(path, "rb") as file:
        return json.load(file)


def test_a_marked_folder_says_whose_it_is(folder: Folder, person: Person) -> None:
    """Nobody's at first; then that site's, however often it is said."""
    assert person.does(folder.marker) is None
    for _ in range(2):
        person.does(folder.mark, "site-1")
        assert person.does(folder.marker) == "site-1"
    assert says(path_of(folder)) == {"site": "site-1", "folder": os.stat(folder.root).st_ino}
    person.does(folder.mark, "site-2")
    assert person.does(folder.marker) == "site-2"


def test_who_has_the_lock_is_told_while_it_is_held(folder: Folder, person: Person) -> None:
    """By host, boot and process; the mark and the lock have nothing to do with each other."""

    def live() -> None:
        folder.mark("site-1")
        with lock(lock_of(folder), ()):
            note = says(lock_of(folder))
            assert isinstance(note, dict)
            assert set(note) == {"host", "boot_id", "pid", "started", "at"}
            assert note["pid"] == os.getpid()
            assert str(holder_of(lock_of(folder), ())) == f" on {note['host']}, process {os.getpid()}"
            assert folder.marker() == "site-1"
            with pytest.raises(InstanceRunning, match=f"process {os.getpid()}"):
                lock(lock_of(folder), ())
        assert says(lock_of(folder)) == {}
        assert holder_of(lock_of(folder), ()) is None
        with lock(lock_of(folder), ()):
            assert folder.marker() == "site-1"

    person.does(live)


def test_a_killed_holder_of_the_lock_stands_in_nobodys_way(folder: Folder, person: Person) -> None:
    """What the dead process said of itself is replaced by the next one's word, at once."""

    def hold_and_die() -> None:
        with lock(lock_of(folder), ()):
            os._exit(9)

    with pytest.raises(DiedError):
        person.does(hold_and_die)
    assert person.does(holder_of, lock_of(folder), ()) is None

    def take_over() -> tuple[object, int]:
        with lock(lock_of(folder), ()):
            return says(lock_of(folder)), os.getpid()

    note, pid = person.does(take_over)
    assert isinstance(note, dict)
    assert note["pid"] == pid


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"site": 7}', b"\xff\0", b"{}" * 1000], ids=repr)
def test_what_says_nothing_is_no_mark(folder: Folder, content: bytes) -> None:
    """An empty, foreign or damaged file is nobody's mark, and marking replaces what it says."""
    drop(path_of(folder), content, 0o664)
    assert folder.marker() is None
    folder.mark("site-1")
    assert folder.marker() == "site-1"


def test_a_marker_is_written_whole_sector_by_whole_sector(folder: Folder) -> None:
    """No power cut leaves half of it: whatever it says, the same sectors are written."""
    folder.mark("s")
    assert os.stat(path_of(folder)).st_size == 512
    folder.mark("long" * 200)
    assert os.stat(path_of(folder)).st_size == 1024
    folder.mark("s")
    assert os.stat(path_of(folder)).st_size == 512
    assert folder.marker() == "s"


def test_a_mark_outlasts_a_power_cut(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """First what it says is on the disk, then its name."""
    synced = []
    sync = os.fsync

    def watched(opened: int) -> None:
        synced.append(os.fstat(opened).st_ino)
        sync(opened)

    monkeypatch.setattr(os, "fsync", watched)
    folder.mark("site-1")
    assert synced == [os.stat(path_of(folder)).st_ino, os.stat(folder.root).st_ino]


def test_a_marker_is_never_a_link(folder: Folder, place: Path) -> None:
    """Nobody makes us write elsewhere."""
    drop(place / "elsewhere", b"theirs")
    os.symlink(place / "elsewhere", path_of(folder))
    os.symlink(place / "elsewhere", lock_of(folder))
    assert folder.marker() is None
    assert holder_of(lock_of(folder), ()) is None
    folder.mark("site-1")
    lock(lock_of(folder), ()).close()
    assert folder.marker() == "site-1"
    assert (place / "elsewhere").read_bytes() == b"theirs"


def test_a_missing_or_closed_folder_is_not_marked(folder: Folder) -> None:
    """And the folder is not made anew."""
    os.chmod(folder.root, 0o755)
    with pytest.raises(FolderRefuses, match="Permission denied"):
        as_user(folder.mark, "site-1")
    os.rename(folder.root, folder.root + b".away")
    for operation in (lambda: folder.mark("site-1"), folder.marker, folder.situation):
        with pytest.raises(FolderMissing):
            operation()
    assert not os.path.lexists(folder.root)


def test_what_root_marks_the_service_can_lock(folder: Folder) -> None:
    """A command run by root leaves a marker that the folder's owner can write."""
    needs_root()
    os.chown(folder.root, STRANGER.uid or 0, CREW)
    os.chmod(folder.root, 0o700)
    folder.mark("site-1")

    lock(lock_of(folder), ()).close()

    def live() -> str | None:
        with lock(lock_of(folder), ()):
            return folder.marker()

    assert as_user(live) == "site-1"


# Where it lies


def test_a_plain_folder_lies_on_the_device_of_its_parent(folder: Folder, place: Path) -> None:
    """Also where a link leads to it: what counts is the folder itself."""
    situation = folder.situation()
    assert not situation.is_apart
    assert situation.inode == os.stat(folder.root).st_ino
    (place / "link").symlink_to("drop")
    assert Folder(os.fsencode(place / "link"), "drop").situation() == situation


def test_a_bare_mount_point_is_told_from_the_disk(place: Path, small_disk: Path) -> None:
    """Unmounted, the folder below is not taken for the marked one; nor is another disk; its own, back, is."""
    folder = Folder(os.fsencode(small_disk), "drop")
    assert judge_marker(None, folder.situation(), folder.marker(), "us") == "new"
    folder.mark("us")
    known = folder.situation()
    assert known.is_apart

    def judge() -> str:
        return judge_marker(known, folder.situation(), folder.marker(), "us")

    aside = place / "aside"
    aside.mkdir()
    subprocess.run(["mount", "--bind", small_disk, aside], check=True)
    try:
        subprocess.run(["umount", small_disk], check=True)
        assert judge() == "not_mounted"
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", small_disk], check=True)
        assert judge() == "not_mounted"
        subprocess.run(["umount", small_disk], check=True)
        subprocess.run(["mount", "--bind", aside, small_disk], check=True)
        assert judge() == "ours"
    finally:
        subprocess.run(["umount", aside], check=True)


def test_a_folder_removed_and_made_again_is_adopted(folder: Folder) -> None:
    """Somebody tidied up: the folder lies where it lay."""
    folder.mark("us")
    known = folder.situation()
    shutil.rmtree(folder.root)
    shared_folder(Path(os.fsdecode(folder.root)))
    assert judge_marker(known, folder.situation(), folder.marker(), "us") == "adopt"


# A lock on a folder that is made again


def test_a_lock_knows_whether_it_still_is_on_the_folders_file(folder: Folder, person: Person) -> None:
    """Removed and made again, the folder could be had by a second instance: its lock has to be taken anew."""
    path = lock_of(folder)

    def live() -> list[bool]:
        told = []
        with lock(path, ()) as held:
            told.append(held.is_held_at(path))
            os.unlink(path)
            told.append(held.is_held_at(path))
            with lock(path, ()) as again:
                told += [held.is_held_at(path), again.is_held_at(path)]
        told.append(held.is_held_at(path))
        return told

    assert person.does(live) == [True, False, False, True, False]


def test_a_lock_is_not_closed_under_a_heartbeat(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat ends first, or writes nowhere: its descriptor's number may be another file's by then."""
    begun, goes_on = threading.Event(), threading.Event()
    write = marker.write_note

    def write_slowly(opened: int, facts: JsonObject) -> None:
        if facts:
            begun.set()
            assert goes_on.wait(60)
        write(opened, facts)

    path = os.fsencode(place / "lock")
    held = lock(path, tells=False)
    monkeypatch.setattr(marker, "write_note", write_slowly)
    telling = threading.Thread(target=held.tell, args=(1.0,))
    telling.start()
    assert begun.wait(60)
    closing = threading.Thread(target=held.close)
    closing.start()
    closing.join(0.5)
    other = os.open(place / "other", os.O_RDWR | os.O_CREAT)
    goes_on.set()
    telling.join()
    closing.join()

    assert os.fstat(other).st_size == 0
    os.close(other)
    held.tell(2.0)
    lock(path).close()


def test_a_lock_on_a_folder_that_is_gone_is_held_nowhere(folder: Folder) -> None:
    """Away, or unmounted: not there."""
    with lock(lock_of(folder), ()) as held:
        os.rename(folder.root, folder.root + b".away")
        assert not held.is_held_at(lock_of(folder))
        os.rename(folder.root + b".away", folder.root)
        assert held.is_held_at(lock_of(folder))


# What the mark, or its absence, says


PLAIN = Situation(device=1, parent_device=1, inode=100)
AGAIN = Situation(device=1, parent_device=1, inode=200)
MOVED = Situation(device=5, parent_device=5, inode=300)
DISK = Situation(device=2, parent_device=1, inode=2)
RENUMBERED = Situation(device=3, parent_device=1, inode=2)


@pytest.mark.parametrize("known", [None, PLAIN, DISK])
@pytest.mark.parametrize("found", [PLAIN, DISK])
def test_a_mark_tells_whose_folder_it_is_wherever_it_lies(known: Situation | None, found: Situation) -> None:
    """A disk that is plugged in elsewhere, or a database that was lost, changes nothing."""
    assert judge_marker(known, found, "us", "us") == "ours"
    assert judge_marker(known, found, "them", "us") == "foreign"
    assert judge_marker(known, found, "", "us") == "foreign"


@pytest.mark.parametrize("found", [PLAIN, DISK])
def test_a_folder_that_was_never_known_is_new(found: Situation) -> None:
    """The first start marks it."""
    assert judge_marker(None, found, None, "us") == "new"


@pytest.mark.parametrize("found", [PLAIN, AGAIN, MOVED])
def test_a_folder_made_again_where_it_was_is_adopted(found: Situation) -> None:
    """It lay on the device of its parent, and does so again: no mount has to do with it."""
    assert judge_marker(PLAIN, found, None, "us") == "adopt"


@pytest.mark.parametrize(
    ("known", "found"),
    [(DISK, PLAIN), (DISK, DISK), (DISK, RENUMBERED), (PLAIN, DISK)],
    ids=["bare mount point", "mark removed, or another disk", "another disk", "something mounted over it"],
)
def test_where_a_mount_has_to_do_with_it_the_missing_mark_means_not_mounted(
    known: Situation, found: Situation
) -> None:
    """A bare mount point, or a wrong disk, is never taken for an empty folder."""
    assert judge_marker(known, found, None, "us") == "not_mounted"
