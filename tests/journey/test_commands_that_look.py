"""What the commands that only read say: why, status, estimate, reconcile. In the test's own process."""

import json
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.conftest import MakePlace
from tests.places import REFUSED, Place, speech
from tests.transitions import any_transition
from watcher.cli import main, opening
from watcher.clock import SystemClock
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.store import Waiting


def said(place: Place, capsys: pytest.CaptureFixture[str], *words: str, code: int = Exit.WELL) -> str:
    """What this command printed."""
    capsys.readouterr()
    command, *rest = words
    assert main([command, "--config", str(place.config_path), *rest]) == code
    return capsys.readouterr().out


def test_why_explains_what_is_never_taken(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Ignored names by the pattern that matches, links, pipes, sockets and folders by what they are."""
    drop = place.root / "drop"
    place.drop("upload.wav.filepart")
    os.symlink("/etc/passwd", drop / "link.wav")
    os.mkfifo(drop / "pipe.wav")
    (drop / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(drop / "door.wav"))
    place.run_once()

    assert "matches '*.filepart' (the built-in list" in said(place, capsys, "why", "upload.wav.filepart")
    assert "is a symbolic link: it is never opened" in said(place, capsys, "why", str(drop / "link.wav"))
    assert "is a named pipe" in said(place, capsys, "why", "pipe.wav")
    assert "is a socket" in said(place, capsys, "why", "door.wav")
    assert "is a folder" in said(place, capsys, "why", "folder")
    assert "there is no such file" in said(place, capsys, "why", "nothing.wav")


def test_why_explains_what_waits(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty, cut short by how many bytes, waiting for its sidecar, not looked at yet."""
    place = make_place(arrivals={"sidecar": [".xml"]})
    place.drop("new.wav")
    assert "which was never scanned" in said(place, capsys, "why", "new.wav")
    place.drop("empty.wav", b"")
    place.drop("short.wav", speech("short")[:-5000])
    place.run_once()

    assert "is empty" in said(place, capsys, "why", "empty.wav")
    assert "cut short by 5,000 bytes" in said(place, capsys, "why", "short.wav")
    assert "waits for its sidecar (.xml with the same stem)" in said(place, capsys, "why", "new.wav")
    place.drop("later.wav")
    assert "scans again within 30 s" in said(place, capsys, "why", "later.wav")


def test_why_follows_a_recording_to_where_it_lies(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Queued behind how many and paused for which reason; done with its identifier; failed with what to do."""
    place.drop("notes.wav", b"no recording")
    assert "until `watcher resume`" in said(place, capsys, "pause", "--reason", "The auditors are here.")
    for name in ("one.wav", "two.wav"):
        place.drop(name)
    assert place.run_once().exit_code == Exit.UNAVAILABLE

    assert "is queued behind 1 other. Submitting is paused: The auditors are here." in (
        said(place, capsys, "why", "one.wav") + said(place, capsys, "why", "two.wav")
    )
    assert "it would be refused again" in said(place, capsys, "why", "notes.wav")
    assert "goes on" in said(place, capsys, "resume")
    place.run_once()
    identifier = place.receipt("done/one.wav.json")["identifier"]
    for path in ("one.wav", str(place.root / "done/one.wav"), str(place.root / "done/one.wav.json")):
        assert f"identifier {identifier}, filed as one.wav" in said(place, capsys, "why", path)


def test_why_tells_the_item_from_the_file_that_was_seen_at_the_last_look(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """What waits is published a moment later than items are; a newcomer under a known name waits by itself."""
    place.drop("call.wav")
    place.run_once()
    filed_at = place.item("call.wav").filed_at or 0.0
    with place.books() as books:
        books.waiting.publish(
            [Waiting(b"call.wav", filed_at + 1, 1, code="open", reason="is still open for writing")]
        )

    assert "is done: identifier" in said(place, capsys, "why", "call.wav")
    place.drop("call.wav", b"")
    assert "is still open for writing" in said(place, capsys, "why", "call.wav")


def test_why_tells_a_newcomer_from_the_filed_recording_of_its_name(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody has looked at yet is not said to be done, or to have failed, since another was of its name."""
    place.drop("call.wav")
    place.drop("notes.wav", b"no recording\n")
    place.run_once()
    place.drop("call.wav", speech("another"))
    place.drop("notes.wav", b"no recording either\n")

    for name, fate in (("call.wav", "is done: identifier"), ("notes.wav", "failed: ")):
        told = said(place, capsys, "why", name)
        assert told.startswith(f"{name} is in the drop folder, but was not there")
        assert f"An earlier recording of this name {fate}" in told
        assert said(place, capsys, "why", str(place.root / "drop" / name)) == told


def test_why_says_that_what_was_filed_was_taken_away(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is sent to look in done/ or failed/ for what does not lie there any more."""
    place.drop("call.wav")
    place.drop("notes.wav", b"no recording\n")
    place.run_once()
    for path, name in (("done/call.wav", "call.wav"), ("failed/notes.wav", "notes.wav")):
        folder = path.split("/")[0]
        assert "no longer" not in said(place, capsys, "why", path)
        (place.root / path).unlink()
        for asked in (path, name):
            assert f"no longer in {folder}/" in said(place, capsys, "why", asked)


def test_a_path_in_failed_is_known_until_the_retry_has_taken_it_away(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording that is to be moved back still lies in failed/, and is asked about, and shown, there."""
    place.drop("notes.wav", b"no recording\n")
    place.run_once()
    path = str(place.root / "failed/notes.wav")
    said(place, capsys, "retry", path)

    assert "is being moved back to the drop folder" in said(place, capsys, "why", path)
    assert "is the receipt of item" in said(place, capsys, "why", f"{path}.json")
    assert "returning" in said(place, capsys, "show", path)


@pytest.fixture
def twice(place: Place, service: Sandbox) -> Place:
    """a.wav was refused and lies in failed/; another recording of that name was accepted and lies in done/."""
    service.add_fault(**REFUSED, times=1)
    place.drop("a.wav", speech("first"))
    place.run_once()
    place.drop("a.wav", speech("second"))
    place.run_once()
    assert {"failed/a.wav", "done/a.wav"} < place.files()
    return place


def test_a_path_in_failed_or_done_means_what_lies_there(
    twice: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what had that name in the drop folder later; a receipt stands for its recording."""
    assert "failed: " in said(twice, capsys, "why", "failed/a.wav")
    monkeypatch.chdir(twice.root)
    for path in ("failed/a.wav", str(twice.root / "failed/a.wav"), "failed/a.wav.json"):
        assert json.loads(said(twice, capsys, "show", "--json", path))["state"] == "failed"
        assert "failed: " in said(twice, capsys, "why", path)
    for path in ("done/a.wav", "a.wav", "a.wav.json", str(twice.root / "drop/a.wav")):
        assert json.loads(said(twice, capsys, "show", "--json", path))["state"] == "done"
        assert "is done: " in said(twice, capsys, "why", path)


def test_a_retry_of_a_path_in_failed_takes_what_lies_there(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a later recording of the same name failed as well, and lies beside it under another one."""
    service.add_fault(**REFUSED, times=2)
    ids = []
    for seed in ("first", "second"):
        place.drop("a.wav", speech(seed))
        place.run_once()
        ids.append(place.item("a.wav").id)
    assert f"failed/a~{ids[1][:6]}.wav" in place.files()

    told = said(place, capsys, "retry", str(place.root / "failed/a.wav"))

    assert told.startswith(ids[0])


def test_why_looks_at_the_recording_in_the_drop_folder_first(
    twice: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was sent back lies in the drop folder, though a later one of its name is in done/."""
    failed = str(twice.root / "failed/a.wav")
    said(twice, capsys, "retry", failed)
    said(twice, capsys, "pause")
    twice.run_once()

    for path in ("a.wav", str(twice.root / "drop/a.wav")):
        assert "is queued" in said(twice, capsys, "why", path)


def test_why_tells_what_is_none_of_ours_in_done(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that somebody else put there is said to be that."""
    (place.root / "done/notes.txt").write_text("theirs")
    place.run_once()

    told = said(place, capsys, "why", str(place.root / "done/notes.txt"))

    assert "is in done/, but was not filed there by watcher" in told


def test_why_explains_a_marker_or_sidecar_with_its_recording(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """While its recording waits, when both were filed, and under the name that it has there."""
    place = make_place(arrivals={"sidecar": [".xml"], "marker": ".ready"})
    for name in ("call.xml", "call.wav.ready"):
        place.drop(name, b"x")
    place.drop("call.wav")
    said(place, capsys, "pause")
    place.run_once()
    for name in ("call.xml", "call.wav.ready"):
        told = said(place, capsys, "why", name)
        assert told.startswith(f"{name} is filed with its recording call.wav (item ")
        assert "is queued" in told
    said(place, capsys, "resume")
    place.run_once()
    for name in ("call.xml", "call.wav.ready"):
        for path in (name, str(place.root / "done" / name)):
            told = said(place, capsys, "why", path)
            assert told.startswith(f"{name} came with the recording call.wav (item ")
            assert "is done" in told
    place.drop("call.xml", b"another")
    place.run_once()
    assert "waits for its recording" in said(place, capsys, "why", "call.xml")


def test_an_estimate_says_what_a_folder_would_come_to_and_sends_nothing(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recordings, audio, bytes, submissions, and how long these take; duplicates and known ones are free."""
    place.drop("done.wav", speech("known"))
    place.run_once()
    asked = len(service.ledger)
    archive = place.root / "archive"
    (archive / "2025").mkdir(parents=True)
    contents = {
        "a.wav": speech("a", seconds=6),
        "2025/b.wav": speech("b", seconds=6),
        "copy.wav": speech("a", seconds=6),
    }
    contents |= {"known.wav": speech("known"), "notes.txt": b"no recording", "empty.wav": b""}
    for name, content in contents.items():
        (archive / name).write_bytes(content)

    facts = json.loads(said(place, capsys, "estimate", "--json", str(archive)))

    assert facts["recordings"] == 4
    assert facts["submissions"] == 2
    assert facts["known"] == 2
    assert (facts["refused"], facts["foreign"]) == (1, 1)
    assert facts["seconds_of_audio"] == pytest.approx(3 * 6 + 4, abs=0.1)
    assert facts["bytes"] == sum(len(c) for n, c in contents.items() if n.endswith("wav") and c)
    assert facts["seconds_to_submit"] == pytest.approx(4, abs=0.1)  # 30 in 60 s
    assert len(service.ledger) == asked
    assert "submissions   2" in said(place, capsys, "estimate", str(archive))


def test_more_may_wait_than_is_published(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` and `reconcile` count them all; listed are the first thousand."""
    for n in range(1002):
        (place.root / "drop" / f"{n}.wav").touch()
    place.run_once()

    facts = json.loads(said(place, capsys, "status", "--json"))

    assert (len(facts["waiting"]), facts["waiting_total"]) == (1000, 1002)
    assert "1,002 not taken yet" in said(place, capsys, "status")
    told = said(place, capsys, "reconcile").splitlines()
    assert [line.split() for line in told if line.startswith(("waiting", "seen"))] == [
        ["waiting", "1,002"],
        ["seen", "1,002"],
    ]


# Reconcile


@pytest.fixture
def filed(place: Place, service: Sandbox) -> Place:
    """Two recordings are done, one has failed, and one waits."""
    service.add_fault(**REFUSED, times=1)
    for name in ("failed.wav", "one.wav", "two.wav"):
        place.drop(name)
    place.drop("empty.wav", b"")
    place.run_once()
    return place


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens between two looks of `reconcile`, which takes no time here."""
    happenings: list[Callable[[], object]] = []

    class Clock(SystemClock):
        def wait(self, seconds: float, wake: threading.Event) -> bool:
            if happenings:
                happenings.pop(0)()
            return super().wait(0 * seconds, wake)

    monkeypatch.setattr(opening, "SystemClock", Clock)
    return happenings


def test_the_books_add_up(filed: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What was seen, by the histories, is what is accounted for by the rows."""
    told = said(filed, capsys, "reconcile").splitlines()

    assert "The books add up" in told[-1]
    assert [line.split()[-1] for line in told[:7]] == ["2", "1", "0", "1", "0", "0", "4"]


Spoil = Callable[[Place], object]


def lose(*paths: str) -> Spoil:
    def spoil(place: Place) -> None:
        for path in paths:
            (place.root / path).unlink()

    return spoil


def rewrite(path: str, to: str = "", **changes: object) -> Spoil:
    def spoil(place: Place) -> None:
        (place.root / (to or path)).write_text(json.dumps(place.receipt(path) | changes))

    return spoil


def execute(statement: str) -> Spoil:
    def spoil(place: Place) -> None:
        with closing(sqlite3.connect(place.root / "watcher.db")) as books:
            books.execute(statement)
            books.commit()

    return spoil


WRONG: dict[str, tuple[Spoil, str]] = {
    "recording": (lose("failed/failed.wav"), "failed.wav: is failed, but its recording is not in failed/"),
    "receipt": (lose("failed/failed.wav.json"), "failed.wav: its receipt is missing from failed/"),
    "both": (
        lose("failed/failed.wav", "failed/failed.wav.json"),
        "failed.wav: is failed, but neither its recording nor its receipt",
    ),
    "receipt of another": (
        lambda p: shutil.copy(p.root / "done/two.wav.json", p.root / "done/one.wav.json"),
        "one.wav: the receipt beside it belongs to another item",
    ),
    "no receipt": (
        lambda p: (p.root / "done/one.wav.json").write_bytes(b"[]"),
        "one.wav: its receipt is missing from done/",
    ),
    "contradiction": (
        rewrite("done/one.wav.json", identifier="another"),
        "one.wav: its receipt has the identifier another; the books have ",
    ),
    "state": (rewrite("failed/failed.wav.json", state="done"), "failed.wav: its receipt has the state done"),
    "receipt without row": (
        rewrite("done/one.wav.json", "done/lost.wav.json", id="0123456789abcdef"),
        "wrong: lost.wav.json: is a receipt in done/ of item 0123456789abcdef",
    ),
    "lost row": (
        execute("DELETE FROM items WHERE path = CAST('one.wav' AS BLOB)"),
        "4 recordings were seen, and 3 are accounted for",
    ),
    "request of nobody": (
        execute("DELETE FROM items WHERE path = CAST('one.wav' AS BLOB)"),
        "the ledger has 1 of its requests, but it is no item",
    ),
    "history": (
        execute("UPDATE items SET state = 'withdrawn' WHERE path = CAST('one.wav' AS BLOB)"),
        "one.wav: is withdrawn, but its history ends with done",
    ),
    "ledger": (
        execute("DELETE FROM attempts WHERE outcome = 'accepted' AND number = 2"),
        "one.wav: its row counts 1 of its requests, the ledger 0",
    ),
    "folder": (lambda p: (p.root / "failed").rename(p.root / "away"), "the failed folder"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.usefixtures("moments")
def test_books_that_do_not_add_up_say_where(filed: Place, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A file, a receipt, a row, a line of the history or of the ledger that is lost or contradicts another."""
    spoil, told = WRONG[name]
    spoil(filed)

    assert told in said(filed, capsys, "reconcile", code=Exit.INCOMPLETE)


@pytest.mark.parametrize("taken", [("one.wav",), ("one.wav", "one.wav.json")], ids=["recording", "both"])
def test_what_was_collected_from_done_is_no_disagreement(
    filed: Place, capsys: pytest.CaptureFixture[str], taken: tuple[str, ...]
) -> None:
    """An accepted recording is whoever's who fetches it, its receipt too: it stays counted, and is told.

    So is a failed one that was dismissed; one that nobody has seen to is missed.
    """
    for name in taken:
        (filed.root / "done" / name).unlink()

    told = said(filed, capsys, "reconcile")

    assert "done              2" in told
    assert "note: 1 filed recording is no longer in done/ (collected): one.wav" in told
    assert "add up" in told
    (filed.root / "failed/failed.wav").unlink()
    assert "watcher dismiss" in said(filed, capsys, "reconcile", code=Exit.INCOMPLETE)
    said(filed, capsys, "dismiss", "failed.wav")
    assert "no longer in failed/ (collected): failed.wav" in said(filed, capsys, "reconcile")


def test_what_is_only_on_its_way_is_no_disagreement(
    filed: Place, capsys: pytest.CaptureFixture[str], moments: list[Callable[[], object]]
) -> None:
    """Beside a daemon that files, takes and withdraws while it is looked: a moment later all agrees."""
    done, aside = filed.root / "done", filed.root / "aside"
    aside.mkdir()
    for name in ("one.wav", "two.wav.json"):
        (done / name).rename(aside / name)
    moments += [
        lambda: (aside / "one.wav").rename(done / "one.wav"),
        lambda: (aside / "two.wav.json").rename(done / "two.wav.json"),
    ]

    assert "The books add up" in said(filed, capsys, "reconcile")
    assert moments == []


def test_what_is_filed_or_taken_away_during_the_look_is_none_of_unknown_origin(
    filed: Place, capsys: pytest.CaptureFixture[str], moments: list[Callable[[], object]]
) -> None:
    """A recording lies in done/ before its row says so, and its sidecar beside it; a temporary file goes again."""
    with any_transition(), filed.books() as books:
        books.items.change(filed.item_in(books, "one.wav"), State.FILING, 0.0, companions=(b"one.xml",))
    for name in ("one.xml", "passing"):
        (filed.root / "done" / name).write_bytes(b"x")

    def go_on() -> None:
        (filed.root / "done/passing").unlink()
        with filed.books() as books:
            books.items.change(filed.item_in(books, "one.wav"), State.DONE, 0.0)

    moments.append(go_on)

    assert "note" not in said(filed, capsys, "reconcile")
    assert moments == []


@pytest.mark.usefixtures("moments")
def test_what_others_put_into_the_folders_is_told_and_is_not_wrong(
    filed: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files in done/ and failed/ without a row or receipt, and what was dropped after the last look."""
    for name in ("done/a.txt", "done/b/a.wav", "done/notes.json", "done/z", "failed/list.csv"):
        (filed.root / name).parent.mkdir(exist_ok=True)
        (filed.root / name).write_bytes(b"{}")
    shutil.copy(filed.root / "done/one.wav.json", filed.root / "done/copy.json")
    filed.drop("new.wav")
    filed.drop("new.wav.part")

    notes = [line for line in said(filed, capsys, "reconcile").splitlines() if line.startswith("note: ")]

    assert notes[0].startswith("note: 1 file in drop/, in no book yet (the last scan was at 20")
    assert notes[0].endswith(": new.wav")
    assert notes[1:] == [
        "note: 4 files in done/, not filed by the watcher: a.txt, b/a.wav, notes.json, …",
        "note: 1 file in failed/, not filed by the watcher: list.csv",
    ]


def test_what_came_with_a_recording_belongs_there(
    make_place: MakePlace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sidecars and markers, in the drop folder and beside what was filed."""
    place = make_place(arrivals={"sidecar": [".xml"]})
    place.drop("done.xml", b"x")
    place.drop("done.wav")
    place.run_once()
    said(place, capsys, "pause")
    place.drop("queued.xml", b"x")
    place.drop("queued.wav")
    place.run_once()

    told = said(place, capsys, "reconcile")

    assert (place.root / "done/done.xml").exists()
    assert "note" not in told


def test_why_makes_no_promise_about_what_lies_below_a_link(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link to a folder is never followed, so what it leads to is never seen: by any way of naming it."""
    (place.root / "elsewhere").mkdir()
    (place.root / "elsewhere" / "x.wav").write_bytes(speech("x"))
    (place.root / "drop" / "ln").symlink_to(place.root / "elsewhere")
    place.run_once()

    for name in ("ln/x.wav", "drop/ln/x.wav", str(place.root / "drop" / "ln" / "x.wav"), "ln/nothing.wav"):
        out = said(place, capsys, "why", name)
        assert "is below ln, which is a symbolic link to a folder: links are never followed" in out
    assert "ln is a symbolic link: it is never opened" in said(place, capsys, "why", "ln")


def test_why_tells_the_folders_themselves_and_what_lies_outside(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three folders by what they are for; an existing file elsewhere is not ours."""
    outside = place.root / "outside.wav"
    outside.write_bytes(speech("outside"))
    place.run_once()

    assert "drop is the drop folder: recordings that are put into it are submitted" in said(
        place, capsys, "why", "drop"
    )
    assert "is the done folder" in said(place, capsys, "why", str(place.root / "done"))
    assert "is the failed folder" in said(place, capsys, "why", "failed/")
    told = f"is not in the drop folder {place.root / 'drop'}, so it is not submitted. Copy it there"
    assert told in said(place, capsys, "why", str(outside))
    assert "there is no such file" in said(place, capsys, "why", str(place.root / "nothing.wav"))
    monkeypatch.chdir(place.root / "drop")
    assert told in said(place, capsys, "why", "../outside.wav")
    assert "is the drop folder" in said(place, capsys, "why", ".")
    monkeypatch.chdir(place.root)
    (place.root / "through").symlink_to(place.root / "drop")
    place.drop("empty.wav", b"")
    place.run_once()
    assert "empty.wav is empty" in said(place, capsys, "why", "through/empty.wav")


def test_show_tells_what_the_recording_is(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """On a line for a person; as an object for programs, and null of what is no recording."""
    place.drop("call.wav")
    place.drop("notes.wav", b"no recording")
    place.run_once()

    assert "audio        WAV, PCM, 1 channel, 8,000 Hz, 4.0 s\n" in said(place, capsys, "show", "call.wav")
    told = json.loads(said(place, capsys, "show", "--json", "call.wav"))["audio"]
    assert told == {"container": "WAV", "codec": "PCM", "seconds": 4.0, "channels": 1, "sample_rate": 8000}
    assert "audio" not in said(place, capsys, "show", "notes.wav")
    assert json.loads(said(place, capsys, "show", "--json", "notes.wav"))["audio"] is None
