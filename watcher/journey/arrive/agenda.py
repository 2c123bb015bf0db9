"""When to look at which candidate. Pure.

Files not looked into yet come before files to be looked at again: however many wait, a newcomer is not held up by
them.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from watcher.journey.arrive.candidate import NEVER, Candidate
from watcher.journey.arrive.roll import Roll

SOON_SECONDS = 8
"""Looks within this time are in order. What is looked at later is put in order when its time has come."""

_Heap = list[tuple[float, int, bytes]]


@dataclass(slots=True)
class _Newcomers:
    """Those of one scan. A first look meets 100,000: they are put in order once their time has come."""

    look_at: float
    paths: list[bytes] = field(default_factory=list)  # once sorted: the last changed first
    is_sorted: bool = False


class Agenda:
    """The looks at the candidates of a roll that are to come.

    The next ones are in two heaps, by time and then by ctime; an entry of a heap takes 88 bytes. Later ones are on
    pages of a second each, in no order: there it takes 9 [both measured].
    """

    def __init__(self, roll: Roll) -> None:
        self._roll = roll
        self._fresh: _Heap = []
        self._again: _Heap = []
        self._pages: dict[int, list[bytes]] = {}  # by second, on the monotonic clock
        self._seconds: list[int] = []  # of the pages, as a heap
        self._on_pages = 0
        self._opened = -1  # the last second whose page is in the heaps
        self._newcomers: deque[_Newcomers] = deque()

    def __len__(self) -> int:
        """How many looks are noted, those included that were postponed since."""
        return (
            len(self._fresh) + len(self._again) + self._on_pages + sum(len(some.paths) for some in self._newcomers)
        )

    def put(self, candidate: Candidate, at: float) -> None:
        """Have this candidate looked at then (monotonic), and not at another time."""
        candidate.look_at = at
        self._note(candidate)
        if len(self) > 1000 + 4 * len(self._roll):
            self._note_anew()

    def put_newcomers(self, paths: Iterable[bytes], at: float) -> None:
        """Have those looked at that wait at these paths, and were packed with this time."""
        if not self._newcomers or self._newcomers[-1].look_at != at:
            self._newcomers.append(_Newcomers(at))
        self._newcomers[-1].paths.extend(paths)
        self._newcomers[-1].is_sorted = False

    def due(self, monotonic: float, limit: int) -> list[Candidate]:
        """Return candidates to look at now, each once: up to `limit`, and some more of those looked at before."""
        self._open_pages(int(monotonic) + SOON_SECONDS)
        self._note_newcomers(monotonic, limit)
        found = self._due(self._fresh, monotonic, limit)
        return found + self._due(self._again, monotonic, max(limit - len(found), limit // 8))

    def next_look(self) -> float | None:
        """Return when the next candidate is due, on the monotonic clock; None when none is."""
        times = [self._next_of(self._fresh), self._next_of(self._again), self._next_newcomer()]
        next_at = min((at for at in times if at is not None), default=None)
        if self._seconds and (next_at is None or self._seconds[0] <= next_at):
            self._open_pages(self._seconds[0])
            return self.next_look()
        return next_at

    def _note(self, candidate: Candidate) -> None:
        at, path = candidate.look_at, candidate.path
        if at < self._opened + 1:
            # First come, first served: what one scan sees is ordered by ctime, set by the rename or last write.
            heap = self._fresh if candidate.is_fresh else self._again
            heappush(heap, (at, candidate.fingerprint.ctime_ns, path))
            return
        second = int(at)
        if second not in self._pages:
            self._pages[second] = []
            heappush(self._seconds, second)
        self._pages[second].append(path)
        self._on_pages += 1

    def _open_pages(self, until: int) -> None:
        self._opened = max(self._opened, until)
        while self._seconds and self._seconds[0] <= self._opened:
            second = heappop(self._seconds)
            paths = self._pages.pop(second)
            self._on_pages -= len(paths)
            for path in paths:
                candidate = self._roll.peek(path)
                if candidate is not None and second <= candidate.look_at < second + 1:
                    self._note(candidate)

    def _due(self, heap: _Heap, monotonic: float, limit: int) -> list[Candidate]:
        found: list[Candidate] = []
        while heap and heap[0][0] <= monotonic and len(found) < limit:
            look_at, _, path = heappop(heap)
            if self._planned(path, look_at) is not None and (candidate := self._roll.wake(path)) is not None:
                candidate.note_look(monotonic)
                found.append(candidate)
        return found

    def _next_of(self, heap: _Heap) -> float | None:
        while heap:
            look_at, _, path = heap[0]
            if self._planned(path, look_at) is not None:
                return look_at
            heappop(heap)
        return None

    def _next_newcomer(self) -> float | None:
        while self._newcomers:
            some = self._newcomers[0]
            while some.paths:
                if self._planned(some.paths[-1], some.look_at) is not None:
                    return some.look_at
                some.paths.pop()
            self._newcomers.popleft()
        return None

    def _planned(self, path: bytes, look_at: float) -> Candidate | None:
        """Return the candidate there, if the look at it is still to be then; to be read only."""
        candidate = self._roll.peek(path)
        return candidate if candidate is not None and candidate.look_at == look_at else None

    def _note_newcomers(self, monotonic: float, limit: int) -> None:
        """Note the looks at as many newcomers as may be looked at now, in the order in which they changed."""
        number = 0
        while self._newcomers and self._newcomers[0].look_at <= monotonic:
            some, last = self._newcomers[0], None
            if not some.is_sorted:
                some.paths, some.is_sorted = self._roll.by_ctime(some.paths), True
            while some.paths:
                candidate = self._planned(some.paths[-1], some.look_at)
                if number >= limit and candidate is not None and candidate.fingerprint.ctime_ns != last:
                    return  # else the heap puts them in order: many change within one tick of a disk's clock
                some.paths.pop()
                if candidate is not None:
                    self._note(candidate)
                    number, last = number + 1, candidate.fingerprint.ctime_ns
            self._newcomers.popleft()

    def _note_anew(self) -> None:
        """Drop looks that have been postponed since."""
        self._fresh, self._again, self._pages, self._seconds, self._on_pages = [], [], {}, [], 0
        self._newcomers.clear()
        for candidate in self._roll:
            if candidate.look_at < NEVER:
                self._note(candidate)
