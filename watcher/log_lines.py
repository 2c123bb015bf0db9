"""What a line of the log looks like. `logs` imports this with the first line, since structlog takes a while."""

import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Protocol

import structlog
from structlog.contextvars import merge_contextvars
from structlog.processors import TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_log_level
from structlog.typing import EventDict, FilteringBoundLogger

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
    render = partial(lines, None, "") if in_lines else _as_json
    return _Formatter(_Cleaner(secrets, veil), render)


_as_json = json.JSONEncoder().encode  # json.dumps would make one for each line


class _Formatter(logging.Formatter):
    """Makes one line of an event, whether it is one of ours or a library's.

    As structlog's ProcessorFormatter does, without its copies: a line cost more than the statement it told of.
    """

    def __init__(self, clean: "_Cleaner", render: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self._clean = clean
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        method = getattr(record, "_name", None)  # of what wrap_for_formatter has passed on
        event: EventDict
        if method is not None and isinstance(record.msg, dict):
            event = dict(record.msg)
        else:
            method, event = record.levelname.lower(), {"event": record.getMessage()}
            if record.exc_info:
                event["exc_info"] = record.exc_info
            if record.stack_info:
                event["stack_info"] = record.stack_info
        event = add_log_level(None, method, merge_contextvars(None, method, event))
        event["logger"] = record.name
        if "exc_info" in event:
            event = format_exc_info(None, method, event)
        return self._render(self._clean(_stamp(event)))


_stamp = partial(TimeStamper(fmt="iso", utc=True), None, "")


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

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        ordered = {name: event[name] for name in _FIRST if name in event} | dict(event)
        if self._veil is not None:
            ordered = _without_names(ordered, self._veil)
        return {self._text(name): self._value(name, value, 0) for name, value in ordered.items()}

    def _value(self, name: object, value: object, depth: int) -> Any:
        if isinstance(name, str) and _names_key(name):
            return REDACTED
        if value is None or type(value) in (bool, int):
            return value
        if type(value) in (str, bytes):
            return self._text(value)
        if depth < _DEPTH and isinstance(value, Mapping):
            return {self._text(key): self._value(key, inner, depth + 1) for key, inner in value.items()}
        if depth < _DEPTH and isinstance(value, list | tuple | set | frozenset):
            return [self._value(None, inner, depth + 1) for inner in value]
        return value if type(value) is float and math.isfinite(value) else self._text(value)

    def _text(self, value: object) -> str:
        text = value if type(value) is str else _as_text(value)
        return self._cleaned_short(text) if len(text) < _SHORT else self._cleaned(text)

    def _cleaned(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        text = self._redactor.clean(text)
        return _HEADER.sub(rf"\g<1>{REDACTED}", text) if "key" in text.casefold() else text


@lru_cache(_KEPT_TEXTS)
def _names_key(name: str) -> bool:
    return name.lower().replace("_", "-") == "x-api-key"


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
