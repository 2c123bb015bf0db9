"""Room in done/ and failed/: what there is room for is sent and filed, and only the rest waits for it."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakePlace
from tests.disks import Disk
from tests.journey.test_mounts import BACK_OFF_SECONDS, RESCAN_SECONDS, folder_pause, look
from tests.odd_disk import OddDisk, odd_disk
from tests.people import missing
from tests.places import Place, speech
from tests.queues import drain, listening, posts, queued, told
from watcher.domain import Pause, PauseKind, State
from watcher.errors import Exit, FolderFull
from watcher.folders import Folder
from watcher.sandbox import Sandbox

__all__ = ["odd_disk"]  # a fixture


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk", "-o", "size=4m")
    yield made
    made.close()


def leave(folder: Path, free: int) -> Path:
    """So many bytes are left where the folder lies; removing what this returns frees the others."""
    ballast = folder / ".ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(folder).free - free))
    return ballast


def test_a_small_disk_takes_what_it_has_room_for(place: Place, disk: Disk, service: Sandbox) -> None:
    """With far less free than the largest recording there may be, a small one is sent and filed all the same."""
    disk.mount(place.root / "done")
    place.drop("call.wav")

    assert place.run_once().exit_code == Exit.WELL

    assert place.states() == {"call.wav": State.DONE}
    assert service.charged == 1


def test_only_the_recording_that_has_no_room_waits_for_it(place: Place, disk: Disk, service: Sandbox) -> None:
    """It is named, with what is free and wanted, pauses nobody, and goes on with the scan that finds room."""
    done = place.root / "done"
    disk.mount(done)
    with queued(place, large=speech("large", seconds=60), small=speech("small")) as journey, listening() as log:
        ballast = leave(done, 600_000)
        drain(journey, seconds=5)
        assert place.states() == {"large.wav": State.QUEUED, "small.wav": State.DONE}
        assert place.pauses() == []
        fault = place.item("large.wav").fault
        assert fault is not None
        assert fault.code == "no_room"
        assert str(done) in fault.message
        assert " bytes are free, " in fault.message
        assert f"{place.item('large.wav').size + 65_536:,} are needed" in fault.message
        for _ in range(BACK_OFF_SECONDS // RESCAN_SECONDS + 2):
            look(journey)
            drain(journey, seconds=5)
        assert len(posts(service)) == 1
        assert len(told(log, "recording.postponed")) == 1
        ballast.unlink()
        look(journey)
        drain(journey, seconds=1)
        assert told(log, "submitting.paused") == []
    assert place.states() == {"large.wav": State.DONE, "small.wav": State.DONE}
    assert place.item("large.wav").fault is None


def test_what_is_on_its_way_keeps_its_room(place: Place, disk: Disk, service: Sandbox) -> None:
    """Each of three has room, all of them together do not: only what can be filed is paid for."""
    done = place.root / "done"
    disk.mount(done)
    minutes = {name: speech(name, seconds=60) for name in ("one", "two", "three")}
    with queued(place, **minutes) as journey:
        ballast = leave(done, 2 * (len(minutes["one"]) + 65_536) + 10_000)
        while len(posts(service)) < 2:  # nothing is filed in between
            place.clock.wait(max(journey.submissions[0].step(), 0.001), journey.stopping)
        for _ in range(20):
            place.clock.wait(1, journey.stopping)
            journey.submissions[0].step()
        assert len(posts(service)) == 2
        drain(journey, seconds=1)
        assert sorted(place.states().values()) == [State.DONE, State.DONE, State.QUEUED]
        ballast.unlink()
        look(journey)
        drain(journey, seconds=1)
    assert set(place.states().values()) == {State.DONE}


@pytest.mark.parametrize("name", ["done", "failed"])
@pytest.mark.parametrize("free", [0, 40_960])
def test_a_folder_without_room_for_a_receipt_pauses_and_says_how_much_there_is(
    place: Place, disk: Disk, service: Sandbox, name: str, free: int
) -> None:
    """One pause, with what is free and what is wanted; it ends with the scan after there is room."""
    folder = place.root / name
    disk.mount(folder)
    with queued(place, "one", "two") as journey, listening() as log:
        ballast = leave(folder, free)
        for _ in range(4):
            look(journey)
            drain(journey, seconds=5)
        assert posts(service) == []
        assert f"{free:,} bytes are free, 65,536 are needed for a receipt" in folder_pause(place)
        assert len(told(log, "submitting.paused")) == 1
        ballast.unlink()
        look(journey)
        drain(journey)
        assert len(told(log, "submitting.resumed")) == 1
    assert set(place.states().values()) == {State.DONE}


def test_a_canary_without_room_lets_another_one_try(make_place: MakePlace, disk: Disk, service: Sandbox) -> None:
    """A pause of the service ends by a recording that can be filed, though an older one cannot."""
    place = make_place(limits={"writes": []})
    done = place.root / "done"
    disk.mount(done)
    with queued(place, large=speech("large", seconds=60), small=speech("small")) as journey:
        leave(done, 600_000)
        with place.books() as books:
            books.pauses.set(Pause(PauseKind.SERVICE, "not_well", "It was down.", 1.0, 2.0))
        for _ in range(10):
            place.clock.wait(max(journey.submissions[0].step(), 0.001), journey.stopping)
        drain(journey, seconds=1)
        assert place.pauses() == []
    assert place.states() == {"large.wav": State.QUEUED, "small.wav": State.DONE}


@pytest.mark.parametrize("name", ["drop", "done", "failed"])
def test_a_folder_that_is_unmounted_is_missed_before_the_very_next_upload(
    make_place: MakePlace, tmp_path: Path, service: Sandbox, name: str
) -> None:
    """Also when it was looked at no time before: nothing is paid for that would lie about unfiled."""
    disk = Disk(tmp_path / "disk", "-o", "size=40m")
    place = make_place(limits={"writes": []})
    try:
        disk.mount(place.root / name)
        with queued(place, "one", "two") as journey:
            journey.submissions[0].step()
            assert len(posts(service)) == 1
            before = place.clock.now()
            disk.unmount(place.root / name)
            journey.submissions[0].step()
            assert place.clock.now() == before
            assert len(posts(service)) == 1
            assert "is not mounted" in folder_pause(place)
            disk.mount(place.root / name)
            look(journey)
            drain(journey)
        assert set(place.states().values()) == {State.DONE}
        assert service.charged == 2
    finally:
        disk.close()


def test_one_pass_ends_though_copies_wait_for_a_recording_that_has_no_room(
    place: Place, disk: Disk, service: Sandbox
) -> None:
    """Also while a pause of the service stands, for which nothing that is left can be a canary."""
    disk.mount(place.root / "done")
    leave(place.root / "done", 600_000)
    for name in ("one.wav", "copy.wav"):
        place.drop(name, speech("large", seconds=60))
    assert place.run_once().exit_code == Exit.INCOMPLETE
    with place.books() as books:
        books.pauses.set(Pause(PauseKind.SERVICE, "service_fault", "It is down.", place.clock.now(), 0.0))
    began = place.clock.now()

    outcome = place.run_once()

    assert outcome.exit_code == Exit.INCOMPLETE
    assert place.clock.now() - began < 60
    assert sum("No space" in line for line in outcome.left) == 1
    assert service.charged == 0


def test_arrivals_go_on_while_done_is_away_and_something_waits_for_room_there(place: Place, disk: Disk) -> None:
    """The room on the disk below its mount point is nobody's."""
    done = place.root / "done"
    disk.mount(done)
    leave(done, 600_000)
    place.drop("large.wav", speech("large", seconds=60))
    place.run_once()
    for shape in ("a bare mount point", "nothing at all"):
        if shape == "a bare mount point":
            disk.unmount(done)
        else:
            done.rmdir()
        place.drop(f"{shape}.wav")
        with listening() as log:
            place.run_once()
        assert place.states()[f"{shape}.wav"] is State.QUEUED
        assert told(log, "room.found") == []
        fault = place.item("large.wav").fault
        assert fault is not None
        assert fault.code == "no_room"


