"""Third: a queued recording is sent to the service, once, when the rate windows have room.

    claim (commit)  →  one POST  →  record (commit)

The intent and the spend are on the disk before the first byte is sent, and the moment from which the service
may have a complete request is on the disk before its last part is let go. So after a crash the ledger tells
what can not have been charged, and what may have been.
"""

import secrets
import threading
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from watcher import logs
from watcher.domain import Charged, Item, State, show_path
from watcher.errors import (
    FolderError,
    LateWriter,
    NoRoom,
    RecordingError,
    RecordingStumbled,
    RecordingUnreachable,
    StoreContradicted,
    StoreError,
    Unanswered,
    WatcherError,
)
from watcher.folders import is_receipts_name, tokens_for
from watcher.identifai.client import Accepted, Client
from watcher.identifai.upload import Upload
from watcher.journey import pauses, policy
from watcher.journey.arrive import Arrivals
from watcher.journey.duplicates import defer, follow_firsts
from watcher.journey.keys import Keys
from watcher.journey.outcomes import Claim, Outcomes, put_off
from watcher.journey.probe import Probe
from watcher.journey.room import check_companions, check_room, put_off_for_room
from watcher.journey.site import Site
from watcher.journey.windows import Windows
from watcher.store import Books

_log = logs.get_logger(__name__)

IDLE = float("inf")
_RECOGNISE_SECONDS = 1.0
_LOOK_SECONDS = 0.2  # a small part of the lead that uploads have
_CANARY_SECONDS = 1.0  # until another one is tried, where one can not be opened
_STUMBLED_SECONDS = 5.0  # until an answer is recorded that nobody foresaw an error about; then twice as long, …
_MOST_STUMBLED_SECONDS = 600.0
_FINISH_SECONDS = 5.0  # so long a stop tries to record the last answer
_FOLLOW_SECONDS = 1.0  # how soon duplicates have what another process decided on their first


class Stopped(WatcherError):
    """The upload was given up before its end, because the daemon stops or submitting was paused."""

    code = "stopped"


@dataclass(frozen=True, slots=True)
class Sight:
    """What the books allow now: an item to send, or so long a wait, unless something is to be written first."""

    item: Item | None = None
    canary: bool = False  # the item is one: a question goes before it
    wait: float = 0.0
    is_stale: bool = False


@dataclass(slots=True)
class Stumble:
    """An answer whose attempt has its end, and whose item has not moved on: nobody foresaw why."""

    claim: Claim
    answer: Accepted | WatcherError
    at: float
    due_at: float  # monotonic
    seconds: float = _STUMBLED_SECONDS  # after which it is tried again


@dataclass(slots=True)
class Unrecorded:
    """An answer that the books have not taken yet."""

    claim: Claim
    answer: Accepted | WatcherError
    at: float
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class Turns:
    """What all that send share: they begin one at a time, and stand one at a time before the rate windows."""

    begin: threading.Lock = field(default_factory=threading.Lock)
    end: threading.Lock = field(default_factory=threading.Lock)


