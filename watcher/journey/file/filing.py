"""The step that files. Whatever goes wrong with one recording affects that one alone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from watcher import logs
from watcher.domain import Fault, Item, State
from watcher.errors import FolderError, RecordingError, StaleItem, StoreContradicted, WatcherError, is_of_the_store
from watcher.folders import Folder, Unsynced
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.file.back import Back
from watcher.journey.file.onward import Onward
from watcher.journey.file.out import Out
from watcher.journey.file.papers import Papers
from watcher.journey.file.relook import Relook
from watcher.journey.site import Site
from watcher.store import Books

_log = logs.get_logger(__name__)

_BATCH = 50  # moves in one commit: after a crash before it they are repeated, which is harmless
_LATER_SECONDS = 5.0
IDLE = float("inf")


Act = Callable[[Any, Unsynced], Any]
Acted = tuple[list[tuple[Item, Any]], list[tuple[Item, Exception]], FolderError | None]
"""What was done, what is stuck, and the trouble with a whole folder that ended it early."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that need the same work and the same folders: without these they wait together."""

    items: Sequence[Item]
    folders: tuple[Folder, ...]
    acts: Sequence[Act]
    """The work outside the database, which may be repeated: each takes an item, or what the one before it made of
    it. What all items' changes rest on is on the disk before the next one begins, and before they are recorded."""
    record: Callable[[Books, Any], None]  # commits the outcome
    tell: Callable[[Any], None]


