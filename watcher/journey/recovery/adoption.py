"""Bring into the books what evidence knows and they do not. What they know better stays as it is."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from watcher.domain import AT_REST, FILED, MOVING, Attempt, Charged, Item, PartState, State, Verdict, VerdictState
from watcher.journey.duplicates import is_accepted
from watcher.journey.recovery.evidence import Evidence
from watcher.journey.retain.burial import forget
from watcher.journey.site import Site
from watcher.store import Books
from watcher.text import rfc3339
from watcher.tombstone import Tombstone, Why

_ASKED = (VerdictState.AWAITED, VerdictState.OVERDUE)
_OF_THE_BOOKS = frozenset(
    {"id", "state", "claim", "arrived_at", "due_at", "attempts", "attempted_at", "media_type", "extension", "site"}
)
_MILLISECOND = 0.001  # receipts have no finer times
_TAKEN_OVER = tuple(field.name for field in fields(Item) if field.name not in _OF_THE_BOOKS)
"""What an item's row takes from a receipt that knows more."""


@dataclass(slots=True)
class Adopted:
    """How much was new to the books."""

    items: int = 0
    completed: int = 0  # items that were there, and are now where their receipts have them
    parts: int = 0
    requests: int = 0
    verdicts: int = 0
    tombstones: int = 0

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)

    def add(self, other: "Adopted") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def adopt(site: Site, books: Books, found: Iterable[tuple[str, Evidence]], now: float) -> Adopted:
    """Adopt this evidence, each with where it comes from. May be repeated: then nothing is new."""
    batch, adopted = list(found), Adopted()
    ids = [evidence.item.id for _, evidence in batch]
    known, buried = books.rebuilt.known(ids), books.rebuilt.buried(ids)
    for source, evidence in batch:
        item_id = evidence.item.id
        if item_id in buried - known:
            continue  # its row was removed, and its receipt is kept for longer, or is about to go
        if item_id not in known:
            _add(books, evidence, source)
            known.add(item_id)
            adopted.items += 1
            adopted.requests += len(evidence.attempts)
        elif (item := books.items.get(item_id)) is not None:
            _complete(books, item, evidence, source, now, adopted)
            if added := _add_requests(books, evidence):
                adopted.requests += added
                books.rebuilt.recount(item_id)
        adopted.verdicts += _add_verdicts(site, books, evidence)
    return adopted


def adopt_tombstone(books: Books, tombstone: Tombstone) -> bool:
    """Adopt what is left of an erased recording, in place of an older row; False where the books have it."""
    known = books.tombstones.get(tombstone.id)
    if known is not None and (known.why is Why.ERASED or tombstone.why is Why.RETENTION):
        return False
    if known is None:
        unlisted = tombstone.charged - books.ledger.charged_for(tombstone.id)
        books.ledger.add_sum(tombstone.submitted_at or tombstone.erased_at, max(unlisted, 0))
    item = books.items.get(tombstone.id)
    if (
        item is not None
        and tombstone.why is Why.ERASED
        and item.state in AT_REST
        and forget(books, item, tombstone)
    ):
        return True
    books.tombstones.put(tombstone)
    return True


def _add(books: Books, evidence: Evidence, source: str) -> None:
    item = evidence.item
    if item.state is State.FILING and books.items.live_at(item.path) is not None:
        item = replace(item, state=item.outcome or State.FAILED)  # that name is another's by now
    for attempt in evidence.attempts:
        books.rebuilt.add_attempt(attempt)
    books.items.add(item, f"from {source}", serial=books.rebuilt.place_for(item.arrived_at))
    books.parts.add(evidence.parts)


def _complete(books: Books, item: Item, evidence: Evidence, source: str, now: float, adopted: Adopted) -> None:
    """Bring an item that the books have to where the evidence has it, if that is newer."""
    told = evidence.item
    if not _knows_more(books, item, evidence):
        adopted.parts += _accept_parts(books, evidence)
        if words := _newer_words(item, told):
            books.items.change(item, item.state, now, f"completed from {source}", **words)
            adopted.completed += 1
        return
    after = told.state
    live = books.items.live_at(told.path)
    if after is State.FILING and live is not None and live.id != item.id:
        after = told.outcome or State.FAILED
    facts: dict[str, Any] = {name: getattr(told, name) for name in _TAKEN_OVER}
    books.items.change(item, after, now, f"completed from {source}", **facts)
    books.obstacles.remove(item.id)
    if evidence.parts:
        books.parts.forget(item.id)
        books.parts.add(evidence.parts)
    adopted.completed += 1


def _knows_more(books: Books, item: Item, evidence: Evidence) -> bool:
    """Return whether the evidence is of a later time than the item's row. An identifier always counts more.

    A receipt is removed when its recording has gone back into the drop folder for another try. So one that is
    older than the row is only met in between, and the row knows better.
    """
    told = evidence.item
    if told.outcome is None:
        return False  # only its parts count
    if is_accepted(told) and not is_accepted(item):
        return True
    if is_accepted(item) and not is_accepted(told):
        return False
    if item.state in MOVING and item.outcome is told.outcome:
        return False  # the step repeats it
    filed_at = told.filed_at or 0.0
    known_until = (item.filed_at or 0.0) if item.state in FILED else books.rebuilt.changed_at(item.id)
    return filed_at > known_until + _MILLISECOND


