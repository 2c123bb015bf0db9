"""Compare the books with the folders: what differs, and keeps differing while a daemon is at work."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from watcher.domain import FILED, LIVE, MOVING, UNTOUCHED, Item, State
from watcher.errors import FolderError, RecordingError
from watcher.folders import Folder, receipt_name
from watcher.folders.names import RECEIPT
from watcher.folders.tombstone_files import is_tombstone_name, tombstone_at
from watcher.ignore import Ignore
from watcher.journey.alterations import explain
from watcher.journey.arrive.companions import Companions, companions_of, stem_of, without_token
from watcher.journey.arrive.foreign import may_be_left
from watcher.journey.filed import find_alteration, lies_there
from watcher.journey.receipt import receipt_at
from watcher.outlet import Show
from watcher.store import Books
from watcher.text import JsonObject, show_path
from watcher.views.agreement import items_to_compare
from watcher.views.context import CommandContext
from watcher.views.differences import KEPT, Comparison, Names
from watcher.views.unbooked import is_unbooked

_LOOKS = 3
_MOMENT_SECONDS = 1.0  # between two looks: the daemon publishes once a second
_BATCH = 1000  # names of a folder for which the books are asked at once
_SHOWN = 100  # characters


def compare(context: CommandContext, show: Show) -> Comparison:
    """What differs at each of several looks, so that a file that is just being moved does not count.

    The items are read in the order of arrival, with a glance at what lies at the path of each, and a careful look
    where that differs; then the folders, in the order in which the disk lists them, a thousand names with what the
    books have under these: neither is ever in memory.
    """
    found = _look(context, None, show)
    for _ in range(_LOOKS - 1):
        if found.items or found.orphans or found.strays:
            context.clock.wait(_MOMENT_SECONDS, threading.Event())
            found = _look(context, found, show)
    return found


def _look(context: CommandContext, before: Comparison | None, show: Show) -> Comparison:
    """Look once: at everything, or again at what the look before found."""
    found = Comparison()
    if before is not None:
        found.left, found.collected = before.left, before.collected
        found.beyond = before.beyond
    folders = [folder for folder in context.folders if _is_there(folder, found)]
    with context.store.reading() as books:
        found.last_scan_at = books.site.get("last_scan_at")
        total = sum(books.items.counts().values())
    doubtful = items_to_compare(context, folders, show, total) if before is None else _get_items(context, before)
    for item in doubtful:
        folder = _home(context, item)
        if folder is not None and folder in folders:
            _compare_item(context, folder, _where_it_is(folder, item), found)
    for folder in folders:
        batches = _batches_in(context, folder, before)
        if before is None:
            batches = _showing(batches, folder, show)
        if folder.name == "drop":
            _compare_dropped(context, folder, batches, found)
        else:
            _compare_filed(context, folder, batches, found)
    return found


def _batches_in(context: CommandContext, folder: Folder, before: Comparison | None) -> Iterator[set[bytes]]:
    """Yield the files in the folder; of those that the look before found to differ, the ones still there."""
    if before is None:
        ignore = Ignore(context.config.arrivals.ignore if folder.name == "drop" else ())
        paths = (entry.path for entry in folder.walk(ignore.matching) if entry.kind == "file")
    else:
        mine = sorted(path for name, path in {*before.strays, *before.orphans} if name == folder.name)
        paths = (path for path in mine if folder.occupied(path))
    while batch := set(islice(paths, _BATCH)):
        yield batch


def _showing(batches: Iterable[set[bytes]], folder: Folder, show: Show) -> Iterator[set[bytes]]:
    number = 0
    for batch in batches:
        yield batch
        number += len(batch)
        show(f"{folder.name}/", number, None)


def _get_items(context: CommandContext, before: Comparison) -> list[Item]:
    """Return the items, as they are now, that the look before found to differ."""
    with context.store.reading() as books:
        return [item for item_id in before.items if (item := books.items.get(item_id)) is not None]


def _is_there(folder: Folder, found: Comparison) -> bool:
    try:
        folder.situation()
    except FolderError as error:
        found.away[folder.name] = str(error.as_fault())
        return False
    return True


def _home(context: CommandContext, item: Item) -> Folder | None:
    """The folder where its recording must be; null while it is moving, or if the books say that it is gone."""
    if item.state in UNTOUCHED:
        return context.drop
    if item.state in FILED and item.filed_as is not None and item.removed is None:
        return context.filed_in(item)
    return None


def _where_it_is(folder: Folder, item: Item) -> Item:
    """Return the item as it lies: a crash may have stopped its move within done/ between the two places."""
    there = replace(item, filed_as=item.moves_to)
    try:
        is_there = item.moves_to is not None and not lies_there(folder, item) and lies_there(folder, there)
    except (FolderError, RecordingError):
        return item
    return there if is_there else item


def _compare_item(context: CommandContext, folder: Folder, item: Item, found: Comparison) -> None:
    """Note what is not as the item's row says, and what was collected."""
    path = item.filed_as or item.path
    try:
        if folder.name == "drop":
            folder.fingerprint(item.path)
            return
        is_there = folder.occupied(path)
        if not is_there and _may_be_collected(item):
            found.collected.setdefault(folder.name, Names()).add(path)
            return
        receipt = receipt_at(folder, receipt_name(path))
        if is_there and receipt is not None and receipt["id"] != item.id and not lies_there(folder, item):
            is_there, receipt = False, None  # the name is another's by now
    except (RecordingError, FolderError) as error:
        found.note_item(item, f"is {item.state}, but {error.message}")
        return
    said = _compare_with_receipt(folder, item, receipt, is_there=is_there)
    if not said and (altered := find_alteration(folder, item, context.clock.now())):
        changed = replace(item, altered=altered)
        said = str(explain(changed))
        if len(found.altered) < KEPT:
            found.altered[item.id] = changed
    if said:
        found.note_item(item, said)


