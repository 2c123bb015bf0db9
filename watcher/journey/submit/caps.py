"""The caps: so many submissions a day and a month at the most. They pause submitting, and fail nothing.

A recording that is sent in parts begins only if there is room for all of them, which is then kept for it; unless
the cap is smaller than that, which would never have room for it.
"""

from collections.abc import Iterator
from typing import NamedTuple
from zoneinfo import ZoneInfo

from watcher.config import Limits
from watcher.domain import SENT, Item, Part, Pause, PauseKind
from watcher.identifai.budget import day_of, month_of
from watcher.store import Books
from watcher.text import local_time


class _Cap(NamedTuple):
    most: int
    spent: int
    word: str
    until: float


def _caps(books: Books, limits: Limits, now: float) -> Iterator[_Cap]:
    zone = ZoneInfo(limits.timezone) if limits.timezone else None
    for most, period, word in ((limits.per_day, day_of, "day"), (limits.per_month, month_of, "month")):
        if most:
            since, until = period(now, zone)
            yield _Cap(most, books.ledger.spent_since(since), word, until)


def find_cap(books: Books, limits: Limits, now: float, item: Item | None = None) -> Pause | None:
    """Return the pause until the reset of a cap that is reached; of two that are, the one that resets later.

    `item`: a cap is reached too that has no room for all of its parts, beside those of others that were begun.
    """
    if item is not None and item.plan is not None and has_begun(books.parts.of(item.id)):
        item = None  # its room is kept for it
    reached = []
    for cap in _caps(books, limits, now):
        reason = _why_reached(books, cap, item)
        if reason:
            reason = f"{reason} (limits.per_{cap.word}); it is counted anew from {local_time(cap.until)}."
            reached.append(Pause(PauseKind.CAP, f"per_{cap.word}", reason, now, cap.until))
    return max(reached, key=lambda pause: pause.until or 0.0, default=None)


def _why_reached(books: Books, cap: _Cap, item: Item | None) -> str:
    if cap.spent >= cap.most:
        return f"The cap of {cap.most:,} submissions a {cap.word} is reached"
    if item is None:
        return ""
    left, needed = cap.most - cap.spent - books.parts.reserved(), _submissions(item)
    if (needed if needed <= cap.most else 1) <= left:
        return ""
    reserved = cap.most - cap.spent - left
    kept = f"; {reserved:,} more are kept for parts of others" if reserved else ""
    takes = f"takes {needed:,} submissions" if needed > 1 else "is to be sent"
    return (
        f"The next recording {takes}, and {max(left, 0):,} are left of the cap of {cap.most:,} submissions a "
        f"{cap.word}{kept}"
    )


def _submissions(item: Item) -> int:
    return 1 if item.plan is None else max(item.plan.most, 1)


def next_due(books: Books, limits: Limits, now: float, *, canary: bool = False) -> Item | None:
    """Return the item to submit next, as the queue's next_due, of those for which the caps have room.

    Where they have room for none, the one that would be next: its cap is what all wait for.
    """
    found = _next_affordable(books, limits, now, canary=canary)
    return found or books.queue.next_due(now, canary=canary)


def _next_affordable(books: Books, limits: Limits, now: float, *, canary: bool) -> Item | None:
    caps = {cap.word: cap for cap in _caps(books, limits, now)}
    if not caps:
        return books.queue.next_due(now, canary=canary)
    if any(cap.spent >= cap.most for cap in caps.values()):
        return None
    reserved = books.parts.reserved()
    room = {word: (cap.most - cap.spent - reserved, cap.most) for word, cap in caps.items()}
    only = next(iter(room.values()))
    return books.queue.next_affordable(
        now, canary=canary, day=room.get("day", only), month=room.get("month", only)
    )


def is_cap_lifted(books: Books, pauses: list[Pause], limits: Limits, now: float) -> bool:
    """Return whether a cap's pause has no reason any more: a submission was given back, or the cap raised."""
    standing = next((pause for pause in pauses if pause.kind is PauseKind.CAP), None)
    if standing is None:
        return False
    cap = find_cap(books, limits, now)
    if cap is None and _next_affordable(books, limits, now, canary=False) is None:
        waiting = books.queue.next_due(now, canary=False) or next_due(books, limits, now, canary=True)
        cap = None if waiting is None else find_cap(books, limits, now, waiting)
    return cap is None or cap.until != standing.until


def has_begun(parts: list[Part]) -> bool:
    """Return whether any of an item's parts was sent: see HAS_BEGUN of the store."""
    return any(part.in_doubt or part.state in SENT for part in parts)
