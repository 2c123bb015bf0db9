"""No single file may stop the others: whatever goes wrong about one, at whatever door of whatever step.

To hold another step to it, add the doors that a recording crosses there to DOORS.
"""

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import MakePlace
from tests.places import Place, speech
from tests.queues import drain, listening, pay_table, posts, queued, settle, told
from watcher.composition import Journey
from watcher.domain import State, Verdict
from watcher.errors import Exit
from watcher.folders import Folder
from watcher.folders.acceptance import Acceptance
from watcher.identifai.client import Client
from watcher.journey.arrive import admit, foreign, look
from watcher.journey.arrive.settle import Settler
from watcher.journey.submit import accepted, claim
from watcher.journey.submit.record import Outcomes
from watcher.journey.submit.send import Uploads
from watcher.journey.verdict import VerdictPoller
from watcher.sandbox import Sandbox
from watcher.store.filing_queue import FilingQueue
from watcher.store.items import Items
from watcher.store.ledger import Ledger
from watcher.store.verdicts import Verdicts

BAD = b"a/bad.wav"

ERRORS = [RuntimeError("nobody foresaw it \udcff\n"), RecursionError("too deep")]

DOORS: list[tuple[Any, str, bool]] = [  # whose, which, and whether it is crossed by what is queued already
    *((Folder, "fingerprint", False), (Folder, "open", False), (foreign, "examine", False)),
    *((look, "find_receipt", False), (Settler, "see", False), (Settler, "judge", False)),
    *((admit, "examine_file", False), (Folder, "check_gives", False), (admit, "judge", False)),
    *((admit, "admit", False), (Items, "add", False)),
    (Folder, "fingerprint", True),  # what was queued is looked at again by events and scans
]


def is_about_it(argument: object) -> bool:
    """Whether a call with this argument is about the bad recording."""
    argument = getattr(argument, "item", argument)  # of a claim
    path = getattr(argument, "path", argument)
    return isinstance(path, bytes) and os.path.basename(path) == os.path.basename(BAD)


def break_door(
    monkeypatch: pytest.MonkeyPatch, whose: Any, door: str, error: Exception, hits: list[object]
) -> None:
    """Each call about the bad recording raises; all others go through."""
    real: Callable[..., Any] = getattr(whose, door)

    def crossing(*arguments: Any, **named: Any) -> Any:
        if any(map(is_about_it, [*arguments, *named.values()])):
            hits.append(door)
            raise error
        return real(*arguments, **named)

    monkeypatch.setattr(whose, door, crossing)


def pass_by(place: Place, journey: Journey) -> None:
    """Some minutes of the journey, with a scan and an event of each file in the drop folder."""
    for _ in range(5):
        for folder, _, names in os.walk(os.fsencode(place.root / "drop")):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), os.fsencode(place.root / "drop"))
                journey.arrivals.hint(path, is_closed=True)
        settle(journey)
        drain(journey, seconds=60)
        place.clock.wait(300, journey.stopping)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("whose", "door", "is_queued"), DOORS, ids=lambda value: getattr(value, "__name__", value)
)
def test_an_error_about_one_file_stops_no_other(
    place: Place, service: Sandbox, whose: Any, door: str, is_queued: bool, error: Exception
) -> None:
    """Those before and after it in the same look and the same batch are filed; it waits, and goes once it can."""
    others = [f"{folder}/{n}.wav" for folder in "ab" for n in range(2)]
    with place.opened() as journey, listening() as log:
        place.drop(BAD)
        if is_queued:
            settle(journey)
        hits: list[object] = []
        with pytest.MonkeyPatch.context() as patch:
            break_door(patch, whose, door, error, hits)
            for name in others[:2]:
                place.drop(name, speech(name))
            pass_by(place, journey)
            for name in others[2:]:
                place.drop(name, speech(name))
            pass_by(place, journey)
            assert hits, "the door was not crossed"
            done = {path for path, state in place.states().items() if state is State.DONE}
            assert done >= set(others)
        failures = told(log, "arrival.failed")
        assert len(failures) == 1
        assert failures[0]["path"] == BAD
        place.clock.wait(3600, journey.stopping)
        pass_by(place, journey)
        assert place.states()[BAD.decode()] is State.DONE
    assert service.charged == len(others) + 1


