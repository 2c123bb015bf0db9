"""The third part of a submission: record its outcome in the ledger, the item, and whatever depends on it."""

import secrets
from contextlib import suppress
from dataclasses import replace
from typing import Any

from watcher import logs
from watcher.domain import Charged, Item, Part, PartState, PauseKind, State
from watcher.errors import (
    FolderError,
    RecordingChanged,
    RecordingError,
    ServiceError,
    StaleItem,
    StoreLeaseLost,
    Throttled,
    WatcherError,
)
from watcher.identifai.client import Accepted
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.duplicates import follow_original
from watcher.journey.prepare.upkeep import keep_identifier
from watcher.journey.site import Site
from watcher.journey.submit import pauses, policy
from watcher.journey.submit.accepted import (
    AFTER_THE_LEASE,
    accept_late_part,
    end_accepted,
    take_after_the_lease,
    take_identifier,
)
from watcher.journey.submit.by_part import AFRESH, move_part
from watcher.journey.submit.claim import Claim, postpone
from watcher.journey.submit.windows import Windows, describe
from watcher.journey.verdict_news import tell_if_known
from watcher.store import Books

_log = logs.get_logger(__name__)

_LOWERED_HINT = (
    "It stays at this rate until an hour has passed without a 429. If they come back, lower limits.writes."
)
_STUMBLED = "not decided yet: an unexpected error, see the log"
_LATE = "somebody else had decided on the item by then"


