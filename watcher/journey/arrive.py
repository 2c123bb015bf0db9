"""First: every file in the drop folder is seen, and watched until it is whole.

The full scan, compared with the books, is the truth. Events are hints: they say where to look sooner, and
nothing is lost when they are.
"""

import gc
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from heapq import nsmallest

from watcher import logs
from watcher.audio import Examination
from watcher.domain import UNTOUCHED, Fingerprint, Item, PauseKind, State, rfc3339, show_path
from watcher.errors import (
    FolderError,
    FolderRefuses,
    RecordingChanged,
    RecordingError,
    RecordingGone,
    RecordingUnreachable,
    StaleItem,
    StoreError,
)
from watcher.folders import hash_of, is_being_written
from watcher.ignore import Ignore
from watcher.journey.companions import Companions, stem_of
from watcher.journey.foreign import FOREIGN, Looks, is_left, may_be_left
from watcher.journey.openings import Identity, Openings
from watcher.journey.reach import Reach
from watcher.journey.room import let_go_what_has_room
from watcher.journey.settle import Candidate, Evidence, Judgement, Patience, Settler, by_arrival
from watcher.journey.site import Site
from watcher.journey.strays import RECEIPT, clear_receipt, find_receipt
from watcher.journey.submit.doubt import decided
from watcher.store import Books, Left, Waiting
from watcher.store.waiting import BLOCKED, FOLDER_UNREADABLE, NAME_UNREACHABLE, STUMBLED, WAITING_SHOWN

_log = logs.get_logger(__name__)

_LOOKS_A_STEP = 256  # so that a step stays short, and events are taken in between
_PUBLISH_SECONDS = 1.0
_POLL_SECONDS = 1.0
_STUMBLED_SECONDS = 5.0  # until a file is tried again that nobody could foresee, and then twice as long, and so on
_MOST_STUMBLED_SECONDS = 600.0
_ERROR_SHOWN = 200  # characters
_ORPHANED = "companion"
_BLOCKED = "blocked"
_NAMELESS = (
    "is listed, and its server knows no such file: its name cannot be told over this mount; rename it on the "
    "server, in UTF-8, or mount with iocharset=utf8"
)
_ERRONEOUS = (
    "is listed, and nothing can be had of it ({why}): look at its disk or server, and at what the kernel says "
    "(dmesg); it is looked at again all the time"
)
_NAMED = 3  # of what is left where it is
_MOST_HINTS = 65_536  # paths; beyond, a scan finds what they were about
_MOST_MOVED_IN = 1_000  # folders, between two scans
_REST_OF_SCANS = 4.0  # times what the last one took, before one that is only asked for
_NO_REST_SECONDS = 0.2
IDLE = float("inf")


@dataclass(frozen=True, slots=True)
class Settled:
    """A file that its writer is through with, and what it looks like."""

    path: bytes
    fingerprint: Fingerprint
    first_seen: float
    companions: tuple[bytes, ...] = ()


