"""Pauses: why submitting stands still, when it is tried again, and what the log says of that.

A pause is a row that all nodes and commands share. It is told of where it is seen, not where it is made: so a
person's `watcher pause` stands in the daemon's log like any other.
"""

import threading
from dataclasses import replace
from zoneinfo import ZoneInfo

from watcher import logs
from watcher.config import Limits, Retry
from watcher.domain import Pause, PauseKind, rfc3339
from watcher.identifai.budget import day_of, month_of
from watcher.journey import policy
from watcher.store import Books
from watcher.store.pauses import Noted

_log = logs.get_logger(__name__)

_LOOKED_BACK = 10  # attempts: canaries take turns, so two recordings that met faults are both among the last ones


class PauseLog:
    """What the log has been told of the pauses: one line at a pause's start, and one at its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._from: int | None = None  # the first pause whose end is not told
        self._told: dict[int, bool] = {}  # by number, from there on: whether its end is told, too

    def look(self, books: Books) -> list[Pause]:
        """The pauses in force, the weightiest first. What changed since the last look is in the log afterwards."""
        with self._lock:
            if self._from is None:
                self._from = books.pauses.beginning()
            noted = books.pauses.noted(self._from)
            if not noted:
                return []
            standing = [each.pause for each in noted if each.ended_at is None]
            for each in noted:
                self._note(books, each, is_last=not standing)
            self._from = next((each.serial for each in noted if each.ended_at is None), noted[-1].serial + 1)
            self._told = {serial: ended for serial, ended in self._told.items() if serial >= self._from}
            return sorted(standing, key=lambda pause: list(PauseKind).index(pause.kind))

    def _note(self, books: Books, noted: Noted, *, is_last: bool) -> None:
        pause = noted.pause
        if noted.serial not in self._told:
            books.afterwards(lambda: _tell_beginning(pause))
            self._told[noted.serial] = False
        if noted.ended_at is not None and not self._told[noted.serial]:
            lasted_seconds = round(noted.ended_at - pause.since, 1)
            tries = books.ledger.canaries(pause.since, noted.ended_at)
            books.afterwards(lambda: _tell_end(pause, lasted_seconds, tries, is_last=is_last))
            self._told[noted.serial] = True


def _tell_beginning(pause: Pause) -> None:
    tell = _log.info if pause.kind is PauseKind.THROTTLE else _log.warning
    tell("submitting.paused", kind=pause.kind, reason=pause.reason, until=rfc3339(pause.until))


def _tell_end(pause: Pause, lasted_seconds: float, tries: int, *, is_last: bool) -> None:
    _log.info(
        "submitting.resumed" if is_last else "submitting.still_paused",
        kind=pause.kind,
        reason=pause.reason,
        lasted_seconds=lasted_seconds,
        tries=tries,
    )


def find_gate(books: Books, standing: list[Pause], now: float) -> policy.Gate:
    """What the pauses in force allow now.

    Where one recording alone has met a fault of the service, since no other was there, the first other one is a
    canary at once: a poison file must not keep it waiting for the back-off that the poison file has earned.
    """
    gate = policy.find_gate(standing, now)
    if gate.is_open or [pause.kind for pause in standing] != [PauseKind.SERVICE] or standing[0].tries == 0:
        return gate
    since = standing[0].since
    tried = {a.item_id for a in books.ledger.latest(_LOOKED_BACK) if a.ended_at is None or a.ended_at >= since}
    newcomer = books.items.next_due(now, canary=True)
    if len(tried) == 1 and newcomer is not None and newcomer.id not in tried:
        return policy.Gate(is_open=True, canary=True)
    return gate


def end_what_is_over(books: Books, limits: Limits, now: float) -> None:
    """Pauses whose time has passed have ended, and so has a cap's that has room again."""
    pauses = books.pauses.active()
    for kind in policy.find_gate(pauses, now).over:
        books.pauses.end(kind, now)
    if is_cap_lifted(books, pauses, limits, now):
        books.pauses.end(PauseKind.CAP, now)


def begin(books: Books, pause: Pause, retry: Retry, now: float, *, from_canary: bool) -> None:
    """An error's pause is in force. A canary that failed moves the next one on; a straggler changes nothing."""
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
    """The next canary need not wait, and those after it are paced as from the pause's beginning: their pauses.

    For a person's wish, and for a start: whatever was mended should show at once. One canary only, and none for
    which the rate windows have no room: so restarts one after the other make no burst.
    """
    tried = [pause for pause in books.pauses.active() if pause.kind in policy.NEEDS_CANARY]
    for pause in tried:
        books.pauses.set(replace(pause, until=now, tries=0))
    return tried


def count_canary(books: Books, retry: Retry, now: float) -> None:
    """A canary is on its way: the next one, should it fail, comes later than this one did, but for a new start."""
    for pause in books.pauses.active():
        if pause.kind in policy.NEEDS_CANARY:
            tries = pause.tries + 1
            books.pauses.set(replace(pause, tries=tries, until=now + policy.back_off(tries, retry)))


def end_by_canary(books: Books, now: float, *, accepted: bool) -> None:
    """A canary was accepted, so nothing is wrong any more; or it was refused as a file, by a service that is well.

    Such a refusal does not tell whether there is credit, nor what others were refused for without a reason.
    What failed in an outage is due when it is over: its back-off was the outage's, and later arrivals would
    overtake it. What failed alone may be a poison file, and would begin the pause anew: it keeps its back-off.
    """
    for pause in books.pauses.active():
        outlasts_refusal = pause.code in (policy.Cause.NO_CREDIT, policy.Cause.UNCLASSIFIED)
        if pause.kind in policy.NEEDS_CANARY and (accepted or not outlasts_refusal):
            books.pauses.end(pause.kind, now)
            failed = books.ledger.items_with(policy.OF_AN_OUTAGE, pause.since) if accepted else []
            if len(failed) > 1:
                books.items.bring_forward(failed, now)


# Caps


def find_cap(books: Books, limits: Limits, now: float) -> Pause | None:
    """The pause until the reset of a cap that is reached; of two that are, the one that resets later."""
    zone = ZoneInfo(limits.timezone) if limits.timezone else None
    reached = []
    for most, period, word in ((limits.per_day, day_of, "day"), (limits.per_month, month_of, "month")):
        if most:
            since, until = period(now, zone)
            if books.ledger.spent_since(since) >= most:
                reason = (
                    f"The cap of {most:,} submissions a {word} is reached (limits.per_{word}); "
                    f"it is counted anew from {rfc3339(until)}."
                )
                reached.append(Pause(PauseKind.CAP, f"per_{word}", reason, now, until))
    return max(reached, key=lambda pause: pause.until or 0.0, default=None)


def is_cap_lifted(books: Books, pauses: list[Pause], limits: Limits, now: float) -> bool:
    """Whether a cap's pause stands that has no reason any more: a submission was given back, or the cap raised."""
    standing = next((pause for pause in pauses if pause.kind is PauseKind.CAP), None)
    if standing is None:
        return False
    cap = find_cap(books, limits, now)
    return cap is None or cap.until != standing.until
