"""What the watch and later steps say of paths: hints where to look sooner. Any thread may say them."""

import threading
from collections.abc import Callable

_MOST_HINTS = 65_536  # paths; beyond, a scan finds what they were about
_MOST_MOVED_IN = 1_000  # folders, between two scans


class Hints:
    """Paths to look at, folders that were moved in, and whether events were lost, until the step takes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for a moment: whoever reads the events waits for it
        self._paths: dict[bytes, bool] = {}  # whether each was closed, or moved in
        self._moved_in: dict[bytes, int] = {}  # folders that were moved in, and when, in ns
        self._is_in_doubt = False  # what was heard to be closed may be open again
        self.is_scan_asked = True
        self.wake: Callable[[], None] = lambda: None  # called when there is something to look at

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, path: bytes, *, is_closed: bool | None = None) -> None:
        """Something happened to this path. `is_closed`: true when the last who had it open closed it, or it was
        moved in; false when another file begins there; null when nothing is known of that.
        """
        with self._lock:
            if is_closed is None:
                self._paths.setdefault(path, False)
            else:
                self._paths[path] = is_closed
            if len(self._paths) > _MOST_HINTS:
                self._paths.clear()
                self._is_in_doubt = self.is_scan_asked = True
        self.wake()

    def moved_in(self, folder: bytes, at: int) -> None:
        """A folder was moved in at this time (ns), or within: what did not change since was moved with it."""
        with self._lock:
            if len(self._moved_in) < _MOST_MOVED_IN:
                self._moved_in[folder + b"/"] = at

    def doubt(self) -> None:
        """Events were lost: nobody knows any more what was closed, nor what has come."""
        self._is_in_doubt = True
        self.scan_soon()

    def scan_soon(self) -> None:
        """The next step scans."""
        self.is_scan_asked = True
        self.wake()

    def taken(self) -> tuple[dict[bytes, bool], bool]:
        """The paths said until now, each with whether it was closed; and whether events were lost. Each once."""
        with self._lock:
            paths, self._paths = self._paths, {}
            is_in_doubt, self._is_in_doubt = self._is_in_doubt, False
        return paths, is_in_doubt

    def folders_taken(self) -> dict[bytes, int]:
        """The folders that were moved in since this was asked last."""
        with self._lock:
            moved_in, self._moved_in = self._moved_in, {}
        return moved_in
