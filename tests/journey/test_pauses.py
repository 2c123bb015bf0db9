"""Pauses: begun by a fault of the account or the service, ended by a canary; and by hand.

All that begins, keeps and ends one is tried here and in test_probes.py, on the false clock. tests/process only
tries what the commands and a pass say in one, and how they exit."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import REFUSED, Place, sandbox
from tests.process.programs import wait_until
from tests.queues import add, drain, listening, posts, queued, told
from watcher.domain import Pause, PauseKind, State
from watcher.journey.submit import pauses
from watcher.sandbox import Sandbox


def command(place: Place, *words: str) -> None:
    """A command beside the daemon, in a process of its own."""
    command = [sys.executable, "-m", "watcher", *words, "--config", str(place.config_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def try_at_once(place: Place) -> None:
    """As `watcher resume` does it, at the false clock's time."""
    with place.books() as books:
        pauses.try_at_once(books, place.clock.now())


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ({"kind": "status", "status": 401}, PauseKind.ACCOUNT, "API key"),
        ({"kind": "status", "status": 403}, PauseKind.ACCOUNT, "terms of service"),
        ({"kind": "no_credit"}, PauseKind.ACCOUNT, "Buy credit"),
        (
            {"kind": "status", "status": 402, "body": {"message": "Payment Required"}},
            PauseKind.ACCOUNT,
            "Buy credit",
        ),
        ({"kind": "status", "status": 402, "body": "<html>Pay</html>"}, PauseKind.SERVICE, "proxy"),
        ({"kind": "unclassified"}, PauseKind.SERVICE, "account"),
        ({"kind": "status", "status": 413}, PauseKind.SERVICE, "proxy"),
        ({"kind": "status", "status": 500}, PauseKind.SERVICE, "500"),
        ({"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"}, PauseKind.SERVICE, "Bad Gateway"),
        ({"kind": "status", "status": 503, "retry_after": 90}, PauseKind.SERVICE, "503"),
        ({"kind": "status", "status": 404}, PauseKind.SERVICE, "base_url"),
        ({"kind": "redirect"}, PauseKind.SERVICE, "base_url"),
        ({"kind": "html"}, PauseKind.SERVICE, "base_url"),
        ({"kind": "empty"}, PauseKind.SERVICE, "identifier"),
        ({"kind": "cut_json"}, PauseKind.SERVICE, "identifier"),
        ({"kind": "no_identifier"}, PauseKind.SERVICE, "identifier"),
        ({"kind": "lose_answer"}, PauseKind.SERVICE, "in_doubt"),
        ({"kind": "close_before_reading"}, PauseKind.SERVICE, ""),
        ({"kind": "close_while_reading"}, PauseKind.SERVICE, ""),
        ({"kind": "close_after_reading"}, PauseKind.SERVICE, "in_doubt"),
    ],
    ids=lambda value: "-".join(map(str, value.values()))[:30] if isinstance(value, dict) else "",
)
def test_an_outage_files_nothing_and_is_two_lines_in_the_log(
    place: Place, service: Sandbox, fault: dict[str, object], kind: PauseKind, says: str
) -> None:
    """Whatever fails for all pauses submitting; nothing is filed, canaries try, and the first success ends it."""
    service.add_fault(**fault, times=3)  # type: ignore[arg-type]
    with queued(place, "a", "b", "c", "d") as journey, listening() as log:
        journey.submissions[0].step()
        (pause,) = place.pauses()
        assert (pause.kind, pause.tries) == (kind, 0)
        assert says in pause.reason
        assert pause.reason.strip()
        before = len(posts(service))
        journey.submissions[0].step()
        assert len(posts(service)) == before  # nothing goes out while it lasts
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 4
    (paused,), (resumed,) = told(log, "submitting.paused"), told(log, "submitting.resumed")
    assert paused["reason"] == pause.reason
    assert resumed["tries"] == 3
    assert resumed["lasted_seconds"] >= 5 + 10 + 20 - 5
    assert place.pauses() == []


def test_a_service_that_is_not_there_is_waited_for(place: Place, service: Sandbox) -> None:
    """Nobody listens: a pause with the reason; when the service is back, everything goes on by itself."""
    service.close()
    with queued(place, "a", "b") as journey:
        drain(journey, seconds=30)
        (pause,) = place.pauses()
        assert (pause.kind, pause.code) == (PauseKind.SERVICE, "unreachable")
        assert "refused" in pause.reason
        service.start()
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 2


