"""A person's decision at the page: on one recording at once, or on all that match, which the daemon carries out.

Either is exact. What a person decides rests on what the page showed: where somebody else has decided meanwhile, or
the recording has changed, it stays as it is, and that is said.
"""

import threading
from dataclasses import dataclass, replace
from math import inf

from watcher.domain import FILED, Deed, Item, PauseKind, ReviewWord, State
from watcher.journey import decisions
from watcher.journey.site import Site
from watcher.store import Books, Place, Sought, Wish
from watcher.text import rfc3339
from watcher.views.context import CommandContext
from watcher.views.overview import deed_in_words
from watcher.views.prospects import explain_delay, explain_retry, find_hindrance
from watcher.views.recordings import Recording
from watcher.views.search import read_page
from watcher.views.story import deeds_for, hiding

STATE_FOR = {
    Deed.RETRY: State.FAILED,
    Deed.DISMISS: State.FAILED,
    Deed.RELEASE: State.HELD,
    Deed.FAIL: State.HELD,
}
"""Of which state recordings are on which this can be decided for all that match."""

_BATCH = 50
_KEPT_SECONDS = 7 * 86_400.0
"""So long a wish is shown after it has ended."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of a decision, in words for the person. `is_done`: it was carried out."""

    is_done: bool
    said: str


def decide(context: CommandContext, item_id: str, deed: Deed, seen: int, person: str) -> Decided:
    """Carry out a person's decision on one recording, unless somebody has decided since the page was made.

    `seen`: the number of the last change that the page knew of.
    """
    with context.store.reading() as books:
        asked = books.items.get(item_id)
    if asked is None:
        return _GONE
    hide = hiding([asked], asked.id, hides=context.config.privacy.hides)
    if deed is Deed.RETRY and asked.state in FILED:
        hindrance = find_hindrance(context, asked)
        if hindrance is not None:
            return Decided(False, f"It was not retried: {hide(str(hindrance))}")
    with context.store.writing() as books:
        item = books.items.get(item_id)
        if item is None:
            return _GONE
        overtaken = _find_overtaken(books, item, seen, deed)
        if overtaken is None:
            _carry_out(books, deed, [item], context.clock.now(), person)
    if overtaken is not None:
        return Decided(False, f"Nothing was changed. {hide(overtaken)}")
    return Decided(True, hide(_in_words(context, deed, item)))


_GONE = Decided(False, "Nothing was changed: there is no such recording any more.")


def review(context: CommandContext, item_id: str, word: ReviewWord, note: str, seen: int, person: str) -> Decided:
    """Record a person's word on a filed recording, unless somebody has decided since the page was made."""
    with context.store.writing() as books:
        item = books.items.get(item_id)
        if item is None:
            return _GONE
        overtaken = _find_decision(books, item, seen)
        if overtaken is None and item.state not in FILED:
            overtaken = f"It is {item.state} now, and only what is filed can be reviewed."
        if overtaken is None:
            decisions.review(books, item, word, note, context.clock.now(), person)
    if overtaken is not None:
        hide = hiding([item], item.id, hides=context.config.privacy.hides)
        return Decided(False, f"Nothing was changed. {hide(overtaken)}")
    return Decided(True, f"Your word stands beside the service's: {word}.")


def _find_overtaken(books: Books, item: Item, seen: int, deed: Deed) -> str | None:
    """Return, in a sentence, what was decided on it meanwhile, or what else bars the deed; null if nothing."""
    if (decided := _find_decision(books, item, seen)) is not None:
        return decided
    if books.removals.get(item.id) is not None:
        return "It is being removed."
    return None if deed in deeds_for(books, item) else f"Meanwhile it is {item.state}."


def _find_decision(books: Books, item: Item, seen: int) -> str | None:
    decision = books.page.decided(item.id, seen)
    return None if decision is None else f"Meanwhile: {decision.note}, at {rfc3339(decision.at)}."


def _carry_out(books: Books, deed: Deed, items: list[Item], now: float, person: str) -> list[Item]:
    """Carry the decision out on these, which are as it needs them. Return those on which it was."""
    match deed:
        case Deed.RETRY:
            return decisions.retry(books, items, now, person, fresh=False, spares_dismissed=False)[0]
        case Deed.RELEASE:
            decisions.release(books, items, now, person)
        case Deed.FAIL:
            decisions.give_up(books, items, now, person)
        case Deed.DISMISS:
            decisions.dismiss(books, items, now, person)
    return items


