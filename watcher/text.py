"""How a path, an instant and a JSON object become text, for a person, a shell or a program, and back."""

import json
import shlex
import string
from datetime import UTC, datetime
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object, as it is read from or written to a receipt, an answer or a command's output."""


def rfc3339(seconds: float | None) -> str | None:
    """The instant as text in UTC, to the millisecond; null stays null."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_path(path: bytes) -> str:
    r"""The path as text that is safe to print: bytes that are no UTF-8, and control characters, as `\xNN`."""
    text = path.decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def show_text(text: str) -> str:
    """The text, safe to print: whatever a terminal would obey stands as show_path has it."""
    return show_path(text.encode("utf-8", errors="backslashreplace"))


def path_text(path: bytes) -> str:
    r"""The path as text, for programs: as it is; only bytes that are no UTF-8 stand as `\xNN`."""
    return path.decode("utf-8", errors="backslashreplace")


def path_to_text(path: bytes) -> str:
    """The path as text that is the same in every locale, to be kept; text_to_path gives it back as it was."""
    return path.decode("utf-8", "surrogateescape")


def text_to_path(text: str) -> bytes:
    """The path in a text that was kept, or that stands in a file in UTF-8. Not for what the system gives."""
    return text.encode("utf-8", "surrogateescape")


def quote_path(path: bytes) -> str:
    """The path as one word of a shell command, fit to be printed and pasted, whatever its bytes are.

    Any POSIX shell takes it. Only what the substitution of a command cuts off is matched in place of being named:
    line feeds at the end.
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
    """The value as JSON. Whatever a terminal would obey, or not show, is escaped in it as JSON does."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def from_json(data: bytes | None) -> JsonObject | None:
    """The JSON object in a small file of ours, whatever a stranger has put in its place; null where it is none.

    Nothing of it can trouble its reader: it is shallow, names no key twice, and holds only what can be written as
    JSON again (so no NaN, and no text that is no Unicode). How long it may be is for whoever reads the file.
    """
    try:
        value = json.loads((data or b"").decode(), object_pairs_hook=_once_each)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, dict) and _is_shallow(value, _LEVELS) else None


_LEVELS = 20  # many more than anything of ours has


def _once_each(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _is_shallow(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or (levels > 0 and all(_is_shallow(one, levels - 1) for one in value))


def _escape(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", errors="surrogatepass"))