def test_canaries_are_paced_and_each_is_another_recording(
    place: Place, service: Sandbox, clock: FalseClock
) -> None:
    """One canary at a time, each another item, at 5, 10, 20 … seconds, never further apart than the maximum."""
    service.add_fault("status", status=503, times=0)
    with queued(place, *"abcdefghijk") as journey:
        drain(journey, seconds=3000)
    seen = posts(service)
    order = [place.items()[f"{name}.wav"].sha256 for name in "abcdefghijk"]
    assert [entry.sha256 for entry in seen] == order[: len(seen)] + order[: max(0, len(seen) - 11)]
    gaps = [later.time - earlier.time for earlier, later in pairwise(seen)]
    expected = [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0, 600.0]
    assert gaps == pytest.approx(expected[: len(gaps)], rel=0.06)
    assert {item.faults for item in place.items().values()} == {1}


def test_the_services_own_wish_is_kept(place: Place, service: Sandbox, clock: FalseClock) -> None:
    """503 with Retry-After: no canary before that."""
    service.add_fault("status", status=503, retry_after=90)
    with queued(place, "a") as journey:
        drain(journey)
    first, second = posts(service)
    assert 90 <= second.time - first.time < 96


def test_one_poison_file_neither_keeps_a_pause_up_nor_passes_for_an_outage(
    make_place: MakePlace, service: Sandbox
) -> None:
    """500 for one recording alone: the others go out as ever, and after 8 of its faults it is held, not failed."""
    place = make_place(retry={"first_seconds": 2, "max_seconds": 4})
    others = [f"{n:02}" for n in range(40)]
    with queued(place, "poison", *others) as journey, listening() as log:
        poison = place.item("poison.wav").sha256
        service.add_fault("status", status=500, times=0, sha256=poison)
        took = drain(journey)
    states = place.states()
    assert states.pop("poison.wav") is State.HELD
    assert set(states.values()) == {State.DONE}
    item = place.item("poison.wav")
    assert item.faults == 8
    assert item.attempts <= 8 + 2  # where nobody was accepted in between, a fault does not count
    assert item.fault is not None
    assert "watcher release" in item.fault.hint
    assert len(told(log, "submitting.paused")) == 1  # its first fault might have been an outage
    assert took < 80 + 10
    assert service.charged == 40


def test_a_poison_file_that_is_alone_waits_and_is_blamed_for_nothing(place: Place, service: Sandbox) -> None:
    """While nothing else is accepted, a poison file looks like an outage: it is neither held nor failed."""
    with queued(place, "poison") as journey:
        service.add_fault("status", status=500, times=0)
        drain(journey, seconds=7200)
    item = place.item("poison.wav")
    assert (item.state, item.faults) == (State.QUEUED, 1)
    assert item.attempts > 8


BLAMES_NOBODY: dict[str, dict[str, Any]] = {
    "no reason": {"kind": "unclassified"},
    "not received": {"kind": "status", "status": 400, "body": {"audio": ["The audio field is required."]}},
    "not received, in other words": {"kind": "status", "status": 422},
    "the account, in words with audio in them": {
        "kind": "status",
        "status": 400,
        "body": {"error": "Your organization has no license for audio analysis."},
    },
    "a server's limit": {
        "kind": "status",
        "status": 413,
        "body": "<html><head><title>413 Request Entity Too Large</title></head><center>nginx</center></html>",
    },
}


@pytest.mark.parametrize("name", BLAMES_NOBODY)
def test_an_unclassified_refusal_empties_nothing_into_failed(place: Place, service: Sandbox, name: str) -> None:
    """A run of refusals that blame nobody, over at last: every recording is done, the refused ones included."""
    service.add_fault(**BLAMES_NOBODY[name], times=6)
    with queued(place, *"abcd") as journey:
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 4


@pytest.mark.parametrize("name", BLAMES_NOBODY)
def test_an_unclassified_refusal_of_one_file_is_its_own_once_others_are_accepted(
    place: Place, service: Sandbox, name: str
) -> None:
    """Refused again after another was accepted, it is filed in failed/ with the service's words."""
    with queued(place, "odd", "a", "b") as journey:
        service.add_fault(**BLAMES_NOBODY[name], times=0, sha256=place.item("odd.wav").sha256)
        drain(journey)
    assert place.states() == {"odd.wav": State.FAILED, "a.wav": State.DONE, "b.wav": State.DONE}
    error = place.receipt("failed/odd.wav.json")["error"]
    assert error["code"] == "refused"
    assert place.item("odd.wav").attempts == 2
    assert place.pauses() == []


