"""Move a failed recording back into the drop folder: a person asked for another try."""

from dataclasses import dataclass, replace

from watcher import logs
from watcher.domain import Item, State
from watcher.errors import NameTaken, RecordingGone, RecordingUnreachable
from watcher.folders import Folder, hash_of, move, receipt_name, tokens_for
from watcher.journey.arrive.admit import Examined, doubt_after_loss, examine_file, place
from watcher.journey.arrive.companions import companion_name
from watcher.journey.file.along import move_companions
from watcher.journey.file.onward import Onward
from watcher.journey.filed import has_receipt, is_anothers, lies_there
from watcher.journey.loss import find_loss_noted
from watcher.journey.site import Site
from watcher.store import Books

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Returned:
    """A recording that is in the drop folder again, as it was examined there; or why it could not be returned."""

    item: Item
    examined: Examined | None
    reason: str = ""


class Back:
    """Takes items from returning to queued."""

    def __init__(self, site: Site, onward: Onward) -> None:
        self._site = site
        self._onward = onward

    def move(self, item: Item) -> Returned:
        """Move the recording back into the drop folder, and remove its receipt.

        A move within done/ that was under way is ended first, so that it lies in one place.
        """
        if item.moves_to is not None:
            item = replace(self._onward.move(item).item, moves_to=None)
        site, folder = self._site, self._folder(item)
        former, failed_as = item, item.filed_as or item.path
        try:
            is_doubtful = self._is_doubtful(folder, item)
            item = self._move_back(item, failed_as)
            examined = examine_file(site, item.path, item.fingerprint)
            examined = replace(examined, is_doubtful=is_doubtful)
        except RecordingGone as error:
            return Returned(item, None, error.message)
        if not is_anothers(folder, former):  # else what lies beside that one belongs to that one
            move_companions(site, item, folder, site.drop)
            if has_receipt(folder, receipt_name(failed_as), item):
                folder.remove(receipt_name(failed_as))
        return Returned(item, examined)

    def _folder(self, item: Item) -> Folder:
        """Return where it was filed: done/, where only parts of it were accepted."""
        return self._site.done if item.outcome is State.DONE else self._site.failed

    def _is_doubtful(self, folder: Folder, item: Item) -> bool:
        """Return whether it was moved back before the database was lost, and may have been sent since.

        An older copy of the database has it as on its way back for ever.
        """
        with self._site.store.reading() as books:
            loss, asked_at = find_loss_noted(books), books.rebuilt.changed_at(item.id)
        return loss is not None and asked_at <= loss.until and not lies_there(folder, item)

    def _move_back(self, item: Item, failed_as: bytes) -> Item:
        """Move the recording back, unless it is there already, moved before a crash or by a person."""
        site, folder = self._site, self._folder(item)
        if not lies_there(folder, item):
            back = site.drop.fingerprint(item.path)
            if back.inode != item.fingerprint.inode and _digest(site, item.path) != item.sha256:
                raise RecordingGone(f"other recordings have its name in {folder.label()} and in the drop folder")
            return replace(item, fingerprint=back)
        resting = folder.fingerprint(failed_as)
        for token in tokens_for(item.id, plain=True):
            name = site.acceptance.fit(site.drop, item.path, item.id, token)
            if name != item.path:
                with site.store.writing() as books:  # commit where it goes before it goes
                    companions = tuple(companion_name(c, item.path, name) for c in item.companions)
                    books.items.change(item, State.RETURNING, site.clock.now(), path=name, companions=companions)
                item = replace(item, path=name, companions=companions)
            try:
                return replace(item, fingerprint=move(folder, failed_as, site.drop, name, resting))
            except NameTaken:
                continue
        raise RecordingUnreachable(
            f"every name for {site.drop.label(item.path)} is taken", hint="move the files with its name away"
        )

    def record(self, books: Books, returned: Returned) -> None:
        """Record the item like a new one; or leave it failed, where its recording is nowhere."""
        item, examined, now = returned.item, returned.examined, self._site.clock.now()
        if examined is None:
            before = State.DONE if item.outcome is State.DONE else State.FAILED
            note = f"it could not be returned: {returned.reason}"
            books.items.change(item, before, now, note, filed_as=item.filed_as, moves_to=None)
            return
        facts = place(self._site, books, item, examined)
        facts = doubt_after_loss(self._site, replace(item, **facts), examined, facts)
        after = State(str(facts.pop("state")))
        books.items.change(
            item,
            after,
            now,
            "back in the drop folder",
            due_at=now,
            faults=0,
            filed_at=None,
            moves_to=None,
            **facts,
        )

    def tell(self, returned: Returned) -> None:
        item = returned.item
        if returned.examined is None:
            _log.warning("recording.stayed", item=item.id, path=item.path, reason=returned.reason)
        else:
            _log.info("recording.returned", item=item.id, path=item.path)


def _digest(site: Site, path: bytes) -> str:
    file, _ = site.drop.open(path)
    with file:
        return hash_of(file)
