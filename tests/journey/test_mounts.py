"""Folders that go away and come back, under the steps of the daemon: everything waits, and goes on by itself."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.disks import Disk
from tests.places import REFUSED, Place, speech
from tests.queues import drain, listening, posts, settle, told
from watcher.composition import Journey
from watcher.domain import PauseKind, State
from watcher.errors import Exit, FolderMissing, FolderRefuses
from watcher.folders.marker import MARKER
from watcher.journey.file.papers import Papers
from watcher.journey.prepare.spool import Spool
from watcher.journey.site import Site
from watcher.sandbox import Sandbox

RESCAN_SECONDS = 30
BACK_OFF_SECONDS = 601  # beyond retry.max_seconds, after which what was put off is tried again


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    made.close()


def look(journey: Journey) -> None:
    """The next full look is due and done, and whatever can be queued is."""
    clock, arrivals = journey.site.clock, journey.arrivals
    clock.wait(RESCAN_SECONDS, journey.stopping)
    arrivals.step()
    clock.wait(2.5, journey.stopping)
    while arrivals.step() <= 0 or journey.admission.step() <= 0:
        pass


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def folder_pause(place: Place) -> str:
    """The reason for which nothing is submitted now."""
    (reason,) = [pause.reason for pause in place.pauses() if pause.kind is PauseKind.FOLDER]
    return reason


# The drop folder


def test_a_drop_folder_that_is_unmounted_is_not_an_empty_one(place: Place, disk: Disk, service: Sandbox) -> None:
    """On the bare mount point nothing is believed and nothing made: all waits, and goes on afterwards."""
    drop = place.root / "drop"
    disk.mount(drop)
    place.drop("a/queued.wav")
    with place.opened() as journey, listening() as log:
        look(journey)
        place.drop("settling.wav", speech("settling")[:-100])
        look(journey)
        disk.unmount(drop)
        (drop / "stranger.wav").write_bytes(speech("stranger"))
        for _ in range(3):
            look(journey)
            drain(journey, seconds=1)
        assert everything_below(drop) == {"stranger.wav"}
        assert place.states() == {"a/queued.wav": State.QUEUED}
        assert "not mounted" in folder_pause(place)
        assert posts(service) == []
        assert len(told(log, "submitting.paused")) == 1
        (drop / "stranger.wav").unlink()
        disk.mount(drop)
        (drop / "settling.wav").write_bytes(speech("settling"))
        look(journey)
        drain(journey)
    assert place.pauses() == []
    assert place.states() == {"a/queued.wav": State.DONE, "settling.wav": State.DONE}
    assert told(log, "recording.withdrawn") == []
    assert service.charged == 2


def test_a_disk_that_goes_in_the_middle_of_a_look_withdraws_nothing(
    place: Place, disk: Disk, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when it was looked for, and is not when its files are: they are not missing for that."""
    drop = place.root / "drop"
    disk.mount(drop)
    for name in ("a.wav", "b.wav"):
        place.drop(name)
    look_first = Site.look_at_folders

    def look_and_lose(site: Site) -> bool:
        found = look_first(site)
        disk.unmount(drop)
        return found

    with place.opened() as journey:
        look(journey)
        with monkeypatch.context() as patch:
            patch.setattr(Site, "look_at_folders", look_and_lose)
            assert journey.arrivals.scanner.scan()
        assert set(place.states().values()) == {State.QUEUED}
        assert "not mounted" in folder_pause(place)
        assert drain(journey, seconds=10) == 0
        disk.mount(drop)
        look(journey)
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 2


def test_a_disk_that_goes_before_the_next_upload_withdraws_nothing(
    place: Place, disk: Disk, service: Sandbox
) -> None:
    """The file that is to be sent next is away with its disk, and nobody has looked yet: it waits."""
    drop = place.root / "drop"
    disk.mount(drop)
    for name in ("a.wav", "b.wav", "c.wav"):
        place.drop(name)
    with place.opened() as journey:
        look(journey)
        disk.unmount(drop)
        drain(journey, seconds=10)
        assert set(place.states().values()) == {State.QUEUED}
        assert "not mounted" in folder_pause(place)
        assert everything_below(drop) == set()
        disk.mount(drop)
        look(journey)
        drain(journey, seconds=BACK_OFF_SECONDS)
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 3


def answered(place: Place, journey: Journey) -> None:
    """One recording was sent and accepted, and is not filed yet."""
    place.drop("a/call.wav")
    look(journey)
    journey.submissions[0].step()
    assert place.states() == {"a/call.wav": State.FILING}


