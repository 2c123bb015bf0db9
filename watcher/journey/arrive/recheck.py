"""What lies at a path now, against the item that it has: taken away, replaced, or itself under another number."""

from contextlib import suppress

from watcher import logs
from watcher.domain import UNTOUCHED, Fingerprint, Item, State
from watcher.errors import FolderError, RecordingError, RecordingGone, RecordingUnreachable, StaleItem
from watcher.folders import hash_of
from watcher.journey.arrive.reach import Reach
from watcher.journey.arrive.registry import Registry
from watcher.journey.site import Site
from watcher.journey.submit.doubt import decided
from watcher.store import Books

_log = logs.get_logger(__name__)


class Recheck:
    """Looks at paths, with an item or without."""

    def __init__(self, site: Site, registry: Registry, reach: Reach) -> None:
        self._site = site
        self._registry = registry
        self._reach = reach

    def recheck(self, path: bytes, *, is_closed: bool = False) -> None:
        """An item whose file was taken away or changed before it was sent is withdrawn; what lies there is new.

        `is_closed`: as `hint` has it.
        """
        site = self._site
        with site.store.reading() as books:
            item = books.items.live_at(path)
        if item is None:
            self.look_at(path, is_closed=is_closed)
            return
        if item.state not in UNTOUCHED:
            return
        try:
            now_there = site.drop.fingerprint(path)
        except RecordingGone:
            note = "its file was taken out of the drop folder"
        except (RecordingUnreachable, FolderError):
            return
        else:
            if now_there == item.fingerprint or self._is_itself(item, now_there):
                return
            note = "its file was changed or replaced before it was sent"
            # Copiers set owner, mode and times after their close: that is no reason to wait for another one.
            is_same = item.fingerprint.same_file(now_there) and item.size == now_there.size
            is_closed |= is_same and self._registry.is_closed(path)
        try:
            site.check_mounted(path)  # asked after the look: what is there now was there then, or looked away
        except FolderError as error:
            site.pause_for_folder(error)
            return
        except RecordingUnreachable:
            return
        try:
            with site.store.writing() as books:
                withdraw(books, item, site.clock.now(), note)
        except StaleItem:
            return
        with self._registry.lock:
            self._registry.known.pop(path, None)
        _log.info("recording.withdrawn", item=item.id, path=path, reason=note)
        self.look_at(path, is_closed=is_closed)

    def look_at(self, path: bytes, *, is_closed: bool = False) -> None:
        clock = self._site.clock
        now, monotonic = clock.now(), clock.monotonic()
        try:
            fingerprint = self._site.drop.fingerprint(path)
        except (RecordingGone, RecordingUnreachable, FolderError):
            with self._registry.lock:
                self._registry.settler.forget(path)
            return
        with self._registry.lock:
            self._registry.see(path, fingerprint, now, monotonic, is_closed=is_closed)

    def _is_itself(self, item: Item, there: Fingerprint) -> bool:
        """Whether what lies there is the recording that was queued, under a number or times that are others.

        Where its file system keeps those, anything else is another file. Where not, its bytes tell.
        """
        site = self._site
        if there.size != item.size or item.sha256 is None or self._reach.part(item.path).keeps_identity:
            return False
        try:
            file, opened = site.drop.open(item.path)
            with file:
                if opened.size != item.size or hash_of(file) != item.sha256:
                    return False
        except (RecordingError, FolderError):
            return False
        with suppress(StaleItem), site.store.writing() as books:
            books.items.change(item, item.state, site.clock.now(), fingerprint=opened)
        return True


def withdraw(books: Books, item: Item, now: float, note: str) -> None:
    """Its file is not there any more: nothing is sent or moved for it. StaleItem, as Books has it."""
    fault = decided(item, "Its file was taken away first.") if item.state is State.HELD else item.fault
    books.items.change(item, State.WITHDRAWN, now, note, fault=fault)
