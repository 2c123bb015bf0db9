"""When a submission may begin: now, or when to ask again."""

from watcher.domain import Item, Part
from watcher.journey.submit.policy import Gate
from watcher.journey.submit.windows import Windows
from watcher.store import Books

IDLE = float("inf")
_LOOK_SECONDS = 0.2  # a small part of the uploads' lead


def find_wait(books: Books, gate: Gate, now: float) -> float:
    """Return the seconds until pauses and canaries may let a submission begin; 0: they do.

    The claim asks this again in its own transaction: a pause may have begun since.
    """
    if not gate.is_open:
        return IDLE if gate.until is None else max(gate.until - now, 0.001)
    if gate.canary and books.ledger.under_way():
        return IDLE  # one canary at a time, of all sites
    return 0.0


def find_start(
    books: Books, gate: Gate, item: Item | None, part: Part | None, windows: Windows, now: float
) -> float:
    """Return the seconds until the upload of this item, or of this part of it, may begin; 0: now.

    Without an item: until there may be one. The caps are the claim's to ask.
    """
    if (wait := find_wait(books, gate, now)) > 0:
        return wait
    if item is None:
        due_at = books.queue.next_due_at(now)
        return IDLE if due_at is None else max(due_at - now, 0.001)
    if (wait := windows.starts_in(books, now, upload_bytes(item, part))) > 0:
        # Uploads ahead of this one move its start while they are sent: do not ask all the time.
        return max(wait, _LOOK_SECONDS)
    return 0.0


def upload_bytes(item: Item, part: Part | None) -> int:
    """Return how many bytes are uploaded: the part's, or the recording's as it is."""
    return item.size if part is None else part.size or 0
