"""Whose fault an error is, and what to do about it. Pure: it takes the facts and `now`, and touches nothing.

A fault of the account or the service is never held against a file: it pauses submitting instead.
"""

from dataclasses import dataclass
from enum import StrEnum

from watcher.config import Retry
from watcher.domain import Charged, Fault, Item, Pause, PauseKind
from watcher.errors import (
    Forbidden,
    Intercepted,
    NeverSent,
    Rejected,
    ServiceError,
    ServiceFault,
    Throttled,
    Unanswered,
    Unauthorized,
    Unintelligible,
)
from watcher.journey.submit import doubt
from watcher.journey.submit.refusals import Blamed, whom_blames


class Cause(StrEnum):
    """The cause of an error."""

    FILE = "file"  # the service will not take this recording
    NO_CREDIT = "no_credit"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"  # nothing, or not the whole request, reached the service
    NOT_WELL = "not_well"  # it answered, but not as it should; nothing was charged
    IN_DOUBT = "in_doubt"  # it may have accepted the recording, and we do not know
    NOT_OF_FILE = "not_of_file"  # refused in words of a limit, or of the service at the moment
    UNCLASSIFIED = "unclassified"  # refused in words that do not tell why


class Next(StrEnum):
    """What to do with the item."""

    FAIL = "fail"
    AGAIN = "again"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: what an error of one cause does to submitting and to its item."""

    pauses: PauseKind | None
    then: Next
    counts: bool  # towards hold_after, where other recordings are accepted meanwhile
    hint: str


RULES: dict[Cause, Rule] = {
    Cause.FILE: Rule(None, Next.FAIL, False, "Convert or cut the recording, and drop it again."),
    Cause.NO_CREDIT: Rule(
        PauseKind.ACCOUNT, Next.AGAIN, False, "Buy credit or raise the plan; `watcher resume` tries at once."
    ),
    Cause.UNAUTHORIZED: Rule(
        PauseKind.ACCOUNT,
        Next.AGAIN,
        False,
        "Put the right API key in its place. A key file is read again before each try, at once after "
        "`watcher resume`; for a key from the environment or a systemd credential, restart the service.",
    ),
    Cause.FORBIDDEN: Rule(
        PauseKind.ACCOUNT,
        Next.AGAIN,
        False,
        "Accept the terms of service in the dashboard, or ask for access to the audio API.",
    ),
    Cause.THROTTLED: Rule(PauseKind.THROTTLE, Next.AGAIN, False, "Lower limits.writes if this comes often."),
    Cause.UNREACHABLE: Rule(
        PauseKind.SERVICE, Next.AGAIN, True, "Check the network, the proxy and identifai.base_url."
    ),
    Cause.NOT_WELL: Rule(
        PauseKind.SERVICE,
        Next.AGAIN,
        True,
        "Nothing is lost. If it lasts, check identifai.base_url.",
    ),
    Cause.IN_DOUBT: Rule(
        PauseKind.SERVICE,
        Next.AGAIN,
        True,
        "Nothing is lost; identifai.in_doubt says what becomes of the recording.",
    ),
    Cause.NOT_OF_FILE: Rule(
        PauseKind.SERVICE,
        Next.AGAIN,
        True,
        "Check the account and its limits; it is tried again by itself. These words never fail a recording.",
    ),
    Cause.UNCLASSIFIED: Rule(
        PauseKind.SERVICE,
        Next.AGAIN,
        False,
        "Check the account, the options and any proxy in between. "
        "If others are accepted and this one is refused again, it is the file.",
    ),
}

OUTLASTS_REFUSALS = (Cause.NO_CREDIT, Cause.NOT_OF_FILE, Cause.UNCLASSIFIED)
"""Why submitting pauses though the service may well be there, and refuse a file for what that is."""

REFUSED = "refused"
"""The code of a fault by which the service refused these bytes: their copies share it, unpaid."""

_LONGEST_ASKED_SECONDS = 3600.0  # the most that we wait because the service asked: its number may be nonsense


@dataclass(frozen=True, slots=True)
class Decision:
    """What to record about an attempt that brought no identifier."""

    cause: Cause
    then: Next
    fault: Fault
    due_at: float
    pause: Pause | None
    faults: int
    suspect: bool
    in_doubt: bool

    @property
    def text(self) -> str:
        """The decision in a few words, for the ledger."""
        if self.in_doubt and self.then is Next.AGAIN:
            return doubt.decision(holds=False)
        return {Next.FAIL: "failed", Next.HOLD: doubt.HELD, Next.AGAIN: "tried again later"}[self.then]


@dataclass(frozen=True, slots=True)
class Situation:
    """What else is needed to judge an error."""

    now: float
    retry: Retry
    hold_in_doubt: bool
    others_succeed: bool  # another recording was accepted since this one's last fault
    others_wait: bool = False  # another one can be sent next, which will show whether it is an outage
    last_word_was_yes: bool = False  # the latest answer for another one, since this one was suspected
    jitter: float = 0.5  # from 0 to 1


def find_cause(error: ServiceError) -> Cause:
    """Return the cause of the error.

    The service uses 400 for three things, and 413 may come from another server: only the text tells.
    """
    match error:
        case Unauthorized():
            return Cause.UNAUTHORIZED
        case Forbidden():
            return Cause.FORBIDDEN
        case Throttled():
            return Cause.THROTTLED
        case NeverSent():
            return Cause.UNREACHABLE
        case Unanswered() | Unintelligible():
            return Cause.IN_DOUBT
        case ServiceFault(status=402):
            return Cause.NO_CREDIT
        case Rejected():
            return _OF_REFUSALS[whom_blames(error.message)]
        case Intercepted(status=400 | 413 | 422):  # its words are not the service's, whatever they say
            return Cause.UNCLASSIFIED
        case _:
            return Cause.IN_DOUBT if error.charged is Charged.UNKNOWN else Cause.NOT_WELL


_OF_REFUSALS = {
    Blamed.FILE: Cause.FILE,
    Blamed.CREDIT: Cause.NO_CREDIT,
    Blamed.OTHERS: Cause.NOT_OF_FILE,
    Blamed.NOBODY: Cause.UNCLASSIFIED,
}


def decide(error: ServiceError, item: Item, situation: Situation) -> Decision:
    """Decide what to do about an error in answer to a submission of this item."""
    cause = find_cause(error)
    rule = RULES[cause]
    faults = item.faults
    if rule.counts and (faults == 0 or situation.others_succeed):
        faults += 1
    # Others succeeded between its faults: this file is to blame, and must not pause the others.
    is_poison = rule.counts and faults > 1 and (situation.others_succeed or situation.others_wait)
    then = rule.then
    if cause is Cause.IN_DOUBT and situation.hold_in_doubt:
        then = Next.HOLD
    if is_poison and situation.others_succeed and faults >= situation.retry.hold_after:
        then = Next.HOLD
    # The same words again after another file was accepted: they mean this file.
    is_convicted = cause is Cause.UNCLASSIFIED and item.suspected_at is not None and situation.last_word_was_yes
    if is_convicted:
        then = Next.FAIL
    fault = _fault(cause, error, rule, then, item)
    due_at = situation.now + back_off(max(faults - 1, 0), situation.retry, situation.jitter)
    if cause is Cause.THROTTLED:
        due_at = situation.now + max(asked_seconds(error), 1.0) + situation.jitter / 4
    pause = None
    if rule.pauses is not None and not is_poison and not is_convicted:
        until = due_at if cause is Cause.THROTTLED else max(due_at, situation.now + asked_seconds(error))
        reason = str(Fault(fault.code, fault.message, _hint(error, rule)))
        pause = Pause(rule.pauses, cause, reason, situation.now, until)
    return Decision(
        cause=cause,
        then=then,
        fault=fault,
        due_at=due_at,
        pause=pause,
        faults=faults,
        suspect=cause is Cause.UNCLASSIFIED and not is_convicted,
        in_doubt=cause is Cause.IN_DOUBT,
    )


def pause_after_probe(error: ServiceError, now: float) -> Pause:
    """Return the pause to begin when the free question before a canary was not properly answered."""
    cause = find_cause(error)
    if RULES[cause].pauses is not PauseKind.ACCOUNT and cause is not Cause.UNREACHABLE:
        cause = Cause.NOT_WELL  # a question is never in doubt, nor about a recording
    rule = RULES[cause]
    reason = str(Fault(cause, error.message, _hint(error, rule)))
    return Pause(rule.pauses or PauseKind.SERVICE, cause, reason, now, now + asked_seconds(error))


def asked_seconds(error: ServiceError) -> float:
    """Return for how many seconds the service asked us to wait, as far as we believe it."""
    return min(max(error.retry_after or 0.0, 0.0), _LONGEST_ASKED_SECONDS)


def _fault(cause: Cause, error: ServiceError, rule: Rule, then: Next, item: Item) -> Fault:
    if then is Next.HOLD:
        return Fault(str(cause), error.message, doubt.hint_to_decide(item))
    if then is Next.FAIL:  # the file is to blame, whatever the words were
        return Fault(REFUSED, error.message, RULES[Cause.FILE].hint)
    return Fault(str(cause), error.message, _hint(error, rule))


def _hint(error: ServiceError, rule: Rule) -> str:
    """Return the table's hint for a refusal, whose status may mean several things; else the error's own."""
    return rule.hint if isinstance(error, Rejected | Unauthorized) else error.hint or rule.hint


def back_off(tries: int, retry: Retry, jitter: float = 0.5) -> float:
    """Return the seconds to wait after this many tries: doubled each time up to the maximum, with 10% jitter."""
    doubled = retry.first_seconds * 2.0 ** min(tries, 60)
    return min(doubled, retry.max_seconds) * (0.95 + jitter / 10)


# The gate before submitting


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether anything may be submitted now, and if not, until when (None: until a person acts)."""

    is_open: bool
    canary: bool = False  # only one submission, to find out whether the trouble is over
    until: float | None = None
    over: tuple[PauseKind, ...] = ()  # pauses whose time has passed: they end now


