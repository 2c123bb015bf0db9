"""A folder on a real disk: what it lists, gives and takes."""

import ctypes
import os
import re
import resource
import socket
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.disks import deepen
from tests.people import (
    CREW,
    ROOT,
    STRANGER,
    DiedError,
    Person,
    as_user,
    drop,
    missing,
    needs_root,
    shared_folder,
)
from watcher.clock import SystemClock
from watcher.errors import (
    FolderMissing,
    FolderRefuses,
    InstanceRunning,
    NameTaken,
    RecordingGone,
    RecordingUnreachable,
)
from watcher.folders import Entry, Folder, lock


@pytest.fixture
def folder(place: Path) -> Folder:
    return Folder(os.fsencode(shared_folder(place / "drop")), "drop")


def at(folder: Folder, path: bytes) -> bytes:
    return os.path.join(folder.root, path)


def everything(folder: Folder) -> list[Entry]:
    return sorted(folder.walk(lambda _: None))


# The full look


STRANGE = [b"call.wav", b"two\nlines.wav", b"\xff\xfe.wav", b"-rf.wav", b"x" * 255, "höre.wav".encode(), b" "]


def test_every_name_is_listed_whatever_bytes_it_has(folder: Folder, person: Person) -> None:
    """The look finds names with newlines, no UTF-8, 255 bytes or a leading dash, as bytes, in any subfolder."""
    for subfolder in (b"", b"a/", b"a/\xff\n/"):
        if subfolder:
            os.mkdir(at(folder, subfolder))
        for name in STRANGE:
            drop(at(folder, subfolder + name), b"")
    found = person.does(everything, folder)
    assert {entry.path for entry in found} == {s + n for s in (b"", b"a/", b"a/\xff\n/") for n in STRANGE}
    assert {entry.inode for entry in found} == {os.lstat(at(folder, e.path)).st_ino for e in found}
    assert {entry.kind for entry in found} == {"file"}