# What does not fit, is copied, or is counted wrongly


def bytes_read() -> int:
    """By this process, from wherever."""
    (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar: "))
    return int(line.split()[1])


def test_a_large_file_that_holds_nothing_takes_no_room(place: Place, disk: Disk) -> None:
    """A terabyte of holes, too large for the service, goes to failed/ on a small disk, and keeps its holes."""
    disk.mount(place.root / "failed")
    huge = place.drop("huge.wav", speech("huge"))
    with huge.open("r+b") as file:
        file.seek(7 * 10**11)
        file.write(b"in the middle")
        file.truncate(10**12)
    place.drop("call.wav")
    before = bytes_read()

    place.run_once()

    assert bytes_read() - before < 10**9  # none of the holes, which are a thousand times as much
    assert place.states() == {"huge.wav": State.FAILED, "call.wav": State.DONE}
    filed = place.root / "failed/huge.wav"
    assert filed.stat().st_size == 10**12
    assert filed.stat().st_blocks * 512 < 1_000_000
    with filed.open("rb") as file:
        assert file.read(len(speech("huge"))) == speech("huge")
        file.seek(7 * 10**11)
        assert file.read(20) == b"in the middle" + bytes(7)
    assert not huge.exists()


@pytest.mark.parametrize("shape", ["full of bytes", "full of holes"])
def test_a_large_file_for_which_failed_has_no_room_waits_and_fills_no_disk(
    make_place: MakePlace, disk: Disk, odd_disk: OddDisk, service: Sandbox, shape: str
) -> None:
    """It stays in the drop folder and is told; the others fail and are done; it goes when there is room.

    Also one full of holes, where they would not stay holes.
    """
    place = make_place(limits={"max_upload_bytes": 100_000, "writes": []})
    failed = place.root / "failed"
    if shape == "full of bytes":
        disk.mount(failed)
        place.drop("huge.wav", bytes(6_000_000))
    else:
        odd_disk.rule(blocks=[1000, 1000, 1000])  # of 4 KiB
        odd_disk.mount(failed)
        place.drop("huge.wav", b"")
        os.truncate(place.root / "drop/huge.wav", 10**12)
    place.drop("large.wav", bytes(200_000))
    place.drop("call.wav", speech("call", seconds=2))
    free = shutil.disk_usage(failed).free

    outcome = place.run_once()

    assert outcome.exit_code == Exit.INCOMPLETE
    (left,) = outcome.left
    assert left.startswith("huge.wav: filing (No space in the failed folder")
    assert place.states() == {"huge.wav": State.FILING, "large.wav": State.FAILED, "call.wav": State.DONE}
    assert shutil.disk_usage(failed).free > free - 400_000
    assert place.files() >= {"drop/huge.wav", "failed/large.wav", "done/call.wav"}
    assert not list(failed.glob(".watcher-*"))
    if shape == "full of bytes":
        subprocess.run(["mount", "-o", "remount,size=40m", disk.home], check=True)
        place.run_once()
        assert place.states()["huge.wav"] is State.FAILED


def test_a_sidecar_for_which_there_is_no_room_stays_behind_and_its_recording_is_done(
    make_place: MakePlace, odd_disk: OddDisk, service: Sandbox
) -> None:
    """The room went after it was paid for: nothing is filled with it, and the receipt says where it is."""
    place = make_place(arrivals={"sidecar": [".xml"]}, limits={"writes": []})
    odd_disk.rule(blocks=[1000, 1000, 1000])
    odd_disk.mount(place.root / "done")
    place.drop("call.xml", b"<call/>")
    with queued(place, "call") as journey:
        while not posts(service):
            journey.submissions[0].step()
        os.truncate(place.root / "drop/call.xml", 10**12)
        drain(journey)

    assert place.states() == {"call.wav": State.DONE}
    assert place.files() == {"done/call.wav", "done/call.wav.json", "drop/call.xml"}
    assert (
        "call.xml came with it, but stayed in the drop folder: No space"
        in (place.receipt("done/call.wav.json")["warning"])
    )


@pytest.mark.parametrize("shape", ["full of bytes", "full of holes"])
def test_a_sidecar_without_room_is_found_out_before_anything_is_paid(
    make_place: MakePlace, disk: Disk, odd_disk: OddDisk, service: Sandbox, shape: str
) -> None:
    """Its recording waits, named with the reason, and goes with it once there is room; the others go on."""
    place = make_place(arrivals={"sidecar": [".xml"]}, limits={"writes": []})
    done = place.root / "done"
    place.drop("call.xml", b"<call/>")
    if shape == "full of bytes":
        disk.mount(done)
        (place.root / "drop/call.xml").write_bytes(bytes(6_000_000))
    else:
        odd_disk.rule(blocks=[1000, 1000, 1000])
        odd_disk.mount(done)
        os.truncate(place.root / "drop/call.xml", 10**12)
    place.drop("other.xml", b"<call/>")
    with queued(place, "call", "other") as journey, listening() as log:
        for _ in range(BACK_OFF_SECONDS // RESCAN_SECONDS + 2):
            look(journey)
            drain(journey, seconds=5)
        assert place.states() == {"call.wav": State.QUEUED, "other.wav": State.DONE}
        fault = place.item("call.wav").fault
        assert fault is not None
        assert fault.code == "no_room"
        assert "it, its receipt and what came with it" in fault.message
        assert len(posts(service)) == 1
        assert len(told(log, "recording.postponed")) == 1
        assert told(log, "room.found") == []
        os.truncate(place.root / "drop/call.xml", 1000)
        look(journey)
        drain(journey, seconds=1)
    assert place.states()["call.wav"] is State.DONE
    assert (done / "call.xml").stat().st_size == 1000


def test_a_sidecar_that_is_only_renamed_wants_no_room(place: Place, make_place: MakePlace) -> None:
    """A terabyte that the disk has already, or has not even: it is not to be had twice."""
    place = make_place(arrivals={"sidecar": [".xml"]})
    place.drop("call.xml", b"<call/>")
    os.truncate(place.root / "drop/call.xml", 10**13)
    place.drop("call.wav")

    assert place.run_once().exit_code == Exit.WELL

    assert place.files() == {"done/call.wav", "done/call.wav.json", "done/call.xml"}
    os.truncate(place.root / "done/call.xml", 0)


def test_holes_that_stay_holes_want_no_room(make_place: MakePlace, disk: Disk) -> None:
    """A sidecar of a terabyte with nothing in it is copied to a small disk that keeps holes."""
    place = make_place(arrivals={"sidecar": [".xml"]})
    disk.mount(place.root / "done")
    place.drop("call.xml", b"<call/>")
    os.truncate(place.root / "drop/call.xml", 10**12)
    place.drop("call.wav")

    assert place.run_once().exit_code == Exit.WELL

    assert place.files() == {"done/call.wav", "done/call.wav.json", "done/call.xml"}


@pytest.mark.parametrize("blocks", [[1000, 0, 0], [1000, 500, 0], [0, 0, 0], [1000, 1000, 2**50]])
@pytest.mark.parametrize("name", ["done", "failed"])
def test_a_disk_that_miscounts_is_believed_only_if_nothing_can_be_written(
    place: Place, odd_disk: OddDisk, service: Sandbox, name: str, blocks: list[int]
) -> None:
    """Some unions of disks say that nothing is free, whatever there is."""
    odd_disk.rule(blocks=blocks)
    odd_disk.mount(place.root / name)
    place.drop("call.wav")
    place.drop("notes.wav", b"no recording")

    place.run_once()

    assert place.states() == {"call.wav": State.DONE, "notes.wav": State.FAILED}
    assert list((place.root / name).glob(".watcher-*")) == []


def test_what_is_kept_for_root_is_not_free(tmp_path: Path) -> None:
    """Root could write there, and would take the last of the disk from the system; a recording waits instead."""
    image, point = tmp_path / "image", tmp_path / "point"
    point.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "50", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, point], check=False, capture_output=True, text=True)
    if mounted.returncode:
        missing(f"no image can be mounted here: {mounted.stderr.strip()}")
    try:
        (point / "ballast").write_bytes(bytes(shutil.disk_usage(point).free + 100_000))
        room = os.statvfs(point)
        assert room.f_bavail == 0 < room.f_bfree
        folder = Folder(os.fsencode(point), "done")
        assert folder.free_bytes() == 0
        with pytest.raises(FolderFull, match="0 bytes are free, 65,536 are needed"):
            folder.check_takes(0)
    finally:
        subprocess.run(["umount", point], check=True)


