"""`python -m tests.benchmarks._counted FILE …` is `watcher …`, with its statements counted in the file.

Three numbers of eight bytes, which another process may read at any time: statements, transactions that may write,
and transactions that only read. What begins and ends a transaction is no statement.
"""

import mmap
import sqlite3
import struct
import sys
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from watcher.cli import main as watcher_main


@dataclass(frozen=True)
class Counted:
    statements: int = 0
    writing: int = 0
    reading: int = 0


_FORM = f"={len(fields(Counted))}Q"


def read(file: Path) -> Counted:
    return Counted(*struct.unpack(_FORM, file.read_bytes()))


def prepare(file: Path) -> None:
    file.write_bytes(bytes(struct.calcsize(_FORM)))


def main() -> None:
    with open(sys.argv[1], "r+b") as file:
        numbers = memoryview(mmap.mmap(file.fileno(), struct.calcsize(_FORM))).cast("Q")
    lock = threading.Lock()

    def count(statement: str) -> None:
        word = statement.split(maxsplit=1)[0].upper()
        if word in ("COMMIT", "ROLLBACK", "--"):  # the last is how SQLite tells of a trigger's own
            return
        number = (2 if statement == "BEGIN" else 1) if word == "BEGIN" else 0
        with lock:
            numbers[number] += 1

    def follow(connection: sqlite3.Connection, _record: Any) -> None:
        connection.set_trace_callback(count)

    event.listen(Engine, "connect", follow)
    sys.exit(watcher_main(sys.argv[2:]))


if __name__ == "__main__":
    main()
