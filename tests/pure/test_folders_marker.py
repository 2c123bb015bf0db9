"""What a folder is to a site: its own, another's, new, made again, or not mounted."""

import pytest

from watcher.folders import Situation, judge_marker

PLAIN = Situation(device=1, parent_device=1, inode=100)
AGAIN = Situation(device=1, parent_device=1, inode=200)
MOVED = Situation(device=5, parent_device=5, inode=300)
DISK = Situation(device=2, parent_device=1, inode=2)
RENUMBERED = Situation(device=3, parent_device=1, inode=2)


@pytest.mark.parametrize("known", [None, PLAIN, DISK])
@pytest.mark.parametrize("found", [PLAIN, DISK])
def test_a_mark_tells_whose_folder_it_is_wherever_it_lies(known: Situation | None, found: Situation) -> None:
    """A disk that is plugged in elsewhere, or a database that was lost, changes nothing."""
    assert judge_marker(known, found, "us", "us") == "ours"
    assert judge_marker(known, found, "them", "us") == "foreign"
    assert judge_marker(known, found, "", "us") == "foreign"


@pytest.mark.parametrize("found", [PLAIN, DISK])
def test_a_folder_that_was_never_known_is_new(found: Situation) -> None:
    """The first start marks it."""
    assert judge_marker(None, found, None, "us") == "new"


@pytest.mark.parametrize("found", [PLAIN, AGAIN, MOVED])
def test_a_folder_made_again_where_it_was_is_adopted(found: Situation) -> None:
    """It lay on the device of its parent, and does so again: no mount has to do with it."""
    assert judge_marker(PLAIN, found, None, "us") == "adopt"


@pytest.mark.parametrize(
    ("known", "found"),
    [(DISK, PLAIN), (DISK, DISK), (DISK, RENUMBERED), (PLAIN, DISK)],
    ids=["bare mount point", "mark removed, or another disk", "another disk", "something mounted over it"],
)
def test_where_a_mount_has_to_do_with_it_the_missing_mark_means_not_mounted(
    known: Situation, found: Situation
) -> None:
    """A bare mount point, or a wrong disk, is never taken for an empty folder."""
    assert judge_marker(known, found, None, "us") == "not_mounted"
