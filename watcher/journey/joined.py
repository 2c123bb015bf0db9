"""The verdict on a recording that was sent in parts: their verdicts, joined by a rule. Pure.

A part is at rest once its verdict is known or errored, once it was refused, and if there is no sound in it. Until
all are, the joined verdict is awaited. Silence is only not judged; a part without a verdict keeps a recording from
being called human.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum
from typing import Literal

from watcher.domain import ARTIFICIAL, INCONCLUSIVE, UNSETTLED, Part, Verdict, VerdictState
from watcher.text import JsonObject

Rule = Literal["any", "majority"]
"""When a recording is artificial: if any part is, or if parts are that last longer than all others with sound."""

_PENDING = frozenset({VerdictState.AWAITED, VerdictState.OVERDUE})
_NO_SOUND = "There is no sound in it: it was not judged, and nothing says that it is human."


@dataclass(frozen=True, slots=True)
class Joined:
    """What the service says of some parts together.

    `confidence` is in the named class: the highest of the artificial parts, else the lowest. `judged_seconds`
    and `unjudged_seconds` add up to what the parts last, those of several channels each counted by itself.
    """

    state: VerdictState
    classification: str | None
    confidence: float | None
    detail: str = ""
    judged_seconds: float = 0.0
    unjudged_seconds: float = 0.0
    forced: bool = False
    heuristic: str | None = None  # this and the next: where all that were judged agree
    api_version: str | None = None
    models: tuple[str, ...] = ()  # of any of them
    only: Verdict | None = None  # on the only part

    def as_json(self) -> JsonObject:
        return {
            "state": str(self.state),
            "classification": self.classification,
            "confidence": self.confidence,
            "heuristic": self.heuristic,
            "models": list(self.models),
            "api_version": self.api_version,
            "forced": self.forced,
            **(self.only.support_as_json() if self.only else {}),
            "detail": self.detail,
            "seconds_judged": round(self.judged_seconds, 3),
            "seconds_not_judged": round(self.unjudged_seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class OfChannel:
    """What the service says of one channel; null: there is no sound in it, so that it has no verdict."""

    channel: int  # from 0
    name: str | None
    verdict: Joined | None
    seconds: float

    def as_json(self) -> JsonObject:
        said = self.verdict or Joined(VerdictState.KNOWN, None, None, _NO_SOUND, unjudged_seconds=self.seconds)
        state = {} if self.verdict else {"state": None}
        return {"channel": self.channel, "name": self.name, **said.as_json(), **state}


@dataclass(frozen=True, slots=True)
class OfRecording:
    """What the service says of a recording in parts; of each channel too, where they were sent apart."""

    rule: Rule
    whole: Joined
    channels: tuple[OfChannel, ...]

    @property
    def state(self) -> VerdictState:
        return self.whole.state

    @property
    def classification(self) -> str | None:
        return self.whole.classification

    @property
    def confidence(self) -> float | None:
        return self.whole.confidence

    def as_json(self) -> JsonObject:
        channels = [one.as_json() for one in self.channels] or None
        return {**self.whole.as_json(), "rule": self.rule, "channels": channels}


def join(
    parts: Sequence[Part], verdicts: Mapping[str, Verdict], rule: Rule, names: Sequence[str] = ()
) -> OfRecording | None:
    """Return the verdict on the recording that these are all parts of; None before any of them was accepted.

    `verdicts`: by identifier. `names`: of the channels.
    """
    whole = _join(parts, verdicts, rule)
    if whole is None or all(part.identifier is None for part in parts):
        return None
    channels = []
    for channel in sorted({part.channel for part in parts if part.channel is not None}):
        own = [part for part in parts if part.channel == channel]
        found = _join(own, verdicts, rule)
        channels.append(OfChannel(channel, name_of(channel, names), found, _seconds(own)))
    return OfRecording(rule, whole, tuple(channels))


def name_of(channel: int | None, names: Sequence[str]) -> str | None:
    """Return what the channel is called; None where it has no name, and for all channels together."""
    return names[channel] if channel is not None and channel < len(names) else None


def _join(parts: Sequence[Part], verdicts: Mapping[str, Verdict], rule: Rule) -> Joined | None:
    """Return what these parts come to; None where there is no sound in any of them."""
    sounding = [part for part in parts if not part.silent]
    if not sounding:
        return None
    states = [_state(part, verdicts) for part in sounding]
    judged = _seconds(part for part, state in zip(sounding, states, strict=True) if state is VerdictState.KNOWN)
    if len(parts) == 1:
        said = _take_over(parts[0], states[0], verdicts)
    elif (pending := [state for state in states if state in _PENDING]) != []:
        state = VerdictState.AWAITED if VerdictState.AWAITED in pending else VerdictState.OVERDUE
        said = Joined(state, None, None, f"{len(pending):,} of {len(sounding):,} parts are not judged yet.")
    else:
        said = _conclude(sounding, verdicts, rule)
    return replace(said, judged_seconds=judged, unjudged_seconds=max(_seconds(parts) - judged, 0.0))


def _take_over(part: Part, state: VerdictState, verdicts: Mapping[str, Verdict]) -> Joined:
    """Return what an only part comes to: as a recording does that is sent as it is."""
    verdict = verdicts.get(part.identifier or "")
    if verdict is None:
        return Joined(state, None, None, _detail(part, verdicts))
    return Joined(
        state,
        verdict.classification,
        verdict.confidence,
        verdict.detail,
        forced=verdict.forced,
        heuristic=verdict.heuristic,
        api_version=verdict.api_version,
        models=verdict.models,
        only=verdict,
    )


def _conclude(parts: Sequence[Part], verdicts: Mapping[str, Verdict], rule: Rule) -> Joined:
    """Return what several parts with sound come to, once all are at rest."""
    known = [_known(part, verdicts) for part in parts]
    judged = [verdict for verdict in known if verdict is not None]
    classification = _classify(list(zip(parts, map(_class, known), strict=True)), rule)
    deciding = [verdict for verdict in judged if _class(verdict) == classification]
    found = [verdict.confidence for verdict in deciding if verdict.confidence is not None]
    if classification == INCONCLUSIVE and len(deciding) < len(parts):
        found = []  # it follows from several that differ
    missing = [part for part, verdict in zip(parts, known, strict=True) if verdict is None]
    return Joined(
        VerdictState.KNOWN,
        classification,
        (max if classification == ARTIFICIAL else min)(found, default=None),
        " ".join(_tell_missing(part, verdicts) for part in missing),
        forced=any(verdict.forced for verdict in deciding),
        heuristic=_common(verdict.heuristic for verdict in judged),
        api_version=_common(verdict.api_version for verdict in judged),
        models=tuple(dict.fromkeys(model for verdict in judged for model in verdict.models)),
    )


def _state(part: Part, verdicts: Mapping[str, Verdict]) -> VerdictState:
    """Return how far the answer for a part with sound has come; one that was refused will never have one."""
    if part.identifier is None:
        return VerdictState.AWAITED if part.state in UNSETTLED else VerdictState.ERRORED
    verdict = verdicts.get(part.identifier)
    return VerdictState.AWAITED if verdict is None else verdict.state


def _known(part: Part, verdicts: Mapping[str, Verdict]) -> Verdict | None:
    return verdicts[part.identifier or ""] if _state(part, verdicts) is VerdictState.KNOWN else None


def _class(verdict: Verdict | None) -> str:
    """Return the class of a part at rest: without a verdict, or with null in it, it is never taken for human."""
    return (verdict.classification if verdict is not None else None) or INCONCLUSIVE


def _classify(parts: Sequence[tuple[Part, str]], rule: Rule) -> str:
    """Return what a recording is, given the class of each part with sound."""
    classes = {classification for _, classification in parts}
    if len(classes) == 1:
        return classes.pop()
    artificial = [part for part, classification in parts if classification == ARTIFICIAL]
    if rule == "any":
        return ARTIFICIAL if artificial else INCONCLUSIVE
    return ARTIFICIAL if 2 * _seconds(artificial) > _seconds(part for part, _ in parts) else INCONCLUSIVE


def _tell_missing(part: Part, verdicts: Mapping[str, Verdict]) -> str:
    happened = "was not accepted" if part.identifier is None else "could not be judged"
    said = _detail(part, verdicts)
    return f"Part {part.index} {happened}{f': {said}' if said else ''}{'' if said.endswith('.') else '.'}"


def _detail(part: Part, verdicts: Mapping[str, Verdict]) -> str:
    """Return what there is to say of a part without a class."""
    if part.identifier is not None and part.identifier in verdicts:
        return verdicts[part.identifier].detail
    return part.fault.message if part.fault is not None else ""


def _common(values: Iterable[str | None]) -> str | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _seconds(parts: Iterable[Part]) -> float:
    return fsum(part.seconds for part in parts)
