"""The log: one line per event, on standard error, never with the API key in it.

Importing this module is enough to keep log lines off standard output, where commands print their data. Nothing is
shown until `configure` is called.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from watcher.outlet import Outlet
from watcher.privacy import Veil

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger as Logger

    from watcher.log_lines import Secret

_PROGRAM = "watcher"


def get_logger(name: str) -> "Logger":
    """Return the logger for this module; it follows `configure`, whether that is called before or after."""
    return cast("Logger", _Logger(name))


def load() -> None:
    """Import what makes the lines, which otherwise happens at the first line."""
    _lines()


class _Logger:
    """A logger whose lines are made by structlog, which is imported when one is first used.

    A command that only reads logs nothing, and is to answer at once.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(_lines().logger_named(self._name), name)


class _Formatter(logging.Formatter):
    """The formatter of `log_lines`, made at the first line."""

    def __init__(self, make: Callable[[], logging.Formatter]) -> None:
        super().__init__()
        self._made = cache(make)

    def format(self, record: logging.LogRecord) -> str:
        return self._made().format(record)


_level = logging.WARNING


@cache
def _lines() -> ModuleType:
    from watcher import log_lines  # noqa: PLC0415 — see _Logger

    log_lines.route(_level)
    return log_lines


def _route(level: int) -> None:
    """Log our events from this level up."""
    global _level  # noqa: PLW0603  there is one log
    _level = level
    if _lines.cache_info().currsize:
        _lines().route(level)


def configure(
    format: Literal["auto", "console", "json"],  # noqa: A002  the key's name in the configuration
    level: Literal["debug", "info", "warning", "error"],
    secret: "Secret | None",
    stream: TextIO | None = None,
    *,
    veil: Veil | None = None,
) -> None:
    """Send every log line from now on to `stream` (None: standard error), in one format and without the secret.

    `veil`: hides names of recordings; None shows them.

    A secret of fewer than SHORTEST_SECRET characters is only redacted where a field names it as one.

    Libraries are logged from WARNING up, as are Python's warnings and uncaught exceptions of the program or a
    thread. "auto" means the console format on a terminal, else JSON. A second call replaces the first.
    """
    handler = _LastingHandler(sys.stderr if stream is None else stream)
    _set(handler, format, level, [secret] if secret else [], veil)
    root = logging.getLogger()
    for old in [known for known in root.handlers if isinstance(known, _LastingHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    logging.captureWarnings(capture=True)
    _log_crashes()


def adjust(
    format: Literal["auto", "console", "json"],  # noqa: A002
    level: Literal["debug", "info", "warning", "error"],
    secrets: "Sequence[Secret]",
    veil: Veil | None = None,
) -> None:
    """Change format, level and secrets of what `configure` has set up; none of these secrets is shown."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _LastingHandler):
            _set(handler, format, level, secrets, veil)


def _set(
    handler: "_LastingHandler", form: str, level: str, secrets: "Sequence[Secret]", veil: Veil | None
) -> None:
    terminal = handler.stream.isatty()
    in_lines = form == "console" or (form == "auto" and terminal)
    make = partial(_make_formatter, in_lines=in_lines, is_terminal=terminal, secrets=secrets, veil=veil)
    handler.setFormatter(_Formatter(make))
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(max(number, logging.WARNING))
    logging.getLogger(_PROGRAM).setLevel(number)
    _route(number)


def _make_formatter(**how: Any) -> logging.Formatter:
    made: logging.Formatter = _lines().make_formatter(**how)
    return made


def hear_errors_alone(library: str) -> None:
    """Suppress the library's warnings: log only its errors."""
    logging.getLogger(library).setLevel(logging.ERROR)


@contextmanager
def libraries_unheard() -> Iterator[None]:
    """Log nothing that a library says in this thread during the block."""
    thread = threading.get_ident()
    _unheard.add(thread)
    try:
        yield
    finally:
        _unheard.discard(thread)


_unheard: set[int] = set()


def close() -> None:
    """Write out what was logged so far, as far as possible; for a process that ends by os._exit."""
    logging.shutdown()


class _LastingHandler(logging.StreamHandler[Outlet]):
    """Logs through an outlet, which never blocks."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(Outlet(stream, self._describe_loss))

    def filter(self, record: logging.LogRecord) -> bool:
        is_ours = record.name.partition(".")[0] == _PROGRAM
        return (is_ours or record.thread not in _unheard) and super().filter(record)

    def close(self) -> None:
        super().close()
        self.stream.close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Report nothing: the only place to report to is the one that failed."""

    def _describe_loss(self, lines: int) -> str:
        said = {"event": "log.dropped", "lines": lines, "reason": "nobody read them in time, or the disk was full"}
        record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, "", None, None)
        record.__dict__ |= {"msg": said, "_logger": None, "_name": "error"}  # as structlog's own are
        return self.format(record) + self.terminator


def _log_crashes() -> None:
    """Log uncaught exceptions: the interpreter's own report would have neither our format nor our redaction."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _program_crashed
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_crashed


def _program_crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        get_logger(_PROGRAM).critical("program.crashed", exc_info=error)


def _thread_crashed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else ""
        get_logger(_PROGRAM).critical("thread.crashed", thread=name, exc_info=args.exc_value)


logging.getLogger(_PROGRAM).addHandler(logging.NullHandler())
