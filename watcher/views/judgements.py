"""The verdicts on recordings, and what they rest on; and having the service asked for them again."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from watcher.domain import Item, Verdict
from watcher.errors import ServiceError
from watcher.identifai.client import IDENTIFIERS_A_CALL, Client
from watcher.journey.answer import read_answer, read_whole_answer
from watcher.journey.receipt import describe
from watcher.journey.refresh import Refresh, Refreshed
from watcher.journey.site import Site
from watcher.store import FIRST
from watcher.text import JsonObject
from watcher.views.context import CommandContext
from watcher.views.lookup import find_item, read_name
from watcher.views.recordings import Recording

_BATCH = 100  # with what they rest on: some 60 kB each
_FACTS = ("id", "path", "state", "filed_as", "identifier", "verdict", "review")


@dataclass(frozen=True, slots=True)
class Judged:
    """A recording with its verdict and what that rests on, if that was read."""

    recording: Recording

    def judgements(self) -> Iterator[tuple[int | None, Verdict]]:
        """Yield the service's own verdicts: of each part by its index, or of the recording itself."""
        answer = self.recording.answer
        if isinstance(answer.verdict, Verdict):
            yield None, answer.verdict
        for part in answer.parts or ():
            if (verdict := answer.of_part(part)) is not None:
                yield part.index, verdict

    def as_json(self) -> JsonObject:
        """Return it with the service's whole results, null where none was kept."""
        item, answer = self.recording.item, self.recording.answer
        results = answer.results or {}
        told = describe(item, answer)
        parts = answer.parts_as_json()
        for part in parts or ():
            part["result"] = results.get(part["identifier"])
        facts: JsonObject = {name: told[name] for name in _FACTS}
        return facts | {"result": results.get(item.identifier or ""), "parts": parts, "site": item.site}


def find_judged(context: CommandContext, texts: Sequence[str]) -> list[Item]:
    """Return the recordings that a person named, each once. Raises NoSuchItem."""
    named = [read_name(context, text) for text in texts]
    with context.store.reading() as books:
        return list({item.id: item for item in (find_item(books, name) for name in named)}.values())


def list_verdicts(
    context: CommandContext, items: Sequence[Item] | None, *, whole: bool
) -> Generator[Judged, None, None]:
    """Yield these recordings, or all that have a verdict, oldest first. No transaction is open between two."""
    read = read_whole_answer if whole else read_answer
    audio = context.config.audio
    if items is not None:
        for start in range(0, len(items), _BATCH):
            with context.store.reading() as books:
                now = [books.items.get(item.id) or item for item in items[start : start + _BATCH]]
                found = [Judged(Recording(item, read(books, item, audio))) for item in now]
            yield from found
        return
    after = FIRST
    while True:
        with context.store.reading() as books:
            rows = books.listing.items_after(after, _BATCH)
            found = [Judged(Recording(item, read(books, item, audio))) for _, item in rows]
        if not rows:
            return
        yield from (one for one in found if one.recording.verdict is not None)
        after = rows[-1][0]


def refresh_verdicts(context: CommandContext, items: Sequence[Item] | None, client: Client) -> Refreshed:
    """Have the service asked for the verdicts on these recordings, or for all. Return what came of it."""
    refresh = Refresh(Site.open(context.config, context.store, context.clock), client)
    try:
        for identifiers in _identifiers(context, items):
            refresh.ask(identifiers)
    except ServiceError as error:
        refresh.found.stopped = error
    return refresh.found


def _identifiers(context: CommandContext, items: Sequence[Item] | None) -> Iterator[Sequence[str]]:
    """Yield the identifiers, as many at a time as one request may ask for, each once."""
    if items is not None:
        with context.store.reading() as books:
            of_parts = [part.identifier for item in items for part in books.parts.of(item.id)]
        found = [*(item.identifier for item in items), *of_parts]
        unique = list(dict.fromkeys(one for one in found if one is not None))
        for start in range(0, len(unique), IDENTIFIERS_A_CALL):
            yield unique[start : start + IDENTIFIERS_A_CALL]
        return
    after = ""
    while True:
        with context.store.reading() as books:
            few = books.verdicts.identifiers_after(after, IDENTIFIERS_A_CALL)
        if not few:
            return
        yield few
        after = few[-1]
