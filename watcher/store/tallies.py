"""Sums that are kept: what the ledger, the verdicts and the filing have come to, row by row.

Each is added to in the transaction that changes the rows that it counts, so no crash parts them: once, before its
end, however often that adds to it. None but ITEMS falls when rows are removed, and asking for them reads a few
rows, however many recordings there are.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf

from sqlalchemy import Connection, select

from watcher.domain import Charged, State, Verdict, VerdictState
from watcher.store.compiled import Compiled
from watcher.store.dialects import add_to
from watcher.store.schema import tallies

SUBMISSIONS = "submissions"  # by outcome
REQUESTS = "requests"  # by "submit" or "verdict", and status
CREDITS = "credits"
VERDICTS = "verdicts"  # by classification, when they became known
UPLOADS = "upload_seconds"  # by the upper bound of a bucket, and "sum"
FILED = "filed_seconds"  # by "done" or "failed", and likewise
ITEMS = "items"  # how many rows there are

UPLOAD_BOUNDS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, inf)
FILED_BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, inf)
SUM = "sum"

NO_STATUS = "none"

_ADD = Compiled(add_to(tallies))
_ALL = select(tallies.c.name, tallies.c.label, tallies.c.number)


class Tallies:
    """The sums, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unwritten: dict[tuple[str, str], float] = {}  # by name and label

    def write(self) -> None:
        """What was added until now is in the database, for the site that is seen."""
        if self._unwritten:
            rows = [{"name": name, "label": label, "number": n} for (name, label), n in self._unwritten.items()]
            _ADD.change_each(self._connection, rows)
            self._unwritten.clear()

    def all(self) -> dict[str, dict[str, float]]:
        """Return every sum, by name and label; one that has never been added to is left out."""
        self.write()
        found: dict[str, dict[str, float]] = {}
        for name, label, number in self._connection.execute(_ALL):
            found.setdefault(name, {})[label] = float(number)
        return found

    def items(self) -> int:
        """Return how many items there are."""
        return round(self.all().get(ITEMS, {}).get("", 0))

    def add(self, name: str, label: str = "", number: float = 1.0) -> None:
        self._add([(name, label, number)])

    def count_attempt(self, outcome: str, charged: Charged, status: int | None, seconds: float | None) -> None:
        """Count a request that has ended, whatever came of it. `seconds`: how long it took; null: nobody knows."""
        more = [(SUBMISSIONS, outcome, 1.0), (REQUESTS, _request("submit", status), 1.0)]
        if seconds is not None:
            more += _observed(UPLOADS, "", seconds, UPLOAD_BOUNDS)
        if charged != Charged.NO:
            more.append((CREDITS, "", 1.0))
        self._add(more)

    def count_question(self, status: int | None) -> None:
        """Count a request for verdicts. `status`: null for no answer."""
        self.add(REQUESTS, _request("verdict", status))

    def count_filed(self, state: State, seconds: float) -> None:
        """Count a recording that was filed so long after it had arrived."""
        self._add(_observed(FILED, f"{state} ", seconds, FILED_BOUNDS))

    def count_verdict(self, before: Verdict | None, after: Verdict) -> None:
        """Count a verdict that has become known, or another one than it was."""
        was = before.classification if before is not None and before.state is VerdictState.KNOWN else None
        if after.state is VerdictState.KNOWN and after.classification is not None and after.classification != was:
            self.add(VERDICTS, after.classification)

    def _add(self, sums: Iterable[tuple[str, str, float]]) -> None:
        for name, label, number in sums:
            self._unwritten[name, label] = self._unwritten.get((name, label), 0.0) + number


def _request(endpoint: str, status: int | None) -> str:
    return f"{endpoint} {NO_STATUS if status is None else status}"


def _observed(name: str, prefix: str, seconds: float, bounds: Sequence[float]) -> list[tuple[str, str, float]]:
    seconds = max(seconds, 0.0)  # a clock that was set back
    bound = bounds[bisect_left(bounds, seconds)]
    return [(name, f"{prefix}{bound:g}", 1.0), (name, f"{prefix}{SUM}", seconds)]
