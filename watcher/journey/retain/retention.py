"""The step that removes: what a person wants erased, and what `[retention]` says, a few items at a time."""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace

from watcher import logs
from watcher.domain import FILED, Item, Removed, State
from watcher.errors import (
    ClockDoubted,
    FolderError,
    NoSuchItem,
    RecordingChanged,
    StaleItem,
    WatcherError,
    is_of_the_store,
)
from watcher.folders import Folder
from watcher.journey.filed import find_alteration
from watcher.journey.retain import burial
from watcher.journey.retain.due import Stage, find, stages
from watcher.journey.retain.removing import remove_receipt, remove_recording
from watcher.journey.site import Site
from watcher.store import Books, Removal
from watcher.store.removal_rows import EVERYTHING, RECEIPT, RECORDING, Reached
from watcher.text import JsonObject, rfc3339
from watcher.tombstone import Tombstone, Why

_log = logs.get_logger(__name__)

IDLE = float("inf")
_BATCH = 20  # between two of them everybody else has his turn
_SHORTEST_SECONDS, _LONGEST_SECONDS = 10.0, 3600.0  # between two looks at everything
_LATER_SECONDS = 60.0
_DAY = 86_400.0
_FAR_DAYS = 731.0  # beyond the longest time in [retention]
_ALL = 1_000_000

ASKED = "retention.asked"
SWEPT = "retention.swept"
_CLOCK = "retention.clock"  # when the clock was last believed; when it was first found to be far ahead of that
"""Facts of the site: when a person last asked for a look at everything; which was answered last, and how."""


@dataclass(slots=True)
class _Sweep:
    """One look at everything: what it began with, and where it is."""

    began: float
    stages: list[tuple[Stage, float]]
    after: Reached = field(default_factory=Reached)
    removed: dict[str, int] = field(default_factory=dict)


