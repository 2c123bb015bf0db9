"""The order of a recovery: the folders' marks, the receipts, the traces without one, and what is then in doubt."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from watcher.domain import Item, PartState, State
from watcher.errors import ConfigError, FolderError
from watcher.folders import LOCK, MARKER
from watcher.folders.tombstone_files import KEY, FoundTombstone, read_key
from watcher.ignore import Ignore
from watcher.journey.arrive.foreign import may_be_left
from watcher.journey.loss import find_loss_noted, note_loss
from watcher.journey.recovery.adoption import Adopted, adopt, adopt_tombstone, paid_line
from watcher.journey.recovery.evidence import Evidence
from watcher.journey.recovery.testimony import Left, Receipts, Testimony
from watcher.journey.recovery.traces import read_journal, read_spool
from watcher.journey.recovery.two_places import unite
from watcher.journey.site import Site
from watcher.journey.submit import journal
from watcher.journey.submit.doubt import after_loss
from watcher.store import Books
from watcher.text import show_path
from watcher.tombstone import Tombstone

T = TypeVar("T")

_BATCH = 200  # receipts in one commit
_ROWS = 500  # rows that are looked at, or changed, in one transaction


@dataclass(slots=True)
class Found:
    """What a recovery came to."""

    receipts: int = 0
    adopted: Adopted = field(default_factory=Adopted)
    buried: int = 0  # tombstones of erased recordings
    left: int = 0  # receipts and others that do not count
    unlisted: int = 0  # requests that receipts do not list
    doubtful: int = 0  # recordings of which nobody knows whether they were sent: files without a trace, and items
    is_changed: bool = False  # the database is new, or had not known everything
    holds: bool = False  # whether a person decides on those


class Rebuilding:
    """Rebuilds the books of one site, whose lock the caller holds. Killed at any point, it is run again.

    `owners`: whose receipts count. `hashes`: compare recordings' hashes as well as their sizes. `kept`: the
    journal of answers. `is_trial`: the books are a scratch copy, so nothing on the disk is changed. `tell` is
    called with each thing that is left as it is, `show` with the number of receipts so far.
    """

    def __init__(
        self,
        site: Site,
        owners: Collection[int],
        *,
        hashes: bool = False,
        kept: journal.Kept,
        is_trial: bool = False,
        tell: Callable[[Left], object] = lambda _: None,
        show: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._site = site
        self._owners = owners
        self._hashes = hashes
        self._kept = kept
        self._is_trial = is_trial
        self._tell = tell
        self._show = show
        self._found = Found(holds=site.config.identifai.holds_in_doubt)
        self._until = site.clock.now()
        self._has_key = False

    def run(self, *, is_lost: bool) -> Found:
        """Rebuild the books. `is_lost`: there was no database, and this one is new."""
        self._until = self._find_until()
        if is_lost:
            self._note_loss()
        self._adopt_key()
        for found in _batches(self._count(Receipts(self._site, self._owners, hashes=self._hashes)), _BATCH):
            told = [one for one in found if isinstance(one, Testimony)]
            tombstones = [one.tombstone for one in found if isinstance(one, FoundTombstone)]
            self._adopt([(f"its receipt, {_name(one)}", one.evidence) for one in told], tombstones)
        for traces in (read_journal(self._site, self._kept), read_spool(self._site)):
            for batch in _batches(self._apart(traces), _BATCH):
                self._adopt(batch)
        if self._is_unsettled():
            self._found.is_changed = True
            self._renumber()
            self._complete_ledger()
            self._doubt_items()
            if not self._is_trial:
                self._clear_spool()
            self._settle()
            self._found.doubtful += self._count_untraced()
        return self._found

    def _find_until(self) -> float:
        """Return until when what lies in the drop folder may have been sent: now, on that folder's clock."""
        now = self._site.clock.now()
        with suppress(OSError):
            return max(now, os.stat(os.path.join(self._site.drop.root, LOCK)).st_mtime)
        return now

    def _adopt_key(self) -> None:
        """Adopt the key to the contents of tombstones, which lies in done/ to outlive the database."""
        with self._site.store.reading() as books:
            known = books.tombstones.known_keys()
        key = read_key(self._site.done, self._owners)
        if key is not None and key not in known:
            with self._site.store.writing() as books:
                books.tombstones.add_key(key)
        self._has_key = bool(known) or key is not None

    def _count(self, found: Iterable[Testimony | FoundTombstone | Left]) -> Iterator[Testimony | FoundTombstone]:
        for one in found:
            if isinstance(one, Left):
                self._leave(one)
            elif isinstance(one, FoundTombstone):
                if not self._has_key and not self._found.buried:
                    reason = "is missing: what was erased cannot be known again, and may be paid for again"
                    self._leave(Left("done", KEY, reason))
                self._found.buried += 1
                yield one
            else:
                self._found.receipts += 1
                self._found.unlisted += one.evidence.left_out
                self._show(self._found.receipts)
                yield one

    def _apart(self, found: Iterable[tuple[str, Evidence] | Left]) -> Iterator[tuple[str, Evidence]]:
        for one in found:
            if isinstance(one, Left):
                self._leave(one)
            else:
                yield one

    def _leave(self, left: Left) -> None:
        self._found.left += 1
        self._tell(left)

    def _adopt(self, batch: list[tuple[str, Evidence]], tombstones: Iterable[Tombstone] = ()) -> None:
        with self._site.store.writing() as books:
            buried = sum(adopt_tombstone(books, tombstone) for tombstone in tombstones)
            adopted = adopt(self._site, books, batch, self._site.clock.now())
            adopted.tombstones += buried
            if adopted:
                # In the same transaction: these books are older than the folders, so they miss more than this.
                note_loss(books, self._until, is_settled=False)
        adopted.completed += unite(self._site, [evidence for _, evidence in batch])
        self._found.is_changed = self._found.is_changed or bool(adopted)
        self._found.adopted.add(adopted)

    def _note_loss(self) -> None:
        with self._site.store.writing() as books:
            note_loss(books, self._until, is_settled=False)

    def _is_unsettled(self) -> bool:
        with self._site.store.reading() as books:
            noted = find_loss_noted(books)
        return noted is not None and not noted.is_settled

    def _settle(self) -> None:
        with self._site.store.writing() as books:
            noted = find_loss_noted(books)
            if noted is not None:
                note_loss(books, noted.until, is_settled=True)

    def _renumber(self) -> None:
        """Number the new items in the order of their arrival: receipts come in none."""
        numbered = 1
        while numbered:
            with self._site.store.writing() as books:
                numbered = books.rebuilt.renumber(_ROWS)

    def _complete_ledger(self) -> None:
        """Have a line in the ledger for each identifier: receipts of duplicates do not have their original's."""
        while True:
            with self._site.store.writing() as books:
                missing = books.rebuilt.without_line(_ROWS)
                for line in missing:
                    paid = paid_line(line.item_id, line.identifier or "", line.part, line.started_at, line.size)
                    books.rebuilt.add_attempt(paid)
                    books.rebuilt.recount(line.item_id)
            self._found.adopted.requests += len(missing)
            if not missing:
                return

    def _doubt_items(self) -> None:
        """Put in doubt what waits according to older books: it may have been sent since."""
        last = 0
        while True:
            with self._site.store.writing() as books:
                rows = books.rebuilt.unsent_after(last, _ROWS)
                self._found.doubtful += sum(self._doubt(books, item) for _, item in rows)
            if not rows:
                return
            last = rows[-1][0]

    def _doubt(self, books: Books, item: Item) -> bool:
        """Put the item in doubt unless it is, or waits for another, or was accepted. Return whether it is new."""
        parts = books.parts.of(item.id)
        if item.in_doubt or item.duplicate_of is not None or item.arrived_at > self._until:
            return False
        if parts and all(part.state is PartState.ACCEPTED for part in parts):
            return False
        facts = after_loss(item, holds=self._found.holds)
        for part in parts:
            if part.state is PartState.QUEUED:
                state = PartState.HELD if self._found.holds else PartState.QUEUED
                in_doubt = part.sha256 is not None  # else it was not made, so not sent
                books.parts.change(part, state, in_doubt=in_doubt, fault=facts.get("fault"))
        after = State(str(facts.pop("state")))
        note = facts["fault"].message if "fault" in facts else ""
        books.items.change(item, after, self._site.clock.now(), note, **facts)
        return True

    def _clear_spool(self) -> None:
        """Remove parts of which nobody knows the recording: it is prepared again."""
        site = self._site
        with suppress(FolderError):
            noted = {name.partition("-")[0] for name in site.spool.noted()}
            ids = site.spool.items()
            with site.store.reading() as books:
                known = books.rebuilt.known(ids) if ids else set()
            if unknown := ids - known - noted:
                site.spool.clear(unknown)

    def _count_untraced(self) -> int:
        """Return how many files in the drop folder are in no book: each may have been in flight."""
        config = self._site.config
        with self._site.store.reading() as books:
            known = {*books.items.live_paths(), *books.items.live_companions()}
        scan = self._site.drop.walk(Ignore(config.arrivals.ignore).matching)
        return sum(
            entry.kind == "file" and entry.path not in known and not may_be_left(config, entry.path)
            for entry in scan
        )


def check_marks(site: Site, owners: Collection[int]) -> None:
    """Check that all three folders are there and are those of one site, before a database is made for them.

    A folder without a mark beside one that has it may be a bare mount point: what its receipts know would be paid
    for again. Raises FolderMissing, or ConfigError.
    """
    folders = (site.drop, site.done, site.failed)
    marks = [folder.marker(owners) for folder in folders]
    marked = [folder for folder, mark in zip(folders, marks, strict=True) if mark is not None]
    for folder, mark in zip(folders, marks, strict=True):
        if marked and mark is None:
            raise ConfigError(
                f"{folder.label()} has no mark ({show_path(MARKER)}), though {marked[0].label()} has one: "
                "is its disk mounted?",
                hint=f"Mount it. If it was made anew: cp {marked[0].quoted(MARKER)} {folder.quoted(MARKER)}",
            )


def _name(testimony: Testimony) -> str:
    return f"{testimony.folder}/{show_path(testimony.path)}"


def _batches(found: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(found)
    while batch := list(islice(rest, size)):
        yield batch
