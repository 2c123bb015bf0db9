"""The API key: where it is found, and how it is kept from showing."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from watcher.config import Config
from watcher.domain import show_path
from watcher.errors import ConfigError

KEY_VARIABLE = "IDENTIFAI_API_KEY"
CREDENTIAL = "identifai.key"
_KEY_BYTES = 4_096


class Key:
    """The API key. Shows itself as "<key>" wherever it is printed by accident; only `reveal` gives its text."""

    __slots__ = ("_text", "source", "warning")

    def __init__(self, text: str, source: str, warning: str = "") -> None:
        self._text = text
        self.source = source  # where it came from, for a person
        self.warning = warning  # what is unwise about that place, and the remedy; "" where nothing is

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "<key>"

    def __format__(self, spec: str) -> str:
        return format("<key>", spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("the key is not copied, pickled or sent anywhere")


def read_key(config: Config, environ: Mapping[str, str]) -> Key:
    """The API key: $IDENTIFAI_API_KEY, else systemd's credential, else `identifai.api_key_file`.

    A variable that is empty is not set. The first place that has something is the one that counts: raises
    ConfigError when that is no key, or when there is none at all. The error never repeats what was found.
    """
    value = environ.get(KEY_VARIABLE, "")
    if value.strip():
        return Key(_checked(value.encode("utf-8", "surrogateescape"), f"${KEY_VARIABLE}"), f"${KEY_VARIABLE}")
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    key_file = config.identifai.api_key_file
    for path in (*([Path(directory, CREDENTIAL)] if directory else []), key_file):
        found = _read_key_file(path)
        if found is not None:
            content, mode = found
            text, warning = _checked(content, _text(path)), ""
            # Not for a credential: systemd guards it by an access list that looks like group bits.
            if path is key_file and mode & 0o077:
                warning = f"{_text(path)} is open to others (mode {mode:04o}); run: chmod 600 {_text(path)}"
            return Key(text, _text(path), warning)
    credential = f"systemd's credential {CREDENTIAL} ({'not there' if directory else 'no $CREDENTIALS_DIRECTORY'})"
    raise ConfigError(
        f"no API key found; looked at ${KEY_VARIABLE} (empty or not set), {credential}"
        f" and {_text(key_file)} (identifai.api_key_file; does not exist)",
        hint=f"write the key into {_text(key_file)}, mode 600, or set ${KEY_VARIABLE}",
    )


def _read_key_file(path: Path) -> tuple[bytes, int] | None:
    """What is in the file, and its mode; null where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_KEY_BYTES + 1), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            f"the API key in {_text(path)} can not be read: {error.strerror}",
            hint="let the user that runs watcher read this file, and nobody else",
        ) from error


def _checked(content: bytes, source: str) -> str:
    text = content.strip()
    if not text:
        problem = "is empty"
    elif len(content) > _KEY_BYTES:
        problem = f"is longer than {_KEY_BYTES:,} bytes"
    elif b"\n" in text or b"\r" in text:
        problem = "has more than one line"
    elif not all(0x20 <= byte < 0x7F for byte in text):
        problem = "has characters that are not printable ASCII"
    else:
        return text.decode("ascii")
    raise ConfigError(
        f"the API key in {source} {problem}", hint=f"put the key alone into {source}, as plain text on one line"
    )


def _text(path: Path) -> str:
    return show_path(os.fsencode(path))
