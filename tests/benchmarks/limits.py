"""How much of the allowed rate is used, and whether anything is ever refused: ten minutes of backlog at a time.

The whole submitting side runs: threads, database, HTTP against the sandbox's throttle. Only the clock is quick: it
jumps to the next thing that anybody waits for whenever all threads have been quiet for some real milliseconds. So
a busy machine can only lengthen latencies, never shorten them.
"""

import contextlib
import heapq
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.places import Place, sandbox, speech
from tests.queues import posts, settle
from tests.windows import simulate
from watcher.composition import Journey
from watcher.once import run_once

_SPAN_SECONDS = 600.0
AIM = 0.97


class QuickClock:
    """A clock that jumps to the next moment somebody waits for, once nobody has looked at it for so long."""

    def __init__(self, quiet_seconds: float) -> None:
        self._quiet_seconds = quiet_seconds
        self._now = 1_700_000_000.0
        self._touched = time.monotonic()
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._order = count()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def now(self) -> float:
        with self._lock:
            self._touched = time.monotonic()
            return self._now

    monotonic = now

    def peek(self) -> float:
        """What the time is, without being noticed."""
        return self._now

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        passed = threading.Event()
        with self._lock:
            self._touched = time.monotonic()
            if seconds > 0:
                heapq.heappush(self._waiting, (self._now + seconds, next(self._order), passed))
            else:
                passed.set()
        while not passed.wait(0.02) and not wake.is_set():
            pass
        return wake.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.001):
            with self._lock:
                if self._waiting and time.monotonic() - self._touched > self._quiet_seconds:
                    self._now = max(self._now, self._waiting[0][0])
                    while self._waiting and self._waiting[0][0] <= self._now:
                        heapq.heappop(self._waiting)[2].set()
                    self._touched = time.monotonic()


@contextmanager
def _slow_line(url: str, clock: QuickClock, bytes_per_second: float) -> Iterator[str]:
    """A way to the service on which each upload travels at so many bytes a second. Its URL."""
    target = urlsplit(url)
    over = threading.Event()

    def carry(source: socket.socket, sink: socket.socket, pace: float) -> None:
        owed = 0.0
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                owed += len(piece) / pace if pace else 0.0
                if owed >= 0.5:
                    clock.wait(owed, over)
                    owed = 0.0
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((target.hostname, target.port))
                for ends in ((near, far, bytes_per_second), (far, near, 0.0)):
                    threading.Thread(target=carry, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 400_000)  # what is buffered has not travelled
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def _workers(journey: Journey) -> Iterator[threading.Event]:
    """Every submission runs in a thread of its own, as in the daemon. The event ends them."""
    stopping = journey.stopping
    clock = journey.site.clock

    def work(step: Callable[[], float]) -> None:
        while not stopping.is_set():
            wait = step()
            if wait > 0:
                clock.wait(min(wait, 1.0), stopping)

    threads = [threading.Thread(target=work, args=(each.step,)) for each in journey.submissions]
    for thread in threads:
        thread.start()
    try:
        yield stopping
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


@contextmanager
def _one_pass(journey: Journey) -> Iterator[threading.Event]:
    """`run --once` is at it. The event ends it."""
    thread = threading.Thread(target=run_once, args=(journey,))
    thread.start()
    try:
        yield journey.stopping
    finally:
        journey.stopping.set()
        thread.join()


