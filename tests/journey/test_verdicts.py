"""Asking for verdicts: no answer about one recording stops the others from being known."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import Place, speech
from tests.queues import IDLE, drain, listening, queued, told
from watcher.composition import Journey
from watcher.domain import VerdictState
from watcher.journey.submit import pauses
from watcher.sandbox import LedgerEntry, Sandbox

MANY = [f"{n:02}" for n in range(24)]


@contextmanager
def awaited(place: Place, *names: str) -> Iterator[tuple[Journey, dict[str, str]]]:
    """A journey in which these recordings are done and their verdicts due; the identifiers by name."""
    with queued(place, **{name: speech(name, seconds=0.5) for name in names}) as journey:
        drain(journey)
        place.clock.wait(60, journey.stopping)
        found = {path.removesuffix(".wav"): item.identifier or "" for path, item in place.items().items()}
        yield journey, found


def ask(journey: Journey, seconds: float = IDLE) -> float:
    """All verdicts that are due within so many seconds are asked for, and told in the receipts. What that took."""
    clock = journey.site.clock
    began = clock.now()
    while True:
        wait = journey.verdict_poller.step()
        if wait > 0:
            if wait == IDLE or clock.now() - began + wait > seconds:
                drain(journey, 0)
                return clock.now() - began
            clock.wait(wait, journey.stopping)


def states(place: Place) -> dict[str, VerdictState]:
    found = {path.removesuffix(".wav"): place.verdict(path) for path in place.items()}
    return {name: verdict.state for name, verdict in found.items() if verdict is not None}


def questions(service: Sandbox) -> list[LedgerEntry]:
    return [entry for entry in service.ledger if entry.method == "GET"]


@pytest.fixture
def unlimited(make_place: MakePlace) -> Place:
    """No limits but the questions'."""
    return make_place(limits={"writes": []})


@pytest.fixture
def service(clock: FalseClock) -> Iterator[Sandbox]:
    with Sandbox("a-key-for-tests", clock=clock, writes=()) as running:
        yield running


CHOKES: dict[str, dict[str, Any]] = {
    "500": {"kind": "status", "status": 500},
    "502, a page": {"kind": "status", "status": 502},
    "400": {"kind": "status", "status": 400, "body": {"identifiers.0": ["The identifier is invalid."]}},
    "404": {"kind": "status", "status": 404},
    "a page": {"kind": "html"},
    "nothing": {"kind": "close_after_reading"},
    "half of it": {"kind": "cut_json"},
    "a bomb": {"kind": "bomb"},
}


@pytest.mark.parametrize(("name", "poison"), [*((name, ["17"]) for name in CHOKES), ("500", ["00", "12", "23"])])
def test_one_that_the_service_chokes_on_stops_no_other(
    unlimited: Place, service: Sandbox, name: str, poison: list[str]
) -> None:
    """The list is halved until it is found; it is asked for alone from then on, slower, and never given up."""
    place = unlimited
    with awaited(place, *MANY) as (journey, identifiers), listening() as log:
        for one in poison:
            service.add_fault(**CHOKES[name], method="GET", identifier=identifiers[one], times=0)
        took = ask(journey, seconds=60)
        known = {path for path, state in states(place).items() if state is VerdictState.KNOWN}
        assert known == {*MANY} - {*poison}
        assert took <= 60
        assert len(questions(service)) < 60
        before = len(questions(service))
        ask(journey, seconds=3600)
        later = questions(service)[before:]
        assert {entry.asked for entry in later} == {(identifiers[one],) for one in poison}
        assert len(later) <= len(poison) * 20
        assert told(log, "verdicts.postponed") == []
        blamed = {line["identifier"] for line in told(log, "verdict.unanswered")}
        if name != "404":  # that is how the service says that it is not visible yet
            assert blamed == {identifiers[one] for one in poison}
        assert len(told(log, "verdict.unanswered")) == len(blamed)
        service.clear_faults()
        ask(journey, seconds=3600)
    assert set(states(place).values()) == {VerdictState.KNOWN}


