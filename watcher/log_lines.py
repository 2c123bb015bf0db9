"""What a line of the log looks like. `logs` imports this with the first line, since structlog takes a while."""

import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, Protocol

import structlog
from structlog.contextvars import merge_contextvars
from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from watcher.console_lines import LineRenderer, terminal_width
from watcher.privacy import HIDDEN, Veil
from watcher.redaction import REDACTED, SHORTEST_SECRET, Redactor
from watcher.text import show_path

_HEADER = re.compile(r"""(x-api-key\b["']?\s*[:=,]\s*b?["']?)[^\s"',;\\]+""", re.IGNORECASE)
_DEPTH = 8
_KEPT_TEXTS, _SHORT = 512, 40  # names of fields and events, which each line has again
_IN_RED = frozenset({"verdict.artificial"})
_FIRST = ("timestamp", "level", "logger", "event")


class Secret(Protocol):
    """A text that must never be shown, such as the API key."""

    def reveal(self) -> str:
        """Return the text itself."""


def logger_named(name: str) -> FilteringBoundLogger:
    """Return structlog's logger of this name."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def make_formatter(
    *, in_lines: bool, is_terminal: bool, secrets: Sequence[Secret], veil: Veil | None
) -> logging.Formatter:
    """Return what makes an event one line: in the console format or as JSON, and without the secrets."""
    colours = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    lines = LineRenderer(colours=colours, width=terminal_width if is_terminal else None, alarming=_IN_RED)
    renderer = lines if in_lines else JSONRenderer()
    return ProcessorFormatter(
        processors=[
            merge_contextvars,
            add_logger_name,
            add_log_level,
            TimeStamper(fmt="iso", utc=True),
            ProcessorFormatter.remove_processors_meta,
            format_exc_info,
            _Cleaner(secrets, veil),
            renderer,
        ]
    )


class _Cleaner:
    """Makes an event plain and safe: no secret, no bytes, no object whose text was not checked."""

    def __init__(self, secrets: Sequence[Secret], veil: Veil | None = None) -> None:
        self._veil = veil
        texts = [secret.reveal() for secret in secrets]
        self._secrets = [text for text in texts if len(text) >= SHORTEST_SECRET]
        self._redactor = Redactor("")
        for text in self._secrets:
            self._redactor = Redactor(text, self._redactor)
        self._cleaned_short = lru_cache(_KEPT_TEXTS)(self._cleaned)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        ordered = {name: event[name] for name in _FIRST if name in event} | dict(event)
        if self._veil is not None:
            ordered = _without_names(ordered, self._veil)
        return {self._text(name): self._value(name, value, 0) for name, value in ordered.items()}

    def _value(self, name: object, value: object, depth: int) -> Any:
        if isinstance(name, str) and name.lower().replace("_", "-") == "x-api-key":
            return REDACTED
        if depth < _DEPTH and isinstance(value, Mapping):
            return {self._text(key): self._value(key, inner, depth + 1) for key, inner in value.items()}
        if depth < _DEPTH and isinstance(value, list | tuple | set | frozenset):
            return [self._value(None, inner, depth + 1) for inner in value]
        is_plain = value is None or type(value) in (bool, int) or (type(value) is float and math.isfinite(value))
        return value if is_plain else self._text(value)

    def _text(self, value: object) -> str:
        text = _as_text(value)
        return self._cleaned_short(text) if len(text) < _SHORT else self._cleaned(text)

    def _cleaned(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return _HEADER.sub(rf"\g<1>{REDACTED}", self._redactor.clean(text))


def _without_names(event: dict[str, Any], veil: Veil) -> dict[str, Any]:
    """Return the event without any name: a path becomes the id of its item, where that is known."""
    paths = list(_paths_in(event))
    item = event.get("item")
    instead = item if isinstance(item, str) else HIDDEN

    def hidden(name: object, value: object) -> object:
        if isinstance(value, bytes | bytearray):
            return veil.hide_path(bytes(value), instead)
        if isinstance(value, Mapping):
            return {key: hidden(key, inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [hidden(None, inner) for inner in value]
        if value is None or isinstance(value, bool | int | float | Enum) or name in _FIRST:
            return value
        if name == "exception":
            return veil.hide_in_trace(_as_text(value), paths)
        return veil.hide_in(_as_text(value), paths, instead)

    return {name: hidden(name, value) for name, value in event.items()}


def _paths_in(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes | bytearray):
        yield bytes(value)
    elif isinstance(value, Mapping):
        yield from (path for inner in value.values() for path in _paths_in(inner))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (path for inner in value for path in _paths_in(inner))


def _as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return show_path(bytes(value))
    if isinstance(value, Enum):
        value = value.value
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a value that cannot be logged must not stop the code that logs it
        return f"<{type(value).__name__} that cannot be shown>"


def route(level: int) -> None:
    """Route our loggers through the standard library's, so that our lines and the libraries' share one output."""
    structlog.configure(
        processors=[ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=logging.getLogger,
        cache_logger_on_first_use=False,
    )
