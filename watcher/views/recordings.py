"""The recordings of a site: all of them, one's whole history, and the files that are not taken yet."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from watcher.config import AudioConfig
from watcher.domain import Attempt, Fault, Item, State
from watcher.errors import NoSuchItem
from watcher.folders.names import RECEIPT
from watcher.journey import receipt
from watcher.journey.answer import Answer, Judgement, read_answers, read_whole_answer
from watcher.store import FIRST, Books, Listed, Waiting
from watcher.text import JsonObject
from watcher.views.buried import Buried, find_buried_item
from watcher.views.context import CommandContext
from watcher.views.lookup import find_item, read_name, read_path
from watcher.views.spelling import tell_spelling
from watcher.views.unbooked import Unbooked, find_unbooked

_FIRST_BATCH = 50  # a screen: it is there at once
_BATCH = 500  # rows in memory at a time: more do not fit into the cache of a processor (measured)


@dataclass(frozen=True, slots=True)
class Recording:
    """An item, and what the service says of it."""

    item: Item
    answer: Answer

    @property
    def verdict(self) -> Judgement | None:
        return self.answer.verdict

    def as_json(self) -> JsonObject:
        return receipt.describe(self.item, self.answer) | {"site": self.item.site}


@dataclass(frozen=True, slots=True)
class History:
    """One recording and its whole history. `note`: that its name was typed in another Unicode form; else ""."""

    recording: Recording
    obstacle: Fault | None
    changes: list[JsonObject]
    requests: list[Attempt]
    note: str

    def as_json(self) -> JsonObject:
        return {
            **self.recording.as_json(),
            "obstacle": self.obstacle.as_json() if self.obstacle else None,
            "history": self.changes,
            "requests": [attempt.as_json() for attempt in self.requests],
        }


@dataclass(frozen=True, slots=True)
class WaitingList:
    """The files in the drop folder that have no item yet: blocked ones first, then by how long they wait.

    `seen_at`: the time of the last scan.
    """

    files: list[Waiting]
    total: int
    seen_at: float | None


T = TypeVar("T")

Row = Listed | Recording
"""A recording of a list: as its row has it where that tells all (see Listed.is_plain)."""


def list_rows(context: CommandContext, states: Sequence[State]) -> Generator[list[Row], None, None]:
    """Yield the recordings in these states, or all, oldest first, in batches: tens of thousands a second.

    Rows are read as they are needed. No transaction is open between two batches, however long their reader takes.
    """
    place, limit = FIRST, _FIRST_BATCH
    while True:
        with context.store.reading() as books:
            rows = books.listing.after(place, limit, states)
            found = complete_rows(books, rows, context.config.audio)
        if not rows:
            return
        place, limit = rows[-1].place, _BATCH
        yield found


def complete_rows(books: Books, rows: Sequence[Listed], audio: AudioConfig) -> list[Row]:
    """Return the rows, with the whole recording for each that does not tell all."""
    others = [row for row in rows if not row.is_plain]
    if not others:
        return list(rows)
    whole = dict(zip((row.serial for row in others), read_recordings(books, others, audio), strict=True))
    return [whole.get(row.serial, row) for row in rows]


def read_recordings(books: Books, rows: Sequence[Listed], audio: AudioConfig) -> list[Recording]:
    """Return the recordings of these rows, each as a whole."""
    known = books.listing.items_of([row.serial for row in rows])
    items = [known[row.serial] for row in rows]
    return list(map(Recording, items, read_answers(books, items, audio)))


def in_batches(rows: Iterator[T]) -> Generator[list[T], None, None]:
    """Yield the rows in lists, of which the first is a screen: it is there at once."""
    limit = _FIRST_BATCH
    while some := list(islice(rows, limit)):
        yield some
        limit = _BATCH


def list_recordings(context: CommandContext) -> Iterator[Recording]:
    """Yield all recordings, oldest first, each as a whole."""
    for rows in _batches(context, ()):
        with context.store.reading() as books:
            answers = read_answers(books, rows, context.config.audio)
        yield from map(Recording, rows, answers)


def list_items(context: CommandContext, states: Sequence[State] = ()) -> Iterator[Item]:
    """Yield the items in these states, or all, oldest first. No transaction is open between two of them."""
    for rows in _batches(context, states):
        yield from rows


def _batches(context: CommandContext, states: Sequence[State]) -> Iterator[list[Item]]:
    place = FIRST
    while True:
        with context.store.reading() as books:
            rows = books.listing.items_after(place, _BATCH, states)
        if not rows:
            return
        yield [item for _, item in rows]
        place = rows[-1][0]


def list_waiting(context: CommandContext) -> WaitingList:
    """The first 1,000 files that have no item yet."""
    with context.store.reading() as books:
        return WaitingList(books.waiting.listed(), books.waiting.total(), books.site.get("last_scan_at"))


def find_history(context: CommandContext, text: str) -> History | Unbooked | Buried:
    """All that is known of the recording that a person named. Raises NoSuchItem."""
    named = read_name(context, text)
    try:
        with context.store.reading() as books:
            item = find_item(books, named)
            return History(
                Recording(item, read_whole_answer(books, item, context.config.audio)),
                books.obstacles.fault_of(item.id),
                books.items.history(item.id),
                books.ledger.of_item(item.id),
                _tell_spelling(read_path(text), item),
            )
    except NoSuchItem:
        with context.store.reading() as books:
            buried = find_buried_item(books, text)
        if buried is not None:
            return buried
        for places in named.spellings:
            if (unbooked := find_unbooked(context, places)) is not None:
                return unbooked
        raise


def _tell_spelling(typed: bytes, item: Item) -> str:
    """A note that the name was typed in another Unicode form; "" if it was not."""
    notes = [tell_spelling(typed.removesuffix(RECEIPT), path) for path in (item.path, item.filed_as) if path]
    return notes[0] if all(notes) else ""
