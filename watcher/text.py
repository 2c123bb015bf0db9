"""Turn paths, times and JSON objects into text, for a person, a shell or a program, and back."""

import json
import shlex
import string
from datetime import UTC, datetime
from functools import lru_cache
from math import isinf
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object, as it is read from or written to a receipt, an answer or a command's output."""


def rfc3339(seconds: float | None) -> str | None:
    """Return the time as text in UTC, to the millisecond; None for None."""
    if seconds is None:
        return None
    # As datetime does it, in a seventh of the time: a list of a million recordings has three million of them.
    minute = seconds // 60
    millis = int((seconds - minute * 60) * 1e6 + 0.5) // 1000
    if millis >= 60_000:
        return _moment(seconds)
    return f"{_minute(minute)}{_SECONDS[millis // 1000]}{_MILLIS[millis % 1000]}"


_MINUTES = tuple(f"T{number // 60:02}:{number % 60:02}:" for number in range(24 * 60))
_SECONDS = tuple(f"{number:02}." for number in range(60))
_MILLIS = tuple(f"{number:03}Z" for number in range(1000))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(text: object) -> float | None:
    """Return the time that rfc3339 wrote; None for None. Raises ValueError for anything else."""
    if text is None:
        return None
    if not isinstance(text, str) or not text.endswith("Z"):
        raise ValueError(text)
    return datetime.fromisoformat(text).timestamp()


@lru_cache(maxsize=1024)
def _minute(number: float) -> str:
    day, minute = divmod(int(number), 24 * 60)
    return _day(day) + _MINUTES[minute]


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    return datetime.fromtimestamp(86_400 * number, UTC).date().isoformat()


def local_time(seconds: float) -> str:
    """Return the time for a person: in this machine's zone, to the second."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def moment(at: float, now: float) -> str:
    """Return the time for a person who reads it now: in this machine's zone, and how far from now it is.

    Of today it is the time alone: `14:03:12, 12 s ago`.
    """
    said, today = local_time(at), local_time(now)[:10]
    said = said.removeprefix(f"{today} ")
    between = length(abs(now - at))
    return f"{said}, {between} ago" if at <= now else f"{said}, in {between}"


def length(seconds: float) -> str:
    """Return a length of time in its two largest units: `12 s`, `5 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    large, small, names = (*divmod(minutes, 60), ("h", "min"))
    if large >= 48:
        large, small, names = (*divmod(large, 24), ("d", "h"))
    return f"{large} {names[0]}" + (f" {small} {names[1]}" if small else "")


def show_path(path: bytes) -> str:
    r"""Return the path safe to print: bytes that are not UTF-8, and control characters, as `\xNN`."""
    text = path.decode("utf-8", errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def name_once(path: bytes, said: str) -> str:
    """What is said of the path, after its name; a message that begins with the name already stays as it is."""
    shown = show_path(path)
    return said if said.startswith(f"{shown} ") else f"{shown}: {said}"


def show_text(text: str) -> str:
    """Return the text safe to print: control characters are escaped as by show_path."""
    return show_path(text.encode("utf-8", errors="backslashreplace"))


def path_text(path: bytes) -> str:
    r"""Return the path as text, for programs: unchanged, but bytes that are not UTF-8 as `\xNN`."""
    return path.decode("utf-8", errors="backslashreplace")


def path_to_text(path: bytes) -> str:
    """Return the path as text to be stored, the same in every locale; text_to_path reverses it."""
    return path.decode("utf-8", "surrogateescape")


def text_to_path(text: str) -> bytes:
    """Return the path in a stored text, or in a UTF-8 file. Not for text from the system: use os.fsencode."""
    return text.encode("utf-8", "surrogateescape")


def quote_path(path: bytes) -> str:
    """Return the path as one word for any POSIX shell, safe to print and paste, whatever its bytes are.

    Line feeds at its end become a pattern that matches them: command substitution would cut them off.
    """
    try:
        text = path.decode()
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable():
        return shlex.quote(text)
    bare = path.rstrip(b"\n")
    plain = string.ascii_letters + string.digits + "/._+=,@ "  # no "-", which could begin an option
    printed = "".join(c if (c := chr(byte)) in plain else f"\\{byte:03o}" for byte in bare)
    return f"\"$(printf '{printed}')\"" + "[[:cntrl:]]" * (len(path) - len(bare))


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return the value as JSON, with everything escaped that a terminal would obey or not show."""
    text = json.dumps(value, ensure_ascii=False, indent=indent) if indent else _encode(value)
    return printable_json(text)


_encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one for each value


def printable_json(text: str) -> str:
    """Return the JSON with everything escaped that a terminal would obey or not show, but for line feeds."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def from_json(data: bytes | None) -> JsonObject | None:
    """Return the JSON object in a small file of ours; None for anything else, whatever a stranger put there.

    It is safe to work with: shallow, no key twice, no number beyond all measure, and only what can be written as
    JSON again (so no NaN, and no lone surrogates). The caller limits its length.
    """
    try:
        text = (data or b"").decode()
        value = _decode(text)
        if "\\u" in text:  # else there is no surrogate
            _encode(value).encode()
    except (ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(value, dict):
        return None
    # A small file has fewer brackets than there may be levels, and counting them costs next to nothing.
    is_shallow = text.count("{") + text.count("[") <= _LEVELS or _is_shallow(value, _LEVELS)
    return value if is_shallow else None


_LEVELS = 20  # far more than any file of ours has
_DIGITS = 20  # of a whole number: a larger one is no float, and fits into no column


def _once_each(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found


def _finite(digits: str) -> float:
    if isinf(number := float(digits)):
        raise ValueError("too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("too large")
    return int(digits)


def _no_number(name: str) -> float:
    raise ValueError(name)


_decode = json.JSONDecoder(
    object_pairs_hook=_once_each, parse_int=_whole, parse_float=_finite, parse_constant=_no_number
).decode  # json.loads would make one for each file


def _is_shallow(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or (levels > 0 and all(_is_shallow(one, levels - 1) for one in value))


def _escape(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", errors="surrogatepass"))
