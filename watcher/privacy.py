"""`privacy.names = "hide"`: what a recording is called is replaced by its id. Pure."""

import posixpath
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
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


_LABEL = re.compile(r"^.* in the (?=(?:drop|done|failed) folder )", re.DOTALL)
_LITERAL = re.compile(r"""b?'(?:[^'\\\n]|\\.)*'|b?"(?:[^"\\\n]|\\.)*\"""")
_CODE = re.compile(r'^ *File "', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Veil:
    """Hides names in what is logged. `roots`: the drop, done and failed folders, which are no secret."""

    roots: tuple[bytes, ...]

    def hide_path(self, path: bytes, instead: str = HIDDEN) -> str:
        """Return the path of one of the folders as it is, and any other hidden."""
        return show_path(path) if path in self.roots else instead

    def hide_in(self, said: str, paths: Iterable[bytes], instead: str = HIDDEN) -> str:
        """Return the text without these paths, and without whatever it says to lie in one of the folders.

        Rather too much is hidden than a name shown: what stands before the label of a folder goes with the name.
        """
        said = hide_names(said, [path for path in paths if path not in self.roots], instead)
        said = _LABEL.sub(f"{instead} in the ", said)
        for root in self.roots:
            for written in _written(root):
                said = re.sub(re.escape(written) + r"/.*", f"{written}/{instead}", said, flags=re.DOTALL)
        return said

    def hide_in_trace(self, trace: str, paths: Iterable[bytes]) -> str:
        """Return a traceback in which no value is shown: of an unforeseen error nobody knows what it names."""
        known = hide_names(trace, [path for path in paths if path not in self.roots])
        lines = (line if _CODE.match(line) else _LITERAL.sub(HIDDEN, line) for line in known.splitlines())
        return "\n".join(self.hide_in(line, ()) for line in lines)
