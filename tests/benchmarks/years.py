"""A year of a mid-sized centre, a million recordings: list, status, start-up; files reconciled and recovered.

Each beside a bare program that does the least the task can take, on the same database or folders in the same run.
Times are of the processor, as the machine is shared; memory is the peak. ROWS=n takes fewer. Programs are run as
they are where they are installed: compiled.
"""

import compileall
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks._million import ROWS, make_books, make_files
from tests.places import KEY, Place

_LIST = """
import json, sqlite3, sys
books = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
books.row_factory = sqlite3.Row
query = "SELECT * FROM items LEFT JOIN verdicts ON verdicts.identifier = items.identifier ORDER BY items.serial"
for row in books.execute(query):
    print(json.dumps(dict(row), default=bytes.decode))
"""
_COUNT = """
import sqlite3, sys
import pydantic, sqlalchemy
books = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(books.execute("SELECT state, count(*) FROM items GROUP BY state").fetchall())
print(books.execute("SELECT state, count(*) FROM verdicts GROUP BY state").fetchall())
"""
_WALK = """
import json, os, sys
left, number = sys.argv[1:], 0
while left:
    with os.scandir(left.pop()) as listing:
        for found in listing:
            if found.is_dir(follow_symlinks=False):
                left.append(found.path)
                continue
            number += 1
            found.stat(follow_symlinks=False)
            if found.name.endswith(".json"):
                with open(found.path, "rb") as file:
                    json.loads(file.read())
print(number)
"""


@dataclass(frozen=True)
class _Run:
    """What a program took."""

    wall: float
    processor: float
    peak: float  # MB
    first: float  # seconds until its first line
    lines: int
    code: int

    def __str__(self) -> str:
        return f"CPU {self.processor:.2f} s, {self.wall:.2f} s in all, {self.peak:.0f} MB"


def run(*command: str) -> _Run:
    began, lines, first = time.perf_counter(), 0, 0.0
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    program = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, env=environment)
    assert program.stdout is not None
    peak = 0.0
    while piece := os.read(program.stdout.fileno(), 1 << 20):
        first = first or time.perf_counter() - began
        lines += piece.count(b"\n")
        peak = max(peak, _peak(program.pid))
    _, status, used = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    return _Run(wall, used.ru_utime + used.ru_stime, peak, first, lines, program.returncode)


def _peak(pid: int) -> float:
    """The most memory that it has had so far; not from wait4, which counts this program's own, before its exec."""
    found = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()
    return int(found[0]) / 1024 if found else 0.0


def main() -> None:
    rows = int(os.environ.get("ROWS", ROWS))
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
        compileall.compile_dir("watcher", quiet=2)
        began = time.perf_counter()
        place = make_books(Path(folder), rows)
        size = (place.root / "watcher.db").stat().st_size
        print(f"{rows:,} recordings, {size / rows:.0f} bytes each: {time.perf_counter() - began:.0f} s to make")
        _measure_lists(place)
        _measure_status(place)
        _measure_reconciliation(place, rows)
        _measure_start(place)
        _measure_recovery(place, rows)


def run_watcher(place: Place, *words: str) -> _Run:
    return run("-m", "watcher", *words, "--config", str(place.config_path))


def _measure_lists(place: Place) -> None:
    bare = run("-c", _LIST, str(place.root / "watcher.db"))
    print(f"bare cursor, each row as JSON: {bare}; {bare.lines / bare.processor:,.0f} lines a second of CPU")
    for words in (
        ["list", "--json"],
        ["list"],
        ["list", "--state", "failed"],
        ["list", "--state", "failed", "--json"],
    ):
        ours = run_watcher(place, *words)
        of_bare = f", of the bare cursor's time {ours.processor / bare.processor:.2f}" if len(words) < 3 else ""
        print(
            f"{' '.join(words)}: {ours}; {ours.lines:,} lines, {ours.lines / ours.processor:,.0f} a second of CPU,"
            f" the first after {ours.first:.2f} s{of_bare}",
            flush=True,
        )


def _measure_status(place: Place) -> None:
    bare = min(
        (run("-c", _COUNT, str(place.root / "watcher.db")) for _ in range(5)), key=lambda run: run.processor
    )
    ours = min((run_watcher(place, "status") for _ in range(5)), key=lambda run: run.processor)
    print(f"the libraries imported, items and verdicts counted: {bare}")
    print(f"status: {ours}; ratio {ours.processor / bare.processor:.2f} (aim: 0.35 s)", flush=True)


def _measure_start(place: Place) -> None:
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
        empty = make_books(Path(folder), 0)
        bare = min(_start(empty) for _ in range(3))
    ours = min(_start(place) for _ in range(3))
    (cpu, wall), ratio = ours, ours[0] / bare[0]
    print(
        f"start of the daemon: CPU {cpu:.2f} s, {wall:.2f} s in all; with no recording CPU {bare[0]:.2f} s, "
        f"ratio {ratio:.2f} (aim: 2 s)"
    )


def _start(place: Place) -> tuple[float, float]:
    """What the daemon takes until it says that it has started: seconds of the processor, and in all.

    It is paused, so that nothing of the backlog moves.
    """
    config = ["--config", str(place.config_path)]
    subprocess.run([sys.executable, "-m", "watcher", "pause", *config], check=True, capture_output=True)
    began = time.perf_counter()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "watcher", "run", *config],
        env=os.environ | {"IDENTIFAI_API_KEY": KEY},
        stderr=subprocess.PIPE,
    )
    assert daemon.stderr is not None
    try:
        for line in daemon.stderr:
            if b"daemon.started" in line:
                stat = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
                ticks = int(stat[11]) + int(stat[12])  # utime and stime, of proc(5)
                return ticks / os.sysconf("SC_CLK_TCK"), time.perf_counter() - began
        raise RuntimeError("the daemon did not start")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.stderr.close()
        daemon.wait(timeout=60)


def _measure_reconciliation(place: Place, rows: int) -> None:
    began = time.perf_counter()
    make_files(place, rows)
    print(f"their files and receipts: {time.perf_counter() - began:.0f} s to make", flush=True)
    bare = _walk(place)
    print(f"bare walk, each file looked at, each receipt read: {bare}")
    ours = run_watcher(place, "reconcile")
    assert ours.code == 0, "the books do not add up"
    print(f"reconcile: {ours}; ratio {ours.processor / bare.processor:.2f}", flush=True)


def _walk(place: Place) -> _Run:
    return run("-c", _WALK, *(str(place.root / name) for name in ("drop", "done", "failed")))


def _measure_recovery(place: Place, rows: int) -> None:
    """The database is deleted. What waits in the drop folder is in doubt afterwards: exit code 1."""
    for name in place.root.glob("watcher.db*"):
        name.unlink()
    bare = _walk(place)
    for what in ("recover", "recover again, nothing new"):
        ours = run_watcher(place, "recover")
        assert ours.code in (0, 1), "it did not recover"
        print(
            f"{what}: {ours}, {rows / ours.processor:,.0f} a second of CPU; ratio to the bare walk "
            f"{ours.processor / bare.processor:.2f}",
            flush=True,
        )
    assert run_watcher(place, "reconcile").code == 0, "the rebuilt books do not add up"
