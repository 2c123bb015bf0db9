"""From a writer's last act to the row in the queue; what a second costs in which one file comes.

Submitting is paused where arrivals alone are measured. A latency is from the instant before the writer's close, or
rename, to the moment at which another connection can read the row. Aims where there is proof: p50 within 10 ms,
p99 within 30 ms, also while others are filed out of the folder; a second in which one file comes costs beside
50,000 others that wait at most twice what it costs beside 1,500.
"""

import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from struct import pack

from tests.places import Place
from watcher.audio.synthesis import wav
from watcher.clock import SystemClock
from watcher.config import load
from watcher.domain import Fingerprint
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.site import Site
from watcher.sandbox import Sandbox
from watcher.store import Store

KEY = "a-key-for-tests"
RECORDING = wav(4, seed=1)
TIMES = 300
COMMAND = [sys.executable, "-m", "watcher"]
PAUSE_SECONDS = {"events": 0.05, "polling": 1.0}  # between two writers, at the most: no queue is measured


def main() -> None:
    measure_latencies()
    measure_second()


# Latency


def measure_latencies() -> None:
    for words, setting, act, is_filing in (
        ("close after writing", "events", close, False),
        ("rename into the folder", "events", rename, False),
        ("close, while others are filed", "events", close, True),
        ("rename, while others are filed", "events", rename, True),
        ("close, polling", "polling", close, False),
    ):
        times = TIMES if setting == "events" else 40
        latencies = sorted(measure(setting, act, times, is_filing=is_filing))
        p50, p99 = statistics.median(latencies), latencies[max(0, round(0.99 * len(latencies)) - 1)]
        aim = " (aim: 10 and 30 at the most)" if setting == "events" else " (a look a second)"
        print(
            f"{words:32} p50 {p50 * 1000:6.1f} ms, p99 {p99 * 1000:6.1f} ms,"
            f" worst {latencies[-1] * 1000:6.1f} ms{aim}",
            flush=True,
        )


def measure(setting: str, act: "Act", times: int, *, is_filing: bool) -> list[float]:
    """Seconds from the act to the row, for so many recordings one after the other."""
    with running(setting, is_paused=not is_filing) as (place, _):
        feeder = subprocess.Popen([sys.executable, "-c", FEEDER, place.root / "drop"]) if is_filing else None
        try:
            time.sleep(2)
            with closing(sqlite3.connect(f"file:{place.root}/watcher.db?mode=ro", uri=True)) as books:
                pauses = random.Random(1)
                latencies = []
                for number in range(times):
                    time.sleep(pauses.uniform(0, PAUSE_SECONDS[setting]))
                    latencies.append(latency(place, books, act, number))
                return latencies
        finally:
            if feeder is not None:
                end(feeder)


FEEDER = """
import os, sys, time, struct
from watcher.audio.synthesis import wav
whole, n = wav(4, seed=2), 0
os.makedirs(sys.argv[1] + "/../feed", exist_ok=True)
while True:
    n += 1
    aside = sys.argv[1] + f"/../feed/{n}"
    with open(aside, "wb") as file:
        file.write(whole[:-8] + struct.pack("<Q", n))
    os.rename(aside, sys.argv[1] + f"/fed-{n}.wav")
    time.sleep(0.05)
"""
"""Twenty recordings a second, which are submitted and filed at that rate."""

Act = Callable[[Place, str, bytes], float]


def close(place: Place, name: str, content: bytes) -> float:
    """The recording is written under its name, and closed. When that was."""
    opened = os.open(place.root / "drop" / name, os.O_WRONLY | os.O_CREAT)
    os.write(opened, content[:1000])
    os.write(opened, content[1000:])
    began = time.perf_counter()
    os.close(opened)
    return began


def rename(place: Place, name: str, content: bytes) -> float:
    """The recording is written elsewhere and moved in. When that was."""
    aside = place.root / "aside.wav"
    aside.write_bytes(content)
    began = time.perf_counter()
    os.rename(aside, place.root / "drop" / name)
    return began


def latency(place: Place, books: sqlite3.Connection, act: Act, number: int) -> float:
    name = f"measured-{number}.wav"
    began = act(place, name, RECORDING[:-8] + pack("<Q", number))
    deadline = began + 30
    while not books.execute("SELECT 1 FROM items WHERE path = ?", (name.encode(),)).fetchone():
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{name} was not queued within 30 s")
        time.sleep(0.0005)
    return time.perf_counter() - began


@contextmanager
def running(setting: str, *, is_paused: bool) -> Iterator[tuple[Place, "subprocess.Popen[bytes]"]]:
    """The daemon at work on a folder of its own, against a sandbox without limits in this process."""
    with place_of(setting, is_paused=is_paused) as place, started(place) as daemon:
        yield place, daemon


@contextmanager
def place_of(setting: str, *, is_paused: bool) -> Iterator[Place]:
    """A folder and a database of their own, and a sandbox without limits in this process."""
    with (
        tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder,
        Sandbox(KEY, writes=(), reads=()) as service,
    ):
        place = Place(
            Path(folder),
            service.url,
            SystemClock(),
            limits={"writes": [], "reads": []},
            arrivals={"watch": setting},
            verdicts={"fetch": False},
        )
        for command in ("migrate", "pause")[: 1 + is_paused]:
            subprocess.run([*COMMAND, command, "--config", place.config_path], check=True, capture_output=True)
        yield place


@contextmanager
def started(place: Place) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | {"IDENTIFAI_API_KEY": KEY}
    with (place.root / "log").open("w") as log:
        daemon = subprocess.Popen([*COMMAND, "run", "--config", place.config_path], env=environment, stderr=log)
        try:
            wait_for(lambda: "watch.chosen" in (place.root / "log").read_text(), daemon)
            yield daemon
        finally:
            end(daemon)


def wait_for(look: Callable[[], bool], daemon: "subprocess.Popen[bytes]", every_seconds: float = 0.1) -> None:
    while not look():
        time.sleep(every_seconds)
        if daemon.poll() is not None:
            raise RuntimeError("the daemon ended")


def end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)


# A second


def measure_second() -> None:
    few, many = (min(second(number) for _ in range(3)) for number in (1_500, 50_000))
    print(
        f"one file comes, publishing: CPU {few * 1000:.1f} ms beside 1,500 that wait, {many * 1000:.1f} ms"
        f" beside 50,000, ratio {many / few:.2f} (aim: 2 at the most)",
        flush=True,
    )


def second(number: int) -> float:
    """Seconds of CPU that publishing takes once one more file has come to so many that wait."""
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
        place = Place(Path(folder), "http://127.0.0.1:1", SystemClock())
        config = load(place.config_path)
        with Store(config.store.url) as store:
            store.database.migrate()
            arrivals = Arrivals(Site.open(config, store, SystemClock()), threading.Event())
            for n in range(number):
                arrivals.registry.see(b"%d.wav" % n, Fingerprint(1, n, 680, n, n), 0.0, 0.0)
            arrivals.publish()
            arrivals.registry.see(b"new.wav", Fingerprint(1, number, 680, 0, 0), 1.0, 1.0)
            began = time.process_time()
            arrivals.publish()
            return time.process_time() - began
