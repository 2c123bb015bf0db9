"""When somebody is told, and of what: the pure rules."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.alarms import Alarm, Condition, Told
from watcher.domain import PauseKind
from watcher.notify import rules
from watcher.notify.rules import Edge
from watcher.working_hours import is_working, parse_hours, working_seconds

ROME = ZoneInfo("Europe/Rome")
NOW = 1_700_000_000.0
DIGEST = 900.0

moments = st.floats(NOW - 1e7, NOW + 1e7)


class World:
    """One condition that opens and closes, as the store keeps it, and what was told of it."""

    def __init__(self) -> None:
        self.row: Condition | None = None
        self.openings: list[float] = []
        self.edges: list[Edge] = []

    def open(self, now: float) -> None:
        if self.row is not None and self.row.is_open:
            return
        self.openings.append(now)
        before = self.openings[-4] if len(self.openings) > 3 else None
        told = (None, None) if self.row is None else (self.row.told, self.row.told_opening)
        self.row = Condition(Alarm.PAUSED, "service", now, None, before, *told)

    def close(self, now: float) -> None:
        if self.row is not None and self.row.is_open:
            row = self.row
            self.row = Condition(
                row.kind, row.subject, row.opened_at, now, row.opened_before, row.told, row.told_opening
            )

    def tell(self, now: float) -> Edge | None:
        """What a message at this time says of it."""
        if self.row is None:
            return None
        row, found = self.row, rules.settle(self.row, now)
        if found.edge is not None:
            self.edges.append(found.edge)
            self.row = Condition(
                row.kind,
                row.subject,
                row.opened_at,
                row.closed_at,
                row.opened_before,
                found.told,
                None if found.told is None else row.opened_at,
            )
        if found.is_forgotten:
            self.row, self.openings = None, []
        return found.edge


def test_opened_is_told_once_and_over_once() -> None:
    """Edges only: however often one looks, each of the two is told once."""
    world = World()
    world.open(NOW)
    assert [world.tell(NOW + n) for n in range(3)] == [Edge.OPENED, None, None]
    world.close(NOW + 10)
    assert [world.tell(NOW + 10 + n) for n in range(3)] == [Edge.OVER, None, None]


def test_what_is_over_before_it_was_told_is_not_told() -> None:
    """Neither that it opened, nor that it is over."""
    world = World()
    world.open(NOW)
    world.close(NOW + 5)
    assert world.tell(NOW + 30) is None


def test_what_opened_again_between_two_messages_is_told_again() -> None:
    """A recording that failed again after a retry is news."""
    world = World()
    world.open(NOW)
    world.tell(NOW + 30)
    world.close(NOW + 40)
    world.open(NOW + 50)
    assert world.tell(NOW + 900) is Edge.OPENED
    assert world.tell(NOW + 1800) is None


def test_flapping_becomes_one_message_until_it_is_calm() -> None:
    """The fourth opening within an hour is told as unstable; then nothing until an hour without an opening."""
    world = World()
    for n in range(20):
        world.open(NOW + n * 120)
        world.tell(NOW + n * 120 + 30)
        world.close(NOW + n * 120 + 60)
        world.tell(NOW + n * 120 + 90)
    assert world.edges == [Edge.OPENED, Edge.OVER] * 3 + [Edge.UNSTABLE]
    last = NOW + 19 * 120
    assert world.tell(last + 3599) is None
    assert world.tell(last + 3601) is Edge.OVER
    assert world.tell(last + 9999) is None


def test_what_is_calm_and_open_is_told_as_open() -> None:
    """After an hour it is known that it stays: that is told once."""
    world = World()
    for n in range(5):
        world.open(NOW + n)
        if n < 4:
            world.close(NOW + n + 0.5)
    assert world.tell(NOW + 30) is Edge.UNSTABLE
    assert world.tell(NOW + 3000) is None
    assert world.tell(NOW + 4 + 3601) is Edge.OPENED
    assert world.tell(NOW + 9000) is None


@given(st.lists(st.tuples(st.sampled_from(["open", "close", "tell"]), st.floats(0.1, 5000.0)), max_size=60))
def test_over_is_told_only_of_what_was_told_and_once(deeds: list[tuple[str, float]]) -> None:
    """Whatever happens in whatever order: "over" follows something told, and never another "over"; and of what
    is calm, the last that was told is the case.
    """
    world, now = World(), NOW
    for deed, seconds in deeds:
        now += seconds
        getattr(world, deed)(now)
    for before, after in zip([None, *world.edges], world.edges, strict=False):
        if after is Edge.OVER:
            assert before in (Edge.OPENED, Edge.UNSTABLE)
        if after is Edge.UNSTABLE:
            assert before is not Edge.UNSTABLE
    is_open = world.row is not None and world.row.is_open
    world.tell(now + 2 * rules.CALM_SECONDS)
    told = world.edges[-1] if world.edges else None
    assert (told is Edge.OPENED) == is_open


@given(st.floats(0, 1e6), st.integers(1, 60))
def test_an_hour_has_a_bounded_number_of_edges(start: float, gap: int) -> None:
    """However fast it comes and goes and however often one looks, an hour tells of it seven times at most."""
    world = World()
    for n in range(3600 // gap):
        (world.open if n % 2 else world.close)(NOW + start + n * gap)
        world.tell(NOW + start + n * gap)
    assert len(world.edges) <= 7


def test_thirty_seconds_for_company() -> None:
    """The first of them is told 30 seconds after it opened, with all that opened since."""
    assert rules.find_due({Alarm.HELD: NOW, Alarm.FAILED: NOW + 20}, None, NOW + 21, DIGEST) == NOW + 30
    assert rules.find_due({}, None, NOW, DIGEST) is None


def test_digests_at_most_every_so_many_minutes() -> None:
    """After a message the next one waits, however much there is to tell."""
    assert rules.find_due({Alarm.FAILED: NOW}, NOW - 60, NOW + 31, DIGEST) == NOW - 60 + DIGEST
    assert rules.find_due({Alarm.FAILED: NOW}, NOW - 2 * DIGEST, NOW + 31, DIGEST) == NOW + 30


@given(moments, st.none() | moments, st.floats(0, 1e5))
def test_no_clock_delays_a_message_for_long(at: float, sent_at: float | None, digest: float) -> None:
    """Whatever is written of when it opened or when the last one was sent, as after the clock was set back."""
    due_at = rules.find_due({Alarm.FAILED: at}, sent_at, NOW, digest)
    assert due_at is not None
    assert due_at <= NOW + rules.CALM_SECONDS + rules.COMPANY_SECONDS + 2 * digest


def test_a_pause_of_the_account_silences_overdue_and_silence() -> None:
    """It is the reason for both; of the other kinds somebody is told."""
    inhibited = rules.find_inhibited([PauseKind.ACCOUNT])
    assert inhibited == {Alarm.OVERDUE, Alarm.SILENCE}
    assert rules.find_inhibited([PauseKind.PERSON, PauseKind.THROTTLE, PauseKind.CAP]) == frozenset()


def test_what_is_open_is_listed_once_a_day() -> None:
    """A day after it was told, or after the last list."""
    day = rules.DAILY_SECONDS
    assert not rules.is_list_due(None, None, NOW)
    assert not rules.is_list_due(NOW, None, NOW + day - 1)
    assert rules.is_list_due(NOW, None, NOW + day)
    assert not rules.is_list_due(NOW, NOW + day, NOW + day + 1)
    assert rules.is_list_due(NOW, NOW + day, NOW + 2 * day)


def at(text: str, zone: ZoneInfo = ROME) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("hours", "since", "until", "expected"),
    [
        ("Mon-Fri 08:00-18:00", "2026-11-26T08:00", "2026-11-26T12:00", 4.0),
        ("Mon-Fri 08:00-18:00", "2026-11-26T17:00", "2026-11-27T09:30", 2.5),  # overnight
        ("Mon-Fri 08:00-18:00", "2026-11-27T17:00", "2026-11-30T09:00", 2.0),  # over the weekend
        ("Mon-Fri 08:00-18:00", "2026-11-28T00:00", "2026-11-29T23:59", 0.0),
        ("Mon-Fri 08:00-18:00, Sat 09:00-13:00", "2026-11-27T17:00", "2026-11-29T00:00", 5.0),
        ("Sat-Mon 00:00-24:00", "2026-11-27T00:00", "2026-12-01T00:00", 72.0),  # round the end of the week
        ("Fri 22:00-06:00", "2026-11-27T00:00", "2026-11-30T00:00", 8.0),  # past midnight
        ("", "2026-11-27T00:00", "2026-11-28T00:00", 24.0),
        ("Mon-Sun 00:00-06:00", "2026-03-28T23:00", "2026-03-29T12:00", 5.0),  # the clock goes forward
        ("Mon-Sun 00:00-06:00", "2026-10-24T23:00", "2026-10-25T12:00", 7.0),  # and back
        ("Mon-Fri 08:00-18:00, Mon-Fri 08:00-18:00", "2026-11-26T08:00", "2026-11-26T12:00", 4.0),
    ],
)
def test_working_time_is_what_the_clock_on_the_wall_says(
    hours: str, since: str, until: str, expected: float
) -> None:
    """Over nights, weekends and the two nights of the year that are longer and shorter."""
    found = working_seconds(parse_hours(hours), at(since), at(until), ROME, 1e9)
    assert found == expected * 3600


def test_the_zone_counts_and_not_the_machine() -> None:
    """Half past eight in Rome is half past seven in London."""
    hours, now = parse_hours("Mon-Fri 08:00-18:00"), at("2026-11-26T08:30")
    assert is_working(hours, now, ROME)
    assert not is_working(hours, now, ZoneInfo("Europe/London"))
    assert is_working(hours, at("2026-11-26T17:59"), ROME)
    assert not is_working(hours, at("2026-11-26T18:00"), ROME)
    assert not is_working(hours, at("2026-11-29T12:00"), ROME)


@given(
    st.sampled_from(["Mon-Fri 08:00-18:00", "Fri 22:00-06:00", "Sun 02:30-03:30, Mon 00:00-24:00", ""]),
    moments,
    st.floats(0, 4e6),
    st.floats(0, 4e6),
)
def test_working_time_adds_up(hours: str, since: float, first: float, second: float) -> None:
    """It is never more than the time, never less than nothing, and of two spans the sum."""
    spans = parse_hours(hours)

    def count(begin: float, end: float) -> float:
        return working_seconds(spans, begin, end, ROME, 1e12)

    middle, end = since + first, since + first + second
    assert 0.0 <= count(since, middle) <= max(first, 0.0) + 1e-3
    assert abs(count(since, middle) + count(middle, end) - count(since, end)) < 1e-2


@given(moments, st.floats(0, 1e6))
def test_it_is_enough_exactly_when_it_is(since: float, enough: float) -> None:
    """To stop counting early changes nothing about whether it is enough."""
    spans, until = parse_hours("Mon-Fri 08:00-18:00"), since + timedelta(days=40).total_seconds()
    whole = working_seconds(spans, since, until, UTC, 1e12)
    assert (working_seconds(spans, since, until, UTC, enough) >= enough) == (whole >= enough)


@pytest.mark.parametrize(
    "text",
    ["Mon-Fri", "08:00-18:00", "Mon-Fri 8:00-18:00", "Mon 18:00-18:00", "Mon 25:00-26:00", "Mo 08:00-18:00",
     "Mon-Fri 08:60-18:00", "Mon 24:00-06:00", "Mon-Fri 08:00-18:00;"],
)  # fmt: skip
def test_other_hours_are_refused(text: str) -> None:
    """What is not days and hours is no hours, rather than some that nobody meant."""
    with pytest.raises(ValueError, match=re.escape(text.partition(",")[0]) + "$"):
        parse_hours(text)


def test_told_and_alarm_are_words_of_the_configuration() -> None:
    """`notify.on` has exactly these."""
    assert set(Alarm) == {"artificial", "failed", "held", "paused", "silence", "overdue", "grown"}
    assert set(Told) == {"opened", "unstable"}
