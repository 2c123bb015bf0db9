"""What the service said is kept whole, asked for again on request, and stands beside a person's word."""

import json
from itertools import pairwise
from threading import Event
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.journey.test_commands_that_look import said
from tests.journey.test_verdicts import ask, questions
from tests.places import KEY, REFUSED, Place, speech
from tests.queues import drain, queued
from watcher.cli import main, opening
from watcher.domain import State, VerdictState
from watcher.errors import Exit
from watcher.journey.segments import segments_of
from watcher.sandbox import Sandbox
from watcher.text import JsonObject


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch, clock: FalseClock) -> None:
    """Commands have the key, and the clock of the service."""
    monkeypatch.setenv("IDENTIFAI_API_KEY", KEY)
    monkeypatch.setattr(opening, "SystemClock", lambda: clock)


def judge(place: Place) -> None:
    """The verdicts that are due are known, and in the receipts."""
    place.clock.wait(60, Event())
    place.run_once(verdicts=True)


def judged(place: Place, *names: str) -> None:
    """These recordings are done, and their verdicts known."""
    for name in names:
        place.drop(name)
    place.run_once(verdicts=True)
    assert {place.states()[name] for name in names} == {State.DONE}


def verdict_of(classification: str | None, confidence: float = 0.93, **more: Any) -> JsonObject:
    """What the service answers for one recording from now on."""
    main = {
        "classification": classification,
        "confidence": confidence,
        "heuristic": "careful",
        "models": ["one", "two"],
    }
    return {"status": "done", "api_version": "1.3.0", "verdict": main, "verdicts": [main], **more}


def answers(service: Sandbox, place: Place, name: str, entry: JsonObject) -> None:
    service.add_fault("garbled", identifier=place.item(name).identifier, times=0, body=entry)


def lines(
    place: Place, capsys: pytest.CaptureFixture[str], *words: str, code: int = Exit.WELL
) -> list[JsonObject]:
    return [json.loads(line) for line in said(place, capsys, *words, "--json", code=code).splitlines()]


CLIPS = [{"start": 0, "end": 5, "classification": [{"label": "human", "score": 0.9}]}, {"start": 5, "end": 8}]


@pytest.mark.parametrize("form", [{"chunk_details": CLIPS}, {"details": {"clips": CLIPS}}], ids=["alone", "list"])
def test_all_that_the_service_says_is_kept(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], form: JsonObject
) -> None:
    """Heuristic, models, version, page, segments in either form, and the whole result; in the receipt, too."""
    place.drop("a.wav")
    place.run_once()
    url = "https://dashboard.example/results/7"
    answers(
        service, place, "a.wav", verdict_of("human", result_url=url, details=None, unknown={"x": [1, None]}) | form
    )
    judge(place)

    (told,) = lines(place, capsys, "verdicts", "a.wav")
    shown = json.loads(said(place, capsys, "show", "--json", "a.wav"))
    receipt = place.receipt("done/a.wav.json")
    for verdict in (told["verdict"], shown["verdict"], receipt["verdict"]):
        assert (verdict["classification"], verdict["confidence"], verdict["heuristic"]) == (
            "human",
            0.93,
            "careful",
        )
        assert (verdict["models"], verdict["api_version"]) == (["one", "two"], "1.3.0")
        assert verdict["result_url"] == url
        assert verdict["segments"] == CLIPS
        assert verdict["force_classification"] is None
        assert verdict["machine"] == {"classification": "human", "confidence": 0.93}
    assert told["result"]["unknown"] == {"x": [1, None]}
    assert told["result"]["identifier"] == place.item("a.wav").identifier
    assert segments_of(told["result"]) == CLIPS
    text = said(place, capsys, "verdicts")
    for word in ("a.wav", "human", "0.93", "careful", "one, two", "1.3.0"):
        assert word in text
    assert url in said(place, capsys, "show", "a.wav")


