"""What went wrong once: each of these lost, blocked or confused something before it was mended."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import REFUSED, Place, sandbox, speech
from tests.queues import drain, queued
from tests.transitions import any_transition
from watcher import once
from watcher.cli import main
from watcher.clock import SystemClock
from watcher.domain import Fault, State, VerdictState
from watcher.errors import Exit, StoreUnavailable
from watcher.sandbox import Sandbox


def test_one_bad_destination_stops_no_other_recording(place: Place, service: Sandbox) -> None:
    """A link where done/ needs a subfolder is that one recording's trouble, found before it is paid."""
    (place.root / "done/a").symlink_to(place.root)
    for name in ("a/x.wav", "b.wav", "c.wav"):
        place.drop(name)

    with place.opened(once=True) as journey:
        for _ in range(200):
            once_over = min(
                journey.arrivals.step(),
                journey.admission.step(),
                journey.submissions[0].step(),
                journey.filing.step(),
            )
            if once_over > 0:
                place.clock.wait(min(once_over, 1.0), journey.stopping)

    assert place.states()["b.wav"] is place.states()["c.wav"] is State.DONE
    assert "drop/a/x.wav" in place.files()


def test_a_large_foreign_file_with_a_receipts_name_is_only_a_taken_name(place: Place) -> None:
    """Whatever lies under the receipt's name is not ours to judge: the recording is filed under its own."""
    (place.root / "done/a.wav.json").write_bytes(bytes(2 << 20))
    for name in ("a.wav", "b.wav"):
        place.drop(name)

    assert place.run_once().exit_code == Exit.WELL

    item = place.item("a.wav")
    assert item.filed_as == f"a~{item.id[:6]}.wav".encode()


def test_a_held_recording_that_comes_back_is_still_held(make_place: MakePlace, service: Sandbox) -> None:
    """Under `hold` nothing but a person's decision sends again what may have been charged."""
    place = make_place(identifai={"base_url": service.url, "in_doubt": "hold"}, retry={"first_seconds": 1})
    service.add_fault("lose_answer", times=1)
    path = place.drop("one.wav")
    place.run_once()
    assert place.states() == {"one.wav": State.HELD}
    aside = place.root / "aside.wav"
    os.rename(path, aside)
    place.run_once()
    assert place.states() == {"one.wav": State.WITHDRAWN}
    os.rename(aside, path)

    place.run_once()

    assert place.states() == {"one.wav": State.HELD}
    assert len([entry for entry in service.ledger if entry.method == "POST"]) == 1


@pytest.mark.parametrize("runs", [True, False], ids=["between two looks", "while nobody looked"])
def test_a_held_recording_that_is_replaced_keeps_nobody_out(
    make_place: MakePlace, service: Sandbox, runs: bool
) -> None:
    """The newcomer is an arrival of its own; whether the first one was charged is still not known."""
    place = make_place(identifai={"base_url": service.url, "in_doubt": "hold"}, retry={"first_seconds": 1})
    service.add_fault("lose_answer", times=1)
    path = place.drop("one.wav")
    place.run_once()
    (held,) = place.items().values()
    assert held.state is State.HELD
    newcomer = place.root / "newcomer.wav"
    newcomer.write_bytes(speech("newcomer", seconds=9))
    if runs:
        with place.opened() as journey:
            journey.arrivals.step()
            os.rename(newcomer, path)
            journey.arrivals.hint(b"one.wav", is_closed=True)
            while min(journey.arrivals.step(), journey.admission.step()) <= 0:
                pass
            drain(journey, seconds=60)
    else:
        os.rename(newcomer, path)
        place.run_once()

    with place.books() as books:
        items = {item.id: item for item in books.items.listed()}
    first = items.pop(held.id)
    (second,) = items.values()
    assert (first.state, first.in_doubt) == (State.WITHDRAWN, True)
    assert (second.state, second.path) == (State.DONE, b"one.wav")
    assert (place.root / "done/one.wav").read_bytes() == speech("newcomer", seconds=9)


def test_a_retry_takes_only_its_own_sidecar(make_place: MakePlace, service: Sandbox) -> None:
    """Where another recording has its name meanwhile, both keep what came with them."""
    place = make_place(arrivals={"sidecar": [".xml"]})
    service.add_fault(**REFUSED, times=1)
    place.drop("call.wav", speech("first"))
    place.drop("call.xml", b"first")
    place.run_once()
    first = place.item("call.wav")
    place.drop("call.wav", speech("second"))
    place.drop("call.xml", b"second")
    assert main(["pause", "--config", str(place.config_path)]) == Exit.WELL
    place.run_once()
    assert main(["retry", "--config", str(place.config_path), first.id]) == Exit.WELL
    assert main(["resume", "--config", str(place.config_path)]) == Exit.WELL

    assert place.run_once().exit_code == Exit.WELL

    assert (place.root / "done/call.xml").read_bytes() == b"second"
    assert (place.root / f"done/call~{first.id[:6]}.xml").read_bytes() == b"first"


