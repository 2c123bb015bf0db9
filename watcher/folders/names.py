"""Names for what is filed: pure, on bytes, and never longer than a file system takes."""

import posixpath
from collections.abc import Iterator

LONGEST = 255
"""Bytes in one name: NAME_MAX of every file system in common use on Linux."""

RECEIPT = b".json"
_LONGEST_EXTENSION = 32  # beyond this it is a name with a dot in it, and may be cut
_TOKEN_LENGTHS = (6, 10, 16)

_DRAFT_START = b".watcher-"
_DRAFT_END = b".tmp"


def alternative(path: bytes, token: str) -> bytes:
    """`a/call.wav` as `a/call~TOKEN.wav`: a name beside a taken one.

    Cut before the `~` so that the name with `.json` after it stays within 255 bytes, never inside a
    UTF-8 character.
    """
    folder, name = posixpath.split(path)
    stem, extension = posixpath.splitext(name)
    if len(extension) > _LONGEST_EXTENSION:
        stem, extension = name, b""
    tail = b"~" + token.encode() + extension
    return posixpath.join(folder, _cut(stem, LONGEST - len(RECEIPT) - len(tail)) + tail)


def names_for(path: bytes, item_id: str) -> Iterator[bytes]:
    """The names that a recording may be filed under, in the order in which they are tried: its own, then others.

    The others bear the first 6, 10 and 16 characters of its id, so that a person who took the first of them,
    by chance or on purpose, stops nobody.
    """
    yield path
    yield from (alternative(path, item_id[:length]) for length in _TOKEN_LENGTHS)


def receipt_name(path: bytes) -> bytes:
    """`a/call.wav` as `a/call.wav.json`, cut before the `.json` where it would exceed 255 bytes."""
    folder, name = posixpath.split(path)
    return posixpath.join(folder, _cut(name, LONGEST - len(RECEIPT)) + RECEIPT)


def draft_name(token: str) -> bytes:
    """The hidden name of a file of ours that is not whole yet."""
    return _DRAFT_START + token.encode() + _DRAFT_END


def is_draft(name: bytes) -> bool:
    """Whether a name (without its folder) is one that `draft_name` gives."""
    return name.startswith(_DRAFT_START) and name.endswith(_DRAFT_END)


def _cut(name: bytes, length: int) -> bytes:
    try:
        name.decode()
    except UnicodeDecodeError:
        return name[:length]
    return name[:length].decode(errors="ignore").encode()