def _may_be_collected(item: Item) -> bool:
    """Whether people may have taken it away: what was accepted or dismissed is theirs."""
    return item.altered is None and (item.state is State.DONE or item.dismissed is not None)


def _compare_with_receipt(folder: Folder, item: Item, receipt: JsonObject | None, *, is_there: bool) -> str:
    """What is not as the item's row says; "" if everything is. `receipt`: the one at its name, of any item."""
    if not is_there and item.altered is not None and receipt is not None:
        return ""  # it was moved back into the drop folder, as we had advised
    if not is_there:
        lost = "its recording is" if receipt else "neither its recording nor its receipt is"
        meant = f" (if that was intended: `watcher dismiss {item.id}`)" if item.state is State.FAILED else ""
        return f"is {item.state}, but {lost} {'not ' if receipt else ''}in {folder.name}/{meant}"
    if receipt is None:
        return (
            f"its receipt is missing from {folder.name}/ or damaged; `watcher show {item.id}` has the same facts"
        )
    if receipt["id"] != item.id:
        return f"the receipt beside it belongs to another item, {show_path(receipt['id'].encode())}"
    said = {"state": str(item.state), "identifier": item.identifier, "sha256": item.sha256}
    for name, value in said.items():
        if receipt.get(name) != value:
            said_there = show_path(str(receipt.get(name)).encode())[:_SHOWN]  # it may be anybody's by now
            return f"its receipt has the {name} {said_there}; the books have {value}"
    return ""


def _compare_dropped(
    context: CommandContext, folder: Folder, batches: Iterable[set[bytes]], found: Comparison
) -> None:
    """Find which of these files in the drop folder are not in the database."""
    with context.store.reading() as books:
        waiting = {file.path for file in books.waiting.listed()}
        unlisted = books.waiting.total() - len(waiting)
        left = books.waiting.left()
    is_companion = Companions.of(context.config.arrivals).is_one
    others: list[bytes] = []
    is_any = False
    for paths in batches:
        is_any = True
        unknown = paths - waiting
        with context.store.reading() as books:
            unknown -= books.items.live_among(unknown)
            unknown = {path for path in unknown if not _is_live_companion(books, path)}
        for path in unknown:
            if len(others) < KEPT and (may_be_left(context.config, path) or is_companion(path)):
                others.append(path)
            else:
                found.note_stray(folder, path)
    if not is_any:
        return
    found.unlisted = unlisted
    if len(others) > left.foreign + left.orphaned:  # only some of them are left, and it is unknown which
        found.unlisted += left.foreign + left.orphaned
        for path in others:
            found.note_stray(folder, path)
    else:
        for path in others:
            found.left.add(path)