@pytest.mark.parametrize("access", ["writing", "reading"])
def test_files_whose_vetting_could_not_be_recorded_are_taken_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, access: str
) -> None:
    """A database that is locked or away, or a full disk, at that moment, strands nothing."""
    with place.opened() as journey:
        for name in ("a.wav", "b.wav"):
            place.drop(name)
        journey.arrivals.step()
        place.clock.wait(3, journey.stopping)
        journey.arrivals.step()
        with monkeypatch.context() as patch:
            patch.setattr(journey.site.store, access, _locked)
            with pytest.raises(StoreUnavailable):
                journey.admission.step()
        while journey.admission.step() <= 0:
            pass
        assert set(place.states().values()) == {State.QUEUED}


def _locked() -> None:
    raise StoreUnavailable("the database is locked", hint="Try again.")


def test_a_site_starts_although_done_is_away(place: Place) -> None:
    """A known site pauses, and goes on when its folder is back."""
    place.drop("one.wav")
    place.run_once()
    shutil.move(place.root / "done", place.root / "elsewhere")
    place.drop("two.wav")

    assert place.run_once().exit_code != Exit.WELL
    assert [pause.code for pause in place.pauses()] == ["folder_missing"]
    shutil.move(place.root / "elsewhere", place.root / "done")
    assert place.run_once().exit_code == Exit.WELL


def test_a_clock_that_was_set_back_keeps_no_verdict_waiting(tmp_path: Path) -> None:
    """Requests that were answered "in the future" count as over."""
    clock = FalseClock()
    with sandbox(writes=(), reads=(), verdict_after_seconds=0) as service:  # on a clock of its own
        place = Place(tmp_path, service.url, clock)
        place.drop("one.wav")
        place.run_once(verdicts=True)
        clock.jump(-3600)
        place.drop("two.wav")
        began = clock.monotonic()

        assert place.run_once(verdicts=True).exit_code == Exit.WELL

        verdict = place.verdict("two.wav")
        assert verdict is not None
        assert verdict.state is VerdictState.KNOWN
        assert clock.monotonic() - began < 60


def test_a_verdict_asked_for_before_the_clock_was_set_back_waits_no_longer_than_any_other(tmp_path: Path) -> None:
    """Its time is years away by now: it is asked for within the longest back-off, by a new start as well."""
    clock = FalseClock()
    with sandbox(writes=(), reads=(), verdict_after_seconds=0) as service:  # on a clock of its own
        place = Place(tmp_path, service.url, clock)
        place.drop("one.wav")
        place.run_once()
        for years, state in ((-1, VerdictState.AWAITED), (-2, VerdictState.OVERDUE)):
            with place.books() as books:
                verdict = books.verdicts.get(place.item_in(books, "one.wav").identifier)
                assert verdict is not None
                waits = replace(verdict, state=state, classification=None, asked=3, due_at=clock.now() + 3000)
                books.verdicts.put(waits)
            clock.jump(years * 365 * 86400)

            with place.opened(once=True) as journey:
                assert journey.verdict_poller.step() == 0

            answered = place.verdict("one.wav")
            assert answered is not None
            assert answered.state is VerdictState.KNOWN


@pytest.mark.parametrize("starts_anew", [False, True])
def test_what_was_queued_before_the_clock_was_set_back_is_sent_at_once(tmp_path: Path, starts_anew: bool) -> None:
    """By its clock it comes from the future; a backlog would have waited until the clock was there again."""
    clock = FalseClock()
    with sandbox(writes=(), reads=()) as service:  # on a clock of its own
        place = Place(tmp_path, service.url, clock)
        with queued(place, "one", "two", "three") as journey:
            clock.jump(-365 * 86400)
            if not starts_anew:
                assert drain(journey, 60) < 60
        if starts_anew:
            with place.opened() as journey:
                assert drain(journey, 60) < 60
        assert set(place.states().values()) == {State.DONE}


def test_what_was_retried_before_the_clock_was_set_back_is_sent_at_once(tmp_path: Path) -> None:
    """It was tried long before that, and its back-off is over."""
    clock = FalseClock()
    with sandbox(writes=(), reads=()) as service:  # on a clock of its own
        place = Place(tmp_path, service.url, clock)
        place.drop("one.wav")
        service.add_fault(**REFUSED)
        place.run_once()
        clock.advance(10 * 86400)
        assert main(["retry", "--failed", "--config", str(place.config_path)]) == 0
        with place.opened() as journey:
            while journey.filing.step() <= 0:
                pass
            assert set(place.states().values()) == {State.QUEUED}
            clock.jump(-5 * 86400)
            assert drain(journey, 60) < 60
        assert set(place.states().values()) == {State.DONE}