class Outcomes:
    """Records answers, or the lack of them: one transaction each."""

    def __init__(self, site: Site, arrivals: Arrivals, windows: Windows) -> None:
        self._site = site
        self._arrivals = arrivals
        self._windows = windows

    def record(self, claim: Claim, answer: Accepted | WatcherError, now: float) -> None:
        """Commit and log what the answer, given at `now`, means.

        Where somebody else has decided on the item meanwhile, the answer goes into the ledger, and the item stays.
        """
        try:
            match answer:
                case Accepted():
                    self._accept(claim, answer, now)
                case ServiceError():
                    self._refuse(claim, answer, now)
                case _:  # about the recording, or from the release: the body was cut off before its end
                    self._cut_off(claim, answer, now)
        except StaleItem:
            self._come_late(claim, answer, now)
        except StoreLeaseLost:
            self._come_after_the_lease(claim, answer, now)

    def end(self, claim: Claim, answer: Accepted | WatcherError, now: float) -> None:
        """End the attempt and its rate event; the item's outcome is still to be recorded."""
        with self._site.store.writing() as books:
            match answer:
                case Accepted():
                    self._end_accepted(books, claim, answer, now, _STUMBLED)
                case ServiceError():
                    self._end(books, claim, answer, now, answer.code, answer.charged, _STUMBLED)
                case _:
                    self._end(books, claim, answer, now, answer.code, Charged.NO, _STUMBLED)

    def _come_late(self, claim: Claim, answer: Accepted | WatcherError, now: float) -> None:
        """End the attempt and its rate event: an open one would leave no other upload any room.

        An identifier that comes late is money: it is in the ledger, whoever has the item. What the answer says
        about the account or the service counts too.
        """
        item, identifier, reason = claim.item, None, None
        with self._site.store.writing() as books:
            match answer:
                case Accepted():
                    identifier = answer.identifier
                    self._end_accepted(books, claim, answer, now, _LATE)
                    accept_late_part(self._site, books, claim, answer, now)
                case ServiceError():
                    reason = answer.message
                    decision = policy.decide(answer, item, self._situation(books, item, now))
                    self._end(books, claim, answer, now, str(decision.cause), answer.charged, _LATE)
                    self._heed(books, claim, decision, now)
                case _:
                    reason = answer.message
                    self._end(books, claim, answer, now, answer.code, Charged.NO, _LATE)
        _log.error("answer.late", item=item.id, path=item.path, identifier=identifier, reason=reason)

    def _come_after_the_lease(self, claim: Claim, answer: Accepted | WatcherError, now: float) -> None:
        """Record an identifier. Any other answer is not for us to record: the attempt ended with our lease."""
        item, identifier, reason = claim.item, None, f"{AFTER_THE_LEASE}: {answer}"
        if isinstance(answer, Accepted):
            identifier, reason = answer.identifier, AFTER_THE_LEASE
            with self._site.store.writing(late=True) as books:
                take_after_the_lease(self._site, books, claim, answer, now)
                self._end_rate_event(books, claim, now)
        _log.warning("answer.late", item=item.id, path=item.path, identifier=identifier, reason=reason)

    def _accept(self, claim: Claim, accepted: Accepted, now: float) -> None:
        item = claim.item
        parts: list[Part] = []
        with self._site.store.writing() as books:
            self._end_accepted(books, claim, accepted, now, "done")
            take_identifier(self._site, books, claim, accepted, now)
            if claim.part is not None:
                parts = books.parts.of(item.id)
            if claim.canary:
                pauses.end_by_canary(books, now, accepted=True)
        self._keep_identifier(item, parts, claim.part)
        part = {} if claim.part is None else {"part": claim.part.index}
        _log.info("recording.submitted", item=item.id, path=item.path, identifier=accepted.identifier, **part)

    def _keep_identifier(self, item: Item, parts: list[Part], sent: Part | None) -> None:
        """Beside the part in the spool, for whoever loses the database. Where that fails, it is done later."""
        for part in parts:
            if sent is not None and part.index == sent.index:
                with suppress(FolderError):
                    keep_identifier(self._site, item, parts, part)

    def _refuse(self, claim: Claim, error: ServiceError, now: float) -> None:
        item = claim.item
        narrower = None
        with self._site.store.writing() as books:
            decision = policy.decide(error, item, self._situation(books, item, now))
            self._end(books, claim, error, now, str(decision.cause), error.charged, decision.text)
            self._move_on(books, claim, decision, now)
            if isinstance(error, Throttled) and not _is_straggler(books, claim):
                narrower = self._windows.learn(books, error, now)
            self._heed(books, claim, decision, now)
        if narrower is not None:
            _log.warning("rate.lowered", rate=describe(narrower), reason=error.message, hint=_LOWERED_HINT)
        # A pause has its own two lines: what fails because of it is no news, and must not drown them.
        is_news = decision.pause is None or decision.then is not policy.Next.AGAIN
        (_log.warning if is_news else _log.debug)(
            "recording.refused" if decision.then is policy.Next.FAIL else "recording.unsent",
            item=item.id,
            path=item.path,
            error=decision.fault.code,
            reason=decision.fault.message,
            charged=error.charged,
            decision=decision.text,
        )

    def _heed(self, books: Books, claim: Claim, decision: policy.Decision, now: float) -> None:
        """Begin the decision's pause, if it has one; or end pauses where a canary was refused for its content."""
        if decision.pause is not None:
            pauses.begin(books, decision.pause, self._site.config.retry, now, from_canary=claim.canary)
        elif claim.canary and decision.cause is policy.Cause.FILE:
            pauses.end_by_canary(books, now, accepted=False)

    def _cut_off(self, claim: Claim, error: WatcherError, now: float) -> None:
        """Record that the body was cut off: nothing was charged. A changed file has to settle again."""
        item = claim.item
        with self._site.store.writing() as books:
            self._end(books, claim, error, now, error.code, Charged.NO, "not sent")
            if claim.part is not None:
                self._cut_off_part(books, item, claim.part, error, now)
            elif isinstance(error, RecordingChanged):
                books.items.change(item, State.WITHDRAWN, now, error.message)
                follow_original(books, replace(item, state=State.WITHDRAWN), now)
            elif isinstance(error, RecordingError):
                postpone(self._site, books, item, error, now)
            else:
                books.items.change(item, State.QUEUED, now, error.message)
        if isinstance(error, RecordingChanged) and claim.part is None:
            self._arrivals.hint(item.path)
        _log.info("recording.unsent", item=item.id, path=item.path, reason=error.message, charged=Charged.NO)

    def _cut_off_part(self, books: Books, item: Item, part: Part, error: WatcherError, now: float) -> None:
        """Queue the part again. One whose file is not as it was made is made again."""
        lost = {"name": None} if isinstance(error, RecordingChanged) else {}
        books.parts.change(part, PartState.QUEUED, **lost)
        if isinstance(error, RecordingError) and not lost:
            postpone(self._site, books, item, error, now)
        else:
            books.items.change(item, State.QUEUED, now, error.message)

    def _situation(self, books: Books, item: Item, now: float) -> policy.Situation:
        faulted, suspected = item.faulted_at, item.suspected_at
        return policy.Situation(
            now=now,
            retry=self._site.config.retry,
            hold_in_doubt=self._site.config.identifai.holds_in_doubt,
            others_succeed=faulted is not None and books.ledger.accepted_since(faulted, item.id),
            others_wait=item.faults > 1 and books.queue.next_due(now, canary=False) is not None,
            last_word_was_yes=suspected is not None and books.ledger.last_word_was_yes(suspected, item.id),
            jitter=secrets.randbelow(1000) / 1000,
        )

    def _move_on(self, books: Books, claim: Claim, decision: policy.Decision, now: float) -> None:
        item, part = claim.item, claim.part
        changes: dict[str, Any] = {
            "fault": decision.fault,
            "faults": decision.faults,
            "in_doubt": item.in_doubt or decision.in_doubt,
            "due_at": decision.due_at,
        }
        if decision.faults != item.faults:
            changes["faulted_at"] = now
        if decision.suspect:
            changes["suspected_at"] = item.suspected_at or now
        if part is not None:
            self._move_part_on(books, claim, part, decision, now, changes)
            return
        state = {policy.Next.FAIL: State.FILING, policy.Next.HOLD: State.HELD}.get(decision.then, State.QUEUED)
        if state is State.FILING:
            changes |= {"outcome": State.FAILED, "filed_as": item.path}
        books.items.change(item, state, now, decision.fault.message, **changes)
        outcome = State.FAILED if state is State.FILING else None
        follow_original(books, replace(item, state=state, outcome=outcome, fault=decision.fault), now)

    def _move_part_on(
        self,
        books: Books,
        claim: Claim,
        part: Part,
        decision: policy.Decision,
        now: float,
        changes: dict[str, Any],
    ) -> None:
        """As for the recording, of which this is a part; one that is refused leaves the others their way."""
        after = {policy.Next.FAIL: PartState.REFUSED, policy.Next.HOLD: PartState.HELD}.get(
            decision.then, PartState.QUEUED
        )
        of_item = AFRESH | {"due_at": now} if after is PartState.REFUSED else changes
        moved = move_part(
            books,
            claim.item,
            part,
            after,
            now,
            f"part {part.index}: {decision.fault.message}",
            of_part={"in_doubt": part.in_doubt or decision.in_doubt, "fault": decision.fault},
            of_item=of_item | {"filed_as": claim.filed_as},
        )
        if after is PartState.REFUSED:
            tell_if_known(books, moved, self._site.config.audio, now)

    def _end(
        self,
        books: Books,
        claim: Claim,
        error: WatcherError,
        now: float,
        outcome: str,
        charged: Charged,
        decision: str,
    ) -> None:
        status = error.status if isinstance(error, ServiceError) else None
        books.ledger.end(
            claim.number,
            now,
            outcome=outcome,
            charged=charged,
            decision=decision,
            status=status,
            detail=error.message,
        )
        self._end_rate_event(books, claim, now)

    def _end_accepted(self, books: Books, claim: Claim, accepted: Accepted, now: float, decision: str) -> None:
        end_accepted(books, claim, accepted, now, decision)
        self._end_rate_event(books, claim, now)

    def _end_rate_event(self, books: Books, claim: Claim, now: float) -> None:
        if claim.rate_event is not None:
            self._windows.end(books, claim.rate_event, now)


def _is_straggler(books: Books, claim: Claim) -> bool:
    """Return whether this upload was sent before the throttle began: its 429 teaches nothing new."""
    pause = books.pauses.get(PauseKind.THROTTLE)
    return pause is not None and (claim.released_at or 0.0) <= pause.since
