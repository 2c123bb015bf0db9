"""The durable move, on real disks, as root and as one who owns nothing of it, and killed at every step."""

import errno
import hashlib
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.people import CREW, ROOT, DiedError, Person, as_user, drop, missing, shared_folder
from watcher.clock import SystemClock
from watcher.domain import Fingerprint
from watcher.errors import (
    FolderMissing,
    FolderRefuses,
    NameTaken,
    RecordingChanged,
    RecordingGone,
    RecordingUnreachable,
)
from watcher.folders import MARKER, Folder, disk, move

SOUND = os.urandom(1_100_000)  # more than is copied at once
SHA256 = hashlib.sha256(SOUND).hexdigest()
KILLED = 9


@dataclass
class Site:
    """A drop folder and a done folder, and a recording that goes from one to the other."""

    drop: Folder
    done: Folder
    path: bytes = b"a/b/call.wav"
    across: bool = False  # the folders are on different file systems

    def put(self, data: bytes = SOUND) -> Fingerprint:
        os.makedirs(os.path.dirname(self.at(self.drop)), exist_ok=True)
        for subfolder in (b"a", b"a/b"):
            os.chmod(os.path.join(self.drop.root, subfolder), 0o2775)
        drop(self.at(self.drop), data)
        return self.drop.fingerprint(self.path)

    def at(self, folder: Folder) -> bytes:
        return os.path.join(folder.root, self.path)

    def move(self, expected: Fingerprint) -> Fingerprint:
        return move(self.drop, self.path, self.done, self.path, expected, sha256=SHA256)

    def files(self, folder: Folder) -> dict[bytes, bytes]:
        """All files in a folder but hidden ones, and what is in them."""
        found = {}
        for entry in folder.walk(lambda name: "hidden" if name.startswith(b".") else None):
            with open(os.path.join(folder.root, entry.path), "rb") as file:
                found[entry.path] = file.read()
        return found

    def clean(self) -> None:
        for folder in (self.drop, self.done):
            for entry in folder.walk(lambda _: None):
                os.unlink(os.path.join(folder.root, entry.path))
            for name in (b"a/b", b"a"):
                if os.path.isdir(os.path.join(folder.root, name)):
                    os.rmdir(os.path.join(folder.root, name))


@pytest.fixture
def other_disk(place: Path) -> Iterator[Path]:
    """A shared folder on another file system than `place`."""
    memory = Path("/dev/shm") / place.name
    if not memory.parent.is_dir() or memory.parent.stat().st_dev == place.stat().st_dev:
        missing("/dev/shm is no file system of its own here")
    shared_folder(memory)
    yield memory
    subprocess.run(["rm", "-rf", memory], check=True)


def site_of(place: Path, done: Path) -> Site:
    """A drop folder in the place, and this one for done/."""
    return Site(Folder(os.fsencode(shared_folder(place / "drop")), "drop"), Folder(os.fsencode(done), "done"))


@pytest.fixture(params=["same file system", "across file systems", "to own it"])
def site(place: Path, request: pytest.FixtureRequest) -> Site:
    across = request.param == "across file systems"
    done: Path = request.getfixturevalue("other_disk") if across else shared_folder(place / "done")
    source = Folder(os.fsencode(shared_folder(place / "drop")), "drop")
    own = request.param == "to own it"
    return Site(source, Folder(os.fsencode(done), "done", owning=own), across=across)


def test_a_recording_of_another_is_moved_with_its_subfolders(site: Site, person: Person) -> None:
    """It lies whole under its path in the other folder, no longer in the first, with its time and mode."""
    expected = site.put()
    there = person.does(site.move, expected)
    assert site.files(site.drop) == {}
    assert site.files(site.done) == {site.path: SOUND}
    assert there == site.done.fingerprint(site.path)
    assert there.mtime_ns == expected.mtime_ns
    assert os.stat(site.at(site.done)).st_mode & 0o777 == (0o640 if site.done.owning else 0o644)
    assert os.path.isdir(os.path.dirname(site.at(site.drop)))


def test_a_move_that_was_done_already_is_done(site: Site, person: Person) -> None:
    """Repeating it returns the same, even when the subfolder it came from was removed since."""
    expected = site.put()
    there = person.does(site.move, expected)
    assert person.does(site.move, expected) == there
    os.rmdir(os.path.dirname(site.at(site.drop)))
    assert person.does(site.move, expected) == there