def test_what_is_no_file_is_named_as_what_it_is(folder: Folder) -> None:
    """Links are listed and never followed; pipes, sockets and devices are listed and never opened."""
    os.mkdir(at(folder, b"empty"))
    os.symlink(b"/etc", at(folder, b"to a folder"))
    os.symlink(b"nowhere", at(folder, b"to nothing"))
    os.mkfifo(at(folder, b"pipe"))
    expected = {b"to a folder": "link", b"to nothing": "link", b"pipe": "fifo", b"socket": "socket"}
    if os.geteuid() == 0:
        os.mknod(at(folder, b"device"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
        expected[b"device"] = "device"
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(at(folder, b"socket"))
        assert {entry.path: entry.kind for entry in everything(folder)} == expected


def test_ignored_names_are_left_out_with_all_below_them(folder: Folder) -> None:
    """An ignored name, of a file or a folder, in any depth, is neither listed nor entered."""
    for path in (b"a/.snapshot/deep", b"a/b"):
        os.makedirs(at(folder, path))
    for path in (b"a/b/call.wav", b"a/b/call.tmp", b"a/.snapshot/deep/call.wav"):
        drop(at(folder, path), b"")
    asked = []

    def ignore(name: bytes) -> str | None:
        asked.append(name)
        return "temporary" if name in (b"call.tmp", b".snapshot") else None

    assert [entry.path for entry in folder.walk(ignore)] == [b"a/b/call.wav"]
    assert sorted(asked) == [b".snapshot", b"a", b"b", b"call.tmp", b"call.wav"]


def test_a_subfolder_that_can_not_be_read_is_reported_and_the_rest_is_listed(folder: Folder) -> None:
    """Nothing is known of an unreadable subfolder: the look names it with the reason and goes on."""
    for name in (b"closed", b"open"):
        os.mkdir(at(folder, name))
        drop(at(folder, name + b"/call.wav"), b"")
    os.chmod(at(folder, b"closed"), 0o700)

    def look() -> tuple[list[bytes], list[tuple[bytes, str]]]:
        scan = folder.walk(lambda _: None)
        return [entry.path for entry in scan], scan.unreadable

    assert as_user(look) == ([b"open/call.wav"], [(b"closed", "Permission denied")])


def test_thousands_of_nested_folders_are_listed_with_few_descriptors(folder: Folder, place: Path) -> None:
    """Depth meets neither the recursion limit, nor PATH_MAX, nor the limit of open files."""
    depth = 1100
    deepen(folder, depth, b"deeper")

    def look() -> int:
        most = max(map(int, os.listdir("/proc/self/fd"))) + 40  # other tests' are open, too
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return len(everything(folder))

    assert ROOT.does(look) == depth


def test_a_recording_deeper_than_a_path_can_say_is_filed(folder: Folder) -> None:
    """What the look finds can be opened, written beside and removed, however long its path is."""
    deepen(folder, 40, b"d" * 200)
    path = max((entry.path for entry in everything(folder)), key=len)
    assert len(path) > 4096
    with folder.open(path)[0] as file:
        assert file.read() == b""
    folder.check_gives(path)
    folder.write_whole(path + b".json", b"{}", replacing=False)
    assert folder.read(path + b".json", 10) == b"{}"
    folder.remove(path + b".json")
    assert not folder.occupied(path + b".json")


def test_what_vanishes_during_the_look_is_passed_over(folder: Folder) -> None:
    """A subfolder that is removed, or replaced by a link, while others are listed is no error."""
    for name in (b"a", b"b", b"c"):
        os.mkdir(at(folder, name))
        drop(at(folder, name + b"/call.wav"), b"")
    scan = folder.walk(lambda _: None)
    found = []
    for entry in scan:
        found.append(entry.path)
        if len(found) == 1:
            gone, linked = {b"a", b"b", b"c"} - {entry.path[:1]}
            os.rename(at(folder, gone), folder.root + b".aside")
            os.rename(at(folder, linked), folder.root + b".too")
            os.symlink(folder.root + b".too", at(folder, linked))
    assert len(found) == 1
    assert scan.unreadable == []


def test_no_descriptor_stays_open_after_a_look_that_was_broken_off(folder: Folder) -> None:
    """An open descriptor would block an unmount."""
    deepen(folder, 50, b"deeper")
    before = os.listdir("/proc/self/fd")
    next(iter(folder.walk(lambda _: None)))
    everything(folder)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_missing_folder_is_missing_and_never_empty(place: Path) -> None:
    """A folder that is not there is an error of its own for every operation, and is not created."""
    absent = Folder(os.fsencode(place / "absent"), "done")
    operations: list[Callable[[], object]] = [
        lambda: everything(absent),
        lambda: absent.fingerprint(b"call.wav"),
        lambda: absent.open(b"call.wav"),
        lambda: absent.check_gives(b"call.wav"),
        lambda: absent.check_takes(1),
        lambda: absent.write_whole(b"call.wav.json", b"{}", replacing=True),
        lambda: absent.read(b"call.wav.json", 10),
        lambda: absent.remove(b"call.wav.json"),
        lambda: absent.occupied(b"call.wav"),
        lambda: absent.sweep(0),
    ]
    for operation in operations:
        with pytest.raises(FolderMissing, match=r"the done folder .*absent is not there") as caught:
            operation()
        assert "mount" in caught.value.hint
    assert not os.path.lexists(absent.root)


def test_the_root_itself_may_be_a_link(folder: Folder, place: Path) -> None:
    """A site may have linked its drop folder to where the disk is."""
    drop(at(folder, b"call.wav"), b"sound")
    (place / "link").symlink_to("drop")
    linked = Folder(os.fsencode(place / "link"), "drop")
    assert [entry.path for entry in everything(linked)] == [b"call.wav"]
    assert linked.fingerprint(b"call.wav") == folder.fingerprint(b"call.wav")


# What it gives


def test_a_recording_of_another_is_read_and_is_the_file_that_was_opened(folder: Folder, person: Person) -> None:
    """The fingerprint that comes with an open recording is of that very file, even if the name is swapped."""
    sound = drop(at(folder, b"call.wav"), os.urandom(3_000_000))

    def read() -> tuple[bytes, bool]:
        looked = folder.fingerprint(b"call.wav")
        file, opened = folder.open(b"call.wav")
        with file:
            os.rename(at(folder, b"call.wav"), at(folder, b"aside"))
            os.close(os.open(at(folder, b"call.wav"), os.O_CREAT | os.O_WRONLY))
            return file.read(), opened == looked

    assert person.does(read) == (sound, True)


def test_no_link_is_ever_followed(folder: Folder, place: Path) -> None:
    """Neither a linked recording nor a linked subfolder leads out of the folder, for reading or for writing."""
    outside = shared_folder(place / "outside")
    drop(outside / "secret.wav", b"secret")
    os.symlink(outside / "secret.wav", at(folder, b"link.wav"))
    os.symlink(outside, at(folder, b"sub"))
    for path in (b"link.wav", b"sub/secret.wav"):
        for operation in (folder.fingerprint, folder.open, folder.check_gives):
            with pytest.raises(RecordingGone):
                operation(path)
        assert folder.read(path, 100) is None
    with pytest.raises(FolderRefuses, match="sub/new"):
        folder.write_whole(b"sub/new.json", b"{}", replacing=True)
    folder.remove(b"sub/secret.wav")
    folder.write_whole(b"link.wav", b"{}", replacing=True)
    assert sorted(os.listdir(outside)) == ["secret.wav"]
    assert (outside / "secret.wav").read_bytes() == b"secret"


@pytest.mark.parametrize("path", [b"../call.wav", b"/etc/passwd", b"a/../../b", b"", b"a//b", b"./a", b"a\0b"])
def test_no_path_leads_out_of_the_folder(folder: Folder, path: bytes) -> None:
    """A path from a receipt or a person may say anything: it is refused, not followed."""
    for operation in (folder.fingerprint, folder.open, folder.occupied, folder.remove):
        with pytest.raises(RecordingUnreachable, match="is not a path inside the drop folder"):
            operation(path)


def test_a_pipe_that_takes_a_recordings_name_hangs_nobody(folder: Folder) -> None:
    """What is no regular file is gone as a recording, and is not waited for."""
    os.mkfifo(at(folder, b"call.wav"))
    for operation in (folder.fingerprint, folder.open, folder.check_gives):
        with pytest.raises(RecordingGone, match="not, or no longer, a regular file"):
            operation(b"call.wav")
    assert folder.read(b"call.wav", 10) is None


def test_a_disk_that_fails_while_a_recording_is_read_is_about_that_recording() -> None:
    """An input error in the middle of a file is RecordingUnreachable, not a bare OSError."""
    memory = Folder(f"/proc/{os.getpid()}".encode(), "drop")  # address 0 of a process cannot be read
    file, _ = memory.open(b"mem")
    with file, pytest.raises(RecordingUnreachable, match=r"mem in the drop folder .*Input/output error"):
        file.read(10)


def test_a_recording_of_another_in_a_shared_folder_can_be_given(folder: Folder, person: Person) -> None:
    """Owning neither the file nor the folder is enough, where the group may write in it."""
    drop(at(folder, b"call.wav"), b"sound")
    person.does(folder.check_gives, b"call.wav")


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "why", "remedy"),
    [
        (0o2775, 0o600, "cannot be read by user nobody", "chgrp [^ ]+ .*call.wav && chmod g\\+r .*call.wav$"),
        (0o2755, 0o644, "may not write in", "chmod g\\+rwx .*sub$"),
        (0o3775, 0o644, "is sticky", "chmod -t .*sub"),
    ],
)
def test_a_recording_that_could_not_be_filed_is_not_paid_for(
    folder: Folder, folder_mode: int, file_mode: int, why: str, remedy: str
) -> None:
    """Before anything is sent, it is known that the file can be read and moved; else what to do is said."""
    sub = shared_folder(Path(os.fsdecode(at(folder, b"sub"))), folder_mode)
    drop(sub / "call.wav", b"sound", file_mode)
    with pytest.raises(RecordingUnreachable, match=why) as caught:
        as_user(folder.check_gives, b"sub/call.wav")
    assert caught.match("sub")
    assert re.search(remedy, caught.value.hint)
    folder.check_gives(b"sub/call.wav")  # root may


