"""The words of the field: what an item is, the states it can be in, and the table of their transitions."""

import struct
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Self

from watcher.text import JsonObject, quote_path, rfc3339


class State(StrEnum):
    """Where an item stands. A past participle is at rest; a word in -ing may be half done, and recovery owns it.

    A recording that is not whole yet has no row and no state: the next scan sees it again.
    """

    PREPARING = "preparing"  # examined; its parts are being made in the spool, or are to be
    QUEUED = "queued"  # whole and examined, due at `due_at`; some of its parts may have been accepted
    SUBMITTING = "submitting"  # the spend is committed, bytes may be on the wire
    FILING = "filing"  # answer and destination are committed
    DONE = "done"  # it lies there with its receipt
    FAILED = "failed"  # likewise
    HELD = "held"  # a person must decide; the file is untouched
    RETURNING = "returning"  # asked back from failed/
    WITHDRAWN = "withdrawn"  # its file was taken away before it was sent


class Mover(StrEnum):
    """Who takes an item from one state to another."""

    ARRIVE = "arrive"  # the look at the drop folder, and admission
    PREPARE = "prepare"  # its parts are made
    SUBMIT = "submit"  # for the item itself, and for those with the same bytes
    FILE = "file"
    RECOVER = "recover"  # at a start, after a crash; and by the command of that name, from receipts
    PERSON = "person"


TRANSITIONS: dict[State | None, dict[State, tuple[Mover, ...]]] = {
    None: {
        State.PREPARING: (Mover.ARRIVE, Mover.RECOVER),
        State.QUEUED: (Mover.ARRIVE,),
        State.FILING: (Mover.ARRIVE, Mover.RECOVER),  # refused unsent, or answered for the same bytes
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.ARRIVE, Mover.RECOVER),  # as the original of its bytes is; or lost, and in doubt
        State.WITHDRAWN: (Mover.RECOVER,),  # only its parts, or its identifier, are left
    },
    State.PREPARING: {
        State.PREPARING: (Mover.ARRIVE, Mover.PREPARE, Mover.RECOVER),  # under other numbers; being made; in doubt
        State.QUEUED: (Mover.PREPARE,),
        State.FILING: (Mover.PREPARE, Mover.RECOVER),  # it has no sound, would be too many parts, or no decoder
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.PREPARE, Mover.RECOVER),  # what is in doubt cannot be made again
        State.WITHDRAWN: (Mover.ARRIVE, Mover.PREPARE),
    },
    State.QUEUED: {
        State.PREPARING: (Mover.PREPARE, Mover.SUBMIT),  # none of its parts is made, or its file is gone
        State.QUEUED: (Mover.ARRIVE, Mover.SUBMIT, Mover.RECOVER),  # postponed; under other numbers; in doubt
        State.SUBMITTING: (Mover.SUBMIT,),
        State.FILING: (Mover.SUBMIT, Mover.RECOVER),  # answered for the same bytes
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.SUBMIT, Mover.RECOVER),
        State.WITHDRAWN: (Mover.ARRIVE,),
    },
    State.SUBMITTING: {
        State.QUEUED: (Mover.SUBMIT, Mover.RECOVER),
        State.FILING: (Mover.SUBMIT, Mover.RECOVER),
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.SUBMIT, Mover.RECOVER),
        State.WITHDRAWN: (Mover.SUBMIT,),  # it changed while it was sent, and its body was cut off
    },
    State.FILING: {
        State.FILING: (Mover.FILE, Mover.RECOVER),  # under another name, committed before it is used
        State.DONE: (Mover.FILE, Mover.RECOVER),
        State.FAILED: (Mover.FILE, Mover.RECOVER),
    },
    State.DONE: {
        # Completed with the recording whose parts it shares; moved on within done/; reviewed; from its receipt.
        State.DONE: (Mover.SUBMIT, Mover.FILE, Mover.PERSON, Mover.RECOVER),
        State.FILING: (Mover.RECOVER,),
        State.RETURNING: (Mover.PERSON,),  # by `retry`, where the service did not accept all of its parts
    },
    State.FAILED: {
        State.FAILED: (Mover.PERSON, Mover.RECOVER),  # dismissed, reviewed
        State.FILING: (Mover.RECOVER,),
        State.DONE: (Mover.RECOVER,),
        State.RETURNING: (Mover.PERSON, Mover.ARRIVE),  # by `retry`, or dragged back into the drop folder
    },
    State.HELD: {
        State.QUEUED: (Mover.PERSON, Mover.SUBMIT),  # released, or the original of its bytes was
        State.FILING: (Mover.PERSON, Mover.SUBMIT, Mover.RECOVER),
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (
            Mover.ARRIVE,
            Mover.SUBMIT,
        ),  # itself under other numbers; or it waits for another with its bytes
        State.WITHDRAWN: (Mover.ARRIVE,),
    },
    State.RETURNING: {
        State.RETURNING: (Mover.FILE,),  # under another name, committed before it is used
        State.PREPARING: (Mover.FILE,),
        State.QUEUED: (Mover.FILE,),
        State.FILING: (Mover.FILE, Mover.RECOVER),
        State.HELD: (Mover.FILE,),
        State.DONE: (Mover.FILE, Mover.RECOVER),  # its recording is nowhere
        State.FAILED: (Mover.FILE, Mover.RECOVER),  # likewise
    },
    State.WITHDRAWN: {  # its file is back
        State.PREPARING: (Mover.ARRIVE,),
        State.QUEUED: (Mover.ARRIVE,),
        State.FILING: (Mover.ARRIVE, Mover.RECOVER),
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.ARRIVE,),
    },
}
"""Every change of an item's state, and who may make it. The store refuses any other.

From None: the item is new. From a state to itself: another field of the item changes, and only in that state.
RECOVER brings a row to where its receipt has it, if that knows more, as after an older copy was restored.
"""

