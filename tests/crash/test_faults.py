"""A sample of calls that fail and of disks that fill and go; `make crash` has each call fail in each way."""

import re
from pathlib import Path

import pytest

from tests.commander import Commander
from tests.crash import devices
from tests.crash.kills import STORIES, Harm, play
from tests.crash.tracer import can_fail
from tests.crash.trial import Run
from tests.people import missing

# Story, the call that fails, how, and for how long all calls do that are about the same folder.
FAULTS = [
    ("ordinary_day", r"renameat2 .* done/call\.wav\.json", "ENOSPC", 0.0),
    ("ordinary_day", r"renameat2 drop/call\.wav", "EIO", 0.0),
    ("other_disk", r"fsync done", "EIO", 0.0),
    ("daemon", r"fdatasync watcher\.db-wal", "EDQUOT", 1.5),
    ("daemon", r"renameat2 drop/call\.wav", "EROFS", 1.5),
    ("parts", r"openat spool/", "EACCES", 1.5),
]


@pytest.mark.parametrize(
    ("story", "before", "error", "seconds"), FAULTS, ids=lambda given: re.sub(r"[^\w.-]+", "_", f"{given}")
)
def test_a_disk_that_fails_for_a_while_loses_nothing_and_costs_nothing(
    story: str, before: str, error: str, seconds: float, ground: Path, away: Path, commanding: Commander
) -> None:
    """The program goes on, or ends and says why; no recording fails for it, and all is filed and paid once."""
    if not can_fail():
        missing("calls can be made to fail on x86-64 alone")

    played = play(STORIES[story], 0, Harm(before=before, error=error, seconds=seconds), ground, away, commanding)

    assert [call for call in played.calls if re.search(before, call)], f"no such call any more: {played.calls}"
    assert played.finds == []


@pytest.mark.parametrize("blow", ["done:away:1", "database:full:2"])
def test_a_disk_that_goes_or_fills_under_the_daemon_is_waited_for(blow: str) -> None:
    """Once it is well again, all goes on by itself."""
    run = Run(devices.TRIAL.name, seed=1, seconds=1, only=(blow,))

    devices.TRIAL.run(run)

    assert run.counts["disks"] == 1
    assert run.violations == 0
