"""`prune` and `erase`: what a command has the daemon do, or does itself where none works here.

Either way it is committed first, and done by the same step: a kill leaves it to the next start.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from watcher.domain import Fault, Item
from watcher.errors import InstanceRunning
from watcher.folders import receipt_name
from watcher.folders.tombstone_files import write_tombstone
from watcher.journey.file.onward import end_moves
from watcher.journey.instance import lock_database
from watcher.journey.retain.due import Stage, find_altered, foresee
from watcher.journey.retain.removing import remove_receipt
from watcher.journey.retain.retention import ASKED, SWEPT, Retention, sweep_claimed
from watcher.journey.site import Site
from watcher.store import Removal
from watcher.store.removal_rows import EVERYTHING
from watcher.text import JsonObject
from watcher.tombstone import Why
from watcher.views.context import CommandContext
from watcher.views.unbooked import Unbooked

_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of the wish to erase an item: `fault` says why it stays; `is_pending`: the daemon does it."""

    item: Item
    fault: Fault | None = None
    is_pending: bool = False


def erase(context: CommandContext, items: list[Item], person: str) -> list[Erased]:
    """Have these items erased, and wait for it. Return what became of each."""
    now = context.clock.now()
    with context.store.writing() as books:
        for item in items:
            books.removals.ask(Removal(item.id, EVERYTHING, Why.ERASED, now, by=person))
    trouble = None
    try:
        with lock_database(context.store.database):
            site = _site(context)
            sweep_claimed(site)
            end_moves(site, [item.id for item in items])  # what is between two places is not removed from either
            retention = Retention(site, threading.Event())
            retention.remove_claimed()
            trouble = retention.trouble.as_fault() if retention.trouble else None
    except InstanceRunning:
        _wait(context, lambda: not _pending(context, items))
    return list(_outcomes(context, items, trouble))


def erase_receipt(context: CommandContext, found: Unbooked) -> None:
    """Erase the receipt of an item whose row is gone: nobody else works on it. Raises FolderError."""
    folder = context.done if found.folder == context.done.name else context.failed
    item_id = str(found.receipt["id"])
    with context.store.reading() as books:
        tombstone = books.tombstones.get(item_id)
    if tombstone is None:  # found so just now
        return
    erased = replace(tombstone, why=Why.ERASED, erased_at=context.clock.now())
    write_tombstone(folder, found.path, erased)
    remove_receipt(folder, receipt_name(found.path), item_id)
    with context.store.writing() as books:
        books.tombstones.put(erased)


def _pending(context: CommandContext, items: list[Item]) -> bool:
    with context.store.reading() as books:
        found = [books.removals.get(item.id) for item in items]
    return any(one is not None and one.fault is None for one in found)


def _outcomes(context: CommandContext, items: list[Item], trouble: Fault | None) -> Iterator[Erased]:
    """Yield what became of each. A wish that failed is withdrawn: the person is told here."""
    failed = []
    with context.store.reading() as books:
        found = {item.id: books.removals.get(item.id) for item in items}
    for item in items:
        wish = found[item.id]
        if wish is None:
            yield Erased(item)
        elif wish.fault is None:
            yield Erased(item, trouble, is_pending=True)
        else:
            failed.append(item.id)
            yield Erased(item, wish.fault)
    if failed:
        with context.store.writing() as books:
            for item_id in failed:
                books.removals.end(item_id)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, by stage; None: the daemon is still at it. `trouble`: why it could not be done."""

    removed: dict[str, int] | None
    kept: list[Item]
    trouble: Fault | None = None


def prune(context: CommandContext) -> Pruned:
    """Have everything removed whose time is over, and wait for it."""
    site, asked_at = _site(context), context.clock.now()
    with context.store.writing() as books:
        books.site.put(ASKED, asked_at)
    trouble = None
    try:
        with lock_database(context.store.database):
            sweep_claimed(site)
            retention = Retention(site, threading.Event())
            retention.finish()
            trouble = retention.trouble.as_fault() if retention.trouble else None
    except InstanceRunning:
        _wait(context, lambda: _answer(context, asked_at) is not None)
    return Pruned(_answer(context, asked_at), list(find_altered(site, asked_at)), trouble)


def foresee_pruning(context: CommandContext) -> Iterator[tuple[Stage, Item]]:
    """Yield what `prune` would remove now. Raises FolderError."""
    yield from foresee(_site(context), context.clock.now())


def find_kept(context: CommandContext) -> list[Item]:
    """What stays although its time is over, as it was altered after it was filed."""
    return list(find_altered(_site(context), context.clock.now()))


def _answer(context: CommandContext, asked_at: float) -> dict[str, int] | None:
    with context.store.reading() as books:
        swept: JsonObject = books.site.get(SWEPT) or {}
    return swept["removed"] if swept.get("asked_at") == asked_at else None


def _site(context: CommandContext) -> Site:
    return Site.open(context.config, context.store, context.clock)


def _wait(context: CommandContext, is_done: Callable[[], bool]) -> None:
    """Wait for the daemon, which looks every second."""
    until = context.clock.monotonic() + _PATIENCE_SECONDS
    while not is_done() and context.clock.monotonic() < until:
        context.clock.wait(_LOOK_SECONDS, threading.Event())