def _in_words(context: CommandContext, deed: Deed, item: Item) -> str:
    match deed:
        case Deed.DISMISS:
            return "Dismissed: it stays in failed/, and a retry undoes this."
        case Deed.RETRY:
            said = f"Retried: it {explain_retry(context, item)}."
        case Deed.RELEASE:
            said = "Released: it is queued and will be sent again."
        case _:
            said = "Given up: it will be filed without being sent again."
    kinds = (PauseKind.FOLDER,) if deed is Deed.FAIL else tuple(PauseKind)
    return " ".join([said, *explain_delay(context, kinds)])


def ask(context: CommandContext, deed: Deed, sought: Sought, number: int, seen: int, person: str) -> Decided:
    """Record the wish that this is done for all that match. The daemon carries it out."""
    now = context.clock.now()
    with context.store.writing() as books:
        books.wishes.forget(now - _KEPT_SECONDS)
        books.wishes.ask(Wish(deed, sought, number, seen, now, person))
    _asked.set()
    _, done, _ = deed_in_words(deed)
    many = "1 recording is" if number == 1 else f"{number:,} recordings are"
    return Decided(True, f"{many} being {done}. What somebody else decides meanwhile stays as it is.")


_asked = threading.Event()
"""A wish may have come since the step looked: only the page of its own process makes any."""


@dataclass
class Wishing:
    """The step that carries out wishes, a batch in each transaction. While none comes it asks for nothing."""

    site: Site
    batch: int = _BATCH
    _has_looked: bool = False

    def step(self) -> float:
        """Carry out the next batch of the oldest wish. Return 0 while there is work, else how long to wait."""
        if self._has_looked and not _asked.is_set():
            return inf
        _asked.clear()  # before the look: one that comes meanwhile is not lost
        self._has_looked = False  # until the look has succeeded
        with self.site.store.reading() as books:
            wish = books.wishes.next()
        self._has_looked = wish is None
        if wish is None:
            return inf
        context = CommandContext(self.site.config, self.site.store, self.site.clock)
        with self.site.store.reading() as books:
            found, reached = read_page(books, context.config.audio, wish.sought, wish.reached, self.batch)
            ids = [row.item.id if isinstance(row, Recording) else row.id for row in found]
            changed = books.page.changed(ids, wish.seen)
            asked = [item for item_id in ids if item_id not in changed and (item := books.items.get(item_id))]
        hindered: dict[str, str] = {}
        if wish.deed is Deed.RETRY:
            for item in (one for one in asked if one.dismissed is None):
                if (fault := find_hindrance(context, item)) is not None:
                    hindered[item.id] = hiding([item], item.id, hides=True)(str(fault))  # it stands for all
        self._do(wish, [item for item in asked if item.id not in hindered], reached, hindered)
        return 0.0

    def _do(self, wish: Wish, asked: list[Item], reached: Place | None, hindered: dict[str, str]) -> None:
        """Carry it out on those of these that are still as they were, and record how far it has come."""
        now = self.site.clock.now()
        with self.site.store.writing() as books:
            changed = books.page.changed([item.id for item in asked], wish.seen)
            current = [item for one in asked if one.id not in changed and (item := books.items.get(one.id))]
            as_asked = [item for item in current if _is_asked(books, item, wish.deed)]
            done = _carry_out(books, wish.deed, as_asked, now, wish.by)
            books.wishes.put(
                replace(
                    wish,
                    reached=reached or wish.reached,
                    done=wish.done + len(done),
                    hindered=wish.hindered + len(hindered),
                    hindrance=next(reversed(hindered.values()), wish.hindrance),
                    ended_at=now if reached is None else None,
                )
            )


def _is_asked(books: Books, item: Item, deed: Deed) -> bool:
    """Return whether the item is one on which this can be decided, and nobody is done with it."""
    return item.state is STATE_FOR[deed] and item.dismissed is None and books.removals.get(item.id) is None
