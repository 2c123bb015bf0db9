"""Every fault that can be injected, and which requests it applies to."""

import threading
from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from watcher.text import JsonObject


class FaultKind(StrEnum):
    """What goes wrong. Each group's comment says when it happens, and whether the throttle counts it."""

    # While the request is read; nothing is counted or charged.
    CLOSE_BEFORE_READING = "close_before_reading"  # the connection is closed at the request's head
    CLOSE_WHILE_READING = "close_while_reading"  # and in the middle of its body
    STALL_READING = "stall_reading"  # reading stops for `seconds` in the middle of the body, then goes on

    # Once the body is there.
    SLOW_BEFORE = "slow_before"  # `seconds` pass before the throttle counts the request
    CLOSE_AFTER_READING = "close_after_reading"  # the connection is closed; nothing is counted or charged

    # Instead of doing what was asked: neither counted nor charged, unless `charges` is true.
    STATUS = "status"  # `status`, with its documented body or `body`, `headers`, `retry_after`, `limit`
    NO_CREDIT = "no_credit"  # 400 with the body the sandbox invents for it
    UNCLASSIFIED = "unclassified"  # 400 in words that say neither "file" nor "credit"
    HTML = "html"  # 200 and a page
    REDIRECT = "redirect"  # 302 to `location`
    BOMB = "bomb"  # 200 and a list of 20 million empty objects, in 58 kB of gzip

    # After having done what was asked, so charged, unless `charges` is false.
    EMPTY = "empty"  # 200 without a body
    CUT_JSON = "cut_json"  # 200 and the first half of the body
    NO_IDENTIFIER = "no_identifier"  # 200 and JSON that names no identifier
    WRONG_LENGTH = "wrong_length"  # Content-Length promises more than comes
    LOSE_ANSWER = "lose_answer"  # the connection is closed, the answer lost

    # While answering; they go with any of the above.
    SLOW_AFTER = "slow_after"  # `seconds` pass before the answer
    TRICKLE = "trickle"  # the answer comes a byte every `seconds`
    CLOCK = "clock"  # Date is off by `seconds`

    # In the results, one at a time, of both forms.
    STUCK = "stuck"  # stays `new`
    ERRORED = "errored"  # ends as `errored`
    NULL_VERDICT = "null_verdict"  # ends as `done` with a null verdict
    LEAVE_OUT = "leave_out"  # is left out of a list, and 404 on its own
    GARBLED = "garbled"  # is `body`: an object's fields replace its own, anything else replaces it


class Point(StrEnum):
    """When a fault happens."""

    READING = "reading"
    ARRIVED = "arrived"
    INSTEAD = "instead"
    AFTERWARDS = "afterwards"
    ANSWERING = "answering"
    RESULTS = "results"


