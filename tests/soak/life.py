"""One start of the daemon's steps, until it is killed or has done its share: `python -m tests.soak.life PLAN`.

PLAN is JSON. What it measures and what it asks of the service's stand-in are lines of JSON on stdout.
"""

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.places import KEY
from tests.soak.clock import SharedClock
from watcher import composition
from watcher.audio.synthesis import wav
from watcher.composition import Journey
from watcher.config import load
from watcher.domain import UNDER_WAY, Pause, PauseKind
from watcher.errors import WatcherError
from watcher.key import Key

FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 429, "retry_after": 30},
    {"kind": "status", "status": 500, "times": 3},
    {"kind": "status", "status": 503, "retry_after": 120},
    {"kind": "status", "status": 401, "times": 2},
    {"kind": "slow_after", "seconds": 900},
    {"kind": "slow_before", "seconds": 20, "times": 3},
    {"kind": "close_while_reading", "times": 2},
    {"kind": "close_after_reading"},
    {"kind": "lose_answer"},
    {"kind": "cut_json"},
    {"kind": "html"},
    {"kind": "status", "status": 502, "method": "GET", "times": 4},
)
HERE = ("pause", "step_forward", "step_back", "full_disk")
_UNSUPPORTED_EVERY, _DUPLICATE_EVERY = 61, 47
_PATIENCE_SECONDS = 7 * 86_400.0  # until what is there must be at rest
_MOST_BACK_OFF_SECONDS = 60.0  # a loop's
_NEVER = threading.Event()


def recording(number: int) -> bytes:
    """The content of this recording: some are refused, and some are as another."""
    if number % _DUPLICATE_EVERY == _DUPLICATE_EVERY - 1:
        number -= 5
    note = f"{number}".encode()
    if number % _UNSUPPORTED_EVERY == _UNSUPPORTED_EVERY - 1:
        note += b" sandbox:unsupported"
    return wav(0.1, seed=1, note=note)


class Life:
    """Recordings are dropped hour by hour, and everything is driven until it is at rest."""

    def __init__(self, plan: dict[str, Any], journey: Journey, clock: SharedClock) -> None:
        self._plan = plan
        self._journey = journey
        self._clock = clock
        self._chance = random.Random(f"{plan['seed']} {plan['first']}")
        self._root = Path(plan["root"])
        self._is_full = False
        self._steps_left = int(plan["steps"]) or -1
        self.troubles: Counter[str] = Counter()
        self._failures: Counter[Callable[[], float]] = Counter()  # one after the other, as a loop counts them
        self._rests_until: dict[Callable[[], float], float] = {}
        self._steps: list[Callable[[], float]] = [
            journey.arrivals.step,
            journey.admission.step,
            *(submission.step for submission in journey.submissions),
            journey.filing.step,
            journey.verdict_poller.step,
        ]

    def live(self) -> None:
        plan = self._plan
        number, sampled = plan["first"], plan["first"]
        (self._root / "ballast").unlink(missing_ok=True)  # of a life that was killed
        while number < plan["end"]:
            for _ in range(min(plan["an_hour"], plan["end"] - number)):
                self._drop(number)
                number += 1
            with self._fault():
                self._journey.arrivals.hints.scan_soon()
                self._drive(self._clock.monotonic() + plan["hour"])
            self._journey.site.store.tidy(self._clock.now(), rate_events_for=7200.0)
            if number - sampled >= plan["sample_every"] or number == plan["end"]:
                sampled = number
                self._collect()
                tell(sample=measured(), done=number)
        self._steps_left = -1
        self._come_to_rest()
        self._collect()

    def _drop(self, number: int) -> None:
        aside = self._root / "aside"
        aside.write_bytes(recording(number))
        aside.rename(self._root / f"drop/{number}.wav")

    @contextmanager
    def _fault(self) -> Iterator[None]:
        """In every fourth hour something goes wrong."""
        if self._chance.random() > 0.25:
            yield
            return
        fault = self._chance.choice((*FAULTS, *HERE))
        tell(fault=fault)
        site, ballast = self._journey.site, self._root / "ballast"
        if fault == "pause":
            with site.store.writing() as books:
                now = self._clock.now()
                books.pauses.set(Pause(PauseKind.PERSON, "paused", "a person paused", now, None))
        elif fault == "step_forward":
            self._clock.jump(3600.0)
        elif fault == "step_back":
            self._clock.jump(-3600.0)
        elif fault == "full_disk" and self._plan["may_fill"]:
            self._is_full = True
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(shutil.disk_usage(self._root).free - 65_536, 1))
        yield
        ballast.unlink(missing_ok=True)
        self._is_full = False
        if fault == "pause":
            with site.store.writing() as books:
                books.pauses.end(PauseKind.PERSON, self._clock.now())

    def _drive(self, until: float) -> None:
        while self._clock.monotonic() < until:
            wait = min(self._step(step) for step in self._steps)
            if wait > 0:
                self._clock.wait(min(wait, until - self._clock.monotonic()), _NEVER)

    def _step(self, step: Callable[[], float]) -> float:
        rests_for = self._rests_until.get(step, 0.0) - self._clock.monotonic()
        if rests_for > 0:
            return rests_for
        self._steps_left -= 1
        if self._steps_left == 0:
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            wait = step()
        except WatcherError as error:
            self.troubles[type(error).__name__] += 1
            if not self._is_full:
                raise
            self._failures[step] += 1
            wait = min(2.0 ** self._failures[step], _MOST_BACK_OFF_SECONDS)
            self._rests_until[step] = self._clock.monotonic() + wait
            return wait
        self._failures[step] = 0
        return wait

    def _come_to_rest(self) -> None:
        until, counts = self._clock.monotonic() + _PATIENCE_SECONDS, dict[Any, int]()
        while self._clock.monotonic() < until:
            self._drive(self._clock.monotonic() + 600.0)
            with self._journey.site.store.reading() as books:
                counts = books.items.counts()
            if not sum(counts[state] for state in UNDER_WAY) and not any((self._root / "drop").glob("*.wav")):
                return
        tell(stuck={str(state): number for state, number in counts.items() if number})

    def _collect(self) -> None:
        """The receivers take what lies in done/ and failed/."""
        count, size = 0, 0
        for folder in ("done", "failed"):
            for path in (self._root / folder).glob("*.json"):
                recorded = path.with_suffix("")
                if recorded.exists():
                    count, size = count + 1, size + path.stat().st_size
                    recorded.unlink()
                path.unlink()
        tell(receipts=count, receipt_bytes=size)


def measured() -> dict[str, float]:
    status = Path("/proc/self/status").read_text()
    memory = int(status.split("VmRSS:")[1].split()[0]) * 1024
    times = os.times()
    return {
        "memory": memory,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "cpu": times.user + times.system,
    }


def tell(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def main() -> None:
    plan = json.loads(sys.argv[1])
    clock = SharedClock(Path(plan["clock"]))
    began = time.process_time()
    with composition.opened(load(Path(plan["config"])), Key(KEY, "the soak"), clock) as journey:
        tell(start=time.process_time() - began)
        life = Life(plan, journey, clock)
        life.live()
        for submission in journey.submissions:
            submission.finish()
        tell(ended=True, troubles=life.troubles)


if __name__ == "__main__":
    main()