@pytest.mark.parametrize("words", ["Too many audio files", "The audio file could not be stored: server is busy"])
def test_what_is_used_up_or_out_of_order_fails_no_file_however_often_it_is_said(
    place: Place, service: Sandbox, words: str
) -> None:
    """Of one file alone, with others accepted in between: it waits, and is sent when nobody says so any more."""
    with queued(place, "odd", "a", "b") as journey:
        refused = place.item("odd.wav").sha256
        service.add_fault("status", status=400, body={"error": words}, times=3, sha256=refused)
        drain(journey, seconds=900)
        assert place.item("odd.wav").attempts == 4
    assert set(place.states().values()) == {State.DONE}


def test_two_bad_files_and_an_account_without_credit_are_told_apart(place: Place, service: Sandbox) -> None:
    """Refused without a reason, accepted once, refused again: with nobody accepted since, it is nobody's fault."""
    with queued(place, "a", "b", "c") as journey:
        service.add_fault("unclassified", times=2)  # a, and b as its canary
        drain(journey, seconds=8)
        assert [state for state in place.states().values() if state is State.DONE] == []
        service.clear_faults()
        journey.site.clock.wait(12, journey.stopping)
        journey.submissions[0].step()  # c is accepted
        assert place.item("c.wav").identifier is not None
        service.add_fault("unclassified", times=0)  # and the credit is used up again, whatever it says
        drain(journey, seconds=300)
        states = place.states()
        assert [states["a.wav"], states["b.wav"]].count(State.FAILED) <= 1
        service.clear_faults()
        drain(journey)
    assert State.QUEUED not in place.states().values()


def test_a_refusal_of_a_file_shows_that_the_service_is_well(place: Place, service: Sandbox) -> None:
    """A canary that is refused as a file ends an outage, and goes to failed/ itself."""
    service.add_fault("status", status=503)
    with queued(place, "a", "b", "c") as journey:
        service.add_fault(**REFUSED, times=0, sha256=place.item("b.wav").sha256)
        drain(journey, seconds=6)
        assert place.pauses() == []
        drain(journey)
    assert place.states() == {"a.wav": State.DONE, "b.wav": State.FAILED, "c.wav": State.DONE}


def test_a_refusal_of_a_file_says_nothing_about_credit(place: Place, service: Sandbox) -> None:
    """Files are looked at before credit is: a bad one does not end the pause for want of credit."""
    service.credit = 0
    with queued(place, "a", "b", "c") as journey:
        service.add_fault(**REFUSED, times=0, sha256=place.item("b.wav").sha256)
        drain(journey, seconds=6)
        assert [pause.code for pause in place.pauses()] == ["no_credit"]
        service.credit = 5
        drain(journey)
    assert place.states() == {"a.wav": State.DONE, "b.wav": State.FAILED, "c.wav": State.DONE}


def test_a_pause_that_turns_into_another_is_told_as_such(place: Place, service: Sandbox) -> None:
    """The service comes back and the key is revoked: one pause ends, another begins, the canaries' pace stays."""
    service.add_fault("status", status=503, times=2)
    with queued(place, "a", "b", "c") as journey, listening() as log:
        drain(journey, seconds=6)
        service.key = "another"
        drain(journey, seconds=16)
        (pause,) = place.pauses()
        assert (pause.code, pause.tries) == ("unauthorized", 2)
        service.key = "a-key-for-tests"
        drain(journey)
    assert [line["kind"] for line in told(log, "submitting.paused")] == ["service", "account"]
    assert len(told(log, "submitting.still_paused")) == len(told(log, "submitting.resumed")) == 1
    assert set(place.states().values()) == {State.DONE}


def test_parallel_uploads_that_fail_together_make_one_pause(tmp_path: Path, clock: FalseClock) -> None:
    """Those that were on their way when it began change nothing, accepted or not: a canary decides."""
    limits = ["5/second"]
    with sandbox(clock, writes=limits) as service:
        place = Place(tmp_path, service.url, clock, limits={"in_flight": 3, "writes": limits})
        service.add_fault("status", status=503, times=3)
        for name in "abcdef":
            place.drop(f"{name}.wav")
        with listening() as log:
            place.run_once()
    assert set(place.states().values()) == {State.DONE}
    assert len(told(log, "submitting.paused")) == len(told(log, "submitting.resumed")) == 1


