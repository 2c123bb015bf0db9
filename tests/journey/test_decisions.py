"""What people decide stands in the history with their names, and is promised only where it can come true."""

import json
import os
import pwd
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import MakePlace
from tests.journey.test_commands_that_look import said
from tests.places import REFUSED, Place, speech
from watcher.accounts import name_person
from watcher.cli import main
from watcher.domain import Fault, Item, State
from watcher.errors import Exit
from watcher.sandbox import FaultKind, Sandbox
from watcher.views.context import CommandContext
from watcher.views.prospects import find_hindrance

ME = pwd.getpwuid(os.getuid()).pw_name


def failed(place: Place, service: Sandbox, *names: str) -> None:
    """These recordings were refused by the service, and lie in failed/."""
    service.add_fault(**REFUSED, times=len(names))
    for name in names:
        place.drop(name)
    place.run_once()
    assert {place.states()[name] for name in names} == {State.FAILED}


def held(place: Place, service: Sandbox, name: str) -> None:
    service.clear_faults()
    service.add_fault(FaultKind.LOSE_ANSWER, times=1)
    place.drop(name)
    place.run_once()
    assert place.states()[name] is State.HELD
    service.clear_faults()


def shown(place: Place, capsys: pytest.CaptureFixture[str], name: str) -> list[tuple[str, str | None]]:
    """The notes of its history, each with the person."""
    history = json.loads(said(place, capsys, "show", "--json", name))["history"]
    return [(change["note"], change["by"]) for change in history]


def status(place: Place, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    facts: dict[str, object] = json.loads(said(place, capsys, "status", "--json"))
    return facts


def error_of(place: Place, capsys: pytest.CaptureFixture[str], name: str) -> dict[str, str]:
    error: dict[str, str] = json.loads(said(place, capsys, "show", "--json", name))["error"]
    return error


@pytest.mark.parametrize("decides", [True, False], ids=["released", "undecided"])
def test_nobody_is_asked_to_decide_on_what_is_not_held(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str], decides: bool
) -> None:
    """Released, then taken out of the drop folder, or taken out at once. Back and in doubt, it is held again."""
    place = make_place(identifai={"in_doubt": "hold"})
    held(place, service, "call.wav")
    assert "Decide" in error_of(place, capsys, "call.wav")["hint"]
    if decides:
        said(place, capsys, "release", "call.wav")
        assert "Decide" not in error_of(place, capsys, "call.wav")["hint"]
    (place.root / "drop/call.wav").rename(place.root / "call.wav")
    place.run_once()

    assert place.states()["call.wav"] is State.WITHDRAWN
    assert error_of(place, capsys, "call.wav")["code"] == "in_doubt"
    assert "Decide" not in error_of(place, capsys, "call.wav")["hint"]
    (place.root / "call.wav").rename(place.root / "drop/call.wav")
    place.run_once()
    assert place.states()["call.wav"] is State.HELD
    assert "Decide" in error_of(place, capsys, "call.wav")["hint"]
    assert service.charged == 1


# Who


