"""A machine whose clock is set, forwards and backwards, by hours and years, while the daemon works or is stopped.

The machine is one of user-mode Linux, whose clock is nobody else's: `python -m tests.crash.clocks` in it. What
the program, its files and its database are told there is what a machine tells whose battery is empty, that slept
for a night, or whose clock was put right. The bank's clock is not set. A play is written `an hour back/running`:
what the clock is set to, and what the daemon does meanwhile.
"""

import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.crash import audit
from tests.crash.audit import Dropped
from tests.crash.trial import Run, Trial
from tests.network.machine import check_machine, run_inside
from tests.places import KEY, REFUSED, Place, speech
from tests.process.programs import CLOCK, ENVIRONMENT, Program, Programs, let_pass, wait_until
from watcher.sandbox import Sandbox

_HOUR, _DAY, _YEAR = 3600.0, 86_400.0, 365 * 86_400.0
_ZONE = "Europe/Rome"
_BOOT_SECONDS = 300.0  # and what a play needs to come to its end; the machine computes slowly
_PATIENCE_SECONDS = 120.0
_WRITES = ["4/second", "20/15s"]
_SETTINGS: dict[str, dict[str, Any]] = {
    "limits": {"writes": _WRITES, "reads": [], "in_flight": 2, "timezone": _ZONE},
    "arrivals": {"settle_seconds": 0.5, "unclosed_seconds": 2, "rescan_seconds": 2},
    "retry": {"first_seconds": 0.5, "max_seconds": 2},
    "verdicts": {"first_seconds": 0.5, "max_seconds": 2},
    "folders": {"status": True},
}


class SteadyClock:
    """The bank's: right from the beginning, whatever this machine's clock is set to."""

    def __init__(self) -> None:
        self._ahead = CLOCK.now() - CLOCK.monotonic()

    def now(self) -> float:
        return self._ahead + CLOCK.monotonic()

    def monotonic(self) -> float:
        return CLOCK.monotonic()

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        return CLOCK.wait(seconds, wake)


def _set(now: float) -> None:
    """The machine's clock says this, but no time before its start: that, the kernel refuses."""
    time.clock_settime(time.CLOCK_REALTIME, max(now, CLOCK.monotonic() + 1))


def _before(*moment: int) -> float:
    """Three seconds before the clocks are changed here on that day."""
    return datetime(*moment, tzinfo=ZoneInfo(_ZONE)).timestamp() - 3  # type: ignore[arg-type, misc]


STEPS: dict[str, Callable[[float], float]] = {
    "an hour on": lambda now: now + _HOUR,
    "an hour back": lambda now: now - _HOUR,
    "half a second back": lambda now: now - 0.5,
    "a month on": lambda now: now + 31 * _DAY,
    "a year on": lambda now: now + _YEAR,
    "a year back": lambda now: now - _YEAR,
    "an empty battery": lambda _: 0.0,
    "summer begins": lambda _: _before(2027, 3, 28, 2),
    "summer ends": lambda _: _before(2027, 10, 31, 3),
}
"""What the clock is set to; and it is put right now and then."""
_PUT_RIGHT = "put right"
_HOW = ("running", "running", "asleep", "stopped", "killed")


