"""The candidates by path, grouped by what becomes of them: publishing costs what has changed alone. Pure.

A first look meets 100,000 newcomers at once. What is known of each is its path and fingerprint; the rest is the
same for all of them. So each is kept as these two until its turn comes, and is a candidate from then on.
"""

import math
from collections.abc import Iterator, KeysView
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from typing import NamedTuple

from watcher.domain import Fingerprint, Marks
from watcher.journey.arrive.companions import ORPHANED
from watcher.journey.arrive.foreign import FOREIGN
from watcher.store.waiting import BLOCKED


@dataclass(slots=True, eq=False)
class Candidate:
    """A file that is not trusted yet."""

    path: bytes
    fingerprint: Fingerprint
    first_seen: float  # wall clock: the time of arrival
    changed_at: float  # monotonic: when the last change was seen
    rests_since: float  # monotonic: when it last changed, as far as can be told
    look_at: float  # monotonic
    reason_since: float  # wall clock
    is_closed: bool = False  # moved in, or closed by its last writer, after its last change
    is_settled: bool = False  # judged whole; a recording is waiting to be examined
    code: str = "settling"
    reason: str = ""
    stumbles: int = 0  # unexpected errors since its last change
    is_fresh: bool = True  # nobody has looked into it since its last change
    looked_at: float = -math.inf  # monotonic
    hurries: float = 0.0  # looks at it, minus one per second


def by_arrival(candidate: Candidate) -> tuple[float, int, bytes]:
    """Return a sort key for the order in which files arrived, as far as can be told."""
    return candidate.first_seen, candidate.fingerprint.ctime_ns, candidate.path


class Group(StrEnum):
    """What becomes of a candidate, by the code of its reason."""

    WAITING = "waiting"  # it is taken, or given up, without anybody's help
    BLOCKED = "blocked"  # it is not taken until a person acts
    FOREIGN = "foreign"  # it is left where it is
    ORPHANED = "orphaned"  # a companion without its recording


_GROUPS = dict.fromkeys(BLOCKED, Group.BLOCKED) | {FOREIGN: Group.FOREIGN, ORPHANED: Group.ORPHANED}


class Sighting(NamedTuple):
    """What a scan knows of every newcomer that it sees."""

    now: float = 0.0
    monotonic: float = 0.0
    look_at: float = 0.0  # monotonic
    most_rested: float | None = None  # seconds for which a ctime is believed; None: it means nothing there

    def candidate(self, path: bytes, marks: Marks) -> Candidate:
        """Return the newcomer as a candidate."""
        fingerprint = Fingerprint._make(marks)
        rests_since = self.monotonic
        if self.most_rested is not None:  # a ctime in the future counts as now
            rests_since -= min(max(0.0, self.now - fingerprint.ctime_ns / 1e9), self.most_rested)
        return Candidate(path, fingerprint, self.now, self.monotonic, rests_since, self.look_at, self.now)


class Roll:
    """All candidates, in each group in the order in which they came to it; and newcomers, which will be some."""

    def __init__(self) -> None:
        self.newcomers: dict[bytes, Marks] = {}
        """Those that nobody has asked about since the scan that saw them. They wait."""
        self.sighting = Sighting()
        """Of all newcomers."""
        self._groups: dict[Group, dict[bytes, Candidate]] = {group: {} for group in Group}
        self._all = tuple(self._groups.values())
        self._moves = dict.fromkeys(Group, 0)
        self.revision = 0
        """Rises with each change that whoever reads about the candidates would see."""

    def __len__(self) -> int:
        return sum(map(len, self._all), len(self.newcomers))

    def __contains__(self, path: bytes) -> bool:
        return self.fingerprint(path) is not None

    def __iter__(self) -> Iterator[Candidate]:
        """All candidates, in no order, without the newcomers."""
        for members in self._all:
            yield from members.values()

    def get(self, path: bytes) -> Candidate | None:
        """Return the candidate there; None for a newcomer."""
        for members in self._all:
            if (found := members.get(path)) is not None:
                return found
        return None

    def fingerprint(self, path: bytes) -> Fingerprint | None:
        """Return the fingerprint of the candidate or newcomer there."""
        if (found := self.newcomers.get(path)) is not None:
            return Fingerprint._make(found)
        candidate = self.get(path)
        return None if candidate is None else candidate.fingerprint

    def marks(self) -> Iterator[tuple[bytes, Marks]]:
        """Yield every path with its fingerprint, in no order."""
        return chain(self.newcomers.items(), ((one.path, one.fingerprint) for one in self))

    def holding(self, paths: KeysView[bytes]) -> set[bytes]:
        """Return those of these paths that have a candidate or newcomer."""
        found = self.newcomers.keys() & paths
        for members in self._all:
            if members:
                found |= members.keys() & paths
        return found

    def put_newcomers(self, found: dict[bytes, Marks], sighting: Sighting) -> None:
        """Enter newcomers, with paths that have none. All that are there already must be of this sighting."""
        self.sighting = sighting
        self.newcomers |= found
        self._moves[Group.WAITING] += len(found)
        self.revision += len(found)

    def enter(self, path: bytes) -> Candidate | None:
        """Make a candidate of the newcomer there; None where there is none."""
        marks = self.newcomers.get(path)
        if marks is None:
            return None
        candidate = self.sighting.candidate(path, marks)
        self._groups[Group.WAITING][path] = candidate  # first: some look without the lock
        del self.newcomers[path]
        return candidate

    def put(self, candidate: Candidate) -> None:
        """Enter a candidate, in the place of any other with its path."""
        self.drop(candidate.path)
        group = _GROUPS.get(candidate.code, Group.WAITING)
        self._groups[group][candidate.path] = candidate
        self._moves[group] += 1
        self.revision += 1

    def drop(self, path: bytes) -> None:
        """Remove the candidate or newcomer with this path, if there is one."""
        if self.newcomers.pop(path, None) is not None:
            self._moves[Group.WAITING] += 1
            self.revision += 1
        for group, members in self._groups.items():
            if members.pop(path, None) is not None:
                self._moves[group] += 1
                self.revision += 1

    def said(self, candidate: Candidate, code: str, reason: str) -> None:
        """Give a candidate this reason; it moves to the group of that."""
        if (candidate.code, candidate.reason) == (code, reason):
            return
        before, after = (_GROUPS.get(one, Group.WAITING) for one in (candidate.code, code))
        candidate.code, candidate.reason = code, reason
        if self._groups[before].get(candidate.path) is candidate:
            if after is not before:
                self._groups[after][candidate.path] = candidate  # first: some look without the lock
                del self._groups[before][candidate.path]
                self._moves[before] += 1
                self._moves[after] += 1
            self.revision += 1

    def has(self, candidate: Candidate, group: Group) -> bool:
        """Return whether it is a candidate still, and in this group."""
        return self._groups[group].get(candidate.path) is candidate

    def count(self, group: Group) -> int:
        return len(self._groups[group]) + (len(self.newcomers) if group is Group.WAITING else 0)

    def first(self, group: Group, limit: int) -> list[Candidate]:
        """Return up to so many of this group, those first that came to it first; newcomers as they will be."""
        found = list(islice(self._groups[group].values(), limit))
        if group is Group.WAITING:
            more = islice(self.newcomers.items(), limit - len(found))
            found += [self.sighting.candidate(path, marks) for path, marks in more]
        return found

    def moves(self, group: Group) -> int:
        """How often a candidate has come to this group or left it."""
        return self._moves[group]

    def paths(self, group: Group) -> KeysView[bytes]:
        return self._groups[group].keys()