def test_ones_own_recording_in_a_sticky_folder_can_be_given(folder: Folder) -> None:
    """The sticky bit stands in the way of other people's files alone."""
    needs_root()
    os.chmod(folder.root, 0o3777)
    drop(at(folder, b"call.wav"), b"sound")
    os.chown(at(folder, b"call.wav"), STRANGER.uid or 0, CREW)
    as_user(folder.check_gives, b"call.wav")


# What it takes


def test_a_folder_with_room_takes(folder: Folder, person: Person) -> None:
    """A shared folder with room takes a file, in subfolders that are not there yet as well."""
    person.does(folder.check_takes, 15_000_000)
    person.does(folder.check_takes, 15_000_000, b"new/er/call.wav")


def test_a_folder_without_room_does_not_take(small_disk: Path, person: Person) -> None:
    """Nothing is paid for that the disk has no room for."""
    done = Folder(os.fsencode(small_disk), "done")
    person.does(done.check_takes, 500_000)
    with pytest.raises(FolderRefuses, match=r"No space in .*: 1,048,576 bytes are free, 1,065,536 are") as caught:
        person.does(done.check_takes, 1_000_000)
    assert "free space" in caught.value.hint


def test_a_folder_closed_to_us_does_not_take(folder: Folder) -> None:
    """Permission is looked at where the file would go: the deepest subfolder that exists."""
    shared_folder(Path(os.fsdecode(at(folder, b"theirs"))), 0o755)
    as_user(folder.check_takes, 1)
    with pytest.raises(FolderRefuses, match=r"theirs in the drop folder .*Permission denied"):
        as_user(folder.check_takes, 1, b"theirs/new/call.wav")
    os.chmod(folder.root, 0o755)
    with pytest.raises(FolderRefuses, match="Permission denied") as caught:
        as_user(folder.check_takes, 1)
    assert "chmod" in caught.value.hint


