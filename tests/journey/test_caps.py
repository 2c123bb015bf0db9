"""Caps: so many submissions a day and a month, whatever happens, and no file fails because of one."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import REFUSED, Place, sandbox
from tests.queues import add, drain, listening, posts, queued, told
from watcher.domain import PauseKind, State
from watcher.errors import Exit
from watcher.sandbox import Sandbox

ROME = ZoneInfo("Europe/Rome")
NOON = datetime(2026, 3, 28, 12, tzinfo=ROME).timestamp()  # the day before one of 23 hours
MIDNIGHT = datetime(2026, 3, 29, tzinfo=ROME).timestamp()
MONTHS_END = datetime(2026, 4, 1, tzinfo=ROME).timestamp()


@pytest.fixture
def clock() -> FalseClock:
    return FalseClock(NOON)


def test_a_cap_pauses_until_local_midnight(make_place: MakePlace, service: Sandbox, clock: FalseClock) -> None:
    """Two a day: the rest waits, nothing fails, the log says why and when it went on."""
    place = make_place(limits={"per_day": 2, "timezone": "Europe/Rome"})
    with queued(place, *"abcde") as journey, listening() as log:
        drain(journey, seconds=3600)
        (pause,) = place.pauses()
        assert (pause.kind, pause.code, pause.until) == (PauseKind.CAP, "per_day", MIDNIGHT)
        assert "per_day" in pause.reason
        assert sorted(place.states().values()) == [State.DONE] * 2 + [State.QUEUED] * 3
        drain(journey)
    times = [entry.time for entry in posts(service)]
    assert set(place.states().values()) == {State.DONE}
    assert [MIDNIGHT <= time < MIDNIGHT + 82_800 for time in times] == [False, False, True, True, False]
    assert times[4] >= MIDNIGHT + 82_800  # that day had 23 hours
    assert len(told(log, "submitting.paused")) == len(told(log, "submitting.resumed")) == 2


def test_a_months_cap_pauses_until_the_first(make_place: MakePlace, service: Sandbox) -> None:
    """Of two caps that are reached the later reset counts."""
    place = make_place(limits={"per_day": 2, "per_month": 3, "timezone": "Europe/Rome"})
    with queued(place, *"abcde") as journey:
        drain(journey, seconds=2 * 86_400)
        (pause,) = place.pauses()
        assert (pause.code, pause.until) == ("per_month", MONTHS_END)
        drain(journey)
    times = [entry.time for entry in posts(service)]
    assert len([time for time in times if time < MONTHS_END]) == 3
    assert len(times) == 5


def test_once_says_that_a_cap_stands_in_the_way(make_place: MakePlace) -> None:
    """`run --once` does what it may and exits 69."""
    place = make_place(limits={"per_day": 1, "timezone": "Europe/Rome"})
    place.drop("a.wav")
    place.drop("b.wav")
    assert place.run_once().exit_code == Exit.UNAVAILABLE
    assert sorted(place.states().values()) == [State.DONE, State.QUEUED]


def test_a_cap_with_nothing_waiting_is_no_pause(make_place: MakePlace) -> None:
    """As many as may be, and no more to send: all is well."""
    place = make_place(limits={"per_day": 1})
    place.drop("a.wav")
    assert place.run_once().exit_code == Exit.WELL
    assert place.pauses() == []


def test_what_cost_nothing_is_given_back(make_place: MakePlace, service: Sandbox) -> None:
    """Refusals, throttles and outages count against no cap."""
    place = make_place(limits={"per_day": 3, "timezone": "Europe/Rome"})
    service.add_fault(**REFUSED)
    service.add_fault("status", status=429, retry_after=1, limit=1)
    service.add_fault("status", status=503)
    with queued(place, *"abcd") as journey:
        drain(journey, seconds=3600)
    assert sorted(place.states().values()) == [State.DONE] * 3 + [State.FAILED]
    assert service.charged == 3
    with place.books() as books:
        assert books.ledger.spent_since(0) == 3


def test_a_lost_answer_counts_as_spent(make_place: MakePlace, service: Sandbox) -> None:
    """Nobody knows whether it was charged: so the cap assumes it."""
    place = make_place(limits={"per_day": 2, "timezone": "Europe/Rome"})
    service.add_fault("lose_answer")
    with queued(place, "a", "b", "c") as journey:
        drain(journey, seconds=3600)
        assert service.charged <= 2
        assert [pause.kind for pause in place.pauses() if pause.kind is PauseKind.CAP] == [PauseKind.CAP]
    assert len(posts(service)) == 2


@pytest.mark.parametrize("in_flight", [2, 6])
def test_uploads_at_the_same_time_can_not_pass_it_together(
    tmp_path_factory: pytest.TempPathFactory, clock: FalseClock, in_flight: int
) -> None:
    """The spend is reserved before a byte is sent: with many workers the last one is taken by one of them."""
    with sandbox(clock, writes=[]) as service:
        limits = {"per_day": 5, "in_flight": in_flight, "writes": [], "timezone": "Europe/Rome"}
        place = Place(tmp_path_factory.mktemp("place"), service.url, clock, limits=limits)
        for n in range(12):
            place.drop(f"{n}.wav")
        place.run_once()
        assert service.charged == 5
        assert [entry.status for entry in posts(service)] == [200] * 5
        assert sorted(place.states().values()) == [State.DONE] * 5 + [State.QUEUED] * 7


def test_a_reservation_that_comes_back_ends_the_pause(make_place: MakePlace, service: Sandbox) -> None:
    """The last of the day was refused after another had met the cap: its place is taken at once."""
    place = make_place(limits={"per_day": 1, "timezone": "Europe/Rome"})
    with queued(place, "a", "b") as journey:
        with place.books() as books:  # an upload of another worker is under way
            item = place.item_in(books, "a.wav")
            number = books.ledger.begin(item, place.clock.now(), no_cache=False, canary=False)
            books.items.change(item, State.SUBMITTING, place.clock.now(), claim="elsewhere")
        journey.submissions[0].step()
        assert [pause.kind for pause in place.pauses()] == [PauseKind.CAP]
        with place.books() as books:
            books.ledger.end(number, place.clock.now(), outcome="unreachable", charged="no", decision="")  # type: ignore[arg-type]
        drain(journey, seconds=60)
        assert place.pauses() == []
        assert place.item("b.wav").state is State.DONE


def test_a_cap_that_was_raised_ends_its_pause(make_place: MakePlace) -> None:
    """After a restart with another configuration there is no need to wait for midnight."""
    place = make_place(limits={"per_day": 1, "timezone": "Europe/Rome"})
    with queued(place, "a", "b") as journey:
        drain(journey, seconds=60)
        assert len(place.pauses()) == 1
    place.configure(limits={"per_day": 2, "timezone": "Europe/Rome"})
    with place.opened() as journey:
        drain(journey, seconds=60)
        add(place, journey, "c")
    assert place.pauses() == []
    assert place.states() == {"a.wav": State.DONE, "b.wav": State.DONE, "c.wav": State.QUEUED}
