"""`why`: one or two plain sentences about any path."""

import os
import stat

from watcher.domain import FILED, IN_DROP, LIVE, Item, State
from watcher.errors import FolderError, RecordingError, RecordingRefused, RecordingUnreachable
from watcher.folders import Folder, fingerprint_of
from watcher.folders.names import RECEIPT
from watcher.ignore import Ignore
from watcher.journey.arrive.companions import Companions
from watcher.journey.arrive.foreign import find_raw, is_left, look_into, may_be_left
from watcher.journey.receipt import RECEIPT_BYTES, is_receipt_of
from watcher.mounts import resolve
from watcher.store import Waiting
from watcher.store.waiting import FOLDER_UNREADABLE
from watcher.text import local_time, show_path
from watcher.views.buried import buried_at
from watcher.views.context import CommandContext
from watcher.views.lookup import find_accompanied, find_lying, other_spellings, places_of, read_path
from watcher.views.outlook import explain_outlook
from watcher.views.prospects import explain_item, explain_wait
from watcher.views.spelling import tell_spelling
from watcher.views.unbooked import find_unbooked


def explain_path(context: CommandContext, text: str) -> str:
    """Why the file at this path, as a person typed it, is where it is, and what happens next."""
    raw, text = read_path(text), show_path(os.fsencode(text))
    if (said := _explain_as_named(context, text, raw)) is not None:
        return said
    for spelled in other_spellings(context, raw):
        if (said := _explain_as_named(context, text, spelled)) is not None:
            return f"{tell_spelling(raw, spelled)} {said}".strip()
    return f"{text}: there is no such file, neither in the drop folder nor in done/ or failed/."


def _explain_as_named(context: CommandContext, text: str, raw: bytes) -> str | None:
    """Why the file of exactly this name is where it is; null if none is known. `text`: what was typed."""
    whole = os.path.abspath(raw)
    if (itself := _explain_root(context, resolve(whole))) is not None:
        return f"{text} {itself}"
    for folder, path in places_of(context, raw):
        said = None
        if folder is not None and folder.name != "drop":
            said = _explain_filed(context, folder, path)
        said = said or _explain_dropped(context, path)
        if said is not None:
            return said if said.startswith(show_path(path)) else f"{show_path(path)} {said}"
    real = os.path.join(resolve(os.path.dirname(whole)), os.path.basename(whole))
    if real != whole:
        return _explain_as_named(context, text, real)
    if (itself := _explain_root(context, whole, named=text)) is not None:
        return f"{text} {itself}"
    if not context.silent and os.path.lexists(whole):
        said = (
            f"{text} is not in {context.drop.label()}, so it is not submitted. Copy it there to have it submitted."
        )
        holder = Folder(os.path.dirname(whole), "named")
        return f"{said} {explain_outlook(context, holder, os.path.basename(whole))}".strip()
    return None


_ROOTS = {
    "drop": "recordings that are put into it are submitted, and then filed in done/ or failed/",
    "done": "it has the recordings that were accepted, each with its receipt",
    "failed": "it has the recordings that cannot be accepted, each with a receipt that says why",
}


def _explain_root(context: CommandContext, path: bytes, *, named: str = "") -> str | None:
    """What one of the three folders is for, if this path, or its name here, is the folder itself."""
    for folder in context.folders:
        if path == resolve(folder.root) or named.rstrip("/") == folder.name:
            return f"is the {folder.name} folder: {_ROOTS[folder.name]}. Ask about a file in it."
    return None