@contextmanager
def kept(path: Path, attribute: str) -> Iterator[None]:
    """In the block, the file or folder has this attribute of chattr(1)."""
    needs_root()
    done = subprocess.run(["chattr", f"+{attribute}", path], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"no attributes can be set here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", f"-{attribute}", path], check=True)


KEEPING = [("i", "immutable"), ("a", "append-only")]


@pytest.mark.parametrize(("attribute", "word"), KEEPING)
@pytest.mark.parametrize("of", ["sub/call.wav", "sub"])
def test_what_an_attribute_keeps_in_its_place_is_not_paid_for(
    folder: Folder, person: Person, attribute: str, word: str, of: str
) -> None:
    """Not even root can move it out; what it is that keeps it, and how that is taken off, is said."""
    sub = shared_folder(Path(os.fsdecode(at(folder, b"sub"))), 0o2775)
    drop(sub / "call.wav", b"sound")
    there = Path(os.fsdecode(at(folder, os.fsencode(of))))
    with kept(there, attribute), pytest.raises(RecordingUnreachable, match=word) as caught:
        person.does(folder.check_gives, b"sub/call.wav")
    assert re.search(f"chattr -{attribute} .*{of}$", caught.value.hint)
    person.does(folder.check_gives, b"sub/call.wav")


@pytest.mark.parametrize(("attribute", "word"), KEEPING)
def test_a_folder_that_an_attribute_keeps_as_it_is_takes_nothing(
    folder: Folder, person: Person, attribute: str, word: str
) -> None:
    """Rights help nothing there, so none are asked for."""
    with kept(Path(os.fsdecode(folder.root)), attribute), pytest.raises(FolderRefuses, match=word) as caught:
        person.does(folder.check_takes, 1)
    assert f"chattr -{attribute} " in caught.value.hint
    person.does(folder.check_takes, 1)


def test_a_file_in_the_way_of_a_subfolder_is_said(folder: Folder) -> None:
    """A recording may bear the name that a subfolder needs."""
    drop(at(folder, b"a"), b"sound")
    with pytest.raises(FolderRefuses, match="Not a directory") as caught:
        folder.check_takes(1, b"a/call.wav")
    assert "move it aside" in caught.value.hint


