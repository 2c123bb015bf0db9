"""A recording in parts: each is paid for once, one after the other, and they end as one recording."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.cutting import Cutter
from tests.journey.test_submissions import FAULTS
from tests.places import REFUSED, Place, speech
from tests.queues import IDLE, add, drain, pay_table, posts
from watcher import once
from watcher.audio.synthesis import wav
from watcher.composition import Journey
from watcher.domain import Charged, Fault, Item, Part, PartState, PauseKind, State
from watcher.errors import Exit
from watcher.journey import decisions
from watcher.sandbox import Sandbox

LIMIT = 200_000
LONG = speech("long", seconds=45.0)  # five parts of 10 s
SPLIT: dict[str, Any] = {"limits": {"max_upload_bytes": LIMIT}, "audio": {"oversize": "split"}}


class Site:
    """An open journey whose recordings are cut at every tenth second."""

    def __init__(self, place: Place, journey: Journey, cutter: Cutter) -> None:
        self.place = place
        self.journey = journey
        self.cutter = cutter

    def add(self, **contents: bytes) -> None:
        add(self.place, self.journey, **contents)

    def look(self) -> None:
        """Whatever lies in the drop folder, or no longer does, is noticed."""
        self.journey.arrivals.hints.scan_soon()
        self.journey.arrivals.step()
        self.place.clock.wait(70.0, self.journey.stopping)
        while self.journey.arrivals.step() <= 0 or self.journey.admission.step() <= 0:
            pass

    def prepare(self) -> None:
        while self.journey.preparation.step() <= 0:
            pass

    def drain(self, seconds: float = IDLE) -> None:
        """All that can be prepared, sent and filed within so many seconds of the clock is."""
        before: list[tuple[State, int]] | None = None
        while True:
            self.prepare()
            drain(self.journey, seconds)
            now = [(item.state, item.attempts) for item in self.place.items().values()]
            if now == before:
                break
            before = now
        self.journey.preparation.tidy()

    def send(self, uploads: int = 1) -> None:
        """So many uploads, and no more."""
        sent = len(self.ledger())
        while len(self.ledger()) < sent + uploads:
            wait = self.journey.submissions[0].step()
            if wait > 0:
                assert wait < IDLE
                self.place.clock.wait(wait, self.journey.stopping)

    def ledger(self) -> list[Any]:
        with self.place.books() as books:
            return list(books.ledger.listed())

    def item(self, path: str = "long.wav") -> Item:
        return self.place.item(path)

    def parts(self, path: str = "long.wav") -> list[Part]:
        with self.place.books() as books:
            return books.parts.of(self.place.item_in(books, path).id)

    def decide(self, decision: Any, path: str = "long.wav") -> None:
        with self.place.books() as books:
            item = self.place.item_in(books, path)
            decision(books, [item], self.place.clock.now(), "a person")

    def retry(self, path: str = "long.wav") -> None:
        def again(books: Any, items: list[Item], now: float, person: str) -> None:
            decisions.retry(books, items, now, person, fresh=False, spares_dismissed=False)

        self.decide(again, path)

    @property
    def spool(self) -> Path:
        return self.place.root / "spool"


@contextmanager
def opened(place: Place, **contents: bytes) -> Iterator[Site]:
    with place.opened() as journey:
        cutter = Cutter()
        journey.preparation._maker = cutter
        site = Site(place, journey, cutter)
        site.add(**contents)
        site.prepare()
        yield site


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    return make_place(**SPLIT)


def check(site: Site, service: Sandbox) -> None:
    """No content was paid for twice, and what the ledger says of each part is what its row says."""
    assert all(times == 1 for times in pay_table(service).values())
    identifiers = {entry.identifier for entry in posts(service) if entry.identifier}
    with site.place.books() as books:
        attempts = list(books.ledger.listed())
        parts = [part for item in books.items.listed() for part in books.parts.of(item.id)]
    assert all(attempt.ended_at is not None and attempt.outcome != "unanswered" for attempt in attempts)
    assert len(attempts) == len(posts(service))
    for part in parts:
        assert part.state is not PartState.SUBMITTING
        assert (part.identifier in identifiers) == (part.state is PartState.ACCEPTED)


@pytest.mark.server
def test_each_part_is_sent_once_and_they_end_as_one(place: Place, service: Sandbox) -> None:
    """One after the other, named after the recording; done with every identifier, and the spool is empty."""
    with opened(place, long=LONG) as site:
        item, files = site.item(), [path.read_bytes() for path in sorted(site.spool.iterdir())]
        site.drain()
        done, parts = site.item(), site.parts()
    sent = posts(service)
    assert [entry.ref_id for entry in sent] == [f"{item.id}-{n}" for n in (1, 2, 3, 4, 5)]
    assert [entry.filename for entry in sent] == [f"{item.id}-{n}.wav" for n in (1, 2, 3, 4, 5)]
    assert [entry.sha256 for entry in sent] == [hashlib.sha256(file).hexdigest() for file in files]
    assert [part.identifier for part in parts] == [entry.identifier for entry in sent]
    assert (done.state, done.identifier, done.attempts, done.warning) == (State.DONE, None, 5, None)
    assert (place.root / "done/long.wav").read_bytes() == LONG
    assert list((place.root / "spool").iterdir()) == []
    with place.books() as books:
        assert [attempt.part for attempt in books.ledger.of_item(item.id)] == [1, 2, 3, 4, 5]
        assert all(books.verdicts.get(part.identifier) is not None for part in parts)


def test_one_that_is_made_into_one_part_has_that_one_s_identifier(place: Place, service: Sandbox) -> None:
    """As one that is put into another container."""
    with opened(place) as site:
        site.cutter.seconds = 100.0
        site.add(long=LONG)
        site.drain()
        [part] = site.parts()
        assert site.item().identifier == part.identifier == posts(service)[0].identifier


def test_its_parts_go_before_the_next_recording_s(place: Place, service: Sandbox) -> None:
    """The recordings go out as they came, whether in parts or not."""
    with opened(place, long=LONG, next=speech("next")) as site:
        site.drain()
        assert [entry.size for entry in posts(service)][-1] == len(speech("next"))


def test_a_part_that_the_service_refuses_leaves_the_others_their_way(place: Place, service: Sandbox) -> None:
    """Done, with a warning that says how many seconds nobody judged."""
    service.add_fault(**REFUSED, ordinal=2)
    with opened(place, long=LONG) as site:
        site.drain()
        item, parts = site.item(), site.parts()
        assert item.state is State.DONE
        assert "10.0 s of it were not judged" in (item.warning or "")
        assert [part.state for part in parts] == [
            PartState.ACCEPTED,
            PartState.REFUSED,
            *[PartState.ACCEPTED] * 3,
        ]
        assert parts[1].fault is not None
        assert parts[1].fault.code == "refused"
        assert "not judged" in place.receipt("done/long.wav.json")["warning"]
        check(site, service)


def test_with_no_part_accepted_it_failed(place: Place, service: Sandbox) -> None:
    service.add_fault(**REFUSED, times=0)
    with opened(place, long=LONG) as site:
        site.drain()
        item = site.item()
        assert (item.state, item.fault and item.fault.code) == (State.FAILED, "refused")
        assert len(posts(service)) == 5


@pytest.mark.server
def test_retry_pays_only_for_what_has_no_identifier(place: Place, service: Sandbox) -> None:
    """The recording comes back from done/, its refused part is sent, and it is complete; so is its duplicate."""
    service.add_fault(**REFUSED, ordinal=2)
    with opened(place, long=LONG) as site:
        site.drain()
        site.add(copy=LONG)
        site.drain()
        before = site.parts()
        assert "not judged" in (site.item("copy.wav").warning or "")
        site.retry()
        site.drain()
        after = site.parts()
        assert len(posts(service)) == 6
        assert (site.item().state, site.item().warning) == (State.DONE, None)
        assert (place.root / "done/long.wav").read_bytes() == LONG
        assert [(p.start, p.end, p.sha256) for p in after] == [(p.start, p.end, p.sha256) for p in before]
        assert [p.identifier for p in after if p.index != 2] == [p.identifier for p in before if p.index != 2]
        assert [p.identifier for p in site.parts("copy.wav")] == [p.identifier for p in after]
        assert site.item("copy.wav").warning is None
        check(site, service)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("nth", [1, 3])
def test_whatever_the_service_does_each_part_is_paid_for_once(
    make_place: MakePlace, service: Sandbox, fault: str, nth: int
) -> None:
    """Every fault, in the first part and in the middle: all parts come to their identifier, or the file failed."""
    place = make_place(**SPLIT, retry={"first_seconds": 1, "max_seconds": 5})
    service.add_fault(**{**FAULTS[fault], "ordinal": nth, "method": "POST"})
    with opened(place, long=LONG, other=speech("other")) as site:
        site.drain()
        assert site.item("other.wav").state is State.DONE
        assert site.item().state is State.DONE
        refused = [part.index for part in site.parts() if part.state is PartState.REFUSED]
        assert refused in ([], [nth])
        check(site, service)


def test_a_lost_answer_is_asked_for_with_the_very_same_bytes(place: Place, service: Sandbox) -> None:
    """Resubmitted, answered from the service's cache, paid once."""
    service.add_fault("lose_answer", ordinal=2)
    with opened(place, long=LONG) as site:
        site.drain()
        again = [entry for entry in posts(service) if entry.ref_id == f"{site.item().id}-2"]
        assert [entry.cached for entry in again] == [False, True]
        assert len({entry.sha256 for entry in again}) == 1
        assert "no_cache" not in again[1].options
        assert [part.in_doubt for part in site.parts()] == [False] * 5
        check(site, service)


