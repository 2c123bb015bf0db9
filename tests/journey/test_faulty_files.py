"""A bad block, or a share below a folder that is away: whoever lies there waits, and nobody else does."""

import errno
import json

import pytest

from tests.conftest import MakePlace
from tests.odd_disk import OddDisk, odd_disk
from tests.places import Place, speech
from tests.queues import drain, listening, told
from watcher.cli import main
from watcher.composition import Journey
from watcher.domain import State
from watcher.sandbox import Sandbox

__all__ = ["odd_disk"]  # a fixture

FAULTS = [errno.EIO, errno.ESTALE, errno.EHOSTDOWN, errno.EUCLEAN]


def settle_all(journey: Journey) -> None:
    """What lies in the drop folder is an item, as far as it can be, on a file system where that takes a minute."""
    for _ in range(3):
        journey.arrivals.scan_soon()
        journey.arrivals.step()
        journey.site.clock.wait(61, journey.stopping)
        while journey.arrivals.step() <= 0 or journey.vetting.step() <= 0:
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


@pytest.mark.parametrize("failed", FAULTS, ids=errno.errorcode.get)
def test_a_settled_file_that_cannot_be_had_pauses_nothing(
    place: Place, odd_disk: OddDisk, service: Sandbox, failed: int
) -> None:
    """It is looked at again, and the others are queued and sent meanwhile."""
    with place.opened() as journey:
        for name in ("bad", "a", "b"):
            place.drop(f"{name}.wav", speech(name))
        journey.arrivals.scan_soon()
        journey.arrivals.step()
        place.clock.wait(61, journey.stopping)
        while journey.arrivals.step() <= 0:
            pass
        assert len(journey.arrivals.settled) == 3
        odd_disk.rule(faulty={"bad.wav": failed})
        while journey.vetting.step() <= 0:
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
        journey.arrivals.scan_soon()
        journey.arrivals.step()
        drain(journey, seconds=300)
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 2
