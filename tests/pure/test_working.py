"""What a process says of itself in its lock, and what that makes of it."""

from dataclasses import replace
from typing import Any

import pytest

from watcher.folders.holder import Holder
from watcher.journey.working import Activity, judge, note_stalled

NOW = 1_800_000_000.0
ELSEWHERE = Holder("another-host", 42, "another-boot", "1", NOW - 3)


def note(**facts: Any) -> Holder:
    return replace(ELSEWHERE, note={"since": NOW - 100, "once": False, **facts})


def test_one_that_was_heard_just_now_runs() -> None:
    working = judge(note(), NOW)
    assert (working.activity, working.since, working.reason) == (Activity.RUNNING, NOW - 100, "")


@pytest.mark.parametrize(
    ("holder", "reason"),
    [
        (replace(note(), at=NOW - 40), "no sign of life since"),
        (note(**note_stalled("arrive", NOW - 400)), "its step arrive has been running since"),
    ],
)
def test_one_that_is_silent_or_has_a_step_without_end_hangs(holder: Holder, reason: str) -> None:
    """With the reason, and what to do."""
    working = judge(holder, NOW)
    assert working.activity is Activity.HUNG
    assert working.reason.startswith(reason)
    assert "start it again" in working.describe(NOW)


def test_a_step_that_fails_is_told_with_it() -> None:
    """It runs, and does not do its work."""
    failing = [["file", NOW - 60, 5, None, "store", "database or disk is full", "free some", False]]
    working = judge(note(failing=failing), NOW)
    assert working.activity is Activity.RUNNING
    assert "but stuck: file has been failing since" in working.describe(NOW)
    assert "database or disk is full" in working.describe(NOW)


@pytest.mark.parametrize("facts", [{"stalled": "arrive"}, {"stalled": [1, 2]}, {"failing": 3}, {"once": "yes"}])
def test_what_it_never_wrote_is_nothing(facts: dict[str, Any]) -> None:
    """The file may be anybody's."""
    assert judge(note(**facts), NOW).activity is Activity.RUNNING


def test_a_command_that_has_the_database_for_a_moment_is_no_daemon() -> None:
    assert judge(replace(ELSEWHERE, note={}), NOW).activity is Activity.NOT_RUNNING