@pytest.mark.parametrize("full", [errno.EDQUOT, errno.ENOSPC])
@pytest.mark.parametrize("name", ["done", "failed"])
def test_a_quota_that_nothing_but_a_write_tells_is_one_pause(
    place: Place, odd_disk: OddDisk, service: Sandbox, name: str, full: int
) -> None:
    """At the most what was on its way is paid for; the pause does not end while nothing can be written."""
    odd_disk.mount(place.root / name)
    with queued(place, "one", "two", "three") as journey, listening() as log:
        journey.submissions[0].step()
        journey.filing.step()
        assert service.charged == 1
        odd_disk.rule(writes_at_most=1000, full=full)
        place.drop("notes.wav", b"no recording")
        for _ in range(5):
            look(journey)
            drain(journey, seconds=20)
        assert service.charged <= 2
        assert len(told(log, "submitting.paused")) == 1
        assert told(log, "submitting.resumed") == []
        assert "quota" in folder_pause(place)
        odd_disk.rule()
        look(journey)
        drain(journey)
    assert service.charged == 3
    assert sorted(place.states().values()) == [State.DONE] * 3 + [State.FAILED]


def test_a_start_on_a_disk_over_its_quota_pays_for_nothing(
    place: Place, odd_disk: OddDisk, service: Sandbox
) -> None:
    """It is tried before the first recording is paid for."""
    odd_disk.mount(place.root / "done")
    place.run_once()
    odd_disk.rule(writes_at_most=1000, full=errno.EDQUOT)
    for name in ("one.wav", "two.wav"):
        place.drop(name)

    assert place.run_once().exit_code == Exit.INCOMPLETE

    assert service.charged == 0


