"""What somebody is to be told of: the conditions, and what was told of each. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Alarm(StrEnum):
    """The kinds of conditions, in the order in which messages have them."""

    ARTIFICIAL = "artificial"  # until a person reviews the recording
    FAILED = "failed"  # until it is retried, dismissed or reviewed
    HELD = "held"  # until a person decides
    PAUSED = "paused"  # nothing is submitted, for another reason than the service's pace
    SILENCE = "silence"  # nothing has arrived for too long
    OVERDUE = "overdue"  # the verdict
    GROWN = "grown"  # or otherwise altered after it was filed, until a person reviews it


class Told(StrEnum):
    """What was told of a condition last, and is not over yet."""

    OPENED = "opened"
    UNSTABLE = "unstable"


@dataclass(frozen=True, slots=True)
class Noted:
    """The kinds that are noted when they open. What closes is noted in any case."""

    kinds: frozenset[Alarm] = frozenset()
    artificial_confidence: float = 0.0

    def is_artificial(self, confidence: float | None) -> bool:
        """Return whether an artificial recording is told of. A missing number silences nothing."""
        return confidence is None or confidence >= self.artificial_confidence


@dataclass(frozen=True, slots=True)
class Condition:
    """What is the case, beside what was told of it.

    `subject`: the id of a recording, the kind of a pause, or "". `opened_before`: when it opened three openings
    before the latest one.
    """

    kind: Alarm
    subject: str
    opened_at: float
    closed_at: float | None = None  # None: it is open
    opened_before: float | None = None
    told: Told | None = None
    told_opening: float | None = None  # the opening that was told last

    @property
    def is_open(self) -> bool:
        return self.closed_at is None
