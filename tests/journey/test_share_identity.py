"""File systems that number a file anew, at each mount and for each name, as sshfs does."""

import errno
import os
from pathlib import Path

import pytest

from tests.conftest import MakePlace
from tests.odd_disk import OddDisk, odd_disk
from tests.places import Place, speech
from watcher.composition import Journey
from watcher.domain import Fingerprint, Item, State
from watcher.errors import Exit
from watcher.journey.arrive import admit
from watcher.journey.site import Site
from watcher.sandbox import Sandbox

__all__ = ["odd_disk"]

AS_SSHFS = {"own_inodes": True, "renames_plainly": True}


@pytest.fixture
def share(tmp_path: Path, odd_disk: OddDisk) -> Path:
    """Mounted, with the three folders on it."""
    odd_disk.rule(**AS_SSHFS)
    point = tmp_path / "share"
    point.mkdir()
    odd_disk.mount(point)
    for name in ("drop", "done", "failed"):
        (point / name).mkdir()
    return point


@pytest.fixture
def place(share: Path, make_place: MakePlace) -> Place:
    return make_place(folders={name: str(share / name) for name in ("drop", "done", "failed")})


def number_anew(share: Path, odd_disk: OddDisk) -> None:
    """It is unmounted, and mounted again: other numbers, and another device's."""
    odd_disk.close()
    odd_disk.mount(share)
    for count in range(5):  # numbers that the first mount gave to others
        (share / f"x{count}").touch()


def test_one_recording_stays_one(place: Place, share: Path, service: Sandbox) -> None:
    """Where two names of one file have two numbers, none is made that nobody could take back."""
    (share / "drop" / "one.wav").write_bytes(speech("one"))
    assert place.run_once().exit_code == Exit.WELL
    names = sorted(path.name for name in ("drop", "done") for path in (share / name).iterdir())
    assert [name for name in names if not name.startswith(".")] == ["one.wav", "one.wav.json"]
    assert place.states() == {"one.wav": State.DONE}


def queue(place: Place, journey: Journey) -> None:
    """What lies in the drop folder is queued: on a share it must have been quiet for a minute."""
    for _ in range(2):
        place.clock.advance(100)  # type: ignore[attr-defined]
        journey.arrivals.step()
    journey.admission.step()


@pytest.mark.parametrize("state", [State.QUEUED, State.FILING])
def test_a_recording_that_is_numbered_anew_is_the_one_it_was(
    state: State, place: Place, share: Path, odd_disk: OddDisk, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queued before an outage, or paid for and not filed yet: afterwards it is one item still, sent once."""
    (share / "drop" / "one.wav").write_bytes(speech("one"))
    with place.opened() as journey:
        queue(place, journey)
        if state is State.FILING:
            journey.submissions[0].step()
    assert place.states() == {"one.wav": state}
    before = os.stat(share / "drop" / "one.wav").st_ino
    number_anew(share, odd_disk)
    assert os.stat(share / "drop" / "one.wav").st_ino != before
    assert place.run_once().exit_code == Exit.WELL
    assert place.states() == {"one.wav": State.DONE}
    assert place.item("one.wav").filed_as == b"one.wav"
    assert len([entry for entry in service.ledger if entry.method == "POST"]) == 1


def test_a_recording_that_is_filed_while_it_is_read_anew_is_no_second_one(
    place: Place, share: Path, odd_disk: OddDisk, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under its new number it looks like a newcomer; by the time it would get an item it lies in done/."""
    (share / "drop" / "one.wav").write_bytes(speech("one"))
    with place.opened() as journey:
        queue(place, journey)
        journey.submissions[0].step()
        number_anew(share, odd_disk)
        examine = admit.examine_file

        def examine_slowly(site: Site, path: bytes, expected: Fingerprint) -> admit.Examined:
            examined = examine(site, path, expected)
            journey.filing.step()
            assert place.states() == {"one.wav": State.DONE}
            return examined

        monkeypatch.setattr(admit, "examine_file", examine_slowly)
        queue(place, journey)
        assert len(place.items()) == 1
        monkeypatch.undo()
        queue(place, journey)
    assert place.run_once().exit_code == Exit.WELL
    assert place.item("one.wav").filed_as == b"one.wav"
    with place.books() as books:
        assert len(list(books.items.listed())) == 1


def test_an_error_at_a_close_is_none_of_the_recordings(
    place: Place, share: Path, odd_disk: OddDisk, service: Sandbox
) -> None:
    """A server that is away makes each close fail: what was synced is there, and nothing is closed twice."""
    (share / "drop" / "one.wav").write_bytes(speech("one"))
    odd_disk.rule(**AS_SSHFS, closes_badly=errno.EHOSTDOWN)
    with place.opened() as journey:
        journey.instance.keep()
        (share / "drop" / ".watcher.lock").unlink()
        journey.instance.keep()  # it is made again, and the old one closed
    assert place.run_once().exit_code == Exit.WELL
    assert place.states() == {"one.wav": State.DONE}


def test_another_recording_of_its_name_is_another(
    place: Place, share: Path, odd_disk: OddDisk, service: Sandbox
) -> None:
    """Its bytes tell, though nothing else does."""
    (share / "drop" / "one.wav").write_bytes(speech("one"))
    with place.opened() as journey:
        queue(place, journey)
    assert place.states() == {"one.wav": State.QUEUED}
    (share / "drop" / "one.wav").unlink()
    (share / "drop" / "one.wav").write_bytes(speech("eno"))
    assert place.run_once().exit_code == Exit.WELL
    states = [item.state for item in place_items(place)]
    assert sorted(states) == [State.DONE, State.WITHDRAWN]


def place_items(place: Place) -> list[Item]:
    with place.books() as books:
        return list(books.items.listed())


def test_a_name_that_its_server_does_not_know_is_told(
    place: Place, share: Path, odd_disk: OddDisk, service: Sandbox
) -> None:
    """It is listed and cannot be had, as Latin-1 over SMB: it waits with a reason, and the others go on."""
    odd_disk.rule(**AS_SSHFS, unknown=["ghost.wav"])
    (odd_disk.inside / "drop" / "ghost.wav").write_bytes(speech("ghost"))
    (share / "drop" / "one.wav").write_bytes(speech("one"))
    with place.opened() as journey:
        for _ in range(2):
            assert journey.arrivals.scanner.scan()
        journey.arrivals.publish()
    with place.books() as books:
        assert [(row.path, row.code) for row in books.waiting.listed()][:1] == [(b"ghost.wav", "unreachable_name")]
