"""A stop in the middle of a batch: the one in hand is finished, what is done is in the books, the rest waits."""

from collections import Counter
from typing import Any

import pytest

from tests.places import REFUSED, Place, speech
from tests.queues import drain, queued
from watcher.composition import Journey
from watcher.domain import State
from watcher.errors import Exit
from watcher.journey.arrive import admit
from watcher.journey.file import relook
from watcher.journey.file.back import Back
from watcher.journey.file.out import Out
from watcher.journey.file.papers import Papers
from watcher.once import run_once
from watcher.sandbox import Sandbox

NAMES = ("a", "b", "c", "d", "e")


def stop_at_second(patch: pytest.MonkeyPatch, journey: Journey, whose: Any, name: str) -> list[object]:
    """The daemon is told to stop while this is done for the second time. Yields a mark for each time."""
    real, times = getattr(whose, name), list[object]()

    def stopped(*arguments: Any, **named: Any) -> Any:
        times.append(arguments)
        if len(times) == 2:
            journey.stopping.set()
        return real(*arguments, **named)

    patch.setattr(whose, name, stopped)
    return times


def submit_all(journey: Journey) -> None:
    while (wait := journey.submissions[0].step()) < 100:
        journey.site.clock.wait(max(wait, 0.001), journey.stopping)


def write_all_receipts(place: Place, journey: Journey) -> None:
    submit_all(journey)
    drain(journey, seconds=1)
    with place.books() as books:
        for item in books.items.listed():
            books.filing.mark_receipts_due(item.identifier or "")


@pytest.mark.parametrize(
    ("act", "receipts", "done"),
    [("claim", 2, 0), ("move", 5, 2)],  # all receipts are written before the first recording is moved
)
def test_a_stop_while_recordings_are_filed(
    place: Place, service: Sandbox, act: str, receipts: int, done: int
) -> None:
    """What is done is whole; the others are on their way, and the last look of a pass waits for none."""
    with queued(place, *NAMES) as journey, pytest.MonkeyPatch.context() as patch:
        submit_all(journey)
        stop_at_second(patch, journey, Out, act)
        journey.filing.step()
        assert Counter(place.states().values()) == Counter({State.DONE: done, State.FILING: 5 - done})
        journey.filing.look_again()
        assert Counter(place.states().values()) == Counter({State.DONE: done, State.FILING: 5 - done})
    filed = {path for path in place.files() if path.startswith("done")}
    assert filed == {f"done/{name}.wav.json" for name in NAMES[:receipts]} | {
        f"done/{name}.wav" for name in NAMES[:done]
    }
    place.run_once()
    assert Counter(place.states().values()) == {State.DONE: 5}
    assert service.charged == 5


def test_a_stop_while_failed_ones_are_returned(place: Place, service: Sandbox) -> None:
    """Two are queued; the others are on their way still."""
    service.add_fault(**REFUSED, times=len(NAMES))
    for name in NAMES:
        place.drop(f"{name}.wav", speech(name))
    place.run_once()
    for name in NAMES:
        place.retry(f"{name}.wav")
    with place.opened() as journey, pytest.MonkeyPatch.context() as patch:
        stop_at_second(patch, journey, Back, "move")
        journey.filing.step()
        assert Counter(place.states().values()) == {State.QUEUED: 2, State.RETURNING: 3}
    place.run_once()
    assert Counter(place.states().values()) == {State.DONE: len(NAMES)}


def test_a_stop_while_files_are_vetted(place: Place, service: Sandbox) -> None:
    """Two have items; the next start sees the others again."""
    with place.opened() as journey, pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            place.drop(f"{name}.wav", speech(name))
        journey.arrivals.hints.scan_soon()
        journey.arrivals.step()
        place.clock.wait(2.5, journey.stopping)
        while journey.arrivals.step() <= 0:
            pass
        assert len(journey.arrivals.settled) == len(NAMES)
        stop_at_second(patch, journey, admit, "examine_file")
        journey.admission.step()
        assert Counter(place.states().values()) == {State.QUEUED: 2}
        assert len(journey.arrivals.settled) == 3
    place.run_once()
    assert Counter(place.states().values()) == {State.DONE: 5}


def test_a_stop_while_what_was_filed_is_looked_at_again(place: Place, service: Sandbox) -> None:
    """The verdict's visit and `reconcile` are other looks."""
    with queued(place, *NAMES) as journey, pytest.MonkeyPatch.context() as patch:
        submit_all(journey)
        drain(journey, seconds=1)
        place.clock.wait(11, journey.stopping)
        times = stop_at_second(patch, journey, relook, "find_alteration")
        journey.filing.step()
        assert len(times) == 2


def test_a_stop_while_receipts_are_written(place: Place, service: Sandbox) -> None:
    """Those that are not written are due still."""
    with queued(place, *NAMES) as journey, pytest.MonkeyPatch.context() as patch:
        write_all_receipts(place, journey)
        stop_at_second(patch, journey, Papers, "bring_up_to_date")
        journey.filing.step()
    with place.books() as books:
        assert len(books.filing.with_any_receipt_due()) == 3


@pytest.mark.parametrize("is_in_the_middle", [False, True])
def test_a_pass_that_is_stopped_before_its_scan_has_ended_says_so(
    place: Place, service: Sandbox, is_in_the_middle: bool
) -> None:
    """By its exit code, and by name: nothing of what lies there was seen. What was published before stays."""
    place.drop("cut.wav", speech("cut")[:1000])
    place.run_once()
    with place.books() as books:
        assert [file.path for file in books.waiting.listed()] == [b"cut.wav"]
    place.drop("call.wav", speech("call"))
    with place.opened(once=True) as journey, pytest.MonkeyPatch.context() as patch:
        if is_in_the_middle:
            look_at_folders = journey.site.look_at_folders

            def stopped() -> bool:
                journey.stopping.set()
                return look_at_folders()

            patch.setattr(journey.site, "look_at_folders", stopped)
        else:
            journey.stopping.set()
        outcome = run_once(journey)
    assert outcome.exit_code is Exit.INCOMPLETE
    assert any("scanned" in line for line in outcome.left)
    with place.books() as books:
        assert [file.path for file in books.waiting.listed()] == [b"cut.wav"]
