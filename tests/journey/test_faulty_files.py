"""A bad block, or a share below a folder that is away: whoever lies there waits, and nobody else does."""

import errno
import json
import os
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import MakePlace
from tests.odd_disk import OddDisk, odd_disk
from tests.places import REFUSED, Place, speech
from tests.queues import add, drain, listening, queued, told
from watcher.cli import main
from watcher.composition import Journey
from watcher.domain import PauseKind, State
from watcher.folders import Folder
from watcher.sandbox import Sandbox

__all__ = ["odd_disk"]  # a fixture

FAULTS = [errno.EIO, errno.ESTALE, errno.EHOSTDOWN, errno.EUCLEAN]


def settle_all(journey: Journey) -> None:
    """What lies in the drop folder is an item, as far as it can be, on a file system where that takes a minute."""
    for _ in range(3):
        journey.arrivals.hints.scan_soon()
        journey.arrivals.step()
        journey.site.clock.wait(61, journey.stopping)
        while journey.arrivals.step() <= 0 or journey.admission.step() <= 0:
            pass


@pytest.fixture
def place(make_place: MakePlace, odd_disk: OddDisk) -> Place:
    """Its drop folder is on a disk that can have faults."""
    place = make_place()
    odd_disk.mount(place.root / "drop")
    return place


@pytest.mark.parametrize("failed", FAULTS, ids=errno.errorcode.get)
@pytest.mark.parametrize("faulty", ["bad.wav", "branch"])
def test_a_queued_recording_that_cannot_be_had_stops_no_other(
    place: Place, odd_disk: OddDisk, service: Sandbox, capsys: pytest.CaptureFixture[str], faulty: str, failed: int
) -> None:
    """It is put off by itself, with what to do about it, and told once a try; it is sent once it can be read."""
    bad = "branch/bad.wav"
    with place.opened() as journey:
        place.drop(bad)
        settle_all(journey)
        for name in "abc":
            place.drop(f"{name}.wav", speech(name))
        settle_all(journey)
        odd_disk.rule(faulty={faulty: failed})
        with listening() as log:
            drain(journey, seconds=300)
            assert {path for path, state in place.states().items() if state is State.DONE} == {
                "a.wav",
                "b.wav",
                "c.wav",
            }
            assert place.states()[bad] is State.QUEUED
            assert told(log, "submitting.paused") == []
            (line,) = told(log, "recording.postponed")
        assert (line["path"], line["reason"].partition(" in the drop folder")[0]) == (bad.encode(), bad)
        assert f"{place.root}/drop/branch" in line["hint"]
        assert "nothing is submitted" not in line["hint"]
        assert place.pauses() == []
        capsys.readouterr()
        main(["list", "--json", "--config", str(place.config_path)])
        (told_there,) = [
            item["error"] for item in map(json.loads, capsys.readouterr().out.splitlines()) if item["path"] == bad
        ]
        assert (told_there["code"], told_there["hint"]) == ("unreachable_file", line["hint"])
        odd_disk.rule()
        place.clock.wait(700, journey.stopping)
        drain(journey, seconds=60)
    assert place.states()[bad] is State.DONE
    assert service.charged == 4


@pytest.mark.parametrize("failed", [*FAULTS, errno.ENOENT], ids=errno.errorcode.get)
def test_a_listed_name_at_which_nothing_can_be_had_waits_with_its_error(
    place: Place, odd_disk: OddDisk, failed: int
) -> None:
    """Only where there is no such file it is its name that is to blame."""
    with place.opened() as journey:
        place.drop("bad.wav", speech("bad"))
        odd_disk.rule(faulty={"bad.wav": failed})
        for _ in range(2):
            journey.arrivals.hints.scan_soon()
            place.clock.wait(61, journey.stopping)
            journey.arrivals.step()
        (row,) = journey.arrivals.waiting()
    assert (row.path, row.code) == (b"bad.wav", "unreachable_name")
    assert ("iocharset" in row.reason) is (failed == errno.ENOENT)
    assert failed == errno.ENOENT or os.strerror(failed) in row.reason


