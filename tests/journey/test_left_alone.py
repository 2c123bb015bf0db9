"""What is no recording, neither by its name nor by its content, is left where it lies; looks are remembered."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.audio_files import recording
from tests.conftest import MakePlace
from tests.people import drop as drop_as_somebody
from tests.people import needs_root
from tests.places import Place, speech
from tests.process.programs import CLOCK
from tests.queues import drain, posts, settle
from watcher.audio import examine
from watcher.cli import main
from watcher.domain import State
from watcher.errors import Exit
from watcher.folders import fingerprint_of
from watcher.sandbox import Sandbox

FOREIGN = {
    "readme.txt": b"Please drop recordings here.\n",
    "a/call.xml": b"<?xml version='1.0'?><call/>",
    "a/list.csv": b"name;number\n",
    "a/invoice.PDF": b"%PDF-1.7\n" + bytes(range(256)),
    "photo.jpg": b"\xff\xd8\xff\xe0" + bytes(500),
    "backup.zip": b"PK\x03\x04" + bytes(500),
    "data.bin": bytes(range(255, 0, -1)) * 9,
    "other.wav.json": b'{"made": "by somebody"}',
    "no ending": b"neither has this one\n",
    "upload.lock": b"",
    "short": b"RI",
    "wav": b"a name alone is no ending\n",
}


def status(place: Place, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["status", "--json", "--config", str(place.config_path)]) == Exit.WELL
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def said(place: Place, capsys: pytest.CaptureFixture[str], command: str, *words: str) -> str:
    capsys.readouterr()
    assert main([command, "--config", str(place.config_path), *words]) == Exit.WELL
    return capsys.readouterr().out


def test_what_is_no_recording_stays_where_it_is(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no row, costs nothing, is nothing that was left undone, and is told by status, why and reconcile."""
    for name, content in FOREIGN.items():
        place.drop(name, content)
    os.truncate(place.drop("disk.iso", b"CD001 and so on"), 6_000_000_000)
    place.drop("a/call.wav")
    dropped = [path for path in (place.root / "drop").rglob("*") if path.is_file() and path.name != "call.wav"]
    before = {path: fingerprint_of(path.stat()) for path in dropped}

    outcome = place.run_once()

    assert (outcome.exit_code, outcome.waiting, outcome.left) == (Exit.WELL, [], [])
    assert place.states() == {"a/call.wav": State.DONE}
    assert service.charged == len(posts(service)) == 1
    assert {path: fingerprint_of(path.stat()) for path in dropped} == before
    facts = status(place, capsys)
    assert (facts["foreign"], facts["orphaned"], facts["waiting_total"]) == (len(FOREIGN) + 1, 0, 0)
    assert "13 files that are not recordings (a/call.xml, a/invoice.PDF, a/list.csv, …)" in said(
        place, capsys, "status"
    )
    for path in dropped:
        told = said(place, capsys, "why", str(path))
        assert "is not a recording, by its name or its content: it is left where it is" in told
    assert "It looks like a PDF document" in said(place, capsys, "why", "a/invoice.PDF")
    told = said(place, capsys, "reconcile")
    assert "note: 13 files in drop/ are not recordings and are left there: a/call.xml" in told
    assert "in no book" not in told


def test_a_file_is_taken_by_its_content_whatever_its_name(place: Place, service: Sandbox) -> None:
    """It is sent under any name, in another container if need be; what nothing makes acceptable fails."""
    for name in ("call.dat", "call", "call.wav.bak", "call.txt"):
        place.drop(name, speech(name))
    place.drop("voice.bin", recording("amr"))
    place.drop("film.mpeg", recording("ts"))

    place.run_once()

    assert set(place.states().values()) == {State.DONE, State.FAILED}
    assert {path for path, state in place.states().items() if state is State.FAILED} == {"film.mpeg"}
    assert service.charged == 5


@pytest.mark.parametrize("name", ["notes.wav", "notes.WAV", "notes.sln", "notes.Qt", "notes.ulaw", "a/notes.dss"])
def test_a_recordings_name_without_a_recording_in_it_fails_also_when_it_is_retried(
    place: Place, service: Sandbox, name: str
) -> None:
    """It was meant to be one: failed/ and the receipt say what is wrong."""
    place.drop(name, b"Call back on Monday.\n")
    for _ in range(2):
        assert place.run_once().exit_code == Exit.INCOMPLETE
        assert place.states() == {name: State.FAILED}
        assert place.receipt(f"failed/{name}.json")["error"]["code"] == "unsupported_type"
        assert place.files() == {f"failed/{name}", f"failed/{name}.json"}
        place.retry(name)
    assert posts(service) == []