def test_a_newcomer_of_the_name_stays_when_a_done_move_is_repeated(site: Site) -> None:
    """After a crash behind the move, another file of that name may lie in the drop folder: it is left alone."""
    expected = site.put()
    there = site.move(expected)
    site.put(b"newcomer")
    assert site.move(expected) == there
    assert site.files(site.drop) == {site.path: b"newcomer"}
    assert site.files(site.done) == {site.path: SOUND}


@pytest.mark.parametrize("other", [b"other", SOUND], ids=["other bytes", "equal bytes"])
def test_a_taken_name_is_neither_overwritten_nor_merged(site: Site, person: Person, other: bytes) -> None:
    """Whatever lies under the name stays, equal bytes or not, and the recording stays where it is."""
    expected = site.put()
    os.makedirs(os.path.dirname(site.at(site.done)))
    drop(site.at(site.done), other)
    with pytest.raises(NameTaken, match=r"call\.wav in the done folder"):
        person.does(site.move, expected)
    assert site.files(site.drop) == {site.path: SOUND}
    assert site.files(site.done) == {site.path: other}


def test_what_is_no_file_takes_a_name_too(site: Site) -> None:
    """A link, even one that leads nowhere, and a folder are not overwritten."""
    expected = site.put()
    os.makedirs(os.path.dirname(site.at(site.done)))
    for take, free in ((os.mkdir, os.rmdir), (lambda path: os.symlink(b"nowhere", path), os.unlink)):
        take(site.at(site.done))
        with pytest.raises(NameTaken):
            site.move(expected)
        free(site.at(site.done))
    assert site.files(site.drop) == {site.path: SOUND}


def test_a_file_in_the_way_of_a_subfolder_is_the_folders_fault(site: Site) -> None:
    """It is no verdict on the recording, which stays."""
    expected = site.put()
    drop(os.path.join(site.done.root, b"a"), b"a recording named like a folder")
    with pytest.raises(FolderRefuses, match="Not a directory") as caught:
        site.move(expected)
    assert "move it aside" in caught.value.hint
    assert site.files(site.drop) == {site.path: SOUND}


def test_another_file_of_the_name_is_never_moved_in_its_stead(site: Site) -> None:
    """Replaced, changed, or made a link since: it stays where it is, and the done folder empty."""
    expected = site.put()
    os.rename(site.at(site.drop), site.at(site.drop) + b".aside")
    site.put()
    with pytest.raises(RecordingChanged):
        site.move(expected)
    changed = site.drop.fingerprint(site.path)
    with open(site.at(site.drop), "ab") as file:
        file.write(b"more")
    with pytest.raises(RecordingChanged):
        site.move(changed)
    os.unlink(site.at(site.drop))
    os.symlink(site.at(site.drop) + b".aside", site.at(site.drop))
    with pytest.raises(RecordingChanged):
        site.move(expected)
    assert site.files(site.done) == {}


def touch_attributes(path: bytes) -> None:
    os.chmod(path, 0o640)


def touch_owner(path: bytes) -> None:
    os.chown(path, os.stat(path).st_uid, CREW if os.geteuid() == 0 else -1)


def touch_links(path: bytes) -> None:
    os.link(path, os.path.dirname(os.path.dirname(path)) + b"/.another name")


HARMLESS = [touch_attributes, touch_owner, touch_links]


@pytest.mark.parametrize("touch", HARMLESS)
def test_what_leaves_the_bytes_alone_does_not_keep_a_recording_from_being_filed(
    site: Site, touch: Callable[[bytes], None]
) -> None:
    """Somebody's chmod, chown or link, between submission and filing, makes no other recording of it."""
    expected = site.put()
    touch(site.at(site.drop))
    assert site.drop.fingerprint(site.path) != expected
    there = site.move(expected)
    assert site.files(site.drop) == {}
    assert site.files(site.done) == {site.path: SOUND}
    assert there == site.done.fingerprint(site.path)


@pytest.mark.parametrize("touch", HARMLESS)
def test_without_its_sha256_the_least_change_counts(site: Site, touch: Callable[[bytes], None]) -> None:
    """What was never read is not known again by its bytes."""
    expected = site.put()
    touch(site.at(site.drop))
    with pytest.raises(RecordingChanged):
        move(site.drop, site.path, site.done, site.path, expected)
    assert site.files(site.drop) == {site.path: SOUND}


def test_a_device_with_another_number_is_the_same_device(site: Site) -> None:
    """After a reboot a disk may be numbered otherwise: also where the move was done before it, all but the end."""
    expected = site.put()._replace(device=12_345)
    there = site.move(expected)
    assert site.files(site.drop) == {}
    assert site.files(site.done) == {site.path: SOUND}
    assert site.move(expected) == there