class Retention:
    """Removes what is to be removed. One runs at a time; whoever writes receipts is kept out meanwhile."""

    def __init__(self, site: Site, stopping: threading.Event) -> None:
        self._site = site
        self._stopping = stopping
        self._sweep: _Sweep | None = None
        self._next_at: float | None = None  # monotonic, of the next look; None: as the last process left it
        self._quiet_until = 0.0  # monotonic: a folder is away
        self._answered_at: float | None = None  # when the request was made that was answered last
        self.trouble: WatcherError | None = None
        """Why the last look could not be made, or what was found not be removed."""
        self._told: set[str] = set()  # what stays, though its time is over, and was named

    def step(self) -> float:
        """Remove some items, or look for some that are due. Return the seconds until there may be more."""
        monotonic = self._site.clock.monotonic()
        if monotonic < self._quiet_until:
            return self._quiet_until - monotonic
        with self._site.store.reading() as books:
            claimed = books.removals.claimed(_BATCH)
            asked_at, swept = books.site.get(ASKED), books.site.get(SWEPT) or {}
        if claimed:
            return self._remove(claimed)
        if self._sweep is None:
            is_asked = asked_at is not None and asked_at not in (swept.get("asked_at"), self._answered_at)
            if not is_asked and (wait := self._until_next(swept)) > 0:
                return wait
            now = self._site.clock.now()
            looks, self._answered_at = list(stages(self._site.config.retention, now)), asked_at
            if looks and (doubt := self._doubt_clock(now)) is not None:
                self._tell_postponed(doubt)
                self._next_at = self._site.clock.monotonic() + _LONGEST_SECONDS
                return _LONGEST_SECONDS
            self._sweep = _Sweep(now, looks)
        try:
            return self._look(self._sweep)
        except FolderError as error:
            self._put_off(error)
            return _LATER_SECONDS

    def _until_next(self, swept: JsonObject) -> float:
        """Return the seconds until the next look. A process that has just begun keeps to the last one's pace."""
        interval = self._interval()
        if self._next_at is None and interval < IDLE:
            since = self._site.clock.now() - swept.get("at", 0.0)
            left = interval - since if 0.0 <= since < interval else 0.0
            self._next_at = self._site.clock.monotonic() + left
        return IDLE if self._next_at is None else self._next_at - self._site.clock.monotonic()

    def _interval(self) -> float:
        """Return the seconds between two looks: the fewer days, the fewer."""
        settings = self._site.config.retention
        days = [n for n in (settings.recordings_days, settings.receipts_days, settings.history_days) if n]
        return min(max(min(days) * _DAY / 24, _SHORTEST_SECONDS), _LONGEST_SECONDS) if days else IDLE

    def finish(self) -> None:
        """Remove all that is due now, as far as its folders are there; else `trouble` says why not."""
        self.trouble = None
        while not self._stopping.is_set() and self.step() <= 0:
            pass

    def remove_claimed(self) -> None:
        """Remove what a person wants erased, and nothing else; `trouble` says why not."""
        self.trouble = None
        while self.trouble is None:
            with self._site.store.reading() as books:
                claimed = books.removals.claimed(_BATCH)
            if not claimed or self._stopping.is_set():
                return
            self._remove(claimed)

    # What is due

    def _look(self, sweep: _Sweep) -> float:
        """Claim the next items that are due, or end the look."""
        if not sweep.stages:
            self._end(sweep)
            return self._interval()
        stage, before = sweep.stages[0]
        if trouble := self._site.find_trouble([self._site.done, self._site.failed]):
            raise trouble
        found = find(self._site, stage, before, sweep.after, _BATCH)
        if found.collected and (trouble := self._site.find_trouble([self._site.done, self._site.failed])):
            raise trouble  # its disk went away meanwhile, not the recordings
        now = self._site.clock.now()
        if stage in (Stage.ROWS, Stage.WITHDRAWN):
            self._forget_rows(found.items, now)
        else:
            what = RECORDING if stage is Stage.RECORDINGS else RECEIPT
            with self._site.store.writing() as books:
                for item in found.items:
                    if books.items.get(item.id) == item:
                        books.removals.ask(Removal(item.id, what, Why.RETENTION, now))
                for item in found.collected:
                    books.removals.mark_recording(item, Removed(now, "collected"))
        if found.after is None:
            sweep.stages.pop(0)
            sweep.after = Reached()
        else:
            sweep.after = found.after
        return 0.0

    def _end(self, sweep: _Sweep) -> None:
        settings = self._site.config.retention
        with self._site.store.writing() as books:
            if settings.history_days:
                books.removals.forget_pauses(sweep.began - settings.history_days * _DAY)
            books.site.put(SWEPT, {"at": sweep.began, "asked_at": self._answered_at, "removed": sweep.removed})
        if removed := {stage: number for stage, number in sweep.removed.items() if number}:
            _log.info("retention.applied", **removed)
        self._next_at = self._site.clock.monotonic() + self._interval()
        self._sweep = None

    def _doubt_clock(self, now: float) -> ClockDoubted | None:
        """Return why nothing is removed by this clock; None where it may be right.

        A clock that is wrong by years would have everything removed at once. One that says the same a day later is
        believed: the machine was off for long.
        """
        settings = self._site.config.retention
        with self._site.store.writing() as books:
            noted: JsonObject = books.site.get(_CLOCK) or {}
            known, doubted = noted.get("believed", books.removals.last_filed()), noted.get("doubted")
            days = max(settings.recordings_days, settings.receipts_days, settings.history_days) + _FAR_DAYS
            is_far = known is not None and now > known + days * _DAY
            if not is_far or (doubted is not None and now >= doubted + _DAY):
                books.site.put(_CLOCK, {"believed": now})
                return None
            if doubted is None or now < doubted:
                doubted = now
                books.site.put(_CLOCK, {"believed": known, "doubted": doubted})
        return ClockDoubted(
            f"the clock may be wrong: it says {rfc3339(now)}, and this site was last at work at {rfc3339(known)}; "
            "nothing is removed",
            hint=f"set it (date, timedatectl); if it is right, what is due goes after {rfc3339(doubted + _DAY)}",
        )

    def _put_off(self, error: FolderError) -> None:
        self._tell_postponed(error)
        self._sweep = None
        self._quiet_until = self._next_at = self._site.clock.monotonic() + _LATER_SECONDS

    def _tell_postponed(self, error: WatcherError) -> None:
        self.trouble = error
        _log.warning("retention.postponed", reason=error.message, hint=error.hint)

    def _forget_rows(self, items: list[Item], now: float) -> None:
        """Replace these items' rows with their tombstones."""
        if not items:
            return
        key, forgotten = burial.find_key(self._site), []
        with self._site.store.writing() as books:
            for item in items:
                tombstone = burial.compose(self._site, books, item, key, Why.RETENTION, now)
                if burial.forget(books, item, tombstone):
                    forgotten.append(item)
        self._count(Stage.ROWS, len(forgotten))
        for item in forgotten:
            _log.info("history.removed", item=item.id, why=str(Why.RETENTION))

    def _count(self, stage: Stage, number: int) -> None:
        if self._sweep is not None:
            self._sweep.removed[str(stage)] = self._sweep.removed.get(str(stage), 0) + number

    # What is to be removed

    def _remove(self, claimed: list[Removal]) -> float:
        """Remove each, and record it: after a crash before that it is repeated, which is harmless."""
        done: list[_Done] = []
        failed: list[tuple[Removal, WatcherError]] = []
        try:
            for removal in claimed:
                if self._stopping.is_set():
                    break
                self._remove_one(removal, done, failed)
        except FolderError as error:
            self._put_off(error)
            return _LATER_SECONDS
        finally:
            self._record(done, failed)
        return 0.0

    def _remove_one(
        self, removal: Removal, done: list["_Done"], failed: list[tuple[Removal, WatcherError]]
    ) -> None:
        """Remove what the claim says from the disk. Raises FolderError where the folder cannot be used at all."""
        with self._site.store.reading() as books:
            item = books.items.get(removal.item_id)
        if item is None or not _is_at_rest(item, removal):
            failed.append((removal, _no_longer(removal, item)))
            return
        folder = self._folder(item)
        if trouble := self._site.find_trouble([folder]):
            raise trouble
        try:
            done.append(self._take_away(removal, item, folder))
        except Exception as error:
            if is_of_the_store(error):
                raise
            if isinstance(error, FolderError) and (trouble := self._site.find_trouble([folder], taking=True)):
                raise trouble from error
            failed.append((removal, self._as_error(item, folder, error)))

    def _folder(self, item: Item) -> Folder:
        return self._site.done if item.state is State.DONE else self._site.failed

    def _take_away(self, removal: Removal, item: Item, folder: Folder) -> "_Done":
        now = self._site.clock.now()
        if removal.what == RECORDING:
            return _Done(removal, item, now, notes=remove_recording(folder, item))
        key = burial.find_key(self._site)
        with self._site.store.reading() as books:
            tombstone = burial.compose(self._site, books, item, key, removal.why, now)
        is_all = removal.what == EVERYTHING and item.state in FILED
        notes = remove_recording(folder, item) if is_all else []
        with self._site.papers:  # nobody writes the receipt anew meanwhile
            burial.put_tombstone(folder, item, tombstone)
            for path in burial.receipt_names(item):
                remove_receipt(folder, path, item.id)
        return _Done(removal, item, now, notes, tombstone)

    def _as_error(self, item: Item, folder: Folder, error: Exception) -> WatcherError:
        """Return why it stays. That it was altered is recorded as whenever that is found."""
        if not isinstance(error, WatcherError):
            _log.error("removal.stumbled", item=item.id, exc_info=error)
            return RecordingChanged(f"unexpected error: {type(error).__name__}", hint="see the log, and report it")
        if isinstance(error, RecordingChanged):
            altered = find_alteration(folder, item, self._site.clock.now())
            if altered is not None:
                with self._site.store.writing() as books:
                    books.filing.mark_altered(replace(item, altered=altered))
        return error

    def _record(self, done: list["_Done"], failed: list[tuple[Removal, WatcherError]]) -> None:
        """Commit what is gone, and what stays and why."""
        if not done and not failed:
            return
        recorded = []
        with self._site.store.writing() as books:
            for one in done:
                if one.record(books):
                    recorded.append(one)
                    books.removals.end(one.item.id)
                # Else it was retried, or has moved on within done/: the next look at the claim tells.
            for removal, error in failed:
                if removal.why is Why.ERASED:
                    books.removals.fail(removal, error.as_fault())
                else:
                    books.removals.end(removal.item_id)
        self._tell(recorded, failed)

    def _tell(self, recorded: list["_Done"], failed: list[tuple[Removal, WatcherError]]) -> None:
        if any(one.removal.what == EVERYTHING for one in recorded):
            self._site.store.database.checkpoint()  # what was erased is not in the write-ahead log any more either
        for one in recorded:
            one.tell()
            if one.removal.why is Why.RETENTION:
                self._count(Stage.RECORDINGS if one.removal.what == RECORDING else Stage.RECEIPTS, 1)
        for removal, error in failed:
            if removal.why is Why.ERASED or removal.item_id not in self._told:
                self._told.add(removal.item_id)
                _log.warning("recording.kept", item=removal.item_id, reason=error.message, hint=error.hint)


