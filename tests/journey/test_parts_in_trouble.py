"""A recording in parts, of which something stands in the way of the rest: what is paid for stays."""

import shutil
from pathlib import Path

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.cutting import Cutter
from tests.journey.test_parts import LONG, SPLIT, Site, check, opened
from tests.places import Place, speech
from tests.queues import posts
from watcher.domain import PartState, State
from watcher.errors import CodecDied, RecordingRefused
from watcher.journey import decisions
from watcher.journey.answer import read_answer
from watcher.sandbox import Sandbox

UNDECODABLE = RecordingRefused("undecodable", "It cannot be decoded.", hint="Export it again.")
TROUBLES: dict[str, list[Exception]] = {
    "refused": [UNDECODABLE],
    "dies twice": [CodecDied("It died."), CodecDied("It died again.")],
}


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    return make_place(**SPLIT)


def settled(site: Site, steps: int = 60) -> bool:
    """Whether the step that sends comes to rest within so many calls."""
    return any(site.journey.submissions[0].step() > 0 for _ in range(steps))


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_cannot_be_made_again_leaves_what_is_paid_for_done(
    place: Place, service: Sandbox, trouble: str
) -> None:
    """Two parts have their identifiers: the recording is done with a warning, and `retry` completes it."""
    with opened(place, long=LONG) as site:
        site.send(2)
        shutil.rmtree(site.spool)
        site.cutter.troubles = list(TROUBLES[trouble])
        site.drain()
        done, parts = site.item(), site.parts()
        assert (done.state, done.outcome) == (State.DONE, State.DONE)
        assert "25.0 s of it were not judged" in (done.warning or "")
        assert [part.state for part in parts] == [PartState.ACCEPTED] * 2 + [PartState.REFUSED] * 3
        assert {part.fault.code for part in parts[2:] if part.fault} == {"undecodable"}
        assert list(site.spool.iterdir()) == []
        site.retry()
        site.drain()
        assert site.item().warning is None
        assert {part.state for part in site.parts()} == {PartState.ACCEPTED}
        check(site, service)
    assert len(posts(service)) == 5


def test_what_is_in_doubt_and_cannot_be_made_at_all_is_held(place: Place, service: Sandbox) -> None:
    """Whatever in_doubt says. Given up, it is done as far as it was accepted."""
    with opened(place, long=LONG) as site:
        service.add_fault("lose_answer", ordinal=2)
        site.send(2)
        assert [part.in_doubt for part in site.parts()] == [False, True, False, False, False]
        shutil.rmtree(site.spool)
        site.cutter.troubles = [UNDECODABLE]
        site.drain(3600.0)
        item, part = site.item(), site.parts()[1]
        assert (item.state, part.state) == (State.HELD, PartState.HELD)
        assert item.fault is not None
        assert item.fault.code == "in_doubt"
        site.decide(decisions.give_up)
        site.drain()
        assert site.item().state is State.DONE
        check(site, service)
    assert len(posts(service)) == 2


def test_what_lies_there_goes_out_though_the_rest_cannot_be_made(place: Place, service: Sandbox) -> None:
    """Only the parts that cannot be made are not judged."""
    with opened(place, long=LONG) as site:
        site.send(1)
        item = site.item()
        for index in (2, 3, 4):
            (site.spool / f"{item.id}-{index}.wav").unlink()
        site.send(1)
        site.cutter.troubles = [UNDECODABLE]
        site.drain()
        assert site.item().state is State.DONE
        accepted, refused = PartState.ACCEPTED, PartState.REFUSED
        assert [part.state for part in site.parts()] == [accepted, refused, refused, refused, accepted]


def test_two_caps_of_which_one_has_no_room_are_waited_for_at_rest(
    make_place: MakePlace, service: Sandbox, clock: FalseClock
) -> None:
    """A day's cap is smaller than the recording, the month's has too little left: others go meanwhile."""
    place = make_place(limits={**SPLIT["limits"], "per_day": 4, "per_month": 6}, audio=SPLIT["audio"])
    with opened(place, a=speech("a"), b=speech("b")) as site:
        site.drain()
        clock.advance(24 * 3600.0)
        site.add(long=LONG)
        site.prepare()
        site.add(c=speech("c"))
        site.drain(600.0)
        assert settled(site)
        assert site.item("c.wav").state is State.DONE
        assert site.item().state is State.QUEUED
        assert "month" in str(place.pauses())


def test_a_canary_is_one_for_which_the_caps_have_room(
    make_place: MakePlace, service: Sandbox, clock: FalseClock
) -> None:
    """A recording that has to wait for a cap is not what tries whether the service works again."""
    place = make_place(limits={**SPLIT["limits"], "per_day": 6}, audio=SPLIT["audio"])
    with opened(place, a=speech("a"), b=speech("b"), c=speech("c"), long=LONG) as site:
        site.send(3)
        site.add(d=speech("d"))
        service.add_fault("status", status=503, ordinal=1)
        site.send(1)
        clock.advance(10.0)
        for _ in range(60):
            site.journey.submissions[0].step()
        assert [attempt.item_id for attempt in site.ledger()][-2:] == [site.item("d.wav").id] * 2


def test_a_duplicate_is_as_its_original_was_sent(make_place: MakePlace, service: Sandbox) -> None:
    """That was sent as it is, before the limit became lower: the newcomer has no parts, and its verdict."""
    place = make_place()
    with opened(place, first=LONG) as site:
        site.drain()
        journey = site.journey
        while journey.verdict_poller.step() <= 0 or site.item("first.wav").identifier is None:
            pass
    lower = Place(place.root, service.url, clock=place.clock, **SPLIT)
    with opened(lower, second=LONG) as site:
        site.drain()
        first, second = site.item("first.wav"), site.item("second.wav")
        assert (second.state, second.identifier) == (State.DONE, first.identifier)
        assert second.plan is None
        with lower.books() as books:
            assert read_answer(books, second, site.journey.site.config.audio).verdict is not None
    assert len(posts(service)) == 1


def test_a_link_where_a_part_should_lie_is_replaced(place: Place, service: Sandbox, tmp_path: Path) -> None:
    """It is not followed: the part is made again, and sent."""
    other = tmp_path / "other"
    other.write_bytes(b"of somebody else")
    with opened(place, long=LONG) as site:
        part = site.spool / f"{site.item().id}-1.wav"
        part.unlink()
        part.symlink_to(other)
        site.drain(60.0)
        assert site.item().state is State.DONE
        check(site, service)
    assert other.read_bytes() == b"of somebody else"


def test_sound_that_no_decoder_finds_is_told_of(place: Place, service: Sandbox) -> None:
    """Its header says more than there is: the recording is done, and its warning says what was not judged."""
    with place.opened() as journey:
        cutter = Cutter()
        journey.preparation._maker = cutter
        site = Site(place, journey, cutter)
        site.add(long=LONG)
        cutter.lost_seconds = 15.0
        site.drain()
        assert site.item().state is State.DONE
        assert "Only 30.0 of the 45.0 s" in (site.item().warning or "")