def test_foreign_files_can_be_failed_as_before(make_place: MakePlace, service: Sandbox) -> None:
    """With `foreign = "fail"` each goes to failed/ with its receipt, but for what is empty."""
    place = make_place(arrivals={"foreign": "fail"})
    for name in ("readme.txt", "a/invoice.PDF"):
        place.drop(name, FOREIGN[name])
    assert place.run_once().exit_code == Exit.INCOMPLETE
    assert place.states() == {"readme.txt": State.FAILED, "a/invoice.PDF": State.FAILED}
    assert place.receipt("failed/a/invoice.PDF.json")["error"]["code"] == "unsupported_type"


@pytest.mark.parametrize("has_event", [True, False])
def test_a_foreign_file_that_becomes_a_recording_is_noticed(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], *, has_event: bool
) -> None:
    """Its bytes are written later, in place, or it is renamed: an event tells it, or a scan alone."""
    written = place.drop("written.dat", bytes(40_000))
    renamed = place.drop("renamed.txt", b"Call back on Monday.\n")
    removed = place.drop("removed.txt", b"Here for a moment.\n")
    with place.opened() as journey:
        settle(journey)
        assert journey.arrivals.left().foreign == 3
        assert journey.arrivals.waiting() == []
        written.write_bytes(speech("written"))
        renamed.rename(renamed.with_suffix(".wav"))
        removed.unlink()
        if has_event:
            for name in (b"written.dat", b"renamed.wav"):
                journey.arrivals.hint(name, is_closed=True)
            journey.arrivals.step()
        settle(journey)
        drain(journey)
        assert journey.arrivals.left().foreign == 0
    assert place.states() == {"written.dat": State.DONE, "renamed.wav": State.FAILED}
    assert status(place, capsys)["foreign"] == 0


def test_a_foreign_file_is_looked_into_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans and events find it unchanged; only a change makes it be read again."""
    path = place.drop("readme.txt", b"Please drop recordings here.\n")
    looks = count_looks(monkeypatch)
    with place.opened() as journey:
        for _ in range(20):
            settle(journey)
            place.clock.wait(60, journey.stopping)
        assert looks == [b"readme.txt"]
        path.write_bytes(b"Please drop them there.\n")
        for _ in range(20):
            settle(journey)
            place.clock.wait(60, journey.stopping)
        assert looks == [b"readme.txt"] * 2


def test_an_unreadable_foreign_file_is_left_until_it_can_be_read(tmp_path: Path, service: Sandbox) -> None:
    """Nobody can tell what is in it; once somebody lets us, we look. One with a recording's name waits."""
    needs_root()
    place = Place(tmp_path, service.url)
    for name in ("theirs.dat", "theirs.wav"):
        drop_as_somebody(place.root / "drop" / name, speech(name), mode=0o600)

    real = os.open

    def refusing(path: Any, *rest: Any, **named: Any) -> int:  # root may read every file
        if path in (b"theirs.dat", b"theirs.wav") and os.stat(path, dir_fd=named["dir_fd"]).st_mode & 0o077 == 0:
            raise PermissionError(13, "refused")
        return real(path, *rest, **named)

    with pytest.MonkeyPatch.context() as patch, place.opened() as journey:
        patch.setattr(os, "open", refusing)
        for _ in range(3):
            settle(journey)
            place.clock.wait(60, journey.stopping)
        assert journey.arrivals.left().foreign == 1
        assert [file.path for file in journey.arrivals.waiting()] == [b"theirs.wav"]
        (place.root / "drop" / "theirs.dat").chmod(0o644)
        place.clock.wait(60, journey.stopping)
        settle(journey)
        assert place.states() == {"theirs.dat": State.QUEUED}


