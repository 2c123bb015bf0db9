"""Turn SQLite's errors into ours, which say what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from watcher.errors import StoreContradicted, StoreError, StoreUnavailable

DAMAGED = (
    "Nothing was changed. Stop the daemon, move the file aside with the -wal and -shm files beside it (mv {path} "
    "{path}.damaged), restore a copy if there is one, and then, or without one, run `watcher recover`, which "
    "rebuilds from the receipts in done/ and failed/ what is missing."
)
"""What to do with a damaged database."""

_MEANINGS = {
    sqlite3.SQLITE_BUSY: (
        "another program keeps it locked",
        "End what has it open for writing, such as an sqlite3 shell (`fuser -v {path}` names it), and try again.",
    ),
    sqlite3.SQLITE_READONLY: (
        "it cannot be written",
        "Run this as the user that the daemon runs as. The disk of {folder} must not be mounted read-only.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        "Run this as the user that the daemon runs as, who must be able to write the file and in {folder}.",
    ),
    sqlite3.SQLITE_FULL: (
        "the disk is full",
        "Make room on the disk of {folder}. What was committed is safe, and the daemon resumes by itself.",
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk failed to read or write it",
        "Check the disk: `dmesg`, `df {folder}`. If the file is damaged, restore a copy of it.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged",
        DAMAGED,
    ),
    sqlite3.SQLITE_NOTADB: (
        "the file is not a database, or it is damaged",
        "Check that store.url names the right file. If it does: " + DAMAGED,
    ),
    sqlite3.SQLITE_CONSTRAINT: (
        "it refused data that contradicts what it has",
        "Nothing was written. This is a fault of the program: please report it.",
    ),
    sqlite3.SQLITE_ERROR: (
        "it does not have the tables of this program's version",
        "Run `watcher migrate`. If that says all is well, please report this.",
    ),
}
_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_UNKNOWN = (
    "it cannot be used",
    "Check the disk and the file. If the file is damaged, restore a copy of it.",
)


@contextmanager
def our_errors(path: Path) -> Iterator[None]:
    """Turn whatever SQLite raises about the database at `path` into a StoreError."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        what, hint = _explain(cause)
        hint = hint.format(path=path, folder=path.parent)
        raise _kind(cause)(f"{path}: {what} ({cause})", hint=hint) from error


def _explain(cause: BaseException | None) -> tuple[str, str]:
    # The low byte is the error, the rest says where in SQLite it came from (sqlite.org/rescode.html).
    return _MEANINGS.get(_code(cause), _UNKNOWN)


def _kind(cause: BaseException | None) -> type[StoreError]:
    if _code(cause) == sqlite3.SQLITE_CONSTRAINT:
        return StoreContradicted
    return StoreUnavailable if _code(cause) in _PASSING else StoreError


def _code(cause: BaseException | None) -> int:
    return int(getattr(cause, "sqlite_errorcode", -1)) & 0xFF
