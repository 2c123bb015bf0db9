"""Look at filed recordings again soon afterwards: somebody may still have been writing."""

import threading
from collections import deque
from dataclasses import replace

from watcher import logs
from watcher.domain import Altered, Item
from watcher.journey.file.papers import Papers
from watcher.journey.filed import find_alteration
from watcher.journey.site import Site

_log = logs.get_logger(__name__)

_AFTER_SECONDS = (10.0, 60.0, 600.0)
_MOST = 10_000  # in each of the three: a look may be skipped, since there is another when the verdict comes


class Relook:
    """Looks at each filed recording some seconds, a minute and ten minutes after it was filed.

    It is kept in memory only: after a restart there is still the look when the verdict comes, and `reconcile`.
    """

    def __init__(self, site: Site, papers: Papers, stopping: threading.Event) -> None:
        self._site = site
        self._stopping = stopping
        self._papers = papers
        self._due = [deque[tuple[float, str]](maxlen=_MOST) for _ in _AFTER_SECONDS]

    def add(self, item: Item) -> None:
        """Plan the looks at a recording that was filed just now."""
        now = self._site.clock.monotonic()
        for seconds, due in zip(_AFTER_SECONDS, self._due, strict=True):
            due.append((now + seconds, item.id))

    def look(self, limit: int) -> None:
        """Look at some of those that are due. Record what is found, and make its receipt due."""
        now = self._site.clock.monotonic()
        ids: list[str] = []
        for due in self._due:
            while due and due[0][0] <= now and len(ids) < limit:
                ids.append(due.popleft()[1])
        self._look_at(ids)

    def look_at_all(self) -> None:
        """Look now at all that are still to be looked at."""
        ids = {item_id for due in self._due for _, item_id in due}
        for due in self._due:
            due.clear()
        self._look_at(sorted(ids))

    def _look_at(self, ids: list[str]) -> None:
        if not ids:
            return
        with self._site.store.reading() as books:
            items = [item for item in map(books.items.get, ids) if item is not None]
        now = self._site.clock.now()
        altered = []
        for item in items:
            if self._stopping.is_set():
                break
            if (what := self._find(item, now)) is not None:
                altered.append(replace(item, altered=what))
        if altered:
            with self._site.store.writing() as books:
                for item in altered:
                    books.filing.mark_altered(item)

    def _find(self, item: Item, now: float) -> Altered | None:
        """Return how it was altered since. An unexpected error stops no other; later looks follow."""
        try:
            return find_alteration(self._papers.folder(item), item, now)
        except Exception as error:  # noqa: BLE001 — about this one file alone
            _log.error("relook.failed", item=item.id, path=item.path, exc_info=error)
            return None