K = FaultKind
_POINTS: dict[FaultKind, Point] = {
    **dict.fromkeys((K.CLOSE_BEFORE_READING, K.CLOSE_WHILE_READING, K.STALL_READING), Point.READING),
    **dict.fromkeys((K.SLOW_BEFORE, K.CLOSE_AFTER_READING), Point.ARRIVED),
    **dict.fromkeys((K.STATUS, K.NO_CREDIT, K.UNCLASSIFIED, K.HTML, K.REDIRECT, K.BOMB), Point.INSTEAD),
    **dict.fromkeys((K.EMPTY, K.CUT_JSON, K.NO_IDENTIFIER, K.WRONG_LENGTH, K.LOSE_ANSWER), Point.AFTERWARDS),
    **dict.fromkeys((K.SLOW_AFTER, K.TRICKLE, K.CLOCK), Point.ANSWERING),
    **dict.fromkeys((K.STUCK, K.ERRORED, K.NULL_VERDICT, K.LEAVE_OUT, K.GARBLED), Point.RESULTS),
}
_UNTIL_CLEARED = frozenset(kind for kind, point in _POINTS.items() if point == Point.RESULTS) | {K.CLOCK}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFault:
    """One fault that is switched on: which, how often, for which requests.

    Null settings mean the kind's own default. It applies to requests of `method` ("*": any; by default GET for
    results, any for `clock`, else POST) and, where given, to those about the audio's `sha256` or the `identifier`,
    which a GET may ask for among others; `ordinal` picks the n-th of these alone, `times` ends the fault after so
    many (0: never; by default never for results and `clock`, else 1).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: FaultKind
    times: Annotated[int, Field(ge=0)] | None = None
    method: Literal["GET", "POST", "*"] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    identifier: str | None = None
    ordinal: Annotated[int, Field(ge=1)] | None = None
    charges: bool | None = None
    seconds: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    status: Annotated[int, Field(ge=200, le=599)] = 500
    body: Any = None  # text as it is, anything else as JSON
    headers: dict[str, str] | None = None
    retry_after: int | str | None = None  # seconds, or a date; None: no such header
    limit: int | None = None  # X-RateLimit-Limit; None: no such header
    location: str = "/login"

    def __post_init__(self) -> None:
        if self.sha256 is not None and self.point == Point.READING:
            raise ValueError(f"{self.kind} happens before the content is known: leave out sha256")
        if self.charges is not None and _POINTS[self.kind] not in {Point.INSTEAD, Point.AFTERWARDS}:
            raise ValueError(f"{self.kind} says by itself whether a charge is made: leave out charges")
        texts = [self.location, str(self.retry_after), *(t for pair in (self.headers or {}).items() for t in pair)]
        if any(not text.isprintable() for text in texts):
            raise ValueError("a header is one line of printable text")

    @property
    def point(self) -> Point:
        if self.charges is not None:
            return Point.AFTERWARDS if self.charges else Point.INSTEAD
        return _POINTS[self.kind]

    @property
    def last(self) -> int:
        """Return how often it applies in all; 0: without limit."""
        if self.ordinal is not None:
            return 1
        return (0 if self.kind in _UNTIL_CLEARED else 1) if self.times is None else self.times

    def concerns(self, method: str, sha256: str | None, identifiers: Collection[str | None]) -> bool:
        """Whether it may apply to a request."""
        default = "GET" if self.point == Point.RESULTS else "*" if self.kind == K.CLOCK else "POST"
        return (
            (self.method or default) in {method, "*"}
            and self.sha256 in {None, sha256}
            and (self.identifier is None or self.identifier in identifiers)
        )


_PARSER = TypeAdapter(SandboxFault)


@dataclass(slots=True)
class _Active:
    number: int
    fault: SandboxFault
    met: int = 0  # requests it could apply to
    applied: int = 0


class Faults:
    """The faults that are switched on, in that order. Safe to use from many threads."""

    def __init__(self) -> None:
        self._active: list[_Active] = []
        self._made = 0
        self._lock = threading.Lock()

    def add(self, settings: JsonObject) -> int:
        """Switch on a fault with these settings, and return its number. Raises ValueError for settings of none."""
        fault = _PARSER.validate_python(settings)
        with self._lock:
            self._made += 1
            self._active.append(_Active(self._made, fault))
            return self._made

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._active = []

    def as_json(self) -> list[JsonObject]:
        with self._lock:
            return [
                {"id": a.number, "applied": a.applied, **asdict(a.fault), "kind": str(a.fault.kind)}
                for a in self._active
            ]

    def take(
        self, point: Point, method: str, *, sha256: str | None = None, identifiers: Collection[str | None] = ()
    ) -> SandboxFault | None:
        """Return the first fault that applies to this request at this point, and count it as applied."""
        taken = self._take(point, method, sha256, identifiers, 1)
        return taken[0] if taken else None

    def take_each(
        self, point: Point, method: str, *, sha256: str | None = None, identifiers: Collection[str | None] = ()
    ) -> list[SandboxFault]:
        """Return the first fault of each kind that applies to this request at this point, counted as applied."""
        return self._take(point, method, sha256, identifiers, len(FaultKind))

    def _take(
        self, point: Point, method: str, sha256: str | None, identifiers: Collection[str | None], most: int
    ) -> list[SandboxFault]:
        if not self._active:
            return []
        taken: dict[FaultKind, SandboxFault] = {}
        with self._lock:
            for active in self._active:
                fault = active.fault
                if fault.point != point or fault.kind in taken or len(taken) >= most:
                    continue
                if not fault.concerns(method, sha256, identifiers):
                    continue
                active.met += 1
                if fault.ordinal in {None, active.met}:
                    active.applied += 1
                    taken[fault.kind] = fault
            self._active = [a for a in self._active if not a.fault.last or a.applied < a.fault.last]
        return list(taken.values())
