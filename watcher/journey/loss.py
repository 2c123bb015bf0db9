"""Detect a lost database: the site's folders have been worked on, and the database does not know it.

Starting with a new one would pay again for whatever comes again, and take what is filed for unknown. So a start is
refused, and `status` and `check` report it.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from watcher.errors import FolderError, RecordingError, StoreError, StoreLost
from watcher.folders import MARKER, Folder
from watcher.folders.names import is_receipts_name
from watcher.folders.tombstone_files import KEY
from watcher.journey.receipt import receipt_at
from watcher.journey.site import owners_of
from watcher.text import show_path

_NAMES_LOOKED_AT = 20_000  # in each folder: where there are receipts, one is soon found


def find_loss(database: Path, drop: Folder, filed: Sequence[Folder]) -> StoreError | None:
    """Return the error to raise where the database at this path is empty or gone; None where it is not lost.

    A mark in the drop folder shows that a daemon worked here. An empty file is never ours: a database is created
    under another name and then renamed. Where there is no file, a receipt is needed as well: a site that has filed
    nothing has nothing to lose. `filed`: done and failed.
    """
    try:
        size = database.stat().st_size
    except FileNotFoundError:
        size = None
    except OSError:
        return None  # the store says what is wrong with it
    if size or not _is_marked(drop, database):
        return None
    marks = " ".join(folder.quoted(MARKER) for folder in (drop, *filed))
    path = show_path(os.fsencode(database))
    remedy = (
        "restore a copy of it, or name the right file in store.url. To begin anew all the same, remove the old "
        f"site's marks ({marks}), and the empty file if there is one: what is dropped again is then paid for again"
    )
    if size == 0:
        return StoreError(f"{path} is empty, though the folders of this site have been worked on", hint=remedy)
    found = next(filter(None, map(_a_receipt, filed)), None)
    if found is None:
        return None
    return StoreLost(
        f"{path} is gone: there is no database, though the folders of this site have been worked on ({found})",
        hint=remedy,
    )


def _is_marked(drop: Folder, database: Path) -> bool:
    with suppress(FolderError):
        return drop.marker(owners_of(database) or owners_of(database.parent)) is not None
    return False


def _a_receipt(folder: Folder) -> str:
    """Return where a receipt, or what is left of one, lies in the folder, for a person; "" where none is found."""
    with suppress(FolderError):
        if folder.occupied(KEY):
            return f"tombstones of what was erased, and their key {folder.name}/{show_path(KEY)}"
        names = (entry.path for entry in islice(folder.walk(lambda _: None), _NAMES_LOOKED_AT))
        for name in filter(is_receipts_name, names):
            with suppress(FolderError, RecordingError):
                if receipt_at(folder, name) is not None:
                    return f"a receipt lies at {folder.name}/{show_path(name)}"
    return ""