def test_what_was_forced_stands_beside_what_the_models_said(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """An override decides; the models' own verdict, with its confidence, is not lost."""
    place.drop("a.wav")
    place.run_once()
    answers(service, place, "a.wav", verdict_of("human", 0.71, force_classification="artificial"))
    judge(place)

    verdict = place.receipt("done/a.wav.json")["verdict"]
    assert (verdict["classification"], verdict["confidence"], verdict["forced"]) == ("artificial", None, True)
    assert verdict["force_classification"] == "artificial"
    assert verdict["machine"] == {"classification": "human", "confidence": 0.71}
    assert "human" in said(place, capsys, "verdicts", "a.wav")


@pytest.mark.parametrize("url", ["javascript:alert(1)", 7, None, "https://x/" + "y" * 600, ""])
def test_only_the_address_of_a_page_is_kept_as_one(place: Place, service: Sandbox, url: object) -> None:
    """People follow it, and pages link it."""
    place.drop("a.wav")
    place.run_once()
    answers(service, place, "a.wav", verdict_of("human", result_url=url))
    judge(place)
    verdict = place.receipt("done/a.wav.json")["verdict"]
    assert (verdict["classification"], verdict["result_url"]) == ("human", None)


def test_a_result_that_repeats_the_key_is_kept_without_it(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it stands in it: no command, receipt or database ever has the key."""
    place.drop("a.wav")
    place.run_once()
    echo = {"note": f"asked with {KEY}", KEY: [KEY.upper(), {"deep": KEY.replace("-", "\\u002d")}]}
    answers(service, place, "a.wav", verdict_of("human", chunk_details=[echo], echo=echo))
    judge(place)
    printed = said(place, capsys, "verdicts", "--json")
    kept = b"".join(
        path.read_bytes() for path in place.root.rglob("*") if path.is_file() and path.name != "config.toml"
    )
    (told,) = [json.loads(line) for line in printed.splitlines()]
    assert KEY not in json.dumps(told)
    assert KEY.encode() not in kept
    assert told["result"]["echo"]["note"] == "asked with <key>"


def test_segments_that_would_not_fit_into_a_receipt_are_counted_there(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour of them. `verdicts --json` has them all."""
    place.drop("a.wav")
    place.run_once()
    many = [{"start": n * 5, "label": "human", "score": 0.5} for n in range(720)]
    answers(service, place, "a.wav", verdict_of("human", details={"clips": many}))
    judge(place)
    verdict = place.receipt("done/a.wav.json")["verdict"]
    assert (verdict["segments"], verdict["segments_left_out"]) == (None, 720)
    assert (place.root / "done/a.wav.json").stat().st_size < 64 * 1024
    (told,) = lines(place, capsys, "verdicts", "a.wav")
    assert told["result"]["details"]["clips"] == many


# Asked for again


def test_a_verdict_that_changed_is_noticed(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line in the log, the history, and a receipt that is replaced whole. What has not changed says nothing."""
    judged(place, "a.wav", "b.wav")
    before = place.verdict("a.wav")
    assert before is not None
    now = "artificial" if before.classification == "human" else "human"
    answers(service, place, "a.wav", verdict_of(now, 0.66))
    paid, asked = service.charged, len(questions(service))

    told = {one["path"]: one for one in lines(place, capsys, "verdicts", "--refresh")}
    assert told["a.wav"]["verdict"]["classification"] == now
    assert (service.charged, len(questions(service))) == (paid, asked + 1)
    history = json.loads(said(place, capsys, "show", "--json", "a.wav"))["history"]
    assert f"now {now} (confidence 0.66)" in history[-1]["note"]
    assert history[-1]["note"].startswith(f"the verdict changed: {before.classification}")
    (unchanged,) = lines(place, capsys, "verdicts", "b.wav")
    assert unchanged["verdict"] == told["b.wav"]["verdict"]
    assert "changed" not in said(place, capsys, "show", "b.wav")
    place.run_once()
    assert place.receipt("done/a.wav.json")["verdict"]["classification"] == now
    assert place.receipt("done/a.wav.json")["verdict"]["models"] == ["one", "two"]

    lines(place, capsys, "verdicts", "--refresh", "a.wav")  # once: it is no news any more
    assert json.loads(said(place, capsys, "show", "--json", "a.wav"))["history"] == history


def test_a_change_is_logged_with_what_it_was(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(place, "a.wav")
    answers(service, place, "a.wav", verdict_of("artificial", 0.66))
    capsys.readouterr()
    assert main(["verdicts", "--refresh", "a.wav", "--config", str(place.config_path)]) == Exit.WELL
    err = capsys.readouterr().err
    assert "verdict.changed" in err
    assert "1 asked for again, 1 changed" in err


def test_other_grounds_are_a_change_too(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same verdict by a newer version of the service."""
    judged(place, "a.wav")
    answers(service, place, "a.wav", {"api_version": "2.0"})
    lines(place, capsys, "verdicts", "--refresh", "a.wav")
    assert "stands on other grounds: api_version 1.1.0, now 2.0" in said(place, capsys, "show", "a.wav")


@pytest.mark.parametrize(
    ("fault", "code"), [({"kind": "stuck"}, 0), ({"kind": "leave_out"}, 0), ({"kind": "errored"}, 1)]
)
def test_a_verdict_that_was_known_stands_until_there_is_another(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], fault: JsonObject, code: int
) -> None:
    """The service forgets, takes its time, or fails: none of it contradicts what it has said."""
    judged(place, "a.wav")
    before = place.verdict("a.wav")
    service.add_fault(**fault, times=0)
    lines(place, capsys, "verdicts", "--refresh", "a.wav", code=code)
    after = place.verdict("a.wav")
    assert after == before
    assert after is not None
    assert after.state is VerdictState.KNOWN


@pytest.mark.parametrize("status", [401, 403, 500, 429])
def test_a_service_that_does_not_answer_is_told(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """Exit code 69, and the verdicts as they were known."""
    judged(place, "a.wav", "b.wav")
    known = lines(place, capsys, "verdicts")
    service.add_fault("status", status=status, method="GET", times=0)
    assert lines(place, capsys, "verdicts", "--refresh", code=Exit.UNAVAILABLE) == known


def test_one_that_the_service_chokes_on_hinders_no_other(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is found by halves, and named by the exit code."""
    names = [f"{n}.wav" for n in range(5)]
    judged(place, *names)
    for name in names:
        answers(service, place, name, verdict_of("artificial"))
    chokes = place.item("3.wav").identifier
    service.add_fault("status", status=500, method="GET", identifier=chokes, times=0)
    told = lines(place, capsys, "verdicts", "--refresh", code=Exit.INCOMPLETE)
    assert {one["path"] for one in told if one["verdict"]["heuristic"] == "careful"} == {*names} - {"3.wav"}


def test_questions_keep_to_the_limits(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of earlier commands and of the daemon count: none is answered with 429."""
    place = make_place(limits={"reads": ["1/second"]})
    judged(place, "a.wav")
    for _ in range(3):
        lines(place, capsys, "verdicts", "--refresh")
    times = [entry.time for entry in questions(service)]
    assert min(later - earlier for earlier, later in pairwise(times)) >= 1.0
    assert {entry.status for entry in questions(service)} == {200}


def test_what_a_person_had_asked_for_is_not_overwritten(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's answer was on its way when the command stored the verdict."""
    place = make_place(limits={"writes": []})
    with queued(place, "a") as journey:
        drain(journey)
        place.clock.wait(60, journey.stopping)
        verdicts = journey.verdict_poller._client.verdicts

        def overtaken(*args: Any) -> object:
            lines(place, capsys, "verdicts", "--refresh")
            verdicts(*args)
            return {}

        monkeypatch.setattr(journey.verdict_poller._client, "verdicts", overtaken)
        ask(journey, seconds=1)
    known = place.verdict("a.wav")
    assert known is not None
    assert known.state is VerdictState.KNOWN


def test_without_a_verdict_there_is_nothing_to_show(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that have one are listed; one that was named is shown in any case; a wrong name is an error."""
    service.add_fault(**REFUSED, times=1)
    place.drop("a.wav")
    place.run_once()
    assert lines(place, capsys, "verdicts") == []
    (told,) = lines(place, capsys, "verdicts", "a.wav")
    assert (told["state"], told["verdict"]) == ("failed", None)
    assert lines(place, capsys, "verdicts", "--refresh", "a.wav")[0]["verdict"] is None
    said(place, capsys, "verdicts", "nothing.wav", code=Exit.USAGE)


def test_the_verdicts_of_a_recording_in_parts(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each part's with its own result, and the joined one; a change on one part stands in the history."""
    place = make_place(limits={"max_upload_bytes": 400_000, "writes": []}, audio={"oversize": "split"})
    service_limits = speech("long", seconds=60.0)
    place.drop("long.wav", service_limits)
    place.run_once(verdicts=True)
    (told,) = lines(place, capsys, "verdicts")
    assert told["identifier"] is None
    assert len(told["parts"]) > 1
    assert all(part["result"]["identifier"] == part["identifier"] for part in told["parts"])
    assert all(part["verdict"]["machine"] for part in told["parts"])
    assert told["verdict"]["rule"] == "any"
    one = told["parts"][1]["identifier"]
    service.add_fault("garbled", identifier=one, times=0, body=verdict_of("artificial", 0.99))
    (after,) = lines(place, capsys, "verdicts", "--refresh", "long.wav")
    assert after["parts"][1]["verdict"]["confidence"] == 0.99
    assert after["verdict"]["classification"] == "artificial"
    assert "the verdict on part 2" in said(place, capsys, "show", "long.wav")
    assert said(place, capsys, "verdicts", "long.wav").count("long.wav") == len(told["parts"]) + 1


# A person's word


def test_a_persons_word_stands_beside_the_machines(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `show`, `list` and the receipt, with who and when; the machine's own stays as it is."""
    monkeypatch.setenv("SUDO_USER", "anna")
    judged(place, "a.wav")
    machine = place.receipt("done/a.wav.json")["verdict"]
    assert place.receipt("done/a.wav.json")["review"] is None

    said(place, capsys, "review", "a.wav", "--artificial", "--note", "The breath\nis\x1b[31m missing.")
    place.run_once()

    receipt, (listed,) = place.receipt("done/a.wav.json"), lines(place, capsys, "list")
    shown = json.loads(said(place, capsys, "show", "--json", "a.wav"))
    assert receipt["review"] == listed["review"] == shown["review"]
    review = receipt["review"]
    assert review["word"] == "artificial"
    assert "anna" in review["by"]
    assert review["at"].endswith("Z")
    assert review["note"].isprintable()
    assert "missing." in review["note"]
    assert receipt["verdict"] == machine
    assert shown["history"][-1]["by"] == review["by"]
    for words in (("show", "a.wav"), ("list",), ("verdicts",)):
        assert "artificial" in said(place, capsys, *words)
        assert "anna" in said(place, capsys, *words)


def test_who_changes_their_mind_keeps_the_history(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The last word counts; each stands in the history."""
    judged(place, "a.wav")
    for word in ("artificial", "unclear", "human"):
        said(place, capsys, "review", place.item("a.wav").id[:6], f"--{word}", "--note", f"heard {word}")
    shown = json.loads(said(place, capsys, "show", "--json", "a.wav"))
    assert shown["review"]["word"] == "human"
    notes = [change["note"] for change in shown["history"]][-3:]
    assert [note.partition(",")[0] for note in notes] == ["artificial", "unclear", "human"]
    assert [note.rpartition(": ")[2] for note in notes] == ["heard artificial", "heard unclear", "heard human"]
    said(place, capsys, "reconcile")


def test_what_failed_can_be_reviewed_and_what_is_not_filed_cannot(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who listened to it knows what it is, whatever the service said."""
    service.add_fault(**REFUSED, times=1)
    place.drop("failed.wav")
    place.run_once()
    said(place, capsys, "review", "failed.wav", "--human")
    place.run_once()
    assert place.receipt("failed/failed.wav.json")["review"]["word"] == "human"
    assert place.receipt("failed/failed.wav.json")["verdict"] is None
    said(place, capsys, "pause")
    place.drop("new.wav")
    place.run_once()
    said(place, capsys, "review", "new.wav", "--human", code=Exit.USAGE)
    said(place, capsys, "review", "nothing.wav", "--human", code=Exit.USAGE)
    said(place, capsys, "review", "failed.wav", "--human", "--note", "x" * 501, code=Exit.USAGE)


def test_one_word_at_a_time(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    judged(place, "a.wav")
    for words in ([], ["--human", "--unclear"]):
        with pytest.raises(SystemExit) as ended:
            said(place, capsys, "review", "a.wav", *words)
        assert ended.value.code == Exit.USAGE