def test_under_hold_a_lost_answer_holds_the_recording_at_once(make_place: MakePlace, service: Sandbox) -> None:
    """No further part is sent; released, the same bytes go again."""
    place = make_place(**SPLIT, identifai={"in_doubt": "hold"})
    service.add_fault("lose_answer", ordinal=2)
    with opened(place, long=LONG) as site:
        site.drain()
        assert (site.item().state, site.item().in_doubt) == (State.HELD, True)
        assert [part.state for part in site.parts()][:3] == [PartState.ACCEPTED, PartState.HELD, PartState.QUEUED]
        assert len(posts(service)) == 2
        site.decide(decisions.release)
        site.drain()
        assert site.item().state is State.DONE
        check(site, service)


def test_what_is_held_and_given_up_is_done_as_far_as_it_was_accepted(
    make_place: MakePlace, service: Sandbox
) -> None:
    """`fail` makes it done, with the warning about the rest; or failed, where nothing was accepted."""
    place = make_place(**SPLIT, identifai={"in_doubt": "hold"})
    service.add_fault("lose_answer", ordinal=2)
    with opened(place, long=LONG) as site:
        site.drain()
        site.decide(decisions.give_up)
        site.drain()
        assert site.item().state is State.DONE
        assert "35.0 s of it were not judged" in (site.item().warning or "")
        service.add_fault("lose_answer")
        site.add(second=speech("second", seconds=45.0))
        site.drain()
        assert site.item("second.wav").state is State.HELD
        site.decide(decisions.give_up, "second.wav")
        site.drain()
        assert site.item("second.wav").state is State.FAILED


