"""The transport: connections that keep an overall deadline, and notice an answer that comes too early.

The timeouts of HTTP libraries are per wait on the socket: a service that sends a byte now and then is waited for
without end. Here every wait is cut to what is left of the deadline, in the one thread that waits; no timer runs
beside it. The connections are urllib3's, pooled and kept alive by requests' adapter.
"""

import errno
import http.client
import io
import os
import re
import select
import socket
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

from requests import PreparedRequest, RequestException
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.poolmanager import ProxyManager

from watcher.clock import Clock

IDLE_SECONDS = 4.0
"""How long a connection is trusted after its last answer. Many servers close an idle one after 5 seconds, and a
request that crosses the close on its way would be in doubt for nothing."""

READ_BYTES = 64 * 1024
_EARLY_BYTES = 64 * 1024  # of interim answers: more than any service says before it has the whole request

_POOL_SIZE = 64

_INTERIM = re.compile(rb"\A(?:HTTP/1\.\d 1\d\d(?s:.*?)\r\n\r\n)+")
_BEGINNING = re.compile(rb"|H|HT|HTT|HTTP|HTTP/|HTTP/1|HTTP/1\.|HTTP/1\.\d|HTTP/1\.\d |(?s:HTTP/1\.\d 1.*)")
"""What may still turn out to be an interim answer."""


class Wire:
    """The time one exchange may take, and what came back of it too early.

    `is_cut` is true when the request was not sent to its end: its connection cannot be used again, since the
    service would take what follows for the rest of the body.
    """

    def __init__(self, clock: Clock, *, read_timeout_seconds: float, deadline_seconds: float) -> None:
        self.clock = clock
        self.is_cut = False
        self.socket: socket.socket | None = None
        self.read_timeout_seconds = read_timeout_seconds
        self.deadline_seconds = deadline_seconds
        self._until = clock.monotonic() + deadline_seconds
        self._early = b""

    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.clock.monotonic() >= self._until

    def patience_seconds(self) -> float:
        """Return how long the next wait may be. Raises TimeoutError when the deadline has passed."""
        left = self._until - self.clock.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return min(left, self.read_timeout_seconds)

    def uncounted(self, effect: Callable[[], None]) -> Callable[[], None]:
        """Return the same effect, with the deadline moved on by as long as it takes."""

        def run() -> None:
            began = self.clock.monotonic()
            effect()
            self._until += self.clock.monotonic() - began

        return run

    def is_answered(self) -> bool:
        """Whether the service has answered, or hung up, already. What was read of the answer is kept for `take`.

        It has to be read to be seen: on TLS a readable socket may hold nothing but session tickets, and some
        servers send "100 Continue" unasked, which is not an answer.
        """
        if self.socket is None or self.is_cut:
            return self.is_cut
        self.socket.settimeout(0)
        try:
            more = self.socket.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            more = b""  # broken: reading the answer will say how
        self._early = _INTERIM.sub(b"", self._early + more)
        self.is_cut = not more or len(self._early) > _EARLY_BYTES or not _BEGINNING.fullmatch(self._early)
        return self.is_cut

    def wait_for_room(self, sock: socket.socket) -> None:
        """Wait until more can be sent. Raises TimeoutError, and BrokenPipeError when the service has answered.

        That is what urllib3 takes for "it hung up": it stops sending, and reads the answer.
        """
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT)
        events = poll.poll(self.patience_seconds() * 1000)
        if not events:
            raise TimeoutError("the service takes no more")
        if events[0][1] & ~select.POLLOUT and self.is_answered():
            raise BrokenPipeError(errno.EPIPE, "answered before it was all sent")

    def take(self, size: int) -> bytes:
        """Hand over, once, the next piece of the answer that was read too early."""
        early, self._early = self._early[:size], self._early[size:]
        return early


_current: ContextVar[Wire] = ContextVar("wire")


