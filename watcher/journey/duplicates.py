"""Every rule on duplicates: the same bytes with the same options, base URL and account are paid for once.

The original is the recording that decides for all with its bytes: the one with an identifier, else the one on its
way to it. The others wait for it and share its outcome; where it has none, its successor takes its place.
"""

from dataclasses import replace
from typing import Any

from watcher.domain import (
    UNANSWERED,
    UNDECIDED,
    UNSENT,
    Fault,
    Item,
    Part,
    PartState,
    State,
    Verdict,
    VerdictState,
)
from watcher.journey.conclusion import conclude, to_file
from watcher.journey.site import Site
from watcher.journey.submit.doubt import after_lost_answer
from watcher.journey.submit.policy import REFUSED
from watcher.store import Books
from watcher.text import rfc3339
from watcher.tombstone import Tombstone, hash_content


def follow_originals(books: Books, now: float) -> None:
    """Give recordings whose original is decided its outcome, or its place."""
    for original_id in books.copies.decided_originals():
        original = books.copies.get(original_id)
        if original is not None:
            follow_original(books, original, now)
    for original_id in books.copies.stranded_originals():
        _take_place(books, original_id, now)


def _take_place(books: Books, original_id: str, now: float) -> None:
    """Let the first of those that wait for an original at a site that stands still go its own way.

    The others wait for it. Should the original's site go on, one of the two follows the other in its claim.
    """
    first: Item | None = None
    for duplicate in books.copies.duplicates_of(original_id):
        if first is None:
            first, note = duplicate, f"in place of {original_id}, with the same bytes: its site stands still"
            books.items.change(first, first.state, now, note, duplicate_of=None)
        else:
            note = f"the same bytes as {first.id}"
            books.items.change(duplicate, duplicate.state, now, note, duplicate_of=first.id)


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
            facts = follow(books, duplicate, original)
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
    if is_accepted(original) or original.state is State.HELD:
        return True
    if original.state in UNDECIDED:
        return duplicate.state is State.HELD  # the original was released: this one waits for it again
    decided = original.outcome is State.FAILED and original.fault is not None
    return decided and (duplicate.state is State.HELD or _is_refused(original))


def _is_refused(item: Item) -> bool:
    return item.fault is not None and item.fault.code == REFUSED


def is_accepted(item: Item) -> bool:
    """Return whether the service gave an identifier for it, or for one of its parts at least."""
    return item.identifier is not None or item.outcome is State.DONE


def follow(books: Books, item: Item, original: Item) -> dict[str, Any]:
    """Return the changes to an item whose bytes another item has already: it is never paid for again.

    It has the parts of the other from then on, with their identifiers; none where that has none.
    """
    follows: dict[str, Any] = {"duplicate_of": original.id}
    if original.removed is not None and original.removed.how != "collected":
        item = replace(item, warning=_tell_of_erased(item, original.id, original.removed.at))
        follows["warning"] = item.warning
    if is_accepted(original):
        if (concluded := conclude(item, _share_parts(books, item, original))) is not None:
            return follows | {"plan": original.plan} | concluded
        books.parts.forget(item.id)  # the original went out as it was, whatever is planned by now
        shared = {"plan": None, "identifier": original.identifier, "submitted_at": original.submitted_at}
        return follows | shared | to_file(State.DONE, item, None)
    if original.state is State.HELD:
        return follows | {"state": State.HELD, "fault": original.fault}
    if original.outcome is State.FAILED and original.state is not State.RETURNING:
        return follows | to_file(State.FAILED, item, original.fault)
    return follows | {"state": State.QUEUED, "fault": None}  # it waits for the original's outcome


def find_buried(books: Books, content_key: object) -> Tombstone | None:
    """Return the tombstone of this content; None where none was erased, or its bytes are not known."""
    if not isinstance(content_key, str):
        return None
    hashes = (hash_content(key, content_key) for key in books.tombstones.known_keys())
    found = [buried for one in hashes if (buried := books.tombstones.of_content(one)) is not None]
    return next((buried for buried in found if buried.is_accepted), found[0] if found else None)


def follow_buried(books: Books, item: Item, buried: Tombstone, now: float) -> dict[str, Any] | None:
    """Return the changes to an item whose bytes an erased recording had; None: it goes its own way.

    That one's identifier is this one's, and its verdict is asked for anew, which costs nothing. What the service
    refused it refuses again, unless a person wants another try.
    """
    follows: dict[str, Any] = {"duplicate_of": buried.id}
    item = replace(item, warning=_tell_of_erased(item, buried.id, buried.erased_at))
    if buried.is_accepted:
        for identifier in buried.identifiers:
            books.verdicts.add(Verdict(identifier, VerdictState.AWAITED, asked_at=None, due_at=now, since=now))
        books.parts.forget(item.id)
        parts = buried.buried_parts(item)
        books.parts.add(parts)
        shared = {"identifier": buried.identifier, "submitted_at": buried.submitted_at, "plan": buried.plan()}
        facts = to_file(State.DONE, item, None) | {"warning": item.warning}
        return follows | facts | shared | (conclude(item, parts) or {})
    if buried.refused and not item.retried:
        message = "The service refused the same bytes before, and that recording was erased since."
        fault = Fault(REFUSED, message, f"To have it sent again: `watcher retry {item.id}`.")
        return follows | to_file(State.FAILED, item, fault) | {"warning": item.warning}
    return None


