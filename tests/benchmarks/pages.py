"""The pages with a million recordings: the time to the first byte of each, and to its last. ROWS=n takes fewer."""

import os
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.benchmarks._million import ROWS, make_books
from tests.web.sites import names_in, served
from watcher.clock import SystemClock

_AIM = 0.1  # seconds to the first byte
_TIMES = 5


class _Then(SystemClock):
    """The system's clock, set back to when the last recording arrived."""

    def __init__(self, last_arrival: float) -> None:
        self._shift = super().now() - last_arrival

    def now(self) -> float:
        return super().now() - self._shift


def main() -> None:
    rows = int(os.environ.get("ROWS", ROWS))
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
        place = make_books(Path(folder), rows)
        with place.books() as books:
            stories = books.report.latest(0, 1e12, 1)
            item = books.listing.items_of(stories)[stories[0]]
        place.clock = _Then(item.arrived_at)
        with served(place) as site:
            print(f"{rows:,} recordings; best and worst of {_TIMES} times (aim: {_AIM:g} s to the first byte)")
            place_in_middle = _next(site.get("/recordings"))
            for path in (
                "/",
                "/needs",
                "/recordings",
                f"/recordings?{place_in_middle}",
                "/recordings?state=failed",
                "/recordings?state=done&verdict=human",
                "/recordings?verdict=artificial",
                "/recordings?name=agent-042",
                "/recordings?name=nobody-is-called-this",
                f"/recordings?name={item.id}",
                "/recordings?folder=day-0042",
                "/recordings?since=2025-06-01&until=2025-06-02",
                "/all?state=failed&to_see=1",
                "/charts?days=7",
                "/charts?days=30",
                "/events",
                f"/recordings/{item.id}",
            ):
                took = [_ask(f"{site.url}{path}") for _ in range(_TIMES)]
                firsts, lasts = [first for first, _ in took], [last for _, last in took]
                found = len(names_in(site.get(path)))
                print(
                    f"{path:<60} first byte {min(firsts):.3f} to {max(firsts):.3f} s, "
                    f"whole {min(lasts):.3f} to {max(lasts):.3f} s, {found} recordings"
                    f"{'  ABOVE' if min(firsts) > _AIM else ''}",
                    flush=True,
                )


def _next(page: str) -> str:
    return page.partition('href="/recordings?before=')[2].partition('"')[0].join(["before=", ""])


def _ask(url: str) -> tuple[float, float]:
    began = time.perf_counter()
    with urllib.request.urlopen(url) as answer:
        answer.read(1)
        first = time.perf_counter() - began
        answer.read()
        return first, time.perf_counter() - began
