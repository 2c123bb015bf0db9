"""Third: a queued recording is sent to the service, once, when the rate windows have room.

    claim (commit)  →  one POST  →  record (commit)

The intent and the spend are on the disk before the first byte is sent, and the moment from which the service
may have a complete request is on the disk before its last part is let go. So after a crash the ledger tells
what can not have been charged, and what may have been.
"""

import secrets
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import BinaryIO

from watcher import logs
from watcher.domain import Charged, Item, Pause, PauseKind, State, Verdict, VerdictState, show_path
from watcher.errors import (
    FolderError,
    LateWriter,
    RecordingChanged,
    RecordingError,
    ServiceError,
    WatcherError,
)
from watcher.identifai.budget import room_at
from watcher.identifai.client import Accepted, Client
from watcher.identifai.upload import Upload
from watcher.journey import policy
from watcher.journey.arrive import Arrivals
from watcher.journey.site import Site, begin_pause, end_pause, pass_gate
from watcher.journey.vet import follow
from watcher.store import Books

_log = logs.get_logger(__name__)

_LEAD_SECONDS = 5.0
"""How long an upload may stand with its last part held back, waiting for the windows to have room.

Long enough for the body to travel meanwhile; far below the minute after which servers give up on a body.
"""
IDLE = float("inf")


class Stopped(WatcherError):
    """The upload was given up before its end, because the daemon stops or submitting was paused."""

    code = "stopped"


@dataclass(frozen=True, slots=True)
class Claim:
    """An item in this step's hands, and its line in the ledger."""

    item: Item
    number: int
    started_at: float
    canary: bool
    no_cache: bool