def test_asking_for_verdicts_leaves_the_database_alone_while_none_is_due(place: Place, service: Sandbox) -> None:
    """A step that looks every second, beside commands that want to write, only reads."""
    place.drop("one.wav")
    with place.opened(once=True) as journey:
        once.run_once(journey)
        with place.books():  # somebody writes: whoever wants to write as well would wait
            assert 0 < journey.verdict_poller.step() <= place.config.verdicts.first_seconds
        place.clock.wait(place.config.verdicts.first_seconds, journey.stopping)
        once.run_once(journey, verdict_seconds=600)
        with place.books():
            assert journey.verdict_poller.step() == float("inf")


def test_a_receipt_that_was_collected_stays_collected(place: Place) -> None:
    """Whoever takes recording and receipt out of done/ before the verdict gets no second receipt there."""
    place.drop("one.wav")
    with place.opened(once=True) as journey:
        once.run_once(journey)
        for name in ("one.wav", "one.wav.json"):
            os.unlink(place.root / "done" / name)
        place.clock.wait(place.config.verdicts.first_seconds, journey.stopping)
        once.run_once(journey, verdict_seconds=600)

    assert place.files() == set()
    verdict = place.verdict("one.wav")
    assert verdict is not None
    assert verdict.state is VerdictState.KNOWN


def test_a_pass_ends_although_a_recording_is_tried_again_only_later(place: Place) -> None:
    """`run --once` names what is put off for long, and leaves it to the next pass."""
    place.drop("one.wav")
    began = place.clock.monotonic()
    with place.opened(once=True) as journey:
        journey.arrivals.step()
        place.clock.wait(3, journey.stopping)
        journey.arrivals.step()
        journey.admission.step()
        with place.books() as books:
            item = place.item_in(books, "one.wav")
            due_at, fault = place.clock.now() + 600, Fault("unavailable", "It does not answer.", "")
            books.items.change(item, State.QUEUED, place.clock.now(), due_at=due_at, fault=fault)
        outcome = once.run_once(journey)

    assert outcome.exit_code == Exit.INCOMPLETE
    assert outcome.left == ["one.wav: queued (It does not answer.)"]
    assert place.clock.monotonic() - began < 60


def test_what_waited_at_the_last_run_and_is_gone_waits_no_more(place: Place) -> None:
    """A run that finds nothing that waits says so too."""
    path = place.drop("empty.wav", b"")
    place.run_once()
    with place.books() as books:
        assert [file.path for file in books.waiting.listed()] == [b"empty.wav"]
    path.unlink()

    place.run_once()

    with place.books() as books:
        assert (books.waiting.listed(), books.waiting.total()) == ([], 0)


def test_a_start_does_not_look_through_years_of_done(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where a move or a receipt was under way can a dead process have left a temporary file, which goes."""
    for year in range(2000, 2020):
        (place.root / f"done/{year}").mkdir()
    place.drop("now/a.wav")
    place.drop("now/b.wav")
    place.run_once()
    left = [
        place.root / name
        for name in ("done/now/.watcher-00.tmp", "failed/x/.watcher-01.tmp", "drop/y/.watcher-02.tmp")
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    place.clock = FalseClock(SystemClock().now() + 3600)  # what lies there is old by then
    listed: set[str] = set()
    scandir = os.scandir

    def counted(folder: Any) -> Any:
        if isinstance(folder, int):  # as the folders of a site are listed
            listed.add(os.path.relpath(os.readlink(f"/proc/self/fd/{folder}"), place.root))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counted)

    killed_check = place.root / "drop/.watcher-check-00.tmp"
    killed_check.touch()
    with place.opened():
        assert listed == {"drop"}  # its own names: what lies there, lies there for a moment
        assert not killed_check.exists()
    listed.clear()
    with any_transition(), place.books() as books:
        books.filing.mark_receipts_due(place.item_in(books, "now/a.wav").identifier or "")
        item = place.item_in(books, "now/b.wav")
        books.items.change(item, State.FILING, 0.0, outcome=State.FAILED, filed_as=b"x/b.wav")
    with place.opened():
        assert listed == {"drop", "done/now", "failed/x"}
    with any_transition(), place.books() as books:
        books.items.change(place.item_in(books, "now/b.wav"), State.RETURNING, 0.0, path=b"y/b.wav")
    with place.opened():
        assert [path.name for path in left if path.exists()] == []