def _is_live_companion(books: Books, path: bytes) -> bool:
    """Whether it is the marker or a sidecar of a recording that lies in the drop folder."""
    beside = (item for stem in _stems(path) for item in books.items.accompanied(stem))
    return any(item.state in LIVE and path in item.companions for item in beside)


def _stems(companion: bytes) -> set[bytes]:
    """The stems that its recording may have: `call` and `call.wav` for `call.wav.done`."""
    stem = stem_of(companion)
    return {stem, stem_of(stem)}


def _compare_filed(
    context: CommandContext, folder: Folder, batches: Iterable[set[bytes]], found: Comparison
) -> None:
    """Find which of these files in done/ or failed/ are not in the database."""
    strays = []
    for paths in batches:
        state, names = State(folder.name), {path.removesuffix(RECEIPT) for path in paths}
        with context.store.reading() as books:
            filed = books.items.filed_among(names, state)
            unknown = paths - filed - {receipt_name(path) for path in filed}
            # The name of a recording may end as a receipt's does.
            unknown -= books.items.filed_among(unknown - names, state)
        if not unknown:
            continue
        with context.store.reading() as books:
            unknown = {path for path in unknown if not _is_filed_companion(books, path)}
        receipts = dict(_read_receipts(folder, sorted(unknown)))
        with context.store.reading() as books:
            orphans = [path for path, receipt in receipts.items() if is_unbooked(books, receipt)]
        for path in orphans:
            found.note_orphan(folder, path, _tell_orphan(folder, path, receipts[path]["id"]))
        unknown -= receipts.keys()
        strays += [path for path in unknown if not _has_papers(folder, path)]
        if len(strays) > KEPT:
            strays = _without_companions(context, strays)
            found.beyond[folder.name] += max(len(strays) - KEPT, 0)
            del strays[KEPT:]
    for path in _without_companions(context, strays):
        found.note_stray(folder, path)


def _tell_orphan(folder: Folder, path: bytes, item_id: str) -> str:
    recording = show_path(path.removesuffix(RECEIPT))
    return (
        f"{show_path(path)}: is a receipt in {folder.name}/ of item {show_path(item_id.encode())}, which is not "
        "filed according to the database: is that a restored, older copy? Leave both files where they are, and do "
        "not drop the recording again before `watcher recover` has added it; "
        f"`watcher show {folder.name}/{recording}` shows what the receipt says"
    )


def _has_papers(folder: Folder, path: bytes) -> bool:
    """Whether it is a tombstone, or a recording with a receipt, which then tells whose it is."""
    try:
        if is_tombstone_name(path) and tombstone_at(folder, path):
            return True
        return receipt_at(folder, receipt_name(path)) is not None
    except (RecordingError, FolderError):
        return False


def _is_filed_companion(books: Books, path: bytes) -> bool:
    """Whether it is the marker or a sidecar of a recording that is or will be filed beside it."""
    beside = (
        item
        for stem in {without_token(stem) for stem in _stems(path)} | _stems(path)
        for item in (*books.items.filed_beside(stem), *books.items.accompanied(stem))
    )
    return any(path in _companions_filed(item) for item in beside)


def _companions_filed(item: Item) -> set[bytes]:
    """Every name that one of the item's companions may have beside it, filed or while it is moved."""
    if item.state not in FILED | MOVING:
        return set()
    onward = set() if item.moves_to is None else companions_of(replace(item, filed_as=item.moves_to))
    return companions_of(item) | onward


def _without_companions(context: CommandContext, paths: list[bytes]) -> list[bytes]:
    """Return those that are no companion either under a name that its folder's file system had asked for."""
    left, serial, is_over = set(paths), 0, False
    while left and not is_over:
        with context.store.reading() as books:
            serial, items = books.items.with_companions(serial)
            is_over = serial >= books.items.last_serial()
        left -= {name for item in items for name in _companions_filed(item)}
    return [path for path in paths if path in left]


def _read_receipts(folder: Folder, paths: Iterable[bytes]) -> Iterator[tuple[bytes, JsonObject]]:
    """Yield the files that are receipts, each with the fields that tell whose it is."""
    for path in paths:
        try:
            receipt = receipt_at(folder, path) if path.endswith(RECEIPT) else None
        except FolderError:  # unknown
            receipt = None
        if receipt is not None:
            yield path, {"id": receipt["id"], "identifier": receipt.get("identifier")}
