"""What the operator asked for: one TOML file, read once, checked to the last key, never changed afterwards.

Names and defaults of the keys are public. Everything that is wrong is a `ConfigError`, raised here and nowhere
later; all problems of a file come in one error, a line each.
"""

import difflib
import json
import os
import re
import string
import tomllib
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from watcher.domain import JsonObject, show_path
from watcher.errors import ConfigError

SYSTEM_CONFIG = Path("/etc/watcher/config.toml")
_YEAR = 365 * 86_400
_UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_REF_ID_FIELDS = ("id", "stem", "folder", "sha256")


# The kinds of values. A ValueError's text completes the sentence "… is X; expected …".


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` requests in any `seconds` seconds."""

    limit: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """The window that "30/minute" or "5/10s" names. Raises ValueError for any other text."""
        found = re.fullmatch(r"([0-9]{1,9})/(?:(second|minute|hour|day)|([0-9]{1,8})s)", text)
        limit, seconds = 0, 0
        if found:
            limit, seconds = int(found[1]), _UNITS[found[2]] if found[2] else int(found[3])
        if limit < 1 or not 1 <= seconds <= _YEAR:
            raise ValueError('"N/second", "N/minute", "N/hour", "N/day" or "N/10s" with N of 1 or more')
        return cls(limit, float(seconds))


def _window(value: object) -> Window:
    return value if isinstance(value, Window) else Window.parse(value if isinstance(value, str) else "")


def _seen_from_file(value: object, info: ValidationInfo) -> str:
    """The path, relative to the configuration file's folder, made absolute; links in it stay links."""
    if not isinstance(value, str | bytes | Path) or not value or "\0" in os.fsdecode(value):
        raise ValueError("a path in quotes")
    folder = info.context["path"].parent if info.context else Path()
    return os.path.abspath(os.path.join(folder, os.fsdecode(value)))


def _folder(value: object, info: ValidationInfo) -> bytes:
    return os.fsencode(_seen_from_file(value, info))


def _file(value: object, info: ValidationInfo) -> Path:
    return Path(_seen_from_file(value, info))


def _store_url(url: str, info: ValidationInfo) -> str:
    scheme = url.partition(":")[0].lower()
    if scheme.partition("+")[0] in ("postgresql", "postgres"):
        raise ValueError('"sqlite:///…": postgresql is not built yet, use sqlite:///')
    path = url.removeprefix("sqlite:///")
    if path == url or not path or "?" in path or path == ":memory:":
        raise ValueError('"sqlite:///" and the path of a file, such as "sqlite:///watcher.db"')
    return "sqlite:///" + _seen_from_file(path, info)


def _web_url(url: str) -> str:
    expected = "http:// or https:// and a host, without a user name"
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0
    except ValueError:
        raise ValueError(expected) from None
    is_odd = not url.isprintable() or " " in url or "@" in parts.netloc or port_is_wrong
    if is_odd or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(expected)
    return url


def _base_url(url: str) -> str:
    """One spelling for one service: a cosmetic edit must not make a paid recording look new."""
    parts = urlsplit(_web_url(url))
    if parts.query or parts.fragment:
        raise ValueError("http:// or https://, a host and perhaps a path, nothing behind it")
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", ""))


def _webhook_url(url: str) -> str:
    return _web_url(url) if url else url


def _ref_id(template: str) -> str:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError:
        parsed = [("", "unbalanced", None, None)]
    for _, field, form, conversion in parsed:
        if field is not None and (field not in _REF_ID_FIELDS or form or conversion):
            raise ValueError("text with no other fields than " + " ".join(f"{{{f}}}" for f in _REF_ID_FIELDS))
    return template


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("a name, on one line")
    return text


def _zone(name: str) -> str:
    if not name:
        return name
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        near = _nearest(name, zoneinfo.available_timezones())
        raise ValueError(f'"" or a time zone, such as "{near or "Europe/Rome"}"') from None
    return name


def _listen(address: str) -> str:
    found = re.fullmatch(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", address)
    if address and (not found or int(found[1]) > 65_535):
        raise ValueError('"" or host:port, such as "127.0.0.1:8473"')
    return address


def _suffix(text: str) -> str:
    if not re.fullmatch(r"\.[^/\0]+", text) or not text.isprintable() or text == "..":
        raise ValueError('an ending that starts with a dot and has no slash, such as ".xml"')
    return text


def _marker(text: str) -> str:
    if text.lower() == ".json":
        raise ValueError('an ending other than ".json", which is the receipt\'s')
    return _suffix(text) if text else text


def _pattern(text: str) -> str:
    if not text.strip("*") or "/" in text or not text.isprintable():
        raise ValueError('a pattern for one name, without a slash, that is not all names, such as "*.bak"')
    return text


Folder = Annotated[bytes, PlainValidator(_folder)]
File = Annotated[Path, PlainValidator(_file)]
Seconds = Annotated[float, Field(gt=0, le=_YEAR, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Windows = Annotated[tuple[Annotated[Window, PlainValidator(_window)], ...], Field(strict=False)]
Suffixes = Annotated[tuple[Annotated[str, AfterValidator(_suffix)], ...], Field(strict=False)]
Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], Field(strict=False)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


class _BackOff(_Table):
    @field_validator("max_seconds", check_fields=False)
    @classmethod
    def _no_less_than_the_first(cls, value: float, info: ValidationInfo) -> float:
        first = info.data.get("first_seconds", 0.0)
        if value < first:
            raise ValueError(f"first_seconds ({first:.15g}) or more")
        return value


# The sections, with their defaults. What each key means to an operator stands in config.example.toml.


class Folders(_Table):
    """Absolute paths as the disk has them; `domain.show_path` gives the text for a person."""

    drop: Folder = b"drop"
    done: Folder = b"done"
    failed: Folder = b"failed"

    @field_validator("done", "failed")
    @classmethod
    def _apart(cls, folder: bytes, info: ValidationInfo) -> bytes:
        for name, other in info.data.items():
            if _lies_in(folder, other):
                why = (
                    "what is filed there would be taken for a new arrival"
                    if name == "drop"
                    else "their receipts could not be told apart"
                )
            elif _lies_in(other, folder):
                why = f"folders.{name} lies inside it, so what is filed could land there"
            else:
                continue
            raise ValueError(f"a folder apart from folders.{name} ({show_path(other)}): {why}")
        return folder


class Store(_Table):
    url: Annotated[str, AfterValidator(_store_url)] = "sqlite:///watcher.db"

    @property
    def path(self) -> Path:
        """The absolute path of the database's file."""
        return Path(self.url.removeprefix("sqlite:///"))


class Identifai(_Table):
    base_url: Annotated[str, AfterValidator(_base_url)] = "https://backend.identifai.net"
    api_key_file: File = Path("identifai.key")
    ref_id: Annotated[str, AfterValidator(_ref_id)] = "{id}"  # for str.format; "" sends none
    upload_name: Literal["id", "original"] = "id"
    account: Annotated[str, AfterValidator(_name)] = "default"
    no_cache: bool = False
    prevent_c2pa_forces: bool = False
    webhook_url: Annotated[str, AfterValidator(_webhook_url)] = ""
    in_doubt: Literal["resubmit", "hold"] = "resubmit"
    connect_timeout_seconds: Seconds = 10.0
    read_timeout_seconds: Seconds = 60.0
    deadline_seconds: Seconds = 300.0


class Limits(_Table):
    """An empty tuple of windows is no limit."""

    writes: Windows = (Window(1, 1.0), Window(30, 60.0))
    reads: Windows = (Window(2, 1.0), Window(60, 60.0))
    in_flight: AtLeastOne = 1
    max_upload_bytes: AtLeastOne = 15_000_000
    per_day: Count = 0
    per_month: Count = 0
    timezone: Annotated[str, AfterValidator(_zone)] = ""


class Arrivals(_Table):
    settle_seconds: Annotated[float, Field(ge=0, le=_YEAR, allow_inf_nan=False)] = 2.0
    proof: bool = True
    rescan_seconds: Seconds = 30.0
    watch: Literal["auto", "events", "polling"] = "auto"
    incomplete_minutes: Annotated[float, Field(gt=0, le=_YEAR // 60, allow_inf_nan=False)] = 60.0
    marker: Annotated[str, AfterValidator(_marker)] = ""
    sidecar: Suffixes = ()
    ignore: Patterns = ()


class Retry(_BackOff):
    first_seconds: Seconds = 5.0
    max_seconds: Seconds = 600.0
    hold_after: AtLeastOne = 8


class Verdicts(_BackOff):
    fetch: bool = True
    first_seconds: Seconds = 5.0
    max_seconds: Seconds = 300.0
    give_up_hours: Annotated[float, Field(gt=0, le=_YEAR // 3_600, allow_inf_nan=False)] = 48.0


class Web(_Table):
    listen: Annotated[str, AfterValidator(_listen)] = ""


class Log(_Table):
    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


_DEFAULTS: Any = Field(default_factory=dict)  # validated like a table: paths in it need the file's place


class Config(_Table):
    """The whole configuration. Made by `load`; immutable, every path in it absolute."""

    folders: Folders = _DEFAULTS
    store: Store = _DEFAULTS
    identifai: Identifai = _DEFAULTS
    limits: Limits = _DEFAULTS
    arrivals: Arrivals = _DEFAULTS
    retry: Retry = _DEFAULTS
    verdicts: Verdicts = _DEFAULTS
    web: Web = _DEFAULTS
    log: Log = _DEFAULTS
    _path: Path

    def model_post_init(self, context: Any) -> None:
        self._path = context["path"]

    @property
    def path(self) -> Path:
        """The file it was read from, absolute."""
        return self._path


# Reading it


def find_config(option: str | None, environ: Mapping[str, str]) -> Path:
    """The file to read: `--config`, else $WATCHER_CONFIG, else ./config.toml, else /etc/watcher/config.toml.

    What a person named is returned unseen: `load` says what is wrong with it. Raises ConfigError where none
    was named and none of the usual places has one.
    """
    named = option or environ.get("WATCHER_CONFIG")
    if named:
        return Path(os.path.abspath(named))
    places = [Path(os.path.abspath("config.toml")), SYSTEM_CONFIG]
    for place in places:
        try:
            place.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # there, but closed to us: `load` says so, which is better than "none found"
        return place
    looked = ", ".join(["--config (not given)", "$WATCHER_CONFIG (not set)", *map(_text, places)])
    raise ConfigError(
        f"no configuration found; looked at {looked}",
        hint="copy config.example.toml to config.toml and edit it, or name a file with --config",
    )


def load(path: Path) -> Config:
    """The configuration in this file. Raises ConfigError that lists every problem it has, a line each."""
    path = Path(os.path.abspath(path))
    tables = _tables(path)
    try:
        config = Config.model_validate(tables, context={"path": path})
    except ValidationError as error:
        problems = [_problem(detail) for detail in error.errors(include_url=False)]
    else:
        problems = list(_misplaced(config))
        if not problems:
            return config
    # Outside of `except`: pydantic's own text repeats the values, and a URL may hold a password.
    raise ConfigError(
        "\n".join(f"{_text(path)}: {problem}" for problem in problems),
        hint="correct the file; config.example.toml explains every key",
    )


def _tables(path: Path) -> JsonObject:
    """The file as TOML has it, not validated yet."""
    shown = _text(path)
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        hint = "copy config.example.toml there, or name another file with --config"
        raise ConfigError(f"{shown} does not exist", hint=hint) from error
    except OSError as error:
        hint = "let the user that runs watcher read this file"
        raise ConfigError(f"{shown} can not be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"byte 0x{error.object[error.start]:02x} in line {line}"
        raise ConfigError(f"{shown} is not UTF-8: {problem}", hint="save the file as UTF-8 text") from error
    except ValueError as error:
        problem = _printable(str(error))
        raise ConfigError(f"{shown} is not valid TOML: {problem}", hint="correct that place") from error


def _misplaced(config: Config) -> Iterator[str]:
    """Whatever lies in the drop folder is taken for a recording, ours included."""
    ours = {
        "the configuration file": config.path,
        "store.url": config.store.path,
        "identifai.api_key_file": config.identifai.api_key_file,
    }
    for name, path in ours.items():
        if _lies_in(os.fsencode(path), config.folders.drop):
            yield f"{name} is {_shown(str(path))}; expected a place outside folders.drop, where all is submitted"


def _lies_in(inner: bytes, outer: bytes) -> bool:
    inner, outer = os.path.realpath(inner), os.path.realpath(outer)
    return os.path.commonpath([inner, outer]) == outer


def _problem(detail: ErrorDetails) -> str:
    """One line of what is wrong: the key, what was found, what was expected."""
    where = detail["loc"]
    if detail["type"] == "extra_forbidden":
        return _unknown([str(part) for part in where], detail["input"])
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).removeprefix(".")
    return f"{key} is {_shown(detail['input'])}; expected {_expected(detail, key)}"


def _expected(detail: ErrorDetails, key: str) -> str:
    context = detail.get("ctx", {})
    if "error" in context:
        return str(context["error"])
    if "expected" in context:
        return "one of " + str(context["expected"]).replace("'", '"')
    for bound, words in {"gt": "more than", "ge": "at least", "le": "at most"}.items():
        if bound in context:
            return f"{words} {context[bound]:,.0f}"
    kinds = {"bool": "true or false", "float": "a number", "finite": "a number", "int": "a whole number"}
    kinds |= {"string": "text in quotes", "tuple": "a list in [ ]", "model": f"a table, [{key}]"}
    return kinds.get(detail["type"].partition("_")[0], detail["msg"])


def _unknown(where: list[str], value: object) -> str:
    """Says which key or section was probably meant. Never the value: it may be an API key in the wrong place."""
    sections = {
        name: list((field.annotation or _Table).model_fields) for name, field in Config.model_fields.items()
    }
    *above, name = where
    shown = ".".join(map(_printable, where))
    if not above and isinstance(value, dict):
        near = _nearest(name, sections)
        known = f"did you mean [{near}]?" if near else "the sections are " + ", ".join(sections)
        return f"[{shown}] is not a known section; {known}"
    own = sections[above[0]] if above else []
    elsewhere = [f"{section}.{name}" for section, keys in sections.items() if name in keys]
    meant = _nearest(name, own) or " or ".join(elsewhere)
    if not meant:
        known = f"the keys of [{above[0]}] are {', '.join(own)}" if above else "every key stands in a section"
        return f"{shown} is not a known key; {known}"
    return f"{shown} is not a known key; did you mean {meant}?"


def _nearest(name: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1)), "")


def _shown(value: object) -> str:
    """The value as TOML would have it, on one short line, without a password that stands in a URL."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bytes):  # a folder's default
        value = show_path(value)
    if isinstance(value, str):
        value = re.sub(r"//\S*@", "//…@", value)
    text = _printable(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 200 else text[:200] + "…"


def _printable(text: str) -> str:
    return show_path(text.encode("utf-8", "backslashreplace"))


def _text(path: Path) -> str:
    return show_path(os.fsencode(path))
