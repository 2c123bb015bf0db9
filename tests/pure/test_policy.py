"""The one table that decides what an error means: whose fault, what it may have cost, what next, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher import errors
from watcher.config import Retry
from watcher.domain import Charged, Fingerprint, Item, Pause, PauseKind, State
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
from watcher.journey.submit.policy import (
    RULES,
    Cause,
    Decision,
    Next,
    Situation,
    back_off,
    decide,
    find_cause,
    find_gate,
    may_be_sent,
)

NOW = 1_000_000.0
RETRY = Retry()
ITEM = Item("0123456789abcdef", b"a.wav", State.SUBMITTING, 10, NOW, Fingerprint(1, 2, 10, 4, 5))
UNKNOWN = Charged.UNKNOWN

REFUSALS = {  # one for each that words can blame, whatever the status: test_refusals has more of them
    "The uploaded file format is not supported.": Cause.FILE,
    "No speech was found.": Cause.FILE,
    "You do not have enough credits to perform this operation.": Cause.NO_CREDIT,
    "Too many audio files.": Cause.NOT_OF_FILE,
    "The audio field is required.": Cause.UNCLASSIFIED,
    "Your organization has no license for audio analysis.": Cause.UNCLASSIFIED,
    "The file exceeds the maximum size of your plan": Cause.UNCLASSIFIED,
    "": Cause.UNCLASSIFIED,
}

CAUSES: list[tuple[ServiceError, Cause]] = [
    (Unauthorized("Unauthorized", status=401), Cause.UNAUTHORIZED),
    (Forbidden("Forbidden", status=403), Cause.FORBIDDEN),
    (Throttled("Too Many Attempts."), Cause.THROTTLED),
    (NeverSent("refused"), Cause.UNREACHABLE),
    (NeverSent("said yes before it had it", status=200), Cause.UNREACHABLE),
    (Unanswered("the answer was lost", charged=UNKNOWN), Cause.IN_DOUBT),
    (Unintelligible("a page", status=200, charged=UNKNOWN), Cause.IN_DOUBT),
    *((Rejected(text, status=status), cause) for text, cause in REFUSALS.items() for status in (400, 413, 422)),
    *((ServiceFault(text, status=402), Cause.NO_CREDIT) for text in ("Payment Required", "The file.", "")),
    *((ServiceFault("", status=s), Cause.NOT_WELL) for s in (301, 302, 308, 404, 405, 407, 408, 503)),
    *((ServiceFault("", status=s, charged=UNKNOWN), Cause.IN_DOUBT) for s in (500, 502, 504, 520, 599)),
    # Whatever something in between says: it is its word on nothing but itself.
    *((Intercepted("No credit for this audio file", status=s), Cause.UNCLASSIFIED) for s in (400, 413, 422)),
    *((Intercepted("Buy credit", status=s), Cause.NOT_WELL) for s in (302, 401, 402, 403, 407, 451, 503)),
    (Intercepted("Bad Gateway", status=502, charged=UNKNOWN), Cause.IN_DOUBT),
    (ServiceError("what nobody foresaw"), Cause.NOT_WELL),
    (ServiceError("what nobody foresaw", charged=UNKNOWN), Cause.IN_DOUBT),
]


@pytest.mark.parametrize(("error", "cause"), CAUSES, ids=lambda value: str(value)[:40])
def test_every_error_has_a_cause(error: ServiceError, cause: Cause) -> None:
    """The class, the status and the text of an error lead to one line of the table."""
    assert find_cause(error) is cause


def test_the_table_is_complete() -> None:
    """Every cause has a rule with a hint, and every class of service error is in this test's table."""
    assert set(RULES) == set(Cause)
    assert all(rule.hint for rule in RULES.values())
    classes = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)}
    assert {type(error) for error, _ in CAUSES} == classes
    assert {cause for _, cause in CAUSES} == set(Cause)


