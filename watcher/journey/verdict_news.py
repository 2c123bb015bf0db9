"""What became known of a recording's verdict, for the log: once, when all of it is."""

from dataclasses import dataclass

from watcher import logs
from watcher.config import AudioConfig
from watcher.domain import ARTIFICIAL, Item, Verdict, VerdictState
from watcher.journey.answer import Judgement, read_answer
from watcher.store import Books

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class News:
    """A recording whose verdict was in one state and is as given now. `identifier`: null where it has several."""

    item: Item | None
    identifier: str | None
    before: VerdictState
    after: Judgement

    def tell(self) -> None:
        """Log the change of state, if it is one."""
        if self.after.state is self.before:
            return
        # A separate event name makes artificial ones easy to find; at info level, since they need no action.
        is_artificial = self.after.classification == ARTIFICIAL
        _log.info(
            "verdict.artificial" if is_artificial else f"verdict.{self.after.state}",
            item=self.item.id if self.item else None,
            path=self.item.path if self.item else None,
            identifier=self.identifier,
            classification=self.after.classification,
            confidence=self.after.confidence,
        )


def find_news(books: Books, item: Item, before: Verdict, audio: AudioConfig) -> News | None:
    """Return the news of a recording that was sent in parts: one verdict, now stored otherwise, was as given.

    None for a duplicate: its original is told of.
    """
    now = read_answer(books, item, audio)
    was = now.as_if(before, audio)
    if item.duplicate_of is not None or now.verdict is None or was.verdict is None:
        return None
    return News(item, item.identifier, was.verdict.state, now.verdict)


def tell_if_known(books: Books, item: Item, audio: AudioConfig) -> None:
    """Log the verdict after the commit, if it became known as the item's last part came to rest."""
    verdict = read_answer(books, item, audio).verdict
    if verdict is not None:
        books.afterwards(News(item, item.identifier, VerdictState.AWAITED, verdict).tell)
