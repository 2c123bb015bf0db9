"""Which nodes work on which sites, and until when; on SQLite the one process that works here, if any does."""

from dataclasses import dataclass

from watcher.errors import FolderError
from watcher.folders.holder import Holder
from watcher.journey.working import Activity
from watcher.store import Lease
from watcher.text import JsonObject, rfc3339
from watcher.views.context import CommandContext


@dataclass(frozen=True, slots=True)
class SiteLease:
    """Who works on a site, or did last. `is_this`: it is the daemon of this configuration, on this machine."""

    lease: Lease
    is_this: bool

    def as_json(self) -> JsonObject:
        return {**self.lease.as_json(), "this": self.is_this}


def list_leases(context: CommandContext) -> list[SiteLease]:
    """The lease of each site of the database, the oldest first."""
    here = _holder_here(context)
    with context.store.reading() as books:
        found = books.leases.listed()
    return [SiteLease(lease, _is_of(lease, here)) for lease in found]


def describe_alone(context: CommandContext) -> str:
    """What works with a database that is a file, in a sentence."""
    working = context.working().describe(context.clock.now())
    return f"one node, since the database is a file on this machine: {working}"


def alone_as_json(context: CommandContext) -> JsonObject | None:
    """The process that works with a database that is a file, in the form of a lease; null for none."""
    working = context.working()
    if working.holder is None or working.activity is Activity.UNKNOWN:
        return None
    return {
        "site": None,
        "node": context.config.store.node or working.holder.host,
        "host": working.holder.host,
        "pid": working.holder.pid,
        "version": None,
        "folder": None,
        "epoch": None,
        "since": rfc3339(working.since),
        "until": None,
        "working": working.activity is Activity.RUNNING,
        "this": True,
    }


def _holder_here(context: CommandContext) -> Holder | None:
    try:
        return context.database_holder()
    except FolderError:
        return None


def _is_of(lease: Lease, here: Holder | None) -> bool:
    return here is not None and not lease.is_over and (lease.host, lease.pid) == (here.host, here.pid)
