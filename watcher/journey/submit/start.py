"""Whether a submission may begin now, and if not, when to ask again: when looking, and again in the claim."""

from dataclasses import dataclass

from watcher.config import Limits
from watcher.domain import Item, Part, Pause
from watcher.journey.submit.caps import find_cap
from watcher.journey.submit.policy import Gate
from watcher.journey.submit.windows import Windows
from watcher.store import Books

IDLE = float("inf")
_LOOK_SECONDS = 0.2  # a small part of the uploads' lead


@dataclass(frozen=True, slots=True)
class Start:
    """Whether pauses, other uploads, the rate windows and the caps let a submission begin."""

    wait: float = 0.0  # seconds until it is worth asking again
    cap: Pause | None = None  # a cap is reached: put this pause in force

    @property
    def is_free(self) -> bool:
        """Whether it may begin now."""
        return self.wait == 0.0 and self.cap is None


def find_start(
    books: Books, gate: Gate, item: Item | None, part: Part | None, windows: Windows, limits: Limits, now: float
) -> Start:
    """Return whether the upload of this item, or of this part of it, may begin; without an item, when one may.

    The claim asks this in its own transaction, so that two uploads cannot both take the last room.
    """
    if not gate.is_open:
        return Start(IDLE if gate.until is None else max(gate.until - now, 0.001))
    if gate.canary and books.ledger.unfinished():
        return Start(IDLE)  # one canary at a time
    if item is None:
        due_at = books.queue.next_due_at(now)
        return Start(IDLE if due_at is None else max(due_at - now, 0.001))
    if (wait := windows.starts_at(books, now, upload_bytes(item, part)) - now) > 0:
        # Uploads ahead of this one move its start while they are sent: do not ask all the time.
        return Start(max(wait, _LOOK_SECONDS))
    return Start(cap=find_cap(books, limits, now, item))


def upload_bytes(item: Item, part: Part | None) -> int:
    """Return how many bytes are uploaded: the part's, or the recording's as it is."""
    return item.size if part is None else part.size or 0