def _newer_words(item: Item, told: Item) -> dict[str, Any]:
    """Return what people have said of a filed recording since its row was written."""
    if item.state not in FILED or told.outcome is not item.state:
        return {}
    words: dict[str, Any] = {}
    known, review = item.review, told.review
    if review is not None and (known is None or review.at > known.at + _MILLISECOND):
        words["review"] = review
    is_same_filing = abs((told.filed_at or 0.0) - (item.filed_at or 0.0)) <= _MILLISECOND
    if told.dismissed is not None and item.dismissed is None and is_same_filing:
        words["dismissed"] = told.dismissed
    return words


def _accept_parts(books: Books, evidence: Evidence) -> int:
    """Give parts their identifiers where the books have none. Return how many were new."""
    told = {part.index: part for part in evidence.parts if part.identifier is not None}
    parts, accepted = books.parts.of(evidence.item.id) if told else [], 0
    if told and not parts:
        books.parts.add(evidence.parts)  # it was prepared since
        return len(told)
    for part in parts:
        new = told.get(part.index)
        if new is None or part.state is PartState.ACCEPTED or new.sha256 != part.sha256:
            continue
        current = part
        if part.state is PartState.REFUSED:
            books.parts.change(part, PartState.QUEUED, fault=None)
            current = replace(part, state=PartState.QUEUED)
        facts = {"identifier": new.identifier, "submitted_at": new.submitted_at, "in_doubt": False, "fault": None}
        books.parts.change(current, PartState.ACCEPTED, **facts)
        accepted += 1
    return accepted


def _add_requests(books: Books, evidence: Evidence) -> int:
    """Add the requests that the ledger lacks, and end those that it has as unanswered. Return how many."""
    item_id, changed = evidence.item.id, 0
    lines = {_name(line): line for line in books.ledger.of_item(item_id)}
    for attempt in evidence.attempts:
        line = lines.get(_name(attempt))
        if line is None:
            books.rebuilt.add_attempt(attempt)
            changed += 1
        elif line.ended_at is None:
            _end(books, line, attempt)
            changed += 1
    for identifier, index, at in evidence.identifiers() if evidence.item.outcome is None else ():
        cut_off = next((one for one in lines.values() if one.ended_at is None and one.part == index), None)
        if cut_off is not None and index is not None:
            _end(books, cut_off, paid_line(item_id, identifier, index, at or cut_off.started_at, cut_off.size))
            changed += 1
    return changed


def _name(attempt: Attempt) -> tuple[str | None, int | None]:
    """Return what tells one request of an item from another: numbers may come again in a restored database."""
    return rfc3339(attempt.started_at), attempt.part


def _end(books: Books, line: Attempt, told: Attempt) -> None:
    books.ledger.end(
        line.number,
        told.ended_at or told.started_at,
        outcome=told.outcome,
        charged=told.charged,
        decision=told.decision,
        status=told.status,
        detail=told.detail,
        identifier=told.identifier,
    )


def paid_line(item_id: str, identifier: str, index: int | None, at: float, size: int) -> Attempt:
    """Return the line of a request of which nothing is left but what it was paid for."""
    return Attempt(
        number=0,
        item_id=item_id,
        started_at=at,
        size=size,
        released_at=at,
        ended_at=at,
        outcome="accepted",
        charged=Charged.YES,
        decision="done",
        detail="Its own line was lost with the database.",
        identifier=identifier,
        part=index,
    )


def _add_verdicts(site: Site, books: Books, evidence: Evidence) -> int:
    """Add verdicts at rest that the books lack; ask for the others that nobody asks for. Return how many."""
    service, now, changed = site.config.identifai, site.clock.now(), 0
    is_asked = (evidence.base_url, evidence.account) == (service.base_url, service.account)
    told = {verdict.identifier: verdict for verdict in evidence.verdicts}
    for identifier, _, _ in evidence.identifiers():
        verdict = told.get(identifier)
        if verdict is None or verdict.state in _ASKED:
            verdict = Verdict(identifier, VerdictState.AWAITED, asked_at=None, due_at=now, since=now)
        known = books.verdicts.get(identifier)
        if known is None:
            if verdict.state is not VerdictState.AWAITED or is_asked:
                books.verdicts.add(verdict)
                changed += 1
        elif known.state in _ASKED and verdict.state not in _ASKED:
            books.verdicts.put(verdict)
            changed += 1
    kept = books.verdicts.results_of(evidence.segments)
    for identifier, segments in evidence.segments.items():
        if identifier not in kept:  # of the whole result nothing else is left
            books.verdicts.keep_result(identifier, {"chunk_details": segments}, now)
    return changed
