"""Compare what is at a path now with its item: taken away, replaced, or the same under another inode."""

from collections.abc import Sequence
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

_TAKEN_OUT = "its file was taken out of the drop folder"


class Recheck:
    """Looks at paths, with or without an item."""

    def __init__(self, site: Site, registry: Registry, reach: Reach) -> None:
        self._site = site
        self._registry = registry
        self._reach = reach

    def recheck(self, path: bytes, *, is_closed: bool | None = None) -> None:
        """Withdraw an item whose file was taken away or changed before it was sent; what is there now is new.

        `is_closed`: see Hints.add.
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
            note = _TAKEN_OUT
        except (RecordingUnreachable, FolderError):
            return
        else:
            if now_there == item.fingerprint or self._is_itself(item, now_there):
                return
            note = "its file was changed or replaced before it was sent"
            # Copiers set owner, mode and times after their close: do not wait for another close.
            is_same = item.fingerprint.same_file(now_there) and item.size == now_there.size
            is_closed = (is_same and self._registry.is_closed(path)) or is_closed
        try:
            site.check_mounted(path)  # after the look: a disk that is there now was there then, or seemed away
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

    def withdraw_gone(self, paths: Sequence[bytes]) -> list[bytes]:
        """Withdraw, in one commit, the items whose files were taken away. Return the paths to recheck singly."""
        site = self._site
        with site.store.reading() as books:
            items = {path: books.items.live_at(path) for path in paths}
        gone: dict[bytes, Item] = {}
        for path, item in items.items():
            if item is not None and item.state in UNTOUCHED:
                with suppress(RecordingUnreachable, FolderError):
                    if not self._is_there(path):
                        gone[path] = item
        rest = [path for path in paths if path not in gone]
        if not gone:
            return rest
        try:
            site.recognise(site.drop)  # after the looks: a disk that is there now was there then, or seemed away
        except FolderError as error:
            site.pause_for_folder(error)
            return []
        away = tuple(point + b"/" for point in site.mounts_away())
        withdrawn: list[Item] = []
        now = site.clock.now()
        with site.store.writing() as books:
            for path, item in gone.items():
                if not path.startswith(away):
                    with suppress(StaleItem):
                        withdraw(books, item, now, _TAKEN_OUT)
                        withdrawn.append(item)
        with self._registry.lock:
            for item in withdrawn:
                self._registry.known.pop(item.path, None)
        for item in withdrawn:
            _log.info("recording.withdrawn", item=item.id, path=item.path, reason=_TAKEN_OUT)
            self.look_at(item.path)
        return rest

    def _is_there(self, path: bytes) -> bool:
        try:
            self._site.drop.fingerprint(path)
        except RecordingGone:
            return False
        return True

    def look_at(self, path: bytes, *, is_closed: bool | None = None) -> None:
        clock = self._site.clock
        now, monotonic = clock.now(), clock.monotonic()
        try:
            fingerprint = self._site.drop.fingerprint(path)
        except (RecordingGone, RecordingUnreachable, FolderError):
            with self._registry.lock:
                self._registry.lose(path)
            return
        with self._registry.lock:
            self._registry.see(path, fingerprint, now, monotonic, is_closed=is_closed)

    def _is_itself(self, item: Item, there: Fingerprint) -> bool:
        """Return whether the file is the recording that was queued, with another inode or other times.

        On a file system that keeps those, any difference means another file. On others its bytes decide.
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
        with self._registry.lock:
            self._registry.recognised(item.path, opened.inode)
        return True


def withdraw(books: Books, item: Item, now: float, note: str) -> None:
    """Withdraw an item whose file is no longer there. Raises StaleItem."""
    fault = decided(item, "Its file was taken away first.") if item.state is State.HELD else item.fault
    books.items.change(item, State.WITHDRAWN, now, note, fault=fault)
