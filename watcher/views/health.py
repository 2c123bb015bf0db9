"""Whether work succeeds: for monitoring, which asks again and again and wants one answer."""

from collections.abc import Iterator
from typing import NamedTuple

from watcher.domain import PauseKind
from watcher.errors import Exit
from watcher.journey.working import Activity
from watcher.text import show_text
from watcher.views.prospects import explain_pauses
from watcher.views.status import Status

_SCANS_MISSED = 4
_SCAN_SECONDS = 120.0  # for one scan of a slow share


class Trouble(NamedTuple):
    """One reason why work does not succeed. `code`: the exit code that it deserves."""

    code: Exit
    said: str


def find_troubles(status: Status, now: float, rescan_seconds: float) -> list[Trouble]:
    """Return why nothing, or not all of the work, succeeds now; none where it does.

    One recording that fails, is held or cannot be read keeps no other from its way: that is no trouble here. Being
    throttled is none either, since it ends within the rate. Pure.
    """
    own = [Trouble(Exit.INCOMPLETE, show_text(said)) for said in _find_own(status, now, rescan_seconds)]
    pauses = [pause for pause in status.pauses if pause.kind is not PauseKind.THROTTLE]
    return own + [Trouble(Exit.UNAVAILABLE, show_text(said)) for said in explain_pauses(pauses, now)]


def _find_own(status: Status, now: float, rescan_seconds: float) -> Iterator[str]:
    """Yield what is wrong on this machine."""
    if status.lost:
        yield str(status.lost)
    if status.working.activity is not Activity.RUNNING or status.working.stands_still:
        yield f"daemon: {status.working.describe(now)}"
    for failure in status.failing:
        yield f"{failure.step} fails: {failure.fault}"
    for fault in status.silent:
        yield str(fault)
    late = _SCANS_MISSED * rescan_seconds + _SCAN_SECONDS
    began = status.working.since or 0.0
    if status.working.activity is Activity.RUNNING and now - max(status.last_scan_at or 0.0, began) > late:
        yield f"the drop folder has not been scanned for {now - max(status.last_scan_at or 0.0, began):,.0f} s"