def test_a_poison_file_that_is_alone_keeps_no_newcomer_waiting(
    place: Place, service: Sandbox, clock: FalseClock
) -> None:
    """The canaries of one recording alone may be far apart: the first other one is tried at once, and ends it."""
    with queued(place, "poison") as journey:
        service.add_fault("status", status=500, times=0, sha256=place.item("poison.wav").sha256)
        drain(journey, seconds=2000)
        began = clock.now()
        add(place, journey, "newcomer")
        journey.submissions[0].step()
    assert place.item("newcomer.wav").identifier is not None
    (entry,) = [entry for entry in posts(service) if entry.sha256 == place.item("newcomer.wav").sha256]
    assert entry.time - began < 5
    assert place.pauses() == []


def test_in_an_outage_newcomers_wait_like_all_others(place: Place, service: Sandbox) -> None:
    """One newcomer's try shows that it is an outage; those that follow wait for their turn."""
    service.add_fault("status", status=503, times=0)
    with queued(place, "first") as journey:
        drain(journey, seconds=2000)
        before = len(posts(service))
        for n in range(5):
            add(place, journey, f"newcomer-{n}")
            drain(journey, seconds=10)
    assert len(posts(service)) == before + 1


def test_after_an_outage_the_oldest_arrivals_go_first(make_place: MakePlace, service: Sandbox) -> None:
    """Those that served as canaries in it are due at once when it is over: no later arrival overtakes them."""
    place = make_place(retry={"first_seconds": 60})
    service.add_fault("status", status=503, times=0)
    with queued(place, "a", "b", "c", "d") as journey:
        journey.submissions[0].step()
        try_at_once(place)
        drain(journey, seconds=5)
        service.clear_faults()
        before = len(posts(service))
        try_at_once(place)  # c is accepted
        took = drain(journey)
        order = [place.item(f"{name}.wav").sha256 for name in "cabd"]
    assert [entry.sha256 for entry in posts(service)[before:]] == order
    assert took < 10


def test_what_failed_alone_keeps_its_own_back_off(make_place: MakePlace, service: Sandbox) -> None:
    """It may be a poison file: sent at once, it would begin the pause anew before the next one has gone out."""
    place = make_place(retry={"first_seconds": 60})
    with queued(place, "poison", "a", "b") as journey:
        service.add_fault("status", status=500, times=0, sha256=place.item("poison.wav").sha256)
        journey.submissions[0].step()
        due_at = place.item("poison.wav").due_at
        try_at_once(place)
        drain(journey, seconds=20)
        assert place.item("poison.wav").due_at == due_at > place.clock.now()
    assert list(place.states().values()) == [State.QUEUED, State.DONE, State.DONE]


def test_two_poison_files_are_held_like_one(make_place: MakePlace, service: Sandbox) -> None:
    """Together they look like an outage for once; from then on each waits for its own time, and is held."""
    place = make_place(retry={"first_seconds": 2, "max_seconds": 4})
    others = [f"{n:02}" for n in range(60)]
    with queued(place, "poison", "venom", *others) as journey, listening() as log:
        for name in ("poison", "venom"):
            service.add_fault("status", status=500, times=0, sha256=place.item(f"{name}.wav").sha256)
        took = drain(journey)
    states = place.states()
    assert {states.pop("poison.wav"), states.pop("venom.wav")} == {State.HELD}
    assert set(states.values()) == {State.DONE}
    assert len(told(log, "submitting.paused")) == 1
    assert took < 2 * (60 + 16 + 4)  # 30 a minute, and no time lost besides


# By hand


def test_a_person_pauses_and_resumes_from_another_process(place: Place, service: Sandbox) -> None:
    """Nothing is sent while it lasts; arriving and filing go on; both are in the daemon's log."""
    with queued(place, "a", "b") as journey, listening() as log:
        journey.submissions[0].step()
        command(place, "pause", "--reason", "stocktaking")
        drain(journey, seconds=600)
        add(place, journey, "late")
        assert place.states() == {"a.wav": State.DONE, "b.wav": State.QUEUED, "late.wav": State.QUEUED}
        assert len(posts(service)) == 1
        command(place, "resume")
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    (paused,), (resumed,) = told(log, "submitting.paused"), told(log, "submitting.resumed")
    assert paused["reason"] == resumed["reason"] == "stocktaking"