def test_a_receipt_is_written_whole_with_the_folders_to_it(folder: Folder, person: Person) -> None:
    """Missing subfolders are made; nothing else is left behind."""
    person.does(folder.write_whole, b"a/b/call.wav.json", b"{}" * 1000, replacing=False)
    assert [entry.path for entry in everything(folder)] == [b"a/b/call.wav.json"]
    assert person.does(folder.read, b"a/b/call.wav.json", 2000) == b"{}" * 1000
    status = os.stat(at(folder, b"a/b/call.wav.json"))
    assert stat.S_IMODE(status.st_mode) == 0o640
    if os.geteuid() == 0:
        assert status.st_gid == CREW


def test_a_receipt_replaces_its_former_self_only_where_asked(folder: Folder, person: Person) -> None:
    """`replacing=False` overwrites nothing, whatever lies there: a file, a link, a folder."""
    drop(at(folder, b"file"), b"theirs")
    os.symlink(b"nowhere", at(folder, b"link"))
    os.mkdir(at(folder, b"folder"))
    for name in (b"file", b"link", b"folder"):
        with pytest.raises(NameTaken):
            person.does(folder.write_whole, name, b"ours", replacing=False)
        assert folder.occupied(name)
    assert folder.read(b"file", 10) == b"theirs"
    person.does(folder.write_whole, b"file", b"ours", replacing=True)
    assert folder.read(b"file", 10) == b"ours"
    assert sorted(os.listdir(folder.root)) == [b"file", b"folder", b"link"]


def test_a_full_disk_leaves_no_half_of_a_receipt(small_disk: Path, person: Person) -> None:
    """When it does not fit, the former one stands and nothing of the new one is left."""
    done = Folder(os.fsencode(small_disk), "done")
    person.does(done.write_whole, b"call.wav.json", b"former", replacing=True)
    with pytest.raises(FolderRefuses, match="No space left"):
        person.does(done.write_whole, b"call.wav.json", bytes(2_000_000), replacing=True)
    assert os.listdir(small_disk) == ["call.wav.json"]
    assert done.read(b"call.wav.json", 10) == b"former"


def test_a_file_too_large_for_a_receipt_is_not_read(folder: Folder) -> None:
    """Nobody fills our memory by leaving a large file under a receipt's name."""
    drop(at(folder, b"call.wav.json"), b"x" * 11)
    with pytest.raises(FolderRefuses, match="more than 10 bytes"):
        folder.read(b"call.wav.json", 10)
    assert folder.read(b"call.wav.json", 11) == b"x" * 11


def test_what_is_not_there_is_neither_read_nor_missed(folder: Folder) -> None:
    """Reading says None, removing says nothing, in a subfolder that is missing as well."""
    for path in (b"none.json", b"a/none.json"):
        assert folder.read(path, 10) is None
        folder.remove(path)
        assert not folder.occupied(path)


def test_drafts_left_by_a_crash_are_swept_and_nothing_else(folder: Folder, person: Person) -> None:
    """At the start the drafts of a dead process go; what was begun since, and what is not ours, stays."""

    def leave() -> None:
        os.mkdir(at(folder, b"a"))
        for name in (b".watcher-1234.tmp", b"a/.watcher-5678.tmp", b".watcher-x", b".other.tmp"):
            with open(at(folder, name), "wb"):
                os.utime(at(folder, name), (0, 0))

    person.does(leave)
    now = SystemClock().now()
    assert person.does(folder.sweep, now - 60) == []
    assert sorted(person.does(folder.sweep, now + 60)) == [b".watcher-1234.tmp", b"a/.watcher-5678.tmp"]
    assert [entry.path for entry in everything(folder)] == [b".other.tmp", b".watcher-x"]


def test_what_root_writes_the_service_can_write(folder: Folder) -> None:
    """A command run by root leaves no file or folder that the folder's owner could not change."""
    needs_root()
    os.chown(folder.root, STRANGER.uid or 0, CREW)
    os.chmod(folder.root, 0o700)
    folder.write_whole(b"a/call.wav.json", b"{}", replacing=False)
    assert as_user(folder.read, b"a/call.wav.json", 10) == b"{}"
    as_user(folder.write_whole, b"a/call.wav.json", b"[]", replacing=True)
    lock(at(folder, b"lock")).close()
    as_user(locked_and_released, at(folder, b"lock"))