@pytest.mark.parametrize("failed", FAULTS, ids=errno.errorcode.get)
def test_a_settled_file_that_cannot_be_had_pauses_nothing(
    place: Place, odd_disk: OddDisk, service: Sandbox, failed: int
) -> None:
    """It is looked at again, and the others are queued and sent meanwhile."""
    with place.opened() as journey:
        for name in ("bad", "a", "b"):
            place.drop(f"{name}.wav", speech(name))
        journey.arrivals.hints.scan_soon()
        journey.arrivals.step()
        place.clock.wait(61, journey.stopping)
        while journey.arrivals.step() <= 0:
            pass
        assert len(journey.arrivals.settled) == 3
        odd_disk.rule(faulty={"bad.wav": failed})
        while journey.admission.step() <= 0:
            pass
        assert place.pauses() == []
        drain(journey, seconds=300)
        assert place.states() == {"a.wav": State.DONE, "b.wav": State.DONE}
        odd_disk.rule()
        settle_all(journey)
        drain(journey, seconds=300)
        assert place.states()["bad.wav"] is State.DONE


def test_a_drop_folder_that_is_faulty_as_a_whole_pauses_submitting(
    place: Place, odd_disk: OddDisk, service: Sandbox
) -> None:
    """One pause tells of it, no recording is put off for it, and all go on when it is well."""
    with place.opened() as journey:
        for name in "ab":
            place.drop(f"{name}.wav", speech(name))
        settle_all(journey)
        odd_disk.rule(faulty=dict.fromkeys(("a.wav", "b.wav", ".watcher"), errno.EHOSTDOWN))
        for _ in range(3):
            journey.submissions[0].step()
        assert [pause.code for pause in place.pauses()] == ["folder_refuses"]
        assert all(item.fault is None for item in place.items().values())
        odd_disk.rule()
        journey.arrivals.hints.scan_soon()
        journey.arrivals.step()
        drain(journey, seconds=300)
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 2


def accept(journey: Journey) -> None:
    """What is queued is sent, and not filed yet."""
    while journey.submissions[0].step() <= 0:
        pass


@pytest.mark.parametrize("failed", [errno.EIO, errno.EUCLEAN], ids=errno.errorcode.get)
@pytest.mark.parametrize("faulty", ["call.wav", "call.wav.json"])
def test_a_name_in_done_that_cannot_be_looked_at_is_taken(
    make_place: MakePlace, odd_disk: OddDisk, service: Sandbox, faulty: str, failed: int
) -> None:
    """Whatever lies there is not ours: the recording, which is paid for, is filed beside it."""
    place = make_place()
    odd_disk.mount(place.root / "done")
    with queued(place, "first") as journey:
        drain(journey, seconds=1)
        (place.root / "done" / faulty).write_bytes(b"somebody's")
        add(place, journey, "call")
        accept(journey)
        odd_disk.rule(faulty={faulty: failed})
        drain(journey, seconds=1)
        odd_disk.rule()
    item = place.item("call.wav")
    assert (item.state, item.filed_as) == (State.DONE, f"call~{item.id[:6]}.wav".encode())
    assert (place.root / f"done/call~{item.id[:6]}.wav").read_bytes() == speech("call")
    assert place.receipt(f"done/call~{item.id[:6]}.wav.json")["id"] == item.id
    assert (place.root / "done" / faulty).read_bytes() == b"somebody's"