_ENDS_BY_ITSELF = frozenset({PauseKind.THROTTLE, PauseKind.CAP})
NEEDS_CANARY = frozenset({PauseKind.ACCOUNT, PauseKind.SERVICE})
OF_AN_OUTAGE = tuple(str(cause) for cause, rule in RULES.items() if rule.pauses in NEEDS_CANARY)
"""The ledger's outcomes of attempts that failed for a reason that a canary can find to be over."""


_CLOCKS_DIFFER_SECONDS = 10.0  # a pause may have been made by another node, whose clock is ahead


def find_gate(pauses: list[Pause], now: float) -> Gate:
    """Return what the pauses in force allow. One that begins in the future has passed: the clock was set back."""
    begun = now + _CLOCKS_DIFFER_SECONDS
    passed = [p for p in pauses if p.until is not None and (p.until <= now or p.since > begun)]
    over = tuple(p.kind for p in passed if p.kind in _ENDS_BY_ITSELF)
    standing = [p for p in pauses if p.kind not in over]
    closed = [p for p in standing if p.kind not in NEEDS_CANARY or p not in passed]
    if closed:
        untils = [p.until for p in closed if p.until is not None]
        until = max(untils) if len(untils) == len(closed) else None
        return Gate(is_open=False, until=until, over=over)
    return Gate(is_open=True, canary=bool(standing), over=over)


def may_be_sent(pauses: list[Pause], now: float, *, canary: bool) -> bool:
    """Return whether an upload under way may be finished, under the pauses in force now.

    A canary ignores the pauses that it tries, and every upload ignores a cap's: it has been counted already.
    """
    passed = {PauseKind.CAP} | (NEEDS_CANARY if canary else set())
    gate = find_gate([pause for pause in pauses if pause.kind not in passed], now)
    return gate.is_open and not gate.canary