def sweep_claimed(site: Site) -> None:
    """Remove what a process that was killed while it removed something left half written.

    To be called by the one instance before it removes anything: nobody else may be writing there.
    """
    with site.store.reading() as books:
        found = [books.items.get(one.item_id) for one in books.removals.claimed(_ALL)]
    items = [item for item in found if item is not None]
    if not items:
        return
    beside = {os.path.dirname(item.filed_as or item.path) for item in items}
    for folder in (site.done, site.failed):
        with suppress(FolderError):  # it is away: its own pause says so
            folder.sweep(site.clock.now(), sorted({b"", *beside}))


@dataclass(frozen=True, slots=True)
class _Done:
    """What was removed from the disk, still to be recorded. `notes`: what stays of it, in sentences."""

    removal: Removal
    item: Item
    at: float
    notes: list[str]
    tombstone: Tombstone | None = None

    def record(self, books: Books) -> bool:
        """Record it. False: the item has changed meanwhile."""
        if self.tombstone is None:
            return books.removals.mark_recording(self.item, Removed(self.at, str(self.removal.why)))
        if self.removal.what == EVERYTHING:
            return burial.forget(books, self.item, self.tombstone)
        books.tombstones.put(self.tombstone)
        return books.removals.mark_receipt(self.item, self.at)

    def tell(self) -> None:
        """Log it. A line about what is erased must not say its name again."""
        why = str(self.removal.why)
        match self.removal.what:
            case "recording":
                _log.info("recording.removed", item=self.item.id, filed_as=self.item.filed_as, why=why)
            case "receipt":
                _log.info("receipt.removed", item=self.item.id, why=why)
            case _:
                _log.info("recording.erased", item=self.item.id, by=self.removal.by)
        for note in self.notes:
            _log.warning("removal.incomplete", item=self.item.id, reason=note)


def _is_at_rest(item: Item, removal: Removal) -> bool:
    return item.state in FILED or (removal.what == EVERYTHING and item.state is State.WITHDRAWN)


def _no_longer(removal: Removal, item: Item | None) -> WatcherError:
    if item is None:
        return NoSuchItem(f"{removal.item_id}: there is no such item any more")
    hint = "Only what is done, failed or withdrawn can be erased: repeat the command then."
    return StaleItem(f"{item.id} is {item.state} again", hint=hint)
