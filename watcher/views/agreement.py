"""Whether files lie as the books have it, at a glance: as `reconcile` looks at a million of them.

A glance is sure of one thing alone, that nothing differs. Whatever else it finds, `comparison` looks at with care.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack

from watcher.domain import FILED, UNTOUCHED, Item
from watcher.folders import Folder, Glance, is_same_time, receipt_name
from watcher.journey.receipt import RECEIPT_BYTES, is_receipt
from watcher.outlet import Show
from watcher.store import Located
from watcher.text import from_json
from watcher.views.context import CommandContext

_BATCH = 500  # rows in memory at a time, and between two words of how far it is


def items_to_compare(
    context: CommandContext, folders: Collection[Folder], show: Show, total: int
) -> Iterator[Item]:
    """Yield the items, oldest first, that do not lie in these folders as the books have it, or may not.

    Each is as it is in the books now: it may have been moved since its row was read.
    """
    serial, number = 0, 0
    while True:
        with context.store.reading() as books:
            rows = books.located.after(serial, _BATCH)
        if not rows:
            return
        with ExitStack() as stack:
            glances = {folder.name: stack.enter_context(Glance(folder)) for folder in folders}
            doubtful = [row.serial for row in rows if not _is_right(glances, row)]
        if doubtful:
            with context.store.reading() as books:
                found = books.listing.items_of(doubtful)
            yield from (found[each] for each in doubtful if each in found)
        serial, number = rows[-1].serial, number + len(rows)
        show("items", number, total)


def _is_right(glances: Mapping[str, Glance], row: Located) -> bool:
    """Whether its files lie as the row has it, or nowhere according to it, or in a folder that is not there."""
    if row.state in UNTOUCHED:
        drop = glances.get("drop")
        return drop is None or drop.status(row.path) is not None
    if row.state not in FILED or row.filed_as is None or row.removed_at is not None:
        return True
    folder = glances.get(row.state)
    return folder is None or (_is_unaltered(folder, row.filed_as, row) and _has_receipt(folder, row.filed_as, row))


def _is_unaltered(folder: Glance, path: bytes, row: Located) -> bool:
    status = folder.status(path)
    if status is None or status.st_size != row.size:
        return False
    return row.sha256 is None or is_same_time(status.st_mtime_ns, row.mtime_ns)


def _has_receipt(folder: Glance, path: bytes, row: Located) -> bool:
    """Whether its receipt lies there and says the same as the row."""
    receipt = from_json(folder.read(receipt_name(path), RECEIPT_BYTES))
    if receipt is None or not is_receipt(receipt):
        return False
    said = (receipt["id"], receipt.get("state"), receipt.get("identifier"), receipt.get("sha256"))
    return said == (row.id, row.state, row.identifier, row.sha256)