def judge(error: ServiceError, **facts: object) -> Decision:
    """The decision for a first fault, or for what `facts` say of the item and the situation."""
    situation = {name: facts.pop(name) for name in Situation.__dataclass_fields__ if name in facts}
    known = {"hold_in_doubt": False, "others_succeed": False, **situation}
    item = Item(**{name: getattr(ITEM, name) for name in Item.__dataclass_fields__} | facts)
    return decide(error, item, Situation(now=NOW, retry=RETRY, **known))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cause", "pauses", "then", "faults", "suspect", "in_doubt"),
    [
        (Cause.FILE, None, Next.FAIL, 0, False, False),
        (Cause.NO_CREDIT, PauseKind.ACCOUNT, Next.AGAIN, 0, False, False),
        (Cause.UNAUTHORIZED, PauseKind.ACCOUNT, Next.AGAIN, 0, False, False),
        (Cause.FORBIDDEN, PauseKind.ACCOUNT, Next.AGAIN, 0, False, False),
        (Cause.THROTTLED, PauseKind.THROTTLE, Next.AGAIN, 0, False, False),
        (Cause.UNREACHABLE, PauseKind.SERVICE, Next.AGAIN, 1, False, False),
        (Cause.NOT_WELL, PauseKind.SERVICE, Next.AGAIN, 1, False, False),
        (Cause.NOT_OF_FILE, PauseKind.SERVICE, Next.AGAIN, 1, False, False),
        (Cause.IN_DOUBT, PauseKind.SERVICE, Next.AGAIN, 1, False, True),
        (Cause.UNCLASSIFIED, PauseKind.SERVICE, Next.AGAIN, 0, True, False),
    ],
)
def test_what_each_cause_does(
    cause: Cause, pauses: PauseKind | None, then: Next, faults: int, suspect: bool, in_doubt: bool
) -> None:
    """Only what speaks of the file fails it; every other cause pauses, and the item is tried again."""
    for error in (error for error, its_cause in CAUSES if its_cause is cause):
        decision = judge(error)
        assert decision.cause is cause
        assert (decision.pause.kind if decision.pause else None) is pauses
        assert (decision.then, decision.faults) == (then, faults)
        assert (decision.suspect, decision.in_doubt) == (suspect, in_doubt)
        assert decision.fault.hint
        assert decision.text
        if decision.pause is not None:
            assert decision.pause.since == NOW
            assert decision.pause.until is not None
            assert decision.pause.until > NOW
            assert error.message in decision.pause.reason
        assert decision.due_at > NOW


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Unauthorized("Unauthorized", hint="from the client", status=401), "API key"),
        (Forbidden("Forbidden", status=403), "terms of service"),
        (Rejected("no credit", hint="from the client", status=400), "Buy credit"),
        (NeverSent("no route", hint="Check the machine's DNS."), "Check the machine's DNS."),
    ],
)
def test_a_pause_says_what_to_do(error: ServiceError, says: str) -> None:
    """The operator reads the next step in the pause, and in the item's fault."""
    decision = judge(error)
    assert decision.pause is not None
    assert says in decision.pause.reason
    assert says in decision.fault.hint


COUNTED = [NeverSent("cut off"), ServiceFault("503", status=503), Unanswered("lost", charged=UNKNOWN)]


@pytest.mark.parametrize("error", COUNTED)
def test_an_outage_is_counted_against_no_file(error: ServiceError) -> None:
    """However often a file is tried during an outage, that is one fault: others did not succeed in between."""
    for faults in (1, 5, 7, 100):
        decision = judge(error, faults=faults, faulted_at=NOW - 1)
        assert decision.faults == faults
        assert decision.then is Next.AGAIN
        assert decision.pause is not None


