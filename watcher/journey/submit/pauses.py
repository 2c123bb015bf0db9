"""Pauses: why nothing is submitted, when it is tried again, and what is logged about that.

A pause is a row that all nodes and commands share. It is logged where it is seen, not where it is made: so a
person's `watcher pause` is in the daemon's log like any other.
"""

import threading
from dataclasses import asdict, dataclass, replace
from functools import partial

from watcher import logs
from watcher.config import Limits, Retry
from watcher.domain import Pause, PauseKind
from watcher.errors import ServiceError
from watcher.journey.submit import policy
from watcher.journey.submit.caps import is_cap_lifted
from watcher.store import Books
from watcher.store.pause_rows import PauseRow
from watcher.text import rfc3339

_log = logs.get_logger(__name__)

_PROBES = "pauses.probes"
_TRIED = "pauses.tried_at_once"
_TRIAL = "pauses.trial"
_TRIAL_SECONDS = 90.0  # a question and the claim after it, at the most: a node that died then hinders no other
_LOOKED_BACK = 10
"""Attempts. Canaries take turns, so two recordings that met faults are both among the latest; and there is a look
after each upload, so the one that ended a throttle's episode is among them too."""


class PauseLog:
    """What has been logged of the pauses: one line at the start of each, and one at its end.

    Throttle pauses in a row, with nothing accepted in between, are one episode, and logged as one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._from: int | None = None  # the first pause whose end is not logged
        self._told: dict[int, bool] = {}  # by number, from there on: whether its end is logged too
        self._episode: _Episode | None = None

    def look(self, books: Books) -> list[Pause]:
        """Return the pauses in force, the weightiest first. Log, after the commit, what has changed."""
        with self._lock:
            if self._from is None:
                self._from = books.pauses.beginning()
            noted = books.pauses.noted(self._from)
            standing = [each.pause for each in noted if each.ended_at is None]
            for each in noted:
                if each.pause.kind is PauseKind.THROTTLE:
                    self._follow(books, each)
                else:
                    self._note(books, each, is_last=not standing)
            self._end_episode(books, is_last=not standing)
            if noted:
                self._from = next((each.serial for each in noted if each.ended_at is None), noted[-1].serial + 1)
                self._told = {serial: ended for serial, ended in self._told.items() if serial >= self._from}
            return sorted(standing, key=lambda pause: list(PauseKind).index(pause.kind))

    def _note(self, books: Books, noted: PauseRow, *, is_last: bool) -> None:
        pause = noted.pause
        if noted.serial not in self._told:
            books.afterwards(partial(_tell_beginning, pause))
            self._told[noted.serial] = False
        if noted.ended_at is not None and not self._told[noted.serial]:
            tries = books.ledger.canaries(pause.since, noted.ended_at) + _Probes.of(books, pause.since).failed
            seconds = noted.ended_at - pause.since
            books.afterwards(partial(_tell_end, noted, seconds, tries, is_last=is_last))
            self._told[noted.serial] = True

    def _follow(self, books: Books, noted: PauseRow) -> None:
        pause = noted.pause
        if noted.serial not in self._told:
            self._told[noted.serial] = False
            if self._episode is None:
                books.afterwards(partial(_tell_beginning, pause))
                self._episode = _Episode(pause.since, noted)
            self._episode = replace(self._episode, pauses=self._episode.pauses + 1, ended_at=None)
        if noted.ended_at is not None and not self._told[noted.serial] and self._episode is not None:
            self._episode = replace(self._episode, ended_at=noted.ended_at)
            self._told[noted.serial] = True

    def _end_episode(self, books: Books, *, is_last: bool) -> None:
        """End the episode when an upload after it was accepted, or refused for its content."""
        past = self._episode
        if past is not None and past.ended_at is not None and _has_answered(books, past.ended_at):
            seconds = past.ended_at - past.since
            books.afterwards(partial(_tell_end, past.first, seconds, past.pauses, is_last=is_last))
            self._episode = None


@dataclass(frozen=True, slots=True)
class _Episode:
    """Throttle pauses in a row."""

    since: float
    first: PauseRow
    pauses: int = 0
    ended_at: float | None = None  # the latest of them


def _has_answered(books: Books, since: float) -> bool:
    """Return whether an upload sent since then was accepted, or refused for its content."""
    answers = ("accepted", policy.Cause.FILE)
    return any(
        a.outcome in answers and (a.released_at or 0.0) >= since
        for a in books.ledger.latest_of_account(_LOOKED_BACK)
    )


def _tell_end(noted: PauseRow, seconds: float, tries: int, *, is_last: bool) -> None:
    event = "submitting.resumed" if is_last else "submitting.still_paused"
    pause, by = noted.pause, {} if noted.ended_by is None else {"by": noted.ended_by}
    _log.info(event, kind=pause.kind, reason=pause.reason, lasted_seconds=round(seconds, 1), tries=tries, **by)


def _tell_beginning(pause: Pause) -> None:
    tell = _log.info if pause.kind is PauseKind.THROTTLE else _log.warning
    by = {} if pause.by is None else {"by": pause.by}
    tell("submitting.paused", kind=pause.kind, reason=pause.reason, until=rfc3339(pause.until), **by)


def find_gate(books: Books, standing: list[Pause], now: float) -> policy.Gate:
    """Return what the pauses in force allow now.

    Where only one recording has met a fault of the service, because there was no other, the next other one is sent
    as a canary at once: it must not wait for the back-off of what may be a poison file.
    """
    gate = policy.find_gate(standing, now)
    if gate.is_open or [pause.kind for pause in standing] != [PauseKind.SERVICE] or standing[0].tries == 0:
        return gate
    since = standing[0].since
    if _Probes.of(books, since).failed_last(books):
        return gate  # not even a question was answered: no recording is to blame
    tried = {
        a.item_id
        for a in books.ledger.latest_of_account(_LOOKED_BACK)
        if a.ended_at is None or a.ended_at >= since
    }
    newcomer = books.queue.next_due(now, canary=True)
    if len(tried) == 1 and newcomer is not None and newcomer.id not in tried:
        return policy.Gate(is_open=True, canary=True)
    return gate


def end_what_is_over(books: Books, limits: Limits, now: float) -> None:
    """End pauses whose time has passed, and a cap's pause that has no reason any more."""
    pauses = books.pauses.active()
    for kind in policy.find_gate(pauses, now).over:
        books.pauses.end(kind, now)
    if is_cap_lifted(books, pauses, limits, now):
        books.pauses.end(PauseKind.CAP, now)


