"""Compare the books with the folders: what differs, and keeps differing while a daemon is at work."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from watcher.domain import FILED, MOVING, UNTOUCHED, Item, State
from watcher.errors import FolderError, RecordingError
from watcher.folders import Folder, receipt_name
from watcher.folders.names import RECEIPT
from watcher.folders.tombstone_files import is_tombstone_name, tombstone_at
from watcher.ignore import Ignore
from watcher.journey.alterations import explain
from watcher.journey.arrive.companions import Companions, companions_of
from watcher.journey.arrive.foreign import may_be_left
from watcher.journey.filed import find_alteration, has_lost_name, lies_there
from watcher.journey.receipt import receipt_at
from watcher.text import JsonObject, rfc3339, show_path
from watcher.views.context import CommandContext
from watcher.views.recordings import list_items
from watcher.views.unbooked import is_unbooked

_LOOKS = 3
_MOMENT_SECONDS = 1.0  # between two looks: the daemon publishes once a second
_NAMED = 3
_SHOWN = 100  # characters

_Path = tuple[str, bytes]  # a folder's name, and a path in it


@dataclass(slots=True)
class Comparison:
    """What one look found. `strays` need not be wrong: people may put files where they like."""

    away: dict[str, str] = field(default_factory=dict)  # by the folder's name
    items: dict[str, str] = field(default_factory=dict)  # by id
    altered: dict[str, Item] = field(default_factory=dict)  # items whose recordings were altered, by id
    orphans: dict[_Path, str] = field(default_factory=dict)  # receipts without an item
    strays: set[_Path] = field(default_factory=set)  # files that are in no book
    left: set[bytes] = field(default_factory=set)  # in the drop folder, and not recordings: they stay there
    collected: set[_Path] = field(default_factory=set)  # filed recordings that somebody took away, as people may
    unlisted: int = 0  # this many strays in the drop folder are known to wait, but not which
    last_scan_at: float | None = None

    @property
    def wrong(self) -> list[str]:
        return [*self.away.values(), *self.items.values(), *self.orphans.values()]

    @property
    def notes(self) -> list[str]:
        """What is in no book or was collected, folder by folder. None of it is an error."""
        notes = []
        for name in ("done", "failed"):
            if paths := sorted(path for folder, path in self.collected if folder == name):
                what = "filed recording is" if len(paths) == 1 else "filed recordings are"
                notes.append(f"{len(paths):,} {what} no longer in {name}/ (collected): {_some(paths)}")
        for name in ("drop", "done", "failed"):
            paths = sorted(path for folder, path in self.strays if folder == name)
            number = len(paths) - (self.unlisted if name == "drop" else 0)
            if number <= 0:
                continue
            which = "" if name == "drop" and self.unlisted else f": {_some(paths)}"
            files = f"{number:,} {'file' if number == 1 else 'files'} in {name}/"
            if name == "drop":
                since = rfc3339(self.last_scan_at)
                looked = f"the last scan was at {since}" if since else "it was never scanned"
                notes.append(f"{files}, in no book yet ({looked}; `watcher run` takes them){which}")
            else:
                notes.append(f"{files}, not filed by the watcher{which}")
        if self.left:
            number = len(self.left)
            are = (
                "1 file in drop/ is not a recording and is"
                if number == 1
                else f"{number:,} files in drop/ are not recordings and are"
            )
            notes.append(f"{are} left there: {_some(sorted(self.left))}")
        return notes


def _some(paths: list[bytes]) -> str:
    return ", ".join([show_path(path) for path in paths[:_NAMED]] + ["…"] * (len(paths) > _NAMED))


def compare(context: CommandContext) -> Comparison:
    """What differs at each of several looks, so that a file that is just being moved does not count."""
    found = _look(context, None)
    for _ in range(_LOOKS - 1):
        if found.items or found.orphans or found.strays:
            context.clock.wait(_MOMENT_SECONDS, threading.Event())
            found = _look(context, found)
    return found


def _look(context: CommandContext, before: Comparison | None) -> Comparison:
    """Look once: at everything, or again at what the look before found."""
    found = Comparison()
    if before is not None:
        found.left, found.collected = set(before.left), set(before.collected)
    folders = [folder for folder in context.folders if _is_there(folder, found)]
    with context.store.reading() as books:
        found.last_scan_at = books.site.get("last_scan_at")
    for booked in list_items(context) if before is None else _get_items(context, before):
        folder = _home(context, booked)
        if folder is None or folder not in folders:
            continue
        item = _where_it_is(folder, booked)
        if _is_collected(folder, item):
            found.collected.add((folder.name, item.filed_as or item.path))
            continue
        said = _compare_item(folder, item)
        if not said and folder.name != "drop" and (altered := find_alteration(folder, item, context.clock.now())):
            found.altered[item.id] = replace(item, altered=altered)
            said = str(explain(found.altered[item.id]))
        if said:
            found.items[item.id] = f"{item.id[:6]} {show_path(item.filed_as or item.path)}: {said}"
    for folder in folders:
        paths = _paths_in(context, folder, before)
        if paths and folder.name == "drop":
            _compare_dropped(context, paths, found)
        elif paths:
            _compare_filed(context, folder, paths, found)
    return found


def _paths_in(context: CommandContext, folder: Folder, before: Comparison | None) -> set[bytes]:
    """Return the files in the folder; of those that the look before found to differ, the ones still there."""
    if before is None:
        ignore = Ignore(context.config.arrivals.ignore if folder.name == "drop" else ())
        return {entry.path for entry in folder.walk(ignore.matching) if entry.kind == "file"}
    mine = {path for name, path in {*before.strays, *before.orphans} if name == folder.name}
    return {path for path in mine if folder.occupied(path)}


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


def _is_collected(folder: Folder, item: Item) -> bool:
    """Whether people have taken it away, as they may: what was accepted or dismissed is theirs."""
    if item.state is not State.DONE and item.dismissed is None:
        return False
    try:
        return item.altered is None and not folder.occupied(item.filed_as or item.path)
    except FolderError:
        return False  # unknown: _compare_item says why


def _compare_item(folder: Folder, item: Item) -> str:
    """What is not as the item's row says; "" if everything is."""
    if folder.name == "drop":
        try:
            folder.fingerprint(item.path)
        except (RecordingError, FolderError) as error:
            return f"is {item.state}, but {error.message}"
        return ""
    path = item.filed_as or item.path
    try:
        is_there, receipt = _find(folder, item, path)
    except (FolderError, RecordingError) as error:
        return f"is {item.state}, but {error.message}"
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


