"""A database on a PostgreSQL server: its connections, its one lock, its upgrades.

Facts (measured with PostgreSQL 15, or its documentation):

- Every writing transaction first takes one advisory lock, which ends with the transaction. So whoever writes is
  alone among all threads, processes and nodes, as with SQLite, and each statement after it sees what was committed
  before the lock was granted: a snapshot is taken for each statement, not for the transaction. No serialization
  failure and no deadlock can come from our own transactions. A pooler that shares connections between transactions
  bears this lock; it does not bear one of a session, nor LISTEN.
- What opens a transaction is sent as one message: one round trip, whatever it sets. It also says for which site
  and account the transaction is; that ends with it, so no pooler carries it to another. The policies of the tables
  hold for every user but a superuser and one with BYPASSRLS; FORCE has them hold for the owner.
- A node that is stopped in the middle of a transaction keeps the lock until the server ends it: after
  _IDLE_SECONDS, or _STATEMENT_SECONDS where it is the statement that does not end. An upgrade has longer:
  everybody waits for it anyway.
- The driver begins nothing by itself: the connections are in autocommit mode, and the transaction is opened by us.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy import inspect as look_at
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from watcher.errors import LeaseHeld, StoreAway, StoreError, StoreLeaseLost, StoreUnavailable
from watcher.outlet import Show
from watcher.store import revisions
from watcher.store.empty import empty_database
from watcher.store.lease_rows import live
from watcher.store.local_files import check_is_folder, create
from watcher.store.postgresql import node_file
from watcher.store.postgresql.outage import Outage
from watcher.store.postgresql.sqlstates import only_reads, our_errors
from watcher.store.schema import metadata
from watcher.store.server_facts import ServerFacts, examine
from watcher.store.terms import Terms

_LOCK_SECONDS = 30
_IDLE_SECONDS = 5
_UPGRADE_IDLE_SECONDS = 60  # between two statements, revisions are looked for, and modules read from the disk
_STATEMENT_SECONDS = 60
_CONNECT_SECONDS = 10
_SILENT_SECONDS = 20  # after which a server that acknowledges nothing is taken for dead
_RENEWAL_SECONDS = 5  # of silence: a lease is renewed in time, or not at all
_READERS = 4  # connections that are kept; more are opened while they are wanted
_MOST_READERS = 32
_READERS_WAIT_SECONDS = 30.0
_OUR_LOCK = 0x77617463686572  # "watcher", in the 64 bits of an advisory lock's key
_OLDEST = 130000
_QUOTE = "'"

_TO_WRITE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s';"
    "SET LOCAL idle_in_transaction_session_timeout = '{idle_seconds}s';"
    "SET LOCAL statement_timeout = '{statement_seconds}s';"
    # What is paid for must not be lost by the server's settings.
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';"
    f"SELECT pg_advisory_xact_lock({_OUR_LOCK})"
)
_TO_FILL = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"
_TO_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TO_UPGRADE = (
    f"{_TO_WRITE.format(statement_seconds=0, idle_seconds=_UPGRADE_IDLE_SECONDS)};"
    "SELECT set_config('watcher.wide', 'on', true)"
)
_TAKE_LOCK = text(f"SELECT pg_advisory_xact_lock({_OUR_LOCK})")
_USER = text("SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")


class PostgresqlDatabase:
    """The tables in one database of a PostgreSQL server: a Database.

    It cannot be used while the server is away, or refuses the user. `local`: the file beside which this node keeps
    what it keeps by itself.
    """

    is_shared = True

    def __init__(self, url: str, local: Path, account: str = "") -> None:
        try:
            self._address = make_url(url).set(drivername="postgresql+psycopg")
        except ArgumentError:
            raise StoreError(
                "store.url: not a database's address",
                hint='Write it as in store.url = "postgresql+psycopg://watcher@database.example/watcher".',
            ) from None
        self.name = self._address.render_as_string(hide_password=True)
        self.url = url
        self.path = local
        self._account = account
        self._site = ""
        self._outage = Outage(self.name)
        self._mutex = threading.RLock()
        self._exists = False
        self._is_late = False  # the transaction that begins, under the mutex
        self._writer = self._make_engine(self._to_write, size=1)
        self._reader = self._make_engine(lambda: _TO_READ, size=_READERS, most=_MOST_READERS)
        self._renewer = self._make_engine(None, size=1, patience_seconds=_RENEWAL_SECONDS)
        self.terms = Terms(self._renewing)
        self._empty: Engine | None = None

    def size(self) -> int | None:
        """Its size in bytes; null where it has no tables of ours."""
        if not self.exists():
            return None
        with self._viewing() as connection:
            size: int = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        return size

    def exists(self) -> bool:
        """Whether it has our tables, of any version."""
        if not self._exists:
            self._exists = self.version() is not None
        return self._exists

    @contextmanager
    def writing(self, *, late: bool = False) -> Iterator[Connection]:
        """One transaction, alone among all threads, processes and nodes. Rolled back on error.

        Raises StoreLeaseLost where this node had the lease of its site and another has it now; not if `late`.
        """
        try:
            with self._transaction(self._writer, late=late) as connection:
                yield connection
        except StoreLeaseLost:
            self.terms.on_lost()
            raise

    @contextmanager
    def filling(self) -> Iterator[Connection]:
        """One transaction without our lock, which other sites' nodes need, and without a bound on its length."""
        engine = self._make_engine(lambda: _TO_FILL, size=1)
        try:
            with self._transaction(engine) as connection:
                yield connection
        finally:
            engine.dispose()

    def lock(self, connection: Connection) -> None:
        """Take the lock with which every other writing transaction begins."""
        connection.execute(_TAKE_LOCK)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent read-only view on a connection of its own. It blocks no writer."""
        if self.exists():
            with self._viewing() as connection:
                yield connection
        else:
            self._empty = self._empty or empty_database()
            with self._empty.connect() as connection:
                yield connection

    def version(self) -> str | None:
        """The tables' version; null where there are none of ours."""
        with self._viewing() as connection:
            return revisions.version_of(connection)

    def is_of_this_version(self) -> bool:
        """Whether it has exactly this program's version."""
        return self.version() == revisions.known()[-1]

    def is_older(self) -> bool:
        """Whether it has an older version, which `migrate` upgrades."""
        return self.version() in revisions.known()[:-1]

    def check_version(self) -> None:
        """Raise StoreError unless it has exactly this program's version."""
        revisions.check_version(self.version(), self.name)

    def own_site(self) -> str:
        """The id of the site whose rows are seen, from the local file; "" where that has none yet."""
        if not self._site:
            self._site = node_file.read(self.path)
        return self._site

    def belong_to(self, site: str, *, keeping: bool = True) -> None:
        """See the rows of this site from now on. `keeping`: the local file has it, for other processes too."""
        if keeping and node_file.read(self.path) != site:
            node_file.write(self.path, site)
        self._site = site

    def check_place(self) -> None:
        """Raise StoreError unless the server can be reached and is recent enough, and this node has a place.

        Nor where the user sees the rows of all sites, whatever the policies say.
        """
        check_is_folder(self.path.parent, "audio.spool")
        with self._viewing() as connection:
            number = int(connection.execute(text("SHOW server_version_num")).scalar_one())
            user, sees_all = connection.execute(_USER).one()
        if sees_all:
            raise StoreError(
                f"{self.name}: the user {user} is a superuser, or has BYPASSRLS, and would take the rows of all "
                "sites for its own",
                hint="Make an ordinary user the database's owner: CREATE ROLE watcher LOGIN; "
                f"ALTER DATABASE {self._address.database} OWNER TO watcher; then name that user in store.url.",
            )
        if number < _OLDEST:
            raise StoreError(
                f"{self.name}: the server is PostgreSQL {number // 10000}",
                hint=f"Upgrade it to PostgreSQL {_OLDEST // 10000} or newer.",
            )

    def find_damage(self, seconds: float = inf) -> list[str]:  # noqa: ARG002 — it looks after its own files
        return []

    def check_damage(self, seconds: float) -> None:
        """Do nothing: the server looks after its own files."""

    def copies_with(self, item_ids: Collection[str]) -> list[str]:  # noqa: ARG002 — no copy is made
        return []

    def migrate(self, show: Show | None = None) -> tuple[str | None, str | None]:
        """Upgrade it to this program's version, in one transaction. Return the versions before and after.

        Of several nodes that start at once one does it, and the others find it done. Raises LeaseHeld while a node
        works with the older tables. No copy is made: the server's own backups are the administrator's.
        """
        if not self.path.exists():
            with suppress(FileExistsError):  # another process was faster
                create(self.path)
        after = revisions.known()[-1]
        if (before := self.version()) == after:
            return before, after
        upgrading = self._make_engine(lambda: _TO_UPGRADE, size=1)  # whose rows they are is nothing to a revision
        try:
            with self._transaction(upgrading) as connection:
                before = revisions.version_of(connection)  # another node may have been quicker
                revisions.refuse_newer(before, self.name)
                if before != after:
                    self._refuse_under_a_lease(connection)
                    revisions.apply(connection, before, show)
        finally:
            upgrading.dispose()
        return before, after

    def tidy(self) -> None:
        """Do nothing: the server's autovacuum does its housekeeping."""

    def changes(self) -> None:
        """Return null: asking the server costs as much as looking."""

    def checkpoint(self) -> None:
        """Do nothing: a commit is where the server keeps it."""

    def examine(self) -> ServerFacts:
        """What the server says of itself, and of our rights there."""
        import psycopg  # noqa: PLC0415 — an extra

        driver = f"psycopg {psycopg.__version__}"
        with self._viewing() as connection:
            return examine(connection, sorted(metadata.tables), driver, _READERS + 2)  # writer and renewer

    def close(self) -> None:
        with self._mutex:
            self._reader.dispose()
            self._writer.dispose()
            self._renewer.dispose()
            if self._empty is not None:
                self._empty.dispose()

    @contextmanager
    def _transaction(self, engine: Engine, *, late: bool = False) -> Iterator[Connection]:
        with self._mutex, self._asking():
            self._is_late = late
            with engine.connect() as connection, connection.begin():
                yield connection

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Raise our errors in the block, and note whether the server is there."""
        try:
            with our_errors(self.name):
                yield
        except StoreAway as error:
            self._outage.note_failure(error)
            raise
        self._outage.note_success()

    def tell_outages(self) -> None:
        """Log from now on, once each, that the server is away and that it is back."""
        self._outage.tell()

    def _to_write(self) -> str:
        begin = _TO_WRITE.format(statement_seconds=_STATEMENT_SECONDS, idle_seconds=_IDLE_SECONDS)
        return begin + self.terms.check(late=self._is_late)

    @contextmanager
    def _renewing(self) -> Iterator[Connection]:
        """Each statement is a transaction of its own: a node that is stopped between two keeps nothing locked."""
        with self._asking(), self._renewer.connect() as connection, connection.begin():
            yield connection

    def _refuse_under_a_lease(self, connection: Connection) -> None:
        """Raise LeaseHeld while any node has a lease: it would meet tables that it does not know."""
        at_work = live(connection) if look_at(connection).has_table("leases") else []
        if at_work:
            raise LeaseHeld(
                f"{self.name}: its tables are older than this program, and {at_work[0]} works with them",
                hint="They are upgraded once no older node is at work: stop them all, or upgrade them too.",
            )

    @contextmanager
    def _viewing(self) -> Iterator[Connection]:
        with self._asking(), self._reader.connect() as connection, connection.begin():
            yield connection

    def _make_engine(
        self, begin: Callable[[], str] | None, *, size: int, most: int = 0, patience_seconds: int = _SILENT_SECONDS
    ) -> Engine:
        engine = create_engine(
            self._address,
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=max(most - size, 0),
            # The writer is held by a mutex: a transaction within another is an error at once.
            pool_timeout=_READERS_WAIT_SECONDS if most else 0,
            pool_pre_ping=True,
            creator=partial(self._connect, patience_seconds),
        )

        def open_transaction(driver: Any) -> None:
            if begin is not None:
                driver.execute(f"{begin()};{self._scope()}")

        engine.dialect.do_begin = open_transaction  # type: ignore[assignment,method-assign]
        is_disconnect = engine.dialect.is_disconnect
        # A connection can outlive, through a pooler, what it led to: the next one finds who takes writes by now.
        engine.dialect.is_disconnect = (  # type: ignore[method-assign]
            lambda e, connection, cursor: only_reads(e) or is_disconnect(e, connection, cursor)
        )
        return engine

    def _scope(self) -> str:
        """Return what tells the policies for which site and account the transaction is."""
        said = {"site": self.own_site(), "account": self._account}
        settings = (
            f"set_config('watcher.{name}', '{value.replace(_QUOTE, 2 * _QUOTE)}', true)"
            for name, value in said.items()
        )
        return "SELECT " + ", ".join(settings)

    def _connect(self, patience_seconds: int) -> Any:
        import psycopg  # noqa: PLC0415 — an extra, and only a site on PostgreSQL needs it

        given = self._address.translate_connect_args(username="user", database="dbname")
        settings: dict[str, Any] = {
            "application_name": f"watcher {os.getpid()}",
            "connect_timeout": min(_CONNECT_SECONDS, patience_seconds),
            "target_session_attrs": "read-write",  # of several hosts, the one that is not a standby
            "keepalives_idle": patience_seconds // 2,
            "keepalives_interval": patience_seconds // 4,
            "keepalives_count": 2,
            "tcp_user_timeout": patience_seconds * 1000,
            **self._address.query,
            **given,
        }
        # A statement that the server prepared is another session's behind a pooler.
        return psycopg.connect(autocommit=True, prepare_threshold=None, **settings)


def check_driver() -> None:
    """Raise StoreUnavailable unless the extra that PostgreSQL needs is installed."""
    try:
        import psycopg  # noqa: F401, PLC0415
    except ImportError as error:
        raise StoreUnavailable(str(error), hint="pip install 'identifai-watcher[postgresql]'") from error
