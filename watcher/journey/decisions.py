"""A person's decisions: each is recorded with who made it, and the daemon does the rest."""

from collections.abc import Iterable
from dataclasses import replace

from watcher.domain import (
    UNSETTLED,
    Dismissed,
    Item,
    PartState,
    Pause,
    PauseKind,
    Review,
    ReviewWord,
    State,
)
from watcher.folders import names_for
from watcher.journey.arrive.companions import companion_name
from watcher.journey.conclusion import conclude, to_file
from watcher.journey.submit.doubt import decided
from watcher.journey.submit.pauses import try_at_once
from watcher.store import Books


def retry(
    books: Books, asked: Iterable[Item], now: float, person: str, *, fresh: bool, spares_dismissed: bool
) -> tuple[list[Item], list[Item]]:
    """Send these recordings back to the drop folder: failed ones, and those of which only parts were accepted.

    Return those that go back, and those left as they are because somebody decided on them meanwhile. `fresh`: have
    each classified anew. `spares_dismissed`: leave what was dismissed meanwhile.
    """
    items, overtaken = [], []
    for found in asked:
        item = books.items.get(found.id) or found
        is_asked = item.state is State.FAILED or is_incomplete(books, item)
        is_asked = is_asked and item.removed is None and books.removals.get(item.id) is None
        if not is_asked or (spares_dismissed and item.dismissed is not None):
            overtaken.append(item)
            continue
        path = _free_path(books, item)
        companions = tuple(companion_name(companion, item.path, path) for companion in item.companions)
        changes = {"path": path, "companions": companions, "retried": True, "fresh": fresh}
        note = f"{person} asked for another try"
        books.items.change(item, State.RETURNING, now, note, by=person, **changes)
        items.append(item)
    return items, overtaken


def release(books: Books, items: Iterable[Item], now: float, person: str) -> None:
    """Queue these held recordings again."""
    for item in items:
        fault = decided(item, "A person released it.")
        changes = {"due_at": now, "faults": 0, "suspected_at": None, "duplicate_of": None, "fault": fault}
        for part in books.parts.of(item.id):
            if part.state is PartState.HELD:
                # One that could not be made again as it was has no file: it may go out as other bytes now.
                in_doubt = part.in_doubt and part.name is not None
                books.parts.change(part, PartState.QUEUED, fault=None, in_doubt=in_doubt)
        books.items.change(item, State.QUEUED, now, f"released by {person}", by=person, **changes)


def give_up(books: Books, items: Iterable[Item], now: float, person: str) -> list[Item]:
    """File these held recordings in failed/; in done/, where a part of one was accepted before. Return them."""
    given_up = []
    for item in items:
        fault = decided(item, "A person gave it up.")
        for part in books.parts.of(item.id):
            if part.state in UNSETTLED:
                books.parts.change(part, PartState.REFUSED, fault=part.fault or fault)
        changes = to_file(State.FAILED, item, fault)
        concluded = conclude(item, books.parts.of(item.id))
        if concluded is not None and concluded["outcome"] is State.DONE:
            changes = concluded
        changes.pop("state")
        books.items.change(item, State.FILING, now, f"given up by {person}", by=person, **changes)
        given_up.append(replace(item, state=State.FILING, **changes))
    return given_up


def is_incomplete(books: Books, item: Item) -> bool:
    """Return whether the item is done, but some of it was not judged: another try may complete it."""
    if item.state is not State.DONE or item.plan is None or item.duplicate_of is not None:
        return False
    return any(part.state is PartState.REFUSED and not part.silent for part in books.parts.of(item.id))


def dismiss(books: Books, items: Iterable[Item], now: float, person: str) -> None:
    """Mark these failed recordings as dismissed; whoever dismissed one first stays named."""
    for item in items:
        if item.dismissed is None:
            changes = {"dismissed": Dismissed(now, person), "receipt_due": True}
            books.items.change(item, State.FAILED, now, f"dismissed by {person}", by=person, **changes)


def review(books: Books, item: Item, word: ReviewWord, note: str, now: float, person: str) -> None:
    """Record a person's word on this filed recording; an earlier one stays in its history."""
    told = f"{word}, says {person}{f': {note}' if note else ''}"
    changes = {"review": Review(word, note, person, now), "receipt_due": True}
    books.items.change(item, item.state, now, told, by=person, **changes)


def pause(books: Books, reason: str, now: float, person: str) -> Pause | None:
    """Submit nothing until a person resumes. Return the person's pause that this one replaces, null for none."""
    reason, before = reason or "A person paused submitting.", books.pauses.get(PauseKind.PERSON)
    books.pauses.set(Pause(PauseKind.PERSON, "person", reason, now, None, by=person))
    return before


def replaced_in_words(pauses: Iterable[Pause]) -> list[str]:
    """Return what is said of pauses that another one replaced: each once."""
    said = (f"It replaces the pause of {pause.by or 'somebody'}: {pause.reason}" for pause in pauses)
    return list(dict.fromkeys(said))


def resume(books: Books, now: float, person: str) -> tuple[Pause | None, list[Pause]]:
    """End a person's pause, and try at once what waits for other reasons.

    Return the pause, None where no person had paused, and the pauses still in force.
    """
    ended = books.pauses.end(PauseKind.PERSON, now, by=person)
    try_at_once(books, now)
    standing = books.pauses.active()
    books.obstacles.bring_forward(now)
    return ended, standing


def pause_each(books: Books, sites: Iterable[str], reason: str, now: float, person: str) -> dict[str, Pause]:
    """Do what `pause` does at each of these sites, and return what it replaced, by the site."""
    replaced = {}
    for site in sites:
        with books.at(site):
            before = pause(books, reason, now, person)
        if before is not None:
            replaced[site] = before
    return replaced


def resume_each(
    books: Books, sites: Iterable[str], now: float, person: str
) -> dict[str, tuple[Pause | None, list[Pause]]]:
    """Do what `resume` does at each of these sites, and return what it does, by the site."""
    found = {}
    for site in sites:
        with books.at(site):
            found[site] = resume(books, now, person)
    return found


def _free_path(books: Books, item: Item) -> bytes:
    """Return where it goes in the drop folder: its old path, unless another item has that now."""
    names = names_for(item.path, item.id)
    return next(name for name in names if books.items.live_at(name) is None)  # the last has its whole id
