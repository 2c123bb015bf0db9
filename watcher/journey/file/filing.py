"""The step that moves. Whatever goes wrong with one recording stays with that one: the others go on."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from watcher import logs
from watcher.domain import Fault, Item, State
from watcher.errors import FolderError, StaleItem, StoreContradicted, StoreError, WatcherError
from watcher.folders import Folder
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.file.back import Back
from watcher.journey.file.out import Out
from watcher.journey.file.papers import Papers
from watcher.journey.file.relook import Relook
from watcher.journey.site import Site
from watcher.store import Books

_log = logs.get_logger(__name__)

_BATCH = 50  # one commit for so many moves: a crash before it repeats them, which is harmless
_LATER_SECONDS = 5.0
IDLE = float("inf")


@dataclass(frozen=True, slots=True)
class Batch:
    """Items with the same thing to be done, and the folders that it needs: without these, they wait together."""

    items: Sequence[Item]
    folders: tuple[Folder, ...]
    work: Callable[[Item], Any]  # what is outside the database, and may be repeated; what came of it
    record: Callable[[Books, Any], None]  # what came of it is committed
    tell: Callable[[Any], None]


class Filing:
    """The step: out of the drop folder, back into it for a retry, and receipts brought up to date.

    One runs at a time. What stands in the way of one item is kept in the books as its obstacle, so that commands
    tell of it and a restart knows of it, and is tried again later and later. Only what stands in the way of a
    whole folder has the others wait as well, and only those that need that folder.
    """

    def __init__(self, site: Site, arrivals: Arrivals, stopping: threading.Event) -> None:
        self._site = site
        self._stopping = stopping
        self._papers = Papers(site)
        self._out = Out(site, arrivals, self._papers)
        self._back = Back(site)
        self._relook = Relook(site, self._papers, stopping)

    def step(self) -> float:
        """Some items are filed, returned, or have their receipts brought up to date. 0 when there is more."""
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
        """What was filed in this run is looked at once more, and its receipts tell what became of it."""
        self._relook.look_at_all()
        while not self._stopping.is_set() and self.step() <= 0:
            pass

    def _find(self, books: Books, now: float) -> Iterator[Batch]:
        """What there is to do, by the folders that it needs."""
        drop, done, failed = self._site.drop, self._site.done, self._site.failed
        latest = now + self._site.config.retry.max_seconds
        for outcome, folder in ((State.DONE, done), (State.FAILED, failed)):
            items = books.filing.to_file(outcome, now, latest, _BATCH)
            self._papers.fetch(books, items)
            yield Batch(items, (drop, folder), self._out.move, self._out.record, self._tell_filed)
        items = books.filing.to_return(now, latest, _BATCH)
        yield Batch(items, (drop, failed), self._back.move, self._back.record, self._back.tell)
        for state, folder in ((State.DONE, done), (State.FAILED, failed)):
            items = books.filing.with_receipt_due(state, now, latest, _BATCH)
            self._papers.fetch(books, items)
            yield Batch(items, (folder,), self._papers.bring_up_to_date, self._papers.record, self._papers.tell)

    def _tell_filed(self, item: Item) -> None:
        self._out.tell(item)
        self._relook.add(item)

    def _work(self, batch: Batch) -> float:
        """Each item is done with, or its obstacle is written down. Seconds until there may be more."""
        if not batch.items:
            return IDLE
        done: list[tuple[Item, Any]] = []
        stuck: list[tuple[Item, Exception]] = []
        # Each time, not only at each scan: nothing is moved onto a bare mount point, or missed under one.
        trouble = self._site.find_trouble(batch.folders)
        for item in batch.items if trouble is None else ():
            if self._stopping.is_set():  # what was done is recorded; the next start takes up the rest
                break
            try:
                done.append((item, batch.work(item)))
            except Exception as error:  # whatever it is, it is this item's and no other's
                if _is_of_the_store(error):
                    raise
                if isinstance(error, FolderError):
                    trouble = self._site.find_trouble(batch.folders, taking=True)
                if trouble is not None:
                    break  # what was done before is recorded all the same
                stuck.append((item, error))
                self._site.acceptance.forget()  # what was asked before may not hold any more
        self._record(batch, done, stuck)
        if trouble is not None:
            self._site.pause_for_folder(trouble)
            return _LATER_SECONDS
        return 0.0

    def _record(self, batch: Batch, done: list[tuple[Item, Any]], stuck: list[tuple[Item, Exception]]) -> None:
        """What came of each is committed in one transaction; where the books refuse one of them, in one each."""
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
        were_stuck = 0
        with self._site.store.writing() as books:
            for item, outcome in done:
                batch.record(books, outcome)
                were_stuck += books.obstacles.remove(item.id)
            if were_stuck:  # what was mended may have been in the way of others too
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


def _is_of_the_store(error: Exception) -> bool:
    """Whether the database could not be used at all, which is no item's trouble."""
    return isinstance(error, StoreError) and not isinstance(error, StoreContradicted)


def _as_fault(error: Exception) -> Fault:
    if isinstance(error, WatcherError):
        return error.as_fault()
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Fault(
        "unforeseen", f"Nobody foresaw this: {said}", "It is tried again. Please report it, with the log."
    )


def _tell_stuck(item: Item, error: Exception) -> None:
    fault = _as_fault(error)
    where = {} if isinstance(error, WatcherError) else {"exc_info": error}  # nobody foresaw it: where it came from
    _log.warning(
        "recording.stuck",
        item=item.id,
        path=item.path,
        state=item.state,
        reason=fault.message,
        hint=fault.hint,
        **where,
    )
