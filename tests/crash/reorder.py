"""Reordered writes: a day on a disk whose writes are noted, and every image that a power cut may have left of it.

A day is written `7@ext4`: of the seed 7, on that file system. At each flush, and with some of what was written
after it, the image is audited: what the bank had accepted by then must be known or in doubt. Some images are
worked through to the end, with a bank that has accepted nothing more either. All lies on one disk: of two, nobody
knows which write came first.
"""

import random
import shutil
import tempfile
import threading
import traceback
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from math import inf
from pathlib import Path

import pytest

from tests.crash.blocklog import PACKAGE, PROGRAM, NotedDisk
from tests.crash.kills import MEMORY, ONE_PASS, Harm, Mains, Stage, check, come_to_rest, look_at_wreck
from tests.crash.power import HOLD, LOAD, commander, drop_some, needs_power
from tests.crash.powered import POWERED, PoweredDisk
from tests.crash.trial import Run, Trial
from tests.people import missing
from tests.process.programs import CLOCK
from watcher.sandbox import LedgerEntry, Sandbox

_DROPS = 2  # with one disk that is written to one flush after the other, a longer day shows nothing else
_SUBSETS = 2  # of what was not flushed, at each flush
_DRAINED = 0.04  # of the images
_NEVER_HIT = Harm(at=1_000_000)
_DAYS = 1_000
LYING = "lying"
"""A day on which no sync is made: the auditor must find what that does."""


@dataclass
class Day:
    """How many images were audited, how many worked through, and what was found wrong."""

    images: int = 0
    drained: int = 0
    finds: list[str] = field(default_factory=list)


class Marks:
    """How long the log was at each of the bank's entries, and the bank's books as they were at any of them."""

    def __init__(self, bank: Sandbox, disk: NotedDisk) -> None:
        self._bank = bank
        self._disk = disk
        self._lock = threading.Lock()
        self._add = bank.ledger.add
        self._marks = [0] * len(bank.ledger)
        self._entries: list[LedgerEntry] = []
        self._known = bank._service._known

    def note(self, entry: LedgerEntry) -> None:
        """In the place of the ledger's own `add`: who asked is not answered yet."""
        with self._lock:
            self._marks.append(self._disk.noted)
            self._add(entry)

    def close(self) -> None:
        """The day is over."""
        self._entries = list(self._bank.ledger)

    def rewind(self, until: int) -> None:
        """The bank is as it was when the log had come so far."""
        entries = self._entries[: bisect_right(self._marks, until)]
        charged = {entry.identifier for entry in entries if entry.charged}
        self._bank.ledger._entries[:] = entries
        self._bank._service._known = {name: one for name, one in self._known.items() if name in charged}


def spend_day(text: str, lying: tuple[str, ...] = (), until: float = inf) -> Day:
    """The day that is written so. `lying`: the syncs that lie. `until`: images are audited for so long."""
    seed, _, kind = text.partition("@")
    chance = random.Random(int(seed))
    story = replace(LOAD, settings=LOAD.settings | (HOLD if chance.random() < 0.5 else {}))
    day = Day()
    with ExitStack() as made:
        home, point, other = (Path(made.enter_context(tempfile.TemporaryDirectory(dir=MEMORY))) for _ in range(3))
        noted = NotedDisk(kind, home)
        made.callback(noted.close)
        disk = PoweredDisk(kind, point, noted.export)
        made.callback(disk.close)
        stage = made.enter_context(story.stage(point, other, commander(), Mains([disk], lying)))
        for _ in range(_DROPS):
            drop_some(stage, chance)
        disk.sync()
        since, marks = noted.noted, Marks(stage.bank, noted)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage.bank.ledger, "add", marks.note)
            said = stage.trace(ONE_PASS, _NEVER_HIT)[0] if lying else stage.call(*ONE_PASS)
        day.finds += check(said, ONE_PASS)
        disk.close()
        noted.close()
        marks.close()
        image = home / "image"
        for name, flush in noted.images(image, since, chance, _SUBSETS):
            if CLOCK.monotonic() > until:
                break
            marks.rewind(flush)
            drains = chance.random() < _DRAINED
            finds = list(_audit(stage, disk, image, drains=drains))
            day.images, day.drained = day.images + 1, day.drained + drains
            day.finds += [f"{text}, image {name}: {find}" for find in finds]
    return day


def _audit(stage: Stage, before: PoweredDisk, image: Path, *, drains: bool) -> Iterator[str]:
    try:
        disk = PoweredDisk(before.kind, before.point, image, before.number)
    except OSError as error:
        yield str(error)
        return
    try:
        yield from look_at_wreck(stage)
        if drains:
            yield from come_to_rest(stage)
    finally:
        disk.close()


def needs_noted_disks() -> None:
    """Skips where no disk's writes can be noted."""
    needs_power(*POWERED)
    if shutil.which(PROGRAM) is None:
        missing(f"no {PROGRAM} here. Wanted: apt-get install {PACKAGE}")


def _carry_out(text: str, until: float) -> Day:
    try:
        return spend_day("1@ext4", ("fsync", "fdatasync")) if text == LYING else spend_day(text, until=until)
    except Exception:  # noqa: BLE001 — a day that cannot be spent is a find, and stops no other
        return Day(finds=[traceback.format_exc()])


def _run(run: Run) -> None:
    needs_noted_disks()
    days = (f"{run.chance.randrange(10_000)}@{POWERED[number % len(POWERED)]}" for number in range(_DAYS))
    until = inf if run.only else CLOCK.monotonic() + run.seconds
    for text, day in run.carry_out(partial(_carry_out, until=until), run.only or chain([LYING], days)):
        if text == LYING:
            run.judge(text, [] if day.finds else ["nothing was found, though no sync was made"])
            continue
        run.counts["images"] += day.images
        run.counts["of them worked through"] += day.drained
        run.judge(text, day.finds)


TRIAL = Trial(
    "reorder",
    "a power cut as a disk with a volatile cache may be left by it: each flush, and subsets of what followed",
    minutes=5,
    run=_run,
)