class Submission:
    """The step that sends. Several may run at the same time, one upload each."""

    def __init__(
        self, site: Site, client: Client, keys: Keys, arrivals: Arrivals, stopping: threading.Event, turns: Turns
    ) -> None:
        self._site = site
        self._turns = turns
        self._client = client
        self._arrivals = arrivals
        self._stopping = stopping
        self._windows = Windows(site)
        self._probe = Probe(site, client, keys)
        self._outcomes = Outcomes(site, arrivals, self._windows)
        self._follow_at = 0.0  # monotonic
        self._recognise_at = 0.0  # monotonic
        self._recognised: list[tuple[int, int] | None] = []
        self._unrecorded: Unrecorded | None = None
        self._stumbles: list[Stumble] = []

    def step(self) -> float:
        """One recording was sent and its answer recorded, or none could be: seconds until one may be."""
        self._record()
        self._record_what_stumbled()
        with self._turns.begin:  # two that look at once would take the same recording, and one of them for nothing
            taken = self._take()
        if isinstance(taken, float):
            return taken
        claim, file = taken
        with file:
            self._send(claim, file)
        return 0.0

    # Claim

    def _take(self) -> tuple[Claim, BinaryIO] | float:
        """The next recording, claimed and open; or seconds until there may be one."""
        site = self._site
        now = site.clock.now()
        with site.store.reading() as books:
            sight = self._look(books, now)
        if sight.is_stale:
            with site.store.writing() as books:
                self._refresh(books, now)
            return 0.0
        if sight.item is None:
            return sight.wait
        try:
            return self._take_this(sight.item, canary=sight.canary)
        except Exception as error:  # it is this recording's, and no other's
            if _is_of_the_store(error):
                raise
            _log.exception("recording.stumbled", item=sight.item.id, path=sight.item.path)
            self._set_aside(sight.item, RecordingStumbled(error))
            return _CANARY_SECONDS if sight.item.due_at > now else 0.0

    def _take_this(self, item: Item, *, canary: bool) -> tuple[Claim, BinaryIO] | float:
        """See _take."""
        opened = self._open(item)
        if opened is None:  # a canary is chosen whether it is due or not, so it may be the same one again
            return _CANARY_SECONDS if item.due_at > self._site.clock.now() else 0.0
        file, filed_as = opened
        claim, wait = None, 0.0
        try:
            if canary:
                wait = self._probe.ask()
            if not wait:
                claim = self._claim(item, filed_as, canary=canary)
        finally:
            if claim is None:
                file.close()
        return (claim, file) if claim is not None else wait

    def _look(self, books: Books, now: float) -> Sight:
        standing = self._site.pause_log.look(books)
        gate = pauses.find_gate(books, standing, now)
        if gate.over or pauses.is_cap_lifted(books, standing, self._site.config.limits, now):
            return Sight(is_stale=True)
        item = books.queue.next_due(now, canary=gate.canary) if gate.is_open else None
        if self._is_stale(books, item, now):
            return Sight(is_stale=True)
        if not gate.is_open:
            return Sight(wait=IDLE if gate.until is None else max(gate.until - now, 0.001))
        if gate.canary and books.ledger.unfinished():
            return Sight(wait=IDLE)  # one canary at a time
        if item is None:
            due_at = books.queue.next_due_at(now)
            return Sight(wait=IDLE if due_at is None else max(due_at - now, 0.001))
        wait = self._windows.starts_at(books, now, item.size) - now
        # Uploads that are ahead of this one move its time on while they travel: not to be asked all the time.
        return Sight(wait=max(wait, _LOOK_SECONDS)) if wait > 0 else Sight(item, gate.canary)

    def _is_stale(self, books: Books, item: Item | None, now: float) -> bool:
        """Whether something is to be written before anything is sent. Looked for now and then, or when idle."""
        if item is not None and item.duplicate_of is not None:
            return True  # what it waited for is decided
        monotonic = self._site.clock.monotonic()
        if item is not None and monotonic < self._follow_at:
            return False
        self._follow_at = monotonic + _FOLLOW_SECONDS
        return bool(books.copies.settled_firsts()) or self._windows.is_stale(books, now)

    def _refresh(self, books: Books, now: float) -> None:
        pauses.end_what_is_over(books, self._site.config.limits, now)
        self._windows.refresh(books, now)
        follow_firsts(books, now)

    def _open(self, item: Item) -> tuple[BinaryIO, bytes] | None:
        """The recording, open, if it is still the one that was vetted and can be filed, and as what; else null."""
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
        except FolderError as error:  # of its path: a bad block, or a share mounted below the drop folder
            if (trouble := site.find_trouble([site.drop])) is not None:
                site.pause_for_folder(trouble)
            else:
                self._set_aside(item, RecordingUnreachable(error.message, hint=error.hint))
            return None
        except RecordingError as error:
            self._set_aside(item, error)
            return None
        if fingerprint != item.fingerprint:
            file.close()
            self._arrivals.recheck(item.path)
            return None
        site.reminders.forget(item.id)
        return file, filed_as

    def _find_destination(self, item: Item) -> bytes:
        """The name under which done/ can take it and what came with it. If it cannot, no other recording waits.

        Nothing is paid for that would then lie about under a name that done/ refuses: too long, or of signs or
        bytes that its file system does not know.
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
        """Nothing is paid for while a folder is away. In full now and then, and when another folder lies there."""
        monotonic = self._site.clock.monotonic()
        folders = (self._site.drop, self._site.done, self._site.failed)
        found = [folder.identity() for folder in folders]
        if monotonic < self._recognise_at and found == self._recognised and None not in found:
            return
        for folder in folders:
            self._site.recognise(folder)
        self._recognised = found  # as they were before: what was exchanged since is recognised the next time
        self._recognise_at = monotonic + _RECOGNISE_SECONDS

    def _set_aside(self, item: Item, error: RecordingError) -> None:
        """A recording that can not be read or moved now is looked at again later, and blocks nobody."""
        site = self._site
        if not isinstance(error, RecordingStumbled):
            self._arrivals.recheck(item.path)
        now = site.clock.now()
        try:
            with site.store.writing() as books:
                if isinstance(error, NoRoom):
                    put_off_for_room(site, books, item, error)
                    return
                put_off(site, books, item, error, now)
        except LateWriter:
            return  # it was withdrawn: the file is gone
        if site.reminders.is_due(item.id, error.message):
            _log.warning(
                "recording.postponed", item=item.id, path=item.path, reason=error.message, hint=error.hint
            )

    def _claim(self, item: Item, filed_as: bytes, *, canary: bool) -> Claim | None:
        """The item is submitting and the spend is in the ledger; null when that is not to be, or not now.

        `canary`: the question that goes before one was answered. Where a pause began, and its time passed, since
        the look, it was not asked yet.
        """
        site = self._site
        now = site.clock.now()
        no_cache = (site.config.identifai.no_cache or item.fresh) and not item.in_doubt
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
                if (gate.canary and not canary) or not self._is_free(books, gate, item, now):
                    return None
                instead = None if no_cache else defer(site, books, item)
                if instead is not None:
                    after = State(str(instead.pop("state")))
                    books.items.change(item, after, now, "the same bytes as another recording", **instead)
                    return None
                books.items.change(
                    item, State.SUBMITTING, now, claim=claimed.claim, attempts=claimed.attempts, attempted_at=now
                )
                number = books.ledger.begin(item, now, no_cache=no_cache, canary=gate.canary)
                if gate.canary:
                    pauses.count_try(books, site.config.retry, now)
        except LateWriter:
            return None
        return Claim(claimed, number, now, filed_as, canary=gate.canary, no_cache=no_cache)

    def _is_free(self, books: Books, gate: policy.Gate, item: Item, now: float) -> bool:
        """Whether pauses, other uploads, the rate windows and the caps let this one begin now.

        Asked in the transaction of the claim: so uploads at the same time can not pass any of them together.
        """
        if not gate.is_open or (gate.canary and books.ledger.unfinished()):
            return False
        if self._windows.starts_at(books, now, item.size) > now:
            return False
        cap = pauses.find_cap(books, self._site.config.limits, now)
        if cap is not None:
            books.pauses.set(cap)
        return cap is None

    # One effect outside

    def _send(self, claim: Claim, file: BinaryIO) -> None:
        answer: Accepted | WatcherError
        try:
            upload = self._upload(claim.item, file, no_cache=claim.no_cache)
            answer = self._client.submit(upload, lambda: self._release(claim))
        except WatcherError as error:
            answer = error
        except Exception as error:  # noqa: BLE001 — nobody foresaw it; what it may have cost is known all the same
            _log.exception("upload.failed", item=claim.item.id)
            answer = RecordingStumbled(error)
            if claim.released_at is not None:
                answer = Unanswered(f"The upload ended in {type(error).__name__}", charged=Charged.UNKNOWN)
        self._unrecorded = Unrecorded(claim, answer, self._site.clock.now())
        self._record()

    def finish(self) -> bool:
        """For a stop, when no step runs any more: the last answer is in the books. False: they do not take it."""
        clock = self._site.clock
        give_up_at, wait = clock.monotonic() + _FINISH_SECONDS, _FINISH_SECONDS / 20
        while True:
            try:
                self._record()
            except StoreError:
                if clock.monotonic() >= give_up_at:
                    return False
                clock.wait(wait, threading.Event())
            else:
                return True

    def _record(self) -> None:
        """What came of the upload is in the books. Should they not take it (a full disk), the next step does.

        After an error that nobody foresaw the ledger alone has it, which is what must not be lost, and all that
        others wait for.
        """
        if self._unrecorded is None:
            return
        claim, answer, at = self._unrecorded.claim, self._unrecorded.answer, self._unrecorded.at
        try:
            self._outcomes.record(claim, answer, at)
        except Exception as error:
            if _is_of_the_store(error):
                self._tell_unrecorded(self._unrecorded, error)
                raise
            _log.exception("answer.stumbled", item=claim.item.id, path=claim.item.path)
            self._outcomes.end(claim, answer, at)
            self._stumbles.append(Stumble(claim, answer, at, self._site.clock.monotonic() + _STUMBLED_SECONDS))
        self._unrecorded = None

    def _tell_unrecorded(self, left: Unrecorded, error: Exception) -> None:
        """Once: until the books take it, the answer stands nowhere but in this process and in the log."""
        if left.is_told:
            return
        left.is_told = True
        answer, item = left.answer, left.claim.item
        _log.error(
            "answer.unrecorded",
            item=item.id,
            path=item.path,
            identifier=answer.identifier if isinstance(answer, Accepted) else None,
            answer="accepted" if isinstance(answer, Accepted) else answer.message,
            reason=str(error),
            hint="Make the database writable again (room on its disk, its rights): the answer is recorded then. "
            "Do not end the process before; should it end, this line has the answer.",
        )

    def _record_what_stumbled(self) -> None:
        """Answers that only the ledger has are recorded, if they can be by now."""
        monotonic = self._site.clock.monotonic()
        for stumble in [one for one in self._stumbles if one.due_at <= monotonic]:
            try:
                self._outcomes.record(stumble.claim, stumble.answer, stumble.at)
            except Exception as error:
                if _is_of_the_store(error):
                    raise
                stumble.seconds = min(2 * stumble.seconds, _MOST_STUMBLED_SECONDS)
                stumble.due_at = monotonic + stumble.seconds
            else:
                self._stumbles.remove(stumble)

    def _upload(self, item: Item, file: BinaryIO, *, no_cache: bool) -> Upload:
        service = self._site.config.identifai
        folder, _, name = show_path(item.path).rpartition("/")
        stem, digest = name.rpartition(".")[0] or name, item.sha256 or ""
        fields = {"ref_id": service.ref_id.format(id=item.id, stem=stem, folder=folder, sha256=digest)}
        fields |= {"webhook_url": service.webhook_url}
        fields |= {"no_cache": "true"} if no_cache else {}
        fields |= {"prevent_c2pa_forces": "true"} if service.prevent_c2pa_forces else {}
        return Upload(
            file=file,
            size=item.size,
            sha256=digest,
            filename=(item.id if service.upload_name == "id" else stem) + (item.extension or ""),
            media_type=item.media_type or "",
            fields={name: value for name, value in fields.items() if value},
        )

    def _release(self, claim: Claim) -> None:
        """The last part may be let go: the item is still in this claim's hands, and that it goes is on the disk.

        Raises Stopped, or LateWriter where somebody else has the item by now: then the body is cut off.
        """
        clock = self._site.clock
        self._windows.travelled(claim.item.size, clock.now() - claim.started_at)
        # One waits for room at a time. Were it whoever asks first when there is some, an unlucky one would stand
        # with its body held back for so long that the service gives it up.
        with self._turns.end:
            while not self._stopping.is_set():
                now = clock.now()
                with self._site.store.writing() as books:
                    if not policy.may_be_sent(books.pauses.active(), now, canary=claim.canary):
                        raise Stopped("submitting was paused meanwhile")
                    release_at = self._windows.release_at(books, now)
                    hit = None
                    if release_at <= now:
                        books.ledger.release(claim.number, claim.item, now)
                        hit = self._windows.count(books, now)
                if release_at <= now:  # only what is committed is so
                    claim.released_at, claim.hit = now, hit
                    return
                clock.wait(release_at - now, self._stopping)
        raise Stopped("the daemon stops")


def _is_of_the_store(error: Exception) -> bool:
    """Whether the database could not be used at all, which is no recording's trouble."""
    return isinstance(error, StoreError) and not isinstance(error, StoreContradicted)
