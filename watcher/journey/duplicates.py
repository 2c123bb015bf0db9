"""Duplicates: the same bytes with the same options, base URL and account are never paid for twice by accident."""

from typing import Any

from watcher.domain import UNANSWERED, UNDECIDED, UNSENT, Item, State
from watcher.journey.policy import REFUSED, in_doubt
from watcher.journey.site import Site
from watcher.journey.vet import follow
from watcher.store import Books


def follow_firsts(books: Books, now: float) -> None:
    """Recordings that waited for another one with the same bytes have its outcome, or try in its place."""
    for first_id in books.copies.settled_firsts():
        first = books.items.get(first_id)
        if first is not None:
            follow_first(books, first, now)


def follow_first(books: Books, first: Item, now: float) -> None:
    """Those that wait for this one have its outcome; where it has none, its heir tries in its place.

    A person's decision on the first one, held, is a decision on all that were held with it. What may have been
    charged for the first one stays in doubt for its heir: they are the same bytes to the service.
    """
    heir: Item | None = None
    for duplicate in books.copies.duplicates_of(first.id):
        note = f"the same bytes as {first.id}"
        facts: dict[str, Any]
        if _has_word(first, duplicate):
            facts = follow(duplicate, first)
        elif heir is None:
            heir, note = duplicate, "first of its bytes now"
            in_doubt = duplicate.in_doubt or first.in_doubt
            facts = {"state": duplicate.state, "duplicate_of": None, "in_doubt": in_doubt}
        else:
            facts = {"state": duplicate.state, "duplicate_of": heir.id}
        after = State(str(facts.pop("state", State.QUEUED)))
        books.items.change(duplicate, after, now, note, **facts)


def _has_word(first: Item, duplicate: Item) -> bool:
    """Whether what became of the first one says what becomes of this one."""
    if first.identifier is not None or first.state is State.HELD:
        return True
    if first.state in UNDECIDED:
        return duplicate.state is State.HELD  # the first was released: it waits for it again
    decided = first.outcome is State.FAILED and first.fault is not None
    return decided and (duplicate.state is State.HELD or _is_refused(first))


def _is_refused(item: Item) -> bool:
    return item.fault is not None and item.fault.code == REFUSED


def defer(site: Site, books: Books, item: Item) -> dict[str, Any] | None:
    """What becomes of an item, about to be sent, whose bytes another one has already; null: it is sent.

    Vetting has looked for such a one too. But since then a person may have released this one, or the
    configuration may have changed whose recording it is, or a copy that was in doubt may have been taken away.
    """
    if item.sha256 is None:
        return None
    key = site.content_key(item.sha256)
    copies = books.copies.with_content(key)
    others = [copy for copy in copies if copy.id != item.id]
    first = next((copy for copy in others if copy.identifier is not None), None)
    if first is None:
        own_place = next((n for n, copy in enumerate(copies) if copy.id == item.id), len(copies))
        earlier = [copy for copy in copies[:own_place] if copy.state in UNSENT]
        sent = [copy for copy in others if copy.state is State.SUBMITTING]
        first = next((copy for copy in [*sent, *earlier] if copy.duplicate_of is None), None)
    if first is not None:
        return {"state": State.QUEUED, **follow(item, first), "content_key": key}
    if item.in_doubt or not any(_left_in_doubt(copy) for copy in others):
        return None if key == item.content_key else {"state": State.QUEUED, "content_key": key}
    doubt: dict[str, Any] = {"state": State.QUEUED, "content_key": key, "in_doubt": True}
    if site.config.identifai.in_doubt == "hold":
        doubt |= {"state": State.HELD, "fault": in_doubt(item)}
    return doubt


def _left_in_doubt(copy: Item) -> bool:
    return copy.in_doubt and copy.state in UNANSWERED and not _is_refused(copy)
