"""Fourth: the recording leaves the drop folder for done/ or failed/, with its receipt beside it.

    claim (the state filing, its destination committed)  →  receipt, then durable move  →  record (commit)

The receipt comes first: a recording in done/ or failed/ always has one. Both effects are idempotent, so a
crash between any two of them leaves nothing to do but this step again.
"""

import os
from dataclasses import replace

from watcher import logs
from watcher.domain import Attempt, Item, State, Verdict
from watcher.errors import (
    FolderError,
    FolderRefuses,
    NameTaken,
    RecordingChanged,
    RecordingError,
    RecordingGone,
    RecordingUnreachable,
)
from watcher.folders import Folder, move, names_for, receipt_name
from watcher.journey.arrive import Arrivals
from watcher.journey.companions import companion_name
from watcher.journey.receipt import is_receipt_of, write_receipt
from watcher.journey.site import Site
from watcher.journey.vet import hash_of, place, vet
from watcher.store import Books

_log = logs.get_logger(__name__)

_BATCH = 50  # one commit for so many moves: a crash before it repeats them, which is harmless
_RECEIPT_BYTES = 1 << 20
_LATER_SECONDS = 5.0
_STUCK_SECONDS = 60.0


class Filing:
    """The step that moves: out of the drop folder, and back into it for a retry. One runs at a time."""

    def __init__(self, site: Site, arrivals: Arrivals) -> None:
        self._site = site
        self._arrivals = arrivals
        self._papers: dict[str, tuple[list[Attempt], Verdict | None]] = {}  # of the items in hand
        self._later: dict[str, float] = {}  # by id, when to look again, on the monotonic clock

    def step(self) -> float:
        """Some items are filed, returned, or have their receipts brought up to date. 0 when there is more."""
        with self._site.store.reading() as books:
            waiting = self._waiting()
            oldest = books.items.in_state(State.FILING, _BATCH + len(waiting))
            filing = [item for item in oldest if item.id not in waiting]
            returning = books.items.in_state(State.RETURNING, _BATCH)
            outdated = books.items.with_receipt_due(_BATCH)
            for item in (*filing, *outdated):
                self._papers[item.id] = books.ledger.of_item(item.id), books.verdicts.get(item.identifier)
        if not (filing or returning or outdated):
            return _LATER_SECONDS if waiting else float("inf")
        try:
            # Each time, not only at each scan: nothing is moved onto a bare mount point, or missed under one.
            for folder in (self._site.drop, self._site.done, self._site.failed):
                self._site.recognise(folder)
            self._file(filing)
            for item in returning:
                self._return(item)
            self._bring_up_to_date(outdated)
        except FolderError as error:
            self._site.pause_for_folder(error)
            return _LATER_SECONDS
        finally:
            self._papers.clear()
        return 0.0

    def _waiting(self) -> set[str]:
        """Items whose recordings could not be moved a moment ago: the others go first."""
        monotonic = self._site.clock.monotonic()
        self._later = {item_id: at for item_id, at in self._later.items() if at > monotonic}
        return set(self._later)

    # Out

    def _file(self, batch: list[Item]) -> None:
        filed: list[Item] = []
        trouble: FolderError | None = None
        for item in batch:
            try:
                filed.append(self._move_out(item))
            except (RecordingUnreachable, FolderError) as error:
                if isinstance(error, FolderError) and not self._is_well(self._folder(item)):
                    trouble = error  # what was moved before is recorded all the same
                    break
                self._later[item.id] = self._site.clock.monotonic() + _STUCK_SECONDS
                _log.warning(
                    "recording.stuck", item=item.id, path=item.path, reason=error.message, hint=error.hint
                )
        if filed:
            with self._site.store.writing() as books:
                for item in filed:
                    self._record_filed(books, item)
            for item in filed:
                self._tell(item)
        if trouble is not None:
            raise trouble

    def _is_well(self, folder: Folder) -> bool:
        """Whether the folders as such give and take: then the trouble is this one path's, and stops no other."""
        try:
            self._site.recognise(self._site.drop)
            self._site.recognise(folder)
            folder.check_takes(0)
        except FolderError:
            return False
        return True

    def _move_out(self, item: Item) -> Item:
        """The receipt and the recording lie in their folder. The item as it is now: where, and since when."""
        folder = self._folder(item)
        first, *others = names_for(item.path, item.id)
        for name in (item.filed_as or first, *others):
            if name != item.filed_as:
                with self._site.store.writing() as books:  # where it goes is committed before it goes
                    books.items.change(item, State.FILING, self._site.clock.now(), filed_as=name)
                item = replace(item, filed_as=name)
            attempt = replace(
                item,
                filed_as=name,
                filed_at=item.filed_at or self._site.clock.now(),
                # Else a command in it would be run on whatever has the name.
                fault=item.fault and item.fault.moved(*(os.path.join(folder.root, n) for n in (item.path, name))),
            )
            try:
                self._write_first_receipt(folder, attempt)
            except NameTaken:
                continue
            try:
                move(self._site.drop, item.path, folder, name, item.fingerprint, sha256=item.sha256)
            except NameTaken:
                folder.remove(receipt_name(name))  # ours, and of nothing that lies there
                continue
            except (RecordingGone, RecordingChanged):
                self._site.check_mounted(item.path)  # gone, and not with the disk it lies on
                return self._file_without_recording(folder, attempt)
            self._move_companions(attempt, self._site.drop, folder)
            return attempt
        msg = f"{folder.root!r}: no free name for {item.path!r}"
        raise FolderError(msg, hint="Move the files that have its name away.")

    def _move_companions(self, item: Item, source: Folder, target: Folder) -> None:
        """Marker and sidecars lie beside their recording, under its name; one that is gone is no matter.

        They follow the recording: with the database lost in between, one left behind in the drop folder is only
        an orphan, while a recording left behind would be an arrival.
        """
        filed_as = item.filed_as or item.path
        for companion in item.companions:
            beside = companion_name(companion, item.path, filed_as)
            here, there = (companion, beside) if target is not self._site.drop else (beside, companion)
            for name in names_for(there, item.id):
                try:
                    move(source, here, target, name, source.fingerprint(here))
                except NameTaken:
                    continue
                except RecordingError:
                    pass  # taken away, or moved before a crash
                break

    def _write_first_receipt(self, folder: Folder, item: Item) -> None:
        """The receipt lies under its name. NameTaken when that or the recording's name is somebody else's."""
        path = item.filed_as or item.path
        name = receipt_name(path)
        content = self._compose(item)
        if folder.occupied(path) and not _has_receipt(folder, name, item):
            raise folder.taken(path)  # before the move, which may take a copy of equal bytes for its own
        try:
            folder.write_whole(name, content, replacing=False)
        except NameTaken:
            if not _has_receipt(folder, name, item):
                raise
            folder.write_whole(name, content, replacing=True)  # ours, from before a crash

    def _file_without_recording(self, folder: Folder, item: Item) -> Item:
        """Its file vanished, or another one has its name: the receipt alone tells what became of it."""
        note = "Its file was gone from the drop folder, or replaced, when it was to be filed."
        item = replace(item, warning=" ".join(filter(None, [item.warning, note])))
        written_as, item = item.filed_as or item.path, replace(item, filed_as=None)
        folder.write_whole(receipt_name(written_as), self._compose(item), replacing=True)
        self._arrivals.hint(item.path, is_closed=False)
        return item

    def _record_filed(self, books: Books, item: Item) -> None:
        verdict = books.verdicts.get(item.identifier)
        _, written = self._papers[item.id]
        if item.outcome is None:
            return
        books.items.change(
            item,
            item.outcome,
            item.filed_at or 0.0,
            filed_as=item.filed_as,
            filed_at=item.filed_at,
            warning=item.warning,
            fault=item.fault,
            # A verdict may have come in between the receipt and this commit: then it is written once more.
            receipt_due=(verdict and verdict.state) != (written and written.state),
        )

    def _tell(self, item: Item) -> None:
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

    # Receipts

    def _bring_up_to_date(self, items: list[Item]) -> None:
        for item in items:
            if item.filed_as is None:
                continue
            folder, name = self._folder(item), receipt_name(item.filed_as)
            if _has_receipt(folder, name, item):  # else somebody has collected both
                folder.write_whole(name, self._compose(item), replacing=True)
        if items:
            with self._site.store.writing() as books:
                for item in items:
                    books.items.mark_receipt_written(item.id)

    def _compose(self, item: Item) -> bytes:
        service = self._site.config.identifai
        attempts, verdict = self._papers[item.id]
        return write_receipt(
            item, attempts, verdict, base_url=service.base_url, account=service.account, options=self._site.options
        )

    def _folder(self, item: Item) -> Folder:
        return self._site.done if item.outcome is State.DONE else self._site.failed

    # Back

    def _return(self, item: Item) -> None:
        """The recording lies in the drop folder again, its receipt is gone, and its item is as a new one's."""
        site = self._site
        failed_as = item.filed_as or item.path
        try:
            item = self._move_back(item, failed_as)
            vetted = vet(site, item.path, item.fingerprint)
        except RecordingError as error:
            with site.store.writing() as books:
                note = f"it could not be returned: {error.message}"
                books.items.change(item, State.FAILED, site.clock.now(), note)
            _log.warning("recording.stayed", item=item.id, path=item.path, reason=error.message)
            return
        self._move_companions(item, site.failed, site.drop)
        site.failed.remove(receipt_name(failed_as))
        now = site.clock.now()
        with site.store.writing() as books:
            facts = place(site, books, item, vetted)
            after = State(str(facts.pop("state")))
            note = "back in the drop folder"
            books.items.change(item, after, now, note, due_at=now, faults=0, filed_at=None, **facts)
        _log.info("recording.returned", item=item.id, path=item.path)

    def _move_back(self, item: Item, failed_as: bytes) -> Item:
        """The recording lies in the drop folder, by our move, by one before a crash, or by a person's."""
        site = self._site
        try:
            resting = site.failed.fingerprint(failed_as)
        except RecordingGone:
            back = site.drop.fingerprint(item.path)
            if back.inode != item.fingerprint.inode and _digest(site, item.path) != item.sha256:
                raise  # another recording has its name: this one is nowhere
            return replace(item, fingerprint=back)
        for name in names_for(item.path, item.id):
            if name != item.path:
                with site.store.writing() as books:  # where it goes is committed before it goes
                    companions = tuple(companion_name(c, item.path, name) for c in item.companions)
                    books.items.change(item, State.RETURNING, site.clock.now(), path=name, companions=companions)
                item = replace(item, path=name, companions=companions)
            try:
                return replace(item, fingerprint=move(site.failed, failed_as, site.drop, name, resting))
            except NameTaken:
                continue
        raise RecordingUnreachable("every name for it is taken in the drop folder", hint="Move those files away.")


def _has_receipt(folder: Folder, name: bytes, item: Item) -> bool:
    """Whether this item's receipt lies there; what is too long to be one is none."""
    try:
        return is_receipt_of(folder.read(name, _RECEIPT_BYTES), item.id)
    except FolderRefuses:
        return False


def _digest(site: Site, path: bytes) -> str:
    file, _ = site.drop.open(path)
    with file:
        return hash_of(file)
