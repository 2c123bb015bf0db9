"""What the database's server, the lease and this machine say of each other, for `check`."""

from contextlib import suppress
from dataclasses import dataclass

from watcher.errors import FolderError, StoreError
from watcher.journey.own_site import marked_for
from watcher.store.server_facts import ServerFacts
from watcher.views.context import CommandContext
from watcher.views.site_names import name_sites


@dataclass(frozen=True, slots=True)
class Skew:
    """How far the server's clock is ahead of this machine's, and by how much that may be wrong."""

    seconds: float
    unsure: float


@dataclass(frozen=True, slots=True)
class ServerState:
    """What is found there. `own`, `marked`: the site in this node's file, and in the drop folder's mark."""

    said: ServerFacts
    skew: Skew
    sites: int
    own: str
    marked: str
    lease: str  # who works on this site, in words; "" for nobody
    is_due: bool  # whether the tables are still to be made or upgraded


def read_server(context: CommandContext) -> ServerState | None:
    """Ask the server; null where the database is a file. Raises StoreError."""
    database, clock = context.store.database, context.clock
    own = database.own_site()
    if own is None:
        return None
    database.examine()  # makes the connection, which takes its time: the clock is asked for over one that is there
    asked_at, began = clock.now(), clock.monotonic()
    if (said := database.examine()) is None:
        return None
    unsure = (clock.monotonic() - began) / 2
    sites, lease = 0, ""
    is_due = not database.is_of_this_version()
    if not is_due:
        with suppress(StoreError), context.store.reading() as books:
            sites = len(name_sites(books, context.config))
            found = books.leases.of(own)
            lease = "" if found is None or found.is_over else f"{found}, for {found.left:.0f} s more"
    marked = ""
    with suppress(FolderError):
        marked = marked_for(context.store, context.drop)
    return ServerState(said, Skew(said.clock - asked_at - unsure, unsure), sites, own, marked, lease, is_due)
