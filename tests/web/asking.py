"""What asks the page: bytes on a socket, so that nothing is put right on the way."""

import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from tests.process.programs import PATIENCE_SECONDS, Program

HEADER = tuple[str, str]
OURS: HEADER = ("Sec-Fetch-Site", "same-origin")
FORM: HEADER = ("Content-Type", "application/x-www-form-urlencoded")


@dataclass(frozen=True)
class Reply:
    """What came back. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    text: str


def port_of(daemon: Program) -> int:
    """The port at which this daemon says that it serves the page."""
    found = re.search(r":(\d+)/$", daemon.wait_for("web.listening")[0]["url"])
    assert found is not None
    return int(found[1])


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


def head(method: str, path: str, headers: Iterable[HEADER]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def ask(
    port: int,
    path: str = "/",
    *headers: HEADER,
    method: str = "GET",
    host: str | None = "",
    body: bytes | None = None,
) -> Reply:
    """Ask once, with exactly these headers, Host (None: without one) and the length of the body."""
    told = [] if host is None else [("Host", host or f"127.0.0.1:{port}")]
    told += [*headers, ("Connection", "close")]
    if body is not None and not any(name == "Transfer-Encoding" for name, _ in headers):
        told.append(("Content-Length", str(len(body))))
    with connect(port) as peer:
        peer.sendall(head(method, path, told))
        with suppress(BrokenPipeError, ConnectionResetError):  # it need not read a body that it refuses
            peer.sendall(body or b"")
        return read_reply(peer)


def read_reply(peer: socket.socket) -> Reply:
    """Read until the other side ends the connection."""
    read = b""
    with suppress(ConnectionResetError):
        while part := peer.recv(65_536):
            read += part
    top, _, rest = read.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), headers, rest.decode())