@pytest.fixture
def anna(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name that stands in the history where Anna gives a command by sudo."""
    monkeypatch.setenv("SUDO_USER", "anna")
    return "anna" if os.getuid() == 0 else f"{ME} (sudo by anna)"


@pytest.mark.parametrize(
    ("command", "note"), [("release", "released by {}"), ("fail", "given up by {}")], ids=["release", "fail"]
)
def test_who_decided_on_a_held_recording_stands_in_its_history(
    make_place: MakePlace,
    service: Sandbox,
    anna: str,
    capsys: pytest.CaptureFixture[str],
    command: str,
    note: str,
) -> None:
    """In words and as a fact of its own; nobody is named where nobody decided."""
    place = make_place(identifai={"in_doubt": "hold"})
    held(place, service, "call.wav")
    assert {by for _, by in shown(place, capsys, "call.wav")} == {None}

    said(place, capsys, command, "call.wav")

    assert shown(place, capsys, "call.wav")[-1] == (note.format(anna), anna)
    assert note.format(anna) in said(place, capsys, "show", "call.wav")


def test_who_retried_stands_in_the_history(
    place: Place, service: Sandbox, anna: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failed(place, service, "call.wav")
    said(place, capsys, "retry", "call.wav")
    assert shown(place, capsys, "call.wav")[-1] == (f"{anna} asked for another try", anna)


def test_who_paused_is_told_as_long_as_the_pause_lasts(
    place: Place, anna: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In `status`, for people and for programs; who resumed stands beside it in the books."""
    said(place, capsys, "pause", "--reason", "budget review")
    facts = status(place, capsys)
    assert facts["paused"]["by"] == anna  # type: ignore[index]
    assert f"budget review (by {anna}, since " in said(place, capsys, "status")
    with place.books() as books:
        serial = books.pauses.beginning()
    said(place, capsys, "resume")
    with place.books() as books:
        (noted,) = books.pauses.noted(serial)
    assert (noted.pause.by, noted.ended_by) == (anna, anna)


@pytest.mark.parametrize(
    ("claimed", "told"),
    [
        ("", ME),
        ("  \t", ME),
        ("a\x1b[31mb\nc", "a\\x1b[31mb\\x0ac"),
        ("x" * 5000, "x" * 64),
        ("\udcff", "\\xff"),
    ],
    ids=["empty", "blank", "control characters", "long", "no text"],
)
def test_a_name_from_the_environment_is_clean_and_short(
    monkeypatch: pytest.MonkeyPatch, claimed: str, told: str
) -> None:
    """SUDO_USER is whatever somebody set: it steers no terminal and fills no database."""
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd((ME, "", 0, 0, "", "", "")))
    assert name_person({"SUDO_USER": claimed}) == told


def test_a_name_that_only_the_environment_claims_does_not_hide_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root's sudo is believed; a user without a name in the system is a number."""
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_017)
    assert name_person({}) == "4000000017"
    assert name_person({"SUDO_USER": "root"}) == "4000000017 (sudo by root)"


# Retry


