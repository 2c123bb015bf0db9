"""Hints where to look sooner, from the watch and from later steps. Thread-safe."""

import threading
from collections.abc import Callable

_MOST_HINTS = 65_536  # paths; if there are more, a scan finds what they were about
_MOST_MOVED_IN = 1_000  # folders, between two scans


class Hints:
    """Paths to look at, folders that were moved in, and whether events were lost, until the step takes these."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held briefly: the thread that reads the events waits for it
        self._paths: dict[bytes, bool | None] = {}  # see `add`
        self._moved_in: dict[bytes, int] = {}  # folders that were moved in, and when, in ns
        self.is_in_doubt = False  # events were lost: what was closed may be open again
        self.is_scan_asked = True
        self.wake: Callable[[], None] = lambda: None  # called when there is something to look at

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, path: bytes, *, is_closed: bool | None = None) -> None:
        """Add a path to which something happened.

        `is_closed`: true when its last writer closed it, or it was moved in while nobody had it open; false when
        what is there now may be open: a file that begins, or one that was moved there; None when neither is known.
        """
        with self._lock:
            if is_closed is None:
                self._paths.setdefault(path, None)
            else:
                self._paths[path] = is_closed
            if len(self._paths) > _MOST_HINTS:
                self._paths.clear()
                self.is_in_doubt = self.is_scan_asked = True
        self.wake()

    def moved_in(self, folder: bytes, at: int) -> None:
        """Add a folder that was moved in at this time (ns): what has not changed since was moved with it."""
        with self._lock:
            if len(self._moved_in) < _MOST_MOVED_IN:
                self._moved_in[folder + b"/"] = at

    def doubt(self) -> None:
        """Note that events were lost: it is no longer known what was closed, or what has arrived."""
        self.is_in_doubt = True
        self.scan_soon()

    def scan_soon(self) -> None:
        """Have the next step scan."""
        self.is_scan_asked = True
        self.wake()

    def taken(self) -> tuple[dict[bytes, bool | None], bool]:
        """Return, once, the paths so far, each with whether it was closed; and whether events were lost."""
        with self._lock:
            paths, self._paths = self._paths, {}
            is_in_doubt, self.is_in_doubt = self.is_in_doubt, False
        return paths, is_in_doubt

    def folders_taken(self) -> dict[bytes, int]:
        """Return the folders that were moved in since the last call."""
        with self._lock:
            moved_in, self._moved_in = self._moved_in, {}
        return moved_in
