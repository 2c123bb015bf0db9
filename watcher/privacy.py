"""`privacy.names = "hide"`: what a recording is called is replaced by its id. Pure."""

import posixpath
import re
import shlex
from collections.abc import Iterable
from functools import lru_cache

from watcher.text import path_text, quote_path, show_path

HIDDEN = "(name hidden)"


def hide_names(said: str, paths: Iterable[bytes | None], instead: str = HIDDEN) -> str:
    """Return the text with these paths, in each of the forms that messages have them in, replaced.

    Absolute ones, in commands to be pasted too, keep the folder that the path is relative to. So do names alone.
    """
    for path in paths:
        if path and said:
            said = _forms(path).sub(lambda _: instead, said)
    return said


@lru_cache(maxsize=64)
def _forms(path: bytes) -> re.Pattern[str]:
    folder, name = posixpath.split(path)
    stem = posixpath.splitext(name)[0]
    written = {form for part in (path, name, stem, folder) if part for form in _written(part)}
    either = "|".join(map(re.escape, sorted(written, key=len, reverse=True)))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)")


def _written(path: bytes) -> set[str]:
    """Return all the ways in which messages and commands write this path."""
    pasted = quote_path(path)
    if pasted.startswith('"$('):
        pasted = pasted.partition("'")[2].rpartition("'")[0]
    text = show_path(path)
    return {text, path_text(path), pasted, shlex.quote(text)[1:-1] if "'" in text else text}
