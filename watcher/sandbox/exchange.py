"""One exchange: a request from its first byte to the answer's last, with every fault on the way."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus

from watcher.clock import Clock
from watcher.sandbox import answers
from watcher.sandbox.answers import Answer
from watcher.sandbox.connection import Body, Connection, CutOff, Head, Malformed
from watcher.sandbox.entries import Ledger, LedgerEntry
from watcher.sandbox.faults import FaultKind, Faults, Point, SandboxFault
from watcher.sandbox.service import LIST, Service, Upload, asked_for, read_upload

CONTROL = "/sandbox"
_CONTROL_BODY_MAX_BYTES = 1_000_000
_SHORT_BYTES = 16  # by how much a wrong Content-Length is wrong
_NOBODY = b'{"identifier":"%s"}' % (b"0" * 64)  # what a fault spoils when nothing was asked of the service


class _Hangup(Exception):
    """A fault closes the connection."""


@dataclass(slots=True)
class Exchange:
    """What the requests of all connections share."""

    service: Service
    faults: Faults
    ledger: Ledger
    clock: Clock
    closing: threading.Event  # ends every wait
    max_body_bytes: int
    latency_seconds: float = 0.0

    def run(self, connection: Connection) -> bool:
        """Answer one request, or drop it. Returns whether the connection can carry another.

        Raises OSError when the peer is gone.
        """
        try:
            head = connection.read_head()
        except CutOff:
            self._note_unread(is_whole=False)
            return False
        except Malformed as malformed:
            self._note_unread(status=int(malformed.status))
            return self._refuse(connection, malformed)
        if head is None:
            return False
        if head.path == CONTROL or head.path.startswith(CONTROL + "/"):
            return self._control(connection, head)
        return self._serve(connection, head)

    def _serve(self, connection: Connection, head: Head) -> bool:
        method = "GET" if head.method == "HEAD" else head.method
        early = self.faults.take(Point.READING, method)
        entry = LedgerEntry(
            time=self.clock.now(),
            method=head.method,
            path=head.path,
            faults=(str(early.kind),) if early else (),
        )
        try:
            body = self._read(connection, head, early)
        except CutOff as cut:
            self.ledger.add(self._arrived(replace(entry, is_whole=False, bytes=cut.received), head))
            return False
        except _Hangup:
            self.ledger.add(self._arrived(replace(entry, is_whole=False), head))
            return False
        except Malformed as malformed:
            self.ledger.add(self._arrived(replace(entry, is_whole=False, status=int(malformed.status)), head))
            return self._refuse(connection, malformed)
        entry = self._arrived(replace(entry, bytes=body.size), head)
        upload, entry = read_upload(head, body, replace(entry, asked=asked_for(head) if head.path == LIST else ()))
        answer, entry = self._decide(head, method, upload, entry)
        asked = asked_for(head)
        late = (
            self.faults.take_each(Point.ANSWERING, method, sha256=entry.sha256, identifiers=asked)
            if answer
            else []
        )
        self.ledger.add(_with_faults(entry, late))
        if answer is None:
            return False
        return self._send(connection, head, answer, late)

    def _read(self, connection: Connection, head: Head, fault: SandboxFault | None) -> Body:
        halfway: Callable[[], None] | None = None
        if fault is not None:
            if fault.kind == FaultKind.CLOSE_BEFORE_READING:
                raise _Hangup
            halfway = self._make_halfway(fault)
        return connection.read_body(head, self.max_body_bytes, halfway)

    def _make_halfway(self, fault: SandboxFault) -> Callable[[], None]:
        def halfway() -> None:
            if fault.kind == FaultKind.CLOSE_WHILE_READING:
                raise _Hangup
            self._wait(fault.seconds)

        return halfway

    def _decide(
        self, head: Head, method: str, upload: Upload, entry: LedgerEntry
    ) -> tuple[Answer | None, LedgerEntry]:
        """Return the answer, or None where the connection is closed instead; and the entry with its outcome."""
        content, asked = entry.sha256, asked_for(head)
        arrived = self.faults.take_each(Point.ARRIVED, method, sha256=content, identifiers=asked)
        entry = _with_faults(entry, arrived)
        for fault in arrived:
            if fault.kind == FaultKind.SLOW_BEFORE:
                self._wait(fault.seconds)
        if any(fault.kind == FaultKind.CLOSE_AFTER_READING for fault in arrived):
            return None, entry
        as_json = answers.prefers_json(head.headers.get("accept", ""))
        answer = Answer(200, _NOBODY, invented="body")
        chosen = self.faults.take(Point.INSTEAD, method, sha256=content, identifiers=asked)
        if chosen is None:
            answer, entry = self.service.answer(head, upload, entry)
            if answer.status == HTTPStatus.OK:
                about = (entry.identifier, *asked)
                chosen = self.faults.take(Point.AFTERWARDS, method, sha256=content, identifiers=about)
        if chosen is None:
            return answer, entry
        entry = _with_faults(entry, [chosen])
        spoiled = _spoil(answer, chosen, as_json=as_json, now=self.clock.now())
        return spoiled, replace(entry, status=spoiled.status if spoiled else None)

    def _send(self, connection: Connection, head: Head, answer: Answer, late: list[SandboxFault]) -> bool:
        by_kind = {fault.kind: fault for fault in late}
        slow, off = by_kind.get(FaultKind.SLOW_AFTER), by_kind.get(FaultKind.CLOCK)
        self._wait(self.latency_seconds + (slow.seconds if slow else 0.0))
        keeps_alive = head.keeps_alive and not answer.missing_bytes
        now = self.clock.now() + (off.seconds if off else 0.0)
        data = answer.as_bytes(now=now, has_body=head.method != "HEAD", keeps_alive=keeps_alive)
        trickle = by_kind.get(FaultKind.TRICKLE)
        if trickle is None:
            connection.send(data)
            return keeps_alive
        for at in range(len(data)):
            connection.send(data[at : at + 1])
            self._wait(trickle.seconds)
            if self.closing.is_set():
                return False
        return keeps_alive

    def _control(self, connection: Connection, head: Head) -> bool:
        try:
            body = connection.read_body(head, _CONTROL_BODY_MAX_BYTES)
        except CutOff:
            return False
        except Malformed as malformed:
            return self._refuse(connection, malformed)
        answer = self._steer(head, b"" if body.is_dropped else bytes(body.data[: body.size]))
        connection.send(
            answer.as_bytes(now=self.clock.now(), has_body=head.method != "HEAD", keeps_alive=head.keeps_alive)
        )
        return head.keeps_alive

    def _steer(self, head: Head, body: bytes) -> Answer:
        """Answer a request to one of the sandbox's own endpoints."""
        match (head.method, head.path.removeprefix(CONTROL)):
            case ("GET" | "HEAD", "/ledger"):
                return answers.say_json(200, self.ledger.as_json())
            case ("GET" | "HEAD", "/faults"):
                return answers.say_json(200, self.faults.as_json())
            case ("DELETE", "/faults"):
                self.faults.clear()
                return Answer(204, b"", "")
            case ("POST", "/faults"):
                try:
                    number = self.faults.add(json.loads(body))
                except (ValueError, RecursionError) as wrong:
                    return answers.say_json(400, {"error": str(wrong)})
                return answers.say_json(201, {"id": number})
            case (_, "/ledger"):
                return answers.say_status(405, True).with_headers(("Allow", "GET, HEAD"))
            case (_, "/faults"):
                return answers.say_status(405, True).with_headers(("Allow", "GET, HEAD, POST, DELETE"))
            case _:
                return answers.say_status(404, True)

    def _refuse(self, connection: Connection, malformed: Malformed) -> bool:
        answer = answers.say_error(malformed.status, {"error": str(malformed)}, True, invented="body")
        connection.send(answer.as_bytes(now=self.clock.now(), has_body=True, keeps_alive=False))
        connection.end()
        return False

    def _note_unread(self, *, status: int | None = None, is_whole: bool = True) -> None:
        self.ledger.add(LedgerEntry(time=self.clock.now(), method="", path="", status=status, is_whole=is_whole))

    def _arrived(self, entry: LedgerEntry, head: Head) -> LedgerEntry:
        return replace(entry, time=self.clock.now(), seconds=self.clock.monotonic() - head.started)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self.clock.wait(seconds, self.closing)


