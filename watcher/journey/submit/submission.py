"""The step that sends: choose the next recording, and take it through claim, send and record."""

import threading
from dataclasses import dataclass
from typing import BinaryIO

from watcher import logs
from watcher.domain import Item, Part, Pause, PauseKind
from watcher.errors import RecordingStumbled, is_of_the_store
from watcher.identifai.client import Client
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.duplicates import follow_originals
from watcher.journey.keys import Keys
from watcher.journey.site import Site
from watcher.journey.submit import pauses
from watcher.journey.submit.by_part import next_part
from watcher.journey.submit.caps import is_cap_lifted, next_due
from watcher.journey.submit.claim import Claim, Claims
from watcher.journey.submit.policy import Gate
from watcher.journey.submit.probe import Probe
from watcher.journey.submit.record import Outcomes
from watcher.journey.submit.send import Uploads
from watcher.journey.submit.start import IDLE, find_start
from watcher.journey.submit.unrecorded import UnrecordedAnswers
from watcher.journey.submit.windows import Windows
from watcher.store import Books

_log = logs.get_logger(__name__)

_CANARY_SECONDS = 1.0  # until the next canary, where one cannot be opened
_FOLLOW_SECONDS = 1.0  # how soon duplicates follow what another process decided on their original


@dataclass(frozen=True, slots=True)
class NextUpload:
    """What the database allows now: an item to send, or a wait; unless something must be written first."""

    item: Item | None = None
    part: Part | None = None  # of it, where it is sent in parts
    canary: bool = False  # the item is one: ask a question first
    wait: float = 0.0
    is_stale: bool = False


class Submission:
    """The step that sends. Several may run at the same time, one upload each."""

    def __init__(
        self,
        site: Site,
        client: Client,
        keys: Keys,
        arrivals: Arrivals,
        stopping: threading.Event,
        *,
        beginning: threading.Lock,
        ending: threading.Lock,
    ) -> None:
        """All submissions share two locks: one at a time begins, and one at a time waits for the rate windows."""
        self._site = site
        self._beginning = beginning
        self._windows = Windows(site)
        self._probe = Probe(site, client, keys)
        self._claims = Claims(site, arrivals, self._windows)
        self._uploads = Uploads(site, client, self._windows, stopping, ending)
        self._answers = UnrecordedAnswers(site, Outcomes(site, arrivals, self._windows))
        self._follow_at = 0.0  # monotonic

    def step(self) -> float:
        """Send one recording and record its answer. Return the seconds until one may be sent."""
        self._answers.record()
        self._answers.record_what_stumbled()
        self._claims.undo_unsure()
        with self._beginning:  # two that look at once would choose the same recording, one of them in vain
            taken = self._take()
        if isinstance(taken, float):
            return taken
        claim, file = taken
        with file:
            answer = self._uploads.send(claim, file)
        self._answers.keep(claim, answer)
        return 0.0

    def finish(self) -> bool:
        """Record the last answer at a stop, when no step runs any more. Return False where the database cannot."""
        return self._answers.finish()

    def _take(self) -> tuple[Claim, BinaryIO] | float:
        """Return the next recording, claimed and open; or the seconds until there may be one."""
        site = self._site
        now = site.clock.now()
        with site.store.reading() as books:
            upload = self._look(books, now)
        if upload.is_stale:
            with site.store.writing() as books:
                self._refresh(books, now)
            return 0.0
        if upload.item is None:
            return upload.wait
        try:
            return self._take_this(upload.item, upload.part, canary=upload.canary)
        except Exception as error:  # it concerns this recording alone
            if is_of_the_store(error):
                raise
            _log.exception("recording.stumbled", item=upload.item.id, path=upload.item.path)
            self._claims.set_aside(upload.item, RecordingStumbled(error))
            return _CANARY_SECONDS if upload.item.due_at > now else 0.0

    def _take_this(self, item: Item, part: Part | None, *, canary: bool) -> tuple[Claim, BinaryIO] | float:
        """See _take."""
        opened = self._claims.open(item, part)
        if opened is None:  # a canary is chosen even if it is not due, so it may be the same one again
            return _CANARY_SECONDS if item.due_at > self._site.clock.now() else 0.0
        file, filed_as = opened
        claim, wait = None, 0.0
        try:
            if canary:
                wait = self._probe.ask()
            if not wait:
                claim = self._claims.claim(item, part, filed_as, canary=canary)
        finally:
            if claim is None:
                file.close()
        return (claim, file) if claim is not None else wait

    def _look(self, books: Books, now: float) -> NextUpload:
        limits = self._site.config.limits
        standing = self._site.pause_log.look(books)
        gate = pauses.find_gate(books, standing, now)
        if gate.over or is_cap_lifted(books, standing, limits, now):
            return NextUpload(is_stale=True)
        item = self._next(books, gate, now) if gate.is_open else None
        if self._is_stale(books, item, now):
            return NextUpload(is_stale=True)
        part = None if item is None else next_part(books, item)
        wait = find_start(books, gate, item, part, self._windows, now)
        if wait or item is None:
            return NextUpload(wait=min(wait, self._cap_may_end_in(books, standing, now)))
        return NextUpload(item, part, gate.canary)  # if a cap is reached, the claim records it

    def _cap_may_end_in(self, books: Books, standing: list[Pause], now: float) -> float:
        """Return the seconds until a cap's pause is looked at again: what is due then may have its room kept."""
        if not any(pause.kind is PauseKind.CAP for pause in standing):
            return IDLE
        due_at = books.queue.next_due_at(now)
        return IDLE if due_at is None else max(due_at - now, 0.001)

    def _next(self, books: Books, gate: Gate, now: float) -> Item | None:
        return next_due(books, self._site.config.limits, now, canary=gate.canary)

    def _is_stale(self, books: Books, item: Item | None, now: float) -> bool:
        """Return whether something must be written before anything is sent: checked once a second, or if idle."""
        if item is not None and item.duplicate_of is not None:
            return True  # what it waited for is decided
        monotonic = self._site.clock.monotonic()
        if item is not None and monotonic < self._follow_at:
            return False
        self._follow_at = monotonic + _FOLLOW_SECONDS
        copies = books.copies
        waits_in_vain = bool(copies.decided_originals() or copies.stranded_originals())
        return waits_in_vain or self._windows.is_stale(books, now)

    def _refresh(self, books: Books, now: float) -> None:
        pauses.end_what_is_over(books, self._site.config.limits, now)
        self._windows.refresh(books, now)
        follow_originals(books, now)