def _find(folder: Folder, item: Item, path: bytes) -> tuple[bool, JsonObject | None]:
    """Whether a file has the item's name, and the receipt beside it; neither if the name is another's by now."""
    if has_lost_name(folder, item):
        return False, None
    return folder.occupied(path), receipt_at(folder, receipt_name(path))


def _compare_dropped(context: CommandContext, paths: set[bytes], found: Comparison) -> None:
    """Find which of these files in the drop folder are not in the database."""
    settings = context.config.arrivals
    with context.store.reading() as books:
        waiting = {file.path for file in books.waiting.listed()}
        found.unlisted = books.waiting.total() - len(waiting)
        unknown = paths - waiting - books.items.live_paths().keys() - set(books.items.live_companions())
        left = books.waiting.left()
    is_companion = Companions.of(settings).is_one
    others = {path for path in unknown if may_be_left(context.config, path) or is_companion(path)}
    if len(others) > left.foreign + left.orphaned:  # only some of them are left, and it is unknown which
        found.unlisted += left.foreign + left.orphaned
    else:
        found.left |= others
        unknown -= others
    found.strays |= {("drop", path) for path in unknown}


def _compare_filed(context: CommandContext, folder: Folder, paths: set[bytes], found: Comparison) -> None:
    """Find which of these files in done/ or failed/ are not in the database."""
    with context.store.reading() as books:
        unknown = paths - _names_of(books.items.listed([State(folder.name), *MOVING]))
    receipts = dict(_read_receipts(folder, sorted(unknown)))
    with context.store.reading() as books:
        orphans = [path for path, receipt in receipts.items() if is_unbooked(books, receipt)]
    for path in orphans:
        told = show_path(receipts[path]["id"].encode())
        recording = show_path(path.removesuffix(RECEIPT))
        found.orphans[folder.name, path] = (
            f"{show_path(path)}: is a receipt in {folder.name}/ of item {told}, which is not filed according "
            "to the database: is that a restored, older copy? Leave both files where they are, and do not "
            f"drop the recording again; `watcher show {folder.name}/{recording}` shows what the receipt says"
        )
    unknown -= receipts.keys() | {path.removesuffix(RECEIPT) for path in receipts}
    unknown -= {path for path in unknown if is_tombstone_name(path) and tombstone_at(folder, path)}
    found.strays |= {(folder.name, path) for path in unknown}


def _read_receipts(folder: Folder, paths: Iterable[bytes]) -> Iterator[tuple[bytes, JsonObject]]:
    """Yield the files that are receipts, each with the fields that tell whose it is."""
    for path in paths:
        try:
            receipt = receipt_at(folder, path) if path.endswith(RECEIPT) else None
        except FolderError:  # unknown
            receipt = None
        if receipt is not None:
            yield path, {"id": receipt["id"], "identifier": receipt.get("identifier")}


def _names_of(items: Iterable[Item]) -> set[bytes]:
    """Every name that these have or will have in done/ or failed/: recordings, receipts, companions."""
    names: set[bytes] = set()
    for item in items:
        for path in {item.filed_as or item.path, item.moves_to or item.filed_as or item.path}:
            names |= {path, receipt_name(path), *companions_of(replace(item, filed_as=path))}
    return names
