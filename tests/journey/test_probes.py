"""In an outage questions go out, which cost nothing; a recording only once the service answers as itself."""

from itertools import pairwise
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import REFUSED, Place
from tests.queues import add, drain, listening, posts, queued, told
from watcher.cli import main
from watcher.domain import Pause, PauseKind, State
from watcher.errors import Exit
from watcher.folders import Folder
from watcher.journey.submit import pauses
from watcher.sandbox import LedgerEntry, Sandbox

NIGHT = 8 * 3600.0
OUTAGES: dict[str, dict[str, Any]] = {
    "a page": {"kind": "html"},
    "500": {"kind": "status", "status": 500},
    "502, a page": {"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"},
    "503": {"kind": "status", "status": 503},
    "nothing": {"kind": "close_after_reading"},
    "a guest network": {"kind": "redirect", "location": "http://portal.example/login"},
    "a proxy": {
        "kind": "status",
        "status": 403,
        "body": "<title>Blocked</title>",
        "headers": {"Via": "1.1 squid"},
    },
    "JSON of another form": {"kind": "status", "status": 200, "body": {"ok": True}},
}


def questions(service: Sandbox) -> list[LedgerEntry]:
    return [entry for entry in service.ledger if entry.method == "GET"]


def hold(make_place: MakePlace, **settings: Any) -> Place:
    return make_place(identifai={"in_doubt": "hold"}, **settings)


@pytest.mark.parametrize("in_doubt", ["hold", "resubmit"])
@pytest.mark.parametrize("name", OUTAGES)
def test_a_night_without_the_service_costs_one_upload(
    make_place: MakePlace, service: Sandbox, name: str, in_doubt: str
) -> None:
    """However it fails: questions, paced like canaries; when it is well all is sent, and one at most was held."""
    place = make_place(identifai={"in_doubt": in_doubt})
    service.add_fault(**OUTAGES[name], method="*", times=0)
    with queued(place, *"abcdef") as journey, listening() as log:
        drain(journey, seconds=NIGHT)
        assert len(posts(service)) == 1
        (pause,) = place.pauses()
        assert pause.kind is PauseKind.SERVICE
        asked = questions(service)
        gaps = [later.time - earlier.time for earlier, later in pairwise(asked)]
        assert gaps[:3] == pytest.approx([10.0, 20.0, 40.0], rel=0.06)
        assert max(gaps) < 660
        assert {item.attempts for item in place.items().values()} == {0, 1}  # a question is no attempt
        assert len(told(log, "submitting.paused")) == 1
        service.clear_faults()
        drain(journey)
    held = [path for path, state in place.states().items() if state is State.HELD]
    assert len(held) <= (in_doubt == "hold")
    assert set(place.states().values()) <= {State.DONE, State.HELD}
    (resumed,) = told(log, "submitting.resumed")
    assert resumed["tries"] == len(asked) + 1  # the last one was a recording