class Filing:
    """The step: move recordings out of the drop folder, on within done/, or back for a retry, and update receipts.

    One runs at a time. What keeps one item is recorded as its obstacle, so that commands and a restart know it,
    and is tried again with back-off. Only trouble with a whole folder makes other items wait, and only those that
    need that folder.
    """

    def __init__(self, site: Site, arrivals: Arrivals, stopping: threading.Event) -> None:
        self._site = site
        self._stopping = stopping
        self._papers = Papers(site)
        self._out = Out(site, arrivals, self._papers)
        self._onward = Onward(site, self._papers)
        self._back = Back(site, self._onward)
        self._relook = Relook(site, self._papers, stopping)

    def step(self) -> float:
        """File or return some items, or update their receipts. Return the seconds until there is more to do."""
        self._relook.look(_BATCH)
        now = self._site.clock.now()
        with self._site.store.reading() as books:
            batches = list(self._find(books, now))
            again_at = books.obstacles.next_at(now)
        wait = IDLE if again_at is None else max(again_at - now, 0.001)
        try:
            for batch in batches:
                wait = min(wait, self._work(batch))
        finally:
            self._papers.forget()
        return wait

    def look_again(self) -> None:
        """Look once more at what was filed in this run, and update its receipts."""
        self._relook.look_at_all()
        while not self._stopping.is_set() and self.step() <= 0:
            pass

    def _find(self, books: Books, now: float) -> Iterator[Batch]:
        """Yield what there is to do, by the folders that it needs."""
        drop, done, failed = self._site.drop, self._site.done, self._site.failed
        latest = now + self._site.config.retry.max_seconds
        work = books.filing.work()  # mostly there is none, or of one kind

        def batch(items: list[Item], folders: tuple[Folder, ...], by: Onward | Back) -> Batch:
            self._papers.fetch(books, items)
            acts: list[Act] = [lambda item, _: by.move(item)]
            return Batch(items, folders, acts, by.record, by.tell)

        # First: what was half done before a crash must not meet what is filed under its former name now.
        if work.moving_on:
            items = books.filing.to_move_on(now, latest, _BATCH)
            yield batch(items, (done,), self._onward)
        for outcome, folder in ((State.DONE, done), (State.FAILED, failed)):
            if work.filing:
                items = books.filing.to_file(outcome, now, latest, _BATCH)
                self._papers.fetch(books, items)
                acts: list[Act] = [self._out.claim, self._out.move]
                yield Batch(items, (drop, folder), acts, self._out.record, self._tell_filed)
            if work.returning:
                items = books.filing.to_return(outcome, now, latest, _BATCH)
                yield batch(items, (drop, folder), self._back)
        for state, folder in ((State.DONE, done), (State.FAILED, failed)) if work.receipts else ():
            items = books.filing.with_receipt_due(state, now, latest, _BATCH)
            self._papers.fetch(books, items)
            yield Batch(items, (folder,), [self._papers.bring_up_to_date], self._papers.record, self._papers.tell)

    def _tell_filed(self, item: Item) -> None:
        self._out.tell(item)
        self._relook.add(item)

    def _work(self, batch: Batch) -> float:
        """Do the work, or record each item's obstacle. Return the seconds until there may be more."""
        if not batch.items:
            return IDLE
        stuck: list[tuple[Item, Exception]] = []
        # Each time, not only at scans: nothing may be moved onto a bare mount point, or believed gone under one.
        trouble = self._site.find_trouble(batch.folders)
        done: list[tuple[Item, Any]] = [] if trouble else [(item, item) for item in batch.items]
        for act in batch.acts:
            if trouble is not None:  # what is only half done is done again
                done = []
                break
            done, failed, trouble = self._act(act, done, batch.folders)
            stuck += failed
        self._record(batch, done, stuck)
        if trouble is not None:
            self._site.pause_for_folder(trouble)
            return _LATER_SECONDS
        return 0.0

    def _act(self, act: Act, under_way: list[tuple[Item, Any]], folders: tuple[Folder, ...]) -> Acted:
        """Do one part of the work for each, and put all of it on the disk."""
        done: list[tuple[Item, Any]] = []
        stuck: list[tuple[Item, Exception]] = []
        trouble: FolderError | None = None
        try:
            with Unsynced() as unsynced:
                for item, so_far in under_way:
                    if self._stopping.is_set():  # what was done is recorded; the next start does the rest
                        break
                    try:
                        done.append((item, act(so_far, unsynced)))
                    except Exception as error:  # whatever it is, it concerns this item alone
                        if is_of_the_store(error):
                            raise
                        if isinstance(error, FolderError):
                            trouble = self._site.find_trouble(folders, taking=True)
                        if trouble is not None:
                            break  # what was done until now is recorded all the same
                        stuck.append((item, error))
                        self._site.acceptance.forget()  # earlier answers may no longer hold
        except (FolderError, RecordingError) as error:  # of the disk, which may have all of it or nothing
            trouble = trouble or self._site.find_trouble(folders, taking=True)
            if trouble is None and len(done) > 1:  # each by itself: one subfolder may be the only bad one
                return self._act_on_each(act, under_way, folders)
            stuck += [(item, error) for item, _ in done] if trouble is None else []
            done = []
        return done, stuck, trouble

    def _act_on_each(self, act: Act, under_way: list[tuple[Item, Any]], folders: tuple[Folder, ...]) -> Acted:
        """Do that part of the work for one after the other, each on the disk before the next. See _act."""
        done: list[tuple[Item, Any]] = []
        stuck: list[tuple[Item, Exception]] = []
        for one in under_way:
            more, failed, trouble = self._act(act, [one], folders)
            done += more
            stuck += failed
            if trouble is not None:
                return done, stuck, trouble
        return done, stuck, None

    def _record(self, batch: Batch, done: list[tuple[Item, Any]], stuck: list[tuple[Item, Exception]]) -> None:
        """Commit all outcomes in one transaction; where the database refuses one of them, each in its own."""
        try:
            if done:
                self._commit(batch, done)
        except (StaleItem, StoreContradicted) as error:
            if len(done) > 1:
                for one in done:
                    self._record(batch, [one], [])
            else:
                stuck = [*stuck, (done[0][0], error)]
        if stuck:
            self._obstruct(stuck)

    def _commit(self, batch: Batch, done: list[tuple[Item, Any]]) -> None:
        with self._site.store.writing() as books:
            for _, outcome in done:
                batch.record(books, outcome)
            if books.obstacles.remove(*(item.id for item, _ in done)):  # what was mended may have kept others too
                books.obstacles.bring_forward(self._site.clock.now())
        for _, outcome in done:
            batch.tell(outcome)

    def _obstruct(self, stuck: list[tuple[Item, Exception]]) -> None:
        now, retry = self._site.clock.now(), self._site.config.retry
        with self._site.store.writing() as books:
            news = [
                (item, error)
                for item, error in stuck
                if books.obstacles.put(item.id, _as_fault(error), now, retry.first_seconds, retry.max_seconds)
            ]
        for item, error in news:
            _tell_stuck(item, error)


def _as_fault(error: Exception) -> Fault:
    if isinstance(error, WatcherError):
        return error.as_fault()
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Fault("unforeseen", f"Unexpected error: {said}", "It is tried again. Please report this, with the log.")


def _tell_stuck(item: Item, error: Exception) -> None:
    fault = _as_fault(error)
    where = {} if isinstance(error, WatcherError) else {"exc_info": error}  # unexpected: add its traceback
    _log.warning(
        "recording.stuck",
        item=item.id,
        path=item.path,
        state=item.state,
        reason=fault.message,
        hint=fault.hint,
        **where,
    )
