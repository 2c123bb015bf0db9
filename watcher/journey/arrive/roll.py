"""The candidates by path, grouped by what becomes of them: publishing costs what has changed alone. Pure."""

import math
from collections.abc import Iterator, KeysView
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from watcher.domain import Fingerprint
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


class Roll:
    """All candidates; in each group in the order in which they came to it."""

    def __init__(self) -> None:
        self._groups: dict[Group, dict[bytes, Candidate]] = {group: {} for group in Group}
        self._all = tuple(self._groups.values())
        self._moves = dict.fromkeys(Group, 0)
        self.revision = 0
        """Rises with each change that whoever reads about the candidates would see."""

    def __len__(self) -> int:
        return sum(map(len, self._all))

    def __contains__(self, path: bytes) -> bool:
        return self.get(path) is not None

    def __iter__(self) -> Iterator[Candidate]:
        """All candidates, in no order."""
        for members in self._all:
            yield from members.values()

    def get(self, path: bytes) -> Candidate | None:
        for members in self._all:
            if (found := members.get(path)) is not None:
                return found
        return None

    def holding(self, paths: list[bytes]) -> set[bytes]:
        """Return those of these paths that have a candidate."""
        return {path for members in self._all if members for path in members.keys() & paths}

    def put_newcomers(self, candidates: list[Candidate]) -> None:
        """Enter candidates that wait for a first look, with paths that have none."""
        self._groups[Group.WAITING].update({candidate.path: candidate for candidate in candidates})
        self._moves[Group.WAITING] += len(candidates)
        self.revision += len(candidates)

    def put(self, candidate: Candidate) -> None:
        """Enter a candidate, in the place of any other with its path."""
        self.drop(candidate.path)
        group = _GROUPS.get(candidate.code, Group.WAITING)
        self._groups[group][candidate.path] = candidate
        self._moves[group] += 1
        self.revision += 1

    def drop(self, path: bytes) -> None:
        """Remove the candidate with this path, if there is one."""
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
        return len(self._groups[group])

    def first(self, group: Group, limit: int) -> list[Candidate]:
        """Return up to so many of this group, those first that came to it first."""
        return list(islice(self._groups[group].values(), limit))

    def moves(self, group: Group) -> int:
        """How often a candidate has come to this group or left it."""
        return self._moves[group]

    def paths(self, group: Group) -> KeysView[bytes]:
        return self._groups[group].keys()
