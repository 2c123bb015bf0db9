"""HTTP/1.1 on one connection: h11 parses what comes, and what is read, and when, is decided here.

Only requests are parsed: answers that break the protocol on purpose are written without h11.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import h11

from watcher.clock import Clock

MAX_HEAD_BYTES = 65_536
_HEAD_PIECE_BYTES = 4_096
_PIECE_BYTES = 262_144


class Malformed(Exception):
    """What came is not an HTTP request: answer with this status, and close the connection."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class CutOff(Exception):
    """The peer was gone before the request's end. `received` bytes of the body had come."""

    def __init__(self, received: int) -> None:
        super().__init__(f"cut off after {received} bytes")
        self.received = received


@dataclass(frozen=True, slots=True)
class Head:
    """A request up to its body."""

    method: str
    path: str
    query: str
    headers: dict[str, str]  # by lower-case name; of repeated ones the values joined by ", "
    length: int | None  # of the body; None: it comes in chunks
    keeps_alive: bool
    started: float  # on the monotonic clock, when its first byte had come


@dataclass(frozen=True, slots=True)
class Body:
    """The first `size` bytes of `data`, valid until the connection's next request.

    `is_dropped`: it was larger than it may be, so it was read to its end and not kept.
    """

    data: bytearray
    size: int
    is_dropped: bool = False


class Connection:
    """Reads requests from a blocking socket, which stays its owner's to close."""

    def __init__(self, peer: socket.socket, clock: Clock) -> None:
        self._peer = peer
        self._clock = clock
        self._parser = _parser()
        self._buffer = bytearray()  # the body; reused, since fresh pages cost more than the copy into them

    def read_head(self) -> Head | None:
        """Return the next request's head; None when the peer sends no more. Raises Malformed, CutOff."""
        # The parser does not see our answers, so each request gets a parser of its own.
        pending, _ = self._parser.trailing_data
        self._parser = _parser()
        started = self._clock.monotonic()
        while not (pending := pending.lstrip(b"\r\n")):  # line breaks before a request are to be ignored
            pending = self._receive(_HEAD_PIECE_BYTES)
            if not pending:
                return None
            started = self._clock.monotonic()
        self._parser.receive_data(pending)
        request = self._next_event(_HEAD_PIECE_BYTES)
        return _read_head(cast("h11.Request", request), started)  # a fresh parser finds nothing else

    def read_body(self, head: Head, limit: int, halfway: Callable[[], None] | None = None) -> Body:
        """Return the request's whole body; one of more than `limit` bytes is read and dropped.

        `halfway` is called once, when half of it has been read (of one in chunks: the first piece), before more is
        taken from the socket. Raises Malformed, CutOff.
        """
        if self._parser.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self._peer.sendall(self._parser.send(go_on))
        received = 0
        half = 1 if head.length is None else head.length // 2
        while True:
            if halfway is not None and received >= half:
                halfway()
                halfway = None
            if head.length is None:
                event = self._next_event(_PIECE_BYTES, received)
            else:
                end = head.length if halfway is None else half
                event = self._next_event(min(_PIECE_BYTES, end - received), received, socket.MSG_WAITALL)
            if not isinstance(event, h11.Data):
                return Body(self._buffer, received, received > limit)
            end = received + len(event.data)
            if end <= limit:
                self._make_room(received, max(end, min(head.length or 0, limit)))
                self._buffer[received:end] = event.data
            received = end

    def send(self, data: bytes) -> None:
        """Hand the bytes to the kernel. Raises OSError when the peer is gone."""
        self._peer.sendall(data)

    def end(self) -> None:
        """End the connection so that the peer can read what was sent, though what it sent was not read to the
        end: a bare close would take the answer back with a reset.
        """
        self._peer.shutdown(socket.SHUT_WR)
        self._peer.settimeout(0.5)
        for _ in range(64):
            if not self._peer.recv(_PIECE_BYTES):
                return

    def _next_event(self, most: int, received: int = 0, flags: int = 0) -> h11.Event:
        """Return what the parser finds next, reading `most` bytes at a time from the socket where it needs more.

        Raises Malformed, and CutOff where the peer is gone.
        """
        try:
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                piece = self._receive(most, flags)
                if not piece:
                    raise CutOff(received)
                self._parser.receive_data(piece)
        except h11.RemoteProtocolError as error:
            is_too_large = error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise Malformed(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_too_large else HTTPStatus.BAD_REQUEST, str(error)
            ) from error
        return cast("h11.Event", event)  # it pauses only behind a request's end

    def _receive(self, most: int, flags: int = 0) -> bytes:
        """Return what comes next; nothing when the peer has gone, in whatever way."""
        try:
            return self._peer.recv(most, flags)
        except OSError:
            return b""

    def _make_room(self, used: int, size: int) -> None:
        if len(self._buffer) < size:
            larger = bytearray(max(size, min(2 * len(self._buffer), 2 * size)))
            larger[:used] = self._buffer[:used]
            self._buffer = larger


def _parser() -> h11.Connection:
    # It looks at the size of a head only while the head is incomplete: so one piece less than is allowed.
    return h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES - _HEAD_PIECE_BYTES)


def _read_head(request: h11.Request, started: float) -> Head:
    """Return the head as the sandbox sees it. Raises Malformed for what h11 lets pass and the sandbox does not."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if not request.http_version.startswith(b"1."):
        raise Malformed(HTTPStatus.BAD_REQUEST, "the first line is not an HTTP/1 request")
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise Malformed(HTTPStatus.EXPECTATION_FAILED, "the expectation is not known")
    is_chunked = "transfer-encoding" in headers
    if is_chunked and "content-length" in headers:
        raise Malformed(HTTPStatus.BAD_REQUEST, "a body has a length or comes in chunks, not both")
    path, _, query = request.target.decode("latin-1").partition("?")
    connection = headers.get("connection", "").lower()
    is_current = request.http_version != b"1.0"
    return Head(
        method=request.method.decode("ascii"),
        path=unquote(path, errors="replace"),
        query=query,
        headers=headers,
        length=None if is_chunked else int(headers.get("content-length", "0")),
        keeps_alive="close" not in connection if is_current else "keep-alive" in connection,
        started=started,
    )