AFTER_CRASH = {
    State.PREPARING: "make its parts again",
    State.QUEUED: "nothing to do",
    State.SUBMITTING: "the ledger tells: not sent, accepted, or in doubt",
    State.FILING: "repeat the move",
    State.DONE: "nothing to do",
    State.FAILED: "nothing to do",
    State.HELD: "nothing to do",
    State.RETURNING: "repeat the move",
    State.WITHDRAWN: "nothing to do",
}
"""What a crash in each state leaves to the next start."""

HALF_DONE = frozenset(state for state in State if state.endswith("ing"))
"""The states in which a step has begun something outside the database."""

AT_REST = frozenset(State) - HALF_DONE - {State.QUEUED}
"""The states that end only by a person, by a file that goes or comes, or with an original of the same bytes."""

UNDER_WAY = frozenset(State) - AT_REST
"""The states that the daemon ends by itself."""

PATIENT = HALF_DONE - {State.SUBMITTING}
"""The states in which what stands in the way of a step is written down, and the step tried again and again."""

MOVING = PATIENT - {State.PREPARING}
"""The states in which a file is on its way between two folders."""

UNDECIDED = UNDER_WAY - {State.FILING}
"""The states in which the service has not answered, and is or will be asked: the same bytes wait for that."""

UNSENT = UNDECIDED - {State.SUBMITTING}
"""Those of them in which it is not being asked now."""

BACKLOG = UNDECIDED - MOVING
"""Those of them in which its recording lies in the drop folder."""

IN_DROP = frozenset({State.PREPARING, State.QUEUED, State.SUBMITTING, State.FILING, State.HELD})
"""The states in which an item's recording lies in the drop folder."""

LIVE = IN_DROP | {State.RETURNING}
"""The states in which no other item may have the same path in the drop folder."""

UNTOUCHED = IN_DROP - {State.SUBMITTING, State.FILING}
"""The states in which its recording lies in the drop folder, and whoever takes it away takes it back."""

WAITING = UNTOUCHED - HALF_DONE
"""Those of them in which it may wait for another recording of the same bytes."""

FILED = frozenset({State.DONE, State.FAILED})
"""The states in which its recording lies in done/ or failed/."""

UNANSWERED = frozenset({State.FAILED, State.WITHDRAWN})
"""The states at rest in which an identifier may never come."""


class PartState(StrEnum):
    """Where one part of a recording stands. Its recording's state says what a step has in hand."""

    QUEUED = "queued"  # its boundaries and sha256 are committed; it is to be sent
    SUBMITTING = "submitting"  # the spend is committed, bytes may be on the wire
    ACCEPTED = "accepted"  # it has its identifier
    REFUSED = "refused"  # by the service, by a person, or unsent, since there is no sound in it
    HELD = "held"  # a person must decide


PART_TRANSITIONS: dict[PartState | None, frozenset[PartState]] = {
    # With the same bytes; silent; or in doubt, after a loss.
    None: frozenset({PartState.QUEUED, PartState.ACCEPTED, PartState.REFUSED, PartState.HELD}),
    PartState.QUEUED: frozenset(PartState),
    PartState.SUBMITTING: frozenset({PartState.QUEUED, PartState.ACCEPTED, PartState.REFUSED, PartState.HELD}),
    PartState.ACCEPTED: frozenset(),  # what is paid for stays so
    PartState.REFUSED: frozenset({PartState.QUEUED}),  # by `retry`
    PartState.HELD: frozenset({PartState.QUEUED, PartState.ACCEPTED, PartState.REFUSED}),
}
"""Every change of a part's state. The store refuses any other."""