def test_release_all_sends_whatever_is_held(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """One decision for all of them; and `fail --all` is the other one."""
    place = hold(make_place)
    for decision, state in (("release", State.DONE), ("fail", State.FAILED)):
        names = [f"{decision}-{n}" for n in range(3)]
        with queued(place, *names) as journey:
            for _ in names:
                service.add_fault("lose_answer", charges=False)
                pauses_end_at_once(place)
                journey.submissions[0].step()
            assert [place.states()[f"{name}.wav"] for name in names] == [State.HELD] * 3
            assert main([decision, "--all", "--config", str(place.config_path)]) == Exit.WELL
            assert capsys.readouterr().out.count(".wav: is ") == 3
            pauses_end_at_once(place)
            drain(journey)
        assert [place.states()[f"{name}.wav"] for name in names] == [state] * 3
    assert main(["release", "--all", "--config", str(place.config_path)]) == Exit.WELL
    assert "Nothing is held" in capsys.readouterr().err
    for words in (["release"], ["release", "--all", "release-0.wav"], ["fail"]):
        assert main([*words, "--config", str(place.config_path)]) == Exit.USAGE


def pauses_end_at_once(place: Place) -> None:
    with place.books() as books:
        for pause in books.pauses.active():
            books.pauses.end(pause.kind, place.clock.now())


def test_questions_keep_to_their_windows(make_place: MakePlace, service: Sandbox) -> None:
    """Where the account grants few questions, a try waits for one."""
    place = make_place(limits={"reads": ["2/hour"]})
    service.add_fault("status", status=503, method="*", times=0)
    with queued(place, "a") as journey:
        drain(journey, seconds=NIGHT)
    times = [entry.time for entry in questions(service)]
    assert len(times) >= 14
    assert all(later - earlier >= 3600 for earlier, later in zip(times, times[2:], strict=False))


@pytest.mark.parametrize("status", [401, 403])
def test_the_account_is_asked_by_questions(place: Place, service: Sandbox, status: int) -> None:
    """No upload while the key is refused: a question tells that this is over, and a recording shows it."""
    service.add_fault("status", status=status, method="*", times=0)
    with queued(place, *"abc") as journey:
        drain(journey, seconds=NIGHT)
        assert len(posts(service)) == 1
        assert [pause.kind for pause in place.pauses()] == [PauseKind.ACCOUNT]
        service.clear_faults()
        drain(journey)
    assert set(place.states().values()) == {State.DONE}


def test_a_question_can_tell_that_it_is_the_account(place: Place, service: Sandbox) -> None:
    """The service is back and the key is no good: the pause is the account's from then on."""
    service.add_fault("status", status=503, method="*", times=3)
    service.add_fault("status", status=401, method="*", times=3)
    with queued(place, *"abc") as journey, listening() as log:
        drain(journey)
    assert [(line["kind"], line["event"]) for line in told(log, "submitting.paused", "submitting.resumed")] == [
        ("service", "submitting.paused"),
        ("account", "submitting.paused"),
        ("account", "submitting.resumed"),
    ]
    assert set(place.states().values()) == {State.DONE}
    assert len(posts(service)) == 1 + 3


def test_only_an_upload_tells_of_credit(place: Place, service: Sandbox) -> None:
    """Questions are answered without credit: so recordings are tried, each after one of them."""
    service.credit = 0
    with queued(place, *"abc") as journey:
        drain(journey, seconds=100)
        assert [pause.code for pause in place.pauses()] == ["no_credit"]
        assert len(posts(service)) == len(questions(service)) + 1 >= 4
        service.credit = 5
        drain(journey)
    assert set(place.states().values()) == {State.DONE}


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "status", "status": 429, "retry_after": 7},
        {"kind": "status", "status": 404},
        {
            "kind": "status",
            "status": 422,
            "body": {"message": "Invalid.", "errors": {"identifiers.0": ["Unknown."]}},
        },
        {"kind": "status", "status": 400, "body": {"identifiers": ["The identifiers field is invalid."]}},
        {"kind": "status", "status": 200, "body": []},
    ],
)
def test_whatever_it_says_as_itself_the_service_is_there(
    place: Place, service: Sandbox, answer: dict[str, Any]
) -> None:
    """A refusal of the question in the service's own form shows that uploads arrive: a canary goes at once."""
    service.add_fault("status", status=503)
    service.add_fault(**answer, method="GET", times=0)
    with queued(place, *"ab") as journey:
        drain(journey, seconds=8)
    assert len(posts(service)) >= 2
    assert place.pauses() == []


def test_one_pass_gives_up_after_three_tries(place: Place, service: Sandbox) -> None:
    """`run --once` ends with 69: one upload and three questions went out."""
    service.add_fault("status", status=503, method="*", times=0)
    for name in "abcd":
        place.drop(f"{name}.wav")
    assert place.run_once().exit_code == Exit.UNAVAILABLE
    assert (len(posts(service)), len(questions(service))) == (1, 3)


def test_resume_asks_at_once(place: Place, service: Sandbox, clock: FalseClock) -> None:
    """Who mended something need not wait: the next question goes out at once, and a recording after it."""
    service.add_fault("status", status=503, method="*", times=0)
    with queued(place, *"ab") as journey:
        drain(journey, seconds=2000)
        service.clear_faults()
        before = clock.now()
        with place.books() as books:
            pauses.try_at_once(books, clock.now())
        drain(journey, seconds=5)
        assert clock.now() - before <= 5
    assert State.DONE in place.states().values()


