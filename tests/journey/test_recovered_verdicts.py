"""What a recovery knows of verdicts, of a person's word, and of moves to the folder of a verdict."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.journey.test_by_verdict import by_verdict, spoken
from tests.journey.test_commands_that_look import said
from tests.journey.test_recovery import erase, lose, recover
from tests.journey.test_verdicts_kept import CLIPS, answers, judge, verdict_of
from tests.places import KEY, REFUSED, Place
from tests.queues import posts
from watcher import folders
from watcher.cli import opening
from watcher.journey.file import onward
from watcher.sandbox import Sandbox

COMPANIONS = {"arrivals": {"sidecar": [".xml"]}}
WHOLE = {"done/human/a.wav", "done/human/a.wav.json", "done/human/a.xml"}


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch, clock: FalseClock) -> None:
    monkeypatch.setenv("IDENTIFAI_API_KEY", KEY)
    monkeypatch.setattr(opening, "SystemClock", lambda: clock)


@pytest.fixture
def service(clock: FalseClock) -> Iterator[Sandbox]:
    with Sandbox(KEY, clock=clock, writes=()) as running:
        yield running


def cut_off(place: Place, monkeypatch: pytest.MonkeyPatch, crash: str) -> None:
    """Judge what is there, and end just before its recording is moved on, or just after."""
    move = folders.move

    def killed(*args: Any, **kwargs: Any) -> object:
        if crash == "after":
            move(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(onward, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            judge(place)
    assert {"done/a.wav.json", "done/human/a.wav.json"} <= place.files()


def filed(make_place: MakePlace) -> Place:
    place = by_verdict(make_place, **COMPANIONS)
    place.drop("a.xml", b"<call/>")
    place.drop("a.wav", spoken("a"))
    place.run_once()
    return place


def copy(place: Place, tmp_path: Path) -> Path:
    return Path(shutil.copy(place.root / "watcher.db", tmp_path / "copy.db"))


@pytest.mark.parametrize("books", ["lost", "older", "as they were"])
@pytest.mark.parametrize("crash", ["before", "after"])
def test_the_receipt_beside_the_recording_counts(
    make_place: MakePlace,
    service: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    crash: str,
    books: str,
) -> None:
    """Its move was cut off, and there are two receipts. All is brought to one place, and nothing is paid twice."""
    place = filed(make_place)
    older, identifier = copy(place, tmp_path), place.item("a.wav").identifier
    cut_off(place, monkeypatch, crash)
    if books != "as they were":
        lose(place)
    if books == "older":
        shutil.copy(older, place.root / "watcher.db")

    recover(place)
    assert "collected" not in said(place, capsys, "reconcile")
    again, _ = recover(place)

    assert not again.adopted
    place.run_once(verdicts=True)
    judge(place)
    assert place.files() == WHOLE
    item = place.item("a.wav")
    assert (item.filed_as, item.moves_to, item.identifier) == (b"human/a.wav", None, identifier)
    assert not recover(place)[0].adopted
    assert len(posts(service)) == 1
    said(place, capsys, "reconcile", "--hashes")


def test_what_was_moved_on_since_the_copy_is_found_where_it_is(
    make_place: MakePlace,
    service: Sandbox,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The older books have it in done/ itself, without a verdict."""
    place = filed(make_place)
    older = copy(place, tmp_path)
    judge(place)
    assert place.files() == WHOLE
    shutil.copy(older, lose(place))

    recover(place)

    place.run_once()
    assert place.files() == WHOLE
    assert place.item("a.wav").filed_as == b"human/a.wav"
    assert "collected" not in said(place, capsys, "reconcile")


def test_what_was_collected_in_the_middle_of_a_move_stays_collected(
    make_place: MakePlace,
    service: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = filed(make_place)
    cut_off(place, monkeypatch, "after")
    (place.root / "done/human/a.wav").unlink()
    lose(place)
    recover(place)
    place.run_once()
    assert "collected" in said(place, capsys, "reconcile")
    assert place.item("a.wav").moves_to is None


@pytest.mark.parametrize("crash", ["before", "after"])
def test_what_is_in_the_middle_of_a_move_is_erased_whole(
    make_place: MakePlace,
    service: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    crash: str,
) -> None:
    """No daemon works: the command ends the move first. Only tombstones stay."""
    place = filed(make_place)
    cut_off(place, monkeypatch, crash)
    erase(place, "a.wav")
    assert place.items() == {}
    assert {path for path in place.files() if "a.wav" in path or path.endswith(".xml")} == set()


def test_reconcile_knows_companions_at_both_places(
    make_place: MakePlace,
    service: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = filed(make_place)
    cut_off(place, monkeypatch, "after")
    assert "not filed by the watcher" not in said(place, capsys, "reconcile")
    (place.root / "done/a.xml").rename(place.root / "done/human/a.xml")
    assert "not filed by the watcher" not in said(place, capsys, "reconcile")
    (place.root / "done/human/b.xml").write_bytes(b"a stranger's")
    assert "1 file in done/, not filed by the watcher: human/b.xml" in said(place, capsys, "reconcile")


@pytest.mark.parametrize("forced", [{}, {"force_classification": "artificial"}], ids=["judged", "forced"])
def test_verdicts_come_back_with_what_they_rest_on(
    place: Place,
    service: Sandbox,
    capsys: pytest.CaptureFixture[str],
    forced: dict[str, Any],
) -> None:
    """What was forced, what the models said, the page, the segments; and a person's word."""
    place.drop("a.wav")
    place.run_once()
    told = verdict_of("human", 0.71, chunk_details=CLIPS, result_url="https://example.org/r/1", **forced)
    answers(service, place, "a.wav", told)
    judge(place)
    said(place, capsys, "review", "a.wav", "--artificial", "--note", "The breath is missing.")
    place.run_once()
    before = place.receipt("done/a.wav.json")
    assert before["verdict"]["segments"] == CLIPS
    listed = said(place, capsys, "list", "--json")
    lose(place)

    recover(place)

    assert said(place, capsys, "list", "--json") == listed
    said(place, capsys, "review", "a.wav", "--artificial", "--note", "The breath is missing.")
    place.run_once()
    after = place.receipt("done/a.wav.json")
    assert after["verdict"] == before["verdict"]
    assert after["review"] | {"at": ""} == before["review"] | {"at": ""}


def test_what_people_have_said_since_the_copy_is_not_lost(
    place: Place,
    service: Sandbox,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Their words are in the receipts: the later one of two counts."""
    place.drop("a.wav")
    place.run_once()
    service.add_fault(**REFUSED, times=1)
    place.drop("b.wav", spoken("b"))
    place.run_once()
    said(place, capsys, "review", "a.wav", "--human")
    place.clock.wait(60, Event())
    older = copy(place, tmp_path)
    said(place, capsys, "review", "a.wav", "--unclear", "--note", "Line noise.")
    said(place, capsys, "dismiss", "b.wav")
    place.run_once()
    before = json.loads(said(place, capsys, "show", "--json", "a.wav"))["review"]
    shutil.copy(older, lose(place))

    found, _ = recover(place)
    again, _ = recover(place)

    assert found.adopted.completed == 2
    assert not again.adopted
    assert place.item("b.wav").dismissed is not None
    assert json.loads(said(place, capsys, "show", "--json", "a.wav"))["review"] == before
    assert before["word"] == "unclear"
