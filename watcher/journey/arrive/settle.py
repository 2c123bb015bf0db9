"""When a file in the drop folder is whole. Pure: it is told what was seen and when, and touches nothing.

What is known to be open waits, however quiet it is. What is known to be closed is taken at once if its container's
lengths agree with the file, else when it has been quiet for `settle_seconds`. Where this is unknown, it must have
been quiet for `unclosed_seconds`, whatever its container says.

Quiet is measured on our own monotonic clock, since the last change seen in size, mtime or ctime. A file's own
times mean nothing: files that were moved in have old ones, and some are in the future. Only the longer quiet may
also count from the ctime, where this machine's kernel sets it at every change, so that a restart does not start
the wait anew; but never from before the wall clock was last set.
"""

import heapq
import math
from dataclasses import dataclass
from enum import StrEnum
from sys import intern

from watcher.audio import Completeness
from watcher.domain import Fingerprint, Marks
from watcher.errors import RecordingBusy, RecordingUnreachable
from watcher.journey.arrive.roll import Candidate, Roll, Sighting

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
    is_announced: bool = False  # its owner has put a marker beside it
    elsewhere: str = ""  # why other machines can write it without raising events here
    is_foreign: bool = False  # not a recording, neither by name nor by content

    @property
    def why_open(self) -> str:
        """Why the file is known to be open, in words; "" where it is not. A lease overrules events."""
        if self.is_open:
            return "is still open for writing; it waits until its writer closes it"
        return HEARD_OPEN if self.heard_open and (self.is_open is None or self.elsewhere) else ""


_CLOCK_SET_SECONDS = 1.0  # time synchronisation moves a clock by less between two looks
_RELOOKS_A_SECOND = 50.0  # at files that wait, at the most: with 100,000 of them a look may cost no more
_HURRIES = 8.0  # looks in a row without a pause
_UNHURRIED_SECONDS = 1.0
_SOON_OVER = ("open", RecordingUnreachable.code, RecordingBusy.code)
"""Reasons with more frequent looks at first: not every close makes an event, and a copier that sets a file's mode
after its close (rsync --inplace) makes none at all."""
_NEVER = 1e300  # monotonic; if it changes, it is seen again