def test_a_retry_of_what_was_taken_away_records_nothing(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so and what to do, and exits with 1; what was named beside it, and is there, is sent again."""
    failed(place, service, "gone.wav", "here.wav")
    before = shown(place, capsys, "gone.wav")
    (place.root / "failed/gone.wav").unlink()

    code = main(["retry", "--config", str(place.config_path), "gone.wav", "here.wav"])

    told = capsys.readouterr()
    assert code == Exit.INCOMPLETE
    assert "here.wav: goes back to the drop folder" in told.out
    assert "gone.wav: is not retried: " in told.err
    assert "is no longer there" in told.err
    assert f"`watcher dismiss {place.item('gone.wav').id}`" in told.err
    assert "gone.wav" not in told.out
    assert shown(place, capsys, "gone.wav") == before
    assert place.states() == {"gone.wav": State.FAILED, "here.wav": State.RETURNING}
    assert main(["retry", "--config", str(place.config_path), "--failed"]) == Exit.INCOMPLETE
    assert shown(place, capsys, "gone.wav") == before


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("deed", [put_folder, put_link, move_folder], ids=lambda deed: deed.__name__)
def test_a_retry_of_what_cannot_be_brought_back_records_nothing(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], deed: object
) -> None:
    """Something else lies in its place, or failed/ is away."""
    failed(place, service, "call.wav")
    deed(place.root / "failed/call.wav")  # type: ignore[operator]
    assert main(["retry", "--config", str(place.config_path), "call.wav"]) == Exit.INCOMPLETE
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 2, told.err
    assert place.states() == {"call.wav": State.FAILED}


def test_a_retry_of_what_was_put_back_by_hand_goes_on(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    failed(place, service, "call.wav")
    (place.root / "failed/call.wav").rename(place.root / "drop/call.wav")
    said(place, capsys, "retry", "call.wav")
    place.run_once()
    assert place.states() == {"call.wav": State.DONE}


# Dismiss


@pytest.mark.server
def test_what_was_dismissed_needs_nobody_any_more(
    place: Place, service: Sandbox, anna: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stays failed, is told apart with who did it and when, and `retry --failed` passes it over."""
    failed(place, service, "seen.wav", "other.wav")
    assert status(place, capsys)["needs_person"] == {"failed": 2, "held": 0}
    assert "`watcher dismiss " in said(place, capsys, "why", "seen.wav")

    assert "seen.wav: is dismissed;" in said(place, capsys, "dismiss", "seen.wav")

    facts = status(place, capsys)
    assert facts["needs_person"] == {"failed": 1, "held": 0}
    assert facts["states"]["failed"] == 2  # type: ignore[index]
    told = json.loads(said(place, capsys, "show", "--json", "seen.wav"))
    assert told["state"] == "failed"
    assert told["dismissed"]["by"] == anna
    assert told["dismissed"]["at"] == told["history"][-1]["at"]
    assert shown(place, capsys, "seen.wav")[-1] == (f"dismissed by {anna}", anna)
    assert f"by {anna}, at " in said(place, capsys, "show", "seen.wav")
    assert f"It was dismissed by {anna}" in said(place, capsys, "why", "seen.wav")
    assert "failed, dismissed" in said(place, capsys, "list", "--state", "failed")
    assert "already" in said(place, capsys, "dismiss", "seen.wav")
    place.run_once()
    assert place.receipt("failed/seen.wav.json")["dismissed"]["by"] == anna
    assert "seen.wav" not in said(place, capsys, "retry", "--failed")


@pytest.mark.parametrize("how", ["retry", "put back"])
def test_a_retry_or_a_return_undoes_a_dismissal(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """Should it fail again, it needs a person again."""
    failed(place, service, "call.wav")
    said(place, capsys, "dismiss", "call.wav")
    service.add_fault(**REFUSED, times=1)
    if how == "retry":
        said(place, capsys, "retry", "call.wav")
    else:
        (place.root / "failed/call.wav").rename(place.root / "drop/call.wav")
    place.run_once()
    assert place.states() == {"call.wav": State.FAILED}
    assert place.item("call.wav").dismissed is None
    assert status(place, capsys)["needs_person"] == {"failed": 1, "held": 0}
    assert place.receipt("failed/call.wav.json")["dismissed"] is None


def test_only_what_has_failed_is_dismissed(place: Place) -> None:
    """Nothing else is named, or changed, with it."""
    place.drop("notes.wav", b"no recording\n")
    place.drop("call.wav", speech())
    place.run_once()
    assert main(["dismiss", "--config", str(place.config_path), "notes.wav", "call.wav"]) == Exit.USAGE
    assert place.item("notes.wav").dismissed is None


@pytest.mark.server
@pytest.mark.parametrize("words", [["--failed"], ["a.wav", "b.wav", "c.wav"]])
def test_each_retry_stands_for_itself(
    place: Place,
    service: Sandbox,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    """Whoever decides on one of them while the disk is asked about all keeps no other from being retried."""
    failed(place, service, "a.wav", "b.wav", "c.wav")

    def decide_in_between(context: CommandContext, item: Item) -> Fault | None:
        if item.path == b"c.wav":
            place.retry("b.wav")
        return find_hindrance(context, item)

    monkeypatch.setattr("watcher.cli.deciding.find_hindrance", decide_in_between)

    assert main(["retry", *words, "--config", str(place.config_path)]) == Exit.INCOMPLETE

    assert set(place.states().values()) == {State.RETURNING}
    assert "b.wav: is not retried: it has just become returning" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["retry", "by hand"])
def test_a_new_try_is_suspected_of_nothing(place: Place, service: Sandbox, way: str) -> None:
    """What was refused in unclear words once, and is tried anew in an outage of such words, waits like others."""
    service.add_fault("unclassified", sha256=sha256(speech("bad.wav")).hexdigest(), times=0)
    place.drop("bad.wav")
    place.drop("good.wav")
    place.run_once()
    assert place.states() == {"bad.wav": State.FAILED, "good.wav": State.DONE}  # refused again after another's yes
    service.clear_faults()
    service.add_fault("unclassified", times=0)
    if way == "by hand":
        (place.root / "failed" / "bad.wav").rename(place.root / "drop" / "bad.wav")
    else:
        assert main(["retry", "bad.wav", "--config", str(place.config_path)]) == Exit.WELL

    place.run_once()

    assert place.states()["bad.wav"] is State.QUEUED


def test_a_release_is_suspected_of_nothing(make_place: MakePlace, service: Sandbox) -> None:
    """As any new try that a person begins."""
    place = make_place(identifai={"in_doubt": "hold"})
    held(place, service, "call.wav")
    with place.books() as books:
        item = place.item_in(books, "call.wav")
        books.items.change(item, State.HELD, place.clock.now(), suspected_at=place.clock.now() - 9)

    assert main(["release", "call.wav", "--config", str(place.config_path)]) == Exit.WELL

    assert place.item("call.wav").suspected_at is None
