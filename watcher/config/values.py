"""The types of values. The text of a ValueError completes the sentence "… is X; expected …"."""

import difflib
import importlib.util
import ipaddress
import os
import re
import string
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo

from watcher.mounts import read_mounts, resolve
from watcher.text import text_to_path
from watcher.working_hours import parse_hours

YEAR = 365 * 86_400
_UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_REF_ID_FIELDS = ("id", "stem", "folder", "sha256")


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` requests in any `seconds` seconds."""

    limit: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse "30/minute" or "5/10s". Raises ValueError for any other text."""
        found = re.fullmatch(r"([0-9]{1,9})/(?:(second|minute|hour|day)|([0-9]{1,8})s)", text)
        limit, seconds = 0, 0
        if found:
            limit, seconds = int(found[1]), _UNITS[found[2]] if found[2] else int(found[3])
        if limit < 1 or not 1 <= seconds <= YEAR:
            raise ValueError('"N/second", "N/minute", "N/hour", "N/day" or "N/10s" with N of 1 or more')
        return cls(limit, float(seconds))


def _window(value: object) -> Window:
    return value if isinstance(value, Window) else Window.parse(value if isinstance(value, str) else "")


def _seen_from_file(value: object, info: ValidationInfo) -> bytes:
    """Make the path absolute, relative to the configuration file's folder; links are not resolved.

    The text in the file is UTF-8, whatever the locale.
    """
    path = text_to_path(value) if isinstance(value, str) else value
    if not isinstance(path, bytes | Path) or not path or b"\0" in os.fsencode(path):
        raise ValueError("a path in quotes")
    folder = info.context["path"].parent if info.context else Path()
    return os.path.abspath(os.path.join(os.fsencode(folder), os.fsencode(path)))


def _folder(value: object, info: ValidationInfo) -> bytes:
    return _seen_from_file(value, info)


def _folder_or_none(value: object, info: ValidationInfo) -> bytes:
    return b"" if value in ("", b"") else _seen_from_file(value, info)


def _time_of_day(text: str) -> str:
    if not re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError('a time of day, such as "06:00"')
    return text


def _file(value: object, info: ValidationInfo) -> Path:
    return Path(os.fsdecode(_seen_from_file(value, info)))


def _file_or_none(value: object, info: ValidationInfo) -> Path | None:
    return None if value in ("", None) else _file(value, info)


def _store_url(url: str, info: ValidationInfo) -> str:
    scheme = url.partition(":")[0].lower()
    if scheme.partition("+")[0] in ("postgresql", "postgres"):
        return _server_url(url, scheme)
    path = url.removeprefix("sqlite:///")
    if path == url or not path or "?" in path or path == ":memory:":
        raise ValueError('"sqlite:///" and the path of a file, such as "sqlite:///watcher.db"')
    return "sqlite:///" + os.fsdecode(_seen_from_file(path, info))


def _server_url(url: str, scheme: str) -> str:
    if scheme != "postgresql+psycopg":
        raise ValueError('"postgresql+psycopg://USER@HOST/DATABASE"')
    if not url.isprintable() or not urlsplit(url).path.strip("/"):
        raise ValueError('"postgresql+psycopg://USER@HOST/DATABASE", with the name of the database at its end')
    if importlib.util.find_spec("psycopg") is None:
        raise ValueError(
            "another database until the extra is installed: pip install 'identifai-watcher[postgresql]'"
        )
    return url


def _web_url(url: str) -> str:
    expected = "http:// or https:// and a host, without a user name"
    if not url.isprintable():
        raise ValueError(f"{expected}, and without control characters")
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0
    except ValueError:
        raise ValueError(expected) from None
    is_odd = " " in url or "@" in parts.netloc or port_is_wrong
    if is_odd or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(expected)
    return url


def _base_url(url: str) -> str:
    """Normalise the URL: a cosmetic edit must not make a paid recording look new."""
    parts = urlsplit(_web_url(url))
    if parts.query or parts.fragment:
        raise ValueError("http:// or https://, a host and perhaps a path, nothing after it")
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", ""))


def _webhook_url(url: str) -> str:
    return _web_url(url) if url else url


def _ref_id(template: str) -> str:
    if not template.isprintable():
        raise ValueError("text on one line, without control characters")
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError:
        parsed = [("", "unbalanced", None, None)]
    for _, field, form, conversion in parsed:
        if field is not None and (field not in _REF_ID_FIELDS or form or conversion):
            raise ValueError("text with only the fields " + " ".join(f"{{{f}}}" for f in _REF_ID_FIELDS))
    return template


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("a name, on one line")
    return text


def _node_name(text: str) -> str:
    return _name(text) if text else text


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("names that differ")
    return names


def _zone(name: str) -> str:
    if not name:
        return name
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        near = nearest(name, zoneinfo.available_timezones())
        raise ValueError(f'"" or a time zone, such as "{near or "Europe/Rome"}"') from None
    return name


def _duration(value: object) -> float:
    """Parse "4h", "90m" or "2d"; "" is 0, which is never."""
    if value in ("", 0.0):
        return 0.0
    found = re.fullmatch(r"([0-9]{1,5})([mhd])", value) if isinstance(value, str) else None
    if found is None or not int(found[1]):
        raise ValueError('"" or a time, such as "4h", "90m" or "2d"')
    return float(int(found[1]) * {"m": 60, "h": 3_600, "d": 86_400}[found[2]])


def _working_hours(text: str) -> str:
    try:
        parse_hours(text)
    except ValueError:
        raise ValueError('"" or days and hours, such as "Mon-Fri 08:00-18:00, Sat 09:00-13:00"') from None
    return text


def _listen(address: str) -> str:
    found = re.fullmatch(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", address)
    if address and (not found or int(found[1]) > 65_535):
        raise ValueError('"" or host:port, such as "127.0.0.1:8473"')
    return address


def is_loopback(address: str) -> bool:
    """Return whether this "host:port" names an address of this machine alone."""
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host(text: str) -> str:
    found = re.fullmatch(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", text)
    if not found or int(found[1] or 0) > 65_535:
        raise ValueError('a name as a browser asks for it, such as "watcher.example.org" or "10.0.0.5:8473"')
    return text


def _suffix(text: str) -> str:
    if not re.fullmatch(r"\.[^/\0]+", text) or not text.isprintable() or text == "..":
        raise ValueError('an extension that starts with a dot and has no slash, such as ".xml"')
    return text


def _marker(text: str) -> str:
    if text.lower() == ".json":
        raise ValueError('an extension other than ".json", which is the receipt\'s')
    return _suffix(text) if text else text


def _pattern(text: str) -> str:
    if not text.strip("*") or "/" in text or not text.isprintable():
        raise ValueError(
            'a pattern for one name, without a slash, that does not match every name, such as "*.bak"'
        )
    return text


def lies_in(inner: bytes, outer: bytes) -> bool:
    """Return whether the first path is the second or below it, with links resolved, except those on shares."""
    mounts = read_mounts()
    inner, outer = resolve(inner, mounts), resolve(outer, mounts)
    return os.path.commonpath([inner, outer]) == outer


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that was probably meant; "" if none is similar."""
    by_lower = {one.lower(): one for one in sorted(known)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else ""


Folder = Annotated[bytes, PlainValidator(_folder)]
FolderOrNone = Annotated[bytes, PlainValidator(_folder_or_none)]
TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]
File = Annotated[Path, PlainValidator(_file)]
FileOrNone = Annotated[Path | None, PlainValidator(_file_or_none)]
Seconds = Annotated[float, Field(gt=0, le=YEAR, allow_inf_nan=False)]
Days = Annotated[float, Field(ge=0, le=100 * 365, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Windows = Annotated[tuple[Annotated[Window, PlainValidator(_window)], ...], Field(strict=False)]
Suffixes = Annotated[tuple[Annotated[str, AfterValidator(_suffix)], ...], Field(strict=False)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], Field(strict=False)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
WebhookUrl = Annotated[str, AfterValidator(_webhook_url)]
RefId = Annotated[str, AfterValidator(_ref_id)]
Name = Annotated[str, AfterValidator(_name)]
NodeName = Annotated[str, AfterValidator(_node_name)]
Names = Annotated[tuple[Name, ...], Field(strict=False), AfterValidator(_distinct)]
Duration = Annotated[float, PlainValidator(_duration)]
WorkingHours = Annotated[str, AfterValidator(_working_hours)]
Zone = Annotated[str, AfterValidator(_zone)]
Address = Annotated[str, AfterValidator(_listen)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], Field(strict=False)]
Marker = Annotated[str, AfterValidator(_marker)]
