"""The files that are known: candidates, what has settled, what needs no look. Threads may share it."""

import threading
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from watcher import logs
from watcher.clock import Clock
from watcher.config import Arrivals as Settings
from watcher.domain import Fingerprint
from watcher.journey.arrive.companions import Companions
from watcher.journey.arrive.openings import Identity, Openings
from watcher.journey.arrive.reach import Reach
from watcher.journey.arrive.settle import Patience, Settler
from watcher.store import Books
from watcher.store.waiting import STUMBLED, WAITING_SHOWN
from watcher.text import show_path

_log = logs.get_logger(__name__)

_STUMBLED_SECONDS = 5.0  # until a file is tried again that nobody could foresee, and then twice as long, and so on
_MOST_STUMBLED_SECONDS = 600.0
_ERROR_SHOWN = 200  # characters


@dataclass(frozen=True, slots=True)
class Settled:
    """A file that its writer is through with, and what it looks like."""

    path: bytes
    fingerprint: Fingerprint
    first_seen: float
    companions: tuple[bytes, ...] = ()


class Registry:
    """What is known of each path in the drop folder. `lock` is held by whoever uses the settler."""

    def __init__(self, settings: Settings, clock: Clock, openings: Openings, reach: Reach) -> None:
        self._clock = clock
        self.companions = Companions.of(settings)
        self._beside: defaultdict[bytes, set[bytes]] = defaultdict(set)  # companions, by their names in lower case
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
        self.known: dict[bytes, int] = {}  # paths that the scan need not look at, by inode
        self.carried: set[bytes] = set()  # companions of recordings that have an item
        self._stumbled: set[bytes] = set()  # no candidates, and told of: some of them

    def begin_scan(self, books: Books) -> None:
        """What has an item, or is a candidate, is known: it costs the scan neither a stat nor a query."""
        with self.lock:
            self.known = books.items.live_paths() | self.settler.inodes()
            self.carried = set(books.items.live_companions())
            kept = ((name, {one for one in paths if one in self.settler}) for name, paths in self._beside.items())
            self._beside = defaultdict(set, {name: paths for name, paths in kept if paths})

    def see(
        self, path: bytes, fingerprint: Fingerprint, now: float, monotonic: float, *, is_closed: bool = False
    ) -> None:
        """The file is a candidate; to be called under the lock."""
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

    def awaits_close(self, path: bytes) -> bool:
        """Whether the file waits for who opened it."""
        candidate = self.settler.get(path)  # without the lock: whoever reads the events asks
        return candidate is not None and candidate.code == "open"

    def identity(self, path: bytes) -> Identity | None:
        """Which file the candidate is; null where there is none of this path."""
        candidate = self.settler.get(path)  # without the lock: whoever reads the events asks
        return None if candidate is None else candidate.fingerprint[:2]

    def identities_below(self, folder: bytes) -> list[tuple[bytes, Identity]]:
        """The candidates in this folder, and which files they are."""
        with self.lock:
            found = [one for one in self.settler if one.path.startswith(folder + b"/")]
        return [(one.path, one.fingerprint[:2]) for one in found]

    def is_closed(self, path: bytes) -> bool:
        """Whether every open of it was heard, and the close of each."""
        return self._openings.is_closed(path)

    def waiting_beside(self, names: Iterable[bytes], start: bytes) -> list[bytes]:
        """The companions that lie under these names, spelled like `start` at first, and then in either case."""
        found = (one for name in names for one in sorted(self._beside.get(name.lower(), ())))
        return list(dict.fromkeys(one for one in found if one in self.settler and one.startswith(start)))

    # What admit takes, and gives back

    def take(self, limit: int) -> list[Settled]:
        """Files that have settled, the oldest arrival first."""
        with self.lock:
            return [self.settled.popleft() for _ in range(min(limit, len(self.settled)))]

    def admitted(self, settled: Settled) -> None:
        """The file has an item now."""
        with self.lock:
            self.known[settled.path] = settled.fingerprint.inode
            self.settler.forget(settled.path)
            for companion in settled.companions:
                self.carried.add(companion)
                self.settler.forget(companion)

    def give_back(self, settled: list[Settled]) -> None:
        """These could not be vetted now, for no reason of theirs: they are taken again, in their old order."""
        with self.lock:
            self.settled.extendleft(reversed([one for one in settled if one.path in self.settler]))

    def postpone(self, settled: Settled, code: str, reason: str) -> None:
        """The file can not be taken yet, for this reason."""
        clock = self._clock
        with self.lock:
            candidate = self.settler.get(settled.path)
            if candidate is not None:
                candidate.is_settled = False
                self.settler.wait(candidate, code, reason, clock.now(), clock.monotonic())

    def stumble(self, path: bytes, error: Exception) -> None:
        """An error that nobody foresaw, about this file, puts off this file: ever longer, and the others go on.

        It is told once, until the file changes. Where it is no candidate, the next scan looks at it again.
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
                    "This is a fault of the program: please report it, with what the log says"
                )
                self.settler.postpone(candidate, STUMBLED, reason, clock.now(), clock.monotonic(), seconds)
        if is_news:
            _log.error("arrival.failed", path=path, again_in_seconds=seconds, exc_info=error)

    def unsettle(self, path: bytes) -> None:
        """What lies there is to be judged anew."""
        with self.lock:
            candidate = self.settler.get(path)
            if candidate is not None:
                candidate.is_settled = False
