"""The step that removes: what a person wants erased, and what `[retention]` says, a few items at a time."""

import threading
from dataclasses import dataclass, field, replace

from watcher import logs
from watcher.domain import FILED, Item, Removed, State
from watcher.errors import (
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
from watcher.store.removal_rows import EVERYTHING, RECEIPT, RECORDING, Place
from watcher.tombstone import Tombstone, Why

_log = logs.get_logger(__name__)

IDLE = float("inf")
_BATCH = 20  # between two of them everybody else has his turn
_SHORTEST_SECONDS, _LONGEST_SECONDS = 10.0, 3600.0  # between two looks at everything
_LATER_SECONDS = 60.0
_DAY = 86_400.0

ASKED = "retention.asked"
SWEPT = "retention.swept"
"""Facts of the site: when a person last asked for a look at everything, and when the last one began that ended."""


@dataclass(slots=True)
class _Sweep:
    """One look at everything: what it began with, and where it is."""

    began: float
    stages: list[tuple[Stage, float]]
    after: Place = field(default_factory=Place)
    removed: dict[str, int] = field(default_factory=dict)


class Retention:
    """Removes what is to be removed. One runs at a time; whoever writes receipts is kept out meanwhile."""

    def __init__(self, site: Site, stopping: threading.Event) -> None:
        self._site = site
        self._stopping = stopping
        self._sweep: _Sweep | None = None
        self._next_at = 0.0  # monotonic
        self._answered_at: float | None = None  # when the request was made that was answered last
        self._told: set[str] = set()  # what stays, though its time is over, and was named

    def step(self) -> float:
        """Remove some items, or look for some that are due. Return the seconds until there may be more."""
        site = self._site
        with site.store.reading() as books:
            claimed = books.removals.claimed(_BATCH)
            asked_at, swept_at = books.site.get(ASKED), books.site.get(SWEPT)
        if claimed:
            return self._remove(claimed)
        if self._sweep is None:
            is_asked = asked_at is not None and asked_at not in (swept_at, self._answered_at)
            if not is_asked and site.clock.monotonic() < self._next_at:
                return self._next_at - site.clock.monotonic()
            now = site.clock.now()
            looks = list(stages(site.config.retention, now))
            if not looks and not is_asked:
                return IDLE
            self._sweep, self._answered_at = _Sweep(now, looks), asked_at
        try:
            return self._look(self._sweep)
        except FolderError as error:
            self._put_off(error)
            return _LATER_SECONDS

    def finish(self) -> None:
        """Remove all that is to be removed now, as far as its folders are there."""
        self._next_at = 0.0
        while not self._stopping.is_set() and self.step() <= 0:
            pass

    # What is due

    def _look(self, sweep: _Sweep) -> float:
        """Claim the next items that are due, or end the look."""
        if not sweep.stages:
            self._end(sweep)
            return self._next_at - self._site.clock.monotonic()
        stage, before = sweep.stages[0]
        if trouble := self._site.find_trouble([self._site.done, self._site.failed]):
            raise trouble
        found = find(self._site, stage, before, sweep.after, _BATCH)
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
        sweep.removed[stage] = sweep.removed.get(stage, 0) + len(found.items)
        if found.after is None:
            sweep.stages.pop(0)
            sweep.after = Place()
        else:
            sweep.after = found.after
        return 0.0

    def _end(self, sweep: _Sweep) -> None:
        settings = self._site.config.retention
        with self._site.store.writing() as books:
            if settings.history_days:
                books.removals.forget_pauses(sweep.began - settings.history_days * _DAY)
            books.site.put(SWEPT, self._answered_at or sweep.began)
        if removed := {stage: number for stage, number in sweep.removed.items() if number}:
            _log.info("retention.applied", **removed)
        days = [n for n in (settings.recordings_days, settings.receipts_days, settings.history_days) if n]
        interval = min(max(min(days) * _DAY / 24, _SHORTEST_SECONDS), _LONGEST_SECONDS) if days else IDLE
        self._next_at = self._site.clock.monotonic() + interval
        self._sweep = None

    def _put_off(self, error: WatcherError) -> None:
        _log.warning("retention.postponed", reason=error.message, hint=error.hint)
        self._sweep = None
        self._next_at = self._site.clock.monotonic() + _LATER_SECONDS

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
        for item in forgotten:
            _log.info("history.removed", item=item.id, why=str(Why.RETENTION))

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
            for path in burial.receipts_of(folder, item):
                remove_receipt(folder, path, item)
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
        for one in recorded:
            one.tell()
        for removal, error in failed:
            if removal.why is Why.ERASED or removal.item_id not in self._told:
                self._told.add(removal.item_id)
                _log.warning("recording.kept", item=removal.item_id, reason=error.message, hint=error.hint)


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