def test_our_own_receipt_that_cannot_be_read_for_now_is_waited_for(
    make_place: MakePlace, odd_disk: OddDisk, service: Sandbox
) -> None:
    """The recording was filed before a crash: it is neither given up as gone nor filed twice."""
    place = make_place()
    odd_disk.mount(place.root / "done")
    with queued(place, "call") as journey:
        drain(journey, seconds=1)
        with closing(sqlite3.connect(place.root / "watcher.db")) as books:
            books.execute("UPDATE items SET state = 'filing'")
            books.commit()
        odd_disk.rule(faulty={"call.wav.json": errno.EIO})
        with listening() as log:
            drain(journey, seconds=30)
        assert place.states() == {"call.wav": State.FILING}
        (line,) = told(log, "recording.stuck")
        assert "call.wav.json" in line["reason"]
        odd_disk.rule()
        drain(journey, seconds=900)
    item = place.item("call.wav")
    assert (item.state, item.filed_as, item.warning) == (State.DONE, b"call.wav", None)
    assert place.files() == {"done/call.wav", "done/call.wav.json"}


@pytest.fixture
def with_sidecars(make_place: MakePlace) -> Place:
    return make_place(arrivals={"sidecar": [".xml"]})


@pytest.mark.parametrize("failed", FAULTS, ids=errno.errorcode.get)
def test_a_sidecar_that_cannot_be_had_is_left_and_its_recording_is_done(
    with_sidecars: Place, odd_disk: OddDisk, service: Sandbox, failed: int
) -> None:
    """It stays where it is, named in the log and in the warning of its recording, which is paid for."""
    place = with_sidecars
    odd_disk.mount(place.root / "drop")
    with place.opened() as journey, listening() as log:
        place.drop("call.wav")
        place.drop("call.xml", b"<a/>")
        settle_all(journey)
        accept(journey)
        odd_disk.rule(faulty={"call.xml": failed})
        drain(journey, seconds=1)
        odd_disk.rule()
        assert place.states() == {"call.wav": State.DONE}
        (line,) = told(log, "companion.left")
        assert line["path"] == b"call.xml"
        assert place.pauses() == []
    assert place.files() == {"done/call.wav", "done/call.wav.json", "drop/call.xml"}
    assert "call.xml came with it, but stayed in the drop folder" in place.receipt("done/call.wav.json")["warning"]


def test_a_sidecar_in_a_folder_that_is_away_is_waited_for(
    with_sidecars: Place, odd_disk: OddDisk, service: Sandbox
) -> None:
    """The folder's trouble is no companion's: both are filed once it is well."""
    place = with_sidecars
    odd_disk.mount(place.root / "drop")
    with place.opened() as journey:
        place.drop("call.wav")
        place.drop("call.xml", b"<a/>")
        settle_all(journey)
        accept(journey)
        with (
            pytest.MonkeyPatch.context() as patch
        ):  # well when the batch begins, away when it comes to the sidecar
            real = Folder.fingerprint

            def fingerprint(folder: Folder, path: bytes) -> Any:
                if path == b"call.xml":
                    odd_disk.rule(faulty=dict.fromkeys(("call.xml", ".watcher"), errno.EHOSTDOWN))
                return real(folder, path)

            patch.setattr(Folder, "fingerprint", fingerprint)
            journey.filing.step()
        assert place.states() == {"call.wav": State.FILING}
        assert [pause.kind for pause in place.pauses()] == [PauseKind.FOLDER]
        odd_disk.rule()
        settle_all(journey)
        drain(journey, seconds=900)
    assert place.files() == {"done/call.wav", "done/call.wav.json", "done/call.xml"}
    assert place.receipt("done/call.wav.json")["warning"] is None


def test_a_retry_whose_sidecar_cannot_be_had_is_sent_all_the_same(
    with_sidecars: Place, odd_disk: OddDisk, service: Sandbox
) -> None:
    """Only the sidecar stays in failed/."""
    place = with_sidecars
    service.add_fault(**REFUSED, times=1)
    odd_disk.mount(place.root / "failed")
    place.drop("call.wav")
    place.drop("call.xml", b"<a/>")
    place.run_once()
    assert place.states() == {"call.wav": State.FAILED}
    place.retry("call.wav")
    odd_disk.rule(faulty={"call.xml": errno.EIO})

    place.run_once()

    odd_disk.rule()
    assert place.states() == {"call.wav": State.DONE}
    assert place.files() == {"done/call.wav", "done/call.wav.json", "failed/call.xml"}