def _with_faults(entry: LedgerEntry, faults: list[SandboxFault]) -> LedgerEntry:
    if not faults:
        return entry
    return replace(entry, faults=entry.faults + tuple(str(fault.kind) for fault in faults))


def _spoil(answer: Answer, fault: SandboxFault, *, as_json: bool, now: float) -> Answer | None:
    """Return the answer as the fault leaves it; None where it is lost."""
    match fault.kind:
        case FaultKind.STATUS:
            return _say_given(fault, as_json=as_json, now=now)
        case FaultKind.EMPTY:
            return replace(answer, body=b"")
        case FaultKind.CUT_JSON:
            return replace(answer, body=answer.body[: len(answer.body) // 2])
        case FaultKind.NO_IDENTIFIER:
            return replace(answer, body=b'{"status":"ok"}', media_type=answers.JSON, invented="body")
        case FaultKind.WRONG_LENGTH:
            return replace(answer, missing_bytes=_SHORT_BYTES)
        case FaultKind.LOSE_ANSWER:
            return None
        case _:
            return _say_instead(fault, as_json=as_json)


def _say_instead(fault: SandboxFault, *, as_json: bool) -> Answer | None:
    """Return the answer of a fault that has its own."""
    match fault.kind:
        case FaultKind.NO_CREDIT:
            return answers.say_error(400, answers.NO_CREDIT, as_json, invented="body")
        case FaultKind.UNCLASSIFIED:
            return answers.say_status(400, as_json)
        case FaultKind.HTML:
            return answers.say_page(200, "Welcome")
        case FaultKind.REDIRECT:
            return answers.say_page(302, "Found").with_headers(("Location", fault.location))
        case FaultKind.BOMB:
            return answers.say_bomb()
        case _:
            return None


def _say_given(fault: SandboxFault, *, as_json: bool, now: float) -> Answer:
    """Return an answer of the fault's status, with the body and the headers that it names."""
    if fault.body is None:
        answer = answers.say_status(fault.status, as_json)
    elif isinstance(fault.body, str):
        media_type = answers.HTML if fault.body.startswith("<") else answers.TEXT
        if fault.body.startswith(("{", "[")):
            media_type = answers.JSON
        answer = Answer(fault.status, fault.body.encode("utf-8", "replace"), media_type, invented="body")
    else:
        answer = answers.say_json(fault.status, fault.body, invented="body")
    headers = dict(fault.headers or {})
    if fault.limit is not None:
        headers |= {"X-RateLimit-Limit": str(fault.limit), "X-RateLimit-Remaining": "0"}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
        if isinstance(fault.retry_after, int):
            headers["X-RateLimit-Reset"] = str(int(now) + fault.retry_after)
    return answer.with_headers(*headers.items())