def test_one_that_nobody_ever_answers_is_overdue_in_the_end(unlimited: Place, service: Sandbox) -> None:
    """As any other that does not come: said so in its receipt, and asked for every hour."""
    place = unlimited
    with awaited(place, "a", "b") as (journey, identifiers):
        service.add_fault("status", status=500, method="GET", identifier=identifiers["a"], times=0)
        ask(journey, seconds=49 * 3600)
        before = len(questions(service))
        ask(journey, seconds=10 * 3600)
        assert 9 <= len(questions(service)) - before <= 11
    assert states(place) == {"a": VerdictState.OVERDUE, "b": VerdictState.KNOWN}
    assert place.receipt("done/a.wav.json")["verdict"]["state"] == "overdue"


@pytest.mark.parametrize("name", [name for name in CHOKES if name not in ("404", "a bomb")])
def test_an_outage_is_not_taken_for_bad_recordings(unlimited: Place, service: Sandbox, name: str) -> None:
    """Where no part of the list is answered, questions are few and far between, and it is told once."""
    place = unlimited
    with awaited(place, *MANY) as (journey, _), listening() as log:
        began = place.clock.now()
        service.add_fault(**CHOKES[name], method="GET", times=0)
        ask(journey, seconds=2 * 3600)
        times = [entry.time - began for entry in questions(service)]
        assert len([at for at in times if at < 60]) <= 14
        assert len([at for at in times if at > 3600]) <= 60
        assert len(told(log, "verdicts.postponed")) == 1
        assert VerdictState.KNOWN not in states(place).values()
        service.clear_faults()
        ask(journey, seconds=1200)
        assert len(told(log, "verdicts.resumed")) == 1
    assert set(states(place).values()) == {VerdictState.KNOWN}


@pytest.mark.parametrize("status", [401, 429, 503])
def test_where_the_service_asks_for_rest_no_list_is_halved(
    unlimited: Place, service: Sandbox, status: int
) -> None:
    """What is the account's, or comes with a time, says nothing of one recording."""
    with awaited(unlimited, *MANY) as (journey, _):
        service.add_fault("status", status=status, method="GET", times=3, retry_after=40)
        ask(journey, seconds=600)
    times = [entry.time for entry in questions(service)][:4]
    assert all(later - earlier >= (5 if status == 401 else 40) for earlier, later in pairwise(times))
    assert set(states(unlimited).values()) == {VerdictState.KNOWN}


def test_a_wish_for_rest_is_believed_for_an_hour(unlimited: Place, service: Sandbox) -> None:
    """As an upload's is: the number may be nonsense. The verdict is known in the end."""
    with awaited(unlimited, "a") as (journey, _):
        began = unlimited.clock.now()
        service.add_fault("status", status=503, method="GET", retry_after=86_400, times=1)
        ask(journey, seconds=4000)
    first, second = questions(service)
    assert first.time == began
    assert 3600 <= second.time - began <= 3700
    assert states(unlimited) == {"a": VerdictState.KNOWN}


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_person_who_wishes_for_a_try_gets_one(unlimited: Place, service: Sandbox, status: int) -> None:
    """`watcher resume`: the next question goes out at once, whatever the service had asked for."""
    with awaited(unlimited, "a", "b") as (journey, _):
        service.add_fault("status", status=status, method="GET", retry_after=3000, times=1)
        ask(journey, seconds=4)
        assert len(questions(service)) == 1
        unlimited.clock.wait(1, journey.stopping)  # the rate windows have room

        with unlimited.books() as books:
            pauses.try_at_once(books, unlimited.clock.now())

        ask(journey, seconds=4)
    assert states(unlimited) == dict.fromkeys("ab", VerdictState.KNOWN)