def begin(books: Books, pause: Pause, retry: Retry, now: float, *, from_canary: bool) -> None:
    """Put an error's pause in force. A failed canary postpones the next one; a straggler changes nothing."""
    if pause.kind is PauseKind.THROTTLE:
        standing = books.pauses.get(PauseKind.THROTTLE)
        if standing is not None and standing.until is not None and pause.until is not None:
            pause = replace(pause, until=max(standing.until, pause.until))
        books.pauses.set(pause)
        return
    standing_still = [p for p in books.pauses.active() if p.kind in policy.NEEDS_CANARY]
    if standing_still and not from_canary:
        return
    tries = max((p.tries for p in standing_still), default=0)
    until = max(pause.until or 0.0, now + policy.back_off(tries, retry))
    for old in standing_still:
        if old.kind is not pause.kind:
            books.pauses.end(old.kind, now)
    books.pauses.set(replace(pause, tries=tries, until=until))


def try_at_once(books: Books, now: float) -> list[Pause]:
    """Make a canary due at once, with the back-off starting over. Return the pauses that it tries.

    For `watcher resume`, and for a start: whatever was mended should show at once. It is one canary only, and
    within the rate windows: so a series of restarts causes no burst.
    """
    tried = [pause for pause in books.pauses.active() if pause.kind in policy.NEEDS_CANARY]
    for pause in tried:
        books.pauses.set(replace(pause, until=now, tries=0))
    books.account.put(_TRIED, now)
    return tried


