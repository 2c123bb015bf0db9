"""Load the configuration from a file, or raise one error that lists everything wrong with it."""

import errno
import json
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from watcher.config.tables import Config, Store, Table
from watcher.config.values import lies_in, nearest
from watcher.errors import ConfigError
from watcher.text import JsonObject, show_path, show_text

SYSTEM_CONFIG = Path("/etc/watcher/config.toml")


def find_config(option: str | None, environ: Mapping[str, str]) -> Path:
    """Return the file to read: --config, else $WATCHER_CONFIG, else ./config.toml, else /etc/watcher/config.toml.

    A file that a person named is not checked here: `load` says what is wrong with it. Raises ConfigError if none
    was named and there is none in the usual places.
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
            pass  # it exists but is closed to us: `load` says so, which is better than "none found"
        return place
    looked = ", ".join(["--config (not given)", "$WATCHER_CONFIG (not set)", *map(_text, places)])
    raise ConfigError(
        f"no configuration found; looked at {looked}",
        hint="copy config.example.toml to config.toml and edit it, or name a file with --config",
    )


def load(path: Path) -> Config:
    """Load this file. Raises a ConfigError that lists every problem, one per line."""
    path = Path(os.path.abspath(path))
    text, tables = _tables(path)
    try:
        digest = sha256(text.encode()).hexdigest()
        config = Config.model_validate(tables, context={"path": path, "digest": digest})
    except ValidationError as error:
        problems = [(detail["loc"], _problem(detail)) for detail in error.errors(include_url=False)]
    else:
        found = [*_misplaced(config), *_contradicted(config)]
        problems = [(tuple(name.split(".")), problem) for name, problem in found]
        if not problems:
            return config
    # Outside of `except`: pydantic's error repeats the values, and a URL may hold a password.
    raise ConfigError(
        "\n".join(f"{_text(path)}: {problem}{_line_of(text, where)}" for where, problem in problems),
        hint="correct the file; config.example.toml explains every key",
    )


def with_store(config: Config, url: str) -> Config:
    """Return the configuration with another database, whose address is read as store.url's is.

    A relative path is one from the configuration's folder, as there, or, where no file is there, from the current
    one. Raises ValueError, which says what is expected.
    """
    try:
        store = Store.model_validate({"url": url}, context={"path": config.path})
    except ValidationError as error:
        raise ValueError(error.errors()[0]["ctx"]["error"]) from None
    path = Path(url.removeprefix("sqlite:///"))
    if store.file is not None and not store.file.exists() and path.exists():
        store = Store(url=f"sqlite:///{path.absolute()}")
    return config.model_copy(update={"store": store})


def _line_of(text: str, where: tuple[int | str, ...]) -> str:
    """Return " (at line N)" for this key or section; "" where the file does not have it."""
    wanted = [str(part) for part in where if isinstance(part, str)]
    section: list[str] = []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line.startswith("["):
            section = [_unquoted(line.lstrip("[").partition("]")[0])]
            here = section
        else:
            key, is_key, _ = line.partition("=")
            here = [*section, *map(str.strip, _unquoted(key).split("."))] if is_key else []
        if here == wanted:
            return f" (at line {number})"
    return ""


def _unquoted(name: str) -> str:
    return name.strip().strip("\"'")


def _tables(path: Path) -> tuple[str, JsonObject]:
    """Return the file's text, and its parsed TOML, not validated yet."""
    shown = _text(path)
    try:
        with open_file(path) as file:
            text = file.read().decode("utf-8-sig")
        return text, tomllib.loads(text)
    except FileNotFoundError as error:
        hint = "copy config.example.toml there, or name another file with --config"
        raise ConfigError(f"{shown} does not exist", hint=hint) from error
    except OSError as error:
        hint = "let the user that runs watcher read this file"
        raise ConfigError(f"{shown} cannot be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"byte 0x{error.object[error.start]:02x} in line {line}"
        raise ConfigError(f"{shown} is not UTF-8: {problem}", hint="save the file as UTF-8 text") from error
    except ValueError as error:
        problem = show_text(str(error))
        raise ConfigError(f"{shown} is not valid TOML: {problem}", hint="correct that place") from error


def open_file(path: Path) -> BinaryIO:
    """Open the file for reading. OSError for anything but a regular file: opening a pipe would block."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(opened).st_mode
    if stat.S_ISREG(mode):
        return open(opened, "rb")
    os.close(opened)
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, os.strerror(number) if stat.S_ISDIR(mode) else "it is no file, but a pipe or a device")


def _misplaced(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each of our own files that is in a forbidden place, and the message.

    Anything in the drop folder is taken for a recording, and whoever may read filed recordings could read a key
    beside them.
    """
    ours = {
        "the configuration file": config.path,
        "store.url": config.books,
        "identifai.api_key_file": config.identifai.api_key_file,
        "audio.spool": Path(os.fsdecode(config.audio.spool)),
    }
    if config.web.password_file is not None:
        ours["web.password_file"] = config.web.password_file
    if config.report.folder:
        ours["report.folder"] = Path(os.fsdecode(config.report.folder))
    if config.store.file is None:
        del ours["store.url"]  # what stands for it here lies beside the spool
    elif lies_in(os.fsencode(config.books.parent), config.folders.drop) and (
        ours["audio.spool"] == config.books.parent / "spool"
    ):
        del ours["audio.spool"]  # it moves with the database
    for name, path in ours.items():
        if lies_in(os.fsencode(path), config.folders.drop):
            found = f"{name} is {_shown(os.fsencode(path))}"
            yield name, f"{found}; expected a place outside folders.drop, where all is submitted"
    secrets = [name for name in ("identifai.api_key_file", "web.password_file") if name in ours]
    for name, folder in product(secrets, ("done", "failed")):
        secret = os.fsencode(ours[name])
        if lies_in(secret, getattr(config.folders, folder)):
            found = f"{name} is {_shown(secret)}"
            yield name, f"{found}; expected a place outside folders.{folder}, which others read"


def _contradicted(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each key of one section that cannot take effect because of another section, and the message."""
    if config.folders.by_verdict and not config.verdicts.fetch:
        yield (
            "folders.by_verdict",
            "folders.by_verdict is true; expected false while verdicts.fetch is false, since no verdict is known",
        )
    if config.web.listen and not config.web.is_local and config.web.password_file is None:
        found = f"web.listen is {_shown(config.web.listen)}, which other machines may reach"
        yield (
            "web.listen",
            f'{found}; expected web.password_file beside it, or a loopback address ("127.0.0.1:8473")',
        )
    for name, days in config.retention:
        if days and not config.verdicts.fetch:
            key = f"retention.{name}"
            why = "nothing is removed before its verdict is known"
            yield key, f"{key} is {days:.15g}; expected 0 while verdicts.fetch is false, since {why}"


def _problem(detail: ErrorDetails) -> str:
    """Return one line: the key, what was found, what was expected."""
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
    """Say which key or section was probably meant. Never show the value: it may be a misplaced API key."""
    sections = {
        name: list((field.annotation or Table).model_fields) for name, field in Config.model_fields.items()
    }
    *above, name = where
    shown = ".".join(map(show_text, where))
    if not above and isinstance(value, dict):
        near = nearest(name, sections)
        known = f"did you mean [{near}]?" if near else "the sections are " + ", ".join(sections)
        return f"[{shown}] is not a known section; {known}"
    own = sections[above[0]] if above else []
    elsewhere = [f"{section}.{name}" for section, keys in sections.items() if name in keys]
    meant = nearest(name, own) or " or ".join(elsewhere)
    if not meant:
        known = f"the keys of [{above[0]}] are {', '.join(own)}" if above else "every key belongs to a section"
        return f"{shown} is not a known key; {known}"
    return f"{shown} is not a known key; did you mean {meant}?"


def _shown(value: object) -> str:
    """Return the value in TOML's notation, on one short line, without a password in a URL."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bytes):  # a folder's default
        value = show_path(value)
    if isinstance(value, str):
        value = _without_password(value)
    text = show_text(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 200 else text[:200] + "…"


def _without_password(value: str) -> str:
    before, slashes, rest = value.partition("//")
    _, at, host = rest.rpartition("@")
    return f"{before}//…@{host}" if slashes and at else value


def _text(path: Path) -> str:
    return show_path(os.fsencode(path))
