"""What became known of a recording's verdict, for the log: once, when all of it is."""

from dataclasses import dataclass

from watcher import logs
from watcher.alarms import Alarm
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


@dataclass(frozen=True, slots=True)
class Changed:
    """A verdict that was at rest, and is another one now. `part`: its index, where it is on one part alone."""

    item: Item
    part: int | None
    before: Verdict
    after: Verdict

    def __str__(self) -> str:
        """Return it for the history: what is said otherwise, or on which other grounds."""
        on_part = "" if self.part is None else f" on part {self.part}"
        was, now = _in_words(self.before), _in_words(self.after)
        if was != now:
            return f"the verdict{on_part} changed: {was}, now {now}"
        grounds = [
            f"{name} {_named(getattr(self.before, name))}, now {_named(getattr(self.after, name))}"
            for name in ("heuristic", "models", "api_version")
            if getattr(self.before, name) != getattr(self.after, name)
        ]
        return f"the verdict{on_part} stands on other grounds: {'; '.join(grounds)}"

    def tell(self) -> None:
        """Log it; that it is artificial now also under the name that a new verdict has."""
        if self.after.classification == ARTIFICIAL != self.before.classification and self.part is None:
            News(self.item, self.after.identifier, VerdictState.AWAITED, self.after).tell()
        _log.warning(
            "verdict.changed",
            item=self.item.id,
            path=self.item.path,
            part=self.part,
            identifier=self.after.identifier,
            classification=self.after.classification,
            confidence=self.after.confidence,
            reason=str(self),
        )


def _in_words(verdict: Verdict) -> str:
    said = verdict.classification or str(verdict.state)
    details = [] if verdict.confidence is None else [f"confidence {verdict.confidence:g}"]
    details += ["by force"] if verdict.forced else []
    return f"{said} ({', '.join(details)})" if details else said


def _named(ground: str | tuple[str, ...] | None) -> str:
    return (", ".join(ground) if isinstance(ground, tuple) else ground) or "none"


def find_news(books: Books, item: Item, before: Verdict, audio: AudioConfig) -> News | None:
    """Return the news of a recording that was sent in parts: one verdict, now stored otherwise, was as given.

    None for a duplicate: its original is told of.
    """
    now = read_answer(books, item, audio)
    was = now.as_if(before, audio)
    if now.verdict is None or was.verdict is None or _is_told_of_original(books, item):
        return None
    return News(item, item.identifier, was.verdict.state, now.verdict)


def _is_told_of_original(books: Books, item: Item) -> bool:
    """Return whether it is a duplicate whose original the books have: of one that was erased nobody is told."""
    return item.duplicate_of is not None and books.items.get(item.duplicate_of) is not None


def note_conditions(books: Books, item: Item, now: float, audio: AudioConfig) -> None:
    """Note that the recording is artificial, or its verdict overdue, or that it is so no more.

    Not of a duplicate: its original is told of.
    """
    verdict = read_answer(books, item, audio).verdict
    if verdict is None or _is_told_of_original(books, item):
        return
    conditions = books.conditions
    if verdict.state is VerdictState.OVERDUE:
        conditions.open(Alarm.OVERDUE, item.id, now)
        return
    conditions.close(Alarm.OVERDUE, item.id, now)
    if verdict.classification == ARTIFICIAL and conditions.noted.is_artificial(verdict.confidence):
        if item.review is None:
            conditions.open(Alarm.ARTIFICIAL, item.id, now)
    elif verdict.state is VerdictState.KNOWN:
        conditions.close(Alarm.ARTIFICIAL, item.id, now)


def tell_if_known(books: Books, item: Item, audio: AudioConfig, now: float) -> None:
    """Log the verdict after the commit, if it became known as the item's last part came to rest."""
    note_conditions(books, item, now, audio)
    verdict = read_answer(books, item, audio).verdict
    if verdict is not None:
        books.afterwards(News(item, item.identifier, VerdictState.AWAITED, verdict).tell)
