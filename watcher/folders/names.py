"""Names for filed recordings: pure, on bytes, and never longer than a file system allows."""

import posixpath
import string
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 255
"""The most bytes in a name: NAME_MAX of every file system in common use on Linux."""

RECEIPT = b".json"
_LONGEST_EXTENSION = 32  # a longer one is not an extension but a name with a dot in it, and may be cut
_TOKEN_LENGTHS = (6, 10, 16)
_SHORTER = (143, 100)  # 143 is eCryptfs's limit, even where it reports 255

_DRAFT_START = b".watcher-"
_DRAFT_END = b".tmp"
_DRILL_START = b".watcher-drill-"
_CHECK = "checking-"

_ORDINARY = frozenset(string.ascii_letters + string.digits + "._-")  # no file system refuses these
_ORDINARY_PATH = 200

# Refused by Windows, and so by SMB, exFAT and FAT.
_REFUSED = frozenset('"*:<>?\\|\x7f')
_REFUSED_AT_THE_END = ". "
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))})


def alternative(path: bytes, token: str) -> bytes:
    """Return `a/call~TOKEN.wav` for `a/call.wav`: a name to use when that one is taken.

    It is cut before the `~`, never inside a UTF-8 character, so that the name plus `.json` stays within 255 bytes.
    """
    folder, name = posixpath.split(path)
    return posixpath.join(folder, _named(name, token, LONGEST))


def tokens_for(item_id: str, *, plain: bool) -> Iterator[str]:
    """Yield the tokens to try, in order, behind a name's `~`; "" is for the `plain` name.

    They are the first 6, 10 and 16 characters of the id, so that somebody who takes the first of these names, by
    chance or on purpose, blocks nothing.
    """
    if plain:
        yield ""
    yield from (item_id[:length] for length in _TOKEN_LENGTHS)


def names_for(path: bytes, item_id: str) -> Iterator[bytes]:
    """Yield the names to try for a recording, in order, where the folder accepts any name."""
    return (alternative(path, token) if token else path for token in tokens_for(item_id, plain=True))


def is_receipts_name(path: bytes) -> bool:
    """Return whether this could be the name of some recording's receipt, now or later."""
    return path.lower().endswith(RECEIPT)


def versions(path: bytes, item_id: str, token: str, longest: int) -> Iterator[bytes]:
    """Yield the path with this token, then ever plainer versions, for a folder that may refuse the one before.

    `longest`: the file system's limit for a name, in bytes. First only what is too long is cut; then what Windows
    would refuse, and bytes that are no UTF-8, become `_`; then everything but plain ASCII. The last is the id, at
    the top of the folder. All but the first leave room for `.json`.
    """
    seen: set[bytes] = set()
    for version in _all_versions(path, item_id, token, longest):  # nearly always the first is taken
        if version not in seen:
            yield version
        seen.add(version)


def _all_versions(path: bytes, item_id: str, token: str, longest: int) -> Iterator[bytes]:
    """Yield what `versions` does, some of it more than once."""
    *folders, name = path.split(b"/")
    yield b"/".join([*folders, _named(name, token, LONGEST) if token else name])
    lengths = [longest, *(shorter for shorter in _SHORTER if shorter < longest)]
    yield from (_tamed(folders, name, token, length) for length in lengths)
    yield from (_tamed([*map(_clean, folders)], _clean(name), token, length) for length in lengths)
    yield _tamed([*map(_plain, folders)], _plain(name), token, min(longest, *_SHORTER))
    yield at_the_top(path, item_id, token)


def at_the_top(path: bytes, item_id: str, token: str) -> bytes:
    """The name of last resort: the id, in no subfolder, with the path's extension."""
    ending = posixpath.splitext(_plain(posixpath.basename(path)))[1]
    if len(ending) > _LONGEST_EXTENSION:
        ending = b""
    return "-".join(filter(None, [item_id, token])).encode() + ending


