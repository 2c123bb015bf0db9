"""The candidates by path, grouped by what becomes of them: publishing costs what has changed alone. Pure.

Those that wait are kept at rest, in few bytes, and are awake only from when somebody asks about them until they
wait again.
"""

from collections.abc import Iterable, Iterator, KeysView
from enum import StrEnum
from itertools import islice
from typing import Any

from watcher.domain import Fingerprint, Marks
from watcher.journey.arrive.candidate import NEVER, Candidate
from watcher.journey.arrive.companions import ORPHANED
from watcher.journey.arrive.foreign import FOREIGN
from watcher.journey.arrive.resting import SEEN, Rest, Resting
from watcher.store.waiting import BLOCKED


class Group(StrEnum):
    """What becomes of a candidate, by the code of its reason."""

    WAITING = "waiting"  # it is taken, or given up, without anybody's help
    BLOCKED = "blocked"  # it is not taken until a person acts
    FOREIGN = "foreign"  # it is left where it is
    ORPHANED = "orphaned"  # a companion without its recording


_GROUPS = dict.fromkeys(BLOCKED, Group.BLOCKED) | {FOREIGN: Group.FOREIGN, ORPHANED: Group.ORPHANED}


def _group_of(code: str) -> Group:
    return _GROUPS.get(code, Group.WAITING)


class Roll:
    """All candidates, in each group in the order in which they came to it."""

    def __init__(self) -> None:
        self._resting = Resting()
        self._groups: dict[Group, dict[bytes, Candidate | Rest]] = {group: {} for group in Group}
        self._all = tuple(self._groups.values())
        self._moves = dict.fromkeys(Group, 0)
        self.revision = 0
        """Rises with each change that whoever reads about the candidates would see."""

    def __len__(self) -> int:
        return sum(map(len, self._all))

    def __contains__(self, path: bytes) -> bool:
        return any(path in members for members in self._all)

    def __iter__(self) -> Iterator[Candidate]:
        """All candidates, in no order. For those at rest, see `peek`."""
        for members in self._all:
            for path, one in members.items():
                yield self._told(path, one)

    def peek(self, path: bytes) -> Candidate | None:
        """Return the candidate there. It is to be read only: of one at rest it is a copy.

        May be called without the lock.
        """
        for members in self._all:
            if (found := members.get(path)) is not None:
                return self._told(path, found)
        return None

    def wake(self, path: bytes) -> Candidate | None:
        """Return the candidate there. It rests no longer: what is changed in it is kept."""
        for members in self._all:
            if (found := members.get(path)) is not None:
                if isinstance(found, Rest):
                    members[path] = woken = self._resting.unpack(path, found)
                    self._resting.let_go(found)
                    return woken
                return found
        return None

    def rest(self, candidate: Candidate) -> None:
        """Keep it in few bytes, as it is, until it is woken. Who has it still must not change it any more."""
        members = self._groups[_group_of(candidate.code)]
        if members.get(candidate.path) is candidate and (rest := self._resting.pack(candidate)) is not None:
            members[candidate.path] = rest

    def _told(self, path: bytes, one: Candidate | Rest) -> Candidate:
        return self._resting.unpack(path, one) if isinstance(one, Rest) else one

    def fingerprint(self, path: bytes) -> Fingerprint | None:
        """Return the fingerprint of the candidate there."""
        candidate = self.peek(path)
        return None if candidate is None else candidate.fingerprint

    def fingerprints(self) -> Iterator[tuple[bytes, Fingerprint]]:
        """Yield every path with its fingerprint, in no order."""
        return ((one.path, one.fingerprint) for one in self)

    def inodes(self) -> dict[bytes, int]:
        """Return every path and the inode last seen there; 0 where only a scan looks again."""
        found = dict[bytes, int]()
        for members in self._all:
            for path, one in members.items():
                if isinstance(one, Rest):
                    inode, look_at = SEEN.unpack_from(one)
                else:
                    inode, look_at = one.fingerprint.inode, one.look_at
                found[path] = 0 if look_at == NEVER else inode
        return found

    def quiet(self) -> Iterator[tuple[str, float, float]]:
        """Yield each candidate's code, when it changed, and, unless it is a newcomer, since when it rests."""
        for members in self._all:
            for one in members.values():
                if isinstance(one, Rest):
                    yield self._resting.quiet_of(one)
                else:
                    yield one.code, one.changed_at, one.rests_since

    def holding(self, paths: KeysView[bytes]) -> set[bytes]:
        """Return those of these paths that have a candidate."""
        found = set[bytes]()
        for members in self._all:
            if members:
                found |= members.keys() & paths
        return found

    def put_newcomers(self, found: dict[bytes, Marks], like: Candidate, most_rested: float | None) -> None:
        """Enter candidates with paths that have none; see Resting.pack_newcomers."""
        self._groups[Group.WAITING] |= self._resting.pack_newcomers(found, like, most_rested)
        self._moves[Group.WAITING] += len(found)
        self.revision += len(found)

    def by_ctime(self, paths: Iterable[bytes]) -> list[bytes]:
        """Return those of these paths that wait, the last changed first."""
        members: dict[bytes, Any] = self._groups[Group.WAITING]
        try:  # at rest, as nearly always all are, they begin with their ctime
            return sorted(paths, key=members.__getitem__, reverse=True)
        except (KeyError, TypeError):  # some are gone or awake
            return sorted(filter(members.__contains__, paths), key=self._ctime, reverse=True)

    def _ctime(self, path: bytes) -> int:
        fingerprint = self.fingerprint(path)
        return 0 if fingerprint is None else fingerprint.ctime_ns

    def put(self, candidate: Candidate) -> None:
        """Enter a candidate, in the place of any other with its path."""
        self.drop(candidate.path)
        group = _group_of(candidate.code)
        self._groups[group][candidate.path] = candidate
        self._moves[group] += 1
        self.revision += 1

    def drop(self, path: bytes) -> None:
        """Remove the candidate with this path, if there is one."""
        for group, members in self._groups.items():
            if (found := members.pop(path, None)) is not None:
                if isinstance(found, Rest):
                    self._resting.let_go(found)
                self._moves[group] += 1
                self.revision += 1

    def said(self, candidate: Candidate, code: str, reason: str) -> None:
        """Give a candidate that is awake this reason; it moves to the group of that."""
        if (candidate.code, candidate.reason) == (code, reason):
            return
        before, after = map(_group_of, (candidate.code, code))
        candidate.code, candidate.reason = code, reason
        if self._groups[before].get(candidate.path) is candidate:
            if after is not before:
                self._groups[after][candidate.path] = candidate  # first: some look without the lock
                del self._groups[before][candidate.path]
                self._moves[before] += 1
                self._moves[after] += 1
            self.revision += 1

    def of(self, paths: Iterable[bytes], group: Group) -> list[Candidate]:
        """Return those of these paths that are in this group; as `peek` does."""
        members = self._groups[group]
        found = ((path, members.get(path)) for path in paths)
        return [self._told(path, one) for path, one in found if one is not None]

    def count(self, group: Group) -> int:
        return len(self._groups[group])

    def first(self, group: Group, limit: int) -> list[Candidate]:
        """Return up to so many of this group, those first that came to it first; as `peek` does."""
        return [self._told(path, one) for path, one in islice(self._groups[group].items(), limit)]

    def moves(self, group: Group) -> int:
        """How often a candidate has come to this group or left it."""
        return self._moves[group]

    def paths(self, group: Group) -> KeysView[bytes]:
        return self._groups[group].keys()
