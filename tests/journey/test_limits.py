"""The rate windows, over real HTTP: never a 429 of our own making, no time wasted, and what a 429 teaches."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import Place, sandbox
from tests.queues import IDLE, drain, listening, posts, queued, settle, told
from watcher.clock import SystemClock
from watcher.domain import PauseKind, State
from watcher.errors import Exit
from watcher.journey.file import Filing
from watcher.journey.submit.submission import Submission
from watcher.sandbox import Sandbox


def names(count: int) -> list[str]:
    return [f"{n:03}" for n in range(count)]


def drop_all(place: Place, count: int) -> None:
    for name in names(count):
        place.drop(f"{name}.wav")


@pytest.mark.parametrize(("latency", "counted_late"), [(0.6, True), (1.0, False)])
def test_the_limits_hold_and_are_used(
    make_place: MakePlace, service: Sandbox, clock: FalseClock, latency: float, counted_late: bool
) -> None:
    """Forty recordings go out at 1 a second and 30 a minute, wherever in its latency the service counts them."""
    place = make_place(verdicts={"fetch": False})
    if counted_late:
        service.add_fault("slow_before", times=0, seconds=latency)
    else:
        service.latency_seconds = latency
    drop_all(place, 40)

    place.run_once()

    seen = posts(service)
    assert [entry.status for entry in seen] == [200] * 40
    # 30 fill a minute; what a second of latency costs in it is all that may be lost.
    assert seen[39].time - seen[0].time <= 61.1 + 9 * 2.1 + 1


@pytest.mark.parametrize("in_flight", [2, 4])
def test_uploads_at_the_same_time_keep_to_the_limits_together(
    tmp_path: Path, clock: FalseClock, in_flight: int
) -> None:
    """Several workers share the windows: the last part of each body waits for its turn."""
    limits = ["3/second", "20/10s"]
    with sandbox(clock, writes=limits, latency_seconds=0.3) as service:
        place = Place(tmp_path, service.url, clock, limits={"writes": limits, "in_flight": in_flight})
        drop_all(place, 45)
        place.run_once()
        assert [entry.status for entry in posts(service)] == [200] * 45


def test_on_real_clocks_too(tmp_path: Path) -> None:
    """With real threads, real time and limits as tight as they go, nothing is refused and little is wasted."""
    limits = ["5/second", "10/3s"]
    with sandbox(writes=limits, latency_seconds=0.1) as service:
        place = Place(
            tmp_path,
            service.url,
            SystemClock(),
            limits={"writes": limits, "in_flight": 3},
            arrivals={"settle_seconds": 0},
            verdicts={"fetch": False},
        )
        drop_all(place, 20)
        place.run_once()
        seen = posts(service)
        assert [entry.status for entry in seen] == [200] * 20
        assert seen[19].time - seen[0].time < 6.0  # 10 in the first three seconds, 10 from then on


def test_uploads_end_in_the_order_in_which_they_came_to_their_end(tmp_path: Path) -> None:
    """With its last part held back no upload is overtaken, or the service would give the unlucky one up."""
    with sandbox() as service:
        limits = {"writes": ["1/second"], "in_flight": 3}
        place = Place(tmp_path, service.url, SystemClock(), limits=limits, arrivals={"settle_seconds": 0})
        drop_all(place, 8)
        with place.opened() as journey:
            settle(journey)

            def send(submission: Submission) -> None:
                while (wait := submission.step()) != IDLE:
                    place.clock.wait(wait, journey.stopping)

            with ThreadPoolExecutor(3) as pool:
                list(pool.map(send, journey.submissions))
            with place.books() as books:
                attempts = [attempt for item in books.items.listed() for attempt in books.ledger.of_item(item.id)]
    assert len(attempts) == 8
    for one, other in itertools.permutations(attempts, 2):
        if one.started_at + 0.3 < other.started_at:
            assert (one.released_at or 0) < (other.released_at or 0)


@pytest.mark.parametrize("in_flight", [1, 2])
def test_a_pass_sends_the_next_while_others_are_filed(in_flight: int, tmp_path: Path) -> None:
    """As the daemon does, with one sender too: a slow disk costs none of the rate."""
    clock, deadline = SystemClock(), 30.0
    with sandbox(clock, writes=()) as service, pytest.MonkeyPatch.context() as patch:
        place = Place(tmp_path, service.url, clock, limits={"writes": [], "in_flight": in_flight})
        for name in ("a.wav", "b.wav", "c.wav"):
            place.drop(name)
        file, seen = Filing.step, list[int]()

        def file_slowly(filing: Filing) -> float:
            until = clock.monotonic() + deadline
            while 0 < (count := len(posts(service))) < 3 and clock.monotonic() < until:
                clock.wait(0.01, threading.Event())
            seen.append(count)
            return file(filing)

        patch.setattr(Filing, "step", file_slowly)
        outcome = place.run_once()

    assert outcome.exit_code is Exit.WELL
    assert set(seen) <= {0, 3}


def test_a_restart_loop_can_not_burst(make_place: MakePlace, service: Sandbox, clock: FalseClock) -> None:
    """A daemon that is started anew for each recording keeps to the windows of those before it."""
    place = make_place(verdicts={"fetch": False}, limits={"writes": ["1/second", "5/minute"]})
    drop_all(place, 12)
    with place.opened() as journey:
        journey.arrivals.step()
        place.clock.wait(3, journey.stopping)
        while journey.arrivals.step() <= 0 or journey.admission.step() <= 0:
            pass
    while State.QUEUED in place.states().values():
        with place.opened() as journey:
            wait = journey.submissions[0].step()
        clock.advance(max(wait, 0.0))

    assert [entry.status for entry in posts(service)] == [200] * 12
    times = [entry.time for entry in posts(service)]
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[5:], strict=False))


def test_a_clock_that_is_set_back_stops_nobody(place: Place, service: Sandbox, clock: FalseClock) -> None:
    """An hour back, in mid-backlog: the answers of the future count as given now, and submitting goes on."""
    with queued(place, *names(4)) as journey:
        drain(journey, seconds=1.5)
        clock.jump(-3600)
        assert drain(journey) < 120
    assert set(place.states().values()) == {State.DONE}
    assert [entry.status for entry in posts(service)] == [200] * 4


class _ServicesClock(FalseClock):
    """The service's own: it runs as fast as ours, and nobody sets it."""

    def __init__(self, ours: FalseClock) -> None:
        super().__init__()
        self._ours = ours

    def now(self) -> float:
        return 1_700_000_000.0 + self._ours.monotonic()

    def monotonic(self) -> float:
        return self._ours.monotonic()

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        return self._ours.wait(seconds, wake)