def test_other_bytes_in_the_same_clothes_are_another_recording(site: Site) -> None:
    """Inode, size and time of change set back to what they were: only the bytes tell, and they are read."""
    expected = site.put()
    with open(site.at(site.drop), "r+b") as file:
        file.write(b"other")
    os.utime(site.at(site.drop), ns=(expected.mtime_ns, expected.mtime_ns))
    now = site.drop.fingerprint(site.path)
    assert now.same_content(expected)
    assert now != expected
    with pytest.raises(RecordingChanged):
        site.move(expected)
    assert site.files(site.done) == {}


def test_equal_bytes_in_another_file_are_another_recording(site: Site) -> None:
    """Copied over with its time kept: the newcomer is an arrival of its own."""
    expected = site.put()
    os.rename(site.at(site.drop), site.at(site.drop) + b".aside")
    site.put()
    os.utime(site.at(site.drop), ns=(expected.mtime_ns, expected.mtime_ns))
    with pytest.raises(RecordingChanged):
        site.move(expected)
    assert site.files(site.done) == {}


def test_a_recording_touched_while_it_is_copied_is_filed_once(
    place: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chmod between its copy and its end leaves neither a second recording nor none."""
    site = site_of(place, other_disk)
    expected = site.put()
    write = disk.write

    def write_and_touch(made: int, data: bytes) -> None:
        write(made, data)
        os.chmod(site.at(site.drop), 0o640)

    monkeypatch.setattr(disk, "write", write_and_touch)
    site.move(expected)
    assert site.files(site.drop) == {}
    assert site.files(site.done) == {site.path: SOUND}


def test_the_bytes_are_on_the_disk_before_the_name_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its writer left in memory would be gone after a power cut, under the name that a receipt gives."""
    site = site_of(place, shared_folder(place / "done"))
    expected = site.put()
    crossed: list[object] = []
    sync, rename = os.fsync, disk.rename_noreplace

    def watched_sync(opened: int) -> None:
        crossed.append(os.fstat(opened).st_ino)
        sync(opened)

    def watched_rename(*args: Any) -> None:
        crossed.append("renamed")
        rename(*args)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(disk, "rename_noreplace", watched_rename)
    site.move(expected)
    assert expected.inode in crossed[: crossed.index("renamed")]


def test_a_recording_in_neither_place_is_gone(site: Site) -> None:
    """Taken away, alone or with its subfolder."""
    expected = site.put()
    os.unlink(site.at(site.drop))
    for _ in range(2):
        with pytest.raises(RecordingGone):
            site.move(expected)
        if os.path.isdir(os.path.dirname(site.at(site.drop))):
            os.rmdir(os.path.dirname(site.at(site.drop)))


def test_a_folder_that_is_not_mounted_is_missing(site: Site) -> None:
    """Neither folder is created anew."""
    expected = site.put()
    for folder in (site.drop, site.done):
        os.rename(folder.root, folder.root + b".away")
        with pytest.raises(FolderMissing, match=f"the {folder.name} folder"):
            site.move(expected)
        assert not os.path.lexists(folder.root)
        os.rename(folder.root + b".away", folder.root)


def test_who_stands_in_the_way_is_named(site: Site) -> None:
    """A drop subfolder closed to us is about the recording; a done folder closed to us is about the folder."""
    expected = site.put()
    os.chmod(os.path.dirname(site.at(site.drop)), 0o755)
    with pytest.raises(RecordingUnreachable, match="a/b in the drop folder"):
        as_user(site.move, expected)
    os.chmod(os.path.dirname(site.at(site.drop)), 0o2775)
    site.clean()
    expected = site.put()
    os.chmod(site.done.root, 0o755)
    with pytest.raises(FolderRefuses, match=r"in the done folder .*Permission denied"):
        as_user(site.move, expected)
    assert site.files(site.drop) == {site.path: SOUND}


def test_a_recording_swapped_in_the_instant_of_the_move_is_moved_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that took the name in between is not filed in its stead, and nothing is lost.

    Where what is filed is a copy, that is the recording's own by then, and is filed.
    """
    expected = site.put()
    rename = disk.rename_noreplace

    def swap_first(*args: Any) -> None:
        monkeypatch.setattr(disk, "rename_noreplace", rename)
        os.rename(site.at(site.drop), site.at(site.drop) + b".aside")
        site.put(b"newcomer")
        rename(*args)

    monkeypatch.setattr(disk, "rename_noreplace", swap_first)
    if site.done.owning:
        site.move(expected)
    else:
        with pytest.raises(RecordingChanged):
            site.move(expected)
    assert site.files(site.drop) == {site.path: b"newcomer", site.path + b".aside": SOUND}
    assert site.files(site.done) == ({site.path: SOUND} if site.done.owning else {})


def test_a_recording_written_to_while_it_is_copied_is_not_filed(
    place: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the old and half of the new is never a recording."""
    site = site_of(place, other_disk)
    expected = site.put()
    write = disk.write

    def write_and_append(made: int, data: bytes) -> None:
        write(made, data)
        with open(site.at(site.drop), "ab") as file:
            file.write(b"more")

    monkeypatch.setattr(disk, "write", write_and_append)
    with pytest.raises(RecordingChanged):
        site.move(expected)
    assert site.files(site.done) == {}
    assert list(site.done.walk(lambda _: None)) == []


def test_a_recording_that_is_not_what_was_vetted_is_not_filed_across_file_systems(
    place: Path, other_disk: Path
) -> None:
    """The copy must have the sha256 that was sent, even where size and times say nothing."""
    site = site_of(place, other_disk)
    expected = site.put(b"other bytes")
    with pytest.raises(RecordingChanged):
        site.move(expected)
    assert site.files(site.drop) == {site.path: b"other bytes"}
    assert list(site.done.walk(lambda _: None)) == []


def test_a_full_disk_leaves_the_recording_and_nothing_half_copied(
    place: Path, small_disk: Path, person: Person
) -> None:
    """No truncated file, no draft; the recording waits until there is room, and is filed then."""
    site = site_of(place, small_disk)
    (small_disk / "ballast").write_bytes(bytes(1_000_000))
    sound = os.urandom(500_000)
    expected = site.put(sound)
    with pytest.raises(FolderRefuses, match=r"No space in a/b .*bytes are free") as caught:
        person.does(move, site.drop, site.path, site.done, site.path, expected)
    assert "free space" in caught.value.hint
    assert site.files(site.drop) == {site.path: sound}
    assert [entry.path for entry in site.done.walk(lambda _: None)] == [b"ballast"]
    (small_disk / "ballast").unlink()
    person.does(move, site.drop, site.path, site.done, site.path, expected)
    assert site.files(site.drop) == {}
    assert site.files(site.done) == {site.path: sound}


# File systems that cannot rename without overwriting (NFS, many of FUSE)


def forget_renameat2(*_: Any) -> int:
    return errno.EINVAL


def test_where_the_kernel_can_not_rename_safely_nothing_is_overwritten_either(
    site: Site, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a link where that is allowed, and on the files of others by reserving the name."""
    monkeypatch.setattr(disk, "_renameat2", forget_renameat2)
    expected = site.put()
    os.makedirs(os.path.dirname(site.at(site.done)))
    for subfolder in (b"a", b"a/b"):
        shared = os.path.join(site.done.root, subfolder)
        os.chmod(shared, 0o2775)
    drop(site.at(site.done), b"other")
    with pytest.raises(NameTaken):
        person.does(site.move, expected)
    assert site.files(site.done) == {site.path: b"other"}
    assert site.files(site.drop) == {site.path: SOUND}
    os.unlink(site.at(site.done))
    expected = site.drop.fingerprint(site.path)
    person.does(site.move, expected)
    assert site.files(site.done) == {site.path: SOUND}
    assert site.files(site.drop) == {}


def test_an_answer_that_was_lost_is_not_believed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over NFS a rename may say "no such file" though it happened: what lies there counts."""
    site = site_of(place, shared_folder(place / "done"))
    expected = site.put()
    rename = disk.rename_noreplace

    def lose_the_answer(*args: Any) -> None:
        rename(*args)
        raise FileNotFoundError(errno.ENOENT, "lost")

    monkeypatch.setattr(disk, "rename_noreplace", lose_the_answer)
    assert site.move(expected).same_content(expected)
    assert site.files(site.done) == {site.path: SOUND}


# Killed at every step

# Opening and closing leave nothing behind that the next of these would not meet.
CROSSINGS = ("mkdir", "rename", "replace", "link", "unlink", "fsync", "write", "utime", "fchmod")


def dying(step: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function`, in a process that is gone before its `step`-th call to the disk: nothing cleans up."""
    crossed = itertools.count(1)

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def crossing(*args: Any, **kwargs: Any) -> Any:
            if next(crossed) == step:
                os._exit(KILLED)
            return call(*args, **kwargs)

        return crossing

    for name in CROSSINGS:
        setattr(os, name, watched(getattr(os, name)))
    disk._renameat2 = watched(disk._renameat2)
    return function(*args, **kwargs)


def deaths(person: Person, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[int]:
    """Has `person` die at each step of `function` in turn, until a run completes."""
    for step in itertools.count(1):
        try:
            person.does(dying, step, function, *args, **kwargs)
        except DiedError:
            yield step
        else:
            assert step > 4, "hardly anything was crossed"
            return


@pytest.mark.parametrize("modern", [True, False], ids=["renameat2", "older"])
def test_killed_at_any_step_a_move_loses_and_doubles_nothing(
    site: Site, person: Person, monkeypatch: pytest.MonkeyPatch, *, modern: bool
) -> None:
    """After each crash the recording is whole in a visible place; repeating the move leaves exactly one."""
    if not modern:
        monkeypatch.setattr(disk, "_renameat2", forget_renameat2)
    expected = site.put()

    # Not a generator of the harness: each death needs a site made anew, and so its own fingerprint.
    for step in itertools.count(1):
        try:
            person.does(dying, step, site.move, expected)
        except DiedError:
            pass
        else:
            assert step > 6, "hardly anything was crossed"
            break
        found = [*site.files(site.drop).values(), *site.files(site.done).values()]
        assert SOUND in found, f"lost at step {step}"
        assert set(found) <= {SOUND, b""}, f"half of it was visible at step {step}"
        if modern:
            assert b"" not in found
        there = person.does(site.move, expected)
        assert site.files(site.drop) == {}, f"at step {step}"
        assert site.files(site.done) == {site.path: SOUND}, f"at step {step}"
        assert person.does(site.move, expected) == there
        person.does(site.done.sweep, SystemClock().now() + 60)
        assert [entry.path for entry in site.done.walk(lambda _: None)] == [site.path], f"at step {step}"
        site.clean()
        expected = site.put()


def test_killed_and_touched_at_any_step_a_move_still_ends_as_one(site: Site) -> None:
    """Between the crash and the repetition somebody may chmod what still lies in the drop folder."""
    expected = site.put()
    for step in itertools.count(1):
        try:
            ROOT.does(dying, step, site.move, expected)
        except DiedError:
            pass
        else:
            break
        if os.path.lexists(site.at(site.drop)):
            os.chmod(site.at(site.drop), 0o640)
        site.move(expected)
        assert site.files(site.drop) == {}, f"at step {step}"
        assert site.files(site.done) == {site.path: SOUND}, f"at step {step}"
        site.done.sweep(SystemClock().now() + 60)
        site.clean()
        expected = site.put()


def test_killed_at_any_step_a_mark_is_whole_or_not_there(place: Path, person: Person) -> None:
    """The former mark stands until the new one does, and marking again succeeds, as seen by whose mark it is."""
    folder = Folder(os.fsencode(shared_folder(place / "done")), "done")
    for before in (None, "first"):
        after = "second" if before else "first"
        for step in itertools.count(1):
            try:
                person.does(dying, step, folder.mark, after)
            except DiedError:
                pass
            else:
                assert step > 2, "hardly anything was crossed"
                break
            assert person.does(folder.marker) in (before, after), f"at step {step}"
            if before:
                person.does(folder.mark, before)
            else:
                folder.remove(MARKER)
        assert person.does(folder.marker) == after


@pytest.mark.parametrize("replacing", [True, False])
def test_killed_at_any_step_a_receipt_is_whole_or_not_there(
    place: Path, person: Person, *, replacing: bool
) -> None:
    """Under its name lies the former one, the new one whole, or nothing; and writing it again succeeds."""
    done = Folder(os.fsencode(shared_folder(place / "done")), "done")
    path = b"a/b/call.wav.json"
    former, new = b"former", b"new" * 100_000
    if replacing:
        person.does(done.write_whole, path, former, replacing=False)
    for step in deaths(person, done.write_whole, path, new, replacing=replacing):
        found = person.does(done.read, path, 1_000_000)
        assert found in ((former, new) if replacing else (None, new)), f"at step {step}"
        if replacing:
            person.does(done.write_whole, path, former, replacing=True)
        elif found:
            person.does(done.remove, path)
    assert person.does(done.read, path, 1_000_000) == new
    person.does(done.sweep, SystemClock().now() + 60)
    assert [entry.path for entry in done.walk(lambda _: None)] == [path]