def test_newcomers_in_an_outage_ask_nothing_of_their_own(place: Place, service: Sandbox) -> None:
    """Where not even questions are answered it is no recording's fault: those that arrive wait like all others."""
    service.add_fault("status", status=503, method="*", times=0)
    with queued(place, "first") as journey:
        drain(journey, seconds=2000)
        before = len(service.ledger)
        for n in range(5):
            add(place, journey, f"newcomer-{n}")
            drain(journey, seconds=10)
        assert len(service.ledger) == before


def test_a_restart_keeps_count_of_the_questions(place: Place, service: Sandbox) -> None:
    """The line at the pause's end tells all its tries, those before the restart included."""
    service.add_fault("status", status=503, method="*", times=0)
    with queued(place, "a") as journey:
        drain(journey, seconds=200)
    with place.opened() as journey, listening() as log:
        drain(journey, seconds=200)
        asked = len(questions(service))
        service.clear_faults()
        drain(journey)
    (resumed,) = told(log, "submitting.resumed")
    assert resumed["tries"] == asked + 1


def test_a_question_that_can_not_be_written_down_blocks_nobody(place: Place, service: Sandbox) -> None:
    """The disk was full when its answer came: the next one ends it, and goes on."""
    service.add_fault("status", status=503, method="*", times=0)
    with queued(place, "a") as journey:
        journey.submissions[0].step()
        place.clock.wait(6, journey.stopping)
        store = journey.site.store
        probe = journey.submissions[0]._probe._client
        asked = probe.probe

        def ask(identifier: str) -> None:
            try:
                asked(identifier)
            finally:
                object.__setattr__(journey.site, "store", None)

        probe.probe = ask  # type: ignore[method-assign]
        with pytest.raises(AttributeError):
            journey.submissions[0].step()
        object.__setattr__(journey.site, "store", store)
        probe.probe = asked  # type: ignore[method-assign]
        service.clear_faults()
        drain(journey)
    assert place.states() == {"a.wav": State.DONE}


# A throttle's episodes


def test_endless_throttling_is_one_pair_of_lines(place: Place, service: Sandbox) -> None:
    """A pause of a second each, again and again: told when it begins, and when a recording is taken again."""
    service.add_fault("status", status=429, retry_after=1, times=40)
    with queued(place, *"abc") as journey, listening() as log:
        drain(journey, seconds=100)
        assert len(told(log, "submitting.paused")) == 1
        assert told(log, "submitting.resumed") == []
        drain(journey)
    (resumed,) = told(log, "submitting.resumed")
    assert len(told(log, "submitting.paused")) == 1
    assert resumed["tries"] == 40
    assert resumed["lasted_seconds"] >= 40
    assert [line for line in log if line["log_level"] != "debug" and line["event"] == "recording.unsent"] == []
    assert set(place.states().values()) == {State.DONE}


def test_a_refusal_of_a_file_ends_an_episode_and_the_next_429_begins_another(
    place: Place, service: Sandbox
) -> None:
    """Two episodes, two pairs."""
    service.add_fault("status", status=429, retry_after=1, times=2)
    service.add_fault(**REFUSED)
    service.add_fault("status", status=429, retry_after=1, times=2)
    with queued(place, *"ab") as journey, listening() as log:
        drain(journey)
    events = [line["event"] for line in told(log, "submitting.paused", "submitting.resumed")]
    assert events == ["submitting.paused", "submitting.resumed"] * 2


def test_a_pause_that_comes_between_the_look_and_the_claim_is_asked_about_first(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sender's error began it, and its time has passed by then: no question was asked yet."""
    with queued(place, "a") as journey:

        def open_slowly(folder: Folder, path: bytes) -> Any:
            monkeypatch.undo()
            now = place.clock.now()
            with journey.site.store.writing() as books:
                books.pauses.set(Pause(PauseKind.SERVICE, "not_well", "another's", now, now + 1))
            place.clock.wait(2, journey.stopping)
            return folder.open(path)

        monkeypatch.setattr(Folder, "open", open_slowly)
        drain(journey)
    assert [entry.method for entry in service.ledger] == ["GET", "POST"]
    assert place.states() == {"a.wav": State.DONE}