def _explain_filed(context: CommandContext, folder: Folder, path: bytes) -> str | None:
    """What has this name in done/ or failed/, whatever had it elsewhere; null if nothing has."""
    with context.store.reading() as books:
        item, of = find_lying(books, folder, path), None
        if item is None and path.endswith(RECEIPT):
            of = find_lying(books, folder, path.removesuffix(RECEIPT))
    if item is not None:
        return explain_item(context, item)
    if of is not None:
        return _explain_receipt(context, of)
    try:
        if not folder.occupied(path):
            return None
    except FolderError as error:
        return str(error.as_fault())
    if (unbooked := find_unbooked(context, [(folder, path)])) is not None:
        return str(unbooked)
    if (buried := buried_at(folder, path)) is not None:
        return f"is the tombstone of item {buried.tombstone.id}, which {buried}"
    came = _explain_companion(context, path, [State(folder.name)])
    return came or f"is in {folder.name}/, but was not filed there by watcher."


def _explain_dropped(context: CommandContext, path: bytes) -> str | None:
    """The file in the drop folder, or what became of one that was there."""
    with context.store.reading() as books:
        item = books.items.live_at(path) or books.items.latest_at(path)
        file = books.waiting.at(path)
        of = books.items.latest_at(path.removesuffix(RECEIPT)) if path.endswith(RECEIPT) else None
    on_disk = _look(context, path)
    if item is None and (above := _explain_above(context, path)) is not None:
        return above
    if on_disk is not None and (foreign := _explain_foreign(context, path, on_disk)) is not None:
        return foreign
    if item is None and (travels := _explain_companion(context, path, sorted(IN_DROP))) is not None:
        return travels
    is_known = file is not None or (item is not None and item.state in LIVE)
    if on_disk is not None and not is_known and (left := _explain_left(context, path, of)) is not None:
        return left
    # The waiting list is as old as the last scan. If the item belongs to the file that is here now, or to one that
    # has left since, the item is newer.
    if file is not None and (item is None or (on_disk and fingerprint_of(on_disk) != item.fingerprint)):
        plan = explain_outlook(context, context.drop, path, is_settled=False)
        return _explain_waiting(file, f"{f' {plan}' if plan else ''}{explain_wait(context)}")
    is_gone = on_disk is None and (item is None or item.state not in FILED)
    if is_gone and (unbooked := find_unbooked(context, [(None, path)])) is not None:
        return str(unbooked)
    if item is not None:
        said = explain_item(context, item)
        is_another = on_disk is not None and item.state in FILED
        return f"{_explain_unseen(context, path)} An earlier recording of this name {said}" if is_another else said
    if of is not None:
        return _explain_receipt(context, of)
    if on_disk is None:
        return _explain_companion(context, path, sorted(FILED))
    return _explain_unseen(context, path)


def _explain_waiting(file: Waiting, meanwhile: str = "") -> str:
    """Why it is not taken yet, and what to do. A command comes at the very end, so that it can be copied."""
    what, _, remedy = (file.reason or "was seen and is not taken yet").partition("; ")
    said = f"{what} (since {local_time(file.since)})"
    if not file.is_blocked:
        return f"{said}{f'; {remedy}' if remedy else ''}.{meanwhile}"
    return f"{said}.{meanwhile} {remedy[:1].upper()}{remedy[1:]}".strip()


def _explain_unseen(context: CommandContext, path: bytes) -> str:
    """What becomes of a file in the drop folder that has neither an item nor a place in the waiting list."""
    with context.store.reading() as books:
        seen = books.site.get("last_scan_at")
    plan = explain_outlook(context, context.drop, path)
    then = f" {plan}" if plan else ""
    if seen is None:
        return f"is in the drop folder, which was never scanned. Start `watcher run`.{then}"
    return (
        "is in the drop folder, but was not there, or not among the first 1,000 waiting files, at the last scan "
        f"({local_time(seen)}). A running daemon scans again within {context.config.arrivals.rescan_seconds:g} s."
        f"{then}{explain_wait(context)}"
    )


