"""The first part of a submission: open the recording as it was examined, and commit the intent to pay."""

import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO

from watcher import logs
from watcher.domain import Charged, Item, Part, PartState, State
from watcher.errors import (
    FolderError,
    NoRoom,
    RecordingChanged,
    RecordingError,
    RecordingStumbled,
    RecordingUnreachable,
    StaleItem,
)
from watcher.folders import is_receipts_name, tokens_for
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.duplicates import resolve_duplicate
from watcher.journey.room import check_companions, check_room, postpone_for_room
from watcher.journey.site import Site
from watcher.journey.submit import pauses
from watcher.journey.submit.by_part import open_part, resolve_same_bytes
from watcher.journey.submit.caps import find_cap, has_begun
from watcher.journey.submit.start import find_wait, upload_bytes
from watcher.journey.submit.windows import Windows
from watcher.store import Books

_log = logs.get_logger(__name__)

_RECOGNISE_SECONDS = 1.0


@dataclass(slots=True)
class Claim:
    """An item that is being sent, and its line in the ledger."""

    item: Item
    part: Part | None  # of it, where it is sent in parts
    number: int
    started_at: float
    filed_as: bytes  # its name in done/ once it is accepted: done/ can take it
    canary: bool
    no_cache: bool
    released_at: float | None = None  # from here on the service may have a complete request
    rate_event: int | None = None  # what counts against the rate windows