class Arrivals:
    """The step that sees and settles. `hint` and `take` may be called from any thread."""

    def __init__(self, site: Site, *, scans_once: bool = False) -> None:
        self._site = site
        self._scans_once = scans_once
        arrivals = site.config.arrivals
        self.ignore = Ignore(arrivals.ignore)
        self._companions = Companions.of(arrivals)
        self._settler = Settler(
            Patience(
                settle_seconds=arrivals.settle_seconds,
                unclosed_seconds=arrivals.unclosed_seconds,
                proof=arrivals.proof,
                incomplete_seconds=arrivals.incomplete_minutes * 60,
                relook_seconds=arrivals.rescan_seconds,
            )
        )
        self._looks = Looks()
        self._beside: defaultdict[bytes, set[bytes]] = defaultdict(set)  # companions, by their names in lower case
        self._lonely: defaultdict[bytes, set[bytes]] = defaultdict(set)  # by stem: waiting for a sidecar
        self._lock = threading.Lock()
        self.openings = Openings(lambda path: self.ignore.matching(path) is not None)  # what the watch heard
        self._hints: dict[bytes, bool] = {}  # paths to look at; whether each was closed, or moved in
        self._hints_lock = threading.Lock()  # held for a moment: whoever reads the events waits for it
        self._moved_in: dict[bytes, int] = {}  # folders that were moved in, and when, in ns
        self._is_in_doubt = False  # what was heard to be closed may be open again
        self._reach = Reach(site.drop)
        self.settled: deque[Settled] = deque()  # whole, and not vetted yet
        self._known: dict[bytes, int] = {}  # paths that the scan need not look at, by inode
        self._stumbled: set[bytes] = set()  # no candidates, and told of: some of them
        self._carried: set[bytes] = set()  # companions of recordings that have an item
        self._away: tuple[
            bytes, ...
        ] = ()  # mount points below, as prefixes, whose disks were away at the last scan
        self._unreadable: dict[bytes, Waiting] = {}  # folders, at the last scan
        self._nameless: dict[bytes, Waiting | None] = {}  # at the last scan; null: not at the one before it
        self._scan_due = 0.0
        self._scan_asked = True
        self._asked_scan_from = 0.0  # monotonic: before that a scan that is asked for waits
        self._published: tuple[list[Waiting], int, int, Left] | None = (
            None  # null: what an earlier run left is there
        )
        self._publish_due = 0.0
        self._blocked: set[bytes] = set()  # at the last look
        self.last_scan_at: float | None = None
        self.wake: Callable[[], None] = lambda: None  # called when there is something to look at
        self.polls = False  # no events come: the scan is all there is

    # The step

    def step(self) -> float:
        """Hints are taken, a due scan is done, due candidates are judged. Seconds until the next look.

        0 when a file has settled, or there is more to look at.
        """
        clock = self._site.clock
        self._take_hints()
        if self._is_scan_due(clock.monotonic()):
            self._scan_asked = False  # before it begins: what is asked for during it is another one
            self.scan()
        found_some = self._judge_due()
        if clock.monotonic() >= self._publish_due:
            self._publish_due = clock.monotonic() + _PUBLISH_SECONDS
            self.publish()
        if found_some or self._hints:
            return 0.0
        scan_at = min(self._scan_due, self._asked_scan_from) if self._scan_asked else self._scan_due
        with self._lock:
            look_at = self._settler.next_look()
        times = [scan_at] if look_at is None else [scan_at, look_at]
        return max(0.0, min(times) - clock.monotonic())

    def _is_scan_due(self, monotonic: float) -> bool:
        return monotonic >= self._scan_due or (self._scan_asked and monotonic >= self._asked_scan_from)

    def scan(self) -> bool:
        """The whole drop folder has been looked at, and compared with the books. Whether it could be."""
        site = self._site
        now, started = site.clock.now(), site.clock.monotonic()
        if not site.look_at_folders():
            self._scan_due = started + (_POLL_SECONDS if self.polls else site.config.arrivals.rescan_seconds)
            return False
        let_go_what_has_room(site)
        self._note_mounts()
        with self._hints_lock:
            moved_in, self._moved_in = self._moved_in, {}
        with site.store.reading() as books, self._lock:
            self._known = books.items.live_paths() | self._settler.inodes()
            self._carried = set(books.items.live_companions())
            kept = ((name, {one for one in paths if one in self._settler}) for name, paths in self._beside.items())
            self._beside = defaultdict(set, {name: paths for name, paths in kept if paths})
        # What is known costs neither a stat nor a query; what vet takes meanwhile becomes known meanwhile.
        listing = site.drop.walk(self.ignore.matching, known=self._known)
        try:
            with _nothing_collected():
                for path, _, _, fingerprint in listing:
                    if fingerprint is None or path in self._carried or path.startswith(self._away):
                        continue
                    try:
                        is_moved = bool(moved_in) and any(
                            path.startswith(folder) and fingerprint.ctime_ns < at
                            for folder, at in moved_in.items()
                        )
                        is_closed = is_moved and self.openings.came_closed(path, fingerprint[:2])
                        with self._lock:
                            self._see(path, fingerprint, now, started, is_closed=is_closed)
                    except Exception as error:  # noqa: BLE001 — see `stumble`
                        self.stumble(path, error)
        except FolderError as error:
            site.pause_for_folder(error)
            self._scan_due = started + _POLL_SECONDS  # it went in this moment: nothing is known, and not for long
            return False
        self._note_unreadable(listing.unreadable)
        self._note_nameless(listing.nameless)
        for path in listing.missing:
            if not path.startswith(self._away):
                self._try(path, self.recheck)
        self.last_scan_at = site.clock.now()
        with site.store.writing() as books:
            books.site.put("last_scan_at", self.last_scan_at)
        ended = site.clock.monotonic()
        self._scan_due = started + self._seconds_to_next(ended - started)
        rest = _REST_OF_SCANS * (ended - started)
        self._asked_scan_from = ended + rest if rest > _NO_REST_SECONDS else ended
        return True

    def _note_mounts(self) -> None:
        """A disk below that is away has taken its files along: they are neither missed, nor believed replaced."""
        away = tuple(sorted(point + b"/" for point in self._site.mounts_away()))
        for point in sorted(set(away) - set(self._away)):
            _log.warning("mount.missing", path=point[:-1], reason="its recordings wait until it is mounted again")
        for point in sorted(set(self._away) - set(away)):
            _log.info("mount.returned", path=point[:-1])
        self._away = away
        self._reach.look()

    def _see(
        self, path: bytes, fingerprint: Fingerprint, now: float, monotonic: float, *, is_closed: bool = False
    ) -> None:
        """The file is a candidate; to be called under the lock."""
        if self._companions.is_one(path):
            self._beside[path.lower()].add(path)
        self._settler.see(
            path,
            fingerprint,
            now,
            monotonic,
            is_closed=is_closed,
            is_open=bool(self.openings.is_open(path, monotonic)),
            is_shut=self.openings.is_closed(path),
            is_local=self._reach.part(path).has_ctime,
        )

    def _note_unreadable(self, found: list[tuple[bytes, str]]) -> None:
        """A folder that can not be looked into waits as a file does: nobody knows what lies in it."""
        now, before = self._site.clock.now(), self._unreadable
        self._unreadable = {}
        for path, why in found:
            if (path + b"/").startswith(self._away):
                continue
            hint = self._site.drop.hint_to_enter(path, why)
            reason = f"is a folder that can not be looked into ({why}): nothing in it is seen; {hint}"
            since = before[path].since if path in before else now
            self._unreadable[path] = Waiting(path, since, 0, FOLDER_UNREADABLE, reason)
            if self._site.reminders.is_due((FOLDER_UNREADABLE, path), reason):
                _log.warning("folder.unreadable", path=path, reason=why, hint=hint)
        for path in before.keys() - self._unreadable.keys():
            self._site.reminders.forget((FOLDER_UNREADABLE, path))
            _log.info("folder.readable", path=path)

    def _note_nameless(self, found: dict[bytes, str]) -> None:
        """What two looks in a row find listed, and cannot have under its name, waits."""
        now, before = self._site.clock.now(), self._nameless
        self._nameless = {path: before.get(path) for path in found}
        for path in found.keys() & before.keys():
            reason = _ERRONEOUS.format(why=found[path]) if found[path] else _NAMELESS
            row = before[path] or Waiting(path, now, 0, NAME_UNREACHABLE, reason)
            self._nameless[path] = replace(row, reason=reason)
            if self._site.reminders.is_due((NAME_UNREACHABLE, path), reason):
                _log.warning("name.unreachable", path=path, reason=reason)
        for path in before.keys() - found.keys():
            self._site.reminders.forget((NAME_UNREACHABLE, path))

    def _seconds_to_next(self, took: float) -> float:
        """How long after the beginning of this scan the next one begins. Scanning never takes over the machine."""
        if self._scans_once:
            return IDLE
        wanted = self._site.config.arrivals.rescan_seconds
        return max(min(wanted, _POLL_SECONDS) if self.polls else wanted, 20 * took)

    def hint(self, path: bytes, *, is_closed: bool | None = None) -> None:
        """Something happened to this path. `is_closed`: true when the last who had it open closed it, or it was
        moved in; false when another file begins there; null when nothing is known of that.
        """
        with self._hints_lock:
            if is_closed is None:
                self._hints.setdefault(path, False)
            else:
                self._hints[path] = is_closed
            if len(self._hints) > _MOST_HINTS:
                self._hints.clear()
                self._is_in_doubt = self._scan_asked = True
        self.wake()

    def moved_in(self, folder: bytes, at: int) -> None:
        """A folder was moved in at this time (ns), or within: what did not change since was moved with it."""
        with self._hints_lock:
            if len(self._moved_in) < _MOST_MOVED_IN:
                self._moved_in[folder + b"/"] = at

    def doubt(self) -> None:
        """Events were lost: nobody knows any more what was closed, nor what has come."""
        self._is_in_doubt = True
        self.scan_soon()

    def awaits_close(self, path: bytes) -> bool:
        """Whether the file waits for who opened it."""
        candidate = self._settler.get(path)  # without the lock: whoever reads the events asks
        return candidate is not None and candidate.code == "open"

    def identity(self, path: bytes) -> Identity | None:
        """Which file the candidate is; null where there is none of this path."""
        candidate = self._settler.get(path)  # without the lock: whoever reads the events asks
        return None if candidate is None else candidate.fingerprint[:2]

    def identities_below(self, folder: bytes) -> list[tuple[bytes, Identity]]:
        """The candidates in this folder, and which files they are."""
        with self._lock:
            found = [one for one in self._settler if one.path.startswith(folder + b"/")]
        return [(one.path, one.fingerprint[:2]) for one in found]

    def scan_soon(self) -> None:
        """The next step scans."""
        self._scan_asked = True
        self.wake()

    # What vet takes, and gives back

    def take(self, limit: int) -> list[Settled]:
        """Files that have settled, the oldest arrival first."""
        with self._lock:
            return [self.settled.popleft() for _ in range(min(limit, len(self.settled)))]

    def admitted(self, settled: Settled) -> None:
        """The file has an item now."""
        with self._lock:
            self._known[settled.path] = settled.fingerprint.inode
            self._settler.forget(settled.path)
            for companion in settled.companions:
                self._carried.add(companion)
                self._settler.forget(companion)

    def dismiss(self, settled: Settled) -> None:
        """The file is gone, or changed: whatever lies there is looked at anew."""
        with self._lock:
            candidate = self._settler.get(settled.path)
            if candidate is not None:
                candidate.is_settled = False
        self.hint(settled.path)

    def give_back(self, settled: list[Settled]) -> None:
        """These could not be vetted now, for no reason of theirs: they are taken again, in their old order."""
        with self._lock:
            self.settled.extendleft(reversed([one for one in settled if one.path in self._settler]))

    def postpone(self, settled: Settled, code: str, reason: str) -> None:
        """The file can not be taken yet, for this reason."""
        clock = self._site.clock
        with self._lock:
            candidate = self._settler.get(settled.path)
            if candidate is not None:
                candidate.is_settled = False
                self._settler.wait(candidate, code, reason, clock.now(), clock.monotonic())

    def stumble(self, path: bytes, error: Exception) -> None:
        """An error that nobody foresaw, about this file, puts off this file: ever longer, and the others go on.

        It is told once, until the file changes. Where it is no candidate, the next scan looks at it again.
        """
        clock = self._site.clock
        seconds = _STUMBLED_SECONDS
        with self._lock:
            candidate = self._settler.get(path)
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
                self._settler.postpone(candidate, STUMBLED, reason, clock.now(), clock.monotonic(), seconds)
        if is_news:
            _log.error("arrival.failed", path=path, again_in_seconds=seconds, exc_info=error)

    def waiting(self) -> list[Waiting]:
        """Folders not to be looked into, and files that are no items yet: 1,000, the blocked ones first."""
        with self._lock:
            candidates = (one for one in self._settler if one.code not in (FOREIGN, _ORPHANED))
            first = nsmallest(WAITING_SHOWN, candidates, key=_by_need)
        files = [Waiting(c.path, c.reason_since, c.fingerprint.size, c.code, c.reason) for c in first]
        # A path once: what lies there now may be another thing than at the last scan.
        return list({row.path: row for row in (*self._further(), *files)}.values())[:WAITING_SHOWN]

    def _further(self) -> list[Waiting]:
        """What waits and is no candidate: folders not to be looked into, and names that nothing can be had at."""
        rows = [*self._unreadable.values(), *(row for row in self._nameless.values() if row is not None)]
        return [row for row in rows if row.path not in self._settler]

    def left(self) -> Left:
        """What is no recording, and what came with none: it stays where it is, and nothing waits for it."""
        with self._lock:
            foreign = [one.path for one in self._settler if one.code == FOREIGN]
            orphaned = sum(one.code == _ORPHANED for one in self._settler)
        return Left(len(foreign), orphaned, tuple(nsmallest(_NAMED, foreign)))

    def pending(self, until: float) -> int:
        """How many files will be taken or given up by themselves until then (monotonic), if nothing changes."""
        with self._lock:
            ends = [self._settler.ends_waiting_at(candidate) for candidate in self._settler]
        return len(self._hints) + sum(1 for end in ends if end is not None and end <= until)

    def look_at_receipts(self) -> None:
        """Receipts that wait for their recordings are gone, where these have been filed since."""
        for file in self.waiting():
            if file.code == RECEIPT:
                self.hint(file.path, is_closed=True)
        self.step()

    # Within

    def _take_hints(self) -> None:
        """What was hinted at until now has been looked at, each path once; what comes meanwhile is next."""
        with self._hints_lock:
            hints, self._hints = self._hints, {}
            is_in_doubt, self._is_in_doubt = self._is_in_doubt, False
        if is_in_doubt:
            with self._lock:
                self._settler.doubt()
        paths = [p for p in hints if self.ignore.matching(p) is None and not p.startswith(self._away)]
        for batch in (paths[n : n + _LOOKS_A_STEP] for n in range(0, len(paths), _LOOKS_A_STEP)):
            with self._site.store.reading() as books:
                live = {path: books.items.live_at(path) for path in batch}
            for path, item in live.items():
                if item is None:
                    self._try(path, partial(self._look_at, is_closed=hints[path]))
                elif item.state in UNTOUCHED:
                    self._try(path, partial(self.recheck, is_closed=hints[path]))

    def _try(self, path: bytes, look: Callable[[bytes], None]) -> None:
        """The path has been looked at; what nobody foresaw of it stops no other."""
        try:
            look(path)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 — see `stumble`
            self.stumble(path, error)

    def _look_at(self, path: bytes, *, is_closed: bool = False) -> None:
        clock = self._site.clock
        now, monotonic = clock.now(), clock.monotonic()
        try:
            fingerprint = self._site.drop.fingerprint(path)
        except (RecordingGone, RecordingUnreachable, FolderError):
            with self._lock:
                self._settler.forget(path)
            return
        with self._lock:
            self._see(path, fingerprint, now, monotonic, is_closed=is_closed)

    def recheck(self, path: bytes, *, is_closed: bool = False) -> None:
        """An item whose file was taken away or changed before it was sent is withdrawn; what lies there is new.

        `is_closed`: as `hint` has it.
        """
        site = self._site
        with site.store.reading() as books:
            item = books.items.live_at(path)
        if item is None:
            self._look_at(path, is_closed=is_closed)
            return
        if item.state not in UNTOUCHED:
            return
        try:
            now_there = site.drop.fingerprint(path)
        except RecordingGone:
            note = "its file was taken out of the drop folder"
        except (RecordingUnreachable, FolderError):
            return
        else:
            if now_there == item.fingerprint or self._is_itself(item, now_there):
                return
            note = "its file was changed or replaced before it was sent"
            # Copiers set owner, mode and times after their close: that is no reason to wait for another one.
            is_same = item.fingerprint.same_file(now_there) and item.size == now_there.size
            is_closed |= is_same and self.openings.is_closed(path)
        try:
            site.check_mounted(path)  # asked after the look: what is there now was there then, or looked away
        except FolderError as error:
            site.pause_for_folder(error)
            return
        except RecordingUnreachable:
            return
        try:
            with site.store.writing() as books:
                withdraw(books, item, site.clock.now(), note)
        except StaleItem:
            return
        with self._lock:
            self._known.pop(path, None)
        _log.info("recording.withdrawn", item=item.id, path=path, reason=note)
        self._look_at(path, is_closed=is_closed)

    def _is_itself(self, item: Item, there: Fingerprint) -> bool:
        """Whether what lies there is the recording that was queued, under a number or times that are others.

        Where its file system keeps those, anything else is another file. Where not, its bytes tell.
        """
        site = self._site
        if there.size != item.size or item.sha256 is None or self._reach.part(item.path).keeps_identity:
            return False
        try:
            file, opened = site.drop.open(item.path)
            with file:
                if opened.size != item.size or hash_of(file) != item.sha256:
                    return False
        except (RecordingError, FolderError):
            return False
        with suppress(StaleItem), site.store.writing() as books:
            books.items.change(item, item.state, site.clock.now(), fingerprint=opened)
        return True

    def _judge_due(self) -> bool:
        with self._lock:
            due = self._settler.due(self._site.clock.monotonic(), _LOOKS_A_STEP)
        before = len(self.settled)
        for number, candidate in enumerate(due):
            try:
                self._judge(candidate)
            except StoreError:  # of none of them: all wait for it
                with self._lock:
                    self._settler.put_back(due[number:], self._site.clock.monotonic() + _POLL_SECONDS)
                raise
            except Exception as error:  # noqa: BLE001 — see `stumble`
                self.stumble(candidate.path, error)
        return len(due) == _LOOKS_A_STEP or len(self.settled) > before

    def _judge(self, candidate: Candidate) -> None:
        path, clock = candidate.path, self._site.clock
        is_companion = self._companions.is_one(path)
        try:
            # What was heard is asked for before we open the file: that is heard as well.
            heard = self.openings.is_open(path, clock.monotonic())
            evidence = Evidence(heard_open=heard, elsewhere=self._reach.part(path).elsewhere)
            self._check_unchanged(candidate)
            look = self._look_at_companion if is_companion else self._look_into
            evidence = look(candidate, evidence)
        except RecordingGone:
            with self._lock:
                self._settler.forget(path)
            return
        except RecordingChanged:
            self._look_at(path)
            return
        except (RecordingUnreachable, FolderError) as error:
            code, reason = error.code, f"{error.message}; {error.hint}"
            if isinstance(error, RecordingUnreachable) and may_be_left(self._site.config.arrivals, path):
                code, reason = FOREIGN, f"is no recording by its name, and its content is unknown: {reason}"
            with self._lock:
                self._settler.wait(candidate, code, reason, clock.now(), clock.monotonic())
            return
        markers, strangers = self._find_markers(path)
        receipt_of = find_receipt(self._site, path)
        remains = receipt_of and clear_receipt(self._site, path, candidate.fingerprint, receipt_of)
        with self._lock:
            now, monotonic = clock.now(), clock.monotonic()
            if remains:
                self._settler.wait(candidate, RECEIPT, remains, now, monotonic)
            elif remains is not None:
                self._settler.forget(path)
            elif is_companion:
                self._judge_companion(candidate, evidence, now, monotonic)
            elif evidence.is_foreign:
                reason = "is no recording, neither by its name nor by its content: it is left where it is"
                self._settler.leave(candidate, FOREIGN, reason, now)
            else:
                evidence = replace(evidence, is_announced=bool(markers))
                self._judge_recording(candidate, evidence, markers, strangers, now, monotonic)

    def _judge_recording(
        self,
        candidate: Candidate,
        evidence: Evidence,
        markers: list[bytes],
        strangers: list[bytes],
        now: float,
        monotonic: float,
    ) -> None:
        path = candidate.path
        sidecars = self._waiting_beside(self._companions.sidecars_of(path), stem_of(path))
        is_alone = (self._companions.marker and not markers) or (
            self._companions.sidecars
            and not any(self._settler.is_settled(name) for name in sidecars)
            and not self._shares_sidecar(candidate)
        )
        judgement = self._settler.judge(candidate, evidence, now, monotonic)
        if judgement is Judgement.READY and is_alone:
            reason = f"waits for {self._companions.awaited()}"
            if strangers:
                reason += f"; {show_path(strangers[0])} does not count: it is not the recording's owner's"
            self._settler.wait(candidate, "companion_missing", reason, now, monotonic)
            self._lonely[stem_of(path)].add(path)
        elif judgement is not Judgement.WAIT:
            companions = (*markers, *sidecars)
            candidate.is_settled = True
            self.settled.append(Settled(path, candidate.fingerprint, candidate.first_seen, companions))

    def _find_markers(self, path: bytes) -> tuple[list[bytes], list[bytes]]:
        """The recording's markers: its owner's, and those that anybody else put there, whose word is none."""
        with self._lock:
            found = self._waiting_beside(self._companions.markers_of(path), path)
        if not found:
            return [], []
        try:
            owner = self._site.drop.owner(path)
            is_owners = {name: self._site.drop.owner(name) == owner for name in found}
        except (RecordingGone, RecordingUnreachable, FolderError):
            return [], []  # the next look tells
        return [name for name in found if is_owners[name]], [name for name in found if not is_owners[name]]

    def _waiting_beside(self, names: Iterable[bytes], start: bytes) -> list[bytes]:
        """The companions that lie under these names, spelled like `start` at first, and then in either case."""
        found = (one for name in names for one in sorted(self._beside.get(name.lower(), ())))
        return list(dict.fromkeys(one for one in found if one in self._settler and one.startswith(start)))

    def _shares_sidecar(self, candidate: Candidate) -> bool:
        """Whether its sidecar went along with another recording, of the same stem, while this one lay there too.

        One that comes after the other was filed waits for a sidecar of its own.
        """
        stem = stem_of(candidate.path)
        sidecars = {name.lower() for name in self._companions.sidecars_of(candidate.path)}
        with self._site.store.reading() as books:
            others = books.items.accompanied(stem)
        return any(
            other.path != candidate.path
            and stem_of(other.path) == stem
            and not sidecars.isdisjoint(companion.lower() for companion in other.companions)
            and (other.filed_at is None or candidate.fingerprint.ctime_ns / 1e9 <= other.filed_at)
            for other in others
        )

    def _judge_companion(self, candidate: Candidate, evidence: Evidence, now: float, monotonic: float) -> None:
        """A marker says ready by being there, a sidecar by being whole: whoever waits for it is looked at."""
        path = candidate.path
        marked = self._companions.recording_of(path)
        if marked is None:
            if self._settler.judge_quiet(candidate, evidence, now, monotonic) is Judgement.WAIT:
                return
            candidate.is_settled = True
        self._settler.wait(candidate, _ORPHANED, "waits for its recording", now, monotonic)
        stems = [stem_of(path)] if marked else self._companions.stems_of(path)
        lonely = {recording for stem in stems for recording in self._lonely.pop(stem, ())}
        for recording in lonely if marked is None else lonely | {marked}:
            self._settler.look_now(recording, monotonic)

    def _look_at_companion(self, candidate: Candidate, evidence: Evidence) -> Evidence:
        """The evidence, with what a lease says of whether somebody writes it. Its content is its own affair."""
        if evidence.heard_open is False and candidate.is_closed:
            return evidence
        try:
            file, _ = self._site.drop.open(candidate.path)
        except RecordingUnreachable:
            return evidence
        with file:
            evidence = replace(evidence, is_open=is_being_written(file))
        self._check_unchanged(candidate)
        return evidence

    def _check_unchanged(self, candidate: Candidate) -> None:
        if self._site.drop.fingerprint(candidate.path) != candidate.fingerprint:
            raise RecordingChanged("it is still being written")

    def _look_into(self, candidate: Candidate, evidence: Evidence) -> Evidence:
        """The evidence, with what the container says of its end, and a lease of whether somebody writes it."""
        path, size, settings = candidate.path, candidate.fingerprint.size, self._site.config.arrivals
        if size == 0 or (size > self._site.config.limits.max_upload_bytes and not may_be_left(settings, path)):
            return replace(
                evidence, is_foreign=is_left(settings, path, size, None)
            )  # nothing to read, or too much
        file, fingerprint = self._site.drop.open(path)
        with file:
            if fingerprint != candidate.fingerprint:
                raise RecordingChanged("it is still being written")
            if evidence.heard_open and not may_be_left(settings, path):
                evidence = replace(evidence, is_open=is_being_written(file))
                if evidence.why_open:
                    return evidence  # what it holds is of no interest yet
            quiet_seconds = self._site.clock.monotonic() - candidate.changed_at
            found = self._looks.look(file, fingerprint, path, quiet_seconds)
            evidence = replace(evidence, is_foreign=is_left(settings, path, size, found))
            if isinstance(found, Examination):  # else no recording, or not yet: only quiet can tell
                evidence = replace(
                    evidence,
                    completeness=found.completeness,
                    missing_bytes=found.missing_bytes,
                    has_sound=found.has_sound,
                )
            evidence = replace(evidence, is_open=is_being_written(file))
        # The lease is of one moment: what was read before it counts only if nothing changed until after it.
        self._check_unchanged(candidate)
        return evidence

    def publish(self, *, is_last: bool = False) -> None:
        """`status` and `why` know the files that wait now, and how many are left where they are.

        The log has been told of each that is blocked. `is_last`: nobody will look again.
        """
        left = self.left()
        further = len(self._further())
        total = len(self._settler) - left.foreign - left.orphaned + further
        with self._lock:
            blocked = [candidate for candidate in self._settler if candidate.code in BLOCKED]
        found = self.waiting(), total, len(blocked) + further, left
        if found != self._published:
            with self._site.store.writing() as books:
                books.waiting.publish(*found[:3])
                books.waiting.publish_left(left)
            self._published = found
        self._tell_blocked(blocked, is_last=is_last)

    def _tell_blocked(self, blocked: list[Candidate], *, is_last: bool) -> None:
        """Each file that is blocked, and not still being written, is told in the log: at first, and once a day."""
        quiet_since = self._site.clock.monotonic() - self._site.config.arrivals.settle_seconds
        told = [one for one in blocked if one.code != STUMBLED and (is_last or one.changed_at <= quiet_since)]
        if any(one.code == FolderRefuses.code for one in told):
            with self._site.store.reading() as books:
                if books.pauses.get(PauseKind.FOLDER) is not None:  # which says it of all of them
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


def withdraw(books: Books, item: Item, now: float, note: str) -> None:
    """Its file is not there any more: nothing is sent or moved for it. StaleItem, as Books has it."""
    fault = decided(item, "Its file was taken away first.") if item.state is State.HELD else item.fault
    books.items.change(item, State.WITHDRAWN, now, note, fault=fault)


def _by_need(candidate: Candidate) -> tuple[bool, tuple[float, int, bytes]]:
    return candidate.code not in BLOCKED, by_arrival(candidate)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """The collector of garbage rests: of 100,000 new candidates none is any [a third of the look, measured]."""
    is_needed = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_needed:
            gc.enable()
