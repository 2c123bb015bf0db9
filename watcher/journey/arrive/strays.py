"""Receipts in the drop folder, as when a recording is dragged out of failed/ together with its receipt."""

from watcher import logs
from watcher.domain import AT_REST, FILED, Fingerprint, Item, State
from watcher.errors import FolderError, RecordingError
from watcher.folders import receipt_name
from watcher.journey.receipt import RECEIPT_BYTES, is_receipt_of
from watcher.journey.site import Site
from watcher.text import show_path

_log = logs.get_logger(__name__)

RECEIPT = "receipt"
"""The code of a file that waits because it is a receipt of ours."""

_SUFFIX = b".json"


def find_receipt(site: Site, path: bytes) -> Item | None:
    """Return the item whose receipt this file in the drop folder is, by name and content; else None."""
    if not path.endswith(_SUFFIX):
        return None
    recording = path.removesuffix(_SUFFIX)
    with site.store.reading() as books:
        found = books.items.live_at(recording), books.items.latest_at(recording)
    items = [item for item in found if item is not None]
    try:
        content = site.drop.read(path, RECEIPT_BYTES) if items else None
    except (FolderError, RecordingError):
        return None
    return next((item for item in items if is_receipt_of(content, item.id)), None)


def clear_receipt(site: Site, path: bytes, fingerprint: Fingerprint, item: Item) -> str:
    """Remove the receipt from the drop folder if its recording has a new one. Return why not; "" if removed."""
    name = show_path(path.removesuffix(_SUFFIX))
    if item.state not in AT_REST or _lies_beside(site, path):
        return f"is the old receipt of {name}, which is under way: it is removed once that has a new one"
    kept = f"is the receipt of {name} (item {item.id}), not a recording: nothing is done with it; remove it"
    if item.state not in FILED or item.filed_as is None:
        return kept
    folder = site.done if item.state is State.DONE else site.failed
    try:
        if not is_receipt_of(folder.read(receipt_name(item.filed_as), RECEIPT_BYTES), item.id):
            return f"{kept}, or put it back beside its recording in {folder.name}/"
        if site.drop.fingerprint(path) == fingerprint:
            site.drop.remove(path)
    except (FolderError, RecordingError) as error:
        return f"{kept} ({error.message})"
    _log.info("receipt.removed", path=path, item=item.id, reason="its recording was filed with a new one")
    return ""


def _lies_beside(site: Site, path: bytes) -> bool:
    """Return whether its recording is in the drop folder again, still to be taken."""
    try:
        site.drop.fingerprint(path.removesuffix(_SUFFIX))
    except (FolderError, RecordingError):
        return False
    return True