def measure(
    limits: list[str],
    allowed: int,
    *,
    in_flight: int = 1,
    before: float = 0.0,
    after: float = 0.0,
    head_start: int = 0,
    rest: float = 0.0,
    span: float = _SPAN_SECONDS,
    bodies: tuple[int, float] | None = None,
    once: bool = False,
) -> tuple[int, int]:
    """How many were counted within the span, and how many refused.

    `before` and `after` are the latency on both sides of the service's count. A `head_start` of uploads and a
    `rest` make the backlog meet the windows in another phase. `bodies`: bytes, and seconds that each travels.
    `once`: by one pass, not by the daemon.
    """
    total = allowed + 40 + head_start
    with (
        tempfile.TemporaryDirectory(prefix="watcher-limits-") as folder,
        QuickClock(0.03 if bodies else 0.008) as clock,
        sandbox(clock, writes=limits, latency_seconds=after) as service,
        _slow_line(service.url, clock, bodies[0] / bodies[1]) if bodies else nullcontext(service.url) as url,
    ):
        if before:
            service.add_fault("slow_before", times=0, seconds=before)
        place = Place(
            Path(folder),
            url,
            clock,
            limits={"writes": limits, "in_flight": in_flight},
            arrivals={"proof": False},
        )
        padding = bytes(bodies[0]) if bodies else b""
        for n in range(total):
            place.drop(f"{n:04}.wav", speech(str(n), seconds=0.1) + padding)
        with place.opened() as journey:
            settle(journey)
            if head_start:
                for _ in range(head_start):
                    while journey.submissions[0].step() > 0:
                        clock.wait(0.1, journey.stopping)
                clock.wait(rest, journey.stopping)
            seen = len(posts(service))
            began = clock.now()
            with _one_pass(journey) if once else _workers(journey):
                while clock.peek() < began + span + 5 and len(posts(service)) < total:
                    time.sleep(0.05)
        entries = posts(service)[seen:]
    refused = sum(entry.status == 429 for entry in posts(service))
    first = min(entry.time for entry in entries)
    return sum(entry.time < first + span and entry.status == 200 for entry in entries), refused


def main() -> None:
    default = ["1/second", "30/minute"]
    _simulated(default)
    print("over HTTP, ten minutes of backlog:")
    for latency in (0.0, 0.3, 0.6, 1.0):
        for in_flight in (1, 4):
            _report(
                f"1/s, 30/min   latency {latency:.1f} s  in_flight {in_flight}",
                300,
                *measure(default, 300, in_flight=in_flight, before=latency / 2, after=latency / 2),
            )
    for head_start, rest in ((7, 12.3), (29, 31.7), (30, 59.0)):
        _report(
            f"1/s, 30/min   latency 0.5 s  {rest} s after {head_start} others",
            300,
            *measure(default, 300, before=0.2, after=0.3, head_start=head_start, rest=rest),
        )
    wide = ["5/second", "150/minute"]
    _report(
        "5/s, 150/min  latency 0.5 s  in_flight 5", 1500, *measure(wide, 1500, in_flight=5, before=0.2, after=0.3)
    )
    print("a wide rate and slow answers, a minute of backlog at 10/s:")
    for in_flight in (1, 4, 16):
        for once in (False, True):
            _report(
                f"10/s   latency 0.5 s  in_flight {in_flight}, {'run --once' if once else 'daemon'}",
                600,
                *measure(["10/second"], 600, in_flight=in_flight, before=0.2, after=0.3, span=60.0, once=once),
            )
    print("bodies of 6 MB that travel for 6 s, two minutes of backlog at 30/min:")
    for in_flight in (1, 4, 6):
        for once in (False, True):
            _report(
                f"in_flight {in_flight}, {'run --once' if once else 'daemon'}",
                60,
                *measure(default, 60, in_flight=in_flight, bodies=(6_000_000, 6.0), span=120.0, once=once),
            )


def _simulated(limits: list[str]) -> None:
    worst, refused, runs = 1.0, 0, 0
    for step in range(11):
        for share in (0.0, 0.5, 1.0):
            for in_flight in (1, 4):
                for rests in ({}, {7: 12.3}, {29: 31.7}, {30: 59.0}):
                    parts = (step / 10 * share, step / 10 * (1 - share))
                    run = simulate(limits, lambda _, p=parts: p, in_flight=in_flight, count=340, rests=rests)  # type: ignore[misc]
                    start = run.counted[max(rests, default=0)]
                    used = sum(start <= at < start + _SPAN_SECONDS for at in run.counted) / 300
                    worst, refused, runs = min(worst, used), refused + run.refused, runs + 1
    print(f"simulated, {runs} runs at latencies of 0 to 1 s: {worst:.1%} used at the least, {refused} refused")


def _report(words: str, allowed: int, used: int, refused: int) -> None:
    print(f"  {words:<52} {used:5} of {allowed}: {used / allowed:6.1%}, {refused} refused", flush=True)


if __name__ == "__main__":
    main()
