"""What others may take of the daemon's time and memory, however slow, many or silent they are. Real sockets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.process.programs import PATIENCE_SECONDS, let_pass, wait_until
from tests.web.asking import ask, connect
from tests.web.conftest import Serve
from watcher.domain import State
from watcher.web import listener
from watcher.web.listener import bind, serving

_LARGE = "x" * 20_000_000  # more than sockets hold


def _hello(_: Request) -> Response:
    return PlainTextResponse("hello")


def _large(_: Request) -> Response:
    return PlainTextResponse(_LARGE)


async def _post(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server in this process, with little patience and room for few."""
    monkeypatch.setattr(listener, "_SECONDS", 1.0)
    monkeypatch.setattr(listener, "_CONNECTIONS", 8)
    app = Starlette(routes=[Route("/", _hello), Route("/large", _large), Route("/post", _post, methods=["POST"])])
    bound = bind("127.0.0.1:0", is_open=False)
    number = bound.getsockname()[1]
    with serving(app, bound):
        yield number


def is_cut_off(peer: socket.socket) -> bool:
    """Whether the other side ends this connection, whatever it sends first."""
    peer.settimeout(PATIENCE_SECONDS)
    with suppress(ConnectionError):
        while peer.recv(65_536):
            pass
    return True


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: a",
        b"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
        b"POST /post HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
    ids=["nothing", "half a head", "half a body", "half a chunk"],
)
def test_who_does_not_end_a_request_is_cut_off(beginning: bytes, port: int) -> None:
    """Though a byte comes now and then."""
    with connect(port) as peer:
        peer.sendall(beginning)
        ending = threading.Thread(target=is_cut_off, args=(peer,))
        ending.start()
        with suppress(ConnectionError):
            while ending.is_alive():
                peer.sendall(b"a") if beginning else None
                let_pass(0.1)
        ending.join(PATIENCE_SECONDS)
        assert not ending.is_alive()
    assert ask(port).status == 200


def test_who_does_not_read_the_answer_is_cut_off(port: int) -> None:
    """Its memory is given back: the answer does not wait for the reader for ever."""
    with connect(port) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # with less, what is on its way takes minutes
        peer.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        let_pass(2.5)
        read = 0
        peer.settimeout(PATIENCE_SECONDS)
        with suppress(ConnectionError):
            while part := peer.recv(1 << 20):
                read += len(part)
        assert read < len(_LARGE)
    assert ask(port).status == 200


@pytest.mark.parametrize("beginning", [b"", b"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc"])
def test_of_too_many_the_one_that_is_idle_for_longest_makes_room(
    beginning: bytes, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no number of connections that say nothing, or not all, keeps anybody out."""
    monkeypatch.setattr(listener, "_SECONDS", 600.0)
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(port)) for _ in range(50)]
        for peer in silent:
            with suppress(ConnectionError):
                peer.sendall(beginning)
        assert ask(port).status == 200
        assert is_cut_off(silent[0])
        assert ask(port).status == 200


def test_one_that_is_answered_may_ask_again(port: int) -> None:
    """Each answer begins the time anew."""
    with connect(port) as peer:
        for _ in range(4):
            peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read = b""
            while not read.endswith(b"hello"):
                read += peer.recv(4096)
            let_pass(0.3)


def test_garbage_is_refused_and_fills_no_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with connect(port) as peer:
        peer.sendall(b"\x16\x03\x01 hello there\r\n\r\n")
        assert peer.recv(4096).startswith(b"HTTP/1.1 400")
    assert caplog.records == []


def test_while_nobody_asks_it_does_not_even_wake_up(port: int) -> None:
    """uvicorn by itself wakes up ten times a second."""
    assert ask(port).status == 200
    (thread,) = [one for one in threading.enumerate() if one.name == "web"]
    wait_until(lambda: _rests(thread), "it sleeps")


def _rests(thread: threading.Thread) -> bool:
    before = _switches(thread)
    let_pass(2.0)
    return _switches(thread) == before


def _switches(thread: threading.Thread) -> int:
    """How often the thread has gone to sleep."""
    told = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(told.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_the_daemon_works_on_whatever_hangs_on_its_page(serve: Serve) -> None:
    """Hundreds of silent, half and greedy connections: recordings are filed, and the page still answers."""
    place, port = serve()
    with ExitStack() as stack:
        for number in range(300):
            peer = stack.enter_context(connect(port))
            with suppress(ConnectionError):
                peer.sendall([b"", b"GET / HTTP/1.1\r\nHost: ", b"GET /metrics HTTP/1.1\r\n\r\n" * 20][number % 3])
        place.drop("one.wav")
        wait_until(lambda: place.states().get("one.wav") is State.DONE, "it is done")
        assert ask(port, "/healthz").status == 200
