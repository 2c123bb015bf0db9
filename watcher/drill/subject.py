"""The program that a drill kills: `watcher run` in a process of its own, as anybody starts it."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event

import watcher
from watcher.clock import Clock
from watcher.drill.ground import Ground
from watcher.errors import WatcherError
from watcher.key import KEY_VARIABLE
from watcher.text import from_json, show_text

_LINES_TOLD = 5
_TOLD = ("event", "reason", "message", "error")  # of a line of the log
_TICK_SECONDS = 0.02

# Whatever ends the drill, the kernel ends the program with it: it would go on in folders that nobody looks after.
_TIED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.executable, [sys.executable, "-P", "-m", "watcher", *sys.argv[2:]])
"""
_LEFT_OUT = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY", "WATCHER_CONFIG")


class Subject:
    """Starts the program at the drill's ground, one process at a time, and ends it."""

    def __init__(self, ground: Ground, key: str, clock: Clock, ended: Event) -> None:
        self._ground = ground
        self._clock = clock
        self._ended = ended
        package = str(Path(watcher.__file__).parent.parent)
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environment = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
        self._environment |= {KEY_VARIABLE: key, "PYTHONPATH": os.pathsep.join(paths)}
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0

    def start(self, command: str, *options: str) -> None:
        """The program is under way with this command. Raises WatcherError where it cannot be started."""
        given = [command, "--config", str(self._ground.config_path), *options]
        tied = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *given]
        try:
            with self._ground.log.open("ab") as log:
                self._said_before = log.tell()
                self._process = subprocess.Popen(  # noqa: S603 — our own interpreter, no shell
                    tied,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,  # a Ctrl-C is for the drill
                )
        except OSError as error:
            raise WatcherError(
                f"the program cannot be started for a drill: {error.strerror}",
                hint="Run the drill as a user who can run `watcher run`.",
            ) from error

    def said(self) -> str:
        """Return what it has said since its start."""
        try:
            with self._ground.log.open("rb") as log:
                log.seek(self._said_before)
                return log.read().decode(errors="backslashreplace")
        except OSError:
            return ""

    def is_at_work(self) -> bool:
        """Return whether the daemon has said that it has started."""
        return '"daemon.started"' in self.said()

    def wait(self, seconds: float) -> int | None:
        """Return its exit code once it has ended, None after so many seconds. KeyboardInterrupt."""
        until = self._clock.monotonic() + seconds
        while True:
            check_told(self._ended)
            if self._process is None:
                return None
            if (code := self._process.poll()) is not None:
                return code
            if (left := until - self._clock.monotonic()) <= 0:
                return None
            self._clock.wait(min(left, _TICK_SECONDS), self._ended)

    def check_runs(self) -> None:
        """Raises WatcherError if it has ended by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise self.told_by(code)

    def hangs(self, seconds: float) -> WatcherError:
        """Return the error for a program that does nothing that can be seen."""
        return WatcherError(
            f"nothing has happened for {seconds:g} s, so nothing is proven; the program said:\n{self._told()}",
            hint="The disk or share may be full, or hang: see `watcher check` and dmesg, and run the drill again.",
        )

    def told_by(self, code: int) -> WatcherError:
        """Return the error for a program that ended with this code though nobody had ended it."""
        return WatcherError(
            f"the program ended by itself with {code}, so nothing is proven; it said:\n{self._told()}",
            hint="Mend that (`watcher check` may say more), and run the drill again.",
        )

    def _told(self) -> str:
        lines = [_plain(line) for line in self.said().splitlines() if line.strip()]
        return "\n".join(lines[-_LINES_TOLD:])

    def kill(self) -> None:
        """It is dead: killed in the middle of whatever it did."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None


def check_told(ended: Event) -> None:
    """Raises KeyboardInterrupt once a signal has told the drill to end."""
    if ended.is_set():
        raise KeyboardInterrupt


def _plain(line: str) -> str:
    """Return the line for a person: of one of the log what happened and why."""
    told = from_json(line.encode())
    if told is None or "event" not in told:
        return show_text(line)
    return show_text(": ".join(str(told[name]) for name in _TOLD if name in told))