class Submission:
    """The step that sends. Several may run at the same time, one upload each."""

    def __init__(self, site: Site, client: Client, arrivals: Arrivals, stopping: threading.Event) -> None:
        self._site = site
        self._client = client
        self._arrivals = arrivals
        self._stopping = stopping
        self._limits = site.config.limits

    def step(self) -> float:
        """One recording was sent and its answer recorded, or none could be: seconds until one may be."""
        site = self._site
        now = site.clock.now()
        with site.store.writing() as books:
            follow_firsts(books, now)
            gate = pass_gate(books, now)
            wait = self._wait(books, gate, now)
            item = books.items.next_due(now, canary=gate.canary) if wait <= 0 else None
            due_at = books.items.next_due_at(now)
        if item is None:
            return (
                min(wait, IDLE if due_at is None else due_at - now)
                if wait > 0
                else (IDLE if due_at is None else max(due_at - now, 0.001))
            )
        opened = self._open(item)
        if opened is None:
            return 0.0
        with opened as file:
            claim = self._claim(item)
            if claim is not None:
                self._send(claim, file)
        return 0.0

    # Claim

    def _wait(self, books: Books, gate: policy.Gate, now: float) -> float:
        """Seconds until something may be sent, as far as pauses and rate windows go; 0 for now."""
        if not gate.is_open:
            return IDLE if gate.until is None else max(gate.until - now, 0.001)
        under_way = books.ledger.unfinished()
        if gate.canary and under_way:
            return IDLE  # one canary at a time: its answer wakes this step
        ahead = sum(1 for attempt in under_way if attempt.released_at is None)
        return max(0.0, self._room_at(books, now, ahead) - now - _LEAD_SECONDS)

    def _room_at(self, books: Books, now: float, ahead: int = 0) -> float:
        ledger = books.ledger
        return room_at(
            self._limits.writes,
            lambda n: ledger.nth_last_end("write", n),
            now,
            unended=ledger.unended_hits("write"),
            ahead=ahead,
        )

    def _open(self, item: Item) -> AbstractContextManager[BinaryIO] | None:
        """The recording, open, if it is still the one that was vetted and can be filed; else null."""
        site = self._site
        try:
            site.done.check_takes(item.size)
            site.failed.check_takes(0)
            site.drop.check_gives(item.path)
            file, fingerprint = site.drop.open(item.path)
        except FolderError as error:
            site.pause_for_folder(error)
            return None
        except RecordingError as error:
            self._set_aside(item, error)
            return None
        if fingerprint != item.fingerprint:
            file.close()
            self._arrivals.recheck(item.path)
            return None
        return file

    def _set_aside(self, item: Item, error: RecordingError) -> None:
        """A recording that can not be read or moved now is looked at again later, and blocks nobody."""
        self._arrivals.recheck(item.path)
        now = self._site.clock.now()
        due_at = now + self._site.config.retry.max_seconds
        try:
            with self._site.store.writing() as books:
                books.items.change(item, State.QUEUED, now, error.message, due_at=due_at, fault=error.as_fault())
        except LateWriter:
            return  # it was withdrawn: the file is gone
        _log.warning("recording.postponed", item=item.id, path=item.path, reason=error.message, hint=error.hint)

    def _claim(self, item: Item) -> Claim | None:
        """The item is submitting and the spend is in the ledger; null when another step was quicker."""
        site = self._site
        now = site.clock.now()
        no_cache = (site.config.identifai.no_cache or item.fresh) and not item.in_doubt
        token = secrets.token_hex(8)
        try:
            with site.store.writing() as books:
                gate = pass_gate(books, now)
                if self._wait(books, gate, now) > 0:
                    return None
                number = books.ledger.begin(item, now, no_cache=no_cache, canary=gate.canary)
                claimed = replace(
                    item, state=State.SUBMITTING, claim=token, attempts=item.attempts + 1, attempted_at=now
                )
                books.items.change(
                    item, State.SUBMITTING, now, claim=token, attempts=claimed.attempts, attempted_at=now
                )
                if gate.canary:
                    self._count_try(books, now)
        except LateWriter:
            return None
        return Claim(claimed, number, now, gate.canary, no_cache)

    def _count_try(self, books: Books, now: float) -> None:
        retry = self._site.config.retry
        for pause in books.pauses.active():
            if pause.kind in (PauseKind.ACCOUNT, PauseKind.SERVICE):
                tries = pause.tries + 1
                books.pauses.set(replace(pause, tries=tries, until=now + policy.back_off(tries, retry)))

    # One effect outside

    def _send(self, claim: Claim, file: BinaryIO) -> None:
        hits: list[int] = []
        upload = self._upload(claim.item, file, no_cache=claim.no_cache)
        try:
            accepted = self._client.submit(upload, lambda: hits.append(self._release(claim)))
        except ServiceError as error:
            self._record_error(claim, hits, error)
        except (RecordingError, FolderError, Stopped) as error:
            self._record_unsent(claim, error)
        else:
            self._record_accepted(claim, hits, accepted)

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

    def _release(self, claim: Claim) -> int:
        """The last part may be let go, and that is written down. The hit's number; Stopped when it may not."""
        clock = self._site.clock
        while not self._stopping.is_set():
            now = clock.now()
            with self._site.store.writing() as books:
                if not claim.canary and not policy.find_gate(books.pauses.active(), now).is_open:
                    raise Stopped("submitting was paused meanwhile")
                room = self._room_at(books, now)
                if room <= now:
                    return books.ledger.release(claim.number, now)
            clock.wait(room - now, self._stopping)
        raise Stopped("the daemon stops")

    # Record

    def _record_accepted(self, claim: Claim, hits: list[int], accepted: Accepted) -> None:
        site, item = self._site, claim.item
        now = site.clock.now()
        with site.store.writing() as books:
            self._end_hits(books, hits, now)
            books.ledger.end(
                claim.number,
                now,
                outcome="accepted",
                charged=Charged.YES,
                decision="done",
                status=accepted.status,
                identifier=accepted.identifier,
            )
            books.items.change(
                item,
                State.FILING,
                now,
                outcome=State.DONE,
                identifier=accepted.identifier,
                filed_as=item.path,
                submitted_at=now,
                fault=None,
                in_doubt=False,
                suspected_at=None,
                fresh=False,
            )
            await_verdict(books, accepted.identifier, now, site.config.verdicts.first_seconds)
            follow_firsts(books, now)
            for kind in (PauseKind.ACCOUNT, PauseKind.SERVICE):
                end_pause(books, kind, now)
            for suspect in books.items.suspects(before=claim.started_at):
                note = "another recording was accepted since: the refusal was about this one"
                books.items.change(
                    suspect,
                    State.FILING,
                    now,
                    note,
                    outcome=State.FAILED,
                    filed_as=suspect.path,
                    suspected_at=None,
                )
        _log.info("recording.submitted", item=item.id, path=item.path, identifier=accepted.identifier)

    def _record_error(self, claim: Claim, hits: list[int], error: ServiceError) -> None:
        site, item = self._site, claim.item
        now = site.clock.now()
        with site.store.writing() as books:
            decision = policy.decide(
                error,
                item,
                policy.Situation(
                    now=now,
                    retry=site.config.retry,
                    hold_in_doubt=site.config.identifai.in_doubt == "hold",
                    others_succeed=books.ledger.accepted_since(item.faulted_at or now, item.id),
                    jitter=secrets.randbelow(1000) / 1000,
                ),
            )
            self._end_hits(books, hits, now)
            books.ledger.end(
                claim.number,
                now,
                outcome=str(decision.cause),
                charged=error.charged,
                decision=decision.text,
                status=error.status,
                detail=error.message,
            )
            self._move_on(books, item, decision, now)
            follow_firsts(books, now)
            if decision.pause is not None:
                self._pause(books, claim, decision.pause, now)
            elif decision.cause is policy.Cause.FILE:
                end_pause(books, PauseKind.SERVICE, now)  # it looked at the file and said so: it is well again
        level = _log.warning if decision.then is not policy.Next.AGAIN else _log.info
        level(
            "recording.refused" if decision.then is policy.Next.FAIL else "recording.unsent",
            item=item.id,
            path=item.path,
            error=decision.fault.code,
            reason=decision.fault.message,
            charged=error.charged,
            decision=decision.text,
        )

    def _move_on(self, books: Books, item: Item, decision: policy.Decision, now: float) -> None:
        changes: dict[str, object] = {
            "fault": decision.fault,
            "faults": decision.faults,
            "in_doubt": item.in_doubt or decision.in_doubt,
        }
        if decision.faults != item.faults:
            changes["faulted_at"] = now
        if decision.suspect:
            changes["suspected_at"] = item.suspected_at or now
        match decision.then:
            case policy.Next.FAIL:
                changes |= {"outcome": State.FAILED, "filed_as": item.path}
                books.items.change(item, State.FILING, now, decision.fault.message, **changes)
            case policy.Next.HOLD:
                books.items.change(item, State.HELD, now, decision.fault.message, **changes)
            case policy.Next.AGAIN:
                changes["due_at"] = decision.due_at
                books.items.change(item, State.QUEUED, now, decision.fault.message, **changes)

    def _pause(self, books: Books, claim: Claim, pause: Pause, now: float) -> None:
        """The pause is in force. A canary that failed moves the next one on; a straggler changes nothing."""
        standing = [p for p in books.pauses.active() if p.kind in (PauseKind.ACCOUNT, PauseKind.SERVICE)]
        if pause.kind is PauseKind.THROTTLE:
            begin_pause(books, pause)
            return
        if standing and not claim.canary:
            return
        tries = max((p.tries for p in standing), default=0)
        until = max(pause.until or 0.0, now + policy.back_off(tries, self._site.config.retry))
        for old in standing:
            if old.kind is not pause.kind:
                end_pause(books, old.kind, now)
        begin_pause(books, replace(pause, tries=tries, until=until))

    def _record_unsent(self, claim: Claim, error: WatcherError) -> None:
        """The body was cut off before its end: nothing was charged, and the item is as it was."""
        site, item = self._site, claim.item
        now = site.clock.now()
        with site.store.writing() as books:
            books.ledger.end(
                claim.number,
                now,
                outcome=error.code,
                charged=Charged.NO,
                decision="not sent",
                detail=error.message,
            )
            books.items.change(item, State.QUEUED, now, error.message)
        if isinstance(error, RecordingChanged):
            self._arrivals.recheck(item.path)

    def _end_hits(self, books: Books, hits: list[int], now: float) -> None:
        for hit in hits:
            books.ledger.hit_ended(hit, now)


def await_verdict(books: Books, identifier: str, now: float, first_seconds: float) -> None:
    """The verdict of this identifier is asked for from now on."""
    books.verdicts.add(
        Verdict(identifier, VerdictState.AWAITED, asked_at=None, due_at=now + first_seconds, since=now)
    )


def follow_firsts(books: Books, now: float) -> None:
    """Recordings that waited for another one with the same bytes have its outcome, or try in its place."""
    for first_id in books.items.settled_firsts():
        first = books.items.get(first_id)
        heir: Item | None = None
        for duplicate in books.items.duplicates_of(first_id):
            if first is not None and (
                first.identifier or first.state is State.HELD or first.outcome is State.FAILED
            ):
                facts = follow(duplicate, first)
                after = State(str(facts.pop("state")))
                books.items.change(duplicate, after, now, f"the same bytes as {first_id}", **facts)
            elif heir is None:
                heir = duplicate
                books.items.change(duplicate, State.QUEUED, now, "first of its bytes now", duplicate_of=None)
            else:
                books.items.change(duplicate, State.QUEUED, now, duplicate_of=heir.id)
