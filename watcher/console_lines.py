"""The lines of the log on a console: what happened and when, in as many columns as there are."""

import os
import shutil
import textwrap
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from watcher.text import local_time, seconds_of, show_text

_INDENT = 9  # as wide as the time
_NARROWEST = 40
_CLEAR = "\r\x1b[K"  # a progress bar may stand on the line
_SAID = ("timestamp", "level", "logger", "event", "exception")
_FIRST = ("path", "item")
_RED, _YELLOW, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
_LEVELS = {"warning": _YELLOW, "error": _RED, "critical": _RED}


class LineRenderer:
    """Renders an event that is clean already. `width`: of the terminal; None where there is none.

    `alarming`: the events that stand out, though they are no warnings.
    """

    def __init__(
        self, *, colours: bool, width: Callable[[], int] | None = None, alarming: frozenset[str] = frozenset()
    ) -> None:
        self._colours = colours
        self._width = width
        self._alarming = alarming

    def __call__(self, _logger: object, _method: str, event: Any) -> str:
        level, name = str(event.get("level", "")), show_text(str(event.get("event", "")))
        said = f"{level}: {name}" if level in _LEVELS else name
        values = " ".join(f"{show_text(str(key))}={_shown(value)}" for key, value in _values(event))
        lines = self._fit(f"{said}  {values}".rstrip())
        lines[0] = f"{_time(event):<{_INDENT}}{self._coloured(lines[0], said, name, level)}"
        if exception := event.get("exception"):
            lines += ["    " + show_text(line) for line in str(exception).splitlines()]
        return self._over_bar("\n".join(lines))

    def _fit(self, text: str) -> list[str]:
        if self._width is None:
            return [text]
        room = max(self._width(), _NARROWEST) - _INDENT
        lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        # A word that is too long by itself begins a line, so that its beginning and end can be told.
        first, *others = (line[at : at + room] for line in lines for at in range(0, max(len(line), 1), room))
        return [first, *(" " * _INDENT + other for other in others)]

    def _coloured(self, line: str, said: str, name: str, level: str) -> str:
        if not self._colours or not line.startswith(said):
            return line
        if name in self._alarming:
            return f"{_RED}{said}{_PLAIN}{line[len(said) :]}"
        return f"{_LEVELS.get(level, _BOLD)}{said}{_PLAIN}{line[len(said) :]}"

    def _over_bar(self, text: str) -> str:
        """On a terminal the line takes the place of what stands there without an end: of a progress bar."""
        if self._width is None:
            return text
        if self._colours:
            return _CLEAR + text
        first, *others = text.split("\n")
        return "\n".join(["\r" + first.ljust(self._width() - 1), *others])


def _time(event: Any) -> str:
    """The time of day, here."""
    said = str(event.get("timestamp", ""))
    with suppress(ValueError):
        return local_time(seconds_of(said) or 0.0)[11:]
    return said


def _values(event: Any) -> list[tuple[object, object]]:
    """What was said besides, what it is about first. What is not known is left out."""
    names = [*(name for name in _FIRST if name in event), *(name for name in event if name not in _FIRST)]
    return [(name, event[name]) for name in names if name not in _SAID and event[name] is not None]


def _shown(value: object) -> str:
    text = show_text(str(value))
    return f"'{text}'" if " " in text or not text else text


def terminal_width() -> int:
    """Return how wide the terminal of standard error is."""
    with suppress(ValueError):
        if columns := int(os.environ.get("COLUMNS", "0")):
            return columns
    with suppress(OSError):
        return os.get_terminal_size(2).columns or 80
    return shutil.get_terminal_size().columns