@pytest.mark.parametrize("how", ["gone", "changed", "all gone"])
def test_a_part_that_is_not_there_as_it_was_made_is_made_again(place: Place, service: Sandbox, how: str) -> None:
    """Nothing but the committed bytes is sent."""
    with opened(place, long=LONG) as site:
        site.send(2)
        before, file = site.parts(), site.spool / f"{site.item().id}-3.wav"
        match how:
            case "gone":
                file.unlink()
            case "changed":
                file.write_bytes(file.read_bytes()[:-2] + b"xx")
            case _:
                shutil.rmtree(site.spool)
        site.drain()
        assert site.item().state is State.DONE
        assert {entry.sha256 for entry in posts(service)} == {part.sha256 for part in before}
        check(site, service)


def test_what_is_in_doubt_and_comes_out_otherwise_is_held_whatever_is_set(place: Place, service: Sandbox) -> None:
    """As when the decoder's version changed in mid-doubt: only identical bytes are ever resubmitted. A person may
    have it sent all the same."""
    service.add_fault("lose_answer", ordinal=2)
    with opened(place, long=LONG) as site:
        site.send(2)
        assert [part.in_doubt for part in site.parts()] == [False, True, False, False, False]
        shutil.rmtree(site.spool)
        site.cutter.salt = b"another version"
        site.drain()
        item = site.item()
        assert (item.state, item.fault and item.fault.code) == (State.HELD, "in_doubt")
        assert len(posts(service)) == 2
        site.decide(decisions.release)
        site.drain()
        assert site.item().state is State.DONE
        assert len(posts(service)) == 6


def test_what_was_taken_away_half_sent_and_comes_back_is_completed(place: Place, service: Sandbox) -> None:
    """Withdrawn, its parts are not sent; back, only the rest is paid for."""
    with opened(place, long=LONG) as site:
        site.send(2)
        aside = place.root / "aside.wav"
        (place.root / "drop/long.wav").rename(aside)
        site.look()
        assert site.item().state is State.WITHDRAWN
        site.drain()
        assert list(site.spool.iterdir()) == []
        aside.rename(place.root / "drop/long.wav")
        site.look()
        site.drain()
        assert site.item().state is State.DONE
        assert len(posts(service)) == 5
        check(site, service)


