"""The database file: its locks, its log, its upgrades.

Facts (measured, or SQLite's own documentation):

- WAL with synchronous=FULL: a commit is on the disk when it returns, at one sync instead of three, and
  readers block no writer.
- WAL's one known fault ("the WAL-reset bug" of sqlite.org/wal.html: SQLite 3.7.0 to 3.51.2, but not 3.44.6
  and 3.50.7) needs one connection that commits while another one takes a checkpoint. No two of ours ever
  do, since there are just three occasions for a checkpoint:
  1. At the end of a commit, once the log has 1,000 pages: by the connection that writes, so under the same
     two locks as every write, a mutex between threads and a file lock between processes (the daemon, and a
     command beside it). It waits for nobody and leaves the log's file as long as it is: a commit
     that overwrites it takes half the time of one that makes it longer (200 against 420 µs).
  2. `checkpoint()`, under the same locks. It waits for no reader either, since all writers would wait with it.
  3. SQLite's own, when the last connection of all processes is closed. It first takes an exclusive lock on
     the database file, of which every connection that has read anything holds a shared one for as long as
     it is open. So nobody else can be writing, and who comes then waits until it is over.
  The reading engine opens the file read-only: it can take no checkpoint on any of these occasions.
- A connection that only reads cannot roll back a rollback journal that a killed process left. So the database is
  created under another name, where its journal mode is changed, once, and renamed when it is complete. From then
  on a kill leaves a write-ahead log, which readers can use as it is.
- SQLite's locks on a file are the process's: closing any descriptor of the database or of its -shm drops them
  all. So nothing here opens these two but SQLite itself.
"""

import os
import sqlite3
import stat
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from math import inf
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from watcher import logs
from watcher.errors import StoreError
from watcher.outlet import Show
from watcher.store import revisions
from watcher.store.empty import empty_database
from watcher.store.local_files import create, refused_by_system, sync_folder
from watcher.store.sqlite import connections
from watcher.store.sqlite.commits import Commits
from watcher.store.sqlite.error_codes import DAMAGED, our_errors
from watcher.store.sqlite.files import FileLock, check_folder, remove
from watcher.store.sqlite.group_commit import GroupCommit
from watcher.text import show_path

if TYPE_CHECKING:
    from watcher.store.terms import Terms

_log = logs.get_logger(__name__)

_LOCK_SECONDS = 30.0
_LOG_PAGES = 1000  # in the write-ahead log, before a commit puts them into the file
_LOG_BYTES = 8_000_000  # what a reader made grow beyond this is given back when it has gone
_BACKUPS_KEPT = 3
_LONG_LOG_BYTES = 64_000_000
_PAGES_AT_ONCE = 2_500  # copied between two words of how far that is
_STEPS_AT_ONCE = 5_000_000  # of SQLite's machine, likewise: about a second
_A_TABLE = "SELECT 1 FROM sqlite_master LIMIT 1"
_QUICK_CHECK = text("PRAGMA quick_check(3)")


