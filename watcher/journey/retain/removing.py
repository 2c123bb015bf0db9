"""Remove a filed recording, its companions and its receipt from the disk: only what was filed, and unaltered."""

import os
from contextlib import suppress

from watcher.domain import Fingerprint, Item
from watcher.errors import RecordingChanged, RecordingGone
from watcher.folders import LONGEST, Folder, disk, is_same_time
from watcher.folders.discard import discard
from watcher.journey.arrive.companions import names_beside
from watcher.journey.filed import is_anothers, lies_there
from watcher.journey.receipt import RECEIPT_BYTES, is_receipt_of

_CLOCK_NS = 2_000_000_000  # FAT's times are as coarse as this


def remove_recording(folder: Folder, item: Item) -> list[str]:
    """Remove the recording and its companions. Return what stays, in sentences. Idempotent.

    Raises RecordingChanged where the file is not what was filed: it stays, and so do its companions. FolderError,
    RecordingUnreachable.
    """
    notes: list[str] = []
    path, has_newcomer = item.filed_as, False
    if path is not None:
        try:
            others = discard(folder, path, item.id, lambda at, there: _is_recording(folder, item, at, there))
        except RecordingGone:
            others = 0  # collected, or removed before a crash
        except RecordingChanged:
            if lies_there(folder, item):
                raise
            others, has_newcomer = 0, True  # collected: another has its name
        if others:
            notes.append(
                f"{folder.label(path)} had {others:,} other name{'' if others == 1 else 's'} (hard links): "
                "its content is still there."
            )
    return notes + _remove_companions(folder, item, only_with_id=has_newcomer)


def _is_recording(folder: Folder, item: Item, opened: int, there: Fingerprint) -> bool:
    """Return whether the open file is the item's recording, unchanged. It is read where its numbers differ.

    What lies beside another item's receipt is that one's, though it has the same bytes: this one was collected.
    """
    if there.same_content(item.fingerprint):
        return True
    if there.size != item.size or is_anothers(folder, item):
        return False
    if item.sha256 is None:
        return is_same_time(there.mtime_ns, item.fingerprint.mtime_ns)
    return disk.digest(opened) == item.sha256


def _remove_companions(folder: Folder, item: Item, *, only_with_id: bool) -> list[str]:
    """Remove the marker and the sidecars, unless they were written to after the recording was filed."""
    notes = []
    for companion in item.companions:
        for path in _names_of(item, companion, only_with_id=only_with_id):
            try:
                discard(folder, path, item.id, lambda _, there: _is_older(item, there))
            except RecordingGone:
                continue
            except RecordingChanged:
                notes.append(f"{folder.label(path)} was written to after it was filed, and stays.")
            break
    return notes


def _names_of(item: Item, companion: bytes, *, only_with_id: bool) -> list[bytes]:
    """Return where the companion may lie: names with the item's id first, since a plain one may be another's."""
    names = names_beside(item, companion, LONGEST)
    with_id = [name for name in names if item.id[:6].encode() in name]
    return with_id if only_with_id else [*with_id, *(name for name in names if name not in with_id)]


def _is_older(item: Item, there: Fingerprint) -> bool:
    return there.mtime_ns <= item.fingerprint.ctime_ns + _CLOCK_NS


def remove_receipt(folder: Folder, path: bytes, item_id: str) -> None:
    """Remove the item's receipt at `path`; anything else of that name stays. Idempotent. Raises FolderError."""
    with suppress(RecordingGone, RecordingChanged):
        discard(folder, path, item_id, lambda opened, _: is_receipt_of(_content(opened), item_id))


def _content(opened: int) -> bytes:
    return os.pread(opened, RECEIPT_BYTES + 1, 0)
