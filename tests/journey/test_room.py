"""Room in done/ and failed/: what there is room for is sent and filed, and only the rest waits for it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakePlace
from tests.journey.test_mounts import BACK_OFF_SECONDS, RESCAN_SECONDS, Disk, folder_pause, look
from tests.places import Place, speech
from tests.queues import drain, listening, posts, queued, told
from watcher.domain import Pause, PauseKind, State
from watcher.errors import Exit
from watcher.identifai.sandbox import Sandbox


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
        assert f"{place.item('large.wav').size + 65_536:,} are wanted" in fault.message
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
        assert f"{free:,} bytes are free, 65,536 are wanted for a receipt" in folder_pause(place)
        assert len(told(log, "submitting.paused")) == 1
        ballast.unlink()
        look(journey)
        drain(journey)
        assert len(told(log, "submitting.resumed")) == 1
    assert set(place.states().values()) == {State.DONE}


def test_a_canary_without_room_lets_another_one_try(make_place: MakePlace, disk: Disk, service: Sandbox) -> None:
    """A pause of the service ends by a recording that can be filed, though an older one can not."""
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