UNSETTLED = frozenset({PartState.QUEUED, PartState.SUBMITTING, PartState.HELD})
"""The states of a part of which it is not known yet what becomes of it."""


SENT = frozenset({PartState.SUBMITTING, PartState.ACCEPTED})
"""The states of a part that was charged, or may be just now."""


class Mode(StrEnum):
    """How a recording is made acceptable to the service, the cheapest first."""

    AS_IS = "as_is"
    REMUX = "remux"  # its packets in a container that the service takes
    CUT = "cut"  # a WAV, at the borders of its blocks
    COPY = "copy"  # a compressed recording, at the borders of its packets
    FLAC = "flac"  # encoded without loss, or decoded first
    REFUSE = "refuse"


class Charged(StrEnum):
    """Whether a request was charged, as far as anybody can know."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


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


class VerdictState(StrEnum):
    """How far the answer for one identifier has come."""

    AWAITED = "awaited"
    KNOWN = "known"
    ERRORED = "errored"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, for a person: what happened, and what to do about it."""

    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        message = self.message if self.message.endswith((".", "!", "?")) else f"{self.message}."
        return f"{message} {self.hint[:1].upper()}{self.hint[1:]}".strip()

    def moved(self, before: bytes, after: bytes) -> "Fault":
        """Return the same fault for a file that has moved: a command in its hint names the new path."""
        return replace(self, hint=self.hint.replace(quote_path(before), quote_path(after)))

    def as_json(self) -> JsonObject:
        return {"code": self.code, "message": self.message, "hint": self.hint}


MARKS = struct.Struct(">qQQqq")
Marks = bytes
"""A fingerprint in few bytes, while there may be 100,000 that nobody has asked about. It sorts by its ctime."""


