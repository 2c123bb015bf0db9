"""Who can write to the drop folder: each part of it, by what is mounted and exported there."""

import os

from watcher.folders import Folder
from watcher.mounts import Part, parts_of, read_exports, read_mounts, resolve


class Reach:
    """The parts of a folder, as of the last look."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._parts: list[Part] = []

    def look(self) -> None:
        """Read the parts as they are now."""
        self._parts = parts_of(resolve(self._folder.root), read_mounts(), read_exports())

    def only_part(self) -> Part | None:
        """Return the part that contains every path; None where there are several."""
        if not self._parts:
            self.look()
        return self._parts[0] if len(self._parts) == 1 else None

    def part(self, path: bytes) -> Part:
        """Return the innermost part that contains this path, relative to the folder."""
        if not self._parts:
            self.look()
        whole, *below = self._parts
        if not below:
            return whole
        full = os.path.join(whole.path, path)
        return max((part for part in self._parts if part.contains(full)), key=lambda part: len(part.path))
