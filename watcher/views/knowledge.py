"""What the books say about a site, for `check`."""

from dataclasses import dataclass, field

from watcher.domain import Item, Pause
from watcher.errors import UNSENDABLE
from watcher.folders.identity import Past
from watcher.journey.site import owners_of, past_of
from watcher.store import Obstacle
from watcher.text import text_to_path
from watcher.views.context import CommandContext
from watcher.views.status import Blocked, blocked_items

_NAMED = 3


@dataclass(frozen=True)
class Known:
    """What the books say about the site: nothing before its first start, or if they cannot be read."""

    is_started: bool = False
    is_open: bool = False  # the books can be read and written
    folders: dict[str, Past] = field(default_factory=dict)
    mounts: tuple[bytes, ...] = ()  # points below the drop folder at which something was mounted
    pauses: tuple[Pause, ...] = ()
    blocked: tuple[Blocked, ...] = ()  # the oldest that are queued and cannot be sent
    blocked_total: int = 0
    stuck: tuple[Obstacle, ...] = ()  # the oldest that cannot be moved
    stuck_total: int = 0
    altered: tuple[Item, ...] = ()  # the first of the filed recordings that were altered
    last_scan_at: float | None = None
    identifier: str | None = None  # any that the service has given
    unsent: int = 0  # messages that some address has not taken yet
    unsent_since: float | None = None  # when the oldest of them was made


def read_known(context: CommandContext) -> Known:
    """Read the books. Raises StoreError. Whether they can be written is for the caller to try."""
    database = context.store.database
    owners = owners_of(database.path)
    with context.store.reading() as books:
        site = books.site
        unsent = books.messages.unsent()
        return Known(
            is_started=site.get("id") is not None,
            folders={name: past_of(books, name, database, owners) for name in ("drop", "done", "failed")},
            mounts=tuple(text_to_path(path) for path in site.get("mounts") or ()),
            pauses=tuple(books.pauses.active()),
            blocked=tuple(blocked_items(books, _NAMED)),
            blocked_total=books.queue.how_many_blocked(UNSENDABLE),
            stuck=tuple(books.obstacles.listed(_NAMED)),
            stuck_total=books.obstacles.total(),
            altered=tuple(books.filing.altered(_NAMED)),
            last_scan_at=site.get("last_scan_at"),
            identifier=books.items.any_identifier(),
            unsent=len(unsent),
            unsent_since=unsent[0].made_at if unsent else None,
        )
