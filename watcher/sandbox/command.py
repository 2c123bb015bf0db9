"""The sandbox in the foreground, until a signal ends it."""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from watcher.errors import ConfigError, Exit
from watcher.sandbox.server import READS, WRITES, Sandbox

PORT = 8472
"""Where `watcher sandbox` listens unless told otherwise."""


def serve(  # noqa: PLR0913 — the flags of one command
    *,
    port: int = PORT,
    key: str = "sandbox",
    host: str = "127.0.0.1",
    writes: Sequence[str] = WRITES,
    reads: Sequence[str] = READS,
    latency_seconds: float = 0.0,
    verdict_after_seconds: float = 1.0,
    credit: int | None = None,
    output: TextIO | None = None,
) -> Exit:
    """Run the sandbox until SIGINT or SIGTERM. Call it from the main thread.

    Where it listens is printed first, to `output`, else to stdout. Raises ConfigError where it cannot listen
    or a limit is malformed.
    """
    output = output or sys.stdout
    try:
        sandbox = Sandbox(
            key,
            host=host,
            port=port,
            writes=writes,
            reads=reads,
            latency_seconds=latency_seconds,
            verdict_after_seconds=verdict_after_seconds,
            credit=credit,
        )
        with _stop_on_signals() as stop, sandbox:
            output.write(_describe(sandbox.url, key))
            output.flush()
            stop.wait()
            output.write(f"Stopped. {sandbox.charged} submissions would have been charged.\n")
            output.flush()
    except OSError as error:
        raise ConfigError(
            f"The sandbox cannot listen on {host} port {port}: {error.strerror or error}.",
            hint="Choose another port, or 0 for any free one.",
        ) from error
    except ValueError as error:
        raise ConfigError(f"The sandbox cannot run: {error}.") from error
    return Exit.WELL


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """In the block, SIGINT and SIGTERM set the event and do nothing else."""
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe(url: str, key: str) -> str:
    return f"""\
The sandbox stands in for the identifAI audio service at {url}
Use it with  identifai.base_url = "{url}"  and  IDENTIFAI_API_KEY={key}
  what it would have charged:  curl {url}/sandbox/ledger
  switch a fault on:           curl -d '{{"kind": "status", "status": 503, "times": 3}}' {url}/sandbox/faults
  see them, or clear them:     curl {url}/sandbox/faults, or with -X DELETE
Its verdicts are invented. Ctrl-C stops it.
"""