class Settler:
    """The candidates, and when to look at each of them again.

    Files not looked into yet come before files to be looked at again: however many wait, a newcomer is not held up
    by them.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.roll = Roll()
        self._fresh: list[tuple[float, int, bytes]] = []
        self._again: list[tuple[float, int, bytes]] = []
        self._newcomers: list[bytes] | None = []  # the last changed first; None: not in order yet
        self._offset: float | None = None  # of the wall clock from the monotonic one
        self._clock_set_at = -math.inf  # monotonic

    def __contains__(self, path: bytes) -> bool:
        return path in self.roll

    def __len__(self) -> int:
        return len(self.roll)

    def get(self, path: bytes) -> Candidate | None:
        """Return the candidate there, which may have been a newcomer until now."""
        return self.roll.get(path) or self._enter(path)

    def inodes(self) -> dict[bytes, int]:
        """Return every candidate's path and the inode last seen there; 0 where only a scan looks again."""
        found = {path: marks[1] for path, marks in self.roll.newcomers.items()}
        for candidate in self.roll:
            found[candidate.path] = 0 if candidate.look_at == _NEVER else candidate.fingerprint.inode
        return found

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
    ) -> Candidate:
        """Note what the file looks like now. A change starts its quiet time anew.

        `is_closed`: it was seen after its last writer had closed it, or after it was moved in; false takes that
        back: the close that was heard was another file's, which this one has replaced since. `is_open`: somebody
        was heard to open it. `is_shut`: nobody can have it open, as far as events tell. `is_local`: this machine's
        kernel sets its ctime at every change.
        """
        self._note_wall_clock(now, monotonic)
        candidate = self.get(path)
        if candidate is None or not candidate.fingerprint.same_file(fingerprint):
            candidate = Candidate(path, fingerprint, now, monotonic, monotonic, 0.0, now)
            self.roll.put(candidate)
            is_worth_a_look, is_changed = not is_open, True
        elif candidate.fingerprint != fingerprint:
            if is_closed is None:
                is_closed = candidate.is_closed and _has_same_content(candidate, fingerprint, is_shut=is_shut)
            is_worth_a_look, is_changed = is_closed, True
        elif is_closed and not candidate.is_settled:
            is_worth_a_look, is_changed = True, False
        else:
            self._see_unchanged(candidate, monotonic, is_closed=is_closed, is_open=is_open)
            return candidate
        candidate.is_closed = bool(is_closed)
        if is_changed:
            self._note_change(candidate, fingerprint, now, monotonic, is_local=is_local)
        if is_open:
            self._say(candidate, "open", HEARD_OPEN, now)
        if self._patience.proof and is_worth_a_look:
            self._look(candidate, self._soonest(candidate, monotonic))
        else:
            self._look(candidate, monotonic + max(self._patience.settle_seconds, 1.0 if is_open else 0.0))
        return candidate

    def see_newcomers(self, found: dict[bytes, Marks], now: float, monotonic: float, *, is_local: bool) -> None:
        """As `see` for each of these, which are no candidates, and of which nothing was heard.

        A first look meets 100,000 of them: nothing is done for each, until its turn comes.
        """
        self._note_wall_clock(now, monotonic)
        look_at = monotonic if self._patience.proof else monotonic + self._patience.settle_seconds
        sighting = Sighting(now, monotonic, look_at, monotonic - self._clock_set_at if is_local else None)
        if sighting != self.roll.sighting:
            for path in list(self.roll.newcomers):  # those of an earlier scan
                self._enter(path)
        self.roll.put_newcomers(found, sighting)
        self._newcomers = None

    def _enter(self, path: bytes) -> Candidate | None:
        """Make a candidate of the newcomer there, if there is one, and plan its look."""
        candidate = self.roll.enter(path)
        if candidate is not None:
            self._look(candidate, candidate.look_at)
        return candidate

    def _see_unchanged(
        self, candidate: Candidate, monotonic: float, *, is_closed: bool | None, is_open: bool
    ) -> None:
        if candidate.is_settled:
            return
        candidate.is_closed = candidate.is_closed and is_closed is not False
        if candidate.look_at == math.inf:
            self._look(candidate, monotonic)  # its look was interrupted by a change that was undone
        elif candidate.code == "open" and not is_open and candidate.look_at != _NEVER:
            self._look(candidate, self._soonest(candidate, monotonic))  # a lease may show that it was closed

    def _note_change(
        self, candidate: Candidate, fingerprint: Fingerprint, now: float, monotonic: float, *, is_local: bool
    ) -> None:
        if candidate.fingerprint.size != fingerprint.size:
            self.roll.revision += 1
        candidate.fingerprint = fingerprint
        candidate.is_settled = False
        candidate.is_fresh = True
        candidate.stumbles = 0
        candidate.changed_at = candidate.rests_since = monotonic
        if candidate.look_at == _NEVER:
            self._say(candidate, "settling", "", now)
        if is_local:  # a ctime in the future counts as now
            rested = min(max(0.0, now - fingerprint.ctime_ns / 1e9), monotonic - self._clock_set_at)
            candidate.rests_since = monotonic - rested

    def doubt(self) -> None:
        """Forget what was closed: events were lost, and it may be open again."""
        for candidate in self.roll:
            if not candidate.is_settled:
                candidate.is_closed = False

    def _note_wall_clock(self, now: float, monotonic: float) -> None:
        """Notice when the wall clock was set: times from before are not believed."""
        before, self._offset = self._offset, now - monotonic
        if before is not None and abs(self._offset - before) > _CLOCK_SET_SECONDS:
            self._clock_set_at = monotonic

    def _soonest(self, candidate: Candidate, monotonic: float) -> float:
        """Return when to look: now, or later for a file that keeps changing, so that others get their turn."""
        if candidate.hurries < _HURRIES:
            return monotonic
        return max(monotonic, candidate.looked_at + _UNHURRIED_SECONDS)

    def look_now(self, path: bytes, monotonic: float) -> None:
        """Make the file due, if it is a candidate: what it waited for may be there."""
        candidate = self.get(path)
        if candidate is not None and candidate.look_at != math.inf:
            self._look(candidate, monotonic)

    def forget(self, path: bytes) -> None:
        """Forget a file that is gone, or is an item now."""
        self.roll.drop(path)

    def due(self, monotonic: float, limit: int) -> list[Candidate]:
        """Return candidates to look at now, each once: up to `limit`, and some more of those looked at before."""
        self._enter_newcomers(monotonic, limit)
        found = self._due(self._fresh, monotonic, limit)
        return found + self._due(self._again, monotonic, max(limit - len(found), limit // 8))

    def _due(self, agenda: list[tuple[float, int, bytes]], monotonic: float, limit: int) -> list[Candidate]:
        found: list[Candidate] = []
        while agenda and agenda[0][0] <= monotonic and len(found) < limit:
            look_at, _, path = heapq.heappop(agenda)
            candidate = self.roll.get(path)
            if candidate is not None and candidate.look_at == look_at:
                candidate.look_at = math.inf  # off the agenda until it is put back
                rested = monotonic - candidate.looked_at
                hurries = candidate.hurries - rested / _UNHURRIED_SECONDS
                candidate.hurries = 1.0 + hurries if hurries > 0.0 else 1.0  # one number for all that have rested
                candidate.looked_at = monotonic
                found.append(candidate)
        return found

    def put_back(self, candidates: list[Candidate], monotonic: float) -> None:
        """Make candidates that could not be judged due again then."""
        for candidate in candidates:
            if self.roll.get(candidate.path) is candidate:
                self._look(candidate, monotonic)

    def next_look(self) -> float | None:
        """Return when the next candidate is due, on the monotonic clock; None when none is."""
        times = [look_at for look_at in map(self._next, (self._fresh, self._again)) if look_at is not None]
        if self.roll.newcomers:
            times.append(self.roll.sighting.look_at)
        return min(times, default=None)

    def _next(self, agenda: list[tuple[float, int, bytes]]) -> float | None:
        while agenda:
            look_at, _, path = agenda[0]
            candidate = self.roll.get(path)
            if candidate is not None and candidate.look_at == look_at:
                return look_at
            heapq.heappop(agenda)
        return None

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
            self._look(candidate, self._settled_at(candidate))
        else:
            self._say(candidate, "unclosed", self._unclosed(evidence), now)
            # And in between: without events, only a look notices a change.
            self._look(candidate, min(self._rested_at(candidate), monotonic + self._quiet_seconds() / 4))
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
        if code in ("cut_short", "no_sound"):
            look_at = min(look_at, max(monotonic, candidate.changed_at + self._patience.incomplete_seconds))
        self._look(candidate, look_at)
        return Judgement.WAIT

    def postpone(
        self, candidate: Candidate, code: str, reason: str, now: float, monotonic: float, seconds: float
    ) -> None:
        """Let the file wait for this reason, and look again after so many seconds."""
        candidate.is_settled = False
        candidate.is_fresh = False
        self._say(candidate, code, reason, now)
        self._look(candidate, monotonic + seconds)

    def leave(self, candidate: Candidate, code: str, reason: str, now: float) -> None:
        """Do not look at the file again unless a scan or an event shows that it changed."""
        self._say(candidate, code, reason, now)
        candidate.look_at = _NEVER

    def is_settled(self, path: bytes) -> bool:
        """Return whether there is such a file, judged whole as it is."""
        candidate = self.roll.get(path)
        return candidate is not None and candidate.is_settled

    def count_ending(self, until: float) -> int:
        """Return how many files will be taken or given up by then (monotonic) if nothing changes."""
        ends = (self.ends_waiting_at(candidate) for candidate in self.roll)
        newcomers_end = self.roll.sighting.monotonic + self._patience.settle_seconds
        of_newcomers = len(self.roll.newcomers) if newcomers_end <= until else 0
        return of_newcomers + sum(1 for end in ends if end is not None and end <= until)

    def ends_waiting_at(self, candidate: Candidate) -> float | None:
        """Return when (monotonic) this file will be taken or given up if nothing changes; None for never."""
        match candidate.code:
            case "settling":
                return self._settled_at(candidate)
            case "unclosed":
                return self._rested_at(candidate)
            case "cut_short" | "no_sound":
                return candidate.changed_at + self._patience.incomplete_seconds
            case _:
                return None

    def _say(self, candidate: Candidate, code: str, reason: str, now: float) -> None:
        if candidate.code != code:
            candidate.reason_since = now
        self.roll.said(candidate, code, intern(reason))  # many wait for the same reason

    def _look(self, candidate: Candidate, at: float) -> None:
        candidate.look_at = at
        # Files seen in one scan are ordered by ctime, set by the rename or last write: first come, first served.
        agenda = self._fresh if candidate.is_fresh else self._again
        heapq.heappush(agenda, (at, candidate.fingerprint.ctime_ns, candidate.path))
        if len(self._fresh) + len(self._again) > 1000 + 4 * len(self.roll):
            self._plan_anew()

    def _enter_newcomers(self, monotonic: float, limit: int) -> None:
        """Make candidates of as many newcomers as may be looked at now, in the order in which they changed."""
        newcomers = self.roll.newcomers
        if not newcomers or self.roll.sighting.look_at > monotonic:
            return
        if self._newcomers is None:
            self._newcomers = sorted(newcomers, key=lambda path: newcomers[path][4], reverse=True)
        number, last = 0, -1
        while self._newcomers:
            marks = newcomers.get(self._newcomers[-1])
            if number >= limit and marks is not None and marks[4] != last:
                return  # else the agenda puts them in order: many change within one tick of a file system's clock
            path = self._newcomers.pop()
            if marks is not None:
                self._enter(path)
                number, last = number + 1, marks[4]

    def _plan_anew(self) -> None:
        """Drop looks from the agendas that have been postponed since."""
        for agenda, is_fresh in ((self._fresh, True), (self._again, False)):
            planned = [c for c in self.roll if c.is_fresh is is_fresh and c.look_at < _NEVER]
            agenda[:] = [(c.look_at, c.fingerprint.ctime_ns, c.path) for c in planned]
            heapq.heapify(agenda)


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
    return evidence.is_open is False or (candidate.is_closed and evidence.heard_open is False)
