"""Whether a daemon or a pass works on the site, or hangs, as the lock on its database tells."""

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from watcher.folders.holder import BEAT_SECONDS, Holder
from watcher.journey.failures import read_failures
from watcher.text import JsonObject, local_time, moment, rfc3339, show_text

SINCE = "since"
ONCE = "once"
WAITING = "waiting"
_STALLED = "stalled"

_SILENT_SECONDS = 6 * BEAT_SECONDS  # a busy disk may delay a beat or two
_STOPPED = {"T": "it was stopped (SIGSTOP, or Ctrl-Z)", "t": "a debugger holds it"}  # proc(5)


class Activity(StrEnum):
    RUNNING = "running"
    NOT_RUNNING = "not running"
    STANDING_BY = "standing by"
    HUNG = "hung"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Working:
    """Who works on the site. `since`: when it began, or the last one ended. `reason`: what is wrong with it."""

    activity: Activity
    since: float | None = None
    holder: Holder | None = None
    heard_at: float | None = None
    is_pass: bool = False
    reason: str = ""
    hint: str = ""
    elsewhere: str = ""  # the node that works on the site instead of one here

    @property
    def stands_still(self) -> bool:
        """Whether a daemon or pass is there and gets nowhere."""
        return self.activity is Activity.HUNG or (self.activity is Activity.RUNNING and bool(self.reason))

    def as_json(self) -> JsonObject:
        return {
            "state": str(self.activity),
            "running": None if self.activity is Activity.UNKNOWN else self.activity is Activity.RUNNING,
            "since": rfc3339(self.since),
            "pid": self.holder and self.holder.pid,
            "host": self.holder and self.holder.host,
            "once": self.is_pass,
            "heard_at": rfc3339(self.heard_at),
            "reason": self.reason,
            "hint": self.hint,
            "elsewhere": self.elsewhere or None,
        }

    def describe(self, now: float) -> str:
        """For a person, on one line."""
        why = "; ".join(filter(None, [self.reason, self.hint]))
        since = f" since {moment(self.since, now)}" if self.since is not None else ""
        who = f"process {self.holder.pid} on {self.holder.host}" if self.holder is not None else ""
        match self.activity:
            case Activity.RUNNING if self.is_pass:
                said = f"not running; a pass (`watcher run --once`) is under way{since} ({who})"
                return f"{said}, but stuck: {why}" if why else said
            case Activity.RUNNING:
                said = f"running{since} ({who})"
                return f"{said}, but stuck: {why}" if why else said
            case Activity.STANDING_BY:
                return f"standing by{since} ({who}): {why}"
            case Activity.HUNG:
                return f"hung: {why} ({who}, running{since})"
            case Activity.NOT_RUNNING if self.elsewhere:
                return f"not running here; the site's node is {self.elsewhere}"
            case Activity.NOT_RUNNING:
                return f"not running{since}{f' ({why})' if why else ''}: nothing is taken, sent or filed"
            case Activity.UNKNOWN:
                return f"unknown: {why}"


def note_stalled(step: str, since: float) -> JsonObject:
    """Return what a process notes about a step that does not end, for `judge`."""
    return {_STALLED: [step, since]}


def judge(holder: Holder, now: float) -> Working:
    """Return what the note of the database's holder, and the kernel, say about that process."""
    note = holder.note
    since = note.get(SINCE)
    if not isinstance(since, int | float):
        return Working(
            Activity.NOT_RUNNING, reason=f"process {holder.pid} has the database briefly, as `migrate` does"
        )
    heard_at = holder.at or None
    is_pass = note.get(ONCE) is True
    hang = _find_hang(holder, now, heard_at)
    waiting = note.get(WAITING)
    activity = Activity.HUNG if hang else Activity.STANDING_BY if waiting else Activity.RUNNING
    reason, hint = hang or (show_text(waiting) if isinstance(waiting, str) else ""), ""
    if hang:
        hint = (
            "see its log; restart it (`systemctl restart watcher`, or end it and start it again): nothing is lost"
        )
    elif not waiting and (failures := read_failures(note)):
        first = failures[0]
        reason = f"{first.step} has been failing since {local_time(first.since)} ({first.fault.message})"
    return Working(activity, float(since), holder, heard_at, is_pass, reason, hint)


def _find_hang(holder: Holder, now: float, heard_at: float | None) -> str:
    if holder.lives and (stopped := _STOPPED.get(_state_of(holder.pid))):
        return stopped
    if heard_at is not None and now - heard_at > _SILENT_SECONDS:
        return f"no sign of life since {local_time(heard_at)}"
    match holder.note.get(_STALLED):
        case [str(step), int() | float() as since]:
            return f"its step {show_text(step)} has been running since {local_time(since)}"
    return ""


def _state_of(pid: int) -> str:
    """Return the kernel's letter for the process's state; "" where there is none."""
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0]
    return ""