class Fingerprint(NamedTuple):  # a scan makes 100,000 of them: a frozen dataclass takes 2.5 times as long
    """Which file this is, without reading it. Any difference means: not the file that was queued."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, marks: Marks) -> Self:
        """Return the fingerprint that has these marks."""
        ctime_ns, device, inode, size, mtime_ns = MARKS.unpack(marks)
        return cls(device, inode, size, mtime_ns, ctime_ns)

    @property
    def marks(self) -> Marks | None:
        """The same in 40 bytes; None where a number does not fit, such as a time after the year 2262."""
        try:
            return MARKS.pack(self.ctime_ns, self.device, self.inode, self.size, self.mtime_ns)
        except struct.error:
            return None

    def same_file(self, other: "Fingerprint") -> bool:
        """Return whether both are the same file on the disk, changed in between or not."""
        return (self.device, self.inode) == (other.device, other.inode)

    def same_content(self, other: "Fingerprint") -> bool:
        """Return whether both are the same unchanged file, renamed or not: a rename changes only ctime."""
        return self.same_file(other) and (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True, slots=True)
class Audio:
    """What the recording says of itself. None: it does not say."""

    container: str
    codec: str | None
    seconds: float | None
    channels: int | None
    sample_rate: int | None

    def __str__(self) -> str:
        """On one line, for a person: `WAV, µ-law, 2 channels, 8,000 Hz, 12.0 s`."""
        known = [self.container, self.codec]
        if self.channels is not None:
            known.append(f"{self.channels} channel{'' if self.channels == 1 else 's'}")
        if self.sample_rate is not None:
            known.append(f"{self.sample_rate:,} Hz")
        if self.seconds is not None:
            known.append(f"{self.seconds:,.1f} s")
        return ", ".join(filter(None, known))

    def as_json(self) -> JsonObject:
        return {
            "container": self.container,
            "codec": self.codec,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "channels": self.channels,
            "sample_rate": self.sample_rate,
        }


class Alteration(StrEnum):
    """How a recording was altered after it was filed."""

    GROWN = "grown"
    CHANGED = "changed"  # shorter, or of other bytes


@dataclass(frozen=True, slots=True)
class Altered:
    """A filed recording is not what it was: its size when that was found, and when."""

    kind: Alteration
    size: int
    at: float

    def is_as(self, other: "Altered | None") -> bool:
        """Return whether both are the same finding, whenever each was made."""
        return other is not None and (self.kind, self.size) == (other.kind, other.size)


@dataclass(frozen=True, slots=True)
class Dismissed:
    """A person has seen a failed recording and is done with it: when, and who."""

    at: float
    by: str

    def as_json(self) -> JsonObject:
        return {"at": rfc3339(self.at), "by": self.by}


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


@dataclass(frozen=True, slots=True)
class Removed:
    """A filed recording is no longer there, and that is as it should be: since when this is known, and how."""

    at: float
    how: str  # "retention": its time was over; "collected": somebody had taken it away by then

    def as_json(self) -> JsonObject:
        return {"at": rfc3339(self.at), "how": self.how}


@dataclass(frozen=True, slots=True)
class Planned:
    """How a recording that the service does not take as it is is made acceptable."""

    mode: Mode
    most: int  # submissions: an upper bound until its parts are made, then their number
    reason: str  # for a person, in a sentence

    def as_json(self) -> JsonObject:
        return {"mode": str(self.mode), "submissions": self.most, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Part:
    """One file that goes to the service, made from a recording.

    The boundaries of all parts of a recording are written down at once; what its file is, once that is made.
    """

    item_id: str
    index: int  # from 1
    channel: int | None  # from 0; None: all together
    start: int  # in blocks of a cut, packets of a copy, samples of a FLAC
    end: int
    start_seconds: float
    end_seconds: float
    silent: bool = False  # no sound in it: it is not made, not sent, and not judged
    name: str | None = None  # of its file in the spool; None: none lies there
    how: str | None = None  # "remux", "cut", "copy" or "flac"; None, as the next six: it was never made
    sha256: str | None = None
    size: int | None = None
    media_type: str | None = None
    extension: str | None = None
    proof: JsonObject | None = None  # what shows that nothing was lost
    content_key: str | None = None  # as an item's
    state: PartState = PartState.QUEUED
    identifier: str | None = None
    submitted_at: float | None = None
    in_doubt: bool = False  # it went out and its answer was lost: only the very same bytes may go again
    fault: Fault | None = None

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.start_seconds


@dataclass(frozen=True, slots=True)
class Item:
    """One recording that was whole once, and everything that is known about it.

    Paths are bytes, relative to their folder, as on the disk. Times are seconds since the epoch, UTC.
    """

    id: str
    path: bytes
    state: State
    size: int
    arrived_at: float
    fingerprint: Fingerprint
    sha256: str | None = None  # of the bytes that were examined; None where they were not read
    media_type: str | None = None  # as it is sent to the service
    extension: str | None = None  # the documented one that fits the content, with its dot
    audio: Audio | None = None  # None where it was not examined, or is not a recording
    content_key: str | None = None  # equal for the same bytes, options, base URL and account
    plan: Planned | None = None  # None: it is sent as it is
    due_at: float = 0.0
    claim: str | None = None  # the token of the step that is working on it
    identifier: str | None = None
    fault: Fault | None = None
    warning: str | None = None
    duplicate_of: str | None = None  # the id of the item whose identifier or refusal this one shares
    attempts: int = 0  # all requests ever made for it, throttled ones too
    attempted_at: float | None = None
    faults: int = 0  # faults on this file with other files accepted in between: counts towards hold_after
    faulted_at: float | None = None
    in_doubt: bool = False  # a request went out and its answer was lost: never again with no_cache
    suspected_at: float | None = None  # refused in words that may not mean it: it waits until another is accepted
    fresh: bool = False  # a person asked to pay again: sent with no_cache
    retried: bool = False  # a person asked for another try: it inherits no refusal of the same bytes
    outcome: State | None = None  # done or failed, once decided
    filed_as: bytes | None = None
    submitted_at: float | None = None
    filed_at: float | None = None
    companions: tuple[bytes, ...] = ()  # marker and sidecars that travel with it, relative to the drop folder
    altered: Altered | None = None  # since it was filed, as far as anybody has looked
    dismissed: Dismissed | None = None  # failed, and no longer listed as needing a person
    review: Review | None = None  # a person's word on it
    removed: Removed | None = None  # its recording, since it was filed
    receipt_removed_at: float | None = None  # a tombstone lies there in its place
    moves_to: bytes | None = None  # where in done/ it moves on to, now that its verdict is known; None: nowhere
    owner: int | None = None  # the uid whose file it was when it was dropped; None: nobody has looked
    site: str = ""  # the site it belongs to, where one database has several; "": the only one


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


HUMAN = "human"
INCONCLUSIVE = "inconclusive"
ARTIFICIAL = "artificial"
"""The classification that matters most: it stands out wherever verdicts are shown."""


VERDICT_WORDS = (ARTIFICIAL, HUMAN, INCONCLUSIVE, *(str(state) for state in VerdictState))
"""What a verdict can be looked for by: its class, or its state."""

SORTS = ("arrived", "submitted", "filed", "name", "state", "size", "seconds", "confidence")
"""What recordings can be sorted by."""

SPEND_BY = ("day", "folder", "user")
"""What spend is told by."""


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


class Deed(StrEnum):
    """What a person may decide for many recordings at once."""

    RETRY = "retry"
    RELEASE = "release"
    FAIL = "fail"
    DISMISS = "dismiss"
