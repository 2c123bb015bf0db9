"""The watcher as a program of its own: started, listened to, and ended whatever the test does."""

import atexit
import functools
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from tests.commander import Begun, Commander
from tests.people import PROJECT
from tests.places import KEY, Place
from watcher.clock import SystemClock
from watcher.sandbox import LedgerEntry, Sandbox
from watcher.text import JsonObject

Result = TypeVar("Result")

CLOCK = SystemClock()
PATIENCE_SECONDS = 120.0  # on a busy machine a start alone may take half a minute
_NEVER = threading.Event()

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "HOME": os.environ.get("HOME", "/"),
    "LANG": "C.UTF-8",
    "PYTHONPATH": str(PROJECT),
    "PYTHONWARNINGS": "error",
    "COLUMNS": "200",
}
"""What a program is given, and no key: nothing of whoever runs the tests leaks in."""


def wait_until(
    look: Callable[[], Result],
    what: str = "",
    *,
    seconds: float = PATIENCE_SECONDS,
    told: Callable[[], str] = lambda: "",
) -> Result:
    """What `look` returned as soon as that was true. Fails the test after `seconds`, with what is `told`."""
    until = CLOCK.monotonic() + seconds
    while not (found := look()):
        if CLOCK.monotonic() > until:
            raise AssertionError(f"not within {seconds:g} s: {what or look}\n{told()}")
        let_pass(0.02)
    return found


def let_pass(seconds: float) -> None:
    """For moments that nothing announces, such as a random one to kill a program at."""
    CLOCK.wait(seconds, _NEVER)


class Program:
    """`watcher` with these arguments, under way. What it says is kept in files beside the place."""

    def __init__(
        self,
        folder: Path,
        arguments: tuple[str, ...],
        *,
        executable: str = sys.executable,
        environment: dict[str, str] | None = None,
        anew: bool = False,
        bounds: Mapping[str, float] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        """`options` are subprocess's, as Person.spawning gives them. `anew`: by a start of Python of its own.

        Without it, and where neither the interpreter nor its own settings are others, it is forked from one that
        has started: that takes a tenth of the time. Then, `bounds` are other values for the product's constants,
        such as `watcher.module._SECONDS`: for a test that need not wait for the whole of them.
        """
        number = len(list(folder.glob("*.err")))
        self.arguments = arguments
        self._out, self._err = folder / f"{number}.out", folder / f"{number}.err"
        self.process: subprocess.Popen[bytes] | Begun
        environment = ENVIRONMENT | {"IDENTIFAI_API_KEY": KEY} if environment is None else environment
        if not (anew or options) and executable == sys.executable and _as_python_starts(environment):
            self.process = _commander().begin(arguments, self._out, self._err, environment, folder, bounds)
            return
        assert not bounds, "they can be given to a fork alone"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [executable, "-m", "watcher", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                **{"cwd": folder, **options},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        """Its standard output until now."""
        return self._out.read_text(errors="backslashreplace")

    @property
    def err(self) -> str:
        """Its standard error until now."""
        return self._err.read_text(errors="backslashreplace")

    @property
    def log(self) -> list[JsonObject]:
        """Its log until now. Fails the test when standard error holds anything else but what a pass left."""
        lines = self._err.read_bytes().rpartition(b"\n")[0].splitlines()
        lines = [line for line in lines if not line.startswith(b"left: ")]
        assert all(line.startswith(b'{"timestamp": ') for line in lines), self.err
        return [json.loads(line) for line in lines]

    def events(self, name: str) -> list[JsonObject]:
        """The log lines of this event."""
        return [line for line in self.log if line["event"] == name]

    def wait_for(self, event: str, count: int = 1) -> list[JsonObject]:
        """Its log has so many lines of this event."""

        def look() -> list[JsonObject]:
            if self.process.poll() is not None and len(self.events(event)) < count:
                raise AssertionError(f"it ended ({self.process.returncode}) before {event}:\n{self.err}")
            return found if len(found := self.events(event)) >= count else []

        return wait_until(look, f"{event} {count} times", told=lambda: self.err)

    def end(self, number: signal.Signals | None = None, *, seconds: float = PATIENCE_SECONDS) -> int:
        """It has ended, after this signal if one is given. Its exit code."""
        if number is not None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.arguments} did not end within {seconds:g} s:\n{self.err}") from None

    def stop(self) -> int:
        """It has ended as systemd or a person would have it. Its exit code."""
        return self.end(signal.SIGTERM)

    def kill(self) -> None:
        """It was killed in the middle of whatever it did."""
        self.end(signal.SIGKILL)


def _as_python_starts(environment: dict[str, str]) -> bool:
    """Whether what Python asks of this environment when it starts is as in ENVIRONMENT."""
    names = [name for name in {*environment, *ENVIRONMENT} if name.startswith(("PYTHON", "LANG", "LC_"))]
    return all(environment.get(name) == ENVIRONMENT.get(name) for name in names)


@functools.cache
def _commander() -> Commander:
    made = Commander(ENVIRONMENT)
    atexit.register(made.close)
    return made


class Programs:
    """Starts programs for one test, and ends those that still run after it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._started: list[Program] = []
        self._asked = 0

    def start(self, *arguments: str | Path, **options: Any) -> Program:
        """The command is under way."""
        program = Program(self._folder, tuple(map(str, arguments)), **options)
        self._started.append(program)
        return program

    def daemon(self, place: Place, **options: Any) -> Program:
        """`watcher run` is at work on this place."""
        program = self.start("run", "--config", place.config_path, **options)
        program.wait_for("daemon.started")
        return program

    def call(self, *arguments: str | Path, seconds: float = PATIENCE_SECONDS, **options: Any) -> Program:
        """The command was carried out, and has ended."""
        program = self.start(*arguments, **options)
        program.end(seconds=seconds)
        return program

    def ask(self, place: Place, command: str, *arguments: str | Path) -> str:
        """What the command, which must succeed, says on standard output. It is given no key.

        It is a process of its own, but no start of Python of its own: that takes ten times as long.
        """
        self._asked += 1
        out, err = self._folder / f"asked-{self._asked}", self._folder / f"answered-{self._asked}"
        words = [command, "--config", str(place.config_path), *map(str, arguments)]
        code = _commander().call(words, out, err)
        said, complained = (file.read_text(errors="backslashreplace") for file in (out, err))
        assert code == 0, complained
        assert complained == ""
        return said

    def ask_json(self, place: Place, command: str, *arguments: str | Path) -> list[JsonObject]:
        """The JSON objects, one a line, that the command prints."""
        return [json.loads(line) for line in self.ask(place, command, "--json", *arguments).split("\n")[:-1]]

    def close(self) -> None:
        """None runs any more."""
        for program in self._started:
            if program.process.poll() is None:
                program.process.kill()
                program.process.wait()


def on_terminal(*arguments: str, **environment: str) -> tuple[int, str]:
    """The command's exit code, and what it said on a terminal of its own, with this added to its environment."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "watcher", *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env=ENVIRONMENT | {"IDENTIFAI_API_KEY": KEY, "TERM": "xterm", "COLUMNS": "160"} | environment,
    )
    os.close(its)
    said = b""
    try:
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side is closed: it has ended
                break
            if not part:
                break
            said += part
        return process.wait(PATIENCE_SECONDS), said.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def holders(pid: int) -> Iterator[bytes]:
    """Everything that any user can see of a process: its name and its arguments."""
    for name in ("cmdline", "comm"):
        with suppress(FileNotFoundError):
            yield Path(f"/proc/{pid}/{name}").read_bytes()