def test_what_was_held_and_comes_back_is_held(make_place: MakePlace, service: Sandbox) -> None:
    """Coming back decides nothing: a person does, on the part that may have been charged."""
    place = make_place(**SPLIT, identifai={"in_doubt": "hold"})
    service.add_fault("lose_answer", ordinal=2)
    with opened(place, long=LONG) as site:
        site.drain()
        (place.root / "drop/long.wav").rename(place.root / "aside.wav")
        site.look()
        assert site.item().state is State.WITHDRAWN
        (place.root / "aside.wav").rename(place.root / "drop/long.wav")
        site.look()
        assert site.item().state is State.HELD
        site.decide(decisions.release)
        site.drain()
        assert site.item().state is State.DONE
        check(site, service)


def test_a_part_that_somebody_else_left_half_sent_is_in_doubt(place: Place, service: Sandbox) -> None:
    """Whoever had the item has it no longer, and nobody knows what came of the part: it is sent as it was."""
    with opened(place, long=LONG) as site:
        site.send(4)
        with place.books() as books:
            books.parts.change(books.parts.of(place.item_in(books, "long.wav").id)[4], PartState.SUBMITTING)
        site.drain()
        assert site.item().state is State.DONE
        check(site, service)


# The same bytes


@pytest.mark.server
def test_a_recording_in_parts_is_paid_for_once_however_often_it_comes(place: Place, service: Sandbox) -> None:
    """While it is under way and afterwards: the others have its parts' identifiers."""
    with opened(place, long=LONG, second=LONG) as site:
        site.send(2)
        site.add(third=LONG)
        site.drain()
        site.add(fourth=LONG)
        site.drain()
        assert set(place.states().values()) == {State.DONE}
        identifiers = [part.identifier for part in site.parts()]
        for name in ("second.wav", "third.wav", "fourth.wav"):
            assert [part.identifier for part in site.parts(name)] == identifiers
            assert site.item(name).duplicate_of == site.item().id
        assert len(posts(service)) == 5


def test_parts_of_equal_content_share_one_identifier(place: Place, service: Sandbox) -> None:
    """Two recordings with the same announcement, and one that is sent as it is and is that."""
    hello, one, two = (wav(10.0, seed=n)[44:] for n in (1, 2, 3))
    first, second = (wav(20.0)[:44] + hello + rest for rest in (one, two))
    with opened(place, first=sized(first), second=sized(second)) as site:
        site.cutter.seconds = 10.0
        site.drain()
        assert site.parts("first.wav")[0].identifier == site.parts("second.wav")[0].identifier
        assert len(posts(service)) == 3
        announcement = sized(wav(10.0)[:44] + hello)
        assert hashlib.sha256(announcement).hexdigest() == site.parts("first.wav")[0].sha256
        site.add(alone=announcement)
        site.drain()
        assert site.item("alone.wav").identifier == site.parts("first.wav")[0].identifier
        assert len(posts(service)) == 3


def sized(content: bytes) -> bytes:
    """The RIFF with the lengths that it has."""
    sound = len(content) - 44
    return (
        content[:4]
        + (36 + sound).to_bytes(4, "little")
        + content[8:40]
        + sound.to_bytes(4, "little")
        + content[44:]
    )


# Caps


def test_a_recording_begins_only_if_the_cap_has_room_for_all_its_parts(
    make_place: MakePlace, service: Sandbox, clock: FalseClock
) -> None:
    """What is smaller goes meanwhile; the next day it is the first."""
    limits = {**SPLIT["limits"], "per_day": 6}
    place = make_place(limits=limits, audio=SPLIT["audio"])
    with opened(place, a=speech("a"), b=speech("b"), long=LONG, c=speech("c")) as site:
        site.drain(3600.0)
        assert place.states() == {
            "a.wav": State.DONE,
            "b.wav": State.DONE,
            "long.wav": State.QUEUED,
            "c.wav": State.DONE,
        }
        assert len(posts(service)) == 3
        [pause] = place.pauses()
        assert pause.kind is PauseKind.CAP
        assert "5 submissions" in pause.reason
        site.add(d=speech("d"))
        site.drain(3600.0)
        assert site.item("d.wav").state is State.DONE
        site.drain()
        assert site.item().state is State.DONE
        assert [attempt.part for attempt in site.ledger()] == [None] * 4 + [1, 2, 3, 4, 5]


