"""Markers and sidecars: two more ways for a producer to say that a recording is ready."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audio_files import recording
from tests.conftest import MakePlace
from tests.disks import Disk
from tests.places import REFUSED, speech
from tests.queues import drain, posts, queued
from watcher.composition import Journey
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox


@pytest.mark.parametrize("marker", ["call.wav.done", "call.wav.DONE", "call.wav.Done"])
def test_a_recording_waits_for_its_marker_which_travels_with_it(
    make_place: MakePlace, service: Sandbox, marker: str
) -> None:
    """With a marker configured nothing is sent without one, and the marker is filed beside its recording."""
    place = make_place(arrivals={"marker": ".done"})
    place.drop("a/call.wav")

    outcome = place.run_once()

    assert outcome.exit_code == Exit.INCOMPLETE
    assert [file.code for file in outcome.waiting] == ["companion_missing"]
    assert "marker" in outcome.waiting[0].reason
    assert service.charged == 0
    place.drop(f"a/{marker}", b"")
    assert place.run_once().exit_code == Exit.WELL
    assert place.files() == {"done/a/call.wav", "done/a/call.wav.json", f"done/a/{marker}"}


@pytest.mark.parametrize("sidecar", ["call.xml", "call.XML", "call.Xml", "call.json", "call.JSon"])
def test_a_recording_waits_for_a_sidecar_which_travels_with_it(
    make_place: MakePlace, service: Sandbox, sidecar: str
) -> None:
    """name.wav waits for name.xml or name.json; the sidecar is never submitted, and is filed beside it."""
    place = make_place(arrivals={"sidecar": [".xml", ".json"]})
    place.drop("call.wav")
    assert place.run_once().exit_code == Exit.INCOMPLETE
    place.drop(sidecar, b"<call/>")

    assert place.run_once().exit_code == Exit.WELL

    assert place.files() == {"done/call.wav", "done/call.wav.json", f"done/{sidecar}"}
    assert len([entry for entry in service.ledger if entry.method == "POST"]) == 1


def test_a_sidecar_of_two_recordings_goes_with_the_first_and_keeps_neither_waiting(
    make_place: MakePlace, service: Sandbox
) -> None:
    """The same call in two formats, and one sidecar: the second settles when the first has taken it along. What
    comes when both are filed waits for its own.
    """
    place = make_place(arrivals={"sidecar": [".xml"], "settle_seconds": 1})
    place.drop("call.xml", b"<call/>")
    with queued(place, "call") as journey:
        place.drop("call.mp3", recording("mp3.bare", 10))
        journey.arrivals.hints.scan_soon()
        for _ in range(3):
            while min(journey.arrivals.step(), journey.admission.step()) <= 0:
                pass
            journey.site.clock.wait(61, journey.stopping)
        assert place.states() == {"call.wav": State.QUEUED, "call.mp3": State.QUEUED}
        drain(journey, seconds=60)
    assert place.files() == {f"done/call.{ending}" for ending in ("wav", "wav.json", "mp3", "mp3.json", "xml")}
    place.drop("call.ogg", recording("ogg.opus", 10))
    assert [file.code for file in place.run_once().waiting] == ["companion_missing"]


@pytest.mark.parametrize("sidecar", ["call.meta.xml", "call.META.Xml"])
def test_a_sidecar_with_dots_in_its_ending_is_noticed_at_once(
    make_place: MakePlace, service: Sandbox, sidecar: str
) -> None:
    """The recording is taken when it is seen, not at the next look through the whole folder."""
    place = make_place(arrivals={"sidecar": [".meta.xml"], "rescan_seconds": 3600})
    with place.opened() as journey:
        place.drop("call.wav")
        journey.arrivals.step()
        journey.site.clock.wait(61, journey.stopping)
        journey.arrivals.step()
        assert [file.code for file in journey.arrivals.waiting()] == ["companion_missing"]
        place.drop(sidecar, b"<call/>")
        journey.arrivals.hint(sidecar.encode(), is_closed=True)
        for _ in range(3):
            journey.arrivals.step()
            journey.site.clock.wait(3, journey.stopping)
        assert [settled.path for settled in journey.arrivals.settled] == [b"call.wav"]


def test_companions_follow_the_name_their_recording_got(make_place: MakePlace) -> None:
    """A recording that is filed under a name of its own takes its sidecar along, under that name."""
    place = make_place(arrivals={"sidecar": [".xml"]})
    for day in ("monday", "tuesday"):
        place.drop("call.wav", speech(day))
        place.drop("call.xml", day.encode())
        assert place.run_once().exit_code == Exit.WELL

    item = place.item("call.wav")
    assert item.filed_as is not None
    stem = os.fsdecode(item.filed_as).removesuffix(".wav")
    assert stem.startswith("call~")
    assert (place.root / "done" / f"{stem}.xml").read_bytes() == b"tuesday"
    assert (place.root / "done/call.xml").read_bytes() == b"monday"


def test_companions_of_a_failed_recording_go_there_and_come_back(make_place: MakePlace, service: Sandbox) -> None:
    """failed/ holds the recording with its companions; a retry brings all of them back."""
    place = make_place(arrivals={"marker": ".ok", "sidecar": [".xml"]})
    service.add_fault(**REFUSED, times=1)
    for name, content in (("call.wav", None), ("call.xml", b"<call/>"), ("call.wav.ok", b"")):
        place.drop(name, content)
    place.run_once()
    assert place.files() == {f"failed/{n}" for n in ("call.wav", "call.wav.json", "call.xml", "call.wav.ok")}
    place.retry("call.wav")

    assert place.run_once().exit_code == Exit.WELL

    assert place.files() == {f"done/{n}" for n in ("call.wav", "call.wav.json", "call.xml", "call.wav.ok")}


def test_a_marker_that_comes_later_is_noticed_at_once(make_place: MakePlace, service: Sandbox) -> None:
    """The recording is taken when its marker is seen, not at the next look through the whole folder."""
    place = make_place(arrivals={"marker": ".done", "rescan_seconds": 3600})
    with place.opened() as journey:
        place.drop("call.wav")
        journey.arrivals.step()
        place.clock.wait(5, journey.stopping)
        journey.arrivals.step()
        assert not journey.arrivals.settled
        place.drop("call.wav.done", b"")
        journey.arrivals.hint(b"call.wav.done", is_closed=True)
        for _ in range(3):
            journey.arrivals.step()
        assert [settled.path for settled in journey.arrivals.settled] == [b"call.wav"]


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, _link], ids=["pipe", "folder", "link"])
@pytest.mark.parametrize("is_queued", [False, True])
def test_what_is_no_file_is_no_sidecar(
    make_place: MakePlace, service: Sandbox, make: Callable[[Path], None], is_queued: bool
) -> None:
    """Nothing is paid for while such a thing has a sidecar's name; once it is the file itself, both are filed."""
    place = make_place(arrivals={"sidecar": [".xml"]}, limits={"writes": []})
    sidecar = place.root / "drop/call.xml"
    if is_queued:
        sidecar.write_bytes(b"<call/>")
        with queued(place, "call") as journey:
            sidecar.unlink()
            make(sidecar)
            drain(journey, seconds=20)
        fault = place.item("call.wav").fault
        assert fault is not None
        assert fault.code == "unreachable_file"
        assert "call.xml" in fault.message
        assert "is no longer a regular file" in fault.message
    else:
        make(sidecar)
        place.drop("call.wav")
        assert [file.code for file in place.run_once().waiting] == ["companion_missing"]
    assert posts(service) == []
    sidecar.rmdir() if sidecar.is_dir() else sidecar.unlink()
    sidecar.write_bytes(b"<call/>")
    place.clock.wait(3600, threading.Event())
    assert place.run_once().exit_code == Exit.WELL
    assert place.files() == {"done/call.wav", "done/call.wav.json", "done/call.xml"}


