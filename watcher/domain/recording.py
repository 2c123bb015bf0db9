"""What is known of a recording: its file, its sound, its parts, what is wrong, and what a person decided."""

import struct
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Self

from watcher.domain.classification import Review
from watcher.domain.states import PartState, State
from watcher.text import JsonObject, quote_path, rfc3339


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


@dataclass(frozen=True, slots=True)
class Removed:
    """A filed recording is no longer there, and that is as it should be: since when this is known, and how."""

    at: float
    how: str  # "retention": its time was over; "collected": somebody had taken it away by then

    def as_json(self) -> JsonObject:
        return {"at": rfc3339(self.at), "how": self.how}


class Mode(StrEnum):
    """How a recording is made acceptable to the service, the cheapest first."""

    AS_IS = "as_is"
    REMUX = "remux"  # its packets in a container that the service takes
    CUT = "cut"  # a WAV, at the borders of its blocks
    COPY = "copy"  # a compressed recording, at the borders of its packets
    FLAC = "flac"  # encoded without loss, or decoded first
    REFUSE = "refuse"


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


SORTS = ("arrived", "submitted", "filed", "name", "state", "size", "seconds", "confidence")
"""What recordings can be sorted by."""


class Deed(StrEnum):
    """What a person may decide for many recordings at once."""

    RETRY = "retry"
    RELEASE = "release"
    FAIL = "fail"
    DISMISS = "dismiss"
