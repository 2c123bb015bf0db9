"""Submissions: what was examined is sent, in the order it came; a fault leaves one charge and a full ledger."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import REFUSED, Place, sandbox, speech
from tests.process.programs import wait_until
from tests.queues import add, drain, listening, pay_table, posts, queued, settle, told
from watcher.domain import Attempt, Charged, State
from watcher.errors import RecordingUnreachable, StoreError
from watcher.sandbox import Sandbox

FAULTS: dict[str, dict[str, Any]] = {
    "refused as a file": REFUSED,
    "no key": {"kind": "status", "status": 401},
    "no rights": {"kind": "status", "status": 403},
    "too fast": {"kind": "status", "status": 429, "retry_after": 2, "limit": 30},
    "no credit": {"kind": "no_credit"},
    "blames nobody": {"kind": "unclassified"},
    "too large for a server in between": {"kind": "status", "status": 413},
    "not received": {"kind": "status", "status": 400, "body": {"audio": ["The audio field is required."]}},
    "not received, in other words": {"kind": "status", "status": 422},
    "payment": {"kind": "status", "status": 402},
    "fault": {"kind": "status", "status": 500},
    "fault after charging": {"kind": "status", "status": 500, "charges": True},
    "gateway after charging": {"kind": "status", "status": 504, "charges": True, "body": "<html>Gateway</html>"},
    "away": {"kind": "status", "status": 503, "retry_after": 3},
    "moved": {"kind": "redirect"},
    "portal": {"kind": "html"},
    "portal after charging": {"kind": "html", "charges": True},
    "empty": {"kind": "empty"},
    "cut answer": {"kind": "cut_json"},
    "no identifier": {"kind": "no_identifier"},
    "short answer": {"kind": "wrong_length"},
    "lost answer": {"kind": "lose_answer"},
    "closed at once": {"kind": "close_before_reading"},
    "closed in the body": {"kind": "close_while_reading"},
    "closed after the body": {"kind": "close_after_reading"},
    "slow to count": {"kind": "slow_before", "seconds": 3},
    "slow to answer": {"kind": "slow_after", "seconds": 3},
    "stalls": {"kind": "stall_reading", "seconds": 3},
    "trickles": {"kind": "trickle", "seconds": 0.05},
    "another clock": {"kind": "clock", "seconds": 86_400, "times": 1},
}


def ledger(place: Place) -> list[Attempt]:
    with place.books() as books:
        return list(books.ledger.listed())


def check_the_books(place: Place, service: Sandbox) -> None:
    """Nothing was charged twice, nothing is half done, and the ledger tells of every request what it was."""
    assert all(times == 1 for times in pay_table(service).values())
    items = place.items().values()
    assert {item.state for item in items} <= {State.DONE, State.FAILED, State.HELD}
    accepted = {item.sha256 for item in items if item.state is State.DONE}
    assert accepted <= set(pay_table(service))
    attempts = ledger(place)
    assert len(attempts) == len(posts(service))
    for attempt in attempts:
        assert attempt.ended_at is not None
        assert attempt.outcome != "unanswered"
        assert attempt.decision
        assert attempt.size > 0
    for item in items:
        assert item.attempts == sum(attempt.item_id == item.id for attempt in attempts)
    # What the ledger calls free was free, and what was charged it knows of.
    sent = {entry.ref_id: [] for entry in posts(service)}  # type: ignore[var-annotated]
    for entry in posts(service):
        sent[entry.ref_id].append(entry)
    may_be_charged = {attempt.item_id for attempt in attempts if attempt.charged is not Charged.NO}
    assert {ref for ref, entries in sent.items() if any(entry.charged for entry in entries)} <= may_be_charged


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_at_each_point_costs_nothing_twice(place: Place, service: Sandbox, name: str) -> None:
    """Whichever of three uploads it befalls, all end, each content was charged once, and the books agree."""
    with queued(place) as journey:
        for point in (1, 2, 3):
            service.clear_faults()
            service.add_fault(
                **{key: value for key, value in FAULTS[name].items() if key != "times"}, ordinal=point
            )
            add(place, journey, *(f"{point}-{n}" for n in range(3)))
            drain(journey)
    check_the_books(place, service)
    failed = 3 if name == "refused as a file" else 0
    assert sorted(place.states().values()) == [State.DONE] * (9 - failed) + [State.FAILED] * failed
    assert service.charged == 9 - failed
    assert place.pauses() == []


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    faults=st.lists(st.tuples(st.sampled_from(sorted(FAULTS)), st.integers(0, 2)), max_size=8),
    credit=st.one_of(st.none(), st.integers(0, 4)),
    holds=st.booleans(),
)
def test_any_sequence_of_faults_costs_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, faults: list[tuple[str, int]], credit: int | None, holds: bool
) -> None:
    """However faults follow each other, over copies and files, each content is charged once at the most."""
    clock = FalseClock()
    with sandbox(clock, credit=credit) as service:
        in_doubt = {"in_doubt": "hold" if holds else "resubmit"}
        place = Place(tmp_path_factory.mktemp("place"), service.url, clock, identifai=in_doubt)
        with queued(place, "a", "b", "c", copy=speech("a")) as journey:
            for name, between in faults:
                service.add_fault(**FAULTS[name])
                for _ in range(between):
                    journey.submissions[0].step()
            drain(journey, seconds=600)
            service.clear_faults()
            service.credit = None
            drain(journey)
        check_the_books(place, service)
        if holds:
            unknown = {a.item_id for a in ledger(place) if a.charged is Charged.UNKNOWN}
            assert unknown <= {item.id for item in place.items().values() if item.state is State.HELD}
            per_content = [entry.sha256 for entry in posts(service) if entry.charged or entry.cached]
            assert len(per_content) == len(set(per_content))  # never accepted twice, not even from the cache
        else:
            assert place.pauses() == []


# In doubt


def test_what_is_in_doubt_is_sent_again_without_no_cache(make_place: MakePlace, service: Sandbox) -> None:
    """Whatever the configuration says: so it is answered from the cache, and the ledger records it."""
    place = make_place(identifai={"no_cache": True})
    service.add_fault("lose_answer", ordinal=1)
    with queued(place, "a", "b") as journey:
        drain(journey)
    assert service.charged == 2
    first = [entry for entry in posts(service) if entry.sha256 == place.item("a.wav").sha256]
    assert [entry.options.get("no_cache") for entry in first] == ["true", None]
    lost, again = [attempt for attempt in ledger(place) if attempt.item_id == place.item("a.wav").id]
    assert (lost.charged, lost.no_cache) == (Charged.UNKNOWN, True)
    assert lost.decision == "in doubt: sent again, never with no_cache"
    assert (again.charged, again.no_cache, again.outcome) == (Charged.YES, False, "accepted")


@pytest.mark.parametrize("decision", ["release", "fail"])
def test_under_hold_a_person_decides(make_place: MakePlace, service: Sandbox, decision: str) -> None:
    """Held until then, while all others go on; released it is sent without no_cache, given up it is filed."""
    place = make_place(identifai={"in_doubt": "hold", "no_cache": True})
    service.add_fault("lose_answer", ordinal=1)
    with queued(place, "a", "b") as journey:
        drain(journey)
        assert place.states() == {"a.wav": State.HELD, "b.wav": State.DONE}
        fault = place.item("a.wav").fault
        assert fault is not None
        assert "watcher release" in fault.hint
        with place.books() as books:  # as the commands do
            item, now = place.item_in(books, "a.wav"), place.clock.now()
            if decision == "release":
                books.items.change(item, State.QUEUED, now, due_at=now, faults=0, duplicate_of=None)
            else:
                books.items.change(item, State.FILING, now, outcome=State.FAILED, filed_as=item.path)
        drain(journey)
    entries = [entry for entry in posts(service) if entry.sha256 == place.item("a.wav").sha256]
    assert service.charged == 2
    if decision == "release":
        assert place.item("a.wav").state is State.DONE
        assert [entry.options.get("no_cache") for entry in entries] == ["true", None]
    else:
        assert place.item("a.wav").state is State.FAILED
        assert len(entries) == 1
        assert [a["decision"] for a in place.receipt("failed/a.wav.json")["attempts"]] == ["held for a person"]


@pytest.mark.parametrize("name", ["no key", "no credit", "too fast", "away", "moved", "blames nobody"])
def test_what_is_certainly_free_is_in_nobodys_doubt(make_place: MakePlace, service: Sandbox, name: str) -> None:
    """Under "hold" nothing is held that cannot have been charged."""
    place = make_place(identifai={"in_doubt": "hold"})
    service.add_fault(**FAULTS[name])
    with queued(place, "a", "b") as journey:
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert {attempt.charged for attempt in ledger(place)} == {Charged.NO, Charged.YES}


def test_a_whole_identifier_in_a_cut_answer_is_an_answer(place: Place, service: Sandbox) -> None:
    """A Content-Length that promises more than comes is no reason to doubt what came."""
    service.add_fault("wrong_length")
    with queued(place, "a") as journey:
        drain(journey)
    assert len(posts(service)) == 1
    assert place.item("a.wav").state is State.DONE


# What is sent is what was hashed


def test_a_recording_that_changes_while_it_is_sent_is_cut_off(place: Place, service: Sandbox) -> None:
    """Its end differs from what was examined: the service never has a whole request, and it settles again."""
    content = speech("long", seconds=60)
    changed = content[:-100] + bytes(100)
    with queued(place, long=content) as journey:
        client = journey.submissions[0]._uploads._client
        submit = client.submit

        def change_and_submit(*arguments: Any) -> Any:
            with (place.root / "drop/long.wav").open("r+b") as file:
                file.write(changed)
            return submit(*arguments)

        client.submit = change_and_submit  # type: ignore[method-assign, assignment]
        journey.submissions[0].step()
        client.submit = submit  # type: ignore[method-assign]
        wait_until(lambda: posts(service), "the service notices that the line was cut")
        assert [entry.is_whole for entry in posts(service)] == [False]
        assert place.item("long.wav").state is State.WITHDRAWN
        settle(journey)
        drain(journey)
    (cut, whole) = ledger(place)
    assert (cut.outcome, cut.charged, cut.released_at) == ("changed", Charged.NO, None)
    assert (whole.outcome, whole.charged) == ("accepted", Charged.YES)
    assert service.charged == 1
    assert (place.root / "done/long.wav").read_bytes() == changed


def test_a_recording_that_was_replaced_before_is_not_opened_in_its_stead(place: Place, service: Sandbox) -> None:
    """Another file under its name, or the same one changed, is an arrival of its own."""
    with queued(place, "a", "b") as journey:
        replacement = place.root / "new"
        replacement.write_bytes(speech("another"))
        os.rename(replacement, place.root / "drop/a.wav")
        drain(journey)
        assert {entry.sha256 for entry in posts(service)} == {place.item("b.wav").sha256}
        add(place, journey)
    assert service.charged == 1


def test_the_ledger_has_the_length_and_the_service_the_bytes(place: Place, service: Sandbox) -> None:
    """One open, one pass: what the service hashed is what the examination hashed."""
    with queued(place, "a", "b", "c") as journey:
        drain(journey)
    items = {item.id: item for item in place.items().values()}
    for entry, attempt in zip(posts(service), ledger(place), strict=True):
        assert entry.sha256 == items[attempt.item_id].sha256
        assert entry.size == attempt.size == items[attempt.item_id].size


# Order


def test_the_oldest_arrival_goes_first_over_restarts(place: Place, service: Sandbox) -> None:
    """First come, first served, whatever the names are and however often the daemon is started anew."""
    with queued(place, "m", "z", "a", "k") as journey:
        journey.submissions[0].step()
    for _ in range(3):
        with place.opened() as journey:
            journey.site.clock.wait(2, journey.stopping)
            journey.submissions[0].step()
    order = [place.item(f"{name}.wav").sha256 for name in "mzak"]
    assert [entry.sha256 for entry in posts(service)] == order


def test_one_that_arrived_earlier_and_settled_later_goes_first(place: Place, service: Sandbox) -> None:
    """What counts is when a recording was first seen, not when its writer was through."""
    with place.opened() as journey:
        slow = place.root / "drop/slow.wav"
        slow.write_bytes(speech("slow")[:1000])
        journey.arrivals.step()
        place.clock.wait(1, journey.stopping)
        add(place, journey, "quick-1", "quick-2")
        slow.write_bytes(speech("slow"))
        journey.arrivals.hint(b"slow.wav", is_closed=True)
        for _ in range(4):
            journey.arrivals.step()
            journey.admission.step()
            place.clock.wait(2.5, journey.stopping)
        drain(journey)
    assert posts(service)[0].sha256 == place.item("slow.wav").sha256


def test_one_that_waits_for_its_back_off_blocks_nobody(make_place: MakePlace, service: Sandbox) -> None:
    """The oldest has met its second fault and waits for two minutes; the others are sent meanwhile."""
    place = make_place(retry={"first_seconds": 60, "max_seconds": 600})
    with queued(place, "a", "b", "c", "d") as journey:
        service.add_fault("status", status=500, times=2, sha256=place.item("a.wav").sha256)
        drain(journey)
    order = [place.item(f"{name}.wav").sha256 for name in "abacda"]
    assert [entry.sha256 for entry in posts(service)] == order


def test_one_that_can_not_be_read_blocks_nobody(place: Place, service: Sandbox) -> None:
    """The disk fails in the middle of a recording: it is put off with the reason, and the others go out."""
    with queued(place, "a", "b") as journey:
        client = journey.submissions[0]._uploads._client
        submit = client.submit

        def fail(*_: object) -> Any:
            raise RecordingUnreachable("The recording cannot be read: Input/output error", hint="Check the disk.")

        client.submit = fail  # type: ignore[method-assign, assignment]
        journey.submissions[0].step()
        client.submit = submit  # type: ignore[method-assign]
        drain(journey, seconds=300)
        assert place.states() == {"a.wav": State.QUEUED, "b.wav": State.DONE}
        fault = place.item("a.wav").fault
        assert fault is not None
        assert "Input/output error" in fault.message
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert [attempt.charged for attempt in ledger(place)] == [Charged.NO, Charged.YES, Charged.YES]


# Trouble of our own


def test_an_answer_that_the_books_would_not_take_is_recorded_by_the_next_step(
    place: Place, service: Sandbox
) -> None:
    """A full disk at the worst moment: the identifier is kept, and committed before anything else is done."""
    with queued(place, "a", "b") as journey:
        outcomes = journey.submissions[0]._answers._outcomes
        record = outcomes.record

        def refuse(*_: object) -> None:
            raise StoreError("database or disk is full")

        outcomes.record = refuse  # type: ignore[method-assign, assignment]
        with pytest.raises(StoreError):
            journey.submissions[0].step()
        with pytest.raises(StoreError):
            journey.submissions[0].step()
        assert len(posts(service)) == 1  # nothing else goes out meanwhile
        outcomes.record = record  # type: ignore[method-assign]
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert len(posts(service)) == 2
    assert service.charged == 2


def test_what_nobody_foresaw_is_in_doubt_or_free_and_stops_nothing(place: Place, service: Sandbox) -> None:
    """An exception that is none of ours: the item goes on as after a lost answer; the log has the traceback."""
    with queued(place, "a", "b") as journey, listening() as log:
        client = journey.submissions[0]._uploads._client
        submit = client.submit

        def explode(*arguments: Any) -> Any:
            submit(*arguments)
            raise ZeroDivisionError("nobody foresaw this")

        client.submit = explode  # type: ignore[method-assign, assignment]
        journey.submissions[0].step()
        client.submit = submit  # type: ignore[method-assign]
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert service.charged == 2
    assert ledger(place)[0].charged is Charged.UNKNOWN
    assert len(told(log, "upload.failed")) == 1