def _explain_above(context: CommandContext, path: bytes) -> str | None:
    """Why nothing at this path is ever seen: it is, or is in, a folder that is not looked into; else null."""
    names = path.split(b"/")
    for depth in range(1, len(names) + 1):
        above = b"/".join(names[:depth])
        with context.store.reading() as books:
            row = books.waiting.at(above)
        if row is not None and row.code == FOLDER_UNREADABLE:
            where = "" if above == path else f"is in {show_path(above)}, which "
            return f"{where}{_explain_waiting(row)}"
        whole = os.path.join(context.drop.root, above)
        if above != path and context.drop.answers and os.path.islink(whole):
            kind = "a symbolic link to a folder" if os.path.isdir(whole) else "a symbolic link"
            return (
                f"is below {show_path(above)}, which is {kind}: links are never followed, so nothing there is "
                "seen. Copy the recording itself into the drop folder."
            )
    return None


def _explain_receipt(context: CommandContext, item: Item) -> str:
    return f"is the receipt of item {item.id}, which {explain_item(context, item)}"


def _explain_companion(context: CommandContext, path: bytes, states: list[State]) -> str | None:
    """The latest recording in one of these states whose marker or sidecar this is; null if it is none's."""
    if not Companions.of(context.config.arrivals).is_one(path):
        return None
    with context.store.reading() as books:
        mine = find_accompanied(books, Companions.of(context.config.arrivals), path, states)
    if not mine:
        return None
    verb = "is filed with its recording" if mine[-1].state in IN_DROP else "came with the recording"
    return f"{verb} {show_path(mine[-1].path)} (item {mine[-1].id}), which {explain_item(context, mine[-1])}"


def _look(context: CommandContext, path: bytes) -> os.stat_result | None:
    if not context.drop.answers:
        return None
    try:
        return os.lstat(os.path.join(context.config.folders.drop, path))
    except (OSError, ValueError):
        return None


def _explain_foreign(context: CommandContext, path: bytes, found: os.stat_result) -> str | None:
    """Why a file of this name or kind in the drop folder is never taken; null if it may be."""
    ignore = Ignore(context.config.arrivals.ignore)
    if (pattern := ignore.matching(path)) is not None:
        source = ignore.source(pattern)
        whose = f"the built-in list of names; {source}" if source else "arrivals.ignore"
        return f"is ignored: it matches {pattern!r} ({whose}). Rename it if it is a recording."
    if stat.S_ISREG(found.st_mode):
        return None
    if stat.S_ISDIR(found.st_mode):
        return "is a folder, and folders stay where they are. Ask about a file in it."
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = kinds.get(stat.S_IFMT(found.st_mode), "not a regular file")
    return f"is {kind}: it is never opened, sent or moved. Drop the recording itself."


def _is_receipt(context: CommandContext, path: bytes, of: Item | None) -> bool:
    """Whether it is the receipt of a recording that had its name, as when both are dragged back here."""
    try:
        return of is not None and is_receipt_of(context.drop.read(path, RECEIPT_BYTES), of.id)
    except (RecordingError, FolderError):
        return False


def _explain_left(context: CommandContext, path: bytes, of: Item | None) -> str | None:
    """Why this file in the drop folder is left where it is; null if it is taken."""
    if Companions.of(context.config.arrivals).is_one(path):
        return "is a marker or sidecar. It waits for its recording, with which it is filed; it is never submitted."
    if not may_be_left(context.config, path) or _is_receipt(context, path, of):
        return None
    go = "It is not sent or paid for. If it is a recording, give it a recording's extension (such as .wav)"
    try:
        file, fingerprint = context.drop.open(path)
    except RecordingUnreachable as error:
        return (
            f"is not a recording by its name, and its content cannot be read: it is left here. {error.as_fault()}"
        )
    except (RecordingError, FolderError):
        return None
    with file:
        found = look_into(file, fingerprint.size, path, raw=find_raw(context.config.audio, path))
    if not is_left(context.config, path, fingerprint.size, found):
        return None
    looks = f" {found.message}" if isinstance(found, RecordingRefused) else ""
    return (
        "is not a recording, by its name or its content: it is left where it is (arrivals.foreign)."
        f"{looks} {go}. It is examined again when it changes."
    )
