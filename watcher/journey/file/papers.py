"""The receipts: composed of what the books said when the step began, and written again when they say more."""

from watcher.domain import Attempt, Item, State, Verdict
from watcher.errors import NameTaken, TooLong
from watcher.folders import Folder, receipt_name
from watcher.journey.receipt import is_receipt_of, write_receipt
from watcher.journey.site import Site
from watcher.store import Books

_RECEIPT_BYTES = 1 << 20


class Papers:
    """What the receipts of the items in hand are composed of, beside the items: their requests and verdicts."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._of: dict[str, tuple[list[Attempt], Verdict | None]] = {}

    def fetch(self, books: Books, items: list[Item]) -> None:
        for item in items:
            self._of[item.id] = books.ledger.of_item(item.id), books.verdicts.get(item.identifier)

    def forget(self) -> None:
        self._of.clear()

    def folder(self, item: Item) -> Folder:
        """Where the item's recording and receipt lie, or are to lie."""
        return self._site.done if item.outcome is State.DONE else self._site.failed

    def compose(self, item: Item) -> bytes:
        service = self._site.config.identifai
        attempts, verdict = self._of[item.id]
        return write_receipt(
            item, attempts, verdict, base_url=service.base_url, account=service.account, options=self._site.options
        )

    def write_first(self, folder: Folder, item: Item) -> None:
        """The receipt lies under its name. NameTaken when that or the recording's name is somebody else's."""
        path = item.filed_as or item.path
        name = receipt_name(path)
        content = self.compose(item)
        if folder.occupied(path) and not has_receipt(folder, name, item):
            raise folder.taken(path)  # before the move, which may take a copy of equal bytes for its own
        try:
            folder.write_whole(name, content, replacing=False)
        except NameTaken:
            if not has_receipt(folder, name, item):
                raise
            folder.write_whole(name, content, replacing=True)  # ours, from before a crash

    def is_news(self, books: Books, item: Item) -> bool:
        """Whether the verdict is another one by now than the receipt was composed with."""
        _, written = self._of[item.id]
        now = books.verdicts.get(item.identifier)
        return (now and now.as_json()) != (written and written.as_json())

    def bring_up_to_date(self, item: Item) -> Item:
        """The receipt tells what was known when the step began; one that somebody has collected stays away."""
        if item.filed_as is not None:
            folder, name = self.folder(item), receipt_name(item.filed_as)
            if has_receipt(folder, name, item):
                folder.write_whole(name, self.compose(item), replacing=True)
        return item

    def record(self, books: Books, item: Item) -> None:
        """The receipt is up to date; it is due still where more is known by now than it was composed with."""
        if not self.is_news(books, item) and books.items.get(item.id) == item:
            books.items.mark_receipt_written(item.id)


def has_receipt(folder: Folder, name: bytes, item: Item) -> bool:
    """Whether this item's receipt lies there; what is too long to be one is none."""
    try:
        return is_receipt_of(folder.read(name, _RECEIPT_BYTES), item.id)
    except TooLong:
        return False