# One instance


def locked_and_released(path: bytes) -> None:
    with lock(path):
        pass


def test_a_second_instance_is_told_who_is_the_first(place: Path, person: Person) -> None:
    """The refusal names the host and the process, and comes at once."""
    path = os.fsencode(shared_folder(place / "state") / "lock")

    def second() -> None:
        with lock(path):
            first = os.getpid()
            with pytest.raises(
                InstanceRunning, match=f"running on {socket.gethostname()}, process {first}"
            ) as caught:
                lock(path)
            assert "stop it" in caught.value.hint
        locked_and_released(path)

    person.does(second)


def test_a_lock_of_a_killed_process_is_taken_over_at_once(place: Path, person: Person) -> None:
    """A dead instance stands in nobody's way, though its file is still there."""
    path = os.fsencode(shared_folder(place / "state") / "lock")

    def hold_and_die() -> None:
        with lock(path):
            os._exit(9)

    with pytest.raises(DiedError, match="exited with 9"):
        person.does(hold_and_die)
    assert os.stat(path).st_size > 0
    person.does(locked_and_released, path)


def test_a_lock_that_can_not_be_made_says_why(place: Path) -> None:
    """The state folder missing, or closed to us, is said with what to do."""
    with pytest.raises(FolderMissing, match="absent is not there"):
        lock(os.fsencode(place / "absent/lock"))
    with pytest.raises(FolderRefuses, match="Permission denied") as caught:
        as_user(lock, os.fsencode(shared_folder(place / "closed", 0o755) / "lock"))
    assert f"as root: chmod g+rwx {place}/closed" in caught.value.hint


# Who hears of a look


@contextmanager
def heard(*folders: bytes) -> Iterator[Callable[[], int]]:
    """How often the kernel has told that one of these was opened, since that was asked last: inotify(7)."""
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def count() -> int:
        told, at, opened = b"", 0, 0
        with suppress(BlockingIOError):
            told = os.read(events, 1 << 16)
        while at < len(told):
            _, mask, _, length = struct.unpack_from("iIII", told, at)
            opened += mask == 0x40000020  # IN_OPEN | IN_ISDIR
            at += 16 + length
        return opened

    try:
        for path in folders:
            assert libc.inotify_add_watch(events, ctypes.c_char_p(path), 0x20) >= 0
        yield count
    finally:
        os.close(events)


def test_nobody_hears_that_names_are_looked_up(folder: Folder) -> None:
    """Each open of the drop folder would wake whoever listens to it: the daemon itself, for each of its looks."""
    os.mkdir(at(folder, b"sub"))
    drop(at(folder, b"sub/call.wav"), b"1")
    looks: list[Callable[[bytes], object]] = [
        folder.fingerprint,
        folder.owner,
        folder.there_since,
        folder.check_gives,
        folder.occupied,
        folder.look,
        folder.names_at,
        folder.free_bytes,
        lambda path: folder.read(path, 1 << 20),
        lambda path: folder.open(path)[0].close(),
        lambda path: folder.check_takes(1, path),
        lambda _: folder.situation(),
        lambda _: folder.mark_found(),
    ]
    with heard(folder.root, at(folder, b"sub")) as count:
        everything(folder)
        assert count() > 1
        for look in looks:
            look(b"sub/call.wav")
        assert count() == 0


def test_a_folder_that_may_not_be_read_is_not_looked_into(folder: Folder) -> None:
    """It could not be synced: what lies in it would be paid for, and never filed."""
    os.mkdir(at(folder, b"sub"))
    drop(at(folder, b"call.wav"), b"1")
    drop(at(folder, b"sub/call.wav"), b"1")
    os.chmod(at(folder, b"sub"), 0o711)
    with pytest.raises(RecordingUnreachable):
        as_user(folder.fingerprint, b"sub/call.wav")
    os.chmod(folder.root, 0o711)
    with pytest.raises(FolderRefuses, match="cannot be opened"):
        as_user(folder.fingerprint, b"call.wav")
