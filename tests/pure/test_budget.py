"""The rate windows, what a 429 teaches, and the periods of the caps."""

import math
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.windows import simulate
from watcher.config import Window
from watcher.identifai.budget import (
    Lesson,
    day_of,
    lower,
    lowered,
    month_of,
    name_window,
    read_lessons,
    room_at,
    write_lessons,
)
from watcher.sandbox import WRITES

NOW = 1_700_000_000.0
SECOND, MINUTE = Window(1, 1.0), Window(30, 60.0)


# Windows


@settings(max_examples=150, deadline=None)
@given(
    limits=st.lists(
        st.builds("{}/{}s".format, st.integers(1, 12), st.integers(1, 20)), min_size=1, max_size=3, unique=True
    ),
    delays=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=7),
    in_flight=st.integers(1, 5),
    rests=st.dictionaries(st.integers(1, 59), st.floats(0.01, 30), max_size=4),
)
def test_no_upload_is_ever_refused(
    limits: list[str], delays: list[tuple[float, float]], in_flight: int, rests: dict[int, float]
) -> None:
    """Under any windows in any phase, wherever in its latency an upload is counted, and however many at a time."""
    run = simulate(limits, lambda n: delays[n % len(delays)], in_flight=in_flight, count=60, rests=rests)
    assert run.refused == 0
    assert len(run.counted) == 60


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("latency", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_rate_that_is_allowed_is_used(latency: float, in_flight: int) -> None:
    """At the service's own limits 97 % and more of the 300 that ten minutes allow, up to a second's latency."""
    for share_before in (0.0, 0.5, 1.0):
        parts = (latency * share_before, latency * (1 - share_before))
        run = simulate(WRITES, lambda _, parts=parts: parts, in_flight=in_flight, count=330)  # type: ignore[misc]
        assert run.refused == 0
        assert run.within(600) >= 0.97 * 300


def test_slow_uploads_side_by_side_still_use_the_rate() -> None:
    """A body that travels for seven seconds costs nothing of the rate, where four may travel at a time."""
    run = simulate(WRITES, lambda _: (0.1, 0.1), in_flight=4, count=330, travel_seconds=7.0)
    assert run.refused == 0
    assert run.within(600) >= 0.97 * 300
    alone = simulate(WRITES, lambda _: (0.1, 0.1), in_flight=1, count=100, travel_seconds=7.0)
    assert alone.within(600) < 90


def test_a_clock_that_was_set_back_opens_no_window_early() -> None:
    """Answers that lie in the future count as given now: a whole window passes."""
    assert room_at([SECOND], lambda _: NOW + 3600, NOW) == pytest.approx(NOW + 1, abs=0.01)
    assert room_at([], lambda _: None, NOW) == NOW


# What a 429 teaches


@pytest.mark.parametrize(
    ("limit", "shares"),
    [
        (1, {"1/1": 0.8}),  # the very window: somebody else uses a part of it
        (30, {"30/60": 0.8}),
        (15, {"30/60": 0.5}),  # the account has less than is configured
        (None, {"1/1": 0.8, "30/60": 0.8}),  # it does not say
        (0, {"1/1": 0.8, "30/60": 0.8}),  # nor does this
        (100, {"1/1": 0.8, "30/60": 0.8}),  # a window we know nothing of
    ],
)
def test_the_window_that_was_hit_is_narrower(limit: int | None, shares: dict[str, float]) -> None:
    """The X-RateLimit-Limit tells which one it was, and how much it really allows."""
    lessons = lower([SECOND, MINUTE], {}, limit, NOW)
    assert {name: lesson.share for name, lesson in lessons.items()} == pytest.approx(shares)
    assert {lesson.until for lesson in lessons.values()} == {NOW + 3600}


def test_each_429_lowers_further_and_an_hour_without_one_restores() -> None:
    """Lower with each refusal, never to nothing, until an hour has passed since the last one."""
    lessons = lower([SECOND, MINUTE], {}, 30, NOW)
    lessons = lower([SECOND, MINUTE], lessons, 30, NOW + 1800)
    assert lessons["30/60"].share == pytest.approx(0.64)
    assert lessons["30/60"].until == NOW + 5400
    assert lowered([SECOND, MINUTE], lessons, NOW + 5399) != (SECOND, MINUTE)
    assert lowered([SECOND, MINUTE], lessons, NOW + 5400) == (SECOND, MINUTE)
    for n in range(50):
        lessons = lower([SECOND, MINUTE], lessons, 30, NOW + n)
    assert lessons["30/60"].share == 0.05
    assert lower([SECOND], {"30/60": Lesson(0.5, NOW - 1)}, 1, NOW).keys() == {"1/1"}


@given(st.integers(1, 500), st.floats(1, 86_400), st.floats(0.05, 1))
def test_a_lowered_window_has_exactly_its_share_of_the_rate(limit: int, seconds: float, share: float) -> None:
    """What whole numbers take away is given back in time, and a window of one request is never closed."""
    window = Window(limit, seconds)
    (narrower,) = lowered([window], {name_window(window): Lesson(share, NOW + 1)}, NOW)
    assert narrower.limit >= 1
    assert narrower.limit <= limit
    assert narrower.limit / narrower.seconds == pytest.approx(share * limit / seconds)


def test_a_lesson_is_of_one_window_and_survives_as_json() -> None:
    """What was learned of a window says nothing of another that is configured in its place."""
    lessons = {"30/60": Lesson(0.8, NOW + 10)}
    assert read_lessons(write_lessons(lessons)) == lessons
    assert read_lessons(None) == {}
    assert lowered([Window(60, 60.0)], lessons, NOW) == (Window(60, 60.0),)


# Caps


def at(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [
        ("Europe/Rome", "2026-02-10T15:00", 24),
        ("Europe/Rome", "2026-03-29T15:00", 23),  # the clock goes forward
        ("Europe/Rome", "2026-03-29T01:59", 23),
        ("Europe/Rome", "2026-10-25T15:00", 25),  # and back
        ("Asia/Kolkata", "2026-10-25T00:00", 24),
        ("America/Havana", "2026-03-08T12:00", 23),  # there is no midnight: the day begins at one
        ("America/Havana", "2026-11-01T12:00", 25),  # there are two: the day begins at the first
        ("Australia/Lord_Howe", "2026-04-05T12:00", 24.5),
        ("UTC", "2026-12-31T23:59", 24),
    ],
)
def test_a_day_is_the_zones_own(zone: str, now: str, hours: float) -> None:
    """From local midnight to local midnight, which are not always 24 hours apart."""
    began, ends = day_of(at(now, zone), ZoneInfo(zone))
    assert began <= at(now, zone) < ends
    assert ends - began == hours * 3600
    day = datetime.fromtimestamp(began, ZoneInfo(zone)).date()
    assert day == datetime.fromisoformat(now).date()


def test_a_month_begins_on_its_first() -> None:
    """In the zone's own time, over the end of the year, too."""
    zone = ZoneInfo("Pacific/Auckland")
    began, ends = month_of(at("2026-12-31T23:30", "Pacific/Auckland"), zone)
    assert datetime.fromtimestamp(began, zone).isoformat() == "2026-12-01T00:00:00+13:00"
    assert datetime.fromtimestamp(ends, zone).isoformat() == "2027-01-01T00:00:00+13:00"


@settings(deadline=None)
@given(st.floats(0, 4e9), st.sampled_from(sorted(available_timezones())))
def test_periods_follow_each_other_without_a_gap(now: float, name: str) -> None:
    """Every moment lies in exactly one day and one month of every zone: no cap is ever without its reset."""
    zone = ZoneInfo(name)
    for period in (day_of, month_of):
        began, ends = period(now, zone)
        assert began <= now < ends
        assert period(math.nextafter(ends, 0) - 1e-3, zone) == (began, ends)
        assert period(ends, zone)[0] == ends


@pytest.fixture
def in_new_york() -> Iterator[None]:
    """The system's zone is another one."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_without_a_zone_it_is_the_systems() -> None:
    """limits.timezone = "" is the machine's own midnight, on the days that the clock changes, too."""
    for day in ("2026-03-08", "2026-07-01", "2026-11-01"):
        noon = at(f"{day}T12:00", "America/New_York")
        assert day_of(noon, None) == day_of(noon, ZoneInfo("America/New_York"))
        assert month_of(noon, None) == month_of(noon, ZoneInfo("America/New_York"))
    assert datetime.fromtimestamp(day_of(NOW, None)[0], UTC).hour in (4, 5)