def test_a_disk_that_fills_while_a_recording_is_copied_keeps_nothing_of_it(
    place: Place, odd_disk: OddDisk, service: Sandbox
) -> None:
    """Though there was room when it was asked; it is filed when there is some again."""
    odd_disk.mount(place.root / "done")
    with queued(place, "call") as journey:
        journey.submissions[0].step()
        odd_disk.rule(writes_at_most=50_000)
        drain(journey, seconds=20)
        assert place.files() == {"drop/call.wav", "done/call.wav.json"}
        assert list((place.root / "done").glob(".watcher-*")) == []
        odd_disk.rule()
        look(journey)
        drain(journey)
    assert place.files() == {"done/call.wav", "done/call.wav.json"}


def test_what_would_be_copied_is_not_cut_off_from_its_writer(place: Place, disk: Disk, service: Sandbox) -> None:
    """Opened again after it was taken, with done/ on another disk: it waits for its writer, and loses nothing."""
    disk.mount(place.root / "done")
    with queued(place, "call") as journey:
        journey.submissions[0].step()
        with (place.root / "drop/call.wav").open("ab") as writer:
            drain(journey, seconds=20)
            assert place.states() == {"call.wav": State.FILING}
            writer.write(b"more of it")
        drain(journey, seconds=601)
        assert place.item("call.wav").filed_as is None
    assert (place.root / "drop/call.wav").read_bytes() == speech("call") + b"more of it"


@pytest.mark.parametrize("option", ["nr_inodes", "size"])
def test_what_was_paid_for_is_filed_with_what_was_kept_for_it(
    place: Place, tmp_path: Path, service: Sandbox, option: str
) -> None:
    """Where there was just room enough before it was sent, there is after its receipt was written."""
    disk = Disk(tmp_path / "small", "-o", "size=4m,nr_inodes=40")
    try:
        done = place.root / "done"
        disk.mount(done)
        with queued(place, call=speech("call")) as journey:
            if option == "size":
                wanted = place.item("call.wav").size + 65_536
                leave(done, wanted + -wanted % 4096)  # in whole pages: of the receipt's one, none is to spare
            else:
                for number in range(os.statvfs(done).f_favail - 4):
                    (done / f".{number}").touch()
            drain(journey, seconds=5)
        assert place.states() == {"call.wav": State.DONE}
        assert service.charged == 1
        assert place.pauses() == []
    finally:
        disk.close()
