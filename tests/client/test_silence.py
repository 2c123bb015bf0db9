"""What an exchange without an answer comes to, and what it may have cost."""

import contextlib
import socket
import threading

import pytest

from tests.client.servers import (
    IDENTIFIER,
    Peer,
    Script,
    Talk,
    answer,
    answering,
    close_at_once,
    closing,
    deaf,
    silent,
    trickling,
)
from tests.client.uploads import AUDIO, client_of, failure_of, upload_of
from watcher.clock import SystemClock
from watcher.domain import Charged
from watcher.errors import ConfigError, NeverSent, Unanswered


def close_after(part: float) -> Script:
    def script(talk: Talk) -> None:
        seen = talk.hear_head()
        assert seen is not None
        talk.hear_body(seen, int(seen.promised * part))

    return script


def reset(talk: Talk) -> None:
    """Reads everything and resets the connection."""
    talk.hear()
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_refused_connection_is_never_sent() -> None:
    """Nobody listens: nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure_of(f"http://127.0.0.1:{port}")
    assert isinstance(error, NeverSent)
    assert error.charged is Charged.NO
    assert "refused" in error.message
    assert error.__cause__ is not None


def test_unknown_name_is_never_sent() -> None:
    """A name that does not resolve: nothing was sent, and the message says so."""
    error = failure_of("http://no-such-host.invalid")
    assert isinstance(error, NeverSent)
    assert "no-such-host.invalid cannot be resolved" in error.message


def test_connection_that_never_comes_about_is_never_sent() -> None:
    """A host that drops what is sent to it is given up after the connect timeout."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # the queue of connections is full: the next one waits
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        error = failure_of(f"http://127.0.0.1:{listener.getsockname()[1]}", connect=0.2)
    assert isinstance(error, NeverSent)
    assert "connect_timeout_seconds" in error.message


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1", "http://", "nonsense", "http://[::1", "http://user:hush@127.0.0.1"]
)
def test_unusable_base_url_is_refused_at_the_start(url: str) -> None:
    """A base URL that is none, or that holds a password, is the configuration's fault, and not shown."""
    with pytest.raises(ConfigError) as caught, client_of(url):
        pass
    assert "identifai.base_url" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_base_url_that_no_library_takes_is_never_sent() -> None:
    """What only the libraries find wrong with a URL ends as an error of ours too, with the setting named."""
    error = failure_of("https://*.example.invalid")
    assert isinstance(error, NeverSent)
    assert "identifai.base_url" in error.hint


@pytest.mark.parametrize(
    ("script", "charged", "words"),
    [
        (close_at_once, Charged.NO, "closed the connection"),
        (close_after(0.3), Charged.NO, "closed the connection"),
        (close_after(1), Charged.UNKNOWN, "closed the connection"),
        (reset, Charged.UNKNOWN, "closed the connection"),
        (deaf, Charged.NO, "nothing for 0.3 s"),
        (silent, Charged.UNKNOWN, "nothing for 0.3 s"),
        (closing(b"SSH-2.0-OpenSSH_9.6\r\n"), Charged.UNKNOWN, "not HTTP"),
        (closing(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"), Charged.UNKNOWN, "not HTTP"),
        (closing(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n"), Charged.UNKNOWN, "not HTTP"),
        (closing(answer(b'{"identif', length=80)), Charged.UNKNOWN, "in the middle of its answer"),
        (
            closing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{"),
            Charged.UNKNOWN,
            "in the middle of its answer",
        ),
    ],
)
def test_lost_answer(script: Script, charged: Charged, words: str) -> None:
    """Without an answer, it is in doubt if the last part had been let go, and certainly free if not."""
    released: list[bool] = []
    audio = AUDIO * 40  # more than the buffers between the two can hold
    with Peer(script) as peer:
        error = failure_of(peer.url, upload_of(audio), lambda: released.append(True), read=0.3)
    assert words in error.message
    assert error.charged is charged
    assert type(error) is (Unanswered if charged is Charged.UNKNOWN else NeverSent)
    assert released == ([True] if charged is Charged.UNKNOWN else [])


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Slow: very\r\n" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b" " * 5000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    ],
    ids=["headers", "content", "continue"],
)
def test_trickled_answer_ends_at_the_deadline(raw: bytes) -> None:
    """An answer that comes a byte at a time, each within the read timeout, is given up at the deadline."""
    clock = SystemClock()
    began = clock.monotonic()
    with Peer(trickling(raw)) as peer:
        error = failure_of(peer.url, read=5, deadline=0.5)
    assert 0.5 <= clock.monotonic() - began < 2
    assert isinstance(error, Unanswered)
    assert error.charged is Charged.UNKNOWN
    assert "within 0.5 s in all" in error.message


def test_slow_sending_ends_at_the_deadline() -> None:
    """A service that takes a little now and then is given up at the deadline, and has charged nothing."""

    def sipping(talk: Talk) -> None:
        talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        seen = talk.hear_head()
        while seen is not None and not talk.peer.stopping.wait(0.02):
            seen.body += talk.sock.recv(1000)

    with Peer(sipping) as peer:
        error = failure_of(peer.url, upload_of(AUDIO * 40), read=5, deadline=0.5)
    assert isinstance(error, NeverSent)
    assert "within 0.5 s in all" in error.message


def test_time_in_release_is_not_counted() -> None:
    """The deadline stands still while the caller waits for a rate window."""
    pause = threading.Event()

    def release() -> None:
        pause.wait(0.6)

    with Peer(answering()) as peer, client_of(peer.url, read=1, deadline=0.4) as client:
        assert client.submit(upload_of(), release).identifier == IDENTIFIER
