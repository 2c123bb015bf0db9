"""A name in its Unicode forms: macOS stores accents apart from their letters (NFD), keyboards type NFC."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice, product, takewhile
from unicodedata import normalize

_MOST = 64  # spellings to try of one path: each name in it may have either form


def other_spellings(path: bytes, folders: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the other paths that look like this one, first those that exist below one of the folders.

    `folders`: where a relative path may begin.
    """
    names = path.split(b"/")
    forms = [list(dict.fromkeys(_forms(name))) for name in names]
    if all(len(each) == 1 for each in forms):
        return
    told = {path}
    starts = [b"/"] if path.startswith(b"/") else list(folders)
    on_disk = (found for start in starts if (found := _find(start, names)) is not None)
    for other in (*on_disk, *(b"/".join(chosen) for chosen in islice(product(*forms), _MOST))):
        if other not in told:
            told.add(other)
            yield other


def tell_spelling(typed: bytes, found: bytes) -> str:
    """A note that the name was typed in another form than it was found in; "" if it was not."""
    pairs = list(zip(reversed(typed.split(b"/")), reversed(found.split(b"/")), strict=False))
    alike = list(takewhile(lambda pair: _composed(pair[0]) == _composed(pair[1]), pairs))
    typed, found = (b"/".join(names) for names in zip(*alike, strict=True)) if alike else (b"", b"")
    if typed == found:
        return ""
    return f"Its name has another Unicode form ({_form(found)}) than the one that was typed ({_form(typed)})."


def _find(folder: bytes, names: list[bytes]) -> bytes | None:
    """The path below the folder with these names in any form; null if there is none."""
    here = folder
    for name in names:
        below = os.path.join(here, name)
        if not os.path.lexists(below):
            try:
                alike = [found for found in os.listdir(here) if _composed(found) == _composed(name)]
            except OSError:
                return None
            if not alike:
                return None
            below = os.path.join(here, alike[0])
        here = below
    return here


def _forms(name: bytes) -> tuple[bytes, ...]:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return (name,)
    return name, normalize("NFC", text).encode(), normalize("NFD", text).encode()


def _composed(name: bytes) -> bytes:
    forms = _forms(name)
    return forms[1] if len(forms) > 1 else name


def _form(name: bytes) -> str:
    _, *forms = _forms(name)
    return next((form for form, spelled in zip(("NFC", "NFD"), forms, strict=False) if spelled == name), "mixed")
