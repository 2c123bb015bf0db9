"""Prove the books: they agree with themselves, with the ledger and with the folders."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from watcher.domain import MOVING, UNSENT, State
from watcher.errors import StoreError
from watcher.outlet import Show
from watcher.store import Books, Missing
from watcher.text import show_path
from watcher.views.comparison import compare
from watcher.views.context import CommandContext
from watcher.views.differences import Comparison
from watcher.views.hashes import Hashes, compare_hashes

_STUCK_NAMED = 20
_RANGE = 10_000  # rows that are compared in one transaction


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


def reconcile_books(context: CommandContext, show: Show, *, hashes: bool = False) -> Reconciliation:
    """Compare the books with themselves, the ledger and the folders. `hashes`: also read every filed recording.

    `show` is called with how far it has come. No transaction is open for longer than some thousands of rows take.
    """
    with context.store.reading() as books:
        counts, waiting = books.items.counts(), books.waiting.total()
        erased = books.tombstones.forgotten()
        seen = books.audit.arrivals() + waiting + erased
        stuck = list(_list_stuck(books))
    wrong = [*_compare_rows(context, show), *_compare_ledger(context, show), *stuck]
    comparison = compare(context, show)
    with suppress(StoreError):  # a user who may only read still gets the result
        _note_alterations(context, comparison)
    read = Hashes()
    differing = list(compare_hashes(context, read, partial(show, "recordings"))) if hashes else []
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
    return Reconciliation(seen, accounted, wrong, comparison.notes, read if hashes else None, len(differing))


def _ids(comparison: Comparison) -> set[str]:
    """The beginnings of the ids of altered recordings, which have a line already."""
    return {item_id[:6] for item_id in comparison.altered}


def _note_alterations(context: CommandContext, comparison: Comparison) -> None:
    """Record in the books which recordings were altered; the daemon then updates their receipts."""
    if comparison.altered:
        with context.store.writing() as books:
            for item in comparison.altered.values():
                books.filing.mark_altered(item)


def _list_stuck(books: Books) -> Iterator[str]:
    """Yield a line for each recording that cannot be moved, or whose receipt is out of date."""
    for stuck in books.obstacles.listed(_STUCK_NAMED):
        yield f"{stuck.item_id[:6]} {show_path(stuck.path)}: is {stuck.state}, and stuck there: {stuck.fault}"
    if (others := books.obstacles.total() - _STUCK_NAMED) > 0:
        yield f"{others:,} more are stuck: `watcher status --json` lists them"


def _compare_rows(context: CommandContext, show: Show) -> Iterator[str]:
    """Yield a line for each row that contradicts its history or the ledger, which are written separately."""
    for after, until in _ranges(context, show, "rows", lambda books: books.audit.last_item()):
        with context.store.reading() as books:
            found = [
                (item_id, said, books.items.get(item_id))
                for item_id, said in books.audit.contradictions(after, until)
            ]
        for item_id, said, item in found:
            yield f"{item_id[:6]}{' ' + show_path(item.path) if item else ''}: {said}"
    lines: Counter[str] = Counter()
    for after, until in _ranges(context, show, "ledger", lambda books: books.audit.last_request()):
        with context.store.reading() as books:
            lines.update(books.audit.for_nobody(after, until))
    for item_id, number in lines.items():
        yield f"{item_id[:6]}: the ledger has {number} of its requests, but it is no item"


def _compare_ledger(context: CommandContext, show: Show) -> Iterator[str]:
    """Yield a line for each identifier that only the ledger has, or only an item."""
    missing: list[Missing] = []
    for after, until in _ranges(context, show, "identifiers", lambda books: books.audit.last_item()):
        with context.store.reading() as books:
            missing += books.audit.not_in_ledger(after, until)
    unknown = {one.identifier for one in missing}
    unheld: set[str] = set()
    for after, until in _ranges(context, show, "ledger", lambda books: books.audit.last_request()):
        with context.store.reading() as books:
            unknown -= books.audit.given(after, until, unknown)
            unheld |= books.audit.held_by_nobody(after, until)
    if unknown or unheld:  # the ledger's lines of what was erased are only summed up
        with context.store.reading() as books:
            for identifier in books.tombstones.identifiers():
                unknown.discard(identifier)
                unheld.discard(identifier)
    for one in missing:
        if one.identifier in unknown and one.path is not None:
            yield f"{one.item_id[:6]} {show_path(one.path)}: its identifier is not in the ledger"
        elif one.identifier in unknown:
            yield f"{one.item_id[:6]}: the identifier of part {one.part} is not in the ledger"
    for identifier in unheld:
        yield f"{identifier}: the service has given this identifier, but no item has it"


def _ranges(
    context: CommandContext, show: Show, what: str, last: Callable[[Books], int]
) -> Iterator[tuple[int, int]]:
    """Yield ranges of numbers that end with the last one."""
    with context.store.reading() as books:
        end = last(books)
    for after in range(0, end, _RANGE):
        until = min(after + _RANGE, end)
        yield after, until
        show(what, until, end)
