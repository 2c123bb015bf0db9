"""What `erase` would remove, what else has the same bytes, and what cannot be reached from here."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from watcher.domain import FILED, Item, State
from watcher.errors import NoSuchItem, NotAtRest
from watcher.folders import receipt_name
from watcher.store import Books
from watcher.text import show_path
from watcher.views.buried import Buried, find_buried_item
from watcher.views.context import CommandContext
from watcher.views.lookup import Named, find_item, read_name
from watcher.views.unbooked import Unbooked, find_unbooked

_ERASABLE = FILED | {State.WITHDRAWN}
_FIRST = {
    State.HELD: "`watcher fail {id}` gives it up; erase it once it is filed",
    State.PREPARING: "take it out of the drop folder; erase it once it is withdrawn",
    State.QUEUED: "take it out of the drop folder; erase it once it is withdrawn",
}


@dataclass(frozen=True)
class Erasure:
    """What is to be erased, and what is not. `erased`: named, and already no more."""

    items: list[Item]
    copies: list[Item]  # others with the same bytes, which stay
    erased: list[Buried]
    receipts: list[Unbooked]  # of items whose rows are gone
    reaches_service: bool
    old_databases: list[str]

    def out_of_reach(self) -> Iterator[str]:
        """Yield what has it still, and what to do about that."""
        if self.reaches_service:
            yield "the service has what was sent to it, and offers no way to delete it: ask identifAI"
        for path in self.old_databases:
            yield f"a copy of the database from before an upgrade has it: rm {show_path(os.fsencode(path))}"
        yield "backups of the folders and of the database; the log, which has names; whatever people have copied"


def plan_erasure(context: CommandContext, texts: Iterable[str], *, all_copies: bool) -> Erasure:
    """Find what a person named, and what has the same bytes.

    Raises NoSuchItem; NotAtRest where one of them, or with `all_copies` a copy, is still under way or held.
    """
    named = [read_name(context, text) for text in texts]
    items: dict[str, Item] = {}
    erased: list[Buried] = []
    receipts: list[Unbooked] = []
    for name in named:
        try:
            with context.store.reading() as books:
                item = find_item(books, name)
        except NoSuchItem:
            forgotten = _find_forgotten(context, name)
            if isinstance(forgotten, Buried):
                erased.append(forgotten)
            elif forgotten is not None:
                receipts.append(forgotten)
            else:
                raise
        else:
            items[item.id] = item
    with context.store.reading() as books:
        copies = _copies(books, items)
    if all_copies:
        items |= copies
        copies = {}
    for item in items.values():
        _check_at_rest(item)
    return Erasure(
        items=list(items.values()),
        copies=list(copies.values()),
        erased=erased,
        receipts=receipts,
        reaches_service=bool(receipts) or any(item.attempts or item.identifier for item in items.values()),
        old_databases=context.store.database.copies_with(list(items)),
    )


def _find_forgotten(context: CommandContext, name: Named) -> Buried | Unbooked | None:
    """What is left of an item without a row: its tombstone, or a receipt that outlived it; null for neither."""
    with context.store.reading() as books:
        buried = find_buried_item(books, name.text)
    if buried is not None:
        return buried
    found = (find_unbooked(context, places) for places in name.spellings)
    return next((one for one in found if one is not None and one.is_forgotten), None)


def _copies(books: Books, items: dict[str, Item]) -> dict[str, Item]:
    """Every other item with the same bytes, whatever was asked about them."""
    copies: dict[str, Item] = {}
    for item in items.values():
        if item.sha256 is not None:
            copies |= {one.id: one for one in books.items.with_sha256(item.sha256) if one.id not in items}
    return copies


def _check_at_rest(item: Item) -> None:
    if item.state not in _ERASABLE:
        hint = _FIRST.get(item.state, "wait until it is filed: `watcher show {id}` tells").format(id=item.id)
        raise NotAtRest(f"{item.id} {show_path(item.path)}: is {item.state}, and nothing was erased", hint=hint)


def describe_places(context: CommandContext, item: Item) -> str:
    """Where what is to be erased lies, in words."""
    if item.state is State.WITHDRAWN or item.filed_as is None:
        return "its rows in the database"
    folder, name = context.filed_in(item).name, item.filed_as
    places = [] if item.removed is not None else [f"{folder}/{show_path(name)}"]
    places += [] if item.receipt_removed_at is not None else [f"{folder}/{show_path(receipt_name(name))}"]
    if item.companions:
        places.append("its companions")
    return ", ".join([*places, "its rows in the database"])
