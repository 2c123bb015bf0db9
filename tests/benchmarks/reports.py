"""A report of a month with a million recordings, as a page, as CSV and as lines of JSON.

Each beside a bare cursor that joins and formats the same rows, in the same run. Times are of the processor, as the
machine is shared; memory is the peak. ROWS=n takes fewer.
"""

import os
import tempfile
from pathlib import Path

from tests.benchmarks._million import ROWS, make_books
from tests.benchmarks.years import run, run_watcher

_SECONDS = 2.6  # from one arrival to the next: a million in a month
_SUMS = """
import sqlite3, sys
from collections import Counter
books = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
query = ("SELECT items.state, fault_code, classification, arrived_at, known_at, confidence, path FROM items"
         " LEFT JOIN verdicts ON verdicts.identifier = items.identifier ORDER BY arrived_at")
print(len(Counter((*row[:3], row[3] // 900) for row in books.execute(query))))
"""
_CSV = """
import csv, sqlite3, sys
books = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
query = "SELECT * FROM items LEFT JOIN verdicts ON verdicts.identifier = items.identifier ORDER BY arrived_at"
csv.writer(sys.stdout).writerows(books.execute(query))
"""


def main() -> None:
    rows = int(os.environ.get("ROWS", ROWS))
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
        place = make_books(Path(folder), rows, _SECONDS)
        bare = {program: run("-c", program, str(place.root / "watcher.db")) for program in (_SUMS, _CSV)}
        for form, program in (("html", _SUMS), ("csv", _CSV), ("json", _CSV)):
            ours = run_watcher(place, "report", "--format", form)
            ratio = ours.processor / bare[program].processor
            aim = " (aim: 5 s)" if form == "html" else ""
            print(
                f"report --format {form}: {ours}{aim}; bare cursor: {bare[program]}; ratio {ratio:.2f}", flush=True
            )
