"""When a file in the drop folder is whole. Pure: it is told what was seen and when, and touches nothing.

What is known to be open waits, however quiet it is. What is known to be closed is taken at once if its container's
lengths agree with the file, else when it has been quiet for `settle_seconds`. Where this is unknown, it must have
been quiet for `unclosed_seconds`, whatever its container says.

Quiet is measured on our own monotonic clock, since the last change seen in size, mtime or ctime. A file's own
times mean nothing: files that were moved in have old ones, and some are in the future. Only the longer quiet may
also count from the ctime, where this machine's kernel sets it at every change, so that a restart does not start
the wait anew; but never from before the wall clock was last set.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from sys import intern

from watcher.audio import Completeness
from watcher.domain import Fingerprint, Marks
from watcher.errors import RecordingBusy, RecordingUnreachable
from watcher.journey.arrive.agenda import SOON_SECONDS, Agenda
from watcher.journey.arrive.candidate import NEVER, Candidate
from watcher.journey.arrive.roll import Roll

HEARD_OPEN = "is still open: somebody opened it and has not closed it yet; it waits for that, 24 hours at most"
"""Why a file waits that was opened, with no close heard."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what."""

    settle_seconds: float
    unclosed_seconds: float
    proof: bool
    incomplete_seconds: float
    relook_seconds: float  # between two looks at a file that waits for its writer


