"""Names for what is filed: pure, on bytes, and never longer than a file system takes."""

import posixpath
import string
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 255
"""Bytes in one name: NAME_MAX of every file system in common use on Linux."""

RECEIPT = b".json"
_LONGEST_EXTENSION = 32  # beyond this it is a name with a dot in it, and may be cut
_TOKEN_LENGTHS = (6, 10, 16)
_SHORTER = (143, 100)  # the former is what eCryptfs takes, even where it says 255

_DRAFT_START = b".watcher-"
_DRAFT_END = b".tmp"
_CHECK = "checking-"

_ORDINARY = frozenset(string.ascii_letters + string.digits + "._-")  # no file system refuses these
_ORDINARY_PATH = 200

# What Windows refuses, and with it SMB, exFAT and FAT.
_REFUSED = frozenset('"*:<>?\\|\x7f')
_REFUSED_AT_THE_END = ". "
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))})


def alternative(path: bytes, token: str) -> bytes:
    """`a/call.wav` as `a/call~TOKEN.wav`: a name beside a taken one.

    Cut before the `~` so that the name with `.json` after it stays within 255 bytes, never inside a
    UTF-8 character.
    """
    folder, name = posixpath.split(path)
    return posixpath.join(folder, _named(name, token, LONGEST))


def tokens_for(item_id: str, *, plain: bool) -> Iterator[str]:
    """What is put behind a name's `~`, in the order in which names are tried; "" stands for the `plain` one.

    The first 6, 10 and 16 characters of its id, so that a person who took the first of these names, by chance or
    on purpose, stops nobody.
    """
    if plain:
        yield ""
    yield from (item_id[:length] for length in _TOKEN_LENGTHS)


def names_for(path: bytes, item_id: str) -> Iterator[bytes]:
    """The names that a recording may have where any name can be had, in the order in which they are tried."""
    return (alternative(path, token) if token else path for token in tokens_for(item_id, plain=True))


def is_receipts_name(path: bytes) -> bool:
    """Whether this may be the name of the receipt of something that lies there, or will."""
    return path.lower().endswith(RECEIPT)


def versions(path: bytes, item_id: str, token: str, longest: int) -> Iterator[bytes]:
    """The path with this token, and then ever tamer ones, for a folder that may refuse the one before.

    `longest`: bytes that its file system says that a name may have. First only what is too long is cut; then what
    Windows would refuse, and what is no text, becomes `_`; then everything but plain ASCII. The last is the id, at
    the top of the folder. All but the first leave room for `.json` after them.
    """
    *folders, name = path.split(b"/")
    seen: set[bytes] = set()
    lengths = [longest, *(shorter for shorter in _SHORTER if shorter < longest)]
    for version in (
        b"/".join([*folders, _named(name, token, LONGEST) if token else name]),
        *(_tamed(folders, name, token, length) for length in lengths),
        *(_tamed([*map(_clean, folders)], _clean(name), token, length) for length in lengths),
        _tamed([*map(_plain, folders)], _plain(name), token, min(longest, *_SHORTER)),
        at_the_top(path, item_id, token),
    ):
        if version not in seen:
            yield version
        seen.add(version)


def at_the_top(path: bytes, item_id: str, token: str) -> bytes:
    """The name of last resort: the id, in no subfolder, with the path's extension."""
    ending = posixpath.splitext(_plain(posixpath.basename(path)))[1]
    if len(ending) > _LONGEST_EXTENSION:
        ending = b""
    return "-".join(filter(None, [item_id, token])).encode() + ending


class Strangeness(NamedTuple):
    """What of a path a file system may not take: its traits, and how long its names and itself are."""

    traits: frozenset[str] = frozenset()
    longest_name: int = 0
    length: int = 0

    def is_within(self, other: "Strangeness") -> bool:
        """Whether a file system that takes the other takes this."""
        return (
            self.traits <= other.traits and self.longest_name <= other.longest_name and self.length <= other.length
        )

    def joined(self, other: "Strangeness") -> "Strangeness":
        """What a file system takes that takes both."""
        return Strangeness(
            self.traits | other.traits,
            max(self.longest_name, other.longest_name),
            max(self.length, other.length),
        )


def ordinary(longest: int) -> Strangeness:
    """What a file system takes that says so of the length of names: nobody need ask."""
    return Strangeness(frozenset(), min(longest, max(_SHORTER)), _ORDINARY_PATH)


def strangeness(path: bytes) -> Strangeness:
    """How strange the path is, with its receipt's name."""
    traits: set[str] = set()
    names = path.split(b"/")
    for name in names:
        text = name.decode(errors="surrogateescape")
        traits |= {"no text" if _is_no_text(c) else c for c in set(text) - _ORDINARY}
        if text[-1:] in _REFUSED_AT_THE_END:
            traits.add(f"ends with {text[-1:]}")
        if text[:1] == " ":
            traits.add("begins with a blank")
        if _is_device(text):
            traits.add("a device")
    longest = max(*(len(name) for name in names), min(len(names[-1]) + len(RECEIPT), LONGEST))
    return Strangeness(frozenset(traits), longest, len(path))


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


def check_note_name(token: str) -> bytes:
    """The draft that lies in the drop folder as long as a `check` may have files in done/ and failed/."""
    return draft_name(_CHECK + token)


def is_check_note(name: bytes) -> bool:
    """Whether a name (without its folder) is one that `check_note_name` gives."""
    return is_draft(name) and name.startswith(_DRAFT_START + _CHECK.encode())


def _tamed(folders: list[bytes], name: bytes, token: str, longest: int) -> bytes:
    return b"/".join([*(_cut(folder, longest) for folder in folders), _named(name, token, longest)])


def _named(name: bytes, token: str, longest: int) -> bytes:
    """The name with the token before its extension, cut so that its receipt's has no more than so many bytes."""
    stem, extension = posixpath.splitext(name)
    if len(extension) > _LONGEST_EXTENSION:
        stem, extension = name, b""
    tail = (b"~" + token.encode() if token else b"") + extension
    return _cut(stem, longest - len(RECEIPT) - len(tail)) + tail


def _clean(name: bytes) -> bytes:
    """The name as Windows would take it."""
    text = name.decode(errors="surrogateescape")
    text = "".join("_" if c in _REFUSED or c < " " or _is_no_text(c) else c for c in text)
    text = text.rstrip(_REFUSED_AT_THE_END) or "_"
    return (f"_{text}" if _is_device(text) else text).encode()


def _plain(name: bytes) -> bytes:
    """The name in letters that every file system takes."""
    return "".join(c if c in _ORDINARY else "_" for c in _clean(name).decode()).encode()


def _is_device(text: str) -> bool:
    return text.lower().partition(".")[0].rstrip(" ") in _DEVICES


def _is_no_text(character: str) -> bool:
    """Whether it stands for a byte that is no UTF-8."""
    return "\udc80" <= character <= "\udcff"


def _cut(name: bytes, length: int) -> bytes:
    length = max(length, 0)
    try:
        name.decode()
    except UnicodeDecodeError:
        return name[:length]
    return name[:length].decode(errors="ignore").encode()
