"""When somebody is told, and of what. Pure.

A condition is told of when it opens and once when it is over. What opens is given 30 seconds for company; then one
message has all of it. What a clock that was set back has put into the future delays nothing for longer than that.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from watcher.alarms import Alarm, Condition, Told
from watcher.domain import PauseKind

COMPANY_SECONDS = 30.0
DAILY_SECONDS = 86_400.0
CALM_SECONDS = 3600.0
"""What opens more than three times in so long is unstable, until it has not opened for as long."""

INHIBITS = {
    PauseKind.ACCOUNT: frozenset({Alarm.OVERDUE, Alarm.SILENCE}),
    PauseKind.SERVICE: frozenset({Alarm.OVERDUE}),
    PauseKind.FOLDER: frozenset({Alarm.SILENCE}),
}
"""Of what nobody is told while there is such a pause: it is the reason."""


class Edge(StrEnum):
    """What there is to tell of a condition."""

    OPENED = "opened"
    OVER = "over"
    UNSTABLE = "unstable"


@dataclass(frozen=True, slots=True)
class Settled:
    """What is known of a condition once it was looked at. `look_at`: when to look again; None: when it changes."""

    edge: Edge | None
    told: Told | None
    look_at: float | None
    is_forgotten: bool = False


def is_unstable(condition: Condition, now: float) -> bool:
    """Return whether it opens too often to be told of each time."""
    if condition.told is Told.UNSTABLE and abs(now - condition.opened_at) <= CALM_SECONDS:
        return True
    before = condition.opened_before
    return before is not None and abs(now - before) <= CALM_SECONDS


def find_edge(condition: Condition, now: float) -> Edge | None:
    """Return what there is to tell of it now."""
    if is_unstable(condition, now):
        return None if condition.told is Told.UNSTABLE else Edge.UNSTABLE
    if condition.is_open:
        is_told = condition.told is Told.OPENED and condition.told_opening == condition.opened_at
        return None if is_told else Edge.OPENED
    return Edge.OVER if condition.told is not None else None


def settle(condition: Condition, now: float) -> Settled:
    """Return what is to be told of the condition, and what is known of it once that is told."""
    edge = find_edge(condition, now)
    calm_at = condition.opened_at + CALM_SECONDS
    if edge is Edge.UNSTABLE or (edge is None and condition.told is Told.UNSTABLE):
        return Settled(edge, Told.UNSTABLE, calm_at)
    if condition.is_open:
        return Settled(edge, Told.OPENED, None)
    if now >= calm_at or condition.opened_at > now:
        return Settled(edge, None, None, is_forgotten=True)
    return Settled(edge, None, calm_at)  # whether it opens again is not known yet


def find_inhibited(pauses: Collection[PauseKind]) -> frozenset[Alarm]:
    """Return the kinds of which nobody is told while these pauses are in force."""
    return frozenset(kind for pause in pauses for kind in INHIBITS.get(pause, ()))


def find_due(
    waiting: Mapping[Alarm, float],
    sent_at: float | None,
    now: float,
    digest_seconds: float,
    company_seconds: float = COMPANY_SECONDS,
) -> float | None:
    """Return when the next message is due; None: there is nothing to tell.

    `waiting`: by kind, since when the longest waiting of it is to be looked at. `sent_at`: when the last message
    was made.
    """
    if not waiting:
        return None
    # What was to be looked at only after so long was written before the clock was set back.
    looks = [at if at <= now + CALM_SECONDS else now - company_seconds for at in waiting.values()]
    due_at = min(looks) + company_seconds
    if sent_at is not None and sent_at <= now + digest_seconds:
        due_at = max(due_at, sent_at + digest_seconds)
    return due_at


def is_list_due(told_at: float | None, listed_at: float | None, now: float) -> bool:
    """Return whether what is still open is to be listed: once a day.

    `told_at`: when the longest open one was told; None: nothing is open.
    """
    if told_at is None:
        return False
    since = told_at if listed_at is None else max(told_at, listed_at)
    return not since - DAILY_SECONDS <= now < since + DAILY_SECONDS