class Judgement(StrEnum):
    READY = "ready"
    WAIT = "wait"
    EXPIRED = "expired"  # it is incomplete, and has been quiet for so long that the rest will not come


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a look into a candidate found."""

    completeness: Completeness = Completeness.UNKNOWN
    missing_bytes: int = 0
    has_sound: bool = True  # false: a header without sound
    is_open: bool | None = None  # for writing, by anybody, as a lease tells; None: no lease can be had
    heard_open: bool | None = False  # by anybody, for anything, as events tell; None: perhaps
    is_heard_out: bool = True  # false: somebody may have opened it just now, and that be still unheard
    is_announced: bool = False  # its owner has put a marker beside it
    elsewhere: str = ""  # why other machines can write it without raising events here
    is_foreign: bool = False  # not a recording, neither by name nor by content

    @property
    def is_heard_closed(self) -> bool:
        """Whether everybody who opened it has closed it, as events tell, and none of them is still unheard."""
        return self.is_heard_out and self.heard_open is False

    @property
    def why_open(self) -> str:
        """Why the file is known to be open, in words; "" where it is not. A lease overrules events."""
        if self.is_open:
            return "is still open for writing; it waits until its writer closes it"
        return HEARD_OPEN if self.heard_open and (self.is_open is None or self.elsewhere) else ""


_CLOCK_SET_SECONDS = 1.0  # time synchronisation moves a clock by less between two looks
_RELOOKS_A_SECOND = 50.0  # at files that wait, at the most: with 100,000 of them a look may cost no more
_LACKING = ("cut_short", "no_sound")
"""Reasons of what lacks something, by what is in it; it is given up in the end."""

_SOON_OVER = ("open", RecordingUnreachable.code, RecordingBusy.code)
"""Reasons with more frequent looks at first: not every close makes an event, and a copier that sets a file's mode
after its close (rsync --inplace) makes none at all."""


class Settler:
    """The candidates, and when to look at each of them again. Each method is to be called under the lock."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.roll = Roll()
        self.agenda = Agenda(self.roll)
        self._offset: float | None = None  # of the wall clock from the monotonic one
        self._clock_set_at = -math.inf  # monotonic

    def __contains__(self, path: bytes) -> bool:
        return path in self.roll

    def __len__(self) -> int:
        return len(self.roll)

    def get(self, path: bytes) -> Candidate | None:
        """Return the candidate there, which rests no longer."""
        return self.roll.wake(path)

    def see(
        self,
        path: bytes,
        fingerprint: Fingerprint,
        now: float,
        monotonic: float,
        *,
        is_closed: bool | None = None,
        is_open: bool = False,
        is_shut: bool = False,
        is_local: bool = False,
    ) -> None:
        """Note what the file looks like now. A change starts its quiet time anew.

        `is_closed`: it was seen after its last writer had closed it, or after it was moved in; false takes that
        back: the close that was heard was another file's, which this one has replaced since. `is_open`: somebody
        was heard to open it. `is_shut`: nobody can have it open, as far as events tell. `is_local`: this machine's
        kernel sets its ctime at every change.
        """
        self._note_wall_clock(now, monotonic)
        candidate, is_new = self.get(path), False
        if candidate is None or not candidate.fingerprint.same_file(fingerprint):
            candidate = Candidate(path, fingerprint, now, monotonic, monotonic, 0.0, now)
            self.roll.put(candidate)
            is_worth_a_look, is_changed, is_new = not is_open, True, True
        elif candidate.fingerprint != fingerprint:
            if is_closed is None:
                is_closed = candidate.is_closed and _has_same_content(candidate, fingerprint, is_shut=is_shut)
            is_worth_a_look, is_changed = is_closed, True
        elif is_closed and not candidate.is_settled:
            is_worth_a_look, is_changed = True, False
        else:
            self._see_unchanged(candidate, monotonic, is_closed=is_closed, is_open=is_open)
            self._let_rest(candidate, monotonic)
            return
        candidate.is_closed = bool(is_closed)
        if is_changed:
            self._note_change(candidate, fingerprint, now, monotonic, is_local=is_local)
        if is_open:
            self._say(candidate, "open", HEARD_OPEN, now)
        if self._patience.proof and is_worth_a_look:
            self.agenda.put(candidate, candidate.soonest_look(monotonic))
        else:
            self.agenda.put(candidate, monotonic + max(self._patience.settle_seconds, 1.0 if is_open else 0.0))
        if is_new:  # else somebody may be looking at it
            self.roll.rest(candidate)

    def see_newcomers(self, found: dict[bytes, Marks], now: float, monotonic: float, *, is_local: bool) -> None:
        """As `see` for each of these, which are no candidates, and of which nothing was heard.

        A first look meets 100,000 of them: nothing is done for each, until its turn comes.
        """
        self._note_wall_clock(now, monotonic)
        if not found:
            return
        look_at = monotonic if self._patience.proof else monotonic + self._patience.settle_seconds
        like = Candidate(b"", Fingerprint(0, 0, 0, 0, 0), now, monotonic, monotonic, look_at, now)
        self.roll.put_newcomers(found, like, monotonic - self._clock_set_at if is_local else None)
        self.agenda.put_newcomers(found, look_at)

    def _see_unchanged(
        self, candidate: Candidate, monotonic: float, *, is_closed: bool | None, is_open: bool
    ) -> None:
        if candidate.is_settled:
            return
        candidate.is_closed = candidate.is_closed and is_closed is not False
        if candidate.look_at == math.inf:
            self.agenda.put(candidate, monotonic)  # its look was interrupted by a change that was undone
        elif candidate.code == "open" and not is_open and candidate.look_at != NEVER:
            self.agenda.put(candidate, candidate.soonest_look(monotonic))  # a lease may show that it was closed

    def _note_change(
        self, candidate: Candidate, fingerprint: Fingerprint, now: float, monotonic: float, *, is_local: bool
    ) -> None:
        if candidate.fingerprint.size != fingerprint.size:
            self.roll.revision += 1
        candidate.fingerprint = fingerprint
        candidate.is_settled = False
        candidate.is_fresh = True
        candidate.is_sure = False
        candidate.stumbles = 0
        candidate.changed_at = candidate.rests_since = monotonic
        if candidate.look_at == NEVER:
            self._say(candidate, "settling", "", now)
        if is_local:  # a ctime in the future counts as now
            rested = min(max(0.0, now - fingerprint.ctime_ns / 1e9), monotonic - self._clock_set_at)
            candidate.rests_since = monotonic - rested

    def doubt(self) -> None:
        """Forget what was closed: events were lost, and it may be open again."""
        for path in [one.path for one in self.roll if one.is_closed and not one.is_settled]:
            if (candidate := self.roll.wake(path)) is not None:
                candidate.is_closed = False
                self.roll.rest(candidate)

    def _note_wall_clock(self, now: float, monotonic: float) -> None:
        """Notice when the wall clock was set: times from before are not believed."""
        before, self._offset = self._offset, now - monotonic
        if before is not None and abs(self._offset - before) > _CLOCK_SET_SECONDS:
            self._clock_set_at = monotonic

    def look_now(self, path: bytes, monotonic: float) -> None:
        """Make the file due, if it is a candidate: what it waited for may be there."""
        candidate = self.get(path)
        if candidate is not None and candidate.look_at != math.inf:
            self.agenda.put(candidate, monotonic)

    def forget(self, path: bytes) -> None:
        """Forget a file that is gone, or is an item now."""
        self.roll.drop(path)

    def due(self, monotonic: float, limit: int) -> list[Candidate]:
        """See Agenda.due."""
        return self.agenda.due(monotonic, limit)

    def put_back(self, candidates: list[Candidate], monotonic: float) -> None:
        """Make candidates that could not be judged due again then."""
        for candidate in candidates:
            if self.roll.peek(candidate.path) is candidate:
                self.agenda.put(candidate, monotonic)

    def next_look(self) -> float | None:
        """See Agenda.next_look."""
        return self.agenda.next_look()

    def waits_on(self, candidate: Candidate, evidence: Evidence, now: float, monotonic: float) -> bool:
        """Return whether the file lacks what it lacked, as its fingerprint alone tells; then it waits on.

        Not once its time is over: whether somebody writes it is to be found out then.
        """
        is_over = monotonic >= candidate.changed_at + self._patience.incomplete_seconds
        if not candidate.is_sure or candidate.code not in _LACKING or is_over or evidence.heard_open is not False:
            return False
        self.wait(candidate, candidate.code, candidate.reason, now, monotonic)
        return True

    def judge(self, candidate: Candidate, evidence: Evidence, now: float, monotonic: float) -> Judgement:
        """Judge, by what a look found, whether the file is whole; if it waits, put it on the agenda again."""
        completeness = evidence.completeness
        candidate.is_fresh = False
        if candidate.fingerprint.size == 0:
            reason = "is empty; it waits until something is written into it"
            return self.wait(candidate, "empty", reason, now, monotonic)
        if evidence.why_open:
            return self.wait(candidate, "open", evidence.why_open, now, monotonic)
        is_short = completeness is Completeness.SHORT
        lacks_something = is_short or not evidence.has_sound
        if lacks_something and monotonic >= candidate.changed_at + self._patience.incomplete_seconds:
            return Judgement.EXPIRED
        if is_short:
            by = f" by {evidence.missing_bytes:,} bytes" if evidence.missing_bytes else ""
            reason = f"is cut short{by} by its own header; it waits for the rest"
            return self.wait(candidate, "cut_short", reason, now, monotonic)
        if not evidence.has_sound:
            reason = "has a header, but no sound after it; it waits until there is some"
            return self.wait(candidate, "no_sound", reason, now, monotonic)
        is_proven = self._patience.proof and completeness is Completeness.PROVEN
        if is_proven and _closed(candidate, evidence):
            return Judgement.READY
        return self.judge_quiet(candidate, evidence, now, monotonic)

    def judge_quiet(self, candidate: Candidate, evidence: Evidence, now: float, monotonic: float) -> Judgement:
        """Judge whether the file has been quiet for long enough; if not, put it on the agenda again."""
        if evidence.why_open:
            return self.wait(candidate, "open", evidence.why_open, now, monotonic)
        candidate.is_fresh = False
        is_closed = _closed(candidate, evidence)
        # Use the same sums as the agenda: a difference may round the other way, and the file never be due.
        if monotonic >= self._rested_at(candidate):
            return Judgement.READY
        if is_closed and monotonic >= self._settled_at(candidate):
            return Judgement.READY
        if is_closed:
            self._say(candidate, "settling", "was written a moment ago; it is taken once it is quiet", now)
            self.agenda.put(candidate, self._settled_at(candidate))
        else:
            self._say(candidate, "unclosed", self._unclosed(evidence), now)
            # And in between: without events, only a look notices a change.
            self.agenda.put(candidate, min(self._rested_at(candidate), monotonic + self._quiet_seconds() / 4))
        return Judgement.WAIT

    def _quiet_seconds(self) -> float:
        return max(self._patience.unclosed_seconds, self._patience.settle_seconds)

    def _rested_at(self, candidate: Candidate) -> float:
        """Return when it will have been quiet for long enough without a known close."""
        return candidate.rests_since + self._quiet_seconds()

    def _settled_at(self, candidate: Candidate) -> float:
        return candidate.changed_at + self._patience.settle_seconds

    def _unclosed(self, evidence: Evidence) -> str:
        quiet = f"it is taken once nothing about it has changed for {self._quiet_seconds():g} s"
        if evidence.elsewhere:
            return f"may still be written from elsewhere ({evidence.elsewhere}); {quiet}"
        return f"may still be open: no sign yet that its writer has closed it; {quiet}"

    def wait(self, candidate: Candidate, code: str, reason: str, now: float, monotonic: float) -> Judgement:
        """Let the file wait for this reason, and look again later. Waiting costs nothing and has no limit."""
        candidate.is_fresh = False
        self._say(candidate, code, reason, now)
        look_at = monotonic + max(self._patience.relook_seconds, len(self.roll) / _RELOOKS_A_SECOND)
        if code in _SOON_OVER:
            lasts = monotonic - candidate.changed_at
            look_at = min(look_at, monotonic + max(1.0, self._patience.settle_seconds, lasts / 4))
        if code in _LACKING:
            look_at = min(look_at, max(monotonic, candidate.changed_at + self._patience.incomplete_seconds))
        self.agenda.put(candidate, look_at)
        self._let_rest(candidate, monotonic)
        return Judgement.WAIT

    def postpone(
        self, candidate: Candidate, code: str, reason: str, now: float, monotonic: float, seconds: float
    ) -> None:
        """Let the file wait for this reason, and look again after so many seconds."""
        candidate.is_settled = False
        candidate.is_fresh = False
        self._say(candidate, code, reason, now)
        self.agenda.put(candidate, monotonic + seconds)
        self._let_rest(candidate, monotonic)

    def leave(self, candidate: Candidate, code: str, reason: str, now: float) -> None:
        """Do not look at the file again unless a scan or an event shows that it changed."""
        self._say(candidate, code, reason, now)
        candidate.look_at = NEVER
        self.roll.rest(candidate)

    def _let_rest(self, candidate: Candidate, monotonic: float) -> None:
        if monotonic + SOON_SECONDS < candidate.look_at < math.inf:
            self.roll.rest(candidate)

    def is_settled(self, path: bytes) -> bool:
        """Return whether there is such a file, judged whole as it is."""
        candidate = self.roll.peek(path)
        return candidate is not None and candidate.is_settled

    def count_ending(self, until: float) -> int:
        """Return how many files will be taken or given up by then (monotonic) if nothing changes."""
        ends = (self._ends_waiting_at(*one) for one in self.roll.quiet())
        return sum(1 for end in ends if end is not None and end <= until)

    def _ends_waiting_at(self, code: str, changed_at: float, rests_since: float) -> float | None:
        """Return when (monotonic) such a file will be taken or given up if nothing changes; None for never."""
        match code:
            case "settling":
                return changed_at + self._patience.settle_seconds
            case "unclosed":
                return rests_since + self._quiet_seconds()
            case "cut_short" | "no_sound":
                return changed_at + self._patience.incomplete_seconds
            case _:
                return None

    def _say(self, candidate: Candidate, code: str, reason: str, now: float) -> None:
        if candidate.code != code:
            candidate.reason_since = now
        self.roll.said(candidate, code, intern(reason))  # many wait for the same reason


def _has_same_content(candidate: Candidate, fingerprint: Fingerprint, *, is_shut: bool) -> bool:
    """Return whether only its attributes changed, so that what was closed still is.

    A new owner, mode or name is not new content. Nor is a new mtime where nobody can have written: copiers set it
    after their close. A new size is.
    """
    before = candidate.fingerprint
    return before.same_content(fingerprint) or (is_shut and before.size == fingerprint.size)


def _closed(candidate: Candidate, evidence: Evidence) -> bool:
    """Return whether the file is known to be closed. Where other machines can write, only a marker tells."""
    if evidence.is_announced:
        return True
    if evidence.elsewhere:
        return False
    return evidence.is_open is False or (candidate.is_closed and evidence.is_heard_closed)
