"""What a recording is said to be: by the service, in its verdict, and by a person beside it."""

from dataclasses import dataclass
from enum import StrEnum

from watcher.text import JsonObject, rfc3339

HUMAN = "human"
INCONCLUSIVE = "inconclusive"
ARTIFICIAL = "artificial"
"""The classification that matters most: it stands out wherever verdicts are shown."""


class VerdictState(StrEnum):
    """How far the answer for one identifier has come."""

    AWAITED = "awaited"
    KNOWN = "known"
    ERRORED = "errored"
    OVERDUE = "overdue"


VERDICT_WORDS = (ARTIFICIAL, HUMAN, INCONCLUSIVE, *(str(state) for state in VerdictState))
"""What a verdict can be looked for by: its class, or its state."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the service says about one identifier. `classification` is None until it is known."""

    identifier: str
    state: VerdictState
    asked_at: float | None
    due_at: float
    since: float
    classification: str | None = None  # human, artificial or inconclusive; null is never taken for human
    confidence: float | None = None  # in the named class; not the probability of "artificial"
    heuristic: str | None = None
    api_version: str | None = None
    models: tuple[str, ...] = ()
    forced: bool = False  # a person's override, or a C2PA signature, decided it
    detail: str = ""
    asked: int = 0
    machine_classification: str | None = None  # what the models said, whatever was decided by force
    machine_confidence: float | None = None
    result_url: str | None = None  # of the service's dashboard
    known_at: float | None = None  # when it was first known as it is

    def as_json(self) -> JsonObject:
        return {
            "state": str(self.state),
            "classification": self.classification,
            "confidence": self.confidence,
            "heuristic": self.heuristic,
            "models": list(self.models),
            "api_version": self.api_version,
            "forced": self.forced,
            **self.support_as_json(),
            "detail": self.detail,
        }

    def support_as_json(self) -> JsonObject:
        """Return what was forced, beside what the models said; and where the service shows it."""
        machine = {"classification": self.machine_classification, "confidence": self.machine_confidence}
        if not self.forced:
            machine = {"classification": self.classification, "confidence": self.confidence}
        return {
            "force_classification": self.classification if self.forced else None,
            "machine": machine if machine["classification"] is not None else None,
            "result_url": self.result_url,
        }

    def says_as(self, other: "Verdict") -> bool:
        """Return whether both say the same, on the same grounds."""
        names = ("state", "classification", "confidence", "forced", "heuristic", "models", "api_version")
        return all(getattr(self, name) == getattr(other, name) for name in names)


class ReviewWord(StrEnum):
    """What a person says that a recording is."""

    HUMAN = "human"
    ARTIFICIAL = "artificial"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Review:
    """A person's word on a recording, beside the machine's: what, why, who, and when."""

    word: ReviewWord
    note: str
    by: str
    at: float

    def as_json(self) -> JsonObject:
        return {"word": str(self.word), "note": self.note, "by": self.by, "at": rfc3339(self.at)}
