"""The addresses in `notify.urls_file`. They hold secrets: what names one is its line alone.

Apprise's own words repeat passwords and tokens, even in part where it means to hide them. So none of them is ever
shown: of what it says only what can hold no secret is taken over.
"""

import logging
import os
import re
import stat
import threading
import warnings
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any

from watcher import logs
from watcher.config.loading import open_file
from watcher.errors import ConfigError
from watcher.text import quote_path, show_path

_FILE_BYTES = 65_536
_SCHEME = re.compile(r"[a-z][a-z0-9+]{0,30}(?=://)", re.IGNORECASE)
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
_WORDS = (
    "connection refused",
    "name or service not known",
    "temporary failure in name resolution",
    "network is unreachable",
    "no route to host",
    "timed out",
    "certificate verify failed",
    "authentication",
)
"""What may be repeated of a reason: each as it is, and nothing around it."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address. It shows itself to nobody: `str` names its line and what kind it is.

    `mark`: by which the books know it. It is too short to tell anything of the address.
    """

    line: int
    kind: str
    mark: str
    url: str = field(repr=False)

    def __str__(self) -> str:
        return f"the address in line {self.line} ({self.kind})"


@dataclass(frozen=True, slots=True)
class AddressBook:
    """The addresses in one file. `exposed`: who else can read the file, with the remedy; "" for nobody."""

    path: Path
    addresses: tuple[Address, ...]
    exposed: str


def read_addresses(path: Path) -> AddressBook:
    """Return the addresses in this file, one a line; empty lines and those that begin with # are none.

    Raises ConfigError where the file cannot be read, has no address, or a line that is none. The error names
    lines, and repeats nothing of them.
    """
    shown = f"notify.urls_file: {show_path(os.fsencode(path))}"
    try:
        with open_file(path) as file:
            content, status = file.read(_FILE_BYTES + 1), os.fstat(file.fileno())
    except FileNotFoundError as error:
        named = quote_path(os.fsencode(path))
        raise ConfigError(f"{shown} does not exist", hint=f"create it: (umask 077; editor {named})") from error
    except OSError as error:
        raise ConfigError(
            f"{shown} cannot be read: {error.strerror}",
            hint="let the user that runs watcher read this file, and nobody else",
        ) from error
    if len(content) > _FILE_BYTES:
        raise ConfigError(f"{shown} is longer than {_FILE_BYTES:,} bytes", hint="one address a line is expected")
    lines = content.decode("utf-8-sig", "replace").splitlines()
    found = {number: text.strip() for number, text in enumerate(lines, 1)}
    found = {number: text for number, text in found.items() if text and not text.startswith("#")}
    hint = "write one Apprise address a line, such as mailto://… or slack://…: https://appriseit.com/services/"
    if not found:
        raise ConfigError(f"{shown} has no address", hint=hint)
    wrong = [number for number, url in found.items() if load(url) is None]
    if wrong:
        said = f"line {wrong[0]} is" if len(wrong) == 1 else f"lines {', '.join(map(str, wrong))} are"
        raise ConfigError(f"{shown}: {said} no address that Apprise knows", hint=hint)
    lines_of = {url: line for line, url in reversed(found.items())}  # one that stands there twice is told once
    each = [_address(line, url) for line, url in found.items() if lines_of[url] == line]
    return AddressBook(path, tuple(each), _exposure(path, status))


def _address(line: int, url: str) -> Address:
    kind = _SCHEME.match(url)
    return Address(line, kind[0].lower() if kind else "?", blake2b(url.encode(), digest_size=3).hexdigest(), url)


def _exposure(path: Path, status: os.stat_result) -> str:
    """Say who else can read the file. A group may read one that is not ours: so its owner lets us."""
    mode = stat.S_IMODE(status.st_mode)
    if not mode & (0o077 if os.geteuid() in (0, status.st_uid) else 0o027):
        return ""
    named = quote_path(os.fsencode(path))
    return f"{show_path(os.fsencode(path))} is open to others (mode {mode:04o}); run: chmod 600 {named}"


def load(url: str) -> Any:
    """Return Apprise's object for this address; None if it is none."""
    apprise = _library()
    asset = apprise.AppriseAsset(app_id="watcher", app_desc="watcher", async_mode=False, secure_logging=True)
    try:
        return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    except Exception:  # noqa: BLE001 — whatever it meets in what a person wrote: it is no address
        return None


def send(address: Address, title: str, body: str) -> str:
    """Send this to the address. Return "", or why it was not taken, in words that hold no secret.

    It may take for ever. Not by `Apprise.notify`: the threads of that are waited for at the end of the program.
    """
    heard: list[str] = []
    _library()
    from apprise import NotifyFormat, conversion  # noqa: PLC0415 — an extra, which takes a while to load

    _HEARD.said[threading.get_ident()] = heard
    try:
        service = load(address.url)
        if service is None:
            return "it is no address that Apprise knows"
        convert: Any = conversion.convert_between
        converted = convert(NotifyFormat.TEXT, service.notify_format, body)
        with logs.libraries_unheard():  # what it sends with names addresses in its warnings
            if service.notify(body=converted, title=title, notify_type="info", body_format=NotifyFormat.TEXT):
                return ""
    except Exception as error:  # noqa: BLE001 — of any of a hundred services
        return f"it ended in {type(error).__name__}"
    finally:
        _HEARD.said.pop(threading.get_ident(), None)
    return _reason(heard)


def _reason(heard: list[str]) -> str:
    for said in reversed(heard):
        if (status := _STATUS.search(said)) is not None:
            return f"it answers with status {status[1]}"
    together = "\n".join(heard).lower()
    return next((f"it says: {words}" for words in _WORDS if words in together), "it did not take the message")


class _Heard(logging.Filter):
    """What Apprise says in each thread that sends. It goes nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[int, list[str]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        heard = self.said.get(record.thread or 0)
        if heard is not None:
            heard.append(record.getMessage())
        return False


_HEARD = _Heard()
_LOADING = threading.Lock()


def _library() -> Any:
    """Return Apprise. Its log is cut off from ours: it repeats addresses."""
    log = logging.getLogger("apprise")
    with _LOADING:
        if _HEARD in log.filters:
            return import_module("apprise")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a hundred services' modules use
            apprise = import_module("apprise")
            log.addFilter(_HEARD)
            log.setLevel(logging.DEBUG)
            apprise.Apprise.instantiate("json://localhost")  # it loads them only now
        return apprise