@pytest.mark.parametrize("error", COUNTED)
def test_a_poison_file_is_held_and_passes_for_no_outage(error: ServiceError) -> None:
    """Faults of one file with others accepted in between pause nobody, wait ever longer, and end in `held`."""
    first = judge(error)
    assert first.pause is not None  # one fault alone may be an outage
    dues = []
    for faults in range(1, RETRY.hold_after - 1):
        decision = judge(error, faults=faults, faulted_at=NOW - 1, others_succeed=True)
        assert (decision.faults, decision.then, decision.pause) == (faults + 1, Next.AGAIN, None)
        dues.append(decision.due_at)
    assert dues == sorted(dues)
    alone = judge(error, faults=3, faulted_at=NOW - 1)
    assert alone.pause is not None  # there is nobody else to tell
    waited_for = judge(error, faults=3, faulted_at=NOW - 1, others_wait=True)
    assert (waited_for.faults, waited_for.then, waited_for.pause) == (3, Next.AGAIN, None)
    last = judge(error, faults=RETRY.hold_after - 1, faulted_at=NOW - 1, others_succeed=True)
    assert (last.then, last.pause) == (Next.HOLD, None)
    assert "watcher release" in last.fault.hint
    assert "watcher fail" in last.fault.hint


@pytest.mark.parametrize("cause", [c for c in Cause if not RULES[c].counts])
def test_what_is_no_fault_of_a_file_never_counts(cause: Cause) -> None:
    """Throttles, the account's troubles and refusals burn nothing of hold_after, whatever others do."""
    for error in (error for error, its_cause in CAUSES if its_cause is cause):
        decision = judge(error, faults=7, faulted_at=NOW - 1, others_succeed=True)
        assert decision.faults == 7
        assert decision.then is not Next.HOLD


def test_under_hold_what_may_have_been_charged_is_a_persons_decision() -> None:
    """in_doubt = "hold" holds what was sent and not answered, and nothing that is certainly free."""
    for error, cause in CAUSES:
        held = judge(error, hold_in_doubt=True).then is Next.HOLD
        assert held is (cause is Cause.IN_DOUBT)
    assert "never with no_cache" in judge(Unanswered("lost", charged=UNKNOWN)).text


def test_an_unclassified_refusal_is_nobodys_verdict_until_another_is_accepted() -> None:
    """Only the second time, with the service's last word on another file a yes, it is the file's refusal."""
    error = Rejected("The request could not be processed.", status=400)
    for facts in (
        {},
        {"last_word_was_yes": True},  # never refused before
        {"suspected_at": NOW - 9},  # nothing was accepted since
    ):
        decision = judge(error, **facts)
        assert (decision.then, decision.suspect) == (Next.AGAIN, True)
        assert decision.pause is not None
    convicted = judge(error, suspected_at=NOW - 9, last_word_was_yes=True)
    assert (convicted.then, convicted.pause, convicted.suspect) == (Next.FAIL, None, False)
    plain = judge(Rejected("bad format", status=400))
    assert convicted.fault.code == plain.fault.code == "refused"
    assert convicted.fault.hint == plain.fault.hint  # no longer "if this one is refused again"


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        (None, 1, 1.25),
        (0.0, 1, 1.25),
        (1.0, 1, 1.25),
        (37.0, 37, 37.25),
        (-5.0, 1, 1.25),
        (86_400.0, 3600, 3600.25),
        (1e300, 3600, 3600.25),
    ],
)
def test_a_throttle_pauses_for_as_long_as_it_says(retry_after: float | None, least: float, most: float) -> None:
    """max(Retry-After, 1 s) with a little jitter, whatever is said, and an hour at the most."""
    decision = judge(Throttled("Too Many Attempts.", retry_after=retry_after))
    assert decision.pause is not None
    assert decision.pause.until == decision.due_at
    assert least <= decision.due_at - NOW <= most


def test_an_outage_lasts_as_long_as_it_says() -> None:
    """503 with Retry-After pauses for that long, where it is longer than our own back-off; an hour at the most."""
    for asked, expected in ((1.0, RETRY.first_seconds), (120.0, 120.0), (1e9, 3600.0)):
        pause = judge(ServiceFault("503", status=503, retry_after=asked)).pause
        assert pause is not None
        assert pause.until == pytest.approx(NOW + expected)


