"""Publish the files that are not items yet, for `status`, `why` and `list`, and log those that are blocked."""

from heapq import nsmallest

from watcher import logs
from watcher.domain import PauseKind
from watcher.errors import FolderRefuses
from watcher.journey.arrive.foreign import FOREIGN
from watcher.journey.arrive.look import ORPHANED
from watcher.journey.arrive.registry import Registry
from watcher.journey.arrive.scan import Scanner
from watcher.journey.arrive.settle import Candidate, by_arrival
from watcher.journey.site import Site
from watcher.store import Left, Waiting
from watcher.store.waiting import BLOCKED, STUMBLED, WAITING_SHOWN
from watcher.text import rfc3339

_log = logs.get_logger(__name__)

_NAMED = 3  # of what is left where it is
_BLOCKED = "blocked"


class Publication:
    """Publishes what waits; knows what was published and logged last."""

    def __init__(self, site: Site, registry: Registry, scanner: Scanner) -> None:
        self._site = site
        self._registry = registry
        self._scanner = scanner
        # None: what an earlier run left is there.
        self._published: tuple[list[Waiting], int, int, Left] | None = None
        self._blocked: set[bytes] = set()  # at the last look

    def waiting(self) -> list[Waiting]:
        """Return unreadable folders, and files that are not items yet: 1,000 at most, blocked ones first."""
        with self._registry.lock:
            candidates = (one for one in self._registry.settler if one.code not in (FOREIGN, ORPHANED))
            first = nsmallest(WAITING_SHOWN, candidates, key=_by_need)
        files = [Waiting(c.path, c.reason_since, c.fingerprint.size, c.code, c.reason) for c in first]
        # Each path once: what is there now may differ from what was there at the last scan.
        return list({row.path: row for row in (*self._further(), *files)}.values())[:WAITING_SHOWN]

    def _further(self) -> list[Waiting]:
        """Return what waits but is not a candidate: unreadable folders, and names that cannot be reached."""
        rows = [
            *self._scanner.unreadable.values(),
            *(row for row in self._scanner.nameless.values() if row is not None),
        ]
        return [row for row in rows if row.path not in self._registry.settler]

    def left(self) -> Left:
        """Return what is left where it is: files that are not recordings, and companions without one."""
        with self._registry.lock:
            foreign = [one.path for one in self._registry.settler if one.code == FOREIGN]
            orphaned = sum(one.code == ORPHANED for one in self._registry.settler)
        return Left(len(foreign), orphaned, tuple(nsmallest(_NAMED, foreign)))

    def publish(self, *, is_last: bool = False) -> None:
        """Publish the files that wait now, and how many are left where they are, for `status` and `why`.

        Log each one that is blocked. `is_last`: there will be no further look.
        """
        left = self.left()
        further = len(self._further())
        total = len(self._registry.settler) - left.foreign - left.orphaned + further
        with self._registry.lock:
            blocked = [candidate for candidate in self._registry.settler if candidate.code in BLOCKED]
        found = self.waiting(), total, len(blocked) + further, left
        if found != self._published:
            with self._site.store.writing() as books:
                books.waiting.publish(*found[:3])
                books.waiting.publish_left(left)
            self._published = found
        self._tell_blocked(blocked, is_last=is_last)

    def _tell_blocked(self, blocked: list[Candidate], *, is_last: bool) -> None:
        """Log each blocked file that is not still being written, at once and then once a day."""
        quiet_since = self._site.clock.monotonic() - self._site.config.arrivals.settle_seconds
        told = [one for one in blocked if one.code != STUMBLED and (is_last or one.changed_at <= quiet_since)]
        if any(one.code == FolderRefuses.code for one in told):
            with self._site.store.reading() as books:
                if books.pauses.get(PauseKind.FOLDER) is not None:  # which says it for all of them
                    told = [one for one in told if one.code != FolderRefuses.code]
        for one in sorted(told, key=by_arrival):
            if self._site.reminders.is_due((_BLOCKED, one.path), one.reason):
                _log.warning(
                    "recording.blocked", path=one.path, since=rfc3339(one.reason_since), reason=one.reason
                )
        self._forget_unblocked({one.path for one in blocked})

    def _forget_unblocked(self, blocked: set[bytes]) -> None:
        for path in self._blocked - blocked:
            self._site.reminders.forget((_BLOCKED, path))
        self._blocked = blocked


def _by_need(candidate: Candidate) -> tuple[bool, tuple[float, int, bytes]]:
    return candidate.code not in BLOCKED, by_arrival(candidate)
