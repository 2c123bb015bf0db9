"""A trial: one kind of harm, done to the program as often as its budget of time allows, and what was counted.

`make crash` runs them all; each has a row of its own in README's table.
"""

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

from watcher.clock import SystemClock

Given = TypeVar("Given")
Result = TypeVar("Result")

WORKERS = 2
_PATIENCE_SECONDS = 600.0
"""A play takes seconds, a day of reordered writes some minutes: what takes longer than this hangs."""
_GRACE_SECONDS = 10.0
_CLOCK = SystemClock()


@dataclass
class Run:
    """One run of a trial: what it was given, and what came of it."""

    name: str
    seed: int
    seconds: float
    only: tuple[str, ...] = ()  # of its plays, those that are written so; empty: all for which there is time
    counts: Counter[str] = field(default_factory=Counter)  # what was done, in README's words
    violations: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} {self.name}")
        self.began = _CLOCK.monotonic()

    @property
    def lasts(self) -> float:
        return _CLOCK.monotonic() - self.began

    @property
    def is_over(self) -> bool:
        """Its time is used up: nothing new is begun."""
        return self.lasts > self.seconds

    def tell(self, *lines: str) -> None:
        """Printed at once: whoever waits sees how far it is."""
        print(*lines, sep="\n    ", flush=True)

    def judge(self, play: object, finds: Iterable[str]) -> None:
        """Whatever was found wrong with this play is told with how to play it again, and is one violation.

        `play` null: the trial as a whole.
        """
        if found := list(finds):
            self.violations += 1
            only = "" if play is None else f" --only {play}"
            self.tell(f"{self.name}{only} --seed {self.seed}", *found)

    def carry_out(
        self, one: Callable[[Given], Result], given: Iterable[Given | None]
    ) -> Iterator[tuple[Given, Result]]:
        """Each was carried out by a process beside this one, until the time was over; in no order.

        A null among them: there may be more when one of those under way has come to its end. Raises TimeoutError
        where none does for long.
        """
        waiting = iter(given)
        under_way: dict[Future[Result], Given] = {}
        pool = ProcessPoolExecutor(WORKERS)
        try:
            while True:
                while len(under_way) < 2 * WORKERS and not self.is_over:
                    each = next(waiting, None)
                    if each is None:
                        break
                    under_way[pool.submit(one, each)] = each
                if not under_way:
                    return
                ended = wait(under_way, _PATIENCE_SECONDS, FIRST_COMPLETED).done
                if not ended:
                    told = ", ".join(map(str, under_way.values()))
                    raise TimeoutError(  # noqa: TRY301 — as for whatever else ends it early, the processes go first
                        f"none of these came to its end in {_PATIENCE_SECONDS:.0f} s: {told}"
                    )
                for done in ended:
                    yield under_way.pop(done), done.result()
        except BaseException:
            _end_children()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _end_children() -> None:
    """The processes that carry out plays are gone; those who can still hear it took away what they had made."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    for child in children:
        child.join(_GRACE_SECONDS)
        child.kill()


@dataclass(frozen=True)
class Trial:
    """What is tried, for how long, and by what."""

    name: str
    told: str  # what is done, as README's row begins
    minutes: float
    run: Callable[[Run], None]  # pytest.skip: it cannot be tried on this machine, and why


def make_rows(before: list[str], trials: Iterable[Trial], ended: dict[str, Run], where: str) -> list[str]:
    """README's table: new rows of those that have ended, at this revision; the others' are as before."""
    kept = {row.split(" | ")[0].removeprefix("| "): row for row in before[2:]}
    rows = ["| what is done | how often | violations | revision, day |", "|---|---|---|---|"]
    for trial in trials:
        if run := ended.get(trial.name):
            done = ", ".join(f"{number:,} {what}" for what, number in run.counts.items())
            rows.append(f"| {trial.told} | {done} | {run.violations} | {where} |")
        elif trial.told in kept:
            rows.append(kept[trial.told])
    return rows
