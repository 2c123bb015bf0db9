"""Whether work succeeds: for monitoring, which asks again and again and wants one answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from watcher.domain import Fault, Pause, PauseKind
from watcher.errors import Exit
from watcher.journey.failures import Failure
from watcher.journey.working import Activity, Working
from watcher.text import show_text
from watcher.views.context import CommandContext
from watcher.views.interruptions import explain_pauses

_SCANS_MISSED = 4
_SCAN_SECONDS = 120.0  # for one scan of a slow share


class Vital(Protocol):
    """What tells whether work succeeds: a whole Status has it, and Vitals has nothing else."""

    @property
    def lost(self) -> Fault | None: ...
    @property
    def working(self) -> Working: ...
    @property
    def failing(self) -> tuple[Failure, ...]: ...
    @property
    def silent(self) -> list[Fault]: ...
    @property
    def pauses(self) -> list[Pause]: ...
    @property
    def last_scan_at(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Vitals:
    """What find_troubles asks for, and no more: it costs the same however many recordings there are."""

    lost: Fault | None
    working: Working
    failing: tuple[Failure, ...]
    silent: list[Fault]
    pauses: list[Pause]
    last_scan_at: float | None


def read_vitals(context: CommandContext) -> Vitals:
    """Read what tells whether work succeeds now."""
    loss, failing, working = context.loss(), context.failing(), context.working()
    silent = [folder.silence().as_fault() for folder in context.folders if not folder.answers]
    with context.store.reading() as books:
        pauses, last_scan_at = books.pauses.active(), books.site.get("last_scan_at")
    return Vitals(loss.as_fault() if loss else None, working, failing, silent, pauses, last_scan_at)


class Trouble(NamedTuple):
    """One reason why work does not succeed. `code`: the exit code that it deserves."""

    code: Exit
    said: str


def find_troubles(status: Vital, now: float, rescan_seconds: float) -> list[Trouble]:
    """Return why nothing, or not all of the work, succeeds now; none where it does.

    One recording that fails, is held or cannot be read keeps no other from its way: that is no trouble here. Being
    throttled is none either, since it ends within the rate. Pure.
    """
    own = [Trouble(Exit.INCOMPLETE, said) for said in find_own_troubles(status, now, rescan_seconds)]
    pauses = [pause for pause in status.pauses if pause.kind is not PauseKind.THROTTLE]
    return own + [Trouble(Exit.UNAVAILABLE, show_text(said)) for said in explain_pauses(pauses, now)]


def find_own_troubles(status: Vital, now: float, rescan_seconds: float) -> list[str]:
    """Return the reasons that lie on this machine; pauses are others. Pure."""
    return list(map(show_text, _find_own(status, now, rescan_seconds)))


def _find_own(status: Vital, now: float, rescan_seconds: float) -> Iterator[str]:
    if status.lost:
        yield str(status.lost)
    is_at_work = status.working.activity is Activity.RUNNING or status.working.elsewhere != ""
    if not is_at_work or status.working.stands_still:
        yield f"daemon: {status.working.describe(now)}"
    for failure in status.failing:
        yield f"{failure.step} fails: {failure.fault}"
    for fault in status.silent:
        yield str(fault)
    late = _SCANS_MISSED * rescan_seconds + _SCAN_SECONDS
    began = status.working.since or 0.0
    if is_at_work and now - max(status.last_scan_at or 0.0, began) > late:
        yield f"the drop folder has not been scanned for {now - max(status.last_scan_at or 0.0, began):,.0f} s"
