"""What the page costs an idle daemon while nobody looks, and how soon a monitor has its figures of a million.

SECONDS=n to watch each daemon for, ROWS=n recordings.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

from tests.benchmarks._million import ROWS, make_books
from tests.places import KEY, Place
from watcher.clock import SystemClock

_AIM = 0.1
_TIMES = 20
_TICKS = os.sysconf("SC_CLK_TCK")
_SETTLES = 10.0  # seconds until a daemon has begun


def main() -> None:
    seconds = float(os.environ.get("SECONDS", "120"))
    for listen in ("", "127.0.0.1:0", "", "127.0.0.1:0"):
        with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
            place = Place(Path(folder), "http://127.0.0.1:1", SystemClock(), web={"listen": listen})
            daemon = _start(place)
            time.sleep(_SETTLES)
            before = _used(daemon.pid)
            time.sleep(seconds)
            after = _used(daemon.pid)
            cpu, woken = (after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds
            how = "with the page" if listen else "without the page"
            memory = f"{after[2]:.0f} MB"
            print(
                f"idle {how}: {cpu * 1000:.2f} ms of CPU a second, woken {woken:.1f} times a second, {memory}",
                flush=True,
            )
            _end(daemon)
    _measure_answers(int(os.environ.get("ROWS", ROWS)))


def _measure_answers(rows: int) -> None:
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
        place = make_books(Path(folder), rows)
        place.configure(web={"listen": "127.0.0.1:0"}, verdicts={"fetch": False})
        subprocess.run(
            [sys.executable, "-m", "watcher", "pause", "--config", str(place.config_path)],
            check=True,
            capture_output=True,
        )
        daemon = _start(place)
        url = _url(place)
        for path in ("metrics", "healthz"):
            took = sorted(_ask(f"{url}{path}") for _ in range(_TIMES))
            print(
                f"/{path} with {rows:,} recordings: first byte after {took[0]:.3f} to {took[-1]:.3f} s, "
                f"{took[len(took) // 2]:.3f} in the middle (aim: {_AIM:g} s)"
            )
        _end(daemon)


def _start(place: Place) -> subprocess.Popen[bytes]:
    with (place.root / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "watcher", "run", "--config", str(place.config_path)],
            env=os.environ | {"IDENTIFAI_API_KEY": KEY},
            stderr=log,
        )


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    daemon.wait()


def _url(place: Place) -> str:
    while not (found := re.search(r"http://127\.0\.0\.1:\d+/(?=\")", (place.root / "log").read_text())):
        time.sleep(0.1)
    return found[0]


def _used(pid: int) -> tuple[float, int, float]:
    """Return the CPU seconds, how often a thread went to sleep, and the memory in MB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    switches = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        switches += int((task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    memory = int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024
    return (int(fields[11]) + int(fields[12])) / _TICKS, switches, memory


def _ask(url: str) -> float:
    began = time.perf_counter()
    try:
        answer = urllib.request.urlopen(url)
    except HTTPError as error:
        answer = error  # 503 while it is paused, as it is here
    with answer:
        answer.read(1)
        return time.perf_counter() - began
