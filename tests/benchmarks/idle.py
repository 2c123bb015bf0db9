"""What 100,000 files in the drop folder cost: the first look at them, and each second in which nothing happens.

Measured as CPU time, since the machine may be busy with other things. Aims: the arrivals step's first look, its
candidates, its question to the books and the note of its end included, within twice a bare scandir with stat; then
1 % of a core and 120 MB (114 MiB), whether the files are queued or nothing can be decided about them.
"""

import os
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from struct import pack
from typing import Literal

from tests.benchmarks.arrivals import place_of, started, wait_for
from tests.benchmarks.walk import _bare
from tests.places import Place
from watcher.audio.synthesis import wav
from watcher.clock import SystemClock
from watcher.config import load
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.arrive.foreign import SURE_SECONDS
from watcher.journey.arrive.settle import _RELOOKS_A_SECOND
from watcher.journey.site import Site
from watcher.store import Store

FILES = 100_000
ROUNDS = 7
CALM_SECONDS = 15  # after a burst of work, before a measurement
IDLE_SECONDS = 60


def main() -> None:
    measure_first_look()
    measure_undecided()
    measure_looks()
    measure_queued()


def measure_first_look() -> None:
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
        place = Place(Path(folder), "http://127.0.0.1:1", SystemClock())
        make(place.root / "drop", FILES, "whole")
        bare = partial(_bare, str(place.root / "drop"), stat=True)
        rounds = [(used_by(bare), *first_look(place)) for _ in range(ROUNDS)]  # all meet the same machine
    bare_seconds, scan, step = (min(column) for column in zip(*rounds, strict=True))
    print(
        f"first look at {FILES:,} files: CPU of a bare scandir with stat {bare_seconds * 1000:.0f} ms", flush=True
    )
    for words, seconds in (("the scan alone", scan), ("the whole step, with 256 looks into files", step)):
        print(
            f"  {words}: {seconds * 1000:.0f} ms, ratio {seconds / bare_seconds:.2f} (aim: 2 at the most)",
            flush=True,
        )


def used_by(act: Callable[[], object]) -> float:
    """Seconds of CPU that this process spends on it."""
    began = time.process_time()
    act()
    return time.process_time() - began


def first_look(place: Place) -> tuple[float, float]:
    """Seconds of CPU of a first scan, and of a first step."""
    config = load(place.config_path)
    with Store(config.store.url) as store:
        store.database.migrate()
        site = Site.open(config, store, SystemClock())
        used = []
        for act in (lambda one: one.scanner.scan(), lambda one: one.step()):
            arrivals = Arrivals(site, threading.Event())
            used.append(used_by(partial(act, arrivals)))
            assert len(arrivals.registry.settler) == FILES
        return used[0], used[1]


def measure_queued() -> None:
    """The queue is paused, so that nothing happens once all have their rows."""
    with place_of("events", is_paused=True) as place:
        make(place.root / "drop", FILES, "whole")
        with started(place) as daemon:
            began = time.perf_counter()
            wait_for(lambda: count_items(place) == FILES, daemon, every_seconds=1)
            print(f"{FILES:,} files queued in {time.perf_counter() - began:.0f} s", flush=True)
            measure_idle("just queued", daemon)
        with started(place) as daemon:
            measure_idle("queued, after a restart", daemon)


def measure_undecided() -> None:
    """All are cut short by their own headers: only their writers can end the wait.

    They are looked at so seldom that a minute meets no second look: see measure_looks.
    """
    with place_of("events", is_paused=False) as place:
        make(place.root / "drop", FILES, "cut short")
        with started(place) as daemon:
            while (before := cpu_seconds(daemon.pid)) < 1 or not is_calm_since(before, daemon):
                pass
            print(f"{FILES:,} files read for the first time: CPU {cpu_seconds(daemon.pid):.0f} s", flush=True)
            measure_idle("undecided", daemon)


def measure_looks() -> None:
    """What it costs to look again, as often as is done, at files that lack something and have not changed."""
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
        place = Place(Path(folder), "http://127.0.0.1:1", SystemClock())
        make(place.root / "drop", FILES // 5, "cut short")
        config = load(place.config_path)
        with Store(config.store.url) as store:
            store.database.migrate()
            arrivals = Arrivals(Site.open(config, store, SystemClock()), threading.Event())
            look_at_all(arrivals)
            time.sleep(SURE_SECONDS)
            again = arrivals.registry.settler.roll.inodes()
            seconds = []
            for _ in range(3):
                for path in again:
                    arrivals.registry.settler.look_now(path, time.monotonic())
                seconds.append(used_by(partial(look_at_all, arrivals)) / len(again))
    each = min(seconds[1:])  # the first one reads them once more
    print(
        f"a look at one that is unchanged: CPU {each * 1e6:.0f} µs; {_RELOOKS_A_SECOND:.0f} a second at the most:"
        f" {each * _RELOOKS_A_SECOND:.2%} of a core more",
        flush=True,
    )


def look_at_all(arrivals: Arrivals) -> None:
    while arrivals.step() <= 0:
        pass


def is_calm_since(before: float, daemon: "subprocess.Popen[bytes]") -> bool:
    """Whether it does nothing but scan, as the next seconds tell."""
    assert daemon.poll() is None
    time.sleep(CALM_SECONDS)
    return cpu_seconds(daemon.pid) - before < CALM_SECONDS / 20


def count_items(place: Place) -> int:
    with closing(sqlite3.connect(f"file:{place.root}/watcher.db?mode=ro", uri=True)) as books:
        return int(books.execute("SELECT count(*) FROM items").fetchone()[0])


def measure_idle(words: str, daemon: "subprocess.Popen[bytes]") -> None:
    time.sleep(CALM_SECONDS)
    before = cpu_seconds(daemon.pid)
    time.sleep(IDLE_SECONDS)
    used = cpu_seconds(daemon.pid) - before
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    now, peak = (int(status.split(f"{name}:")[1].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    print(
        f"{FILES:,} files {words}, idle for {IDLE_SECONDS} s: CPU {used:.2f} s, {used / IDLE_SECONDS:.2%} of a"
        f" core (aim: 1 %); memory {now:.0f} MiB (aim: 114), peak {peak:.0f} MiB",
        flush=True,
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make(folder: Path, number: int, kind: Literal["whole", "cut short"]) -> None:
    """So many small recordings, all different, in a hundred subfolders."""
    content = wav(0.02, seed=1)
    if kind == "cut short":
        content = content[:-100]
    for n in range(number):
        below = folder / f"day-{n % 100:02}"
        if n < 100:
            below.mkdir()
        with (below / f"call-{n:06}.wav").open("wb") as file:
            file.write(content[:-8] + pack("<Q", n))
