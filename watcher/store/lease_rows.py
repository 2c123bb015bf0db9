"""Which node works on a site: one lease for each site, on the clock of the database's server.

Only on PostgreSQL; an SQLite file is used by one process, which has a lock on it.

Facts:

- All times are clock_timestamp(): now() is when the transaction began, before it waited for its lock.
- Who takes a lease is alone among all writers. Who renews one is not: the row's lock alone orders the two, and the
  condition is looked at again once that is granted.
- The epoch grows with each taking and never goes back: a write that carries an older one is a former holder's.
"""

import os
import secrets
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import Connection, Float, Row, bindparam, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert  # see dialects.py

from watcher.errors import LeaseHeld
from watcher.store import revisions
from watcher.store.dialects import SERVER_TIME
from watcher.store.schema import leases
from watcher.store.scope import is_in_a_file
from watcher.text import JsonObject, local_time, rfc3339

_CLOCK: Any = literal_column(SERVER_TIME)
_UNTIL = _CLOCK + bindparam("seconds", type_=Float)
_LISTED = select(leases, (leases.c.until - _CLOCK).label("seconds_left"))
_ALL = _LISTED.order_by(leases.c.since, leases.c.site)
_OF_SITE = _LISTED.where(leases.c.site == bindparam("site"))
_LIVE = _LISTED.where(leases.c.until > _CLOCK).order_by(leases.c.site)
_ADDED = insert(leases).values(epoch=1, since=_CLOCK, until=_UNTIL)
_TAKE = _ADDED.on_conflict_do_update(
    index_elements=[leases.c.site],
    set_={name: _ADDED.excluded[name] for name in ("owner", "node", "host", "pid", "version", "folder")}
    | {"epoch": leases.c.epoch + 1, "since": _CLOCK, "until": _UNTIL},
    where=(leases.c.until <= _CLOCK) | leases.c.owner.in_([_ADDED.excluded.owner, bindparam("dead")]),
).returning(leases.c.epoch)
_OURS = (
    update(leases)
    .where(leases.c.site == bindparam("the_site"), leases.c.epoch == bindparam("the_epoch"))
    .where(leases.c.owner == bindparam("the_owner"))
)
RENEW = _OURS.values(until=_UNTIL)
"""Whoever has been slow keeps the lease, unless it was taken meanwhile: nobody else has done anything."""

GIVE_UP = _OURS.values(until=_CLOCK).where(leases.c.until > _CLOCK)


@dataclass(frozen=True, slots=True)
class Node:
    """A process that works on a site, or would. `folder`: its drop folder, for people; "" where hidden."""

    name: str
    host: str
    kernel: str  # what tells where its pid is a process: the boot of the machine, and the namespace
    version: str
    folder: str = ""
    pid: int = field(default_factory=os.getpid)
    started: str = ""  # when it was, since the pid may be another process's by now
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    revisions: tuple[str, ...] = field(default_factory=lambda: tuple(revisions.known()), repr=False)
    """Of the tables, that its program knows: files, so they are read before any transaction begins."""

    @property
    def owner(self) -> str:
        """What no other process has, of this name or not, now or after a restart of the machine."""
        return "/".join([self.host, self.kernel, str(self.pid), self.started, self.token])


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may work on a site, or was the last who might. `left`: for so many seconds more; 0: it is over."""

    site: str
    owner: str
    node: str
    host: str
    pid: int
    version: str
    folder: str
    epoch: int
    since: float
    until: float
    left: float

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        known = {name: getattr(row, name) for name in cls.__slots__ if name != "left"}
        return cls(**known, left=max(row.seconds_left, 0.0))

    @property
    def is_over(self) -> bool:
        return self.left == 0.0

    @property
    def process(self) -> tuple[str, str]:
        """Where its pid is a process, and when that was started; see Node."""
        _, kernel, _, started, *_ = [*self.owner.split("/"), "", "", ""]
        return kernel, started

    def __str__(self) -> str:
        return f"{self.node} (process {self.pid} on {self.host}, since {local_time(self.since)})"

    def held(self) -> LeaseHeld:
        """The error for whoever would work on the site beside its holder."""
        return LeaseHeld(
            f"another node works on this site: {self}",
            hint="leave the work to it, or stop it first; `watcher nodes` shows who works where",
        )

    def as_json(self) -> JsonObject:
        return {
            "site": self.site,
            "node": self.node,
            "host": self.host,
            "pid": self.pid,
            "version": self.version,
            "folder": self.folder,
            "epoch": self.epoch,
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "working": not self.is_over,
        }


class Leases:
    """The leases, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def listed(self) -> list[Lease]:
        """The lease of each site that was ever worked on, the oldest first; in a file, none."""
        if is_in_a_file(self._connection):
            return []
        return [Lease.of(row) for row in self._connection.execute(_ALL)]

    def of(self, site: str) -> Lease | None:
        """The site's lease, which may be over; null where nobody ever had it."""
        if is_in_a_file(self._connection):
            return None
        row = self._connection.execute(_OF_SITE, {"site": site}).first()
        return None if row is None else Lease.of(row)

    def _found(self, site: str) -> Lease:
        return Lease.of(self._connection.execute(_OF_SITE, {"site": site}).one())

    def take(self, site: str, node: Node, seconds: float, *, dead: str | None = None) -> int:
        """Give the site to the node for so long. Return the new epoch. Raises LeaseHeld while another has it.

        Raises StoreError where a newer program has changed the tables since we looked. `dead`: an owner that is
        known to live no more: nobody has to wait for the end of its lease.
        """
        version = revisions.version_of(self._connection)
        revisions.refuse_newer(version, str(self._connection.engine.url), node.revisions)
        values = {
            "site": site,
            "owner": node.owner,
            "node": node.name,
            "host": node.host,
            "pid": node.pid,
            "version": node.version,
            "folder": node.folder,
            "seconds": seconds,
            "dead": dead,
        }
        epoch: int | None = self._connection.execute(_TAKE, values).scalar()
        if epoch is None:
            raise self._found(site).held()
        return epoch


def live(connection: Connection) -> list[Lease]:
    """The leases that are not over."""
    return [Lease.of(row) for row in connection.execute(_LIVE)]