class Strangeness(NamedTuple):
    """What a file system might refuse in a path: unusual traits, the lengths of its names and of the whole."""

    traits: frozenset[str] = frozenset()
    longest_name: int = 0
    length: int = 0

    def is_within(self, other: "Strangeness") -> bool:
        """Return whether a file system that accepts the other accepts this."""
        return (
            self.traits <= other.traits and self.longest_name <= other.longest_name and self.length <= other.length
        )

    def joined(self, other: "Strangeness") -> "Strangeness":
        """Return what a file system that accepts both accepts."""
        return Strangeness(
            self.traits | other.traits,
            max(self.longest_name, other.longest_name),
            max(self.length, other.length),
        )


def ordinary(longest: int) -> Strangeness:
    """Return what any file system with this limit for names accepts, without a probe."""
    return Strangeness(frozenset(), min(longest, max(_SHORTER)), _ORDINARY_PATH)


def strangeness(path: bytes) -> Strangeness:
    """Return the strangeness of the path, its receipt's name included."""
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
    """Return `a/call.wav.json` for `a/call.wav`, cut before the `.json` where it would exceed 255 bytes."""
    if len(path) <= LONGEST - len(RECEIPT):
        return path + RECEIPT
    folder, name = posixpath.split(path)
    return posixpath.join(folder, _cut(name, LONGEST - len(RECEIPT)) + RECEIPT)


def draft_name(token: str) -> bytes:
    """Return the hidden name of a file of ours that is not complete yet."""
    return _DRAFT_START + token.encode() + _DRAFT_END


def is_draft(name: bytes) -> bool:
    """Return whether a name (without its folder) is one of `draft_name`."""
    return name.startswith(_DRAFT_START) and name.endswith(_DRAFT_END)


def drill_name(token: str) -> bytes:
    """Name a drill's folder inside one of the site's."""
    return _DRILL_START + token.encode()


def is_aside(name: bytes) -> bool:
    """Return whether a name is one of ours that nobody dropped or filed: a draft's, or a drill's folder's."""
    return is_draft(name) or name.startswith(_DRILL_START)


def check_note_name(token: str) -> bytes:
    """Name the draft that the drop folder has while a `check` may have files in done/ and failed/."""
    return draft_name(_CHECK + token)


def is_check_note(name: bytes) -> bool:
    """Return whether a name (without its folder) is one of `check_note_name`."""
    return is_draft(name) and name.startswith(_DRAFT_START + _CHECK.encode())


def _tamed(folders: list[bytes], name: bytes, token: str, longest: int) -> bytes:
    return b"/".join([*(_cut(folder, longest) for folder in folders), _named(name, token, longest)])


def _named(name: bytes, token: str, longest: int) -> bytes:
    """Put the token before the name's extension, and cut it so that its receipt's name fits the limit."""
    stem, extension = posixpath.splitext(name)
    if len(extension) > _LONGEST_EXTENSION:
        stem, extension = name, b""
    tail = (b"~" + token.encode() if token else b"") + extension
    return _cut(stem, longest - len(RECEIPT) - len(tail)) + tail


def _clean(name: bytes) -> bytes:
    """Return the name in a form that Windows accepts."""
    text = name.decode(errors="surrogateescape")
    text = "".join("_" if c in _REFUSED or c < " " or _is_no_text(c) else c for c in text)
    text = text.rstrip(_REFUSED_AT_THE_END) or "_"
    return (f"_{text}" if _is_device(text) else text).encode()


def _plain(name: bytes) -> bytes:
    """Return the name in characters that every file system accepts."""
    return "".join(c if c in _ORDINARY else "_" for c in _clean(name).decode()).encode()


def _is_device(text: str) -> bool:
    return text.lower().partition(".")[0].rstrip(" ") in _DEVICES


def _is_no_text(character: str) -> bool:
    """Return whether it stands for a byte that is not UTF-8."""
    return "\udc80" <= character <= "\udcff"


def _cut(name: bytes, length: int) -> bytes:
    length = max(length, 0)
    try:
        name.decode()
    except UnicodeDecodeError:
        return name[:length]
    return name[:length].decode(errors="ignore").encode()