def test_orphaned_markers_and_sidecars_are_left_and_counted(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are nothing that was left undone; when their recordings come, they travel with them."""
    place = make_place(arrivals={"marker": ".done", "sidecar": [".xml", ".json"]})
    for name in ("late.wav.done", "late.xml", "never.json"):
        place.drop(name, b"<call/>")

    outcome = place.run_once()

    assert (outcome.exit_code, outcome.waiting) == (Exit.WELL, [])
    facts = status(place, capsys)
    assert (facts["foreign"], facts["orphaned"], facts["waiting_total"]) == (0, 3, 0)
    assert "3 markers or sidecars without a recording" in said(place, capsys, "status")
    assert said(place, capsys, "why", "never.json")
    assert "The books add up" in said(place, capsys, "reconcile")
    place.drop("late.wav")
    assert place.run_once().exit_code == Exit.WELL
    assert place.files() == {f"done/{n}" for n in ("late.wav", "late.wav.json", "late.wav.done", "late.xml")} | {
        "drop/never.json"
    }


# What is looked into again and again


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names of what is read to see what it is, from now on."""
    looks: list[bytes] = []

    def counted(file: Any, size: int, *, name: bytes, thorough: bool, raw: Any) -> Any:
        looks.append(name)
        return examine(file, size, name=name, thorough=thorough, raw=raw)

    monkeypatch.setattr("watcher.journey.arrive.foreign.examine", counted)
    return looks


def test_a_thousand_links_to_one_file_are_one_look(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for its rest, and it is read twice in all: at first, and when it is surely at rest."""
    cut = place.drop("cut.flac", recording("flac", 30.0)[:-2000])
    for number in range(1_500):
        os.link(cut, cut.with_name(f"cut {number}.flac"))
    looks = count_looks(monkeypatch)
    with place.opened() as journey:
        for _ in range(10):
            settle(journey)
            place.clock.wait(60, journey.stopping)
        assert {file.code for file in journey.arrivals.waiting()} == {"cut_short"}
        assert len(looks) <= 3


def test_what_was_changed_at_once_is_read_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that is mended in the same moment, so that no time tells it, is seen when its writer closes it."""
    path = place.drop("call.wav", speech("call")[:-2000])
    with place.opened() as journey:
        journey.arrivals.hint(b"call.wav", is_closed=False)
        journey.arrivals.step()
        assert [file.code for file in journey.arrivals.waiting()] == ["cut_short"]
        before = path.stat()
        length = before.st_size
        with path.open("r+b") as file:
            file.write(b"RIFF" + (length - 8).to_bytes(4, "little"))
            at = speech("call").index(b"data") + 4
            file.seek(at)
            file.write((length - at - 4).to_bytes(4, "little"))
        real = journey.site.drop.__class__.fingerprint

        def standing_still(folder: Any, name: bytes) -> Any:
            return real(folder, name)._replace(mtime_ns=before.st_mtime_ns, ctime_ns=before.st_ctime_ns)

        opened = journey.site.drop.__class__.open

        def opening(folder: Any, name: bytes) -> Any:
            file, found = opened(folder, name)
            return file, found._replace(mtime_ns=before.st_mtime_ns, ctime_ns=before.st_ctime_ns)

        monkeypatch.setattr(journey.site.drop.__class__, "fingerprint", standing_still)
        monkeypatch.setattr(journey.site.drop.__class__, "open", opening)
        journey.arrivals.hint(b"call.wav", is_closed=True)
        journey.arrivals.step()
        assert [settled.path for settled in journey.arrivals.settled] == [b"call.wav"]


def test_a_newcomer_waits_behind_nobody_who_was_looked_at_before(tmp_path: Path, service: Sandbox) -> None:
    """However many wait for their rest, a recording that comes is taken at once, on the real clock."""
    place = Place(tmp_path, service.url, CLOCK, arrivals={"rescan_seconds": 1})
    cut = recording("flac", 30.0)[:-2000]
    for number in range(300):
        place.drop(f"cut/{number}.flac", cut + number.to_bytes(2, "big"))
    with place.opened() as journey:
        while journey.arrivals.step() <= 0:
            pass
        CLOCK.wait(1.2, journey.stopping)  # all of them are due again
        place.drop("call.wav")
        journey.arrivals.hint(b"call.wav", is_closed=True)
        journey.arrivals.step()
        assert [settled.path for settled in journey.arrivals.settled] == [b"call.wav"]
    shutil.rmtree(place.root / "drop")