@pytest.mark.parametrize("jump", [3600.0, 0.7])
def test_a_clock_that_is_set_forward_lets_no_burst_out(tmp_path: Path, clock: FalseClock, jump: float) -> None:
    """In mid-backlog, by an hour or by little, again and again: the service, which counts in its own time, refuses
    no upload, and no question.
    """
    limits = ["1/second", "5/minute"]
    with sandbox(_ServicesClock(clock), writes=limits, reads=limits) as service:
        place = Place(tmp_path, service.url, clock, limits={"writes": limits, "reads": limits})
        with queued(place, *names(12)) as journey:
            for _ in range(2_000):
                wait = min(journey.submissions[0].step(), journey.verdict_poller.step())
                clock.jump(jump)
                clock.wait(min(max(wait, 0.1), 5.0), journey.stopping)
                if service.charged == 12:
                    break
        assert service.charged == 12
        assert len([entry for entry in service.ledger if entry.method == "GET"]) > 5
        assert [entry for entry in service.ledger if entry.status == 429] == []


def test_slow_bodies_travel_side_by_side(tmp_path: Path, clock: FalseClock) -> None:
    """A body may begin its journey before the windows have room: what counts is when it ends."""
    with sandbox(clock) as service:
        place = Place(tmp_path, service.url, clock)
        with queued(place, "a", "b") as journey:
            journey.submissions[0].step()
            began = clock.now()
            journey.submissions[0].step()  # begins at once, and holds its last part back for a second
        assert [entry.status for entry in posts(service)] == [200, 200]
        assert 1.0 <= clock.now() - began < 1.1


