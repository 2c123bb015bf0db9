"""When a file in the drop folder is whole. Pure: it is told what was seen and when, and touches nothing.

A file is taken when it has been quiet for `settle_seconds` on our own monotonic clock since the last change seen
in its size, mtime or ctime: what its times say means nothing, since files that were moved in carry old ones and
some lie in the future. It is taken at once where two things prove it whole: its container's own lengths agree
with the file, and nobody writes any more.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from watcher.audio import Completeness
from watcher.domain import Fingerprint


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what."""

    settle_seconds: float
    proof: bool
    incomplete_seconds: float
    relook_seconds: float  # between two looks at a file that waits for its writer


@dataclass(slots=True)
class Candidate:
    """A file that is not trusted yet."""

    path: bytes
    fingerprint: Fingerprint
    first_seen: float  # wall clock: the time of arrival
    changed_at: float  # monotonic: when the last change was seen
    look_at: float  # monotonic
    is_closed: bool = False  # moved in, or closed by its writer after its last change
    is_settled: bool = False  # judged whole, and on its way to be vetted
    code: str = "settling"
    reason: str = ""
    reason_since: float = 0.0  # wall clock
    stumbles: int = 0  # errors that nobody foresaw, since its last change
    is_fresh: bool = True  # nobody has looked into it since its last change


def by_arrival(candidate: Candidate) -> tuple[float, int, bytes]:
    """The order in which files came, as far as that can be known."""
    return candidate.first_seen, candidate.fingerprint.ctime_ns, candidate.path