@pytest.mark.parametrize("retry_after", [None, 0, 1])
def test_throttled_questions_come_ever_more_rarely(
    unlimited: Place, service: Sandbox, retry_after: int | None
) -> None:
    """A service that refuses each question as one too many is asked as rarely as one that is away."""
    with awaited(unlimited, "a", "b") as (journey, _):
        began = unlimited.clock.now()
        service.add_fault("status", status=429, method="GET", retry_after=retry_after, times=0)
        ask(journey, seconds=7200)
        times = [entry.time - began for entry in questions(service)]
        assert len([at for at in times if at < 60]) <= 6
        assert len([at for at in times if at > 3600]) <= 7
        service.clear_faults()
        ask(journey, seconds=1200)
    assert set(states(unlimited).values()) == {VerdictState.KNOWN}


DONE = {"heuristic": "h", "confidence": 0.9, "classification": "human", "models": ["m"]}
MONSTERS: dict[str, Any] = {
    "rubbish": "rubbish",
    "a number": 7,
    "a list": [[[{}]]],
    "nothing": {},
    "many models": {"verdict": DONE | {"models": [f"model {n}" for n in range(3_000)]}},
    "a long model": {"verdict": DONE | {"models": ["m" * 1_000_000, 7, None, ["x"], {}]}},
    "long texts": {"api_version": "v" * 100_000, "verdict": DONE | {"heuristic": "h\x1b[2J\n\u202e" * 10_000}},
    "a surrogate": {"verdict": DONE | {"models": ["\ud800"], "heuristic": "\udfff", "classification": "\ud800"}},
    "NULs": {"api_version": "\0", "verdict": DONE | {"heuristic": "\0a\0", "models": ["\0"]}},
    "impossible confidence": {"verdict": DONE | {"confidence": -5}},
    "more than certain": {"verdict": DONE | {"confidence": 7}},
    "a text for confidence": {"verdict": DONE | {"confidence": "0.9"}},
    "a boolean for confidence": {"verdict": DONE | {"confidence": True}},
    "no verdict": {"verdict": None, "verdicts": None, "results": None, "status": None, "errors": None},
    "a list for a verdict": {"verdict": [DONE], "status": ["done"], "force_classification": {"a": "human"}},
    "errors": {"status": "errored", "errors": {"a" * 100_000: ["e" * 1_000_000, [[["\0"]]]]}},
    "a status": {"status": "s" * 1_000_000},
    "an identifier": {"identifier": "../../etc/passwd"},
    "no identifier": {"identifier": None},
}


@pytest.mark.parametrize("name", MONSTERS)
def test_no_result_stops_the_others(unlimited: Place, service: Sandbox, name: str) -> None:
    """Whatever one recording's result is: the others' are known at once, and its own receipt stays a receipt."""
    place = unlimited
    with awaited(place, "a", "b", "c") as (journey, identifiers):
        service.add_fault("garbled", identifier=identifiers["b"], body=MONSTERS[name])
        ask(journey, seconds=1)
        assert [states(place)[other] for other in ("a", "c")] == [VerdictState.KNOWN] * 2
        ask(journey, seconds=4000)
    content = (place.root / "done/b.wav.json").read_bytes()
    assert len(content) < 50_000
    verdict = json.loads(content)["verdict"]
    assert verdict["confidence"] is None or 0 <= verdict["confidence"] <= 1
    assert verdict["classification"] in (None, "inconclusive", "human")
    assert len(verdict["models"]) <= 50


def test_a_stranger_in_the_answer_is_nobody(unlimited: Place, service: Sandbox) -> None:
    """What was not asked for is not kept, be it that it has the identifier of a recording that is decided."""
    place = unlimited
    with awaited(place, "a", "b") as (journey, identifiers):
        ask(journey, seconds=1)
        with place.books() as books:
            known = books.verdicts.get(identifiers["a"])
            assert known is not None
            books.verdicts.put(type(known)(identifiers["b"], VerdictState.AWAITED, None, 0.0, place.clock.now()))
        body = [{"identifier": i, "status": "errored", "errors": ["No."]} for i in (identifiers["a"], "f" * 64)]
        service.add_fault("status", status=200, method="GET", body=body)
        ask(journey, seconds=1)
        with place.books() as books:
            assert books.verdicts.get(identifiers["a"]) == known
            assert books.verdicts.get("f" * 64) is None
    assert states(place)["b"] is VerdictState.AWAITED
