"""This node's tenure of its site: it begins with the lease, and ends when that is lost or given up.

The lease is renewed by a thread that does nothing else, over a connection of its own. Another thread ends the
tenure when our own clock says so: the first may be waiting for a server that does not answer. A lease counts from
when its renewal was asked for, not from the answer, and a little less than it was granted for.
"""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from watcher import __version__, logs
from watcher.clock import SystemClock
from watcher.config import Config
from watcher.errors import StoreError, StoreLeaseLost
from watcher.folders.holder import Holder
from watcher.journey.instance import start_thread
from watcher.journey.recover import end_attempts
from watcher.journey.site import Site
from watcher.journey.submit import journal
from watcher.store import Lease, Node
from watcher.store.terms import Terms
from watcher.text import show_path, show_text

_log = logs.get_logger(__name__)

_WALL = SystemClock()  # the server's clock is real whatever the site's clock is
_MARGIN = 0.1  # of the lease: two clocks differ, and what is begun takes a moment
_RENEWALS = 5  # in the time of each lease
_JOIN_SECONDS = 10.0


def this_node(config: Config) -> Node:
    """Return this process, as one that would work on the site."""
    ours, privacy = Holder.ourselves(), config.privacy
    return Node(
        name=config.store.node or show_text(socket.gethostname()),
        host=ours.host,
        kernel=_kernel(),
        started=ours.started,
        version=__version__,
        folder="" if privacy.hides else show_path(config.folders.drop),
    )


def _kernel() -> str:
    """Return what tells where our pid is a process: the boot of the machine, and the namespace of pids."""
    with suppress(OSError):
        return f"{Holder.ourselves().boot_id}.{os.stat('/proc/self/ns/pid').st_ino}"
    return Holder.ourselves().boot_id


def _is_dead(lease: Lease) -> bool:
    """Return whether its process certainly lives no more: it was one of this machine, since its last boot."""
    kernel, started = lease.process
    boot_id = Holder.ourselves().boot_id
    return kernel == _kernel() and Holder(lease.host, lease.pid, boot_id, started).lives is False


class Tenure:
    """The tenure of a site, from `begin` to the end of the block, or until it is lost."""

    def __init__(self, site: Site, terms: Terms, node: Node) -> None:
        self._site = site
        self._terms = terms
        self._node = node
        self._seconds = site.config.store.lease_seconds
        self._trusted_until = 0.0  # since the machine's boot
        self._trouble = ""
        self._losing = threading.Lock()
        self._ended = threading.Event()
        self._wakes: list[Callable[[], object]] = []
        self._threads: list[threading.Thread] = []
        self.is_lost = False

    @property
    def _site_id(self) -> str:
        return self._site.store.database.own_site() or ""

    def holder(self) -> Lease | None:
        """Return the lease of whoever works on the site now; None for nobody."""
        lease = self._find()
        return None if lease is None or lease.is_over or _is_dead(lease) else lease

    def _find(self) -> Lease | None:
        with self._site.store.reading() as books:
            return books.leases.of(self._site_id)

    def begin(self) -> None:
        """Take the lease, and end whatever its former holder had under way, in one transaction.

        From then on nothing that another node writes about the site counts. Raises LeaseHeld, StoreError.
        """
        site = self._site
        kept, now, before = journal.read(site), site.clock.now(), self._find()
        dead = before.owner if before is not None and _is_dead(before) else None
        with site.store.writing() as books:
            epoch = books.leases.take(self._site_id, self._node, self._seconds, dead=dead)
            end_attempts(site, books, kept, now)
        self._terms.fence(self._site_id, self._node.owner, epoch)
        self._terms.on_lost = lambda: self._lose("another node has taken the site")
        told = {} if before is None else {"after": str(before)}
        _log.info("lease.taken", site=self._site_id, node=self._node.name, epoch=epoch, **told)
        self._renew()
        if not self.is_lost:
            self._threads = [start_thread(self._keep, "lease"), start_thread(self._watch, "lease-watch")]

    def when_lost(self, wake: Callable[[], object]) -> None:
        """Call this once the lease is lost, from any thread; at once if it is."""
        with self._losing:
            self._wakes.append(wake)
            is_lost = self.is_lost
        if is_lost:
            wake()

    def check(self) -> None:
        """Raise StoreLeaseLost once the lease is lost."""
        if self.is_lost:
            raise StoreLeaseLost(
                f"the lease of this site is lost: {self._trouble}", hint="`watcher nodes` shows who works where"
            )

    def _renew(self) -> None:
        asked_at = _WALL.since_boot()
        if self._terms.renew(self._seconds):
            self._trusted_until = asked_at + self._seconds * (1 - _MARGIN)
        else:
            self._lose("another node has taken the site")

    def _keep(self) -> None:
        """Renew the lease until the end. What hinders that once may be over the next time."""
        while not _WALL.wait(self._seconds / _RENEWALS, self._ended):
            try:
                self._renew()
                self._trouble = ""
            except StoreError as error:
                self._trouble = error.message

    def _watch(self) -> None:
        """End the tenure when the lease was not renewed in time."""
        while not self._ended.is_set():
            left = self._trusted_until - _WALL.since_boot()
            if left <= 0:
                self._lose(self._trouble or "it could not be renewed in time")
            else:
                _WALL.wait(left, self._ended)

    def _lose(self, reason: str) -> None:
        with self._losing:
            if self.is_lost or self._ended.is_set():
                return
            self.is_lost = True
            self._trouble = reason
            wakes = list(self._wakes)
        self._ended.set()
        for wake in wakes:
            wake()
        _log.warning(
            "lease.lost",
            site=self._site_id,
            node=self._node.name,
            reason=reason,
            hint="What is under way ends, nothing new begins, and this node stands by.",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        if self._threads and not self.is_lost:
            try:
                self._terms.give_up()
            except StoreError as trouble:  # then it ends by itself
                _log.warning("lease.not_given_up", reason=trouble.message)
