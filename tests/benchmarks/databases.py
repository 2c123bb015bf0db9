"""The same recordings with the books in an SQLite file and on a PostgreSQL server, in turns, in one run.

The daemon runs with limits opened, in_flight 4, all durable; the server is Debian's with fsync on, at a socket of
this machine. Recordings a second are from the first one moved into the drop folder to the last one in done/ with
its receipt. Statements and transactions are of one recording from the drop folder to done/, nothing else to do:
each statement is a round trip, and so are the beginning and the end of a transaction.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, event

from tests.places import KEY, Place, speech
from tests.postgresql import Server, running_server
from tests.queues import add, drain
from watcher.sandbox import Sandbox
from watcher.store import compiled

_COUNT = int(os.environ.get("RECORDINGS", "200"))
_RUNS = 3
_COUNTED = 10


def main() -> None:
    with running_server() as server, Sandbox(KEY, writes=(), reads=()) as service:
        server.stop()
        server.start(fsync="on")
        kinds: dict[str, Callable[[], str | None]] = {
            "SQLite": lambda: None,
            "PostgreSQL": lambda: server.url(server.database()),
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for run in range(_RUNS):
            for kind, url in kinds.items():
                with _place(service, url()) as place:
                    seconds[kind].append(_live(place, run))
        for kind, url in kinds.items():
            with _place(service, url()) as place:
                statements, transactions = _count(place)
            rate = _COUNT / statistics.median(seconds[kind])
            print(
                f"{kind:10}: {rate:6.1f} recordings a second (median of {_RUNS} runs of {_COUNT});"
                f" one takes {statements:.0f} statements in {transactions:.0f} transactions,"
                f" {statements + 2 * transactions:.0f} round trips",
                flush=True,
            )
        cost, sessions = _stand_by(server, service)
        print(f"an idle standby: {cost:.2f} % of a core, {sessions:.2f} transactions a second", flush=True)


@contextmanager
def _place(service: Sandbox, url: str | None) -> Iterator[Place]:
    settings: dict[str, dict[str, Any]] = {
        "limits": {"writes": [], "reads": [], "in_flight": 4},
        "verdicts": {"fetch": False},
    }
    if url is not None:
        settings["store"] = {"url": url, "lease_seconds": 5}
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
        yield Place(Path(folder), service.url, None, **settings)


@contextmanager
def _daemon(place: Place) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | {"IDENTIFAI_API_KEY": KEY}
    log = place.root / "log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "watcher", "run", "--config", str(place.config_path)]
        daemon = subprocess.Popen(command, env=environment, stderr=file)
    try:
        _await(
            lambda: any(word in log.read_text() for word in ("daemon.started", "node.standing_by")), daemon, log
        )
        time.sleep(1)
        yield daemon
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


def _await(condition: Any, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    while not condition():
        time.sleep(0.01)
        if daemon.poll() is not None:
            raise RuntimeError(log.read_text())


def _live(place: Place, run: int) -> float:
    aside = place.root / "aside"
    aside.mkdir()
    for n in range(_COUNT):
        (aside / f"{n:04}.wav").write_bytes(speech(f"{place.root} {run} {n}"))
    with _daemon(place) as daemon:
        began = time.monotonic()
        for path in sorted(aside.iterdir()):
            path.rename(place.root / "drop" / path.name)
        done = place.root / "done"
        _await(lambda: len(list(done.glob("*.wav*"))) == 2 * _COUNT, daemon, place.root / "log")
        return time.monotonic() - began


def _count(place: Place) -> tuple[float, float]:
    """Return the statements and the transactions of one recording, alone: the mean of some."""
    counted = {"statements": 0, "transactions": 0}
    run = compiled._run

    def count(name: str) -> Any:
        return lambda *_: counted.__setitem__(name, counted[name] + 1)

    def run_counted(*about: Any, **more: Any) -> Any:  # what is compiled once is not told to listeners
        counted["statements"] += 1
        return run(*about, **more)

    with place.opened() as journey:
        add(place, journey, "first")
        drain(journey)
        listeners = [("before_cursor_execute", count("statements")), ("begin", count("transactions"))]
        for name, listener in listeners:
            event.listen(Engine, name, listener)
        try:
            with patch.object(compiled, "_run", run_counted):
                for n in range(_COUNTED):
                    add(place, journey, f"{n}")
                    drain(journey)
        finally:
            for name, listener in listeners:
                event.remove(Engine, name, listener)
    return counted["statements"] / _COUNTED, counted["transactions"] / _COUNTED


def _stand_by(server: Server, service: Sandbox, seconds: float = 20.0) -> tuple[float, float]:
    """Return what a node costs that stands by and nothing happens: percent of a core, transactions a second."""
    url = server.url(server.database())
    with _place(service, url) as place, _daemon(place):
        holder = _transactions(server, url, seconds)
        place.config_name = "second.toml"
        spool = {"spool": str(place.root / "second" / "spool")}
        (place.root / "second").mkdir()
        place.configure(store={"url": url, "lease_seconds": 5}, audio=spool, verdicts={"fetch": False})
        with _daemon(place) as node:
            before = _cpu(node.pid)
            both = _transactions(server, url, seconds)
            return (_cpu(node.pid) - before) / seconds * 100, both - holder


def _transactions(server: Server, url: str, seconds: float) -> float:
    name = url.partition("?")[0].rpartition("/")[2]
    asked = f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{name}'"
    time.sleep(2)
    [[before]] = server.execute(asked)
    time.sleep(seconds)
    [[after]] = server.execute(asked)
    return (int(str(after)) - int(str(before))) / seconds


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