def last_wish(books: Books) -> float | None:
    """Return when a try at once was last asked for: what else was postponed because of the service is due too."""
    at: float | None = books.account.get(_TRIED)
    return at


def begin_trial(books: Books, token: str, now: float) -> float:
    """Let this process alone, of all nodes, find out whether the trouble is over, and return 0.

    Else return the seconds until it is worth asking again: another one does, or has just failed.
    """
    gate = find_gate(books, books.pauses.active(), now)
    if not gate.is_open:
        return 1.0 if gate.until is None else max(gate.until - now, 0.001)
    trial = books.account.get(_TRIAL)
    if trial is not None and trial["by"] != token and 0 < trial["until"] - now <= 2 * _TRIAL_SECONDS:
        return 1.0
    books.account.put(_TRIAL, {"by": token, "until": now + _TRIAL_SECONDS})
    return 0.0


def end_trial(books: Books) -> None:
    """It is decided, or a canary does it: what holds the others back is in its attempt or in the pauses now."""
    if books.is_shared:
        books.account.put(_TRIAL, None)


def fail_probe(books: Books, error: ServiceError, retry: Retry, now: float) -> float:
    """Record that the question before a canary was not answered. Return the seconds until the next try."""
    tried = [pause for pause in books.pauses.active() if pause.kind in policy.NEEDS_CANARY]
    if not tried:
        return 0.0  # it ended meanwhile
    count_try(books, retry, now)
    end_trial(books)
    _Probes.of(books, tried[0].since).fail(books, now)
    begin(books, policy.pause_after_probe(error, now), retry, now, from_canary=True)
    until = policy.find_gate(books.pauses.active(), now).until
    return retry.max_seconds if until is None else max(until - now, 0.001)


@dataclass(frozen=True, slots=True)
class _Probes:
    """The unanswered questions of the latest pause that had any: a fact of the account."""

    since: float  # when that pause began
    failed: int = 0
    failed_at: float = 0.0

    @classmethod
    def of(cls, books: Books, since: float) -> "_Probes":
        """Return those of the pause that began then."""
        known = cls(**books.account.get(_PROBES) or {"since": since})
        return known if known.since == since else cls(since)

    def fail(self, books: Books, now: float) -> None:
        """Count one more."""
        books.account.put(_PROBES, asdict(_Probes(self.since, self.failed + 1, now)))

    def failed_last(self, books: Books) -> bool:
        """Return whether the latest try was one of them, with no upload begun since."""
        return self.failed > 0 and all(a.started_at < self.failed_at for a in books.ledger.latest_of_account(1))


def count_try(books: Books, retry: Retry, now: float) -> None:
    """Count a try that begins: should it fail, the next one comes after a longer back-off."""
    for pause in books.pauses.active():
        if pause.kind in policy.NEEDS_CANARY:
            tries = pause.tries + 1
            books.pauses.set(replace(pause, tries=tries, until=now + policy.back_off(tries, retry)))


def end_by_canary(books: Books, now: float, *, accepted: bool) -> None:
    """End the pauses after a canary was accepted, or refused because of its own content by a healthy service.

    Such a refusal does not show whether there is credit, nor why others were refused without a clear reason: those
    pauses stay. What failed in an outage is due once it is over, or later arrivals would overtake it. What failed
    alone may be a poison file, and would start the pause again: it keeps its back-off.
    """
    for pause in books.pauses.active():
        outlasts_refusal = pause.code in policy.OUTLASTS_REFUSALS
        if pause.kind in policy.NEEDS_CANARY and (accepted or not outlasts_refusal):
            books.pauses.end(pause.kind, now)
            failed = books.ledger.items_with(policy.OF_AN_OUTAGE, pause.since) if accepted else []
            if len(failed) > 1:
                books.queue.bring_forward(failed, now)