def test_a_disk_that_goes_between_answer_and_filing_keeps_its_recording(
    place: Place, disk: Disk, service: Sandbox
) -> None:
    """What is away with its disk is not "gone": it is filed when the disk is back."""
    drop = place.root / "drop"
    disk.mount(drop)
    with place.opened() as journey:
        answered(place, journey)
        disk.unmount(drop)
        for _ in range(3):
            journey.filing.step()
            place.clock.wait(6, journey.stopping)
        assert place.states() == {"a/call.wav": State.FILING}
        assert place.files() == set()
        disk.mount(drop)
        look(journey)
        drain(journey)
    assert place.files() == {"done/a/call.wav", "done/a/call.wav.json"}
    assert service.charged == 1


@pytest.mark.parametrize(("noun", "deed"), [(Papers, "write_first"), (Site, "root_of")])
def test_a_disk_that_goes_between_receipt_and_move_gets_the_recording_later(
    noun: Any, deed: str, place: Place, disk: Disk, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt is on the disk, and the disk is away: no recording comes to lie on its bare mount point."""
    done, do = place.root / "done", getattr(noun, deed)
    disk.mount(done)

    def do_and_go(*given: Any) -> Any:
        told = do(*given)
        if done in disk.mounts:
            disk.unmount(done)
        return told

    with place.opened() as journey:
        answered(place, journey)
        with monkeypatch.context() as patch:
            patch.setattr(noun, deed, do_and_go)
            journey.filing.step()
        assert [path for path in everything_below(done) if path.endswith("call.wav")] == []
        assert (place.root / "drop/a/call.wav").exists()
        disk.mount(done)
        look(journey)
        drain(journey)
    assert place.files() == {"done/a/call.wav", "done/a/call.wav.json"}
    assert service.charged == 1


def test_nothing_is_filed_on_the_bare_mount_point_of_done(place: Place, disk: Disk, service: Sandbox) -> None:
    """done/ is away, and only its mount point is left: what is accepted waits in the drop folder."""
    done = place.root / "done"
    disk.mount(done)
    with place.opened() as journey:
        answered(place, journey)
        disk.unmount(done)
        for _ in range(3):
            journey.filing.step()
            place.clock.wait(6, journey.stopping)
        assert everything_below(done) == set()
        assert place.states() == {"a/call.wav": State.FILING}
        assert (place.root / "drop/a/call.wav").exists()
        disk.mount(done)
        look(journey)
        drain(journey)
    assert place.files() == {"done/a/call.wav", "done/a/call.wav.json"}
    assert place.pauses() == []


@pytest.mark.parametrize("name", ["drop", "done", "failed"])
def test_a_mark_that_was_removed_from_a_disk_of_its_own_is_made_again(
    place: Place, disk: Disk, tmp_path: Path, name: str
) -> None:
    """The disk is known by what nobody can remove; another one without our mark is still not believed."""
    disk.mount(place.root / name)
    place.drop("one.wav")
    assert place.run_once().exit_code == Exit.WELL
    marker = place.root / name / os.fsdecode(MARKER)
    for number in range(2):  # at a start, and under the steps
        marker.unlink()
        place.drop(f"two {number}.wav")
        with place.opened() as journey:
            settle(journey)
            marker.unlink()
            settle(journey)
            drain(journey)
        assert marker.exists()
    assert set(place.states().values()) == {State.DONE}

    disk.unmount(place.root / name)
    another = Disk(tmp_path / "another")
    try:
        another.mount(place.root / name)
        with suppress(FolderMissing):
            place.run_once()
        assert [pause.code for pause in place.pauses()] == ["folder_missing"] or name == "drop"
        assert not marker.exists()
    finally:
        another.close()


def test_a_drop_folder_renamed_away_and_back_is_the_same(place: Place, service: Sandbox) -> None:
    """A missing folder is never made anew, and nothing in it is forgotten."""
    drop, aside = place.root / "drop", place.root / "aside"
    for name in ("a.wav", "b/c.wav"):
        place.drop(name)
    with place.opened() as journey, listening() as log:
        look(journey)
        before = {path: item.id for path, item in place.items().items()}
        drop.rename(aside)
        for _ in range(3):
            look(journey)
            drain(journey, seconds=1)
        assert not drop.exists()
        assert str(drop) in folder_pause(place)
        assert set(place.states().values()) == {State.QUEUED}
        assert len(told(log, "submitting.paused")) == 1
        aside.rename(drop)
        look(journey)
        drain(journey)
    assert told(log, "folder.adopted", "recording.withdrawn") == []
    assert {path: item.id for path, item in place.items().items()} == before
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 2


def test_a_drop_folder_made_again_is_adopted_and_said_so(place: Place, service: Sandbox) -> None:
    """Somebody cleared up with rm -r: what lay there was taken away, and what comes is taken as ever."""
    drop = place.root / "drop"
    place.drop("old.wav")
    with place.opened() as journey, listening() as log:
        look(journey)
        shutil.rmtree(drop)
        drop.mkdir()
        place.drop("new.wav")
        look(journey)
        drain(journey)
    assert place.states() == {"old.wav": State.WITHDRAWN, "new.wav": State.DONE}
    assert [line["folder"] for line in told(log, "folder.adopted")] == ["drop"]
    assert (drop / os.fsdecode(MARKER)).exists()
    assert service.charged == 1


# A disk below the drop folder


def test_a_disk_below_the_drop_folder_takes_its_recordings_along(
    place: Place, disk: Disk, service: Sandbox
) -> None:
    """A mount point in the drop folder that is bare withdraws nothing and holds up nobody else; all comes back."""
    point = place.root / "drop/branch/disk"
    point.mkdir(parents=True)
    disk.mount(point)
    place.drop("branch/disk/a/there.wav")
    with place.opened() as journey, listening() as log:
        look(journey)
        disk.unmount(point)
        (point / "bare.wav").write_bytes(speech("on the bare mount point"))
        place.drop("branch/here.wav")
        for _ in range(3):
            look(journey)
            drain(journey, seconds=1)
        assert place.states() == {"branch/disk/a/there.wav": State.QUEUED, "branch/here.wav": State.DONE}
        assert [line["path"] for line in told(log, "mount.missing")] == [b"branch/disk"]
        assert (point / "bare.wav").exists()
        (point / "bare.wav").unlink()
        disk.mount(point)
        look(journey)
        drain(journey, seconds=BACK_OFF_SECONDS)
    assert [line["path"] for line in told(log, "mount.returned")] == [b"branch/disk"]
    assert told(log, "recording.withdrawn") == []
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 2


def test_what_lies_on_the_bare_mount_point_below_is_not_tried_without_a_pause(
    place: Place, disk: Disk, service: Sandbox
) -> None:
    """It is neither sent for the recording of its name nor can that one be withdrawn: it waits, others go."""
    point = place.root / "drop/disk"
    point.mkdir()
    disk.mount(point)
    with place.opened() as journey:
        place.drop("disk/a.wav", speech("a"))
        look(journey)
        place.drop("b.wav", speech("b"))
        look(journey)
        disk.unmount(point)
        place.drop("disk/a.wav", speech("stranger"))
        submission = journey.submissions[0]
        steps = [submission.step() for _ in range(10)]
        assert max(steps) > 0
        assert [entry.sha256 for entry in posts(service)] == [sha256(speech("b")).hexdigest()]
        assert place.states()["disk/a.wav"] is State.QUEUED


def test_a_disk_below_that_is_away_at_the_start_is_remembered(place: Place, disk: Disk, service: Sandbox) -> None:
    """After a reboot without the disk its recordings wait as before."""
    point = place.root / "drop/disk"
    point.mkdir()
    disk.mount(point)
    place.drop("disk/call.wav")
    with place.opened() as journey:
        look(journey)
    disk.unmount(point)
    with place.opened() as journey:
        look(journey)
        drain(journey, seconds=1)
        assert place.states() == {"disk/call.wav": State.QUEUED}


def test_a_disk_below_that_is_given_up_gives_its_recordings_up(place: Place, disk: Disk) -> None:
    """Whoever removes the mount point's folder too says that the disk is no more: its recordings are withdrawn."""
    point = place.root / "drop/disk"
    point.mkdir()
    disk.mount(point)
    place.drop("disk/call.wav")
    with place.opened() as journey:
        look(journey)
        disk.unmount(point)
        look(journey)
        assert place.states() == {"disk/call.wav": State.QUEUED}
        point.rmdir()
        look(journey)
    assert place.states() == {"disk/call.wav": State.WITHDRAWN}


# done/ and failed/


def take_away(disk: Disk, folder: Path) -> Callable[[], object]:
    folder.rename(folder.with_name("aside"))
    return lambda: folder.with_name("aside").rename(folder)


def unmount(disk: Disk, folder: Path) -> Callable[[], object]:
    disk.unmount(folder)
    return lambda: disk.mount(folder)


def make_read_only(disk: Disk, folder: Path) -> Callable[[], object]:
    disk.remount(folder, "ro")
    return lambda: disk.remount(folder, "rw")


def fill_up(disk: Disk, folder: Path) -> Callable[[], object]:
    ballast = folder / ".ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(folder).free - 8192))
    return ballast.unlink


TROUBLES = [
    (take_away, "is not there", False),
    (unmount, "not mounted", True),
    (make_read_only, "Read-only", True),
    (fill_up, "No space", True),
]


@pytest.mark.parametrize("name", ["done", "failed"])
@pytest.mark.parametrize(
    ("trouble", "says", "is_disk"), TROUBLES, ids=[trouble.__name__ for trouble, _, _ in TROUBLES]
)
def test_submitting_waits_while_nothing_can_be_filed(
    place: Place,
    service: Sandbox,
    tmp_path: Path,
    name: str,
    trouble: Callable[[Disk, Path], Callable[[], object]],
    says: str,
    is_disk: bool,
) -> None:
    """While done/ or failed/ takes nothing, nothing is paid for; arrivals are queued, and go out afterwards."""
    disk = Disk(tmp_path / "disk", "-o", "size=20m")
    folder = place.root / name
    try:
        if is_disk:
            disk.mount(folder)
        with place.opened() as journey, listening() as log:
            look(journey)
            before = everything_below(folder)
            mend = trouble(disk, folder)
            for n in range(3):
                place.drop(f"{n}.wav")
                look(journey)
                drain(journey, seconds=1)
            assert posts(service) == []
            assert set(place.states().values()) == {State.QUEUED}
            assert len(place.states()) == 3
            reason = folder_pause(place)
            assert says in reason
            assert str(folder) in reason
            assert len(told(log, "submitting.paused")) == 1
            mend()
            assert everything_below(folder) == before
            look(journey)
            drain(journey)
        assert set(place.states().values()) == {State.DONE}
        assert service.charged == 3
        assert len(told(log, "submitting.resumed")) == 1
    finally:
        disk.close()


def test_a_done_folder_that_goes_before_the_filing_is_waited_for(place: Place, service: Sandbox) -> None:
    """What was accepted is filed, with its receipt, as soon as done/ is back; nothing is sent again."""
    done, aside = place.root / "done", place.root / "aside"
    with place.opened() as journey:
        answered(place, journey)
        done.rename(aside)
        for _ in range(3):
            journey.filing.step()
            place.clock.wait(6, journey.stopping)
        assert not done.exists()
        assert place.states() == {"a/call.wav": State.FILING}
        assert str(done) in folder_pause(place)
        aside.rename(done)
        look(journey)
        drain(journey)
    assert place.files() == {"done/a/call.wav", "done/a/call.wav.json"}
    assert place.pauses() == []
    assert service.charged == len(posts(service)) == 1


# The failed folder


@pytest.mark.parametrize("shape", ["nothing at all", "a bare mount point"])
def test_failed_that_is_away_keeps_only_what_it_must_be_asked_about(
    place: Place, disk: Disk, service: Sandbox, shape: str
) -> None:
    """A recording dragged back may be the one that failed: it waits for failed/, and no other arrival does."""
    failed = place.root / "failed"
    disk.mount(failed)
    service.add_fault(**REFUSED, times=1)
    place.drop("refused.wav")
    with place.opened() as journey:
        look(journey)
        drain(journey)
        refused = place.item("refused.wav")
        assert refused.state is State.FAILED
        shutil.copy(failed / "refused.wav", place.root / "drop/again.wav")
        disk.unmount(failed)
        if shape == "nothing at all":
            failed.rmdir()
        place.drop("other.wav")
        look(journey)
        assert place.states() == {"refused.wav": State.FAILED, "other.wav": State.QUEUED}
        assert [(file.path, "failed before" in file.reason) for file in journey.arrivals.waiting()] == [
            (b"again.wav", True)
        ]
        failed.mkdir(exist_ok=True)
        disk.mount(failed)
        os.unlink(failed / "refused.wav")
        for _ in range(3):
            look(journey)
        drain(journey)
    assert place.item("again.wav").id == refused.id
    assert set(place.states().values()) == {State.DONE}


# The spool


@pytest.mark.parametrize("where", ["spool", "parts/spool"])
def test_no_part_comes_to_lie_where_the_disk_of_the_spool_is_away(place: Place, disk: Disk, where: str) -> None:
    """Neither on the bare mount point, nor in a folder made anew there: a part is a recording."""
    point, folder = place.root / where.partition("/")[0], place.root / where
    point.mkdir()
    disk.mount(point)
    spool = Spool(os.fsencode(folder))
    with spool.making("0123456789abcdef") as made:
        os.close(os.open("1", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=made))
        spool.keep(made, {"1": "0123456789abcdef-1.wav"})
    disk.unmount(point)

    with pytest.raises(FolderRefuses, match="is not mounted"), spool.making("0123456789abcdef"):
        pytest.fail("it makes parts")
    with pytest.raises(FolderRefuses, match="is not mounted"):
        spool.note("0123456789abcdef-1.wav", {})
    with pytest.raises(FolderRefuses, match="is not mounted"):
        spool.sizes()
    assert everything_below(point) == set()

    disk.mount(point)
    assert spool.sizes() == {"0123456789abcdef-1.wav": 0}
