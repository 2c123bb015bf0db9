"""Move a filed recording on within done/, into the folder of its verdict (folders.by_verdict).

    claim (`moves_to`)  →  receipt there, durable move, companions, old receipt removed  →  record (commit)

The recording has a receipt beside it at every moment, and each effect may be repeated after a crash.
"""

import posixpath
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from watcher import logs
from watcher.domain import Item, State
from watcher.errors import FolderError, FolderRefuses, NameTaken, RecordingError
from watcher.folders import Folder, move, receipt_name, tokens_for
from watcher.journey.file.along import move_companions_on
from watcher.journey.file.papers import Papers
from watcher.journey.file.verdict_folder import find_onward
from watcher.journey.filed import has_receipt, lies_there
from watcher.journey.site import Site
from watcher.store import Books
from watcher.text import show_path

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MovedOn:
    """An item after its move. `is_news`: it lies elsewhere than before."""

    item: Item
    is_news: bool


def end_moves(site: Site, item_ids: Iterable[str]) -> None:
    """End the moves of these items, where nobody else works on them. One that something hinders stays as it is."""
    papers = Papers(site)
    onward = Onward(site, papers)
    for item_id in item_ids:
        with suppress(FolderError, RecordingError):
            while (moved := _move_once(site, papers, onward, item_id)) is not None:
                onward.tell(moved)


def _move_once(site: Site, papers: Papers, onward: "Onward", item_id: str) -> MovedOn | None:
    with site.store.reading() as books:
        item = books.items.get(item_id)
        if item is None or item.state is not State.DONE or item.moves_to is None:
            return None
        papers.fetch(books, [item])
    if (trouble := site.find_trouble([site.done])) is not None:
        raise trouble
    moved = onward.move(item)
    with site.store.writing() as books:
        onward.record(books, moved)
    return moved


class Onward:
    """Moves what is done into done/human, done/artificial or done/inconclusive."""

    def __init__(self, site: Site, papers: Papers) -> None:
        self._site = site
        self._papers = papers

    def move(self, item: Item) -> MovedOn:
        """Move recording, receipt and companions. What somebody has collected stays as it is."""
        site, before = self._site, item.filed_as or item.path
        # Never a copy: what is filed belongs to the service already, where folders.own is set.
        done = Folder(site.done.root, site.done.name)
        with site.papers:  # nobody removes or rewrites the receipt meanwhile
            for name in self._names(item):
                if name != item.moves_to:
                    with site.store.writing() as books:  # commit where it goes before it goes
                        books.items.change(item, item.state, site.clock.now(), moves_to=name)
                    item = replace(item, moves_to=name)
                there = replace(item, filed_as=name, moves_to=None)
                is_moved = not lies_there(done, item)
                if is_moved and not lies_there(done, there):
                    return self._leave(item, there)
                try:
                    self._papers.write_first(site.done, there)
                    there = self._take(done, item, there, is_moved=is_moved)
                except NameTaken:
                    if has_receipt(done, receipt_name(name), item):
                        done.remove(receipt_name(name))  # of nothing that lies there
                    continue
                before_ns = there.fingerprint.ctime_ns if is_moved else None
                left = move_companions_on(site, item, there, done, before_ns=before_ns)
                warning = " ".join(filter(None, [item.warning, *left])) or None
                if has_receipt(done, receipt_name(before), item):
                    done.remove(receipt_name(before))
                return MovedOn(replace(there, warning=warning), is_news=True)
        raise FolderRefuses(
            f"every name for {done.label(item.moves_to or before)} is taken",
            hint="move the files with its name away",
        )

    def _names(self, item: Item) -> Iterator[bytes]:
        """Yield the names to try, the committed one first."""
        site, wanted = self._site, item.moves_to or b""
        top = wanted.partition(b"/")[0] + b"/"
        plain = posixpath.join(posixpath.dirname(wanted), posixpath.basename(item.path))
        yield wanted  # it may be there already, whatever the folder takes now
        for path, token in ((wanted, ""), *((plain, token) for token in tokens_for(item.id, plain=False))):
            name = site.acceptance.fit(site.done, path, item.id, token)
            if name.startswith(top) and name != wanted:
                yield name

    def _take(self, done: Folder, item: Item, there: Item, *, is_moved: bool) -> Item:
        """Move the recording, unless it is there already. Return it with its fingerprint there."""
        before, name = item.filed_as or item.path, there.filed_as or b""
        if is_moved:
            resting = done.fingerprint(name)
        else:
            resting = done.fingerprint(before)
            is_as_filed = resting.size == item.size
            resting = move(done, before, done, name, resting, sha256=item.sha256 if is_as_filed else None)
        was = item.fingerprint
        is_altered = (resting.size, resting.mtime_ns) != (was.size, was.mtime_ns)
        return (
            there if is_altered else replace(there, fingerprint=resting)
        )  # else an alteration would be forgotten

    def _leave(self, item: Item, there: Item) -> MovedOn:
        """Its recording is at neither place: it was collected. Return the item where its receipt is, if any is."""
        self._site.recognise(self._site.done)  # gone by itself, not with its disk
        done, old, new = (
            self._site.done,
            receipt_name(item.filed_as or item.path),
            receipt_name(there.filed_as or b""),
        )
        if has_receipt(done, new, item):
            if not has_receipt(done, old, item):
                return MovedOn(there, is_news=True)
            done.remove(new)
        return MovedOn(replace(item, moves_to=None), is_news=False)

    def record(self, books: Books, moved: MovedOn) -> None:
        """Record where it lies. A verdict that changed meanwhile has it moved on once more."""
        item, now = moved.item, self._site.clock.now()
        if not moved.is_news:
            books.items.change(item, State.DONE, now, moves_to=None)
            return
        books.items.change(
            item,
            State.DONE,
            now,
            f"moved on to done/{show_path(item.filed_as or b'')}",
            filed_as=item.filed_as,
            fingerprint=item.fingerprint,
            warning=item.warning,
            moves_to=find_onward(books, item, self._site),
            receipt_due=self._papers.is_outdated(books, item),
        )

    def tell(self, moved: MovedOn) -> None:
        if moved.is_news:
            _log.info("recording.moved_on", item=moved.item.id, path=moved.item.path, filed_as=moved.item.filed_as)
