"""The names that are passed over: unfinished transfers, and what systems leave about."""

import fnmatch
import re
from collections.abc import Iterable

TEMPORARY_NAMES = (
    *("._*", ".DS_Store", ".stfolder", ".snapshot", ".*", "*~"),
    *("*.tmp", "*.part", "*.partial", "*.filepart", "*.crdownload", "*.incomplete", "*.!ut"),
    *("Thumbs.db", "desktop.ini", "@eaDir", "lost+found"),
)
"""Names that are never recordings: unfinished transfers, and what systems leave about. `.*` is rsync's too."""

_WILD = re.compile(r"[*?\[]")


class Ignore:
    """Tells temporary names from recordings, by the built-in patterns and those of `arrivals.ignore`.

    Patterns are the shell's (`*`, `?`, `[…]`) and apply to each component of a path, so that a folder's name
    covers what is below it. The built-in ones take upper and lower case alike; added ones are exact.
    """

    def __init__(self, added: Iterable[str] = ()) -> None:
        built_in = [(pattern, f"(?ai:{fnmatch.translate(pattern)})") for pattern in TEMPORARY_NAMES]
        patterns = built_in + [(pattern, fnmatch.translate(pattern)) for pattern in added]
        self._patterns = [pattern for pattern, _ in patterns]
        self._match = re.compile("|".join(f"({expression})" for _, expression in patterns)).match
        # The look at 100,000 names asks for each: most are told from the literal parts of the patterns at half
        # the price. These know no case, so they may cover more than the patterns, and never less.
        lowered = [pattern.lower() for pattern in self._patterns]
        self._names = frozenset(p for p in lowered if not _WILD.search(p))
        self._beginnings = tuple(p[:-1] for p in lowered if p.endswith("*") and not _WILD.search(p[:-1]))
        self._ends = tuple(p[1:] for p in lowered if p.startswith("*") and not _WILD.search(p[1:]))
        told = {*self._names, *(f"{p}*" for p in self._beginnings), *(f"*{p}" for p in self._ends)}
        self._are_literal = told.issuperset(lowered)

    def matching(self, name: bytes) -> str | None:
        """The pattern that covers this name, or a folder in this relative path; null where none does."""
        for part in name.decode("utf-8", "surrogateescape").split("/"):
            low = part.lower()
            if (
                self._are_literal
                and low not in self._names
                and not low.startswith(self._beginnings)
                and not low.endswith(self._ends)
            ):
                continue
            found = self._match(part)
            if found and found.lastindex:
                return self._patterns[found.lastindex - 1]
        return None
