"""The context of a command: one site's configuration, books, folders and clock."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property

from watcher.clock import Clock
from watcher.config import Config
from watcher.domain import Item, State
from watcher.errors import FolderError, StoreError
from watcher.folders import LOCK, Folder
from watcher.folders.holder import Holder, holder_of
from watcher.folders.lock import SHARED_BY
from watcher.journey.failures import Failure, read_failures
from watcher.journey.instance import lock_database
from watcher.journey.loaded_settings import find_outdated, read_loaded
from watcher.journey.loss import find_loss
from watcher.journey.own_site import find_own_site, settle_own_site
from watcher.journey.site import Site, owners_of
from watcher.journey.working import Activity, Working, judge
from watcher.silence import find_silent
from watcher.store import Store


@dataclass(frozen=True)
class CommandContext:
    """One site, for commands that read or record a decision. They need no key."""

    config: Config
    store: Store
    clock: Clock

    @property
    def drop(self) -> Folder:
        return self._folder("drop", self.config.folders.drop)

    @property
    def done(self) -> Folder:
        return self._folder("done", self.config.folders.done)

    @property
    def failed(self) -> Folder:
        return self._folder("failed", self.config.folders.failed)

    @property
    def folders(self) -> tuple[Folder, Folder, Folder]:
        """Drop, done and failed."""
        return self.drop, self.done, self.failed

    def filed_in(self, item: Item) -> Folder:
        """The folder of a filed item: done/ or failed/."""
        return self.done if item.state is State.DONE else self.failed

    def _folder(self, name: str, root: bytes) -> Folder:
        owning = self.config.folders.own and name != "drop"
        return Folder(root, name, owning=owning, answers=root not in self.silent)

    def at(self, site: str) -> "CommandContext":
        """Return the context in which the books are those of this site; folders and processes stay those here."""
        return replace(self, store=self.store.at(site))

    @cached_property
    def silent(self) -> frozenset[bytes]:
        """The folders whose server does not answer: any access to them would hang."""
        folders = self.config.folders
        return find_silent([folders.drop, folders.done, folders.failed])

    @property
    def _lock(self) -> bytes:
        """The path of the lock that is held by whoever works with the database."""
        return os.fsencode(f"{self.store.database.path}.instance")

    def holder(self) -> Holder | None:
        """The daemon or pass that works on this site now; null for none. Raises FolderError if that is unknown."""
        if not self.drop.answers:
            return self.database_holder()
        lock = os.path.join(self.drop.root, LOCK)
        owners = owners_of(self.store.database.path)
        return holder_of(lock, owners, now=self.clock.now()) or self.database_holder()

    def shares_with(self, holder: Holder) -> bool:
        """Whether it is a node of the same database, which lets one of us work on the site at a time."""
        terms = self.store.database.terms
        if terms is None:
            return False
        with suppress(StoreError):
            return holder.note.get(SHARED_BY) == terms.database()
        return False

    def database_holder(self) -> Holder | None:
        """Who works with this database now; null for none. Raises FolderError if that is unknown."""
        return holder_of(self._lock)

    def failing(self) -> tuple[Failure, ...]:
        """The steps that fail as a whole in the process that works here now; none if that is unknown."""
        holder = self._worker()
        return () if holder is None else read_failures(holder.note)

    def is_running(self) -> bool:
        """Whether somebody works with this database now. The folders of recordings are not accessed."""
        return self._worker() is not None

    def working(self) -> Working:
        """Whether the daemon works, and since when. The folders of recordings are not accessed."""
        found = self._working_here()
        return found if found.activity is Activity.RUNNING else replace(found, elsewhere=self._works_elsewhere())

    def _works_elsewhere(self) -> str:
        """In words, the node that works on this site; "" for none, or if that is unknown, and where none can."""
        if not (site := self.store.database.own_site()):
            return ""
        with suppress(StoreError), self.store.reading() as books:
            lease = books.leases.of(site)
            return "" if lease is None or lease.is_over else str(lease)
        return ""

    def _working_here(self) -> Working:
        try:
            holder = self.database_holder()
        except FolderError as error:
            return Working(Activity.UNKNOWN, reason=error.message, hint=error.hint)
        if holder is not None:
            return judge(holder, self.clock.now())
        with suppress(OSError):
            return Working(Activity.NOT_RUNNING, since=os.stat(self._lock).st_mtime)  # its last heartbeat
        return Working(Activity.NOT_RUNNING, reason="it has never run here")

    def _worker(self) -> Holder | None:
        """Who works with this database now; null for none, or if that is unknown."""
        try:
            return self.database_holder()
        except FolderError:
            return None

    def is_idle(self) -> bool:
        """Whether surely nobody works on this site now, so that nothing happens by itself."""
        try:
            return self.holder() is None and not self._works_elsewhere()
        except FolderError:
            return False

    def loss(self) -> StoreError | None:
        """The error if this site had a database and has none now, or half of one; null if it has, or never had."""
        return find_loss(self.store, self.drop, (self.done, self.failed))

    def outdated(self) -> list[str]:
        """What the running daemon has read that has changed on disk since, in sentences."""
        with self.store.reading() as books:
            fact = read_loaded(books)
        return find_outdated(self.config, fact)

    def content_key(self, digest: str) -> str:
        """See Site.content_key."""
        return Site.open(self.config, self.store, self.clock).content_key(digest)

    def make_database(self) -> None:
        """Create the database if the site was never started, so that a decision can be recorded."""
        database = self.store.database
        if not database.exists() or database.own_site() == "":
            with lock_database(database):
                database.migrate()
                settle_own_site(self.store, self.drop)
                with self.store.writing() as books:
                    books.site.join(self.config.identifai.payer)


@contextmanager
def open_site(config: Config, clock: Clock) -> Iterator[CommandContext]:
    """Open the site as it is: its database may have any version, be lost or not exist yet. Changes nothing."""
    with Store(config.store.url, config.books, config.notify.noted, account=config.identifai.payer) as store:
        context = CommandContext(config, store, clock)
        if store.database.own_site() == "":
            find_own_site(store, context.drop)
        yield context


@contextmanager
def open_to_read(config: Config, clock: Clock) -> Iterator[CommandContext]:
    """The same, but raise StoreError if its database is older or newer than this version."""
    with open_site(config, clock) as context:
        if context.store.database.exists():
            context.store.database.check_version()
        yield context
