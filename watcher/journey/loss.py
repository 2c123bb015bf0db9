"""Detect a lost database: the site's folders have been worked on, and the database does not know it.

Starting with a new one would pay again for whatever comes again, and take what is filed for unknown. So a start is
refused, and `status` and `check` report it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from watcher.errors import FolderError, RecordingError, StoreError, StoreLost
from watcher.folders import MARKER, Folder
from watcher.folders.names import is_aside, is_receipts_name
from watcher.journey.site import owners_of
from watcher.store import Books, Store
from watcher.text import show_path

_FACT = "loss"
_NAMES_LOOKED_AT = 20_000  # in each folder: where there are receipts, one is soon found


def find_loss(store: Store, drop: Folder, filed: Sequence[Folder]) -> StoreError | None:
    """Return the error to raise where the database is empty or gone, or its recovery was cut off; None otherwise.

    A mark in the drop folder shows that a daemon worked here. An empty file is never ours: a database is created
    under another name and then renamed. Where there is no file, or one that knows no site, a receipt is needed as
    well: a site that has filed nothing has nothing to lose. `filed`: done and failed. Raises StoreError.
    """
    database, path = store.database.path, store.database.name
    try:
        size = store.database.size()
    except OSError:
        return None  # the store says what is wrong with it
    if size:
        with store.reading() as books:
            is_known, noted = books.site.get("id") is not None, find_loss_noted(books)
        if noted is not None and not noted.is_settled:
            hint = "Run `watcher recover` again: it goes on from there."
            return StoreLost(f"{path} is not complete: its recovery was cut off", hint=hint)
        if is_known:
            return None
    if not _is_marked(drop, database):
        return None
    marks = " ".join(folder.quoted(MARKER) for folder in (drop, *filed))
    remedy = (
        "restore a copy of it if there is one; then, or without one, run `watcher recover`, which rebuilds the "
        "database from the receipts and pays for nothing twice. Or name the right one in store.url, or copy it "
        "from where it has been: `watcher migrate --from URL`. To begin "
        f"anew all the same, remove the old site's marks ({marks}), and the empty file if there is one: what is "
        "dropped again is then paid for again"
    )
    if size == 0:
        return StoreError(f"{path} is empty, though the folders of this site have been worked on", hint=remedy)
    found = next(filter(None, map(_a_receipt, filed)), None)
    if found is None:
        return None
    worked_on = f"though the folders of this site have been worked on ({found})"
    if size:
        own = store.database.own_site()
        knows = f"knows nothing of this site ({own})" if own else "is new and knows nothing"
        return StoreLost(f"{path} {knows}, {worked_on}", hint=remedy)
    return StoreLost(f"{path} is gone: there is no database, {worked_on}", hint=remedy)


def _is_marked(drop: Folder, database: Path) -> bool:
    with suppress(FolderError):
        return drop.marker(owners_of(database) or owners_of(database.parent)) is not None
    return False


def _a_receipt(folder: Folder) -> str:
    """Return where a receipt, or what is left of one, lies in the folder, for a person; "" where none is found."""
    # Loaded only here: a database is seldom lost, and a short command waits for them. A daemon has them anyway.
    from watcher.folders.tombstone_files import KEY  # noqa: PLC0415
    from watcher.journey.receipt import receipt_at  # noqa: PLC0415

    with suppress(FolderError):
        if folder.occupied(KEY):
            return f"tombstones of what was erased, and their key {folder.name}/{show_path(KEY)}"
        scan = folder.walk(lambda name: "no receipt" if is_aside(name) else None)
        names = (entry.path for entry in islice(scan, _NAMES_LOOKED_AT))
        for name in filter(is_receipts_name, names):
            with suppress(FolderError, RecordingError):
                if receipt_at(folder, name) is not None:
                    return f"a receipt lies at {folder.name}/{show_path(name)}"
    return ""


@dataclass(frozen=True, slots=True)
class Loss:
    """The database was lost, or an older copy restored, and then recovered.

    `until`: what lay in the drop folder then, and is in no book, may have been sent. `is_settled`: the recovery
    has come to its end.
    """

    until: float
    is_settled: bool


def find_loss_noted(books: Books) -> Loss | None:
    """Return the latest loss that was recovered from; None where there was none."""
    fact = books.site.get(_FACT)
    return None if fact is None else Loss(float(fact["until"]), bool(fact["is_settled"]))


def note_loss(books: Books, until: float, *, is_settled: bool) -> None:
    """Record that the books were rebuilt, and may miss what was sent until then."""
    books.site.put(_FACT, {"until": until, "is_settled": is_settled})
