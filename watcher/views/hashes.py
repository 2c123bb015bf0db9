"""Compare every filed recording, read from disk, with the sha256 in the books and in its receipt."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from watcher.domain import FILED, Item
from watcher.errors import FolderError, RecordingError, RecordingGone
from watcher.folders import Folder, hash_of, receipt_name
from watcher.journey.filed import has_lost_name
from watcher.text import from_json, show_path
from watcher.views.context import CommandContext
from watcher.views.recordings import list_items

_RECEIPT_BYTES = 1 << 20


@dataclass(slots=True)
class Hashes:
    """How many recordings were compared, and how many could not be."""

    compared: int = 0
    unknown: int = 0  # never read by us, so without a known sha256


def compare_hashes(context: CommandContext, found: Hashes, show: Callable[[int, int], object]) -> Iterator[str]:
    """Yield a line for each recording that differs. One that is gone is left to the comparison of the books.

    `show` is called with how many recordings have been read, of how many.
    """
    with context.store.reading() as books:
        counts = books.items.counts()
    total = sum(counts[state] for state in FILED)
    filed = (item for item in list_items(context, sorted(FILED)) if item.filed_as is not None)
    for number, item in enumerate(filed, 1):
        if (said := _compare(context, item, found)) and _is_still_so(context, item):
            yield f"{item.id[:6]} {show_path(item.filed_as or item.path)}: {said}"
        show(number, total)


def _compare(context: CommandContext, item: Item, found: Hashes) -> str:
    """How the recording differs from what is known of it; "" if it does not."""
    folder = context.filed_in(item)
    path = item.filed_as or item.path
    if item.sha256 is None:
        found.unknown += 1
        return ""
    try:
        file, _ = folder.open(path)
        with file:
            digest = hash_of(file)
        if digest != item.sha256 and has_lost_name(folder, item):
            return ""
        told = _told(folder, path, item)
    except RecordingGone:
        return ""
    except (RecordingError, FolderError) as error:
        return f"cannot be compared: {error.message}"
    found.compared += 1
    if digest != item.sha256:
        return f"is not what was filed: its sha256 is {digest}, but was {item.sha256}"
    if told is not None and told != digest:
        return f"its receipt has a sha256 other than it and the books: {show_path(str(told).encode())[:80]}"
    return ""


def _told(folder: Folder, path: bytes, item: Item) -> object:
    """The sha256 in its receipt; null without a receipt, which is left to the comparison of the books."""
    receipt = from_json(folder.read(receipt_name(path), _RECEIPT_BYTES))
    return receipt.get("sha256") if receipt is not None and receipt.get("id") == item.id else None


def _is_still_so(context: CommandContext, item: Item) -> bool:
    """Whether its row is still as before it was read: a retry may have moved it by now."""
    with context.store.reading() as books:
        now = books.items.get(item.id)
    return now is not None and (now.state, now.filed_as, now.sha256) == (item.state, item.filed_as, item.sha256)