class Claims:
    """Opens recordings and claims their items, one at a time; whatever cannot be sent now is postponed."""

    def __init__(self, site: Site, arrivals: Arrivals, windows: Windows) -> None:
        self._site = site
        self._arrivals = arrivals
        self._windows = windows
        self._recognise_at = 0.0  # monotonic
        self._recognised: list[tuple[int, int] | None] = []
        self._unsure: Item | None = None  # as claimed, where nobody knows whether that was committed

    def open(self, item: Item, part: Part | None) -> tuple[BinaryIO, bytes] | None:
        """Return what is to be sent, open, and the recording's name in done/.

        None if the recording was changed or cannot be filed now. Of a part it is the file in the spool.
        """
        site = self._site
        try:
            self._recognise_folders()
            for folder in (site.done, site.failed):
                folder.check_takes(0)
        except FolderError as error:
            site.pause_for_folder(error)
            return None
        try:
            filed_as = self._find_destination(item)
            site.drop.check_gives(item.path)
            file, fingerprint = site.drop.open(item.path)
        except FolderError as error:  # about its path: a bad block, or a share mounted below the drop folder
            if (trouble := site.find_trouble([site.drop])) is not None:
                site.pause_for_folder(trouble)
            else:
                self.set_aside(item, RecordingUnreachable(error.message, hint=error.hint))
            return None
        except RecordingError as error:
            self.set_aside(item, error)
            return None
        if fingerprint != item.fingerprint:
            file.close()
            self._arrivals.recheck(item.path)
            with site.store.reading() as books:
                is_undecided = books.items.get(item.id) == item
            if is_undecided:
                # The recheck could not tell, as while its disk is away: else it would be tried all the time.
                self.set_aside(item, RecordingChanged("it is not the file that was queued, or its disk is away"))
            return None
        if part is not None:
            file.close()
            opened = self._open_part(item, part)
            if opened is None:
                return None
            file = opened
        site.reminders.forget(item.id)
        return file, filed_as

    def _open_part(self, item: Item, part: Part) -> BinaryIO | None:
        """Open the part's file. Where it is not there as it was made, it is to be made again, and not sent now."""
        site = self._site
        try:
            file = open_part(site, part)
        except FolderError as error:  # the spool's
            self.set_aside(item, RecordingUnreachable(error.message, hint=error.hint))
            return None
        if file is None:
            with suppress(StaleItem), site.store.writing() as books:
                books.parts.change(part, part.state, name=None)
            _log.warning("part.lost", item=item.id, path=item.path, part=part.index, file=part.name)
        return file

    def _find_destination(self, item: Item) -> bytes:
        """Return a name under which done/ can take it and its companions.

        Nothing is paid for that could not be filed: because its name is too long, or has characters that the file
        system of done/ does not take. Raises RecordingUnreachable, which makes only this recording wait.
        """
        site = self._site
        try:
            filed_as = site.acceptance.fit(site.done, item.path, item.id)
            if is_receipts_name(filed_as):
                token = next(tokens_for(item.id, plain=False))
                filed_as = site.acceptance.fit(site.done, item.path, item.id, token)
            site.done.check_takes(0, filed_as)
            check_companions(site, item, filed_as)
            check_room(site, item, filed_as)
        except FolderError as error:
            raise RecordingUnreachable(error.message, hint=error.hint) from error
        return filed_as

    def _recognise_folders(self) -> None:
        """Check that no folder is away: thoroughly once a second, or when a different folder is found."""
        monotonic = self._site.clock.monotonic()
        folders = (self._site.drop, self._site.done, self._site.failed)
        found = [folder.identity() for folder in folders]
        if monotonic < self._recognise_at and found == self._recognised and None not in found:
            return
        for folder in folders:
            self._site.recognise(folder)
        self._recognised = found  # as before recognising: a folder replaced meanwhile is recognised the next time
        self._recognise_at = monotonic + _RECOGNISE_SECONDS

    def set_aside(self, item: Item, error: RecordingError) -> None:
        """Postpone a recording that cannot be read or moved now, so that it blocks no other."""
        site = self._site
        if not isinstance(error, RecordingStumbled):
            self._arrivals.recheck(item.path)
        now = site.clock.now()
        try:
            with site.store.writing() as books:
                if isinstance(error, NoRoom):
                    postpone_for_room(site, books, item, error)
                    return
                postpone(site, books, item, error, now)
        except StaleItem:
            return  # it was withdrawn: the file is gone
        if site.reminders.is_due(item.id, error.message):
            _log.warning(
                "recording.postponed", item=item.id, path=item.path, reason=error.message, hint=error.hint
            )

    def claim(self, item: Item, part: Part | None, filed_as: bytes, *, canary: bool) -> Claim | None:
        """Commit the state submitting and the spend. Return None where it must not be sent, or not now.

        `canary`: the question that precedes a canary has been answered. It has not where a pause began, and became
        due, after the look: then this returns None.
        """
        site = self._site
        now = site.clock.now()
        in_doubt = item.in_doubt or (part is not None and part.in_doubt)
        no_cache = (site.config.identifai.no_cache or item.fresh) and not in_doubt
        claimed = replace(
            item,
            state=State.SUBMITTING,
            claim=secrets.token_hex(8),
            attempts=item.attempts + 1,
            attempted_at=now,
        )
        try:
            with site.store.writing() as books:
                gate = pauses.find_gate(books, books.pauses.active(), now)
                if find_wait(books, gate, now) or (gate.canary and not canary):
                    return None
                # In a file who begins is alone. Else other nodes may have begun since, and whoever is behind them
                # would hold its body back for long.
                if books.is_shared and self._windows.starts_in(books, now, upload_bytes(item, part)) > 0:
                    return None
                if (cap := find_cap(books, site.config.limits, now, item)) is not None:
                    books.pauses.set(cap)
                    return None
                if not no_cache and self._has_original(books, item, part, now):
                    return None
                books.items.change(
                    item, State.SUBMITTING, now, claim=claimed.claim, attempts=claimed.attempts, attempted_at=now
                )
                if part is not None:
                    books.parts.change(part, PartState.SUBMITTING)
                number = books.ledger.begin(item, now, part=part, no_cache=no_cache, canary=gate.canary)
                if gate.canary:
                    pauses.count_try(books, site.config.retry, now)
                    pauses.end_trial(books)
                self._unsure = claimed
            self._unsure = None
        except StaleItem:
            return None
        sent = None if part is None else replace(part, state=PartState.SUBMITTING)
        return Claim(claimed, sent, number, now, filed_as, canary=gate.canary, no_cache=no_cache)

    def undo_unsure(self) -> None:
        """Put back what was claimed in a commit that failed: a server may have done it, and lost its connection.

        Nothing of it was sent. Else nobody would take it up again before the next start.
        """
        if (unsure := self._unsure) is None:
            return
        now, note = self._site.clock.now(), "the database's answer to the claim was lost"
        with self._site.store.writing() as books:
            item = books.items.get(unsure.id)
            if item is not None and (item.state, item.claim) == (State.SUBMITTING, unsure.claim):
                for attempt in books.ledger.of_item(item.id):
                    if attempt.ended_at is None:
                        books.ledger.end(
                            attempt.number,
                            now,
                            outcome="cut_off",
                            charged=Charged.NO,
                            decision="not sent",
                            detail=note,
                        )
                for part in books.parts.of(item.id):
                    if part.state is PartState.SUBMITTING:
                        books.parts.change(part, PartState.QUEUED)
                books.items.change(item, State.QUEUED, now, note)
        self._unsure = None

    def _has_original(self, books: Books, item: Item, part: Part | None, now: float) -> bool:
        """Settle what is about to be sent, where the same bytes are with another item; False: send it."""
        is_begun = part is not None and has_begun(books.parts.of(item.id))
        instead = None if is_begun else resolve_duplicate(self._site, books, item)
        if instead is not None:
            after = State(str(instead.pop("state")))
            books.items.change(item, after, now, "the same bytes as another recording", **instead)
            return True
        return part is not None and resolve_same_bytes(self._site, books, item, part, now)


def postpone(site: Site, books: Books, item: Item, error: RecordingError, now: float) -> None:
    """Postpone a recording that cannot be read or moved now, so that it blocks no other.

    It counts as tried, or it would be chosen as the canary each time. Its history has the reason where it is new.
    """
    due_at = now + site.config.retry.max_seconds
    fault = error.as_fault()
    note = error.message if item.fault != fault else ""
    books.items.change(item, State.QUEUED, now, note, due_at=due_at, attempted_at=now, fault=fault)
