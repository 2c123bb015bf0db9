"""Whether anything was committed since: one question for all who would else look again each second.

SQLite keeps count for each connection of what the others commit, in this process or another. So the connection
that is asked is one that never writes. The question takes 7 µs, a step's look a hundred times that (measured).
"""

import sqlite3
import threading
from collections.abc import Callable

from watcher.errors import StoreError


class Commits:
    """Counts what is committed to one file, for any number of threads."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Connect at the first question."""
        self._connect = connect
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def number(self) -> int | None:
        """Return a number that differs after any commit; null where the file cannot be read."""
        with self._lock:
            try:
                self._connection = self._connection or self._connect()
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
            except (sqlite3.Error, StoreError):
                return None

    def close(self) -> None:
        """Close the connection; the next question opens another one, whose numbers are its own."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