@given(st.integers(0, 10_000), st.floats(0.001, 600), st.floats(1, 1000), st.floats(0, 1))
def test_back_off_grows_to_its_maximum(tries: int, first: float, factor: float, jitter: float) -> None:
    """Each wait is at least the one before, but for a tenth of jitter, and none exceeds the maximum by more."""
    retry = Retry(first_seconds=first, max_seconds=first * factor)
    wait = back_off(tries, retry, jitter)
    assert 0.95 * first <= wait <= 1.05 * retry.max_seconds
    assert back_off(tries + 1, retry, 0.5) >= back_off(tries, retry, 0.5)


# The gate


def pause(kind: PauseKind, until: float | None, since: float = NOW - 50) -> Pause:
    return Pause(kind, str(kind), "why", since, until)


@pytest.mark.parametrize(
    ("pauses", "is_open", "canary", "until", "over"),
    [
        ([], True, False, None, ()),
        ([pause(PauseKind.PERSON, None)], False, False, None, ()),
        ([pause(PauseKind.FOLDER, None)], False, False, None, ()),
        ([pause(PauseKind.SERVICE, NOW + 5)], False, False, NOW + 5, ()),
        ([pause(PauseKind.SERVICE, NOW)], True, True, None, ()),
        ([pause(PauseKind.ACCOUNT, NOW - 1)], True, True, None, ()),
        ([pause(PauseKind.THROTTLE, NOW + 5)], False, False, NOW + 5, ()),
        ([pause(PauseKind.THROTTLE, NOW)], True, False, None, (PauseKind.THROTTLE,)),
        ([pause(PauseKind.CAP, NOW - 1)], True, False, None, (PauseKind.CAP,)),
        ([pause(PauseKind.SERVICE, NOW), pause(PauseKind.CAP, NOW + 9)], False, False, NOW + 9, ()),
        ([pause(PauseKind.SERVICE, NOW), pause(PauseKind.THROTTLE, NOW)], True, True, None, (PauseKind.THROTTLE,)),
        ([pause(PauseKind.PERSON, None), pause(PauseKind.SERVICE, NOW + 5)], False, False, None, ()),
        ([pause(PauseKind.SERVICE, NOW + 5), pause(PauseKind.CAP, NOW + 9)], False, False, NOW + 9, ()),
        # The clock was set back: what began in the future keeps nobody waiting for that time to come.
        ([pause(PauseKind.SERVICE, NOW + 3605, since=NOW + 3600)], True, True, None, ()),
        ([pause(PauseKind.THROTTLE, NOW + 3605, since=NOW + 3600)], True, False, None, (PauseKind.THROTTLE,)),
    ],
)
def test_what_the_pauses_allow(
    pauses: list[Pause], is_open: bool, canary: bool, until: float | None, over: tuple[PauseKind, ...]
) -> None:
    """Everything, one canary, or nothing until a time or a person."""
    gate = find_gate(pauses, NOW)
    assert (gate.is_open, gate.canary, gate.until, gate.over) == (is_open, canary, until, over)


def test_an_upload_ends_only_if_nothing_has_come_in_between() -> None:
    """A canary goes through the pause that it tries, and stops at any other; the rest stop at all of them."""
    trouble, person = pause(PauseKind.SERVICE, NOW + 10), pause(PauseKind.PERSON, None)
    assert may_be_sent([], NOW, canary=False)
    assert may_be_sent([pause(PauseKind.CAP, NOW + 9)], NOW, canary=False)  # reached, by this very upload
    assert may_be_sent([trouble], NOW, canary=True)
    assert not may_be_sent([trouble], NOW, canary=False)
    assert not may_be_sent([pause(PauseKind.SERVICE, NOW - 1)], NOW, canary=False)  # that is a canary's
    assert not may_be_sent([person], NOW, canary=False)
    assert not may_be_sent([trouble, person], NOW, canary=True)
    assert may_be_sent([pause(PauseKind.THROTTLE, NOW - 1)], NOW, canary=False)
