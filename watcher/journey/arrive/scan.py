"""The full scan of the drop folder, compared with the database: this is the truth, and events are only hints."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from watcher import logs
from watcher.domain import Fingerprint
from watcher.errors import FolderError
from watcher.ignore import Ignore
from watcher.journey.arrive.hints import Hints
from watcher.journey.arrive.openings import Openings
from watcher.journey.arrive.reach import Reach
from watcher.journey.arrive.registry import Found, Registry
from watcher.journey.room import let_go_what_has_room
from watcher.journey.site import Site
from watcher.store import Waiting
from watcher.store.waiting import FOLDER_UNREADABLE, NAME_UNREACHABLE

_log = logs.get_logger(__name__)

_POLL_SECONDS = 1.0
_NAMELESS = (
    "is listed, but its server knows no such file: its name cannot be expressed over this mount; rename it on the "
    "server, in UTF-8, or mount with iocharset=utf8"
)
_ERRONEOUS = (
    "is listed, but cannot be accessed ({why}): check its disk or server, and the kernel's messages (dmesg); "
    "it is tried again at every scan"
)
_REST_OF_SCANS = 4.0  # times the last scan's duration, before one that is only asked for
_NO_REST_SECONDS = 0.2
IDLE = float("inf")


class Scanner:
    """Scans when due, and knows what it could not look into."""

    def __init__(
        self,
        site: Site,
        registry: Registry,
        hints: Hints,
        ignore: Ignore,
        openings: Openings,
        reach: Reach,
        recheck_missing: Callable[[list[bytes]], None],
        stopping: threading.Event,
    ) -> None:
        """`recheck_missing`: finds out which of the files that were not found are gone, unless it is stopped."""
        self._site = site
        self._registry = registry
        self._hints = hints
        self._ignore = ignore
        self._openings = openings
        self._reach = reach
        self._recheck_missing = recheck_missing
        self._stopping = stopping
        self._scan_due = 0.0
        self._asked_scan_from = 0.0  # monotonic: a scan that is asked for waits until then
        self.away: tuple[bytes, ...] = ()  # mount points below without their mounts at the last scan, as prefixes
        self.unreadable: dict[bytes, Waiting] = {}  # folders, at the last scan
        self.nameless: dict[bytes, Waiting | None] = {}  # at the last scan; None: not at the one before it
        self.last_scan_at: float | None = None
        self.polls = False  # there are no events, only scans
        self.scans_once = False

    def scan_if_due(self) -> None:
        """Scan if it is time, or if a scan was asked for."""
        monotonic = self._site.clock.monotonic()
        if monotonic >= self._scan_due or (self._hints.is_scan_asked and monotonic >= self._asked_scan_from):
            self._hints.is_scan_asked = False  # before it begins: a request during it is for another one
            self.scan()

    @property
    def next_at(self) -> float:
        """When the next scan is due, on the monotonic clock."""
        return min(self._scan_due, self._asked_scan_from) if self._hints.is_scan_asked else self._scan_due

    def scan(self) -> bool:
        """Look at the whole drop folder, and compare it with the database. Return whether that was possible.

        False too where a stop cuts it short: then the next start scans.
        """
        site = self._site
        now, started = site.clock.now(), site.clock.monotonic()
        if not site.look_at_folders():
            self._scan_due = started + (_POLL_SECONDS if self.polls else site.config.arrivals.rescan_seconds)
            return False
        let_go_what_has_room(site)
        self._note_mounts()
        moved_in = self._hints.folders_taken()
        with site.store.reading() as books:
            self._registry.begin_scan(books)
        # What is known costs neither a stat nor a query; what is admitted meanwhile becomes known meanwhile.
        listing = site.drop.walk(
            self._ignore.matching,
            known=self._registry.known,
            stopping=self._stopping,
            take=lambda found: self._see_many(found, moved_in, now, started),
            is_usual=self._ignore.is_usual,
        )
        try:
            with _gc_paused():
                for entry in listing:
                    if entry.fingerprint is not None:  # else no file: links and the like are nobody's recordings
                        self._see(entry.path, entry.fingerprint, moved_in, now, started)
        except FolderError as error:
            site.pause_for_folder(error)
            self._scan_due = started + _POLL_SECONDS  # it has just gone away: look again soon
            return False
        finally:
            self._registry.end_scan()
        if listing.is_cut_short:
            return False
        self._note_unreadable(listing.unreadable)
        self._note_nameless(listing.nameless)
        self._recheck_missing([path for path in listing.missing if not path.startswith(self.away)])
        if self._stopping.is_set():
            return False
        self.last_scan_at = site.clock.now()
        with site.store.writing() as books:
            books.site.put("last_scan_at", self.last_scan_at)
        ended = site.clock.monotonic()
        self._scan_due = started + self._seconds_to_next(ended - started)
        rest = _REST_OF_SCANS * (ended - started)
        self._asked_scan_from = ended + rest if rest > _NO_REST_SECONDS else ended
        return True

    def _see_many(self, found: Found, moved_in: dict[bytes, int], now: float, monotonic: float) -> None:
        carried, away = self._registry.carried, self.away
        if carried or away:
            found = {one: found[one] for one in found if one not in carried and not one.startswith(away)}
        if not moved_in:
            found = self._registry.see_newcomers(found, now, monotonic)
        for path, marks in found.items():
            self._see(path, Fingerprint.of(marks), moved_in, now, monotonic)

    def _see(
        self, path: bytes, fingerprint: Fingerprint, moved_in: dict[bytes, int], now: float, monotonic: float
    ) -> None:
        if path in self._registry.carried or path.startswith(self.away):
            return
        try:
            is_moved = any(
                path.startswith(folder) and fingerprint.ctime_ns < at for folder, at in moved_in.items()
            )
            is_closed = is_moved and self._openings.came_closed(path, fingerprint[:2])
            with self._registry.lock:
                self._registry.see(path, fingerprint, now, monotonic, is_closed=is_closed or None)
        except Exception as error:  # noqa: BLE001 — see `stumble`
            self._registry.stumble(path, error)

    def _note_mounts(self) -> None:
        """Note mounts below that are away: their files are neither missing nor replaced."""
        away = tuple(sorted(point + b"/" for point in self._site.mounts_away()))
        for point in sorted(set(away) - set(self.away)):
            _log.warning("mount.missing", path=point[:-1], reason="its recordings wait until it is mounted again")
        for point in sorted(set(self.away) - set(away)):
            _log.info("mount.returned", path=point[:-1])
        self.away = away
        self._reach.look()

    def _note_unreadable(self, found: list[tuple[bytes, str]]) -> None:
        """Let a folder that cannot be read wait as a file does: nobody knows what is in it."""
        now, before = self._site.clock.now(), self.unreadable
        self.unreadable = {}
        for path, why in found:
            if (path + b"/").startswith(self.away):
                continue
            hint = self._site.drop.hint_to_enter(path, why)
            reason = f"is a folder that cannot be read ({why}): nothing in it is seen; {hint}"
            since = before[path].since if path in before else now
            self.unreadable[path] = Waiting(path, since, 0, FOLDER_UNREADABLE, reason)
            if self._site.reminders.is_due((FOLDER_UNREADABLE, path), reason):
                _log.warning("folder.unreadable", path=path, reason=why, hint=hint)
        for path in before.keys() - self.unreadable.keys():
            self._site.reminders.forget((FOLDER_UNREADABLE, path))
            _log.info("folder.readable", path=path)

    def _note_nameless(self, found: dict[bytes, str]) -> None:
        """Let what two scans in a row find listed, but cannot access under its name, wait."""
        now, before = self._site.clock.now(), self.nameless
        self.nameless = {path: before.get(path) for path in found}
        for path in found.keys() & before.keys():
            reason = _ERRONEOUS.format(why=found[path]) if found[path] else _NAMELESS
            row = before[path] or Waiting(path, now, 0, NAME_UNREACHABLE, reason)
            self.nameless[path] = replace(row, reason=reason)
            if self._site.reminders.is_due((NAME_UNREACHABLE, path), reason):
                _log.warning("name.unreachable", path=path, reason=reason)
        for path in before.keys() - found.keys():
            self._site.reminders.forget((NAME_UNREACHABLE, path))

    def _seconds_to_next(self, took: float) -> float:
        """Return how long after this scan's start the next one starts. Scanning never takes over the machine."""
        if self.scans_once:
            return IDLE
        wanted = self._site.config.arrivals.rescan_seconds
        return max(min(wanted, _POLL_SECONDS) if self.polls else wanted, 20 * took)


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Pause garbage collection: none of 100,000 new candidates is garbage [a third of a scan's time, measured]."""
    is_needed = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_needed:
            gc.enable()
