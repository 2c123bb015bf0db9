"""Prove the books: they agree with themselves, with the ledger and with the folders."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from watcher.domain import MOVING, UNSENT, State
from watcher.errors import StoreError
from watcher.store import Books
from watcher.text import show_path
from watcher.views.comparison import Comparison, compare
from watcher.views.context import CommandContext
from watcher.views.hashes import Hashes, compare_hashes

_STUCK_NAMED = 20


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What was seen, what is accounted for, and what is wrong. `notes`: what is no error.

    `hashes`: the result of reading the recordings, null if none was read; `differing`: how many are not as filed.
    """

    seen: int
    accounted: dict[str, int]
    wrong: list[str]
    notes: list[str]
    hashes: Hashes | None
    differing: int


def reconcile_books(context: CommandContext, show: Callable[[int, int], object] | None) -> Reconciliation:
    """Compare the books with themselves, the ledger and the folders.

    `show`: also read every filed recording, and call it with how many have been read, of how many.
    """
    with context.store.reading() as books:
        counts, waiting = books.items.counts(), books.waiting.total()
        erased = books.tombstones.forgotten()
        seen = books.audit.arrivals() + waiting + erased
        wrong = [*_compare_rows(books), *_compare_ledger(books), *_list_stuck(books)]
    comparison = compare(context)
    with suppress(StoreError):  # a user who may only read still gets the result
        _note_alterations(context, comparison)
    hashes = Hashes()
    differing = list(compare_hashes(context, hashes, show)) if show is not None else []
    accounted = {
        "done": counts[State.DONE],
        "failed": counts[State.FAILED],
        "withdrawn": counts[State.WITHDRAWN],
        "waiting": sum(counts[state] for state in UNSENT - MOVING) + waiting,
        "in flight": sum(counts[state] for state in MOVING | {State.SUBMITTING}),
        "held": counts[State.HELD],
    }
    if erased:
        accounted["erased"] = erased
    if seen != sum(accounted.values()):
        wrong.insert(0, f"{seen:,} recordings were seen, and {sum(accounted.values()):,} are accounted for")
    wrong += comparison.wrong + [line for line in differing if line[:6] not in _ids(comparison)]
    return Reconciliation(
        seen, accounted, wrong, comparison.notes, None if show is None else hashes, len(differing)
    )


def _ids(comparison: Comparison) -> set[str]:
    """The beginnings of the ids of altered recordings, which have a line already."""
    return {item_id[:6] for item_id in comparison.altered}


def _note_alterations(context: CommandContext, comparison: Comparison) -> None:
    """Record in the books which recordings were altered; the daemon then updates their receipts."""
    if comparison.altered:
        with context.store.writing() as books:
            for item in comparison.altered.values():
                books.filing.mark_altered(item)


def _compare_rows(books: Books) -> Iterator[str]:
    """Yield a line for each row that contradicts its history or the ledger, which are written separately."""
    for item_id, said in books.audit.contradictions():
        item = books.items.get(item_id)
        yield f"{item_id[:6]}{' ' + show_path(item.path) if item else ''}: {said}"


def _list_stuck(books: Books) -> Iterator[str]:
    """Yield a line for each recording that cannot be moved, or whose receipt is out of date."""
    for stuck in books.obstacles.listed(_STUCK_NAMED):
        yield f"{stuck.item_id[:6]} {show_path(stuck.path)}: is {stuck.state}, and stuck there: {stuck.fault}"
    if (others := books.obstacles.total() - _STUCK_NAMED) > 0:
        yield f"{others:,} more are stuck: `watcher status --json` lists them"


def _compare_ledger(books: Books) -> Iterator[str]:
    """Yield a line for each identifier that only the ledger has, or only an item."""
    accepted: Counter[str] = Counter()
    for attempt in books.ledger.listed():
        if attempt.identifier is not None:
            accepted[attempt.identifier] += 1
    in_sums = set(books.tombstones.identifiers())  # the ledger's lines of what was erased are only summed up
    held: set[str] = set()
    for item in books.items.listed():
        if item.identifier is not None:
            held.add(item.identifier)
            if item.identifier not in accepted and item.identifier not in in_sums:
                yield f"{item.id[:6]} {show_path(item.path)}: its identifier is not in the ledger"
    for part in books.parts.accepted():
        held.add(part.identifier or "")
        if part.identifier not in accepted and part.identifier not in in_sums:
            yield f"{part.item_id[:6]}: the identifier of part {part.index} is not in the ledger"
    for identifier in accepted.keys() - held - in_sums:
        yield f"{identifier}: the service has given this identifier, but no item has it"
