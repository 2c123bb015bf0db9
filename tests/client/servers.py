"""Servers that behave as servers do: over real sockets, one script a connection."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

IDENTIFIER = "8d64370a87b820cc1cf620338f5c898bab37439c9a405f32d9eaffc50c4f27b0"


@dataclass
class Seen:
    """One request, as far as it came."""

    head: str
    body: bytearray = field(default_factory=bytearray)

    @property
    def headers(self) -> dict[str, str]:
        lines = [line.split(": ", 1) for line in self.head.split("\r\n")[1:] if line]
        assert len({name.lower() for name, _ in lines}) == len(lines), "a header was sent twice"
        return {name.lower(): value for name, value in lines}

    @property
    def promised(self) -> int:
        return int(self.headers.get("content-length", "0"))

    @property
    def is_whole(self) -> bool:
        return len(self.body) == self.promised


class Talk:
    """One connection, from the server's side."""

    def __init__(self, sock: socket.socket, peer: "Peer") -> None:
        self.sock = sock
        self.peer = peer
        self._rest = b""

    def hear_head(self) -> Seen | None:
        while b"\r\n\r\n" not in self._rest:
            more = self._recv()
            if not more:
                return None
            self._rest += more
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        seen = Seen(head.decode("latin-1"))
        self.peer.seen.append(seen)
        return seen

    def hear_body(self, seen: Seen, most: int | None = None) -> None:
        """Reads the body to its promised end, or `most` bytes of it, or what comes before the connection ends."""
        wanted = seen.promised if most is None else most
        while len(seen.body) < wanted:
            more = self._rest or self._recv()
            self._rest = b""
            if not more:
                return
            seen.body += more

    def hear(self) -> Seen | None:
        seen = self.hear_head()
        if seen is not None:
            self.hear_body(seen)
        return seen if seen is not None and seen.is_whole else None

    def say(self, raw: bytes) -> None:
        self.sock.sendall(raw)

    def _recv(self) -> bytes:
        with contextlib.suppress(OSError):
            return self.sock.recv(262_144)
        return b""


Script = Callable[[Talk], None]


class Peer:
    """A server whose n-th connection follows the n-th script, and all later ones the last."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.errors: list[BaseException] = []
        self.stopping = threading.Event()
        self._scripts = scripts
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self._listener.close()
        assert not self.errors, self.errors

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._talk, args=(sock, script))
            self._threads.append(thread)
            thread.start()

    def _talk(self, sock: socket.socket, script: Script) -> None:
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            script(Talk(sock, self))
        except OSError:
            pass  # the client hung up, or the test is over
        except BaseException as error:  # noqa: BLE001 — told to the test when the server is closed
            self.errors.append(error)
        finally:
            sock.close()


def answer(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


JSON_BODY = json.dumps({"identifier": IDENTIFIER}).encode()
UNAUTHORIZED = answer(b'{"error": "Unauthorized"}', "401 Unauthorized")
ACCEPTED = answer(JSON_BODY, "200 OK", "Content-Type: application/json")


def answering(raw: bytes = ACCEPTED) -> Script:
    """Answers every whole request, and keeps the connection."""

    def script(talk: Talk) -> None:
        while talk.hear():
            talk.say(raw)

    return script


def closing(raw: bytes) -> Script:
    """Answers the first whole request, and closes the connection."""

    def script(talk: Talk) -> None:
        talk.hear()
        talk.say(raw)

    return script


def silent(talk: Talk) -> None:
    talk.hear()
    talk.peer.stopping.wait(10)


def deaf(talk: Talk) -> None:
    talk.peer.stopping.wait(10)


def close_at_once(talk: Talk) -> None:
    """Closes the connection unread."""


def trickling(raw: bytes, seconds: float = 0.02) -> Script:
    """A byte now and then: no single wait is ever long."""

    def script(talk: Talk) -> None:
        talk.hear()
        for byte in raw:
            talk.say(bytes([byte]))
            if talk.peer.stopping.wait(seconds):
                return

    return script


def early(raw: bytes, *, then_close: bool) -> Script:
    """Answers at the request's head, and reads nothing of its body."""

    def script(talk: Talk) -> None:
        talk.hear_head()
        talk.say(raw)
        if not then_close:
            talk.peer.stopping.wait(10)

    return script


def wait_until(condition: Callable[[], bool]) -> None:
    limit = threading.Event()
    for _ in range(500):
        if condition():
            return
        limit.wait(0.01)
    raise AssertionError("it never came about")