class _DeadlineReader(io.RawIOBase):
    """Reads an answer from a socket, within the deadline of the wire."""

    def __init__(self, sock: socket.socket) -> None:
        self._wire = _current.get()
        self._socket = sock
        self._raw = sock.makefile("rb", buffering=0)

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        """What http.client asks of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if early := self._wire.take(len(buffer)):
            buffer[: len(early)] = early
            return len(early)
        self._socket.settimeout(self._wire.patience_seconds())
        return self._raw.readinto(buffer) or 0

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that is read within the deadline, and that ends the connection of a request that was cut off."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(cast("socket.socket", _DeadlineReader(sock)), *args, **kwargs)

    def begin(self) -> None:
        super().begin()
        while 100 < self.status < 200:  # http.client knows no interim answer but 100
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        if _current.get().is_cut:
            self.will_close = True


class _Connection(HTTPConnection):
    """A connection that sends within the deadline, and is dropped when it has been idle for long."""

    response_class = _Response
    _answered_at = float("-inf")

    @property
    def is_connected(self) -> bool:
        idle_seconds = _current.get().clock.monotonic() - self._answered_at
        return idle_seconds < IDLE_SECONDS and super().is_connected

    def send(self, data: Any) -> None:
        wire = _current.get()
        if self.sock is None:
            self.connect()
        wire.socket = self.sock
        try:
            if isinstance(self.sock, socket.socket):
                _send_all(self.sock, data, wire)
            else:  # TLS within TLS, to a proxy: it cannot send in pieces
                self.sock.settimeout(wire.patience_seconds())
                super().send(data)
        except OSError:
            wire.is_cut = True
            raise

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._answered_at = _current.get().clock.monotonic()
        return response


def _send_all(sock: socket.socket, data: bytes, wire: Wire) -> None:
    """Hand everything to the system, piece by piece: so an answer is noticed while the service takes no more."""
    rest = memoryview(data)
    while rest:
        sock.settimeout(0)
        try:
            sent = sock.send(rest)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            sent = 0
        if not sent:
            wire.wait_for_room(sock)  # not above: its errors would seem to come from TLS
        rest = rest[sent:]


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `trouble` says why `content` is not all of it, where it is not."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    trouble: Exception | None


class TooLong(Exception):
    """An answer longer than anything the service would say."""


FOREIGN_ERRORS = (RequestException, HTTPError, http.client.HTTPException, OSError, UnicodeError, TooLong)
"""What an exchange raises when no reply came, or not all of it."""


class Transport(HTTPAdapter):
    """Requests' adapter over our own connections. It repeats nothing by itself; threads may share it.

    The adapter is used without a session: so there are no cookies, no redirects, and nothing is taken from a
    `.netrc`. Proxies and CA bundles are taken from the environment, as operators expect.
    """

    def __init__(self, base_url: str) -> None:
        super().__init__(pool_maxsize=_POOL_SIZE, max_retries=0)
        self._proxies = {} if _is_loopback(base_url) else get_environ_proxies(base_url)
        self._verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        if type(manager) is ProxyManager:  # one for SOCKS makes connections of its own
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def exchange(
        self,
        request: PreparedRequest,
        wire: Wire,
        *,
        connect_timeout_seconds: float,
        most_bytes: int,
        most_words_bytes: int,
    ) -> Reply:
        """Return the service's reply, whatever it says. Raises one of FOREIGN_ERRORS when none came.

        Of a 200 no more than `most_bytes` are read, of anything else no more than `most_words_bytes`. Also raises
        what the request's body raises, unless that is an OSError. No connection is left half used.
        """
        token = _current.set(wire)
        try:
            response = self.send(
                request,
                stream=True,
                timeout=(min(connect_timeout_seconds, wire.patience_seconds()), wire.patience_seconds()),
                verify=self._verify,
                proxies=self._proxies,
            )
            try:
                most = most_bytes if response.status_code == HTTPStatus.OK else most_words_bytes
                content, trouble = _read(response.raw, most)
            finally:
                response.close()
        finally:
            _current.reset(token)
        return Reply(response.status_code, response.headers, content, trouble)


def _read(raw: Any, most_bytes: int) -> tuple[bytes, Exception | None]:
    """Return what could be read of an answer's content, decompressed, and why that is not all of it.

    Decompressed in pieces of READ_BYTES at the most, as urllib3 does since 2.6: so that of a small answer which
    unpacks to gigabytes no more is unpacked than is asked for.
    """
    content = io.BytesIO()
    trouble: Exception | None = None
    try:
        while part := raw.read1(READ_BYTES, decode_content=True):
            if content.tell() + len(part) > most_bytes:
                raise TooLong(f"the answer is longer than {most_bytes} bytes")
            content.write(part)
    except FOREIGN_ERRORS as error:
        trouble = error
    return content.getvalue(), trouble


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
