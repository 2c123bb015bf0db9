"""Receipts: composed from what was known when the step began, and rewritten when more is known."""

from dataclasses import dataclass, replace

from watcher import logs
from watcher.domain import Alteration, Attempt, Item, State
from watcher.errors import FolderRefuses, NameTaken, Unreadable
from watcher.folders import Folder, Unsynced, receipt_name
from watcher.journey.alterations import tell_alteration
from watcher.journey.answer import Answer, read_whole_answer
from watcher.journey.file.verdict_folder import find_onward
from watcher.journey.filed import find_alteration, has_lost_name, has_receipt, read_receipt
from watcher.journey.receipt import compose_receipt, receipt_bytes
from watcher.journey.site import Site
from watcher.store import Books
from watcher.text import JsonObject

_log = logs.get_logger(__name__)


class Papers:
    """The requests and verdicts for the receipts of the items in hand, and the receipts written so far."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._of: dict[str, tuple[list[Attempt], Answer]] = {}
        self._written: dict[str, JsonObject] = {}

    def fetch(self, books: Books, items: list[Item]) -> None:
        """Read the requests and verdicts of these items."""
        for item in items:
            self._of[item.id] = books.ledger.of_item(item.id), self._answer(books, item)

    def forget(self) -> None:
        self._of.clear()
        self._written.clear()

    def folder(self, item: Item) -> Folder:
        """Return the folder where the item's recording and receipt lie, or will lie."""
        return self._site.done if item.outcome is State.DONE else self._site.failed

    def compose(self, item: Item) -> JsonObject:
        """Return the item's receipt, as things were when the step began."""
        return self._compose(item, self._of[item.id][1])

    def _answer(self, books: Books, item: Item) -> Answer:
        return read_whole_answer(books, item, self._site.config.audio)

    def _compose(self, item: Item, answer: Answer) -> JsonObject:
        service = self._site.config.identifai
        attempts, _ = self._of[item.id]
        filed = replace(item, state=item.outcome or item.state)
        return compose_receipt(
            filed, attempts, answer, base_url=service.base_url, account=service.account, options=self._site.options
        )

    def write(
        self, folder: Folder, name: bytes, item: Item, *, replacing: bool, unsynced: Unsynced | None = None
    ) -> None:
        """Write the receipt under that name; see Folder.write_whole."""
        receipt = self.compose(item)
        folder.write_whole(name, receipt_bytes(receipt), replacing=replacing, unsynced=unsynced)
        self._written[item.id] = receipt

    def write_first(self, folder: Folder, item: Item, unsynced: Unsynced | None = None) -> None:
        """Write the receipt under its name. Raises NameTaken when that or the recording's name is somebody else's.

        What cannot be read counts as somebody else's while the recording is in the drop folder. Otherwise it may
        be what we filed before a crash: then this raises Unreadable.
        """
        path = item.filed_as or item.path
        name = receipt_name(path)
        try:
            if folder.occupied(path) and not has_receipt(folder, name, item):
                raise folder.taken(path)  # now, since the move may take an identical copy for its own
            self._write_unless_anothers(folder, name, item, unsynced)
        except Unreadable as error:
            if not self._site.drop.occupied(item.path):
                raise
            raise folder.taken(path) from error

    def _write_unless_anothers(self, folder: Folder, name: bytes, item: Item, unsynced: Unsynced | None) -> None:
        try:
            self.write(folder, name, item, replacing=False, unsynced=unsynced)
        except NameTaken:
            if not has_receipt(folder, name, item):
                raise
            self.write(folder, name, item, replacing=True, unsynced=unsynced)  # ours, from before a crash
        except FolderRefuses:
            folder.occupied(name)  # raises Unreadable, where that is the reason
            raise

    def is_outdated(self, books: Books, item: Item) -> bool:
        """Return whether the receipt would now be written differently."""
        return self._compose(item, self._answer(books, item)) != self._written.get(item.id)

    def bring_up_to_date(self, item: Item, unsynced: Unsynced) -> "Visited":
        """Rewrite the receipt with what was known when the step began, and whether its recording was altered.

        A receipt that somebody has collected is not written again, even if another item has its name by now.
        """
        folder, was_told, displaced_by = self.folder(item), False, None
        altered = find_alteration(folder, item, self._site.clock.now())
        if altered is not None and not altered.is_as(item.altered):
            item = replace(item, altered=altered)
        self._written[item.id] = self.compose(item)
        with self._site.papers:  # else one that was just removed would be written again
            if item.filed_as is not None:
                name = receipt_name(item.filed_as)
                receipt = read_receipt(folder, name, item)
                if receipt is not None:
                    was_told = any(receipt.get(kind) for kind in Alteration)
                    self.write(folder, name, item, replacing=True, unsynced=unsynced)
                elif folder.occupied(name) and not has_lost_name(folder, item):
                    displaced_by = folder.label(name)  # not overwritten: the log has the news instead
        return Visited(item, was_told, displaced_by)

    def record(self, books: Books, visited: "Visited") -> None:
        """Record the receipt as up to date, unless more has become known since it was composed.

        Where its recording is to move on to the folder of its verdict, claim that.
        """
        item = visited.item
        if item.altered is not None:
            books.filing.mark_altered(item)
        now = books.items.get(item.id)
        if now is not None and now.moves_to is None and visited.displaced_by is None:
            onward = find_onward(books, now, self._site)
            if onward is not None:
                books.items.change(now, now.state, self._site.clock.now(), moves_to=onward)
        if now is not None and now.state is item.state and not self.is_outdated(books, now):
            books.filing.mark_receipt_written(item.id)

    def tell(self, visited: "Visited") -> None:
        """Log, once, that the recording was altered; and that its receipt could not be rewritten."""
        if visited.displaced_by is not None:
            item = visited.item
            _log.warning(
                "receipt.displaced",
                item=item.id,
                path=item.path,
                reason=f"{visited.displaced_by} is no longer its receipt",
                hint=f"`watcher show {item.id}` has what the receipt would",
            )
        if not visited.was_told:
            tell_alteration(visited.item)


@dataclass(frozen=True, slots=True)
class Visited:
    """An item whose receipt was brought up to date. `was_told`: the receipt had an alteration already.

    `displaced_by`: what lies under the receipt's name in place of the receipt, for a message.
    """

    item: Item
    was_told: bool
    displaced_by: str | None = None
