"""Find items as people name them: by an id, its beginning, or a path in any folder and spelling."""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from watcher.domain import FILED, IN_DROP, MOVING, Item, State
from watcher.errors import NoSuchItem
from watcher.folders import Folder
from watcher.folders.names import RECEIPT
from watcher.journey.arrive.companions import Companions, companions_of, stem_of, without_token
from watcher.journey.decisions import is_incomplete
from watcher.mounts import resolve
from watcher.store import Books
from watcher.text import show_path
from watcher.views import spelling
from watcher.views.context import CommandContext

_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")

Place = tuple[Folder | None, bytes]
"""A path in one of the folders; null: in any of them."""


@dataclass(frozen=True, slots=True)
class Named:
    """An item as a person named it: the text, and for each of its spellings where it may be (see places_of).

    The first spelling is the one that was typed.
    """

    text: str
    spellings: tuple[list[Place], ...]


def read_path(text: str) -> bytes:
    r"""The path that a person typed, `\xNN` being the byte of that number."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(text))


def places_of(context: CommandContext, raw: bytes) -> list[Place]:
    """What a person's path may mean: a path on this machine in one of the folders, or relative to any of them.

    It may also begin with `drop/`, `done/` or `failed/`, as we call the folders, wherever they are.
    """
    whole = os.path.abspath(raw)
    found: list[Place] = []
    for folder in context.folders:
        for base in {folder.root, resolve(folder.root)}:
            if whole.startswith(base + b"/"):
                found.insert(0, (folder, whole[len(base) + 1 :]))
    named, _, rest = os.path.normpath(raw).partition(b"/")
    if not os.path.isabs(raw) and named != b"..":
        found.append((None, os.path.normpath(raw)))
        found += [(folder, rest) for folder in context.folders if rest and folder.name.encode() == named]
    return found


def other_spellings(context: CommandContext, raw: bytes) -> Iterator[bytes]:
    """The same path in other Unicode forms; see spelling.other_spellings."""
    if context.silent:
        return
    roots = {folder.name.encode(): folder.root for folder in context.folders}
    named, _, rest = raw.partition(b"/")
    if rest and named in roots:
        yield from spelling.other_spellings(rest, [roots[named]])
    yield from spelling.other_spellings(raw, [os.getcwdb(), *roots.values()])


def read_name(context: CommandContext, text: str) -> Named:
    """What a person named, and where it may be. Call this outside of a transaction, since it reads the disk."""
    raw = read_path(text)
    spellings = chain([raw], other_spellings(context, raw))
    return Named(text, tuple(places_of(context, spelled) for spelled in spellings))


def find_item(books: Books, named: Named) -> Item:
    """The item that a person named by its id, the first 6 characters of it or more, or a path.

    An item whose recording is at the path now is preferred to a later one that had the path. A receipt stands for
    its recording. A name is found in any Unicode form. Raises NoSuchItem if there is none, or if the beginning of
    an id fits several.
    """
    with suppress(NoSuchItem):
        return books.items.find(named.text, [])
    for places in named.spellings:
        with suppress(NoSuchItem):
            return _find_at(books, named.text, places)
    return books.items.find(named.text, [])


def find_failed(books: Books, names: Iterable[Named] | None, remedy: str) -> list[Item]:
    """The failed items that a person named; null names: all that were not dismissed. See _find_in_state."""
    if names is None:
        return [item for item in books.items.listed([State.FAILED]) if item.dismissed is None]
    return _find_in_state(books, names, State.FAILED, remedy)


def find_retriable(books: Books, names: Iterable[Named] | None) -> list[Item]:
    """Return what find_failed does, and of those a person named also what is done only in part."""
    if names is None:
        return find_failed(books, None, "")
    incomplete, others = [], []
    for name in names:
        item = find_item(books, name)
        if is_incomplete(books, item):
            incomplete.append(item)
        else:
            others.append(name)
    return incomplete + find_failed(books, others, "Only failed recordings can be sent again.")


def find_held(books: Books, names: Iterable[Named] | None) -> list[Item]:
    """The held items that a person named; null names: all. See _find_in_state."""
    if names is None:
        return list(books.items.listed([State.HELD]))
    return _find_in_state(books, names, State.HELD, "Only held recordings can be released or failed.")


def find_filed(books: Books, named: Named) -> Item:
    """Return the filed item that a person named. Raises NoSuchItem for one that is not filed."""
    item = find_item(books, named)
    if item.state not in FILED:
        raise NoSuchItem(
            f"{show_path(os.fsencode(named.text))}: is {item.state}, not done or failed",
            hint=f"Only what is filed can be reviewed. See `watcher show {item.id}`.",
        )
    return item


def _find_in_state(books: Books, names: Iterable[Named], state: State, remedy: str) -> list[Item]:
    """The items that a person named, each once, all in this state. Raises NoSuchItem if one is not.

    `remedy`: a sentence that says which ones can be named.
    """
    items: dict[str, Item] = {}
    for name in names:
        item = find_item(books, name)
        if item.state is not state:  # a later item has its path: mean the one that is in the state
            paths = {path for places in name.spellings for _, path in places}
            named = books.items.named(paths)
            meant = [one for one in named if one.state is state and {one.path, one.filed_as} & paths]
            item = meant[-1] if meant else item
        if item.state is not state:
            shown = show_path(os.fsencode(name.text))
            raise NoSuchItem(
                f"{shown}: is {item.state}, not {state}", hint=f"{remedy} See `watcher show {item.id}`."
            )
        items[item.id] = item
    return list(items.values())


def find_lying(books: Books, folder: Folder | None, path: bytes) -> Item | None:
    """The item whose recording is at this path in this folder, by the books. Null folder: the drop folder."""
    if folder is None or folder.name == "drop":
        return books.items.live_at(path)
    state = State(folder.name)
    latest = books.items.latest_at(path)
    if latest is not None and _may_lie(latest, state, path):
        return latest
    return next((item for item in books.items.named([path]) if _may_lie(item, state, path)), None)


def find_accompanied(books: Books, companions: Companions, path: bytes, states: Collection[State]) -> list[Item]:
    """The items in these states whose marker or sidecar this is, the oldest arrival first.

    They are found by their names. Only in done/ and failed/ may a companion have a name that tells little of its
    recording's, where the file system had asked for that: then all that have companions are looked at.
    """
    marked = companions.recording_of(path)
    stems = set(companions.stems_of(path)) if marked is None else {marked, stem_of(marked)}
    stems |= {without_token(stem) for stem in stems}
    near = books.items.named(stems)  # recordings without an extension, and those of markers
    for stem in stems:
        near += [*books.items.accompanied(stem), *books.items.filed_beside(stem)]
    found = {item.id: item for item in near if _brings(item, path, states)}
    if not found and not IN_DROP.issuperset(states) and _ALTERED.search(path):
        found = {item.id: item for item in _with_companions(books) if _brings(item, path, states)}
    return sorted(found.values(), key=lambda item: item.arrived_at)


_ALTERED = re.compile(rb"_|(?:^|/)[^/]{100,}$|^[0-9a-f]{16}")  # tamed, cut, or the item's id: see names.versions


def _brings(item: Item, path: bytes, states: Collection[State]) -> bool:
    return item.state in states and path in companions_of(item)


def _with_companions(books: Books) -> Iterator[Item]:
    serial, last = 0, books.items.last_serial()
    while serial < last:
        serial, items = books.items.with_companions(serial)
        yield from items


def _find_at(books: Books, text: str, places: list[Place]) -> Item:
    receipts = [(folder, path.removesuffix(RECEIPT)) for folder, path in places if path.endswith(RECEIPT)]
    for folder, path in (*places, *receipts):
        if (item := find_lying(books, folder, path)) is not None:
            return item
    return books.items.find(text, [path for _, path in (*places, *receipts)])


def _may_lie(item: Item, state: State, path: bytes) -> bool:
    """Whether it was filed under this name, is about to be, or is still to be moved back from there."""
    is_moved = item.state in MOVING and item.outcome is state
    return path in (item.filed_as, item.moves_to) and (item.state is state or is_moved)
