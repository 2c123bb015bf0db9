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


class Ignore:
    """Tells temporary names from recordings, by the built-in patterns and those of `arrivals.ignore`.

    Patterns are the shell's (`*`, `?`, `[…]`) and apply to each component of a path, so that a folder's name
    covers what is below it. The built-in ones take upper and lower case alike; added ones are exact.
    """

    def __init__(self, added: Iterable[str] = ()) -> None:
        built_in = [(pattern, f"(?i:{fnmatch.translate(pattern)})") for pattern in TEMPORARY_NAMES]
        patterns = built_in + [(pattern, fnmatch.translate(pattern)) for pattern in added]
        self._patterns = [pattern for pattern, _ in patterns]
        self._match = re.compile("|".join(f"({expression})" for _, expression in patterns)).match

    def matching(self, name: bytes) -> str | None:
        """The pattern that covers this name, or a folder in this relative path; null where none does."""
        for part in name.decode("utf-8", "surrogateescape").split("/"):
            found = self._match(part)
            if found and found.lastindex:
                return self._patterns[found.lastindex - 1]
        return None