def test_a_cap_keeps_room_for_the_parts_of_what_was_begun(make_place: MakePlace, service: Sandbox) -> None:
    """Else its last part would wait for the next day."""
    place = make_place(limits={**SPLIT["limits"], "per_day": 6}, audio=SPLIT["audio"])
    with opened(place, long=LONG, a=speech("a"), b=speech("b")) as site:
        site.send(1)
        with place.books() as books:
            long = place.item_in(books, "long.wav")
            due_at, fault = place.clock.now() + 600.0, Fault("unavailable", "No answer.", "")
            books.items.change(long, State.QUEUED, place.clock.now(), due_at=due_at, fault=fault)
        site.drain(300.0)
        assert place.states() == {"long.wav": State.QUEUED, "a.wav": State.DONE, "b.wav": State.QUEUED}
        site.drain(1000.0)
        assert place.states() == {"long.wav": State.DONE, "a.wav": State.DONE, "b.wav": State.QUEUED}


def test_a_cap_smaller_than_a_recording_does_not_keep_it_for_ever(make_place: MakePlace, service: Sandbox) -> None:
    """Its parts go as there is room, over days."""
    place = make_place(limits={**SPLIT["limits"], "per_day": 2}, audio=SPLIT["audio"])
    with opened(place, long=LONG) as site:
        site.drain()
        assert site.item().state is State.DONE
        assert len(posts(service)) == 5


# One pass


def test_one_pass_prepares_sends_and_files_it(make_place: MakePlace, service: Sandbox) -> None:
    """`run --once` ends when all parts are accepted, and leaves nothing in the spool."""
    place = make_place(**SPLIT)
    place.drop("long.wav", LONG)
    place.drop("small.wav")
    with place.opened(once=True) as journey:
        journey.preparation._maker = Cutter()
        outcome = once.run_once(journey)
    assert outcome.exit_code is Exit.WELL
    assert set(place.states().values()) == {State.DONE}
    assert list((place.root / "spool").iterdir()) == []
    assert len(posts(service)) == 6


def test_one_pass_names_what_it_could_not_prepare(make_place: MakePlace, service: Sandbox) -> None:
    """The spool takes nothing: the pass ends, files the others, and exits with 1."""
    place = make_place(**SPLIT)
    place.drop("long.wav", LONG)
    place.drop("small.wav")
    (place.root / "spool").write_bytes(b"no folder")
    with place.opened(once=True) as journey:
        journey.preparation._maker = Cutter()
        outcome = once.run_once(journey)
    assert outcome.exit_code is Exit.INCOMPLETE
    assert place.states() == {"long.wav": State.PREPARING, "small.wav": State.DONE}
    assert any("long.wav: preparing" in line and "spool" in line for line in outcome.left)


# After a crash


@pytest.mark.parametrize("in_doubt", ["resubmit", "hold"])
@pytest.mark.parametrize("at", ["not sent", "sent", "answered"])
def test_after_a_crash_no_part_is_paid_for_twice(
    make_place: MakePlace, service: Sandbox, at: str, in_doubt: str
) -> None:
    """The ledger tells: not sent, in doubt, or accepted."""
    place = make_place(**SPLIT, identifai={"in_doubt": in_doubt})
    with opened(place, long=LONG) as site:
        site.send(2)
        with place.books() as books:
            item, now = place.item_in(books, "long.wav"), place.clock.now()
            part = books.parts.of(item.id)[2]
            books.items.change(item, State.SUBMITTING, now, claim="1", attempts=3, attempted_at=now)
            books.parts.change(part, PartState.SUBMITTING)
            claimed = books.items.get(item.id)
            assert claimed is not None
            number = books.ledger.begin(claimed, now, part=part, no_cache=False, canary=False)
            if at != "not sent":
                books.ledger.release(number, claimed, now)
            if at == "answered":
                books.ledger.end(
                    number, now, outcome="accepted", charged=Charged.YES, decision="", identifier="f" * 64
                )
    with place.opened() as journey:
        site = Site(place, journey, Cutter())
        journey.preparation._maker = site.cutter
        part = site.parts()[2]
        match at, in_doubt:
            case "not sent", _:
                assert (part.state, part.in_doubt, site.item().state) == (PartState.QUEUED, False, State.QUEUED)
            case "answered", _:
                assert (part.state, part.identifier) == (PartState.ACCEPTED, "f" * 64)
            case _, "hold":
                assert (part.state, part.in_doubt, site.item().state) == (PartState.HELD, True, State.HELD)
                return
            case _:
                assert (part.state, part.in_doubt, site.item().state) == (PartState.QUEUED, True, State.QUEUED)
        site.drain()
        assert site.item().state is State.DONE
        assert len({part.identifier for part in site.parts()}) == 5
