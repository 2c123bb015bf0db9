"""What is asked of the service: each attempt, whether it was charged, and why none is made."""

from dataclasses import dataclass
from enum import StrEnum

from watcher.text import JsonObject, rfc3339


class Charged(StrEnum):
    """Whether a request was charged, as far as anybody can know."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request ever made for an item: a line of the ledger."""

    number: int
    item_id: str
    started_at: float
    size: int
    released_at: float | None = None  # the last part of the body was sent: from here on it may be charged
    ended_at: float | None = None
    status: int | None = None
    outcome: str = "unanswered"  # "accepted", or the code of the error
    charged: Charged = Charged.UNKNOWN
    decision: str = ""  # about the item
    detail: str = ""
    identifier: str | None = None
    no_cache: bool = False
    part: int | None = None  # the index of the part that it was for; None: the recording as it is

    def as_json(self) -> JsonObject:
        return {
            "number": self.number,
            "part": self.part,
            "started_at": rfc3339(self.started_at),
            "ended_at": rfc3339(self.ended_at),
            "bytes": self.size,
            "status": self.status,
            "outcome": self.outcome,
            "charged": str(self.charged),
            "decision": self.decision,
            "detail": self.detail,
            "identifier": self.identifier,
            "no_cache": self.no_cache,
        }


SPEND_BY = ("day", "folder", "user")
"""What spend is told by."""


class PauseKind(StrEnum):
    """Why nothing is submitted, the weightiest first: the order in which `status` lists them."""

    PERSON = "person"
    ACCOUNT = "account"
    SERVICE = "service"
    FOLDER = "folder"
    THROTTLE = "throttle"
    CAP = "cap"

    @property
    def is_of_account(self) -> bool:
        """Whether it is in force for every site of the account."""
        return self not in (PauseKind.PERSON, PauseKind.FOLDER)


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is submitted. A row of its own, never a state of an item."""

    kind: PauseKind
    code: str
    reason: str
    since: float
    until: float | None  # when it ends, or a canary is sent; None: a person must end it
    tries: int = 0
    by: str | None = None  # the person who paused

    def as_json(self) -> JsonObject:
        return {
            "kind": str(self.kind),
            "reason": self.reason,
            "by": self.by,
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "tries": self.tries,
        }