def test_a_sidecar_that_is_taken_away_holds_nothing_up(make_place: MakePlace, service: Sandbox) -> None:
    """Its recording was complete when it was queued: it is sent, and filed without it."""
    place = make_place(arrivals={"sidecar": [".xml"]}, limits={"writes": []})
    place.drop("call.xml", b"<call/>")
    with queued(place, "call") as journey:
        (place.root / "drop/call.xml").unlink()
        drain(journey)
    assert place.states() == {"call.wav": State.DONE}
    assert place.files() == {"done/call.wav", "done/call.wav.json"}


def _dies(*_: object, **__: object) -> None:
    raise SystemExit


def die_while_it_is_filed(
    journey: Journey, service: Sandbox, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    """The recording is accepted, and the daemon dies at this call of its filing."""
    while not service.charged:
        journey.submissions[0].step()
    with monkeypatch.context() as death:
        death.setattr(f"watcher.journey.file.{dies_at}", _dies)
        with pytest.raises(SystemExit):
            journey.filing.step()


def with_inode(number: int, path: Path) -> None:
    """Give the file this inode number, where it is free and the file system soon uses such numbers again."""
    tries = [path.with_name(f"try {i}") for i in range(50)]
    for file in tries:
        file.write_bytes(path.read_bytes())
    for file in tries:
        if file.stat().st_ino == number:
            file.rename(path)
        else:
            file.unlink()


@pytest.mark.parametrize("dies_at", ["out.move_companions", "out.Out.record"])
@pytest.mark.parametrize("is_on_another_disk", [False, True], ids=["one disk", "two disks"])
def test_what_comes_after_a_crash_is_the_next_recording_s(
    make_place: MakePlace,
    service: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dies_at: str,
    is_on_another_disk: bool,
) -> None:
    """The daemon dies when the recording was moved, before or after its companions, and before the commit. The
    next recording of that name, with its marker and sidecar, comes before the start: each keeps its own.
    """
    place = make_place(arrivals={"sidecar": [".xml"], "marker": ".ok"}, limits={"writes": []})
    before_its_companions = dies_at == "out.move_companions"
    disk = Disk(tmp_path / "disk") if is_on_another_disk else None
    try:
        if disk is not None:
            disk.mount(place.root / "done")
        for name in ("call.xml", "call.wav.ok"):
            place.drop(name, b"first")
        with queued(place, "call") as journey:
            die_while_it_is_filed(journey, service, monkeypatch, dies_at)
        assert place.states() == {"call.wav": State.FILING}
        assert place.files() & {"drop/call.wav", "drop/call.xml", "done/call.wav"} == (
            {"done/call.wav", "drop/call.xml"} if before_its_companions else {"done/call.wav"}
        )
        filed = place.root / "done/call.wav"
        filed.chmod(stat.S_IMODE(filed.stat().st_mode))  # filed in the same tick of the clock in which they come
        for name in ("call.xml", "call.wav.ok"):
            (place.root / "drop" / name).unlink(missing_ok=True)
            place.drop(name, b"second call")
        with_inode(place.item("call.wav").fingerprint.inode, place.drop("call.wav", speech("second")))
        for _ in range(2):
            place.run_once()
        with place.books() as books:
            names = [os.fsdecode(item.filed_as or b"") for item in books.items.listed()]
        assert len(names) == 2
        assert "call.wav" in names
        later = next(name for name in names if name != "call.wav")
        done = {path.name: path.read_bytes() for path in (place.root / "done").iterdir()}
        assert done[later] == speech("second")
        assert done[f"{later.removesuffix('.wav')}.xml"] == done[f"{later}.ok"] == b"second call"
        firsts = {} if before_its_companions else {"call.xml": b"first", "call.wav.ok": b"first"}
        assert {name: done[name] for name in ("call.xml", "call.wav.ok") if name in done} == firsts
        assert [path for path in place.files() if path.startswith("drop/")] == []
    finally:
        if disk is not None:
            disk.close()


def test_after_a_crash_companions_follow_their_recording(
    make_place: MakePlace, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were there before their recording was moved."""
    place = make_place(arrivals={"sidecar": [".xml"], "marker": ".ok"}, limits={"writes": []})
    for name in ("call.xml", "call.wav.ok"):
        place.drop(name, b"first")
    with queued(place, "call") as journey:
        die_while_it_is_filed(journey, service, monkeypatch, "out.move_companions")
        drain(journey)
    assert place.files() == {f"done/{name}" for name in ("call.wav", "call.wav.json", "call.xml", "call.wav.ok")}