def test_what_stumbles_is_told_by_status_and_tried_ever_less_often(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is among what waits, with the reason; its back-off grows, and begins anew when it changes."""
    place.drop(BAD)
    hits: list[object] = []
    with place.opened() as journey:
        break_door(monkeypatch, foreign, "examine", RecursionError("too deep"), hits)
        settle(journey)
        (row,) = journey.arrivals.waiting()
        assert (row.path, row.code) == (BAD, "stumbled")
        assert "RecursionError: too deep" in row.reason
        seen = []
        for _ in range(60):
            place.clock.wait(60, journey.stopping)
            journey.arrivals.step()
            seen.append(len(hits))
        assert 5 < seen[-1] < 20  # an hour: after 5, 10, 20, … 600 seconds
        place.drop(BAD, speech("another"))
        journey.arrivals.hint(BAD, is_closed=True)
        monkeypatch.undo()
        settle(journey)
        assert journey.arrivals.waiting() == []
        assert place.states() == {BAD.decode(): State.QUEUED}


# Submitting, and asking for verdicts

SUBMITTING: list[tuple[Any, str]] = [
    *((Folder, "check_gives"), (Folder, "open"), (Acceptance, "fit"), (Folder, "check_takes")),
    *((claim, "check_companions"), (claim, "check_room"), (claim, "resolve_duplicate"), (Uploads, "_upload")),
    *((Ledger, "begin"), (Outcomes, "_accept"), (accepted, "follow_original")),
]
ANSWERED = {"_accept", "follow_original"}
"""Doors that are crossed by what the service has accepted: it is paid for."""

ANY = [OSError(errno.EIO, "nobody foresaw it either"), MemoryError()]


@pytest.mark.parametrize("error", ANY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("whose", "door"), SUBMITTING, ids=lambda value: getattr(value, "__name__", value))
def test_an_error_about_one_recording_stops_no_other_from_being_sent(
    make_place: MakePlace, service: Sandbox, whose: Any, door: str, error: Exception
) -> None:
    """Those before and behind it are filed, none waits for long; it goes once it can, and is paid for once."""
    place = make_place(limits={"writes": []})
    others = ["first.wav", "second.wav", "third.wav"]
    with queued(place, "first", "bad", "second", "third") as journey:
        hits: list[object] = []
        with pytest.MonkeyPatch.context() as patch:
            break_door(patch, whose, door, error, hits)
            drain(journey, seconds=60)
            assert hits, "the door was not crossed"
            states = place.states()
            assert {states[path] for path in others} == {State.DONE}
            assert states["bad.wav"] is (State.SUBMITTING if door in ANSWERED else State.QUEUED)
            assert place.pauses() == []
            tries = len(hits)
            for _ in range(6):
                place.clock.wait(600, journey.stopping)
                drain(journey, seconds=60)
            assert 0 < len(hits) - tries <= 40
        place.clock.wait(3600, journey.stopping)
        drain(journey, seconds=1)
        assert place.states()["bad.wav"] is State.DONE
    assert service.charged == len(pay_table(service)) == 4


@pytest.mark.parametrize("door", sorted(ANSWERED))
def test_what_was_accepted_is_known_after_a_start_though_it_was_not_filed(
    make_place: MakePlace, service: Sandbox, door: str
) -> None:
    """Its identifier is in the ledger: it is filed, and not paid for again."""
    place = make_place(limits={"writes": []})
    with queued(place, "bad") as journey, pytest.MonkeyPatch.context() as patch:
        break_door(patch, Outcomes if door == "_accept" else accepted, door, RuntimeError("again"), [])
        drain(journey, seconds=60)
        assert place.states() == {"bad.wav": State.SUBMITTING}
    assert place.run_once(verdicts=True).exit_code == Exit.WELL
    item = place.item("bad.wav")
    assert (item.state, item.identifier) == (State.DONE, place.receipt("done/bad.wav.json")["identifier"])
    assert item.identifier is not None
    assert place.verdict("bad.wav") is not None
    assert len(posts(service)) == 1


@pytest.mark.parametrize("error", ANY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("whose", "door"),
    [(Client, "_verdicts"), (VerdictPoller, "_put"), (Verdicts, "put"), (FilingQueue, "mark_receipts_due")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_error_about_one_verdict_stops_no_other(
    make_place: MakePlace, service: Sandbox, whose: Any, door: str, error: Exception
) -> None:
    """Those of the others are in their receipts; it is asked for again, and known once it can be."""
    place = make_place(limits={"writes": [], "reads": []})
    names = ["first", "second", "bad", "third"]
    with queued(place, *names) as journey:
        drain(journey)
        place.clock.wait(60, journey.stopping)
        bad = place.item("bad.wav").identifier
        hits: list[object] = []
        real: Callable[..., Any] = getattr(whose, door)

        def crossing(*arguments: Any, **named: Any) -> Any:
            for one in arguments[1:]:
                is_it = bad in one if isinstance(one, list) else getattr(one, "identifier", one) == bad
                is_postponed = isinstance(one, Verdict) and one.classification is None
                if is_it and not (door == "put" and is_postponed):
                    hits.append(door)
                    raise error
            return real(*arguments, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(whose, door, crossing)
            for _ in range(40):
                place.clock.wait(max(min(journey.verdict_poller.step(), 60), 0.001), journey.stopping)
            drain(journey, seconds=1)
            assert hits, "the door was not crossed"
            for name in names:
                verdict = place.receipt(f"done/{name}.wav.json")["verdict"]
                assert (verdict["classification"] is None) == (name == "bad"), name
        for _ in range(40):
            place.clock.wait(max(min(journey.verdict_poller.step(), 3600), 0.001), journey.stopping)
        drain(journey, seconds=1)
        assert place.receipt("done/bad.wav.json")["verdict"]["classification"] is not None
