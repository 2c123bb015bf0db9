"""Publish the files that are not items yet, for `status`, `why` and `list`, and log those that are blocked."""

from heapq import nsmallest

from watcher import logs
from watcher.domain import PauseKind
from watcher.errors import FolderRefuses
from watcher.journey.arrive.candidate import by_arrival
from watcher.journey.arrive.registry import Registry
from watcher.journey.arrive.roll import Group
from watcher.journey.arrive.scan import Scanner
from watcher.journey.site import Site
from watcher.store import Left, Waiting
from watcher.store.waiting import STUMBLED, WAITING_SHOWN
from watcher.text import rfc3339

_log = logs.get_logger(__name__)

_NAMED = 3  # of what is left where it is
_BLOCKED = "blocked"
_ASKED = 250  # blocked files of which one look asks whether they are to be logged


class Publication:
    """Publishes what waits; knows what was published and logged last.

    It is called each second, however many files wait: it takes the first of each kind, and counts what is counted
    already.
    """

    def __init__(self, site: Site, registry: Registry, scanner: Scanner) -> None:
        self._site = site
        self._registry = registry
        self._roll = registry.settler.roll
        self._scanner = scanner
        # What was published last; None: what an earlier run left is there.
        self._published: tuple[int, list[Waiting]] | None = None
        self._files: list[Waiting] | None = None
        self._named: tuple[int, tuple[bytes, ...]] = 0, ()  # the first foreign files, as of these moves
        self._told: set[bytes] = set()  # blocked files of which a warning was given
        self._forgot_at = 0  # the moves of blocked files when those that are blocked no more were forgotten
        self._to_tell: list[bytes] = []  # of the blocked files, those not asked about in this round

    def waiting(self) -> list[Waiting]:
        """Return unreadable folders, and files that are not items yet: 1,000 at most, blocked ones first."""
        with self._registry.lock:
            blocked = self._roll.first(Group.BLOCKED, WAITING_SHOWN)
            first = blocked + self._roll.first(Group.WAITING, WAITING_SHOWN - len(blocked))
            files = [Waiting(c.path, c.reason_since, c.fingerprint.size, c.code, c.reason) for c in first]
        # Each path once: what is there now may differ from what was there at the last scan.
        return list({row.path: row for row in (*self._further(), *files)}.values())[:WAITING_SHOWN]

    def _further(self) -> list[Waiting]:
        """Return what waits but is not a candidate: unreadable folders, and names that cannot be reached."""
        rows = [
            *self._scanner.unreadable.values(),
            *(row for row in self._scanner.nameless.values() if row is not None),
        ]
        return [row for row in rows if row.path not in self._roll]

    def left(self) -> Left:
        """Return what is left where it is: files that are not recordings, and companions without one."""
        with self._registry.lock:
            if (moves := self._roll.moves(Group.FOREIGN)) != self._named[0]:
                self._named = moves, tuple(nsmallest(_NAMED, self._roll.paths(Group.FOREIGN)))
            return Left(self._roll.count(Group.FOREIGN), self._roll.count(Group.ORPHANED), self._named[1])

    def publish(self, *, is_last: bool = False) -> None:
        """Publish the files that wait now, and how many are left where they are, for `status` and `why`.

        Log each one that is blocked. `is_last`: there will be no further look.
        """
        seen = self._roll.revision, self._further()  # before looking: a change meanwhile is for the next time
        if seen != self._published:
            left, files = self.left(), self.waiting()
            blocked = self._roll.count(Group.BLOCKED) + len(seen[1])
            total = self._roll.count(Group.WAITING) + blocked
            with self._site.store.writing() as books:
                if files != self._files:
                    books.waiting.publish(files, total, blocked)
                books.waiting.publish_totals(total, blocked)
                books.waiting.publish_left(left)
            self._published, self._files = seen, files
        self._tell_blocked(is_last=is_last)

    def _tell_blocked(self, *, is_last: bool) -> None:
        """Log each blocked file that is not still being written, at once and then once a day.

        However many are blocked, one look asks about some of them, and the next about the next.
        """
        with self._registry.lock:
            if is_last or not self._to_tell:
                self._to_tell = list(self._roll.paths(Group.BLOCKED))[::-1]
        count = len(self._to_tell) if is_last else min(_ASKED, len(self._to_tell))
        quiet_since = self._site.clock.monotonic() - self._site.config.arrivals.settle_seconds
        asked = [self._to_tell.pop() for _ in range(count)]
        with self._registry.lock:
            blocked = self._roll.of(asked, Group.BLOCKED)
        told = [one for one in blocked if one.code != STUMBLED and (is_last or one.changed_at <= quiet_since)]
        if any(one.code == FolderRefuses.code for one in told):
            with self._site.store.reading() as books:
                if books.pauses.get(PauseKind.FOLDER) is not None:  # which says it for all of them
                    told = [one for one in told if one.code != FolderRefuses.code]
        for one in sorted(told, key=by_arrival):
            self._told.add(one.path)
            if self._site.reminders.is_due((_BLOCKED, one.path), one.reason):
                _log.warning(
                    "recording.blocked", path=one.path, since=rfc3339(one.reason_since), reason=one.reason
                )
        self._forget_unblocked()

    def _forget_unblocked(self) -> None:
        if self._roll.moves(Group.BLOCKED) != self._forgot_at:
            with self._registry.lock:
                self._forgot_at = self._roll.moves(Group.BLOCKED)
                over = self._told - self._roll.paths(Group.BLOCKED)
            for path in over:
                self._site.reminders.forget((_BLOCKED, path))
            self._told -= over
