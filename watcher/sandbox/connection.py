"""HTTP/1.1 on one connection: requests are read in few, big pieces; nothing of it is known to be audio."""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from watcher.clock import Clock

MAX_HEAD_BYTES = 65_536
_PIECE_BYTES = 262_144
_MAX_LINE_BYTES = 4_096
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.([0-9])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?")


class Malformed(Exception):
    """What came is no HTTP request. The connection can only be closed, after an answer of this status."""

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
    length: int | None  # of the body; null: it comes in chunks
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
        self._pending = bytearray()  # received and not yet used
        self._buffer = bytearray()  # the body; reused, since fresh pages cost more than the copy into them

    def read_head(self) -> Head | None:
        """The next request's head; null when the peer has no more. Raises Malformed, CutOff, OSError."""
        pending = self._pending
        started = self._clock.monotonic()
        looked_at = 0
        while (end := pending.find(b"\r\n\r\n", max(0, looked_at - 3))) < 0:
            if pending.startswith(b"\r\n"):  # a line break left over from the request before
                del pending[:2]
                continue
            if b"\n\n" in pending or len(pending) > MAX_HEAD_BYTES:
                break
            looked_at = len(pending)
            piece = self._peer.recv(MAX_HEAD_BYTES)
            if not piece:
                if pending:
                    raise CutOff(0)
                return None
            if not pending:
                started = self._clock.monotonic()
            pending += piece
        if end > MAX_HEAD_BYTES or (end < 0 and len(pending) > MAX_HEAD_BYTES):
            raise Malformed(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too large")
        if end < 0:
            raise Malformed(HTTPStatus.BAD_REQUEST, "lines end with a carriage return and a line feed")
        head = parse_head(bytes(pending[:end]).lstrip(b"\r\n"), started)
        del pending[: end + 4]
        return head

    def read_body(self, head: Head, limit: int, halfway: Callable[[], None] | None = None) -> Body:
        """The request's whole body; one of more than `limit` bytes is read and dropped.

        `halfway` is called once in the middle of it. Raises Malformed, CutOff.
        """
        if head.headers.get("expect", "").lower() == "100-continue":
            self._peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if head.length is None:
            return self._read_chunks(limit, halfway)
        received = 0
        if halfway is not None:
            received = self._receive(0, head.length // 2, limit)
            halfway()
        received += self._receive(received, head.length - received, limit)
        return Body(self._buffer, received, received > limit)

    def send(self, data: bytes) -> None:
        """The bytes are with the kernel. Raises OSError when the peer is gone."""
        self._peer.sendall(data)

    def end(self) -> None:
        """The peer can read what was sent, though what it sent was not read to the end: a bare close would
        take the answer back with a reset.
        """
        self._peer.shutdown(socket.SHUT_WR)
        self._peer.settimeout(0.5)
        for _ in range(64):
            if not self._peer.recv(_PIECE_BYTES):
                return

    def _make_room(self, used: int, size: int) -> None:
        if len(self._buffer) < size:
            larger = bytearray(max(size, min(2 * len(self._buffer), 2 * size)))
            larger[:used] = self._buffer[:used]
            self._buffer = larger

    def _receive(self, at: int, count: int, limit: int) -> int:
        """`count` more bytes of the body have come, and lie at `at` if they fit under the limit."""
        is_kept = at + count <= limit
        taken = min(len(self._pending), count)
        if is_kept:
            self._make_room(at, at + count)
            self._buffer[at : at + taken] = self._pending[:taken]
        del self._pending[:taken]
        scratch = self._buffer if is_kept else bytearray(_PIECE_BYTES)
        with memoryview(scratch) as view:
            while taken < count:
                start, end = (at + taken, at + count) if is_kept else (0, min(count - taken, _PIECE_BYTES))
                try:
                    got = self._peer.recv_into(view[start:end], 0, socket.MSG_WAITALL)
                except OSError:
                    got = 0
                if not got:
                    raise CutOff(at + taken)
                taken += got
        return count

    def _read_chunks(self, limit: int, halfway: Callable[[], None] | None) -> Body:
        received = 0
        while True:
            match = _CHUNK_SIZE.fullmatch(self._read_line(received))
            if match is None:
                raise Malformed(HTTPStatus.BAD_REQUEST, "a chunk begins with its size")
            size = int(match[1], 16)
            if size == 0:
                break
            received += self._receive(received, size, limit)
            if self._read_line(received):
                raise Malformed(HTTPStatus.BAD_REQUEST, "a chunk ends with a line break")
            if halfway is not None:
                halfway()
                halfway = None
        while self._read_line(received):
            pass  # trailers
        return Body(self._buffer, received, received > limit)

    def _read_line(self, received: int) -> bytes:
        while (end := self._pending.find(b"\r\n")) < 0:
            if len(self._pending) > _MAX_LINE_BYTES:
                raise Malformed(HTTPStatus.BAD_REQUEST, "a line is too long")
            try:
                piece = self._peer.recv(_PIECE_BYTES)
            except OSError:
                piece = b""
            if not piece:
                raise CutOff(received)
            self._pending += piece
        line = bytes(self._pending[:end])
        del self._pending[: end + 2]
        return line


def parse_head(data: bytes, started: float) -> Head:
    """The head in `data`, which ends before the empty line. Raises Malformed."""
    line, *rest = data.split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(line)
    if request is None:
        raise Malformed(HTTPStatus.BAD_REQUEST, "the first line is no HTTP/1 request")
    headers: dict[str, str] = {}
    for field in rest:
        header = _HEADER.fullmatch(field)
        if header is None:
            raise Malformed(HTTPStatus.BAD_REQUEST, "a header line is malformed")
        name, value = header[1].decode("ascii").lower(), header[2].decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    is_current = request[3] != b"0"
    if is_current and "host" not in headers:
        raise Malformed(HTTPStatus.BAD_REQUEST, "there is no Host header")
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise Malformed(HTTPStatus.EXPECTATION_FAILED, "the expectation is not known")
    path, _, query = request[2].decode("latin-1").partition("?")
    connection = headers.get("connection", "").lower()
    return Head(
        method=request[1].decode("ascii"),
        path=unquote(path, errors="replace"),
        query=query,
        headers=headers,
        length=_find_length(headers),
        keeps_alive="close" not in connection if is_current else "keep-alive" in connection,
        started=started,
    )


def _find_length(headers: dict[str, str]) -> int | None:
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if length is not None or coding.strip().lower() != "chunked":
            raise Malformed(HTTPStatus.BAD_REQUEST, "a body has a length or comes in chunks, nothing else")
        return None
    if length is None:
        return 0
    if not (length.isascii() and length.isdecimal() and len(length) <= 18):
        raise Malformed(HTTPStatus.BAD_REQUEST, "the length of the body is no number")
    return int(length)
