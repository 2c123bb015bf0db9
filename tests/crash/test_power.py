"""The power goes, on real file systems: some of the cuts that `make crash` makes, and what lying syncs do."""

import re

import pytest

from tests.crash.kills import STORIES, Harm, check_following
from tests.crash.power import LAYOUTS, commander, cut_story, needs_power

CUTS = [
    ("first_start", 0, r"rename watcher\.db\.new", 1, "ext4"),
    ("ordinary_day", 0, r"fdatasync watcher\.db-wal", 9, "ext4+xfs"),
    ("accompanied", 0, r"renameat2 drop/a/call\.wav", 1, "ext4+ext4"),
    ("accompanied", 0, r"fsync done/a$", 1, "xfs+ext4"),
    ("held", 0, r"sendto", 3, "xfs"),
    ("parts", 0, r"unlinkat spool/\w+-2\.wav$", 1, "ext4"),
]


@pytest.fixture(autouse=True)
def _powered() -> None:
    needs_power("ext4", "xfs")
    check_following(commander())


@pytest.mark.parametrize(
    ("story", "act", "before", "nth", "layout"), CUTS, ids=lambda given: re.sub(r"[^\w.+-]+", "_", f"{given}")
)
def test_what_a_power_cut_leaves_the_next_start_takes_up(
    story: str, act: int, before: str, nth: int, layout: str
) -> None:
    """Nothing is lost, doubled or paid for twice, and what the bank accepted is known, whatever was not synced."""
    played = cut_story(STORIES[story], act, Harm(before=before, nth=nth), LAYOUTS[layout])

    assert played.is_killed, f"no such call any more: {played.calls}"
    assert played.finds == []


# The auditor can fail


@pytest.mark.parametrize(
    ("lying", "layout", "find"),
    [
        (("fsync", "fdatasync"), "ext4", r"accepted 1 times, and known of 0"),
        (("fsync",), "ext4+xfs", r"filed, says the database, and not there"),
    ],
)
def test_syncs_that_lie_are_found(lying: tuple[str, ...], layout: str, find: str) -> None:
    """As under eatmydata: they say that they were made, and were not."""
    late = Harm(before=r"unlink watcher\.db-wal", nth=1)
    finds = cut_story(STORIES["ordinary_day"], 0, late, LAYOUTS[layout], lying=lying).finds

    assert any(re.match(find, each) for each in finds), finds