def _tell_of_erased(item: Item, erased_id: str, at: float) -> str:
    told = f"It has the same bytes as {erased_id}, which was erased at {rfc3339(at)}: nothing was sent."
    return " ".join(filter(None, [item.warning, told]))


def _share_parts(books: Books, item: Item, original: Item) -> list[Part]:
    """Give the item the original's parts, as they are; none where that was sent as it is."""
    with books.wide():  # it may lie at another site
        parts = books.parts.of(original.id)
    if not parts:
        return []
    books.parts.forget(item.id)
    shared = [replace(part, item_id=item.id, name=None) for part in parts]
    books.parts.add(shared)
    return shared


def complete_duplicates(books: Books, original: Item, now: float) -> None:
    """Give those that share an original's parts what was accepted of it since: a person had it completed."""
    accepted = {part.index: part for part in books.parts.of(original.id) if part.identifier is not None}
    for duplicate in books.copies.with_content(original.content_key) if original.content_key else ():
        if duplicate.duplicate_of == original.id and duplicate.state is State.DONE:
            with books.at(duplicate.site):
                _complete(books, duplicate, accepted, original.id, now)


def _complete(books: Books, duplicate: Item, accepted: dict[int, Part], original_id: str, now: float) -> None:
    parts = books.parts.of(duplicate.id)
    lacking = [one for one in parts if one.state is PartState.REFUSED and one.index in accepted]
    for part in lacking:
        known = accepted[part.index]
        books.parts.change(part, PartState.QUEUED, fault=None)
        facts = {"identifier": known.identifier, "submitted_at": known.submitted_at}
        books.parts.change(replace(part, state=PartState.QUEUED), PartState.ACCEPTED, **facts)
    if lacking:
        warning = (conclude(duplicate, books.parts.of(duplicate.id)) or {}).get("warning")
        note = f"completed with {original_id}"
        books.items.change(duplicate, State.DONE, now, note, warning=warning, receipt_due=True)


def resolve_duplicate(site: Site, books: Books, item: Item) -> dict[str, Any] | None:
    """Return the changes to an item that is about to be sent but has an original; None: send it.

    Admission looked for one too. But since then a person may have released this item, the account or the options
    may have changed in the configuration, or a copy that was in doubt may have been taken away.
    """
    if item.sha256 is None:
        return None
    key = site.content_key(item.sha256, item.audio.channels if item.audio else None)
    copies = books.copies.with_content(key)
    others = [copy for copy in copies if copy.id != item.id]
    accepted = [copy for copy in others if is_accepted(copy)]
    original = next((copy for copy in accepted if copy.duplicate_of is None), None) or next(iter(accepted), None)
    if original is None:
        own_place = next((n for n, copy in enumerate(copies) if copy.id == item.id), len(copies))
        earlier = [copy for copy in copies[:own_place] if copy.state in UNSENT]
        if any(copy.site != item.site for copy in earlier):
            stranded = books.copies.stranded(key)
            earlier = [copy for copy in earlier if copy.id not in stranded]
        sent = [copy for copy in others if copy.state is State.SUBMITTING]
        original = next((copy for copy in [*sent, *earlier] if copy.duplicate_of is None), None)
    if original is not None:
        return {"state": State.QUEUED, **follow(books, item, original), "content_key": key}
    buried = find_buried(books, key)
    if buried is not None and (instead := follow_buried(books, item, buried, site.clock.now())) is not None:
        return {**instead, "content_key": key}
    if item.plan is None and (twin := _accepted_part(books, key)) is not None:
        shared = {"identifier": twin.identifier, "submitted_at": twin.submitted_at, "duplicate_of": twin.item_id}
        return {**shared, **to_file(State.DONE, item, None), "content_key": key}
    in_doubt = buried is not None and buried.in_doubt and not buried.refused
    if item.in_doubt or not (in_doubt or any(_left_in_doubt(copy) for copy in others)):
        return None if key == item.content_key else {"state": State.QUEUED, "content_key": key}
    holds = site.config.identifai.holds_in_doubt
    return {"content_key": key, **after_lost_answer(item, holds=holds, of_another=True)}


def _accepted_part(books: Books, key: str) -> Part | None:
    """Return a part of exactly these bytes that has its identifier."""
    with books.wide():
        found = books.parts.with_content(key)
    return next((part for part in found if part.identifier is not None), None)


def _left_in_doubt(copy: Item) -> bool:
    return copy.in_doubt and copy.state in UNANSWERED and not _is_refused(copy)