def posts(service: Sandbox) -> list[LedgerEntry]:
    """The submissions that reached the service, whole or not."""
    return [entry for entry in service.ledger if entry.method == "POST"]


def waiting(place: Place) -> dict[str, str]:
    """The published files that are no items yet, and why not, in a word."""
    with place.books() as books:
        return {os.fsdecode(file.path): file.code for file in books.waiting.listed()}


def last_scan_at(place: Place) -> float | None:
    """When the drop folder was last looked through."""
    with place.books() as books:
        at: float | None = books.site.get("last_scan_at")
        return at


def spoil(site: Place, change: str) -> None:
    """Whoever changes the database in this way meets an error; whoever reads it does not."""
    trigger = f"CREATE TRIGGER spoilt BEFORE {change} BEGIN SELECT abs(-9223372036854775808); END"
    with closing(sqlite3.connect(site.config.books, timeout=30)) as connection:
        connection.execute(trigger)


def mend(site: Place) -> None:
    with closing(sqlite3.connect(site.config.books, timeout=30)) as connection:
        connection.execute("DROP TRIGGER spoilt")


_DRIVER = """
import sys
from watcher.cli import main
commands = [[]]
for word in sys.argv[1:]:
    commands[-1:] = [commands[-1], []] if word == ";" else [[*commands[-1], word]]
for command in commands:
    try:
        code = main(command)
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stdout.buffer.write(b"%%%d\\n" % code)
    sys.stdout.flush()
"""

_MANGLED = ("Traceback", "UnicodeEncode", "UnicodeDecode", "codec can't", "surrogate")


def run_all(
    place: Place,
    *commands: tuple[str | bytes | Path, ...],
    environment: dict[str, str],
    executable: str = sys.executable,
    **options: Any,
) -> list[tuple[int, str]]:
    """How each command ended and what it printed, one after the other in one program, to save its start.

    Fails the test when anything that was said ends in the interpreter's own words about characters.
    """
    words: list[bytes] = []
    for command, *rest in commands:
        words += [*map(os.fsencode, [";", command, "--config", place.config_path, *rest])]
    done = subprocess.run(
        [executable, "-c", _DRIVER, *words[1:]],
        check=False,
        capture_output=True,
        env=environment,
        cwd="/",
        **options,
    )
    out = done.stdout.decode(errors="surrogateescape")
    said = out + done.stderr.decode(errors="surrogateescape")
    assert done.returncode == 0, said
    assert not [mangled for mangled in _MANGLED if mangled in said], said
    *parts, last = out.split("%")
    codes = [last] if not parts else [part.partition("\n")[0] for part in [*parts[1:], last]]
    outs = [parts[0], *(part.partition("\n")[2] for part in parts[1:])]
    assert len(codes) == len(commands), said
    return [(int(code), out) for code, out in zip(codes, outs, strict=True)]