def test_pauses_that_came_and_went_unseen_are_told_all_the_same(place: Place) -> None:
    """Paused and resumed between two looks: both lines are in the log, once."""
    with queued(place, "a") as journey, listening() as log:
        journey.submissions[0].step()
        command(place, "pause", "--reason", "one moment")
        command(place, "resume")
        drain(journey)
        drain(journey)
    assert [line["event"] for line in told(log, "submitting.paused", "submitting.resumed")] == [
        "submitting.paused",
        "submitting.resumed",
    ]


@pytest.mark.parametrize("status", [401, 503])
def test_a_restart_in_a_pause_keeps_it_and_tries_at_once(
    place: Place, service: Sandbox, clock: FalseClock, status: int
) -> None:
    """Its reason and beginning are in the database. One canary shows whether all is well now."""
    service.add_fault("status", status=status, times=0)
    with queued(place, "a") as journey:
        drain(journey, seconds=1000)
        (before,) = place.pauses()
        assert before.until is not None
        assert before.until > clock.now() + 60
    tried = len(posts(service))
    with place.opened() as journey, listening() as log:
        drain(journey, seconds=5)
        assert len(posts(service)) == tried + 1
        (after,) = place.pauses()
        assert (after.since, after.reason, after.tries) == (before.since, before.reason, 1)
        assert after.until == pytest.approx(clock.now() + 10, abs=5.5)
        service.clear_faults()
        drain(journey)
    assert len(told(log, "submitting.paused")) == 1  # who reads the log after a restart must find it
    (resumed,) = told(log, "submitting.resumed")
    assert resumed["tries"] == len(posts(service)) - 1  # those before the restart count, too


def test_a_restart_ends_the_wait_of_no_other_pause(place: Place, service: Sandbox, clock: FalseClock) -> None:
    """A person's pause stands, and so does the time that a throttle asked for."""
    service.add_fault("status", status=429, retry_after=60)
    with queued(place, "a") as journey:
        journey.submissions[0].step()
        with place.books() as books:
            books.pauses.set(Pause(PauseKind.PERSON, "person", "stocktaking", clock.now(), None))
    before = place.pauses()
    with place.opened() as journey:
        drain(journey, seconds=5)
    assert place.pauses() == before
    assert len(posts(service)) == 1


def test_a_restart_loop_keeps_to_the_rate_windows(
    make_place: MakePlace, service: Sandbox, clock: FalseClock
) -> None:
    """Each start sends one canary at the most, and none for which the windows have no room."""
    place = make_place(limits={"writes": ["3/minute"]})
    service.add_fault("status", status=503, times=0)
    with queued(place, "a"):
        pass
    for _ in range(12):
        with place.opened() as journey:
            for _ in range(3):
                journey.submissions[0].step()
            clock.wait(1, journey.stopping)
    assert len(posts(service)) == 3


def test_resume_tries_at_once_where_the_account_or_the_service_is_at_fault(place: Place, service: Sandbox) -> None:
    """Who has bought credit need not wait for the next canary's time."""
    service.credit = 0
    with queued(place, "a", "b") as journey:
        drain(journey, seconds=1000)
        (pause,) = place.pauses()
        assert pause.until is not None
        assert pause.until - place.clock.now() > 60
        service.credit = 5
        before = len(posts(service))
        try_at_once(place)
        journey.submissions[0].step()
        assert len(posts(service)) == before + 1
        assert place.pauses() == []
        drain(journey)
    assert set(place.states().values()) == {State.DONE}


def test_an_upload_in_hand_stops_before_its_end_when_a_person_pauses(place: Place, service: Sandbox) -> None:
    """The last part is not let go any more: nothing is charged, the item is as it was."""
    with queued(place, "a", "b") as journey:
        journey.submissions[0].step()
        clock = place.clock
        waited = clock.wait

        def pause_meanwhile(seconds: float, wake: object) -> bool:
            command(place, "pause")
            return waited(seconds, wake)  # type: ignore[arg-type]

        clock.wait = pause_meanwhile  # type: ignore[method-assign]
        journey.submissions[0].step()  # its body is sent, its end waits for the window
        clock.wait = waited  # type: ignore[method-assign]
        item = place.item("b.wav")
        assert (item.state, item.attempts) == (State.QUEUED, 1)
        with place.books() as books:
            (attempt,) = books.ledger.of_item(item.id)
        assert (attempt.charged, attempt.outcome, attempt.released_at) == ("no", "stopped", None)
    assert service.charged == 1
    wait_until(lambda: len(posts(service)) == 2, "the service notices that the line was cut")
    assert [entry.is_whole for entry in posts(service)] == [True, False]
