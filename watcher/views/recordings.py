"""The recordings of a site: all of them, one's whole history, and the files that are not taken yet."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from watcher.domain import Attempt, Fault, Item, State
from watcher.errors import NoSuchItem
from watcher.folders.names import RECEIPT
from watcher.journey import receipt
from watcher.journey.answer import Answer, Judgement, read_answer, read_whole_answer
from watcher.store import Waiting
from watcher.text import JsonObject
from watcher.views.buried import Buried, find_buried_item
from watcher.views.context import CommandContext
from watcher.views.lookup import find_item, read_name, read_path
from watcher.views.spelling import tell_spelling
from watcher.views.unbooked import Unbooked, find_unbooked

_BATCH = 1000  # rows in memory at a time


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


def list_recordings(context: CommandContext, states: Sequence[State]) -> Generator[Recording, None, None]:
    """Yield the recordings in these states, or all, oldest first. Rows are read as they are needed.

    No transaction is open between two of them, however long their reader takes.
    """
    after = 0
    while True:
        with context.store.reading() as books:
            rows = books.items.listed_after(after, _BATCH, states)
            found = [Recording(item, read_answer(books, item, context.config.audio)) for _, item in rows]
        if not rows:
            return
        yield from found
        after = rows[-1][0]


def list_items(context: CommandContext, states: Sequence[State] = ()) -> Iterator[Item]:
    """Yield the items alone, in the same way."""
    after = 0
    while True:
        with context.store.reading() as books:
            rows = books.items.listed_after(after, _BATCH, states)
        if not rows:
            return
        yield from (item for _, item in rows)
        after = rows[-1][0]


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
