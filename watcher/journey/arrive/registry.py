"""The known files: candidates, settled files, and those that need no look. Thread-safe."""

import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from watcher import logs
from watcher.clock import Clock
from watcher.config import Arrivals as Settings
from watcher.domain import Fingerprint, Marks
from watcher.journey.arrive.companions import Companions
from watcher.journey.arrive.openings import Identity, Openings
from watcher.journey.arrive.reach import Reach
from watcher.journey.arrive.settle import HEARD_OPEN, Patience, Settler
from watcher.store import Books
from watcher.store.waiting import STUMBLED, WAITING_SHOWN
from watcher.text import show_path

_log = logs.get_logger(__name__)

_MOST_LOST = 4_096
_STUMBLED_SECONDS = 5.0  # until a file with an unexpected error is tried again; doubled each time
_MOST_STUMBLED_SECONDS = 600.0
_ERROR_SHOWN = 200  # characters


@dataclass(frozen=True, slots=True)
class Settled:
    """A file that its writer has finished, and its fingerprint."""

    path: bytes
    fingerprint: Fingerprint
    first_seen: float
    companions: tuple[bytes, ...] = ()


Found = dict[bytes, Marks]
"""Paths at which a scan has found files that it did not know, each with its marks."""


class Registry:
    """What is known about each path in the drop folder. Hold `lock` to use the settler."""

    def __init__(self, settings: Settings, clock: Clock, openings: Openings, reach: Reach) -> None:
        self._clock = clock
        self.companions = Companions.of(settings)
        self._beside: defaultdict[bytes, set[bytes]] = defaultdict(set)  # companions, by lower-case name
        self._openings = openings
        self._reach = reach
        self.lock = threading.Lock()
        self.settler = Settler(
            Patience(
                settle_seconds=settings.settle_seconds,
                unclosed_seconds=settings.unclosed_seconds,
                proof=settings.proof,
                incomplete_seconds=settings.incomplete_minutes * 60,
                relook_seconds=settings.rescan_seconds,
            )
        )
        self.settled: deque[Settled] = deque()  # whole, and not admitted yet
        self.known: dict[bytes, int] = {}  # inodes by path: the scan need not look at these
        self._live: dict[bytes, int] = {}  # those of the items, as of the change that the books had last then
        self._live_at = -1
        self.carried: set[bytes] = set()  # companions of recordings that have an item
        self._lost: OrderedDict[bytes, Identity] = OrderedDict()  # the last that were gone and may be open
        self._stumbled: set[bytes] = set()  # some paths, not of candidates, whose errors were logged

    def begin_scan(self, books: Books) -> None:
        """Note what has an item or is a candidate as known: it costs the scan neither a stat nor a query."""
        last_change = books.items.last_change()
        with self.lock:
            if last_change != self._live_at:  # else the 100,000 that lie in the queue are not read each minute
                self._live_at, self._live, self.known = -1, {}, {}  # first: two of them take twice the memory
                self._live = books.items.live_paths()
                self.carried = set(books.items.live_companions())
                self._live_at = last_change  # last: else a failure would leave them as they were for long
            self.known = self._live | self.settler.roll.inodes() if len(self.settler) else self._live
            kept = ((name, {one for one in paths if one in self.settler}) for name, paths in self._beside.items())
            self._beside = defaultdict(set, {name: paths for name, paths in kept if paths})

    def end_scan(self) -> None:
        """Let go of what only a scan asks for."""
        with self.lock:
            self.known = self._live

    def see(
        self, path: bytes, fingerprint: Fingerprint, now: float, monotonic: float, *, is_closed: bool | None = None
    ) -> None:
        """Make the file a candidate, or update it; to be called under the lock."""
        if self.companions.is_one(path):
            self._beside[path.lower()].add(path)
        self.settler.see(
            path,
            fingerprint,
            now,
            monotonic,
            is_closed=is_closed,
            is_open=bool(self._openings.is_open(path, monotonic)),
            is_shut=self._openings.is_closed(path),
            is_local=self._reach.part(path).has_ctime,
        )

    def see_newcomers(self, found: Found, now: float, monotonic: float) -> Found:
        """Make candidates of those files of which nothing is known, as `see` does. Return the others."""
        part = self._reach.only_part()
        if part is None or self.companions.marker or self.companions.sidecars:
            return found
        with self.lock:
            is_known = self.settler.roll.holding(found.keys()) | self._openings.opened_of(found)
            new = {one: found[one] for one in found if one not in is_known} if is_known else found
            self.settler.see_newcomers(new, now, monotonic, is_local=part.has_ctime)
        return {path: found[path] for path in is_known}

    def awaits_close(self, path: bytes) -> bool:
        """Return whether the file waits for any close of an open that was heard.

        One that a lease shows to be open waits for its writer's: the close after our own look tells nothing of it,
        and each would lead to another look.
        """
        candidate = self.settler.roll.peek(path)  # without the lock: whoever reads the events asks
        return candidate is not None and candidate.reason == HEARD_OPEN and not candidate.is_settled

    def lose(self, path: bytes) -> None:
        """Forget a file that is gone, under the lock.

        A look may find it gone before the event that it was moved away is read: if it may be open, what it was is
        still known then, so that it is not taken for a closed one when it comes back.
        """
        fingerprint = self.settler.roll.fingerprint(path)
        if fingerprint is not None and not self._openings.is_closed(path):
            self._lost[path] = fingerprint[:2]
            if len(self._lost) > _MOST_LOST:
                self._lost.popitem(last=False)
        self.settler.forget(path)

    def identity(self, path: bytes) -> Identity | None:
        """Return the device and inode of the candidate there, or of the one that was lost; None without."""
        fingerprint = self.settler.roll.fingerprint(path)  # without the lock: whoever reads the events asks
        return self._lost.get(path) if fingerprint is None else fingerprint[:2]

    def identities_below(self, folder: bytes) -> list[tuple[bytes, Identity]]:
        """Return the candidates that are or were in this folder, each with its device and inode."""
        with self.lock:
            lost = [(path, identity) for path, identity in self._lost.items() if path.startswith(folder + b"/")]
            known = self.settler.roll.fingerprints()
            return lost + [(path, found[:2]) for path, found in known if path.startswith(folder + b"/")]

    def is_closed(self, path: bytes) -> bool:
        """Return whether every open of it was heard, and has its close."""
        return self._openings.is_closed(path)

    def waiting_beside(self, names: Iterable[bytes], start: bytes) -> list[bytes]:
        """Return the companions with these names: beginning exactly like `start`, the rest in either case."""
        found = (one for name in names for one in sorted(self._beside.get(name.lower(), ())))
        return list(dict.fromkeys(one for one in found if one in self.settler and one.startswith(start)))

    # What admit takes, and gives back

    def take(self, limit: int) -> list[Settled]:
        """Take files that have settled, the oldest arrival first."""
        with self.lock:
            return [self.settled.popleft() for _ in range(min(limit, len(self.settled)))]

    def admitted(self, settled: Settled) -> None:
        """Note that the file has an item now."""
        with self.lock:
            self.recognised(settled.path, settled.fingerprint.inode)
            self.settler.forget(settled.path)
            for companion in settled.companions:
                self.carried.add(companion)
                self.settler.forget(companion)

    def recognised(self, path: bytes, inode: int) -> None:
        """Note that this is an item's file, though its history may not tell; to be called under the lock."""
        self.known[path] = self._live[path] = inode

    def give_back(self, settled: list[Settled]) -> None:
        """Put back files that could not be examined for reasons of ours, in their old order."""
        with self.lock:
            self.settled.extendleft(reversed([one for one in settled if one.path in self.settler]))

    def postpone(self, settled: Settled, code: str, reason: str) -> None:
        """Let the file wait, for this reason."""
        clock = self._clock
        with self.lock:
            candidate = self.settler.get(settled.path)
            if candidate is not None:
                candidate.is_settled = False
                self.settler.wait(candidate, code, reason, clock.now(), clock.monotonic())

    def stumble(self, path: bytes, error: Exception) -> None:
        """Postpone a file after an unexpected error, with back-off; the others go on.

        The error is logged once, until the file changes. If it is not a candidate, the next scan looks again.
        """
        clock = self._clock
        seconds = _STUMBLED_SECONDS
        with self.lock:
            candidate = self.settler.get(path)
            is_news = path not in self._stumbled and (candidate is None or candidate.stumbles == 0)
            if candidate is None:
                self._stumbled = {*self._stumbled, path} if len(self._stumbled) < WAITING_SHOWN else {path}
            else:
                seconds = min(_STUMBLED_SECONDS * 2.0**candidate.stumbles, _MOST_STUMBLED_SECONDS)
                candidate.stumbles = min(candidate.stumbles + 1, 99)
                said = show_path(f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace"))
                reason = (
                    f"could not be looked at ({said[:_ERROR_SHOWN]}): it is tried again, and the others go on. "
                    "This is a bug: please report it, with the log"
                )
                self.settler.postpone(candidate, STUMBLED, reason, clock.now(), clock.monotonic(), seconds)
        if is_news:
            _log.error("arrival.failed", path=path, again_in_seconds=seconds, exc_info=error)

    def unsettle(self, path: bytes) -> None:
        """Have what is there judged anew."""
        with self.lock:
            candidate = self.settler.get(path)
            if candidate is not None:
                candidate.is_settled = False
