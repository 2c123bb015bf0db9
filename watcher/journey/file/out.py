"""Move a recording out of the drop folder: its receipt first, then the recording, then its companions."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from watcher import logs
from watcher.domain import Item, State
from watcher.errors import FolderError, FolderRefuses, NameTaken, RecordingChanged, RecordingError, RecordingGone
from watcher.folders import Folder, Unsynced, is_receipts_name, move, receipt_name, tokens_for
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.file.along import move_companions
from watcher.journey.file.papers import Papers
from watcher.journey.file.verdict_folder import find_onward
from watcher.journey.site import Site
from watcher.store import Books

_log = logs.get_logger(__name__)


@dataclass(slots=True)
class Claimed:
    """An item beside whose name its receipt lies already.

    `filed`: as it will be, and as its receipt has it. `names`: those that are left, should its own be taken.
    """

    item: Item
    filed: Item
    folder: Folder
    names: Iterator[bytes]


class Out:
    """Takes items from filing to done or failed: first `claim`, and once that is on the disk, `move`."""

    def __init__(self, site: Site, arrivals: Arrivals, papers: Papers) -> None:
        self._site = site
        self._arrivals = arrivals
        self._papers = papers

    def claim(self, item: Item, unsynced: Unsynced) -> Claimed:
        """Write the receipt under the first name that is free: the recording is moved to no other."""
        folder = self._papers.folder(item)
        return self._claim_next(item, folder, self._names(folder, item), unsynced)

    def _claim_next(self, item: Item, folder: Folder, names: Iterator[bytes], unsynced: Unsynced) -> Claimed:
        for name in names:
            if name != item.filed_as:
                with self._site.store.writing() as books:  # commit where it goes before it goes
                    books.items.change(item, State.FILING, self._site.clock.now(), filed_as=name)
                item = replace(item, filed_as=name)
            filed = replace(
                item,
                filed_as=name,
                filed_at=item.filed_at or self._site.clock.now(),
                # Else a command in its hint would be run on whatever has the old name.
                fault=item.fault and item.fault.moved(*(os.path.join(folder.root, n) for n in (item.path, name))),
            )
            try:
                self._claim_name(folder, filed, unsynced)
            except NameTaken:
                continue
            return Claimed(item, filed, folder, names)
        raise FolderRefuses(
            f"every name for {folder.label(item.path)} is taken", hint="move the files with its name away"
        )

    def move(self, claimed: Claimed, unsynced: Unsynced) -> Item:
        """Move the recording and its companions beside the receipt. Return the item as filed: where, and when."""
        while True:
            item, folder = claimed.filed, claimed.folder
            name = item.filed_as or item.path
            is_repeated = bool(item.companions) and not self._lies_in_drop(item)
            try:
                # What was paid for may use up the space reserved for it, part of which its receipt has taken. In
                # failed/ the reserve stays for others' receipts: without space for one, submitting is paused.
                there = move(
                    self._site.drop,
                    item.path,
                    folder,
                    name,
                    item.fingerprint,
                    sha256=item.sha256,
                    alone=folder is self._site.done,
                    unsynced=unsynced,
                    root=self._site.root_of(folder),
                )
            except NameTaken:
                folder.remove(receipt_name(name))  # ours, but of nothing that lies there
                claimed = self._claim_next(claimed.item, folder, claimed.names, unsynced)
                unsynced.settle()  # its receipt, too, is on the disk before the recording is there
                continue
            except (RecordingGone, RecordingChanged):
                self._site.check_mounted(item.path)  # gone by itself, not with its disk
                return self._file_without_recording(folder, item)
            # What was made since its recording was moved, before a crash, came with the next one of its name.
            before_ns = there.ctime_ns if is_repeated else None
            left = move_companions(self._site, item, self._site.drop, folder, before_ns=before_ns)
            warning = " ".join(filter(None, [item.warning, *left])) or None
            return replace(item, fingerprint=there, warning=warning)

    def _lies_in_drop(self, item: Item) -> bool:
        """Whether the recording was not moved yet, as far as can be told without reading it.

        A new file may have its inode number, once that is free. One that was touched or renumbered is taken for
        moved, which does no harm: its companions are older than the move that follows.
        """
        try:
            return self._site.drop.fingerprint(item.path).same_content(item.fingerprint)
        except (RecordingError, FolderError):
            return False

    def _claim_name(self, folder: Folder, item: Item, unsynced: Unsynced) -> None:
        """Write the receipt under its name. Raises NameTaken where that name or the recording's is taken."""
        try:
            self._papers.write_first(folder, item, unsynced)
        except NameTaken:
            if not self._site.acceptance.clear(folder, item.filed_as or item.path):
                raise
            self._papers.write_first(folder, item, unsynced)

    def _names(self, folder: Folder, item: Item) -> Iterator[bytes]:
        """Yield the names to try, the committed one first. The folder can take each of them, if it is free.

        A recording named like a receipt never gets its plain name: another recording's receipt may need it.
        """
        fit = self._site.acceptance.fit
        if item.filed_as not in (None, item.path):
            yield fit(folder, item.filed_as or b"", item.id)
        for token in tokens_for(item.id, plain=True):
            name = fit(folder, item.path, item.id, token)
            if token or not is_receipts_name(name):  # not its path: some folders turn `a.json.` into `a.json`
                yield name

    def _file_without_recording(self, folder: Folder, item: Item) -> Item:
        """Write the receipt alone: the recording is gone, or another file has its name."""
        note = "Its file was gone from the drop folder, or had been replaced, when it was to be filed."
        item = replace(item, warning=" ".join(filter(None, [item.warning, note])))
        written_as, item = item.filed_as or item.path, replace(item, filed_as=None)
        self._papers.write(folder, receipt_name(written_as), item, replacing=True)
        self._arrivals.hint(item.path)
        return item

    def record(self, books: Books, item: Item) -> None:
        """Record the item as done or failed, with the fingerprint of what was filed, to detect changes."""
        if item.outcome is None:
            return
        books.items.change(
            item,
            item.outcome,
            item.filed_at or 0.0,
            filed_as=item.filed_as,
            filed_at=item.filed_at,
            fingerprint=item.fingerprint,
            warning=item.warning,
            fault=item.fault,
            receipt_due=self._papers.is_outdated(books, item),  # a verdict may have come in since
            moves_to=find_onward(books, item, self._site),  # of the same bytes, or that came very soon
        )

    def tell(self, item: Item) -> None:
        tell = _log.info if item.outcome is State.DONE else _log.warning
        tell(
            "recording.done" if item.outcome is State.DONE else "recording.failed",
            item=item.id,
            path=item.path,
            filed_as=item.filed_as,
            identifier=item.identifier,
            error=item.fault.code if item.fault else None,
            reason=item.fault.message if item.fault else None,
        )