class Judgement(StrEnum):
    READY = "ready"
    WAIT = "wait"
    EXPIRED = "expired"  # it lacks something, and has been quiet for so long that nobody will bring it any more


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a look into a candidate found."""

    completeness: Completeness = Completeness.UNKNOWN
    missing_bytes: int = 0
    has_sound: bool = True  # false: a header, and nothing to hear behind it
    is_open: bool | None = None  # for writing, by anybody; null: it can not be told
    is_announced: bool = False  # its writer said that it is whole, by a marker
    is_foreign: bool = False  # no recording, by its name or by its content


_NEVER = 1e300  # monotonic: what changes is seen again


class Settler:
    """The candidates, and when to look at each of them again.

    What nobody has looked into yet goes before what is looked at once more: however many wait, a newcomer does not
    wait behind them.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._candidates: dict[bytes, Candidate] = {}
        self._fresh: list[tuple[float, int, bytes]] = []
        self._again: list[tuple[float, int, bytes]] = []

    def __contains__(self, path: bytes) -> bool:
        return path in self._candidates

    def __len__(self) -> int:
        return len(self._candidates)

    def __iter__(self) -> Iterator[Candidate]:
        """All candidates, in no order."""
        return iter(self._candidates.values())

    def get(self, path: bytes) -> Candidate | None:
        return self._candidates.get(path)

    def inodes(self) -> dict[bytes, int]:
        """Every candidate's path, and the inode that was seen there last; 0 where only a scan looks again."""
        return {
            path: 0 if candidate.look_at == _NEVER else candidate.fingerprint.inode
            for path, candidate in self._candidates.items()
        }

    def see(
        self, path: bytes, fingerprint: Fingerprint, now: float, monotonic: float, *, is_closed: bool = False
    ) -> Candidate:
        """The file looks like this now. A change begins its quiet time anew.

        `is_closed`: this look comes after its writer closed it, or after it was moved in whole.
        """
        candidate = self._candidates.get(path)
        is_new = candidate is None or not candidate.fingerprint.same_file(fingerprint)
        is_worth_a_look = self._patience.proof and (is_closed or is_new)
        look_at = monotonic if is_worth_a_look else monotonic + self._patience.settle_seconds
        if candidate is None or is_new:
            candidate = Candidate(path, fingerprint, now, monotonic, look_at, is_closed, reason_since=now)
            self._candidates[path] = candidate
        elif candidate.fingerprint == fingerprint and (candidate.is_settled or not is_closed):
            if not candidate.is_settled and candidate.look_at == float("inf"):
                self._look(candidate, monotonic)  # its look was cut short by a change that is undone
            return candidate  # nothing new
        elif candidate.fingerprint != fingerprint:
            candidate.fingerprint = fingerprint
            candidate.changed_at = monotonic
            candidate.is_settled = False
            candidate.is_fresh = True
            candidate.stumbles = 0
            if candidate.look_at == _NEVER:
                self._say(candidate, "settling", "", now)
        candidate.is_closed = is_closed
        self._look(candidate, look_at)
        return candidate

    def look_now(self, path: bytes, monotonic: float) -> None:
        """The file is due, if it is a candidate: what it waited for may be there."""
        candidate = self._candidates.get(path)
        if candidate is not None and candidate.look_at != float("inf"):
            self._look(candidate, monotonic)

    def forget(self, path: bytes) -> None:
        """The file is gone, or is an item now."""
        self._candidates.pop(path, None)

    def due(self, monotonic: float, limit: int) -> list[Candidate]:
        """Candidates to look at now, each once: `limit` of them, and a few more of those looked at before."""
        found = self._due(self._fresh, monotonic, limit)
        return found + self._due(self._again, monotonic, max(limit - len(found), limit // 8))

    def _due(self, agenda: list[tuple[float, int, bytes]], monotonic: float, limit: int) -> list[Candidate]:
        found: list[Candidate] = []
        while agenda and agenda[0][0] <= monotonic and len(found) < limit:
            look_at, _, path = heapq.heappop(agenda)
            candidate = self._candidates.get(path)
            if candidate is not None and candidate.look_at == look_at:
                candidate.look_at = float("inf")  # off the agenda until it is put back
                found.append(candidate)
        return found

    def put_back(self, candidates: list[Candidate], monotonic: float) -> None:
        """These were due, and could not be judged: they are due again then."""
        for candidate in candidates:
            if self._candidates.get(candidate.path) is candidate:
                self._look(candidate, monotonic)

    def next_look(self) -> float | None:
        """When the next candidate is due, on the monotonic clock; null when none is."""
        times = [look_at for look_at in map(self._next, (self._fresh, self._again)) if look_at is not None]
        return min(times, default=None)

    def _next(self, agenda: list[tuple[float, int, bytes]]) -> float | None:
        while agenda:
            look_at, _, path = agenda[0]
            candidate = self._candidates.get(path)
            if candidate is not None and candidate.look_at == look_at:
                return look_at
            heapq.heappop(agenda)
        return None

    def judge(self, candidate: Candidate, evidence: Evidence, now: float, monotonic: float) -> Judgement:
        """Whether the file is whole, given what a look into it found; if it waits, it is on the agenda again."""
        completeness = evidence.completeness
        candidate.is_fresh = False
        if candidate.fingerprint.size == 0:
            reason = "is empty; it waits until something is written into it"
            return self.wait(candidate, "empty", reason, now, monotonic)
        if evidence.is_open:
            reason = "is still open for writing; it waits until its writer closes it"
            return self.wait(candidate, "open", reason, now, monotonic)
        is_short = completeness is Completeness.SHORT
        lacks_something = is_short or not evidence.has_sound
        if lacks_something and monotonic >= candidate.changed_at + self._patience.incomplete_seconds:
            return Judgement.EXPIRED
        if is_short:
            by = f" by {evidence.missing_bytes:,} bytes" if evidence.missing_bytes else ""
            reason = f"is cut short{by} by its own header; it waits for the rest"
            return self.wait(candidate, "cut_short", reason, now, monotonic)
        if not evidence.has_sound:
            reason = "has a header and no sound behind it; it waits until there is some"
            return self.wait(candidate, "no_sound", reason, now, monotonic)
        nobody_writes = candidate.is_closed or evidence.is_open is False
        is_proven = self._patience.proof and completeness is Completeness.PROVEN and nobody_writes
        if is_proven or evidence.is_announced or self._is_quiet(candidate, monotonic):
            return Judgement.READY
        return self.wait_for_quiet(candidate, now)

    def wait_for_quiet(self, candidate: Candidate, now: float) -> Judgement:
        """The file is looked at again when it has been quiet for long enough."""
        candidate.is_fresh = False
        self._say(candidate, "settling", "is still being written, or was until a moment ago", now)
        self._look(candidate, candidate.changed_at + self._patience.settle_seconds)
        return Judgement.WAIT

    def wait(self, candidate: Candidate, code: str, reason: str, now: float, monotonic: float) -> Judgement:
        """The file waits for this reason, and is looked at again later. Waiting costs nothing and has no end."""
        candidate.is_fresh = False
        self._say(candidate, code, reason, now)
        look_at = monotonic + self._patience.relook_seconds
        if code == "open":  # its close makes an event, where there are events
            look_at = monotonic + min(self._patience.relook_seconds, max(1.0, self._patience.settle_seconds))
        if code in ("cut_short", "no_sound"):
            look_at = min(look_at, max(monotonic, candidate.changed_at + self._patience.incomplete_seconds))
        self._look(candidate, look_at)
        return Judgement.WAIT

    def put_off(
        self, candidate: Candidate, code: str, reason: str, now: float, monotonic: float, seconds: float
    ) -> None:
        """The file waits for this reason, and is looked at again after so many seconds."""
        candidate.is_settled = False
        candidate.is_fresh = False
        self._say(candidate, code, reason, now)
        self._look(candidate, monotonic + seconds)

    def leave(self, candidate: Candidate, code: str, reason: str, now: float) -> None:
        """The file is not looked at again unless it changes, which a scan or an event tells."""
        self._say(candidate, code, reason, now)
        candidate.look_at = _NEVER

    def is_quiet(self, path: bytes, monotonic: float) -> bool:
        """Whether there is such a file, and its content has been the same for long enough."""
        candidate = self._candidates.get(path)
        return candidate is not None and self._is_quiet(candidate, monotonic)

    def _is_quiet(self, candidate: Candidate, monotonic: float) -> bool:
        # The very sum that the agenda has: a difference may round the other way, and never be due.
        return monotonic >= candidate.changed_at + self._patience.settle_seconds

    def ends_waiting_at(self, candidate: Candidate) -> float | None:
        """When, on the monotonic clock, this file is taken or given up if nothing changes; null for never."""
        match candidate.code:
            case "settling":
                return candidate.changed_at + self._patience.settle_seconds
            case "cut_short" | "no_sound":
                return candidate.changed_at + self._patience.incomplete_seconds
            case _:
                return None

    def _say(self, candidate: Candidate, code: str, reason: str, now: float) -> None:
        if candidate.code != code:
            candidate.reason_since = now
        candidate.code, candidate.reason = code, reason

    def _look(self, candidate: Candidate, at: float) -> None:
        candidate.look_at = at
        # Of files seen in one scan the one that came first is first: a rename or a last write sets the ctime.
        agenda = self._fresh if candidate.is_fresh else self._again
        heapq.heappush(agenda, (at, candidate.fingerprint.ctime_ns, candidate.path))
