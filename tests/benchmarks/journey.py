"""From the drop folder to done/ with receipts, beside others that do the same work, in turns in one run.

The daemon runs with every commit and sync in place, limits opened, in_flight 4. Its peers, huey with watchdog and
a careful watchdog script, are in `_peers.py`, which says what each promises and what not; the bare loop is one of
requests.post over the same files, which moves nothing and keeps nothing. All have the same files and, in each run,
a sandbox of its own. A time is from the first file moved into the drop folder to the last one in done/ with its
receipt; CPU is that of the whole tree of processes, meanwhile. After each run all files are in done/ with receipts
that name the sandbox's identifiers, and the sandbox was paid for each of them once. Aims: level with the best
peer, and at most 1.5 times the bare loop's time.

Syncs, statements and transactions are those of a further run, which is not timed: the syncs where there is strace.
ROUNDS=n makes other than three runs of each; ONLY=watcher runs only this, as does ONLY=watcher,script these two.
"""

import compileall
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psutil

from tests.benchmarks import _counted
from watcher.audio.synthesis import wav

KEY = "benchmark"
SERVER = f"""
from watcher.sandbox import serve
serve(port=0, key={KEY!r}, writes=(), reads=())
"""
BARE = f"""
import sys, os, time, requests
url, folder = sys.argv[1:]
names = sorted(os.listdir(folder))
before = os.times()
began = time.monotonic()
for name in names:
    with open(os.path.join(folder, name), "rb") as file:
        answer = requests.post(url + "/api/classification_audio", files={{"audio": (name, file, "audio/wav")}},
            headers={{"X-Api-Key": {KEY!r}, "Accept": "application/json"}}, timeout=60)
    answer.raise_for_status()
    answer.json()["identifier"]
print(time.monotonic() - began)
times = os.times()
print(times.user + times.system - before.user - before.system)
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""
OURS, BARE_LOOP = "watcher", "bare loop"
PEERS = {"huey": "huey + watchdog", "script": "careful script"}
LOADS = ((500, 200_000, "500 of 200 KB"), (100, 5_000_000, "100 of 5 MB"))
_TIMES = ("wall", "cpu")
_SYNCS = ("fsync", "fdatasync", "syncfs", "sync", "msync", "sync_file_range")
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Run:
    """What one run took, in seconds and bytes; the mean number of what was counted a recording."""

    wall: float
    cpu: float
    peak: float = 0.0
    counted: dict[str, float] | None = None


def main() -> None:
    rounds = int(os.environ.get("ROUNDS", "3"))
    everyone = [OURS, *PEERS, BARE_LOOP]
    names = [name for name in os.environ.get("ONLY", ",".join(everyone)).split(",") if name]
    if unknown := set(names) - set(everyone):
        sys.exit(f"ONLY: {', '.join(sorted(unknown))} is none of {', '.join(everyone)}")
    compileall.compile_dir("watcher", quiet=2)  # as it is where it is installed
    tables = []
    for count, size, words in LOADS:
        with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
            root = Path(folder)
            _make(root / "incoming", count, size)
            runs: dict[str, list[Run]] = {name: [] for name in names}
            for turn in range(rounds):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    run = _run(name, root)
                    runs[name].append(run)
                    print(f"{words}, {name}: {run.wall:.2f} s, CPU {run.cpu:.2f} s", flush=True)
            counted = {name: _count(name, root) for name in names if name != BARE_LOOP}
        tables.append(_table(words, {name: _median(those) for name, those in runs.items()}, counted))
    print(f"\nmedians of {rounds}; ratios to the best of those that file, and ours to this one")
    print("\n".join(line for table in tables for line in table), flush=True)


def _median(runs: list[Run]) -> Run:
    middle = statistics.median
    return Run(middle(run.wall for run in runs), middle(run.cpu for run in runs), middle(run.peak for run in runs))


def _table(words: str, runs: dict[str, Run], counted: dict[str, dict[str, float]]) -> Iterator[str]:
    """The runs by their names, and what was counted of each."""
    best = [
        min((getattr(run, of) for name, run in runs.items() if name != BARE_LOOP), default=0.0) for of in _TIMES
    ]
    yield f"\n{words:16}   wall s  to best  ours/it    CPU s  to best  ours/it  peak MB    syncs"
    for name, run in runs.items():
        cells = []
        for of, least in zip(_TIMES, best, strict=True):
            value = getattr(run, of)
            ours = f"{getattr(runs[OURS], of) / value:8.2f}" if OURS in runs and name != OURS else " " * 8
            cells.append(f"{value:8.2f} {value / (least or value):8.2f} {ours}")
        syncs = sum(counted.get(name, {}).get(call, 0.0) for call in _SYNCS)
        told = f"{syncs:8.2f}" if syncs else ""
        yield f"{PEERS.get(name, name):16} {' '.join(cells)} {run.peak / 1e6:8.0f} {told}".rstrip()
    for name, numbers in counted.items():
        each = ", ".join(f"{value:.2f} {what}" for what, value in numbers.items())
        yield f"{PEERS.get(name, name)}, a recording: {each or 'nothing counted, as there is no strace'}"


def _make(folder: Path, count: int, size: int) -> None:
    folder.mkdir()
    head = wav(size / 16_000, seed=1)[:44]
    for n in range(count):
        (folder / f"call-{n:04}.wav").write_bytes(head + random.Random(n).randbytes(size))


def _count(name: str, root: Path) -> dict[str, float]:
    return _run(name, root, is_counted=True).counted or {}


def _run(name: str, root: Path, *, is_counted: bool = False) -> Run:
    """One run by this name of all recordings in `incoming`, which are there again afterwards."""
    incoming = root / "incoming"
    names = sorted(os.listdir(incoming))
    os.sync()  # what others wrote is not to be waited for
    with _sandbox() as url:
        if name == BARE_LOOP:
            run = _bare(incoming, url)
        else:
            site = root / "site"
            for folder in ("drop", "done", "failed"):
                (site / folder).mkdir(parents=True)
            run = _file(name, site, incoming, url, is_counted=is_counted)
            _verify(site, url, names)
            for recording in names:
                os.rename(site / "done" / recording, incoming / recording)
            shutil.rmtree(site)
    return run


@contextmanager
def _sandbox() -> Iterator[str]:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if "http://" in line:
                yield next(word.strip(".,") for word in line.split() if word.startswith("http://"))
                return
        raise RuntimeError("the sandbox did not start")
    finally:
        end(server)


def _bare(incoming: Path, url: str) -> Run:
    command = [sys.executable, "-c", BARE, url, str(incoming)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wall, cpu, peak = map(float, told.split())
    return Run(wall, cpu, peak)


def _file(name: str, site: Path, incoming: Path, url: str, *, is_counted: bool) -> Run:
    names = sorted(os.listdir(incoming))
    with _started(name, site, url, is_counted=is_counted) as (program, look):
        time.sleep(1)
        counted, before = _counts(site), _cpu(program.pid)
        began = time.monotonic()
        for recording in names:
            os.rename(incoming / recording, site / "drop" / recording)
        while _visible(site / "done") < 2 * len(names) or _visible(site / "drop") > 0:
            look()
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise RuntimeError(f"{name} leaves something lying\n{(site / 'log').read_text()[-2000:]}")
            time.sleep(0.01)
        wall, cpu = time.monotonic() - began, _cpu(program.pid) - before
        status = Path(f"/proc/{program.pid}/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
        if is_counted:
            time.sleep(1)  # what follows the last file is counted too
            after = _counts(site)
            counted = Counter({what: after[what] - counted[what] for what in after})
    return Run(wall, cpu, peak, {what: number / len(names) for what, number in counted.items() if number})


@contextmanager
def _started(
    name: str, site: Path, url: str, *, is_counted: bool
) -> "Iterator[tuple[subprocess.Popen[bytes], Callable[[], None]]]":
    """The program, once it takes recordings, and a look at it, which raises RuntimeError where it has ended."""
    log = site / "log"
    with log.open("wb") as output:
        program = subprocess.Popen(
            [*(_tracing(site) if is_counted else []), sys.executable, *_command(name, site, url, is_counted)],
            env=os.environ | {"IDENTIFAI_API_KEY": KEY},
            stdout=output,
            stderr=output,
        )

    def look() -> None:
        if program.poll() is not None:
            raise RuntimeError(log.read_text())

    try:
        while not any(word in log.read_text() for word in ("daemon.started", ": ready")):
            time.sleep(0.05)
            look()
        yield program, look
    finally:
        end(program)


def _command(name: str, site: Path, url: str, is_counted: bool) -> list[str]:
    if name in PEERS:
        return ["-m", "tests.benchmarks._peers", name, url, str(site)]
    config = site / "config.toml"
    config.write_text(
        f'[identifai]\nbase_url = "{url}"\n[limits]\nwrites = []\nreads = []\nin_flight = 4\n'
        "[verdicts]\nfetch = false\n"
    )
    words = ["run", "--config", str(config)]
    if not is_counted:
        return ["-m", "watcher", *words]
    _counted.prepare(site / "counted")
    return ["-m", "tests.benchmarks._counted", str(site / "counted"), *words]


def _tracing(site: Path) -> list[str]:
    """With -D it is strace that is the grandchild: the program keeps its number."""
    if (strace := shutil.which("strace")) is None:
        return []
    calls = "trace=" + ",".join(_SYNCS)
    return [
        strace,
        "-D",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-e",
        calls,
        "-e",
        "signal=none",
        "-o",
        str(site / "syncs"),
    ]


def _counts(site: Path) -> Counter[str]:
    """How often each was done so far; nothing where nothing is counted."""
    found: Counter[str] = Counter()
    if (site / "syncs").exists():
        calls = (line.split(maxsplit=1)[-1].partition("(") for line in (site / "syncs").read_text().splitlines())
        found.update(call for call, is_begun, _ in calls if is_begun and call in _SYNCS)
    if (site / "counted").exists():
        told = _counted.read(site / "counted")
        found.update(
            {"statements": told.statements, "transactions that write": told.writing, "that read": told.reading}
        )
    return found


def _verify(site: Path, url: str, names: Sequence[str]) -> None:
    """All are in done/ with receipts, and were paid for once each: else AssertionError."""
    found = sorted(name for name in os.listdir(site / "done") if not name.startswith("."))
    assert found == sorted([*names, *(f"{name}.json" for name in names)]), "something else lies in done/"
    digests = {name: sha256((site / "done" / name).read_bytes()).hexdigest() for name in names}
    with urllib.request.urlopen(f"{url}/sandbox/ledger") as answer:
        ledger = json.load(answer)
    paid = {entry["sha256"]: entry["identifier"] for entry in ledger["entries"] if entry["charged"]}
    assert ledger["charged"] == len(ledger["entries"]) == len(names), "not each was sent once"
    assert paid.keys() == set(digests.values()), "something else was sent"
    for name in names:
        receipt = json.loads((site / "done" / f"{name}.json").read_bytes())
        assert receipt["identifier"] == paid[digests[name]], f"the receipt of {name} has another identifier"


def _visible(folder: Path) -> int:
    """How many files lie there, but for hidden ones, which are marks and what is being written."""
    return sum(not name.startswith(".") for name in os.listdir(folder))


def _cpu(pid: int) -> float:
    """What this process and all below it have used, those that have ended included."""
    program = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:4]) for process in (program, *program.children(recursive=True)))


def end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    if process.stdout is None:
        return
    process.stdout.close()
