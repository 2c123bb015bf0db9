"""The sandbox as a server: its socket, its threads, and what tests set and ask."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from watcher.clock import Clock, SystemClock
from watcher.sandbox.connection import Connection
from watcher.sandbox.entries import Ledger
from watcher.sandbox.exchange import Exchange
from watcher.sandbox.faults import FaultKind, Faults
from watcher.sandbox.service import Service

WRITES = ("1/second", "30/minute")
READS = ("2/second", "60/minute")
"""The service's own limits for a key."""

_RETRY_ACCEPT_SECONDS = 0.05
_log = logging.getLogger(__name__)


class Sandbox:
    """The service, on this machine: a context manager that listens while it is entered.

    It can be closed and started again, on the port it had, and remembers everything; faults may be
    switched and `key`, `credit` and `latency_seconds` changed at any time.
    """

    def __init__(  # noqa: PLR0913 — each is a fact about the service that somebody needs to differ
        self,
        key: str = "sandbox",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        writes: Sequence[str] = WRITES,
        reads: Sequence[str] = READS,
        latency_seconds: float = 0.0,
        verdict_after_seconds: float = 1.0,
        max_upload_bytes: int = 15_000_000,
        max_body_bytes: int = 64_000_000,
        clock: Clock | None = None,
        credit: int | None = None,
    ) -> None:
        """Port 0: any free one. No limits in `writes` or `reads`: no throttle there.

        A body of more than `max_body_bytes` is taken for a form without fields, as PHP does. `credit` is the
        number of submissions left to pay for; None: unlimited. Raises ValueError for a malformed limit.
        """
        clock = clock or SystemClock()
        self.ledger = Ledger()
        self._faults = Faults()
        self._service = Service(
            key=key,
            writes=writes,
            reads=reads,
            verdict_after_seconds=verdict_after_seconds,
            max_upload_bytes=max_upload_bytes,
            credit=credit,
            clock=clock,
            faults=self._faults,
        )
        self._closing = threading.Event()
        self._exchange = Exchange(
            service=self._service,
            faults=self._faults,
            ledger=self.ledger,
            clock=clock,
            closing=self._closing,
            max_body_bytes=max_body_bytes,
            latency_seconds=latency_seconds,
        )
        self._clock = clock
        self._host, self._port = host, port
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._threads: list[threading.Thread] = []  # the acceptor's own until it has ended
        self._peers: set[socket.socket] = set()
        self._lock = threading.Lock()

    # Settings and findings

    @property
    def url(self) -> str:
        """The base URL: where it listens, or last did. Raises RuntimeError before the first start."""
        if not self._service.url:
            raise RuntimeError("the sandbox has not been started")
        return self._service.url

    @property
    def charged(self) -> int:
        """How many submissions would have been charged."""
        return self.ledger.charged

    @property
    def key(self) -> str:
        """The one API key that is valid."""
        return self._service.key

    @key.setter
    def key(self, key: str) -> None:
        self._service.key = key

    @property
    def credit(self) -> int | None:
        """The submissions left to pay for; None: unlimited."""
        return self._service.credit

    @credit.setter
    def credit(self, credit: int | None) -> None:
        self._service.credit = credit

    @property
    def latency_seconds(self) -> float:
        """The delay before each answer."""
        return self._exchange.latency_seconds

    @latency_seconds.setter
    def latency_seconds(self, seconds: float) -> None:
        self._exchange.latency_seconds = seconds

    def add_fault(self, kind: FaultKind | str, **settings: Any) -> int:
        """Switch a fault on, and return its number; see SandboxFault for the settings. Raises ValueError."""
        return self._faults.add({**settings, "kind": kind})

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self._faults.clear()

    # Life

    def start(self) -> None:
        """Listen. Raises OSError where that is not possible."""
        if self._listener is not None:
            return
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=128)
        self._port = listener.getsockname()[1]
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._service.url = f"http://{shown}:{self._port}"
        self._closing.clear()
        self._listener = listener
        self._acceptor = _start_thread(self._accept, listener)

    def close(self) -> None:
        """Stop listening: every connection is closed and every thread has ended."""
        if self._listener is None or self._acceptor is None:
            return
        self._closing.set()
        with self._lock:
            for each in (self._listener, *self._peers):
                _shut(each)
        self._acceptor.join()
        while self._threads:
            self._threads.pop().join()
        self._listener.close()
        self._listener = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                peer, _ = listener.accept()
            except OSError:
                # Closing, or out of descriptors: then some connection has to end first.
                self._clock.wait(_RETRY_ACCEPT_SECONDS, self._closing)
                continue
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._peers.add(peer)
                if self._closing.is_set():
                    _shut(peer)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            try:
                self._threads.append(_start_thread(self._converse, peer))
            except RuntimeError:  # no more threads: close the connection
                self._drop(peer)

    def _converse(self, peer: socket.socket) -> None:
        connection = Connection(peer, self._clock)
        try:
            while self._exchange.run(connection):
                pass
        except OSError:
            pass  # the peer went away: the ledger has the outcome already
        except Exception:  # noqa: BLE001 — a fault of the sandbox ends one connection, not the sandbox
            _log.exception("sandbox.failed")
        finally:
            self._drop(peer)

    def _drop(self, peer: socket.socket) -> None:
        with self._lock:
            self._peers.discard(peer)
        peer.close()


def _start_thread(target: Callable[[socket.socket], None], argument: socket.socket) -> threading.Thread:
    thread = threading.Thread(target=target, args=(argument,), name="sandbox", daemon=True)
    thread.start()
    return thread


def _shut(open_socket: socket.socket) -> None:
    """End the socket, so that a thread that waits on it wakes up."""
    with contextlib.suppress(OSError):
        open_socket.shutdown(socket.SHUT_RDWR)
