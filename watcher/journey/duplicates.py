"""Every rule on duplicates: the same bytes with the same options, base URL and account are paid for once.

The original is the recording that decides for all with its bytes: the one with an identifier, else the one on its
way to it. The others wait for it and have its outcome; where it has none, its successor tries in its place.
"""

from typing import Any

from watcher.domain import UNANSWERED, UNDECIDED, UNSENT, Fault, Item, State
from watcher.journey.site import Site
from watcher.journey.submit.doubt import after_lost_answer
from watcher.journey.submit.policy import REFUSED
from watcher.store import Books


def follow_originals(books: Books, now: float) -> None:
    """Recordings that waited for another one with the same bytes have its outcome, or try in its place."""
    for original_id in books.copies.decided_originals():
        original = books.items.get(original_id)
        if original is not None:
            follow_original(books, original, now)


def follow_original(books: Books, original: Item, now: float) -> None:
    """Those that wait for this one have its outcome; where it has none, its successor tries in its place.

    A person's decision on the original, held, is a decision on all that were held with it. What may have been
    charged for the original stays in doubt for its successor: they are the same bytes to the service.
    """
    successor: Item | None = None
    for duplicate in books.copies.duplicates_of(original.id):
        note = f"the same bytes as {original.id}"
        facts: dict[str, Any]
        if _has_word(original, duplicate):
            facts = follow(duplicate, original)
        elif successor is None:
            successor, note = duplicate, "first of its bytes now"
            in_doubt = duplicate.in_doubt or original.in_doubt
            facts = {"state": duplicate.state, "duplicate_of": None, "in_doubt": in_doubt}
        else:
            facts = {"state": duplicate.state, "duplicate_of": successor.id}
        after = State(str(facts.pop("state", State.QUEUED)))
        books.items.change(duplicate, after, now, note, **facts)


def _has_word(original: Item, duplicate: Item) -> bool:
    """Whether what became of the original says what becomes of this one."""
    if original.identifier is not None or original.state is State.HELD:
        return True
    if original.state in UNDECIDED:
        return duplicate.state is State.HELD  # the original was released: it waits for it again
    decided = original.outcome is State.FAILED and original.fault is not None
    return decided and (duplicate.state is State.HELD or _is_refused(original))


def _is_refused(item: Item) -> bool:
    return item.fault is not None and item.fault.code == REFUSED


def follow(item: Item, original: Item) -> dict[str, Any]:
    """What becomes of a recording whose bytes are with another item already: it is never paid for again."""
    follows: dict[str, Any] = {"duplicate_of": original.id}
    if original.identifier is not None:
        shared = {"identifier": original.identifier, "submitted_at": original.submitted_at}
        return follows | shared | to_file(State.DONE, item, None)
    if original.state is State.HELD:
        return follows | {"state": State.HELD, "fault": original.fault}
    if original.outcome is State.FAILED and original.state is not State.RETURNING:
        return follows | to_file(State.FAILED, item, original.fault)
    return follows | {"fault": None}  # it waits, queued, for the original's outcome


def to_file(outcome: State, item: Item, fault: Fault | None) -> dict[str, Any]:
    """What its row reads once it is decided where it goes."""
    return {"state": State.FILING, "outcome": outcome, "filed_as": item.path, "fault": fault}


def resolve_duplicate(site: Site, books: Books, item: Item) -> dict[str, Any] | None:
    """What becomes of an item, about to be sent, whose bytes another one has already; null: it is sent.

    Vetting has looked for such a one too. But since then a person may have released this one, or the
    configuration may have changed whose recording it is, or a copy that was in doubt may have been taken away.
    """
    if item.sha256 is None:
        return None
    key = site.content_key(item.sha256)
    copies = books.copies.with_content(key)
    others = [copy for copy in copies if copy.id != item.id]
    original = next((copy for copy in others if copy.identifier is not None), None)
    if original is None:
        own_place = next((n for n, copy in enumerate(copies) if copy.id == item.id), len(copies))
        earlier = [copy for copy in copies[:own_place] if copy.state in UNSENT]
        sent = [copy for copy in others if copy.state is State.SUBMITTING]
        original = next((copy for copy in [*sent, *earlier] if copy.duplicate_of is None), None)
    if original is not None:
        return {"state": State.QUEUED, **follow(item, original), "content_key": key}
    if item.in_doubt or not any(_left_in_doubt(copy) for copy in others):
        return None if key == item.content_key else {"state": State.QUEUED, "content_key": key}
    holds = site.config.identifai.holds_in_doubt
    return {"content_key": key, **after_lost_answer(item, holds=holds, of_another=True)}


def _left_in_doubt(copy: Item) -> bool:
    return copy.in_doubt and copy.state in UNANSWERED and not _is_refused(copy)
