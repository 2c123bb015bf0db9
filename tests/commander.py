"""Carries out `watcher` commands, each in a process of its own, forked from this one, which has all modules.

Starting Python for each takes ten times as long, and changes nothing that a kill could leave. In: a line of JSON
for each command, with its arguments, the files for what it says, and orders for the tracer where it is to be
followed. Out: a line with its exit code. One is carried out after the other; but one that is told where to leave
its exit code is only begun, and its process's number is the line.
"""

import gc
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.crash import tracer
from watcher import cli
from watcher.clock import SystemClock

_PATIENCE_SECONDS = 120.0
_CLOCK = SystemClock()
_NEVER = threading.Event()


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
        self._order({"arguments": arguments, "out": str(out), "err": str(err), "followed": orders})
        until = _CLOCK.monotonic() + _PATIENCE_SECONDS
        while not select.select([self._out], [], [], 0.05)[0]:
            if _CLOCK.monotonic() > until:
                self.close()
                said = err.read_text(errors="backslashreplace") if err.exists() else ""
                raise AssertionError(f"{arguments} did not end:\n{said}")
            meanwhile()
        return int(self._out.readline())

    def begin(
        self,
        arguments: Sequence[str],
        out: Path,
        err: Path,
        environment: Mapping[str, str],
        folder: Path,
        bounds: Mapping[str, float],
    ) -> "Begun":
        """The command is under way, in this folder, with this environment and these bounds of the product's."""
        ended = out.with_suffix(".ended")
        for file in (out, err):
            file.write_bytes(b"")
        files = {"out": str(out), "err": str(err), "ended": str(ended), "folder": str(folder)}
        more = {"environment": dict(environment), "bounds": dict(bounds), "followed": None}
        self._order({"arguments": arguments, **more, **files})
        return Begun(int(self._out.readline()), arguments, ended)

    def _order(self, order: Mapping[str, Any]) -> None:
        self._in.write(json.dumps(order).encode() + b"\n")
        self._in.flush()

    def close(self) -> None:
        """It and whatever it carries out are over."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._in.close()
        self._out.close()


class Begun:
    """A command that was begun, as subprocess.Popen has it. Its parent, another process, tells how it ended."""

    def __init__(self, pid: int, arguments: Sequence[str], ended: Path) -> None:
        self.pid = pid
        self.returncode: int | Any = None  # as Popen has it: who asks has waited
        self._arguments = arguments
        self._ended = ended

    def poll(self) -> int | None:
        """Its exit code, if it has ended; of one that a signal ended, the signal's number below zero."""
        if self.returncode is None and self._ended.exists():
            self.returncode = int(self._ended.read_text())
        return self.returncode

    def wait(self, timeout: float = _PATIENCE_SECONDS) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        until = _CLOCK.monotonic() + timeout
        while (code := self.poll()) is None:
            if _CLOCK.monotonic() > until:
                raise subprocess.TimeoutExpired(list(self._arguments), timeout)
            _CLOCK.wait(0.005, _NEVER)
        return code

    def send_signal(self, number: int) -> None:
        """It has got this signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """It is about to end, whatever it does."""
        self.send_signal(signal.SIGKILL)


def main() -> None:
    """Every command that came in was carried out."""
    for module in pkgutil.walk_packages(cli.__path__, "watcher.cli."):
        import_module(module.name)
    gc.freeze()  # whoever is forked need not look through it all when he ends
    parents: list[int] = []
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            if "ended" in order:
                _begin(order)
            sys.exit(_carry_out(order))
        if "ended" in order:
            parents = [parent for parent in parents if os.waitpid(parent, os.WNOHANG)[0] == 0] + [pid]
            continue
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _begin(order: dict[str, Any]) -> None:
    """Returns in a child of this process, to carry the order out. This one tells how it ended, and ends, too."""
    if (pid := os.fork()) == 0:
        os.environ.clear()
        os.environ.update(order["environment"])
        time.tzset()
        os.chdir(order["folder"])
        for name, value in order["bounds"].items():
            module, _, bound = name.rpartition(".")
            assert hasattr(import_module(module), bound), name
            setattr(import_module(module), bound, value)
        return
    os.write(1, b"%d\n" % pid)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)  # else who reads what they are would wait for it, too
    _, status = os.waitpid(pid, 0)
    with open(f"{order['ended']}.new", "w") as file:
        file.write(f"{os.waitstatus_to_exitcode(status)}")
    os.replace(f"{order['ended']}.new", order["ended"])
    os._exit(0)


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
