"""Every rule on duplicates: the same bytes with the same options, base URL and account are paid for once.

The original is the recording that decides for all with its bytes: the one with an identifier, else the one on its
way to it. The others wait for it and share its outcome; where it has none, its successor takes its place.
"""

from typing import Any

from watcher.domain import UNANSWERED, UNDECIDED, UNSENT, Fault, Item, State
from watcher.journey.site import Site
from watcher.journey.submit.doubt import after_lost_answer
from watcher.journey.submit.policy import REFUSED
from watcher.store import Books


def follow_originals(books: Books, now: float) -> None:
    """Give recordings whose original is decided its outcome, or its place."""
    for original_id in books.copies.decided_originals():
        original = books.items.get(original_id)
        if original is not None:
            follow_original(books, original, now)


def follow_original(books: Books, original: Item, now: float) -> None:
    """Give those that wait for this one its outcome; where it has none, the first of them takes its place.

    A person's decision on a held original is a decision on all that were held with it. What may have been charged
    for the original stays in doubt for its successor: to the service they are the same bytes.
    """
    successor: Item | None = None
    for duplicate in books.copies.duplicates_of(original.id):
        note = f"the same bytes as {original.id}"
        facts: dict[str, Any]
        if _has_word(original, duplicate):
            facts = follow(duplicate, original)
        elif successor is None:
            successor, note = duplicate, f"in place of {original.id}, with the same bytes"
            in_doubt = duplicate.in_doubt or original.in_doubt
            facts = {"state": duplicate.state, "duplicate_of": None, "in_doubt": in_doubt}
        else:
            facts = {"state": duplicate.state, "duplicate_of": successor.id}
        after = State(str(facts.pop("state", State.QUEUED)))
        books.items.change(duplicate, after, now, note, **facts)


def _has_word(original: Item, duplicate: Item) -> bool:
    """Return whether the original's outcome decides this one's."""
    if original.identifier is not None or original.state is State.HELD:
        return True
    if original.state in UNDECIDED:
        return duplicate.state is State.HELD  # the original was released: this one waits for it again
    decided = original.outcome is State.FAILED and original.fault is not None
    return decided and (duplicate.state is State.HELD or _is_refused(original))


def _is_refused(item: Item) -> bool:
    return item.fault is not None and item.fault.code == REFUSED


def follow(item: Item, original: Item) -> dict[str, Any]:
    """Return the changes to an item whose bytes another item has already: it is never paid for again."""
    follows: dict[str, Any] = {"duplicate_of": original.id}
    if original.identifier is not None:
        shared = {"identifier": original.identifier, "submitted_at": original.submitted_at}
        return follows | shared | to_file(State.DONE, item, None)
    if original.state is State.HELD:
        return follows | {"state": State.HELD, "fault": original.fault}
    if original.outcome is State.FAILED and original.state is not State.RETURNING:
        return follows | to_file(State.FAILED, item, original.fault)
    return follows | {"state": State.QUEUED, "fault": None}  # it waits for the original's outcome


def to_file(outcome: State, item: Item, fault: Fault | None) -> dict[str, Any]:
    """Return the changes to an item once it is decided where it goes."""
    return {"state": State.FILING, "outcome": outcome, "filed_as": item.path, "fault": fault}


def resolve_duplicate(site: Site, books: Books, item: Item) -> dict[str, Any] | None:
    """Return the changes to an item that is about to be sent but has an original; None: send it.

    Admission looked for one too. But since then a person may have released this item, the account or the options
    may have changed in the configuration, or a copy that was in doubt may have been taken away.
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
