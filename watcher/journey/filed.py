"""What lies in done/ and failed/: which item it belongs to, and whether it is still what was filed.

People collect what was filed, and exporters reuse names: a name alone does not tell whose a file is.
"""

from watcher.domain import Alteration, Altered, Item
from watcher.errors import FolderError, RecordingError, RecordingGone, TooLong
from watcher.folders import Folder, hash_of, is_same_time, receipt_name
from watcher.journey.receipt import RECEIPT_BYTES, is_receipt_of, receipt_at
from watcher.text import JsonObject, from_json


def read_receipt(folder: Folder, name: bytes, item: Item) -> JsonObject | None:
    """Return this item's receipt if it lies there; None for anything else, and for what is too long to be one."""
    try:
        content = folder.read(name, RECEIPT_BYTES)
    except TooLong:
        return None
    return from_json(content) if is_receipt_of(content, item.id) else None


def has_receipt(folder: Folder, name: bytes, item: Item) -> bool:
    """Return whether this item's receipt lies there."""
    return read_receipt(folder, name, item) is not None


def is_anothers(folder: Folder, item: Item) -> bool:
    """Return whether another item's receipt lies beside what was filed, or in its place."""
    receipt = receipt_at(folder, receipt_name(item.filed_as or item.path))
    return receipt is not None and receipt["id"] != item.id


def has_lost_name(folder: Folder, item: Item) -> bool:
    """Return whether the item's recording was collected, and another item's has its name by now."""
    return is_anothers(folder, item) and not lies_there(folder, item)


def lies_there(folder: Folder, item: Item) -> bool:
    """Return whether the file under the item's filed name is the item's recording, changed since or not.

    It is if the item's receipt lies beside it. Beside another item's receipt, it is only if it is unchanged and
    not that item's; beside no receipt, if it is the same file on the disk or begins with the item's bytes.

    Raises FolderError or RecordingError where this cannot be told.
    """
    path = item.filed_as
    if path is None or not folder.occupied(path):
        return False
    receipt = receipt_at(folder, receipt_name(path))
    if receipt is not None and receipt["id"] == item.id:
        return True
    try:
        there = folder.fingerprint(path)
        if receipt is not None:
            is_same = there.same_content(item.fingerprint) or (
                there.size == item.size and _begins_with(folder, path, item)
            )
            return is_same and receipt.get("sha256") != item.sha256
        return there.same_file(item.fingerprint) or _begins_with(folder, path, item)
    except RecordingGone:
        return False


def _begins_with(folder: Folder, path: bytes, item: Item) -> bool:
    """Return whether the file there begins with the item's bytes, however many follow."""
    if item.sha256 is None:
        return False
    file, fingerprint = folder.open(path)
    with file:
        return fingerprint.size >= item.size and hash_of(file, item.size) == item.sha256


def find_alteration(folder: Folder, item: Item, now: float) -> Altered | None:
    """Return how the recording was altered since it was filed in this folder; None: it was not, or is gone.

    The size tells most and is cheap. Where only the time differs, the bytes are read: the file may only have been
    touched. A recording that was never read has only its size. The file may be another recording by now: then this
    one was collected.
    """
    if item.filed_as is None:
        return None
    try:
        there = folder.fingerprint(item.filed_as)
        if there.size == item.size:
            if item.sha256 is None or is_same_time(there.mtime_ns, item.fingerprint.mtime_ns):
                return None
            if _begins_with(folder, item.filed_as, item):
                return None
        if not lies_there(folder, item):
            return None
    except (RecordingError, FolderError):  # collected, or out of reach: `reconcile` reports that
        return None
    return Altered(Alteration.GROWN if there.size > item.size else Alteration.CHANGED, there.size, now)