@dataclass
class Life:
    """One site through many steps of the clock, and what was found."""

    root: Path
    chance: random.Random
    bank: Sandbox
    bank_clock: SteadyClock
    programs: Programs
    dropped: list[Dropped] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    finds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "site").mkdir()
        self.place = Place(self.root / "site", self.bank.url, CLOCK, **_SETTINGS)
        self.daemon = self._start()

    def step(self, name: str, how: str) -> None:
        """The clock was set while it works, sleeps or does not run; all that is dropped then is filed soon."""
        self.order.append(f"{name}/{how}")
        if how == "asleep":
            self.daemon.process.send_signal(signal.SIGSTOP)
        elif how != "running":
            self.drop()
            let_pass(self.chance.uniform(0, 1))
            if how == "killed":
                self.daemon.kill()
            elif code := self.daemon.stop():
                self.finds.append(f"it ended with {code}: {self.daemon.err[-3000:]}")
        else:
            self.drop()
            let_pass(self.chance.uniform(0, 1))
        now = self.bank_clock.now() if name == _PUT_RIGHT else STEPS[name](CLOCK.now())
        _set(now)
        if how == "asleep":
            self.daemon.process.send_signal(signal.SIGCONT)
        elif how != "running":
            self.daemon = self._start()
        self.drop()
        self._await(self._is_filed, "all is filed")
        before = self._told()
        self._await(lambda: self._told() != before, "the page in the drop folder is renewed")

    def drop(self) -> None:
        """Some more recordings lie there."""
        for _ in range(self.chance.randint(1, 3)):
            number = len(self.dropped)
            content = speech(f"{number}", note=os.urandom(8))
            is_refused = self.chance.random() < 0.2
            if is_refused:
                self.bank.add_fault(**REFUSED, times=0, sha256=audit._digest(content))
            self.dropped.append(Dropped(content, "failed" if is_refused else "done", is_charged=not is_refused))
            self.place.drop(f"{number}.wav", content)

    def end(self) -> None:
        """It was stopped, and audited."""
        if code := self.daemon.stop():
            self.finds.append(f"it ended with {code}: {self.daemon.err[-3000:]}")
        (self.root / "site/drop/_STATUS.html").unlink(missing_ok=True)
        self.finds += audit.audit_rest(self.place.root, self.dropped)
        self.finds += audit.audit_money(self.dropped, self.bank.ledger)
        self.finds += audit.audit_identifiers(self.place.root, self.bank.ledger)
        said = self.programs.call("reconcile", "--config", self.place.config_path)
        if said.process.returncode:
            self.finds.append(f"reconcile: {said.out} {said.err}")

    def _start(self) -> Program:
        daemon = self.programs.start(
            "run",
            "--config",
            self.place.config_path,
            environment=ENVIRONMENT | {"IDENTIFAI_API_KEY": KEY, "TZ": _ZONE},
        )
        self._await(lambda: bool(daemon.events("daemon.started")), "it runs", daemon)
        return daemon

    def _await(self, look: Callable[[], bool], what: str, daemon: Program | None = None) -> None:
        following = daemon or self.daemon
        wait_until(look, what, seconds=_PATIENCE_SECONDS, told=lambda: following.err[-6000:])

    def _is_filed(self) -> bool:
        """Whether each has its receipt, and each accepted one its verdict in it."""
        if self.daemon.process.poll() is not None:
            raise AssertionError(f"it ended by itself: {self.daemon.err[-6000:]}")
        done = list((self.place.root / "done").rglob("*.json"))
        failed = list((self.place.root / "failed").rglob("*.json"))
        fates = Counter(each.fate for each in self.dropped)
        if (len(done), len(failed)) != (fates["done"], fates["failed"]):
            return False
        return all(json.loads(path.read_bytes())["verdict"] for path in done)

    def _told(self) -> bytes:
        page = self.place.root / "drop/_STATUS.html"
        return page.read_bytes() if page.exists() else b""


def live(seed: int, seconds: float, only: list[str]) -> dict[str, object]:
    """These steps, or all for so long, in an order that the seed gives. What was done, and what was found."""
    chance, steady = random.Random(seed), SteadyClock()
    until = steady.monotonic() + seconds
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as name,
        Sandbox(KEY, writes=_WRITES, reads=(), verdict_after_seconds=0.1, clock=steady) as bank,
    ):
        programs = Programs(Path(name, "programs"))
        life = Life(Path(name), chance, bank, steady, programs)
        left: list[str] = []
        try:
            for text in only:
                life.step(*text.split("/"))
            while not only and steady.monotonic() < until:
                left = left or chance.sample([*STEPS, _PUT_RIGHT, _PUT_RIGHT], len(STEPS) + 2)
                life.step(left.pop(), chance.choice(_HOW))
            life.end()
        except AssertionError as error:
            life.finds.append(str(error))
        finally:
            programs.close()
        return {"order": life.order, "recordings": len(life.dropped), "finds": life.finds}


def _run(run: Run) -> None:
    check_machine()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        told = Path(name, "told")
        given = [f"{run.seed}", f"{run.seconds}", f"{told}", *run.only]
        command = [sys.executable, "-m", "tests.crash.clocks", *given]
        _, said = run_inside(command, seconds=run.seconds + _BOOT_SECONDS)
        if not told.exists():
            run.judge(None, [said])
            return
        found = json.loads(told.read_text())
    run.counts["steps"] = len(found["order"])
    run.counts["recordings"] = found["recordings"]
    run.judge(" ".join(f"'{step}'" for step in found["order"]), found["finds"])


TRIAL = Trial(
    "clocks",
    "the machine's clock is set by half a second to decades, forwards and backwards, into changes to and from "
    "summer time, while the daemon works, sleeps or is started",
    minutes=4,
    run=_run,
)

if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(live(int(sys.argv[1]), float(sys.argv[2]), sys.argv[4:])))
