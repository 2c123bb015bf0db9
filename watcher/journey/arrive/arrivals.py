"""The step that sees every file in the drop folder, and watches it until it is whole.

The full scan, compared with the database, is the truth. Events are hints where to look sooner: nothing is lost
when they are.
"""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from watcher.domain import UNTOUCHED
from watcher.errors import StoreError
from watcher.ignore import Ignore
from watcher.journey.arrive.hints import Hints
from watcher.journey.arrive.look import Look
from watcher.journey.arrive.openings import Openings
from watcher.journey.arrive.publication import Publication
from watcher.journey.arrive.reach import Reach
from watcher.journey.arrive.recheck import Recheck
from watcher.journey.arrive.registry import Registry, Settled
from watcher.journey.arrive.scan import Scanner
from watcher.journey.arrive.strays import RECEIPT
from watcher.journey.site import Site
from watcher.store import Left, Waiting

_LOOKS_A_STEP = 256  # so that a step stays short, and hints are taken in between
_MOST_SETTLED = 1_000  # else all of 100,000 would be examined long before they are admitted, and be kept for that
_GONE_A_COMMIT = 100
_PUBLISH_SECONDS = 1.0
_STORE_SECONDS = 1.0  # until looks that failed because of the database are tried again


class Arrivals:
    """The step that sees and settles.

    Other steps use `hint`, `recheck` and `dismiss`; `admit` also takes what has settled, and gives back to the
    registry. Any thread may call these.
    """

    def __init__(self, site: Site, stopping: threading.Event, *, scans_once: bool = False) -> None:
        self._site = site
        self._stopping = stopping
        self.ignore = Ignore(site.config.arrivals.ignore)
        self.openings = Openings(lambda path: self.ignore.matching(path) is not None)  # as the watch heard them
        self.hints = Hints()
        reach = Reach(site.drop)
        self.registry = Registry(site.config.arrivals, site.clock, self.openings, reach)
        self._recheck = Recheck(site, self.registry, reach)
        self._look = Look(site, self.registry, self.openings, self.hints, reach, self._recheck.look_at)
        self.scanner = Scanner(
            site,
            self.registry,
            self.hints,
            self.ignore,
            self.openings,
            reach,
            self._recheck_missing,
            stopping,
        )
        self.scanner.scans_once = scans_once
        self._publication = Publication(site, self.registry, self.scanner)
        self._publish_due = 0.0

    def step(self) -> float:
        """Take hints, scan if due, and judge candidates that are due. Return the seconds until the next look.

        0 when a file has settled, or there is more to look at.
        """
        clock = self._site.clock
        self._take_hints()
        self.scanner.scan_if_due()
        if self._stopping.is_set():
            return 0.0  # what was published last is more than what was seen of a scan that is cut short
        has_room = len(self.settled) < _MOST_SETTLED
        found_some = has_room and self._judge_due()
        if clock.monotonic() >= self._publish_due:
            self._publish_due = clock.monotonic() + _PUBLISH_SECONDS
            self.publish()
        if found_some or self.hints:
            return 0.0
        times = [self.scanner.next_at]
        if has_room:
            with self.registry.lock:
                look_at = self.registry.settler.next_look()
            times += [] if look_at is None else [look_at]
        return max(0.0, min(times) - clock.monotonic())

    # What others say

    def hint(self, path: bytes, *, is_closed: bool | None = None) -> None:
        """Something happened to this path; see Hints.add."""
        self.hints.add(path, is_closed=is_closed)

    def recheck(self, path: bytes, *, is_closed: bool | None = None) -> None:
        """See Recheck.recheck."""
        self._recheck.recheck(path, is_closed=is_closed)

    def dismiss(self, settled: Settled) -> None:
        """Drop a settled file that is gone or changed: whatever is there is looked at anew."""
        self.registry.unsettle(settled.path)
        self.hint(settled.path)

    def take(self, limit: int) -> list[Settled]:
        """Take files that have settled, the oldest arrival first."""
        was_full = len(self.settled) >= _MOST_SETTLED
        taken = self.registry.take(limit)
        if was_full:
            self.hints.wake()
        return taken

    # What others ask

    @property
    def settled(self) -> deque[Settled]:
        """The files that are whole, but not examined yet."""
        return self.registry.settled

    def waiting(self) -> list[Waiting]:
        """See Publication.waiting."""
        return self._publication.waiting()

    def left(self) -> Left:
        """See Publication.left."""
        return self._publication.left()

    def publish(self, *, is_last: bool = False) -> None:
        """See Publication.publish."""
        self._publication.publish(is_last=is_last)

    def pending(self, until: float) -> int:
        """Return how many files will be taken or given up by then (monotonic) if nothing changes."""
        with self.registry.lock:
            return len(self.hints) + self.registry.settler.count_ending(until)

    def look_at_receipts(self) -> None:
        """Remove receipts from the drop folder whose recordings have been filed since."""
        for file in self.waiting():
            if file.code == RECEIPT:
                self.hint(file.path, is_closed=True)
        self.step()

    # Within

    def _take_hints(self) -> None:
        """Look at each path hinted at until now, once; later hints are for the next step."""
        hints, is_in_doubt = self.hints.taken()
        if is_in_doubt:
            with self.registry.lock:
                self.registry.settler.doubt()
        away = self.scanner.away
        paths = [path for path in hints if self.ignore.matching(path) is None and not path.startswith(away)]
        for batch in (paths[n : n + _LOOKS_A_STEP] for n in range(0, len(paths), _LOOKS_A_STEP)):
            with self._site.store.reading() as books:
                live = {path: books.items.live_at(path) for path in batch}
            for path, item in live.items():
                if self._stopping.is_set():
                    return
                if item is None:
                    self._try(path, partial(self._recheck.look_at, is_closed=hints[path]))
                elif item.state in UNTOUCHED:
                    self._try(path, partial(self._recheck.recheck, is_closed=hints[path]))

    def _try(self, path: bytes, look: Callable[[bytes], None]) -> None:
        """Look at the path; an unexpected error stops no other path."""
        try:
            look(path)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 — see Registry.stumble
            self.registry.stumble(path, error)

    def _recheck_missing(self, paths: list[bytes]) -> None:
        """Find out which of these are gone, many in one commit: half a folder may be taken away at once."""
        for batch in (paths[n : n + _GONE_A_COMMIT] for n in range(0, len(paths), _GONE_A_COMMIT)):
            if self._stopping.is_set():
                return
            try:
                rest = self._recheck.withdraw_gone(batch)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 — about one of them: which, the look at each finds out
                rest = batch
            for path in rest:
                if self._stopping.is_set():
                    return
                self._try(path, self._recheck.recheck)

    def _judge_due(self) -> bool:
        registry, clock = self.registry, self._site.clock
        with registry.lock:
            due = registry.settler.due(clock.monotonic(), _LOOKS_A_STEP)
        attended = self.openings.attend([one.path for one in due]) if due else set()
        before = len(registry.settled)
        for number, candidate in enumerate(due):
            if self._stopping.is_set():
                break
            try:
                self._look.judge(candidate, is_attended=candidate.path in attended)
            except StoreError:  # about none of them: all wait
                with registry.lock:
                    registry.settler.put_back(due[number:], clock.monotonic() + _STORE_SECONDS)
                raise
            except Exception as error:  # noqa: BLE001 — see Registry.stumble
                registry.stumble(candidate.path, error)
        return len(due) == _LOOKS_A_STEP or len(registry.settled) > before
