"""The soak: lives that end in kills, then one long life; the slopes, and 1 where one of them is not flat.

SOAK_RECORDINGS: how many recordings, 200,000 by default, in a year of the false clock; SOAK_SEED: which faults.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.places import KEY, Place
from tests.soak.clock import SharedClock
from tests.soak.life import recording
from watcher.domain import State
from watcher.sandbox import Sandbox

_YEAR = 365 * 86_400.0
_A_YEARS = 200_000  # recordings; fewer are a part of the year
_LIVES = 6  # before the long one
_KILLS = 2  # of each of these, before it is let live to its end
_LONG_SHARE = 0.4  # of all recordings: the last life's
_STEADY = 20_000  # recordings of one life after which nothing is kept for the first time
_AN_HOUR = 25  # recordings dropped together
_STEPS_AN_HOUR = 250
_LOOK_SECONDS = 0.5  # a start looks for damage for so long at the most, and for less in a small database
_MOST = {"memory": 20_000_000.0, "files": 2.0, "threads": 2.0}  # more at the end of a year than at its beginning


@dataclass
class Found:
    """What the lives told."""

    samples: list[list[tuple[int, dict[str, float]]]] = field(default_factory=list)  # by life
    starts: list[tuple[int, float]] = field(default_factory=list)  # recordings before it, seconds of CPU
    sizes: list[tuple[int, int]] = field(default_factory=list)  # recordings, bytes of the database
    faults: Counter[str] = field(default_factory=Counter)
    receipts: int = 0
    receipt_bytes: int = 0
    kills: int = 0
    wrong: list[str] = field(default_factory=list)


@contextmanager
def _ground(count: int) -> Iterator[tuple[Path, bool]]:
    """A folder in memory, and whether it may be filled: with a disk of its own, as root."""
    with tempfile.TemporaryDirectory(prefix="watcher-soak-", dir="/dev/shm") as name:
        size = 300_000_000 + 5_000 * count
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name]
        is_mounted = os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0
        try:
            yield Path(name), is_mounted
        finally:
            if is_mounted:
                subprocess.run(["umount", "--lazy", name], check=True)


def _live(found: Found, service: Sandbox, plan: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "tests.soak.life", json.dumps(plan)]
    samples: list[tuple[int, dict[str, float]]] = []
    is_ended = False
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as life:
        assert life.stdout is not None
        for line in life.stdout:
            told = json.loads(line)
            if "start" in told:
                found.starts.append((plan["first"], told["start"]))
            if "sample" in told:
                samples.append((told["done"], told["sample"]))
                _show(plan, told)
            if "fault" in told:
                fault = told["fault"]
                found.faults[
                    fault if isinstance(fault, str) else f"{fault['kind']} {fault.get('status', '')}"
                ] += 1
                if isinstance(fault, dict):
                    service.add_fault(**fault)
            if "stuck" in told:
                found.wrong.append(f"after {plan['end']:,}: not at rest: {told['stuck']}")
            found.receipts += told.get("receipts", 0)
            found.receipt_bytes += told.get("receipt_bytes", 0)
            is_ended |= "ended" in told
    found.samples.append(samples)
    if plan["steps"] and life.returncode == -9:
        found.kills += 1
    elif not is_ended:
        found.wrong.append(f"the life from {plan['first']:,} ended with {life.returncode}")


def _show(plan: dict[str, Any], told: dict[str, Any]) -> None:
    sample, done = told["sample"], max(told["done"] - plan["first"], 1)
    print(
        f"  {told['done']:8,} recordings: memory {sample['memory'] / 1e6:.1f} MB, {sample['files']} files,"
        f" {sample['threads']} threads, CPU {sample['cpu'] / done * 1e3:.1f} ms each",
        flush=True,
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the straight line that fits these points best; 0 where they tell none."""
    if len(points) < 2:
        return 0.0
    middle_x, middle_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def _judge(found: Found, count: int) -> list[str]:
    """Print each slope; return those that are not flat."""
    wrong = list(found.wrong)
    longest = found.samples[-1]
    first = longest[0][0] if longest else 0
    steady = [(done, sample) for done, sample in longest if done - first >= _STEADY]
    for name, most in _MOST.items():
        is_judged = len(steady) >= 5
        told = slope([(float(done), sample[name]) for done, sample in (steady if is_judged else longest)])
        print(
            f"{name}: {told:+.4f} a recording, {told * count:+,.1f} in {count:,}" + ("" if is_judged else _SHORT)
        )
        if is_judged and told * count > most:
            wrong.append(f"{name} rises by {told * count:,.0f} in {count:,} recordings (at most {most:,.0f})")
    cpu = [(b[1]["cpu"] - a[1]["cpu"]) / (b[0] - a[0]) for a, b in pairwise(longest)]
    starts, sizes = [seconds for _, seconds in found.starts], [size / done for done, size in found.sizes]
    receipt = found.receipt_bytes / max(found.receipts, 1)
    print(
        f"CPU: {cpu[0] * 1e3:.1f} ms a recording at first, {cpu[-1] * 1e3:.1f} at last" if cpu else "CPU: unknown"
    )
    print(f"start-up: {slope(found.starts) * 1e6:+.3f} s of CPU a million; {[round(one, 2) for one in starts]}")
    print(f"bytes a recording: database {[round(one) for one in sizes]}, receipt {receipt:.0f}")
    if len(cpu) >= 8 and _mean(cpu[-len(cpu) // 4 :]) > 1.5 * _mean(cpu[: len(cpu) // 4]):
        wrong.append("a recording costs more and more CPU")
    if _mean(starts[-3:]) > 1.5 * _mean(starts[1:4]) + _LOOK_SECONDS:
        wrong.append("a start takes longer and longer")
    if len(sizes) > 3 and sizes[-1] > 1.1 * sizes[len(sizes) // 2]:
        wrong.append("a recording takes more and more bytes")
    return wrong


_SHORT = " (too short a life to be judged)"


def _mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)


def _audit(found: Found, place: Place, service: Sandbox, count: int) -> None:
    """Every recording has come to its end, and no content was paid for twice."""
    expected = {f"{number}.wav": b"sandbox:unsupported" in recording(number) for number in range(count)}
    items = place.items()
    missing = expected.keys() - items.keys()
    astray = [
        path for path, item in items.items() if item.state is not (State.FAILED if expected[path] else State.DONE)
    ]
    paid = Counter(entry.sha256 for entry in service.ledger if entry.charged)
    twice = [digest for digest, times in paid.items() if times > 1]
    for words, wrong in (("missing", missing), ("astray", astray), ("paid for twice", twice)):
        if wrong:
            found.wrong.append(f"{len(wrong):,} {words}: {sorted(map(str, wrong))[:5]}")
    print(f"{len(items):,} items, {len(paid):,} contents paid for, {len(service.ledger):,} requests")


def main() -> int:
    count = int(os.environ.get("SOAK_RECORDINGS", str(_A_YEARS)))
    seed = os.environ.get("SOAK_SEED", str(random.randrange(10_000)))
    print(f"{count:,} recordings, SOAK_SEED={seed}", flush=True)
    chance, found, began = random.Random(seed), Found(), time.monotonic()
    with _ground(count) as (root, may_fill):
        clock = SharedClock(root / "clock")
        with Sandbox(KEY, clock=clock) as service:
            place = Place(
                root,
                service.url,
                clock,
                arrivals={"rescan_seconds": 3600, "watch": "polling"},
                store={"url": f"sqlite:///{root}/watcher.db"},
            )
            bounds = [round(count * (1 - _LONG_SHARE) * life / _LIVES) for life in range(_LIVES + 1)]
            for first, end in zip(bounds, [*bounds[1:], count], strict=True):
                plan: dict[str, Any] = {
                    "root": str(root),
                    "config": str(place.config_path),
                    "clock": str(root / "clock"),
                    "seed": seed,
                    "first": first,
                    "end": end,
                    "an_hour": _AN_HOUR,
                    "hour": _YEAR * _AN_HOUR / _A_YEARS,
                    "sample_every": max(count // 200, 50),
                    "may_fill": may_fill,
                }
                for _ in range(_KILLS if end != count else 0):
                    hours = (end - plan["first"]) // _AN_HOUR + 1
                    _live(found, service, plan | {"steps": chance.randrange(5, _STEPS_AN_HOUR * hours)})
                    plan["first"] = _first_missing(place, root, plan["first"], end)
                _live(found, service, plan | {"steps": 0})
                found.sizes.append((end, (root / "watcher.db").stat().st_size))
            _audit(found, place, service, count)
    print(f"faults: {dict(found.faults)}, {found.kills} kills; {time.monotonic() - began:.0f} s")
    if not may_fill:
        print("without full disks: they need root")
    wrong = _judge(found, count)
    print(*(f"NOT FLAT OR WRONG: {one}" for one in wrong), "all flat" if not wrong else "", sep="\n")
    return 1 if wrong else 0


def _first_missing(place: Place, root: Path, first: int, end: int) -> int:
    """The number of the first recording that was not dropped before the kill."""
    known = {int(path.removesuffix(".wav")) for path in place.items()} if (root / "watcher.db").exists() else set()
    known |= {int(path.stem) for path in (root / "drop").glob("*.wav")}
    return next((number for number in range(first, end) if number not in known), end)


if __name__ == "__main__":
    sys.exit(main())
