"""What the commands that only read say: why, status, estimate, reconcile. In the test's own process."""

import json
import os
import socket

import pytest

from tests.conftest import MakePlace
from tests.places import Place, speech
from watcher.cli import main
from watcher.errors import Exit
from watcher.identifai.sandbox import Sandbox
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
    assert "is a symbolic link: never opened" in said(place, capsys, "why", str(drop / "link.wav"))
    assert "is a named pipe" in said(place, capsys, "why", "pipe.wav")
    assert "is a socket" in said(place, capsys, "why", "door.wav")
    assert "is a folder" in said(place, capsys, "why", "folder")
    assert "no such file is known" in said(place, capsys, "why", "nothing.wav")


def test_why_explains_what_waits(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty, cut short by how many bytes, waiting for its sidecar, not looked at yet."""
    place = make_place(arrivals={"sidecar": [".xml"]})
    place.drop("new.wav")
    assert "nobody has looked there yet" in said(place, capsys, "why", "new.wav")
    place.drop("empty.wav", b"")
    place.drop("short.wav", speech("short")[:-5000])
    place.run_once()

    assert "is empty" in said(place, capsys, "why", "empty.wav")
    assert "cut short by 5,000 bytes" in said(place, capsys, "why", "short.wav")
    assert "waits for its sidecar (.xml with the same stem)" in said(place, capsys, "why", "new.wav")
    place.drop("later.wav")
    assert "looks again within 30 s" in said(place, capsys, "why", "later.wav")


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
    assert "Only recordings belong in the drop folder" in said(place, capsys, "why", "notes.wav")
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
        books.site.publish_waiting(
            [Waiting(b"call.wav", filed_at + 1, 1, code="open", reason="is still open for writing")]
        )

    assert "is done: identifier" in said(place, capsys, "why", "call.wav")
    place.drop("call.wav", b"")
    assert "is still open for writing" in said(place, capsys, "why", "call.wav")


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
    assert facts["refused"] == 2
    assert facts["seconds_of_audio"] == pytest.approx(3 * 6 + 4, abs=0.1)
    assert facts["bytes"] == sum(len(c) for n, c in contents.items() if n.endswith("wav") and c)
    assert facts["seconds_to_submit"] == pytest.approx(4, abs=0.1)  # 30 in 60 s
    assert len(service.ledger) == asked
    assert "submissions   2" in said(place, capsys, "estimate", str(archive))


def test_the_books_add_up_and_say_so_when_they_do_not(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was seen is the sum of where it is, and each recording lies where its row says."""
    service.add_fault("status", status=413, times=1)
    for name in ("a.wav", "b.wav", "c.wav"):
        place.drop(name)
    place.run_once()
    place.drop("empty.wav", b"")
    place.run_once()

    well = said(place, capsys, "reconcile")
    assert "The books add up" in well
    assert [line.split()[-1] for line in well.splitlines()[:7]] == ["2", "1", "0", "1", "0", "0", "4"]

    done = next(name for name, item in place.items().items() if item.identifier)
    os.unlink(place.root / "done" / done)
    wrong = said(place, capsys, "reconcile", code=Exit.INCOMPLETE)
    assert f"{done}: is done, but its recording is not in done/" in wrong