class SqliteDatabase:
    """One SQLite file with the locks around it: a Database.

    A file cannot be used where it is gone or was replaced, lies on a network file system, is damaged, read-only,
    locked by another program, or its disk is full.
    """

    is_shared = False

    def __init__(self, url: str) -> None:
        name = url.removeprefix("sqlite:///")
        if not name or name == url:
            msg = f"store.url: {url} names no file"
            raise StoreError(msg, hint='Name a file, as in store.url = "sqlite:///watcher.db".')
        self.path = Path(os.path.realpath(name))  # SQLite follows links too: one file must have one lock
        self.name = show_path(os.fsencode(self.path))
        self.terms: Terms | None = None
        self._mutex = threading.RLock()
        self._lock = FileLock(self._beside(".lock"), self.path)
        self._depth = 0
        self._group_commit = GroupCommit(self._begun, self.name)
        self._identity: tuple[int, int] | None = None
        self._is_ours = False
        self._writer = connections.Connections(self._connect, "BEGIN IMMEDIATE", size=1)
        self._readers = connections.Connections(self._connect_to_read, "BEGIN", size=0)
        self._commits = Commits(self._connect_to_read)
        self._empty: Engine | None = None
        self._bytes_worth_saying = _LONG_LOG_BYTES

    def exists(self) -> bool:
        """Whether the file exists and has our tables, of any version."""
        if not self._is_ours:
            self._is_ours = self.version() is not None
        return self._is_ours

    def size(self) -> int | None:
        """The file's size in bytes; null where there is none. Raises OSError where that cannot be known."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return None

    @contextmanager
    def writing(self, *, late: bool = False) -> Iterator[Connection]:  # noqa: ARG002 — no other node takes over
        """One transaction, alone among all threads and processes. Committed at the end; rolled back on error."""
        with our_errors(self.path), self._group_commit.writing() as connection:
            yield connection

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        with self._alone():
            self._check_file()
            with our_errors(self.path), self._writer.lent() as connection, connection.begin():
                yield connection

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

    def filling(self) -> AbstractContextManager[Connection]:
        """One transaction: a file has one site."""
        return self.writing()

    def lock(self, connection: Connection) -> None:
        """Do nothing: whoever writes is alone."""

    @contextmanager
    def _viewing(self) -> Iterator[Connection]:
        self._check_file()
        with our_errors(self.path), self._readers.lent() as connection:
            yield connection

    def tidy(self) -> None:
        """Move the write-ahead log into the database file.

        While somebody reads, the log keeps what was written since: that it grows is said once, and again each
        time it has doubled.
        """
        self.checkpoint()
        size = self.log_size()
        if size >= self._bytes_worth_saying:
            self._bytes_worth_saying = 2 * size
            hint = "A command has been reading for long, such as `watcher list` in a pager: end it."
            _log.warning("database.log_grew", path=str(self.path), bytes=size, hint=hint)
        elif size < _LONG_LOG_BYTES < self._bytes_worth_saying:
            self._bytes_worth_saying = _LONG_LOG_BYTES
            _log.info("database.log_shrank", path=str(self.path), bytes=size)

    def changes(self) -> int | None:
        try:
            self._check_file()
        except StoreError:
            return None
        return self._commits.number()

    def checkpoint(self) -> None:
        """Move all that was committed into the database file and empty the log, unless it is being read."""
        with self._alone():
            self._check_file()
            with our_errors(self.path), self._writer.lent() as connection:
                cursor = connection.connection.cursor()
                cursor.execute("PRAGMA busy_timeout = 0")
                try:
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    cursor.execute(f"PRAGMA busy_timeout = {connections.BUSY_SECONDS * 1000:.0f}")
                    cursor.close()

    def log_size(self) -> int:
        """The size of the write-ahead log in bytes. Some millions mean that somebody has been reading for long."""
        try:
            return self._beside("-wal").stat().st_size
        except OSError:
            return 0

    def version(self) -> str | None:
        """The file's version; null if it does not exist or is empty."""
        if not self._is_there():
            return None
        with self._viewing() as connection:
            version = revisions.version_of(connection)
            if version is None and connection.execute(text(_A_TABLE)).first():
                raise StoreError(
                    f"{self.path}: this is not watcher's database, but the database of another program",
                    hint=f"store.url points at {self.path}: name a file of watcher's own there.",
                )
        return version

    def is_of_this_version(self) -> bool:
        """Whether the file exists and has exactly this program's version."""
        return self.version() == revisions.known()[-1]

    def is_older(self) -> bool:
        """Whether the file exists and has an older version, which `migrate` upgrades."""
        return self.version() in revisions.known()[:-1]

    def check_version(self) -> None:
        """Raise StoreError unless the file has exactly this program's version."""
        revisions.check_version(self.version(), str(self.path))

    def check_place(self) -> None:
        check_folder(self.path.parent)

    def find_damage(self, seconds: float = inf) -> list[str]:
        found: list[str] = []
        with self._viewing() as connection, _bounded(connection, seconds):
            found.extend(str(one) for one in connection.execute(_QUICK_CHECK).scalars() if one != "ok")
        return found

    def check_damage(self, seconds: float) -> None:
        if damage := self.find_damage(seconds):
            raise StoreError(
                f"{self.path}: the file is damaged: {'; '.join(damage)}", hint=DAMAGED.format(path=self.path)
            )

    def copies_with(self, item_ids: Collection[str]) -> list[str]:
        return [str(path) for path in self._backups() if _may_have(path, item_ids)]

    def migrate(self, show: Show | None = None) -> tuple[str | None, str | None]:
        """Upgrade the file to this program's version and keep a copy. Return the versions before and after.

        All revisions run in one transaction: either all took place or none did. Refused with StoreError
        when the file was written by a newer program.
        """
        self.check_place()
        with self._alone():
            before, after = self.version(), revisions.known()[-1]
            if before == after:
                return before, after
            revisions.refuse_newer(before, str(self.path))
            try:
                if self._is_there():
                    told = _Told(show)
                    if before is not None:
                        self._back_up(before, told)
                    with self._begun() as connection, told.repeated(connection):
                        revisions.apply(connection, before, told)
                else:
                    self._make()
            except Exception as error:
                raise self._failed_upgrade(before, after, error) from error
            return before, after

    def tell_outages(self) -> None:
        """Do nothing: a file has no server."""

    def own_site(self) -> None:
        """Return null: a file has one site."""

    def belong_to(self, site: str, *, keeping: bool = True) -> None:
        """Do nothing: a file has one site."""

    def examine(self) -> None:
        """Return null: there is no server."""

    def close(self) -> None:
        with self._mutex:
            self._commits.close()
            self._readers.close()
            self._writer.close()  # last: it is the one that can put the log into the file and take it away
            self._lock.close()
            if self._empty is not None:
                self._empty.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._mutex:
            if self._depth == 0:
                self._lock.acquire(_LOCK_SECONDS)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._lock.release()

    def _check_file(self) -> None:
        """The file under the name is there, and the one that was there at first.

        Who deletes the database under a running daemon must not be answered with commits to a file that
        has no name any more: they would be gone at the next start, and what they paid for with them.
        """
        try:
            found = os.stat(self.path)
        except OSError as error:
            check_folder(self.path.parent)
            if self._identity is None and isinstance(error, FileNotFoundError):
                msg, hint = "there is no database yet", "Start the daemon, or run `watcher migrate`."
            else:
                msg, hint = f"the database is gone ({error.strerror})", "Put it back, and start the daemon again."
            raise StoreError(f"{self.path}: {msg}", hint=hint) from error
        self._check_kind(found)
        identity = (found.st_dev, found.st_ino)
        if self._identity is None:
            check_folder(self.path.parent)
            self._identity = identity
        elif identity != self._identity:
            msg = f"{self.path}: the database was replaced by another file while it was in use"
            raise StoreError(msg, hint="Start the daemon again, and then repeat the command.")

    def _is_there(self) -> bool:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            check_folder(self.path.parent)
            return self._identity is not None  # it was there: who reads is told that it is gone
        except OSError as error:
            raise refused_by_system(self.path, "the database cannot be reached", error) from error
        self._check_kind(found)
        return found.st_size > 0

    def _check_kind(self, found: os.stat_result) -> None:
        """SQLite says of a folder that the disk failed, a first start would take a device's place."""
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
            raise StoreError(
                f"{self.path}: store.url names {what}, where a file must be",
                hint='Name a file, as in store.url = "sqlite:////var/lib/…/watcher.db".',
            )

    def _make(self) -> None:
        """The file is there, of this program's version: whole, or as it was, nothing or empty."""
        with _built(self.path, like=self.path if self.path.exists() else None) as fresh:
            engine = connections.make_engine(lambda: connections.connect(fresh), "BEGIN IMMEDIATE", size=1)
            try:
                with engine.connect() as connection:
                    with connection.begin():
                        revisions.apply(connection, None)
                    driver = connection.connection.driver_connection
                    # All is in the file now; SQLite syncs this as well, and leaves no log at the end.
                    driver.execute("PRAGMA journal_mode = WAL")  # type: ignore[union-attr]
            finally:
                engine.dispose()

    def _connect(self) -> sqlite3.Connection:
        self._own_log()
        connection = connections.connect(self.path)
        with connections.closed_on_error(connection):
            connection.execute("PRAGMA journal_mode = WAL")  # as it is already, unless somebody else changed it
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        return connection

    def _connect_to_read(self) -> sqlite3.Connection:
        self._own_log()
        connection = connections.connect(self.path, mode="ro")
        try:
            with connections.closed_on_error(connection):
                connection.execute(_A_TABLE)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            # Somebody was killed who wrote to it in another mode than we do: whoever may write rolls that back.
            with self._alone(), closing(self._connect()) as writer:
                writer.execute(_A_TABLE)
            return connections.connect(self.path, mode="ro")
        return connection

    def _own_log(self) -> None:
        """Root's SQLite finds the log and its index there, the service's: it would make them its own first.

        A kill before it had given them away would shut the service out of its database.
        """
        if os.geteuid() == 0:
            for beside in (self._beside("-wal"), self._beside("-shm")):
                if not beside.exists():
                    with suppress(OSError):  # another process was quicker; or SQLite will meet what is wrong
                        create(beside, like=self.path)

    def _back_up(self, version: str, told: "_Told | None" = None) -> None:
        """Make a copy beside the database, complete or not at all, and delete the oldest copies."""
        target = self._beside(f".before-{version}.bak")
        # Connection.backup() sees the log too; a copy of the file alone lost what was in it (measured).
        with (
            _built(target, like=self.path) as fresh,
            closing(self._connect_to_read()) as source,
            closing(sqlite3.connect(fresh)) as copy,
        ):
            (size,) = source.execute("PRAGMA page_size").fetchone()
            told = told or _Told(None)
            source.backup(
                copy,
                pages=_PAGES_AT_ONCE,
                progress=lambda _, left, total: told("copying the database", (total - left) * size, total * size),
            )
        for old in self._backups()[:-_BACKUPS_KEPT]:
            old.unlink()

    def _backups(self) -> list[Path]:
        """The copies from before upgrades, oldest first."""
        return sorted(self.path.parent.glob(f"{self.path.name}.before-*.bak"), key=lambda p: p.stat().st_mtime)

    def _failed_upgrade(self, before: str | None, after: str, error: Exception) -> StoreError:
        if isinstance(error, OSError):
            error = refused_by_system(self.path, "a file beside it cannot be created", error)
        kind, reason, hint = StoreError, str(error), "Please report this."
        if isinstance(error, StoreError):
            kind, reason, hint = type(error), error.message, error.hint
        change = f"from version {before} to {after}" if before else f"to version {after}"
        return kind(f"{self.path}: the upgrade {change} failed, and nothing was changed: {reason}", hint=hint)

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)


