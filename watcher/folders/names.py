"""Names for what is filed: pure, on bytes, and never longer than a file system takes."""

import posixpath

LONGEST = 255
"""Bytes in one name: NAME_MAX of every file system in common use on Linux."""

RECEIPT = b".json"
_LONGEST_EXTENSION = 32  # beyond this it is a name with a dot in it, and may be cut

_DRAFT_START = b".watcher-"
_DRAFT_END = b".tmp"


def alternative(path: bytes, item_id: str) -> bytes:
    """`a/call.wav` as `a/call~1a2b3c.wav`: the name beside a taken one, with the first 6 of the item's id.

    Cut before the `~` so that the name with `.json` after it stays within 255 bytes, never inside a
    UTF-8 character.
    """
    folder, name = posixpath.split(path)
    stem, extension = posixpath.splitext(name)
    if len(extension) > _LONGEST_EXTENSION:
        stem, extension = name, b""
    tail = b"~" + item_id[:6].encode() + extension
    return posixpath.join(folder, _cut(stem, LONGEST - len(RECEIPT) - len(tail)) + tail)


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
