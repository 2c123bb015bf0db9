"""The server: its socket, its thread, and how much of the daemon's time and memory it may take.

uvicorn bounds neither the time of a request nor the number of connections; here each connection has _SECONDS for a
request and its answer, counted from its beginning or from its last answer, whatever it does in between, and of too
many the one that has been idle for longest makes room. uvicorn also wakes up ten times a second to see whether it
is to end; here it is told.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

import anyio
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from watcher import logs
from watcher.errors import ConfigError

_log = logs.get_logger(__name__)

_SECONDS = 30.0
_IDLE_SECONDS = 5
_STOP_SECONDS = 2
_CONNECTIONS = 32
_WORKERS = 4  # requests that are worked on at the same time
_HEAD_BYTES = 16_384
_BACKLOG = 64


def split_address(listen: str) -> tuple[str, int]:
    """Return the host and the port of "host:port"; an IPv6 address without its brackets."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def bind(listen: str, *, is_open: bool) -> socket.socket:
    """Return a socket bound to this address, not listening yet. Raises ConfigError where that is not possible.

    `is_open`: it may be one that other machines reach, whatever it is called.
    """
    host, port = split_address(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may linger
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except (OSError, UnicodeError) as error:  # UnicodeError: no machine can have this name
        said = (isinstance(error, OSError) and error.strerror) or error
        raise ConfigError(
            f"web.listen: {listen} cannot be used: {said}",
            hint="Name a free port of an address of this machine; `ss -ltnp` shows which program has one.",
        ) from error
    if not is_open and not ip_address(bound.getsockname()[0]).is_loopback:
        bound.close()
        raise ConfigError(
            f"web.listen: {listen} is not an address of this machine alone",
            hint="Listen on 127.0.0.1, or set web.password_file.",
        )
    return bound


@contextmanager
def serving(app: ASGIApp, bound: socket.socket) -> Iterator[None]:
    """Serve the application on this socket, in a thread of its own, from the beginning of the block to its end."""
    server = _Server(app)
    thread = threading.Thread(target=server.run_on, args=(bound,), name="web", daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # inherited
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        server.ready.wait()
        yield
    finally:
        server.end()
        thread.join(_STOP_SECONDS + 3)


class _Server(uvicorn.Server):
    """uvicorn's server, which sleeps until somebody comes or it is told to end."""

    def __init__(self, app: ASGIApp) -> None:
        logs.hear_errors_alone("uvicorn.error")  # else whoever sends garbage writes our log
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_IDLE_SECONDS,
                timeout_graceful_shutdown=_STOP_SECONDS,
                h11_max_incomplete_event_size=_HEAD_BYTES,
            )
        )
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()

    def run_on(self, bound: socket.socket) -> None:
        """Serve until `end`, for the whole life of the thread."""
        try:
            asyncio.run(self.serve([bound]))
        except Exception:  # noqa: BLE001 — the daemon goes on without its page
            _log.exception("web.broken")
        finally:
            self._loop = None
            self.ready.set()

    def end(self) -> None:
        """Let the thread end."""
        self.ready.wait()
        if (loop := self._loop) is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(self._ending.set)

    async def main_loop(self) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _WORKERS
        self._loop = asyncio.get_running_loop()
        self.ready.set()
        await self._ending.wait()


class _Connection(H11Protocol):
    """A connection with a deadline, which makes room for others while it is idle."""

    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()
        if len(self.connections) > _CONNECTIONS:
            others: list[Any] = [each for each in self.connections if each is not self]
            idle = [each for each in others if each.is_idle]
            min(idle, key=lambda each: each._since, default=self).transport.abort()  # noqa: SLF001 — of our kind

    @property
    def is_idle(self) -> bool:
        """Whether no whole request of it is being answered."""
        cycle: Any = self.cycle  # None, whatever its annotation says, before the first request
        return cycle is None or cycle.response_complete or cycle.more_body

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()

    def _begin(self) -> None:
        """From here on there is so much time for a request and its answer."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._since = self.loop.time()
        self._deadline = self.loop.call_later(_SECONDS, self.transport.abort)