def _may_have(copy: Path, item_ids: Collection[str]) -> bool:
    """Whether the copy has one of these items, or cannot be read."""
    try:
        with closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            return any(
                connection.execute("SELECT 1 FROM items WHERE id = ?", (one,)).fetchone() for one in item_ids
            )
    except sqlite3.Error:
        return True


@contextmanager
def _bounded(connection: Connection, seconds: float) -> Iterator[None]:
    """End the block's question, without an error, once it has taken so long.

    By an interrupt, not by SQLite's progress handler: that is not called while one large table is checked.
    """
    driver = connection.connection.driver_connection
    timer = threading.Timer(seconds, driver.interrupt) if seconds < inf else None  # type: ignore[union-attr]
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
    finally:
        if timer is not None:
            timer.cancel()
            timer.join()  # it must not interrupt the next question


class _Told:
    """Says how far an upgrade has come."""

    def __init__(self, show: Show | None) -> None:
        self._show = show
        self._last: tuple[str, int, int | None] | None = None

    def __call__(self, what: str, number: int, total: int | None) -> None:
        self._last = what, number, total
        if self._show is not None:
            self._show(what, number, total)

    @contextmanager
    def repeated(self, connection: Connection) -> Iterator[None]:
        """Say the same again and again while one statement of the block changes many rows."""
        driver: Any = connection.connection.driver_connection

        def repeat() -> None:  # whatever else it returned would end the statement
            if self._last is not None:
                self(*self._last)

        driver.set_progress_handler(repeat, _STEPS_AT_ONCE)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)


@contextmanager
def _built(path: Path, like: Path | None) -> Iterator[Path]:
    """Put what the block builds under another name at `path`, complete; after an error there is nothing.

    Its owner is that of `like`, else of the folder.
    """
    fresh = path.with_name(path.name + ".new")
    remove(fresh)  # of a process that was killed
    create(fresh, like=like)
    try:
        with our_errors(fresh):
            yield fresh
    except BaseException:
        remove(fresh)
        raise
    remove(path, but_itself=True)  # a log that lost its database would be taken for the new one's
    fresh.replace(path)
    sync_folder(path.parent)
