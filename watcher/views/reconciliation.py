"""Whether the books add up, in themselves and with the folders."""

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
    """What was seen, what is accounted for, and what disagrees. `notes`: what is no fault.

    `hashes`: what reading the recordings came to, and `differing` how many are not as filed; null: none was read.
    """

    seen: int
    accounted: dict[str, int]
    wrong: list[str]
    notes: list[str]
    hashes: Hashes | None
    differing: int


def reconcile_books(context: CommandContext, show: Callable[[int, int], object] | None) -> Reconciliation:
    """The books against themselves, the ledger and the folders.

    `show`: every filed recording is read too, and it is told how many have been, of how many.
    """
    with context.store.reading() as books:
        counts, waiting = books.items.counts(), books.waiting.total()
        seen = books.audit.arrivals() + waiting
        wrong = [*_compare_rows(books), *_compare_ledger(books), *_list_stuck(books)]
    comparison = compare(context)
    with suppress(StoreError):  # whoever may only read is told all the same
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
    if seen != sum(accounted.values()):
        wrong.insert(0, f"{seen:,} recordings were seen, and {sum(accounted.values()):,} are accounted for")
    wrong += comparison.wrong + [line for line in differing if line[:6] not in _ids(comparison)]
    return Reconciliation(
        seen, accounted, wrong, comparison.notes, None if show is None else hashes, len(differing)
    )


def _ids(comparison: Comparison) -> set[str]:
    """The beginnings of the ids of altered recordings, which are told already."""
    return {item_id[:6] for item_id in comparison.altered}


def _note_alterations(context: CommandContext, comparison: Comparison) -> None:
    """What was done to recordings since they were filed stands in the books; the daemon writes their receipts."""
    if comparison.altered:
        with context.store.writing() as books:
            for item in comparison.altered.values():
                books.filing.mark_altered(item)


def _compare_rows(books: Books) -> Iterator[str]:
    """Every row says what its history and the ledger come to, each written down by itself."""
    for item_id, said in books.audit.contradictions():
        item = books.items.get(item_id)
        yield f"{item_id[:6]}{' ' + show_path(item.path) if item else ''}: {said}"


def _list_stuck(books: Books) -> Iterator[str]:
    """What cannot be moved where the books say that it is to go, or has a receipt that is out of date."""
    for stuck in books.obstacles.listed(_STUCK_NAMED):
        yield f"{stuck.item_id[:6]} {show_path(stuck.path)}: is {stuck.state}, and stuck there: {stuck.fault}"
    if (others := books.obstacles.total() - _STUCK_NAMED) > 0:
        yield f"{others:,} more are stuck: `watcher status --json` lists them"


def _compare_ledger(books: Books) -> Iterator[str]:
    """Every identifier was accepted in the ledger once, and every acceptance stands in an item."""
    accepted: Counter[str] = Counter()
    for attempt in books.ledger.listed():
        if attempt.identifier is not None:
            accepted[attempt.identifier] += 1
    held: set[str] = set()
    for item in books.items.listed():
        if item.identifier is not None:
            held.add(item.identifier)
            if item.identifier not in accepted:
                yield f"{item.id[:6]} {show_path(item.path)}: its identifier stands in no line of the ledger"
    for identifier in accepted.keys() - held:
        yield f"{identifier}: was accepted by the service, and no item has it"