# What a 429 teaches


@pytest.mark.parametrize(
    ("retry_after", "waits"),
    [(7, 7), (0, 1), (None, 1), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("soon", 1), (10**9, 3600)],
)
def test_a_429_pauses_for_as_long_as_it_says_and_burns_nothing(
    place: Place, service: Sandbox, clock: FalseClock, retry_after: int | str | None, waits: float | None
) -> None:
    """Whole seconds, 0, a date, nonsense or nothing: between 1 s and an hour, then the same recording goes on."""
    service.add_fault("status", status=429, retry_after=retry_after, limit=30)
    with queued(place, "a", "b") as journey, listening() as log:
        journey.submissions[0].step()
        (pause,) = place.pauses()
        assert pause.kind is PauseKind.THROTTLE
        assert pause.until is not None
        if waits is not None:
            assert waits <= pause.until - clock.now() <= waits + 0.3
        assert 1 <= pause.until - clock.now() <= 3601
        item = place.item("a.wav")
        assert (item.state, item.attempts, item.faults) == (State.QUEUED, 1, 0)
        drain(journey)
    assert set(place.states().values()) == {State.DONE}
    assert place.item("a.wav").attempts == 2
    assert [e.sha256 for e in posts(service)][:2] == [place.item("a.wav").sha256] * 2  # its turn is still its own
    assert len(told(log, "submitting.paused")) == len(told(log, "submitting.resumed")) == 1
    assert len(told(log, "rate.lowered")) == 1


def test_the_window_that_was_hit_is_lowered_for_an_hour(
    make_place: MakePlace, service: Sandbox, clock: FalseClock
) -> None:
    """An account with fewer a minute than is configured: learned from the first 429, kept, and told once."""
    place = make_place(limits={"writes": ["1/second", "60/minute"]})  # the service allows 30
    drop_all(place, 65)
    with listening() as log:
        place.run_once()
    refused = [entry for entry in posts(service) if entry.status == 429]
    assert len(refused) == 1
    assert set(place.states().values()) == {State.DONE}
    (line,) = told(log, "rate.lowered")
    assert "30 in 60 s" in line["rate"]
    assert line["hint"]
    attempts = [item.attempts for item in place.items().values()]
    assert sorted(attempts) == [1] * 64 + [2]

    clock.advance(3600)
    place.drop("later.wav")
    with listening() as log:
        place.run_once()
    assert [line["rate"] for line in told(log, "rate.restored")] == ["1 in 1 s and 60 in 60 s"]


def test_somebody_else_on_the_same_key_is_made_room_for(place: Place, service: Sandbox) -> None:
    """429s though the windows are kept to mean that others use them: ours becomes narrower with each."""
    service.add_fault("status", status=429, times=2, retry_after=1, limit=30)
    with queued(place, "a", "b", "c") as journey, listening() as log:
        drain(journey)
    lines = told(log, "rate.lowered")
    assert len(lines) == 1
    assert "24 in 60 s" in lines[0]["rate"]
    with place.books() as books:
        assert books.account.get("limits.writes.lowered")["30/60"][0] == pytest.approx(0.64)
    assert set(place.states().values()) == {State.DONE}


@pytest.mark.parametrize("before", [[], ["1/second"]], ids=["no window", "a shorter window"])
def test_windows_that_became_longer_count_what_was_sent_before_them(
    make_place: MakePlace, service: Sandbox, clock: FalseClock, before: list[str]
) -> None:
    """From the first start with them on, as if they had always been kept to."""
    place = make_place(limits={"writes": before}, verdicts={"fetch": False})
    drop_all(place, 3)
    place.run_once()
    clock.advance(7100)  # for longer than rate events of the shorter ones are kept
    place.run_once()
    place.configure(limits={"writes": ["3/7200s"]}, verdicts={"fetch": False})
    place.drop("later.wav")
    place.run_once()
    seen = [entry.time for entry in posts(service) if entry.status == 200]
    assert len(seen) == 4
    assert seen[3] - seen[0] >= 7200
