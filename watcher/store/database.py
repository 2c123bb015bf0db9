"""The database file: its engines, its locks, its upgrades.

SQLite with real transactions. Facts (measured, or SQLite's own documentation):

- The driver's legacy transaction control begins late and deferred: a select-then-update claimed rows twice.
  So the driver is set to begin nothing (`isolation_level=None`), and every writing transaction is opened
  with BEGIN IMMEDIATE.
- WAL with synchronous=FULL: a commit is on the disk when it returns, at one sync instead of three, and
  readers block no writer. Its one known fault (SQLite 3.7.0 to 3.51.2) needs one connection that writes
  while another one resets the log at a checkpoint. So automatic checkpoints are off, and a checkpoint is
  taken under the same two locks that every write takes: a mutex between threads, a file lock between
  processes (the daemon, and a command beside it).
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from watcher.errors import StoreError
from watcher.store.schema import metadata

_BUSY_SECONDS = 30.0
_BACKUPS_KEPT = 3


class Database:
    """One SQLite file with the locks around it. Opening it neither creates nor upgrades it."""

    def __init__(self, url: str) -> None:
        path = make_url(url).database
        if path is None:
            msg = f"store.url: {url} names no file"
            raise StoreError(msg, hint='Name a file, as in store.url = "sqlite:///watcher.db".')
        self.path = Path(path)
        self._mutex = threading.RLock()
        self._lock_file: int | None = None
        self._depth = 0
        self._writer: Connection | None = None
        self._engine = _engine(self.path)
        self._reader = _engine(self.path, read_only=True)

    def exists(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, alone among all threads and processes. Committed at the end; rolled back on error."""
        with self._alone():
            if self._writer is None:
                self._writer = self._engine.connect()
            with _our_errors(self.path), self._writer.begin():
                yield self._writer

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view, read only, on a connection of its own."""
        with _our_errors(self.path), self._reader.connect() as connection:
            yield connection

    def checkpoint(self) -> None:
        """Everything committed is in the database file, and its log is empty unless somebody reads it."""
        with self._alone(), closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA busy_timeout = 1000")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def log_size(self) -> int:
        """Bytes in the write-ahead log."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def version(self) -> str | None:
        """The revision the file is at; null for a new file."""
        with self.reading() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def check_version(self) -> None:
        """Raises StoreError unless the file is exactly of this program's version."""
        version = self.version()
        if version == _script().get_current_head():
            return
        self._refuse_newer(version)
        raise StoreError(
            f"{self.path}: the database is of an older version ({version or 'none'}) than this program",
            hint="Run `watcher migrate`, or start the daemon, which does it.",
        )

    def migrate(self) -> tuple[str | None, str | None]:
        """The file is of this program's version; a copy of what it was lies beside it. (before, after)

        All revisions run in one transaction: either all took place or none did. Refused with StoreError
        when the file was written by a newer program.
        """
        if not self.path.parent.is_dir():
            msg = f"store.url: the folder {self.path.parent} does not exist"
            raise StoreError(msg, hint=f"Create it: mkdir -p {self.path.parent}")
        with self._alone():
            before = self.version() if self.exists() else None
            head = _script().get_current_head()
            if before == head:
                return before, head
            self._refuse_newer(before)
            if before is not None:
                self._back_up(before)
            _keep_owner(self.path)
            with self.writing() as connection:
                config = _alembic()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            return before, head

    def close(self) -> None:
        with self._mutex:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._engine.dispose()
            self._reader.dispose()
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._mutex:
            if self._lock_file is None:
                self._lock_file = _open_lock(self.path)
            if self._depth == 0:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _refuse_newer(self, version: str | None) -> None:
        if version is None:
            return
        try:
            known = _script().get_revision(version)
        except CommandError:
            known = None
        if known is None:
            raise StoreError(
                f"{self.path}: the database is of version {version}, which is newer than this program",
                hint="Install the newer identifai-watcher again, or restore the backup beside the database.",
            )

    def _back_up(self, version: str) -> None:
        # Connection.backup() sees the log too; a copy of the file alone lost what was in it (measured).
        target = self.path.with_name(f"{self.path.name}.before-{version}.bak")
        with (
            closing(sqlite3.connect(self.path)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        _keep_owner(target, like=self.path)
        kept = sorted(self.path.parent.glob(f"{self.path.name}.before-*.bak"), key=lambda p: p.stat().st_mtime)
        for old in kept[:-_BACKUPS_KEPT]:
            old.unlink()


def empty_database() -> Engine:
    """A database in memory that has the tables and nothing in them: what a site has before its first start."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    return engine


def _engine(path: Path, *, read_only: bool = False) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"isolation_level": None, "timeout": _BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred BEGIN that turns into a write fails at once, whatever the busy timeout (cpython#124510).
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _open_lock(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as error:
        msg = f"{lock}: the database's lock can not be opened: {error.strerror}"
        raise StoreError(msg, hint="Run the command as the user that the daemon runs as.") from error
    _keep_owner(lock)
    return descriptor


def _keep_owner(path: Path, like: Path | None = None) -> None:
    """What root made here belongs to whom the folder (or `like`) belongs: the daemon must be able to write it."""
    if os.geteuid() != 0:
        return
    path.touch()
    owner = (like or path.parent).stat()
    if path.stat().st_uid == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise StoreError(
            f"{path}: {error.orig}",
            hint="Look at the disk's space and the file's owner; `watcher recover` rebuilds a damaged database.",
        ) from error


def _alembic() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    return config


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_alembic())


def _migrations() -> Path:
    """In the installed package, else beside it, as in a checkout."""
    packaged = Path(str(files("watcher"))) / "migrations"
    return packaged if packaged.is_dir() else packaged.parent.parent / "migrations"
