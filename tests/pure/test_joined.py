"""The verdict on a recording in parts, joined from theirs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.domain import Fault, Part, PartState, Verdict, VerdictState
from watcher.journey.joined import OfRecording, Rule, join

HUMAN, ARTIFICIAL, INCONCLUSIVE = "human", "artificial", "inconclusive"
WORDS = {"h": HUMAN, "a": ARTIFICIAL, "i": INCONCLUSIVE, "n": None}


def part(index: int, told: str, seconds: float = 60.0, channel: int | None = None) -> Part:
    """A part: human, artificial, inconclusive, null, errored, overdue, waiting, queued, refused or silent."""
    has_identifier = told in "haineow"
    state = PartState.ACCEPTED if has_identifier else PartState.QUEUED if told == "q" else PartState.REFUSED
    fault = Fault("refused", "The format is not supported.") if told == "r" else None
    identifier = f"{index:064x}" if has_identifier else None
    start = 1000.0 * index
    return Part(
        "0" * 16,
        index,
        channel,
        0,
        1,
        start,
        start + seconds,
        silent=told == "s",
        state=state,
        identifier=identifier,
        fault=fault,
    )


def verdict(index: int, told: str, confidence: float = 0.9) -> Verdict:
    states = {"e": VerdictState.ERRORED, "o": VerdictState.OVERDUE, "w": VerdictState.AWAITED}
    said = WORDS.get(told)
    detail = "It could not be classified." if told == "e" else ""
    return Verdict(
        f"{index:064x}",
        states.get(told, VerdictState.KNOWN),
        asked_at=None,
        due_at=0.0,
        since=0.0,
        classification=said,
        confidence=confidence if said else None,
        detail=detail,
    )


def joined(
    told: str, rule: Rule = "any", seconds: list[float] | None = None, confidences: list[float] | None = None
) -> OfRecording | None:
    lengths, certain = seconds or [60.0] * len(told), confidences or [0.9] * len(told)
    parts = [part(n, one, lengths[n - 1]) for n, one in enumerate(told, 1)]
    known = [verdict(n, one, certain[n - 1]) for n, one in enumerate(told, 1) if one in "haineow"]
    return join(parts, {one.identifier: one for one in known}, rule)


CASES = {  # by the rule "any", and by "majority"
    "hh": (HUMAN, HUMAN),
    "ha": (ARTIFICIAL, INCONCLUSIVE),
    "haa": (ARTIFICIAL, ARTIFICIAL),
    "hhhhhhha": (ARTIFICIAL, INCONCLUSIVE),
    "aa": (ARTIFICIAL, ARTIFICIAL),
    "hi": (INCONCLUSIVE, INCONCLUSIVE),
    "hn": (INCONCLUSIVE, INCONCLUSIVE),
    "ii": (INCONCLUSIVE, INCONCLUSIVE),
    "ai": (ARTIFICIAL, INCONCLUSIVE),
    "aai": (ARTIFICIAL, ARTIFICIAL),
    "he": (INCONCLUSIVE, INCONCLUSIVE),
    "hr": (INCONCLUSIVE, INCONCLUSIVE),
    "ee": (INCONCLUSIVE, INCONCLUSIVE),
    "ae": (ARTIFICIAL, INCONCLUSIVE),
    "aae": (ARTIFICIAL, ARTIFICIAL),
    "ar": (ARTIFICIAL, INCONCLUSIVE),
    "hs": (HUMAN, HUMAN),
    "hss": (HUMAN, HUMAN),
    "as": (ARTIFICIAL, ARTIFICIAL),
    "hes": (INCONCLUSIVE, INCONCLUSIVE),
    "h": (HUMAN, HUMAN),
    "a": (ARTIFICIAL, ARTIFICIAL),
}


@pytest.mark.parametrize("told", CASES)
@pytest.mark.parametrize("rule", ["any", "majority"])
def test_the_rule(told: str, rule: Rule) -> None:
    """Artificial by the rule; human only if all that was judged is, and nothing with sound is missing."""
    found = joined(told, rule)
    assert found is not None
    assert found.state is VerdictState.KNOWN
    assert found.classification == CASES[told][rule == "majority"]
    assert found.as_json()["rule"] == rule


@pytest.mark.parametrize("told", ["hw", "hq", "aw", "aq", "rw", "ow", "hhhhw"])
def test_it_is_awaited_until_every_part_is_at_rest(told: str) -> None:
    """Whatever the others say already: what is not known is never told."""
    for rule in ("any", "majority"):
        found = joined(told, rule)
        assert found is not None
        assert (found.state, found.classification, found.confidence) == (VerdictState.AWAITED, None, None)


def test_it_is_overdue_as_its_last_part_is() -> None:
    found = joined("ho")
    assert found is not None
    assert (found.state, found.classification) == (VerdictState.OVERDUE, None)


@pytest.mark.parametrize("told", ["q", "qq", "r", "rr", "s", "rs", ""])
def test_without_an_identifier_there_is_none(told: str) -> None:
    """As of a recording that is sent as it is: null, never human."""
    assert joined(told) is None


def test_an_only_part_has_its_own_verdict() -> None:
    """A recording that was only put into another container, or encoded, is told of as any other."""
    for told, state in {"e": VerdictState.ERRORED, "w": VerdictState.AWAITED, "o": VerdictState.OVERDUE}.items():
        found = joined(told)
        assert found is not None
        assert (found.state, found.classification) == (state, None)
        assert found.whole.detail == verdict(1, told).detail


def test_the_majority_is_of_seconds() -> None:
    """One long artificial part outweighs two short human ones, and the other way round; half is none."""
    assert _class(joined("hha", "majority", [30.0, 30.0, 61.0])) == ARTIFICIAL
    assert _class(joined("hha", "majority", [30.0, 30.0, 60.0])) == INCONCLUSIVE
    assert _class(joined("haa", "majority", [70.0, 30.0, 30.0])) == INCONCLUSIVE
    assert _class(joined("sha", "majority", [900.0, 30.0, 31.0])) == ARTIFICIAL  # silence has no vote


def test_the_confidence_is_of_the_parts_that_decide() -> None:
    """Of the artificial ones the highest; of human ones the lowest, since all must be."""
    for told, confidence in {"haa": 0.8, "hhh": 0.6, "hai": 0.7, "hhi": None, "hhe": None}.items():
        found = joined(told, "any", confidences=[0.99 if told == "haa" else 0.6, 0.7, 0.8])
        assert found is not None
        assert found.confidence == confidence, told


def test_what_was_not_judged_is_counted_and_named() -> None:
    """Seconds without sound, errored, and refused; and what the service said of each."""
    found = joined("hers", "any", [60.0, 50.0, 40.0, 30.5])
    assert found is not None
    told = found.as_json()
    assert (told["seconds_judged"], told["seconds_not_judged"]) == (60.0, 120.5)
    assert told["detail"] == (
        "Part 2 could not be judged: It could not be classified. Part 3 was not accepted: "
        "The format is not supported."
    )


def test_each_channel_has_its_own() -> None:
    """An artificial agent is no artificial customer, and a channel without sound is not human."""
    told = {1: ("h", 0), 2: ("a", 0), 3: ("h", 1), 4: ("h", 1), 5: ("s", 2)}
    parts = [part(n, one, channel=channel) for n, (one, channel) in told.items()]
    known = {one.identifier: one for n, (said, _) in told.items() if said != "s" for one in [verdict(n, said)]}
    found = join(parts, known, "any", ["agent", "customer"])
    assert found is not None
    assert found.classification == ARTIFICIAL
    channels = found.as_json()["channels"]
    assert [(c["channel"], c["name"], c["state"], c["classification"]) for c in channels] == [
        (0, "agent", "known", ARTIFICIAL),
        (1, "customer", "known", HUMAN),
        (2, None, None, None),
    ]
    assert channels[2]["seconds_not_judged"] == 60.0


def _class(found: OfRecording | None) -> str | None:
    return None if found is None else found.classification


TOLD = st.text("hainseorwq", min_size=1, max_size=8)
LENGTHS = st.lists(st.floats(10.0, 500.0), min_size=8, max_size=8)


@given(TOLD, LENGTHS, st.sampled_from(["any", "majority"]))
def test_whatever_the_parts_say(told: str, lengths: list[float], rule: Rule) -> None:
    """No order matters, no second is lost, and human is never said where anything speaks against it."""
    found = joined(told, rule, lengths)
    if not set(told) & set("haineow"):
        assert found is None
        return
    assert found is not None
    whole = found.whole
    assert whole.judged_seconds + whole.unjudged_seconds == pytest.approx(sum(lengths[: len(told)]))
    backwards = [part(n, one, lengths[n - 1]) for n, one in enumerate(told, 1)][::-1]
    known = {f"{n:064x}": verdict(n, one) for n, one in enumerate(told, 1) if one in "haineow"}
    assert _class(join(backwards, known, rule)) == found.classification
    sounding = set(told) - {"s"}
    if sounding & set("wq"):
        assert found.state is VerdictState.AWAITED
    elif "o" in sounding:
        assert found.state is VerdictState.OVERDUE
    if found.classification == HUMAN:
        assert sounding == {"h"}
    if found.classification == ARTIFICIAL:
        assert "a" in sounding
    if found.state is VerdictState.KNOWN and rule == "any" and "a" in sounding:
        assert found.classification == ARTIFICIAL
    assert (found.classification is None) == (found.state is not VerdictState.KNOWN or told == "n")
