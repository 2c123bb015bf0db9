"""Carries out `watcher` commands, each in a process of its own, forked from this one, which has all modules.

Starting Python for each takes ten times as long, and changes nothing that a kill could leave. In: a line of JSON
for each command, with its arguments, the files for what it says, and orders for the tracer where it is to be
followed. Out: a line with its exit code. One is carried out after the other.
"""

import gc
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.crash import tracer
from watcher import cli
from watcher.clock import SystemClock

_PATIENCE_SECONDS = 120.0
_CLOCK = SystemClock()


class Commander:
    """Such a process, which has this environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.commander"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout

    def call(
        self,
        arguments: Sequence[str],
        out: Path,
        err: Path,
        followed: tracer.Orders | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int:
        """The command has ended. Its exit code; 128 and more: the signal that ended what was followed."""
        orders = asdict(followed) if followed else None
        order = {"arguments": arguments, "out": str(out), "err": str(err), "followed": orders}
        self._in.write(json.dumps(order).encode() + b"\n")
        self._in.flush()
        until = _CLOCK.monotonic() + _PATIENCE_SECONDS
        while not select.select([self._out], [], [], 0.05)[0]:
            if _CLOCK.monotonic() > until:
                self.close()
                said = err.read_text(errors="backslashreplace") if err.exists() else ""
                raise AssertionError(f"{arguments} did not end:\n{said}")
            meanwhile()
        return int(self._out.readline())

    def close(self) -> None:
        """It and whatever it carries out are over."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._in.close()
        self._out.close()


def main() -> None:
    """Every command that came in was carried out."""
    for module in pkgutil.walk_packages(cli.__path__, "watcher.cli."):
        import_module(module.name)
    gc.freeze()  # whoever is forked need not look through it all when he ends
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            sys.exit(_carry_out(json.loads(line)))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _carry_out(order: dict[str, Any]) -> int:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # the orders are not for the command
    os.close(nothing)
    for name, number in (("out", 1), ("err", 2)):
        opened = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    if order["followed"] is None:
        return cli.main(order["arguments"])
    orders = tracer.Orders(**order["followed"])
    return tracer.follow(lambda: cli.main(order["arguments"]), orders)


if __name__ == "__main__":
    main()
