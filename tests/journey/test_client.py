"""The client against servers that behave as servers do: over real sockets, one script a connection."""

import contextlib
import gzip
import hashlib
import io
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Self

import pytest

from tests.echoes import bones, plain
from watcher.clock import SystemClock
from watcher.domain import Charged, VerdictState
from watcher.errors import (
    ConfigError,
    Forbidden,
    Intercepted,
    NeverSent,
    RecordingChanged,
    RecordingUnreachable,
    Rejected,
    ServiceError,
    ServiceFault,
    Throttled,
    Unanswered,
    Unauthorized,
    Unintelligible,
)
from watcher.identifai.client import IDENTIFIERS_A_CALL, Client
from watcher.identifai.transport import IDLE_SECONDS
from watcher.identifai.upload import HELD_BACK_BYTES, READ_BYTES, Upload
from watcher.journey.policy import Cause, find_cause
from watcher.sandbox import FaultKind, Sandbox

IDENTIFIER = "8d64370a87b820cc1cf620338f5c898bab37439c9a405f32d9eaffc50c4f27b0"
KEY = "0123456789abcdef-secret"
AUDIO = bytes(range(256)) * 1600  # 409,600 bytes: several parts and a last one

# One key pair for these tests alone: self-signed for localhost and 127.0.0.1, from 2020 to 2119.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgRgGeNr2cIkE1yadi
7OeYD3Y98D5zk1XlCNf+7EtQxR2hRANCAARUj9U3r4CibGgScAcpU8IVXf3o69ZE
YZJz1VPM6GAxZCYzUmbQqnIkZ/NGMlh2f0+n0qUKgMjSJulzS6zWnIGi
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBijCCAS+gAwIBAgIBATAKBggqhkjOPQQDAjAdMRswGQYDVQQDDBJsb29wYmFj
ayBmb3IgdGVzdHMwIBcNMjAwMTAxMDAwMDAwWhgPMjExOTAxMDEwMDAwMDBaMB0x
GzAZBgNVBAMMEmxvb3BiYWNrIGZvciB0ZXN0czBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABFSP1TevgKJsaBJwBylTwhVd/ejr1kRhknPVU8zoYDFkJjNSZtCqciRn
80YyWHZ/T6fSpQqAyNIm6XNLrNacgaKjXjBcMA8GA1UdEwEB/wQFMAMBAf8wDgYD
VR0PAQH/BAQDAgKEMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAdBgNVHQ4E
FgQUpxZcQQZRkF+ROhnKJpdauQhPbvUwCgYIKoZIzj0EAwIDSQAwRgIhAJc0XX+A
+Vd4GKlpp265etYUHhIA+l2nnLB2zJx4o+50AiEA5vAQFwzD4+C3Je/fjE740dC9
yGrwXa1GRAF/NxrCAz8=
-----END CERTIFICATE-----
"""


# What the servers are made of


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


# What the client is made of


class Key:
    def __init__(self, text: str = KEY) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text


class ShiftedClock(SystemClock):
    """The machine's clock, as it would be some seconds later."""

    shift_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.shift_seconds


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def certificate(tmp_path) -> str:  # type: ignore[no-untyped-def]
    path = tmp_path / "certificate.pem"
    path.write_text(CERTIFICATE)
    return str(path)


@pytest.fixture
def tls(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextlib.contextmanager
def client_of(
    url: str,
    *,
    connect: float = 5,
    read: float = 5,
    deadline: float = 10,
    key: str = KEY,
    clock: SystemClock | None = None,
) -> Iterator[Client]:
    client = Client(
        base_url=url,
        key=Key(key),
        connect_timeout_seconds=connect,
        read_timeout_seconds=read,
        deadline_seconds=deadline,
        version="1.2.3",
        clock=clock or SystemClock(),
    )
    with contextlib.closing(client):
        yield client


def upload_of(audio: bytes = AUDIO, **changes: object) -> Upload:
    facts: dict[str, object] = {
        "file": io.BytesIO(audio),
        "size": len(audio),
        "sha256": hashlib.sha256(audio).hexdigest(),
        "filename": "0190.wav",
        "media_type": "audio/wav",
        "fields": {"ref_id": "0190"},
    }
    return Upload(**(facts | changes))  # type: ignore[arg-type]


def go() -> None:
    """A release that lets the last part go at once."""


def failure_of(
    url: str, upload: Upload | None = None, release: Callable[[], None] = go, **timeouts: float
) -> ServiceError:
    """The error that an upload ends with."""
    with client_of(url, **timeouts) as client, pytest.raises(ServiceError) as caught:  # type: ignore[arg-type]
        client.submit(upload or upload_of(), release)
    assert KEY not in f"{caught.value!r} {caught.value.message} {caught.value.hint}"
    assert caught.value.message
    assert caught.value.hint or isinstance(caught.value, Throttled)
    return caught.value


def parts_of(seen: Seen) -> list[tuple[str, bytes]]:
    """The head and the content of each part of a multipart body, strictly by the book."""
    found = re.fullmatch(r"multipart/form-data; boundary=(\S+)", seen.headers["content-type"])
    assert found is not None
    line = b"--" + found[1].encode()
    body = bytes(seen.body)
    assert body.startswith(line + b"\r\n")
    assert body.endswith(b"\r\n" + line + b"--\r\n")
    inner = body[len(line) + 2 : -len(line) - 6]
    pairs = [part.partition(b"\r\n\r\n") for part in inner.split(b"\r\n" + line + b"\r\n")]
    return [(head.decode(), content) for head, _, content in pairs]


# The request


def test_request_is_the_contracts_and_nothing_more(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """An upload is one POST with the documented fields, the audio last, and no header that was not meant."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password theirs\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fields = {"ref_id": "0190", "webhook_url": "", "no_cache": "true"}
    with Peer(answering()) as peer, client_of(peer.url + "/") as client:
        accepted = client.submit(upload_of(fields=fields), go)
    assert (accepted.identifier, accepted.status) == (IDENTIFIER, 200)
    [seen] = peer.seen
    assert seen.head.splitlines()[0] == "POST /api/classification_audio HTTP/1.1"
    assert set(seen.headers) == {
        "host", "accept", "accept-encoding", "user-agent", "x-api-key", "content-type", "content-length",
    }  # fmt: skip
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["user-agent"].startswith("identifai-watcher/1.2.3 (")
    assert parts_of(seen) == [
        ('Content-Disposition: form-data; name="ref_id"', b"0190"),
        ('Content-Disposition: form-data; name="no_cache"', b"true"),
        (
            'Content-Disposition: form-data; name="audio"; filename="0190.wav"\r\nContent-Type: audio/wav',
            AUDIO,
        ),
    ]


@pytest.mark.parametrize("size", [1, HELD_BACK_BYTES, HELD_BACK_BYTES + 1, 1_000_000])
def test_every_size_arrives_whole(size: int) -> None:
    """Whatever its size, what arrives is the recording, at exactly the length that was promised."""
    audio = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with Peer(answering()) as peer, client_of(peer.url) as client:
        client.submit(upload_of(audio), go)
    assert parts_of(peer.seen[0])[-1][1] == audio


def test_each_attempt_has_a_body_of_its_own() -> None:
    """The same upload can be tried again: each attempt sends all of it, under a boundary of its own."""
    upload = upload_of()
    with Peer(answering()) as peer, client_of(peer.url) as client:
        client.submit(upload, go)
        client.submit(upload, go)
    assert parts_of(peer.seen[0])[-1][1] == parts_of(peer.seen[1])[-1][1] == AUDIO
    assert peer.seen[0].headers["content-type"] != peer.seen[1].headers["content-type"]
    assert peer.connections == 1


def test_cookies_are_not_kept() -> None:
    """A cookie that the service sets never comes back to it."""
    raw = answer(JSON_BODY, "200 OK", "Set-Cookie: a=b; Path=/")
    with Peer(answering(raw)) as peer, client_of(peer.url) as client:
        client.submit(upload_of(), go)
        client.submit(upload_of(), go)
    assert all("cookie" not in seen.headers for seen in peer.seen)


def test_memory_does_not_grow_with_the_recording(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """200 MB are sent in a few megabytes of memory."""
    size = 200_000_000
    digest = hashlib.sha256()
    for _ in range(200):
        digest.update(bytes(1_000_000))
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.truncate(size)

    def draining(talk: Talk) -> None:
        seen = talk.hear_head()
        assert seen is not None
        room = bytearray(1_000_000)
        left = seen.promised - len(talk._rest)
        while left:
            left -= talk.sock.recv_into(room)
        talk.say(ACCEPTED)

    with Peer(draining) as peer, client_of(peer.url, deadline=60) as client, path.open("rb") as file:
        tracemalloc.start()
        try:
            client.submit(upload_of(file=file, size=size, sha256=digest.hexdigest()), go)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4_000_000


def test_threads_share_a_client() -> None:
    """Uploads that go out at the same time do not mix, and each thread starts nothing that stays."""
    before = threading.active_count()
    recordings = [bytes([n]) * (100_000 + n) for n in range(12)]
    with Peer(answering()) as peer, client_of(peer.url) as client:
        threads = [threading.Thread(target=lambda r=r: client.submit(upload_of(r), go)) for r in recordings]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(parts_of(seen)[-1][1] for seen in peer.seen) == sorted(recordings)
    assert threading.active_count() == before


# What is let go, and when


@pytest.mark.parametrize("size", [100, 409_600])
def test_last_part_waits_for_its_release(size: int) -> None:
    """Until `release` returns the service lacks the end of the recording; it is called once."""
    audio = AUDIO[:size]
    closing_line = len("\r\n----\r\n") + 32
    arrived: list[int] = []

    with Peer(answering()) as peer, client_of(peer.url) as client:

        def missing() -> int:
            return peer.seen[0].promised - len(peer.seen[0].body) if peer.seen else 1_000_000

        def release() -> None:
            wait_until(lambda: missing() <= min(size, HELD_BACK_BYTES) + closing_line)
            arrived.append(missing())

        client.submit(upload_of(audio), release)
    assert arrived == [min(size, HELD_BACK_BYTES) + closing_line]
    assert peer.seen[0].is_whole


def wait_until(condition: Callable[[], bool]) -> None:
    limit = threading.Event()
    for _ in range(500):
        if condition():
            return
        limit.wait(0.01)
    raise AssertionError("it never came about")


class FailingFile(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 0:
            raise OSError(5, "Input/output error")
        return super().read(size)


CHANGES: dict[str, tuple[BinaryIO, type[Exception]]] = {
    "other bytes": (io.BytesIO(AUDIO[:-1] + b"?"), RecordingChanged),
    "shorter": (io.BytesIO(AUDIO[:-1]), RecordingChanged),
    "longer": (io.BytesIO(AUDIO + b"?"), RecordingChanged),
    "emptied": (io.BytesIO(), RecordingChanged),
    "unreadable": (FailingFile(AUDIO), RecordingUnreachable),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_recording_is_never_sent_to_its_end(name: str) -> None:
    """What is sent is what was hashed: otherwise the body is cut off, and the connection is not used again."""
    file, kind = CHANGES[name]
    with Peer(answering()) as peer, client_of(peer.url) as client:
        with pytest.raises(kind):
            client.submit(upload_of(file=file), lambda: pytest.fail("it was released"))
        client.submit(upload_of(), go)
        wait_until(lambda: len(peer.seen) == 2)
    assert sorted(seen.is_whole for seen in peer.seen) == [False, True]
    assert peer.connections == 2


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("stop"),
        KeyboardInterrupt(),
        SystemExit(3),
        BrokenPipeError("a pipe"),
        TimeoutError("ours"),
    ],
    ids=repr,
)
def test_what_release_raises_passes_through(error: BaseException) -> None:
    """The very exception comes out, the request ends before its end, and the client goes on working."""

    def release() -> None:
        raise error

    with Peer(answering()) as peer, client_of(peer.url) as client:
        with pytest.raises(type(error)) as caught:
            client.submit(upload_of(), release)
        assert caught.value is error
        assert error.__cause__ is None
        client.submit(upload_of(), go)
        wait_until(lambda: len(peer.seen) == 2)
    assert sorted(seen.is_whole for seen in peer.seen) == [False, True]


# No answer


def silent(talk: Talk) -> None:
    talk.hear()
    talk.peer.stopping.wait(10)


def deaf(talk: Talk) -> None:
    talk.peer.stopping.wait(10)


def close_at_once(talk: Talk) -> None:
    """Closes the connection unread."""


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


def trickling(raw: bytes, seconds: float = 0.02) -> Script:
    """A byte now and then: no single wait is ever long."""

    def script(talk: Talk) -> None:
        talk.hear()
        for byte in raw:
            talk.say(bytes([byte]))
            if talk.peer.stopping.wait(seconds):
                return

    return script


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
        (closing(b"SSH-2.0-OpenSSH_9.6\r\n"), Charged.UNKNOWN, "no HTTP"),
        (closing(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"), Charged.UNKNOWN, "no HTTP"),
        (closing(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n"), Charged.UNKNOWN, "no HTTP"),
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


# An answer that is no identifier


NO_IDENTIFIER = {
    "a page": answer(b"<!doctype html><html><body><h1>Welcome to the guest network</h1>"),
    "empty": answer(b""),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "cut JSON": answer(b'{"identifier": "8d64370a'),
    "too short": answer(b'{"identifier": "8d64370a"}'),
    "too long": answer(IDENTIFIER.encode() + b"0"),
    "null": answer(b'{"identifier": null}'),
    "another name": answer(b'{"id": "' + IDENTIFIER.encode() + b'"}'),
    "a list": answer(b"[]"),
    "nested": answer(b"[" * 200_000),
    "no UTF-8": answer(b"\xff\xfe\x00nonsense"),
    "no gzip": answer(b"not gzip at all", "200 OK", "Content-Encoding: gzip"),
    "3 MB": answer(b"x" * 3_000_000),
    "50 MB in gzip": answer(gzip.compress(bytes(50_000_000), 1), "200 OK", "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("raw", NO_IDENTIFIER.values(), ids=NO_IDENTIFIER)
def test_yes_without_an_identifier_is_in_doubt(raw: bytes) -> None:
    """A 200 that names no identifier may have been charged; it is never taken for an acceptance."""
    with Peer(closing(raw)) as peer:
        error = failure_of(peer.url)
    assert isinstance(error, Unintelligible)
    assert error.charged is Charged.UNKNOWN
    assert len(error.message) < 700


def test_endless_answer_is_not_read_to_the_end() -> None:
    """An answer that goes on is cut off at a length that no identifier has, long before the deadline."""

    def babbling(talk: Talk) -> None:
        talk.hear()
        talk.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while not talk.peer.stopping.is_set():
            talk.say(bytes(65_536))

    with Peer(babbling) as peer:
        error = failure_of(peer.url)
    assert isinstance(error, Unintelligible)
    assert error.charged is Charged.UNKNOWN


WITH_IDENTIFIER = {
    "JSON": ACCEPTED,
    "bare": answer(IDENTIFIER.encode() + b"\n", "200 OK", "Content-Type: text/plain"),
    "quoted": answer(b'"' + IDENTIFIER.encode() + b'"'),
    "after a byte order mark": answer(b"\xef\xbb\xbf" + JSON_BODY),
    "gzip": answer(gzip.compress(JSON_BODY), "200 OK", "Content-Encoding: gzip"),
    "201": answer(JSON_BODY, "201 Created"),
    "less than promised": answer(JSON_BODY, length=500),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n"
    + IDENTIFIER.encode()
    + b"\r\n0\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + IDENTIFIER.encode(),
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\n" + ACCEPTED,
    "after 103": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" * 2 + ACCEPTED,
}


@pytest.mark.parametrize("raw", WITH_IDENTIFIER.values(), ids=WITH_IDENTIFIER)
def test_identifier_is_found_however_it_comes(raw: bytes) -> None:
    """A whole identifier is believed, in JSON or bare, compressed, in chunks, even if it is cut after it."""
    with Peer(closing(raw)) as peer, client_of(peer.url) as client:
        assert client.submit(upload_of(), go).identifier == IDENTIFIER


# Refusals


@pytest.mark.parametrize(
    ("status", "kind", "charged"),
    [
        ("400 Bad Request", Rejected, Charged.NO),
        ("401 Unauthorized", Unauthorized, Charged.NO),
        ("403 Forbidden", Forbidden, Charged.NO),
        ("413 Content Too Large", Rejected, Charged.NO),
        ("422 Unprocessable Content", Rejected, Charged.NO),
        ("429 Too Many Requests", Throttled, Charged.NO),
        ("301 Moved Permanently", ServiceFault, Charged.NO),
        ("404 Not Found", ServiceFault, Charged.NO),
        ("405 Method Not Allowed", ServiceFault, Charged.NO),
        ("408 Request Timeout", ServiceFault, Charged.NO),
        ("418 I'm a teapot", ServiceFault, Charged.NO),
        ("500 Internal Server Error", ServiceFault, Charged.UNKNOWN),
        ("502 Bad Gateway", ServiceFault, Charged.UNKNOWN),
        ("503 Service Unavailable", ServiceFault, Charged.NO),
        ("504 Gateway Timeout", ServiceFault, Charged.UNKNOWN),
        ("520 Who Knows", ServiceFault, Charged.UNKNOWN),
    ],
)
def test_status_decides_the_error(status: str, kind: type[ServiceError], charged: Charged) -> None:
    """Each status is one error of ours, and says what it may have cost once the whole body was let go."""
    with Peer(answering(answer(b'{"error": "No."}', status))) as peer:
        error = failure_of(peer.url)
    assert type(error) is kind
    assert error.status == int(status[:3])
    assert error.charged is charged


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": "The uploaded file format is not supported."}', "The uploaded file format is not supported."),
        (b'{"message": "Too Many Attempts."}', "Too Many Attempts."),
        (b'{"audio": ["The audio field is required."]}', "The audio field is required."),
        (b'{"errors": {"audio": ["Too short.", "Not audio."]}}', "Too short. Not audio."),
        (b'{"error": "' + KEY.encode() + b' is no key"}', "<key> is no key"),
    ],
)
def test_refusal_in_the_services_own_words(body: bytes, words: str) -> None:
    """The message of a refusal is what the service said, and never the key, should a page show it."""
    with Peer(answering(answer(body, "400 Bad Request"))) as peer:
        assert failure_of(peer.url).message == words


def test_refusal_without_words_names_the_status() -> None:
    """Where the service says nothing, the status speaks; so it does for an answer that was cut off."""
    for raw, kind in (
        (answer(b'{"error": ""}', "400 Bad Request"), Rejected),
        (answer(b"", "400 Bad Request", length=10), Intercepted),
    ):
        with Peer(closing(raw)) as peer:
            error = failure_of(peer.url)
        assert isinstance(error, kind)
        assert "400 Bad Request" in error.message


def test_throttle_says_how_long_and_which_window() -> None:
    """A 429 carries the seconds to wait and the limit of the window that was hit."""
    raw = answer(b"{}", "429 Too Many Requests", "Retry-After: 37", "X-RateLimit-Limit: 30")
    with Peer(answering(raw)) as peer:
        error = failure_of(peer.url)
    assert isinstance(error, Throttled)
    assert (error.retry_after, error.limit) == (37.0, 30)


def test_redirect_is_not_followed() -> None:
    """A redirect is a fault that names where it points to; nothing is sent there."""
    with Peer(answering()) as other:
        raw = answer(b"", "307 Temporary Redirect", f"Location: {other.url}/login?token=secret")
        with Peer(answering(raw)) as peer:
            error = failure_of(peer.url)
    assert isinstance(error, Intercepted)
    assert f"{other.url}/login" in error.message
    assert "secret" not in error.message
    assert other.connections == 0


# Answers that come too early


def early(raw: bytes, *, then_close: bool) -> Script:
    """Answers at the request's head, and reads nothing of its body."""

    def script(talk: Talk) -> None:
        talk.hear_head()
        talk.say(raw)
        if not then_close:
            talk.peer.stopping.wait(10)

    return script


@pytest.mark.parametrize("then_close", [True, False])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("413 Content Too Large", Rejected),
        ("401 Unauthorized", Unauthorized),
        ("400 Bad Request", Rejected),
        ("502 Bad Gateway", ServiceFault),
        ("200 OK", NeverSent),
    ],
)
def test_early_answer_is_read_and_free(status: str, kind: type[ServiceError], then_close: bool) -> None:
    """A service that answers before it has everything is understood at once, gets no more, and charged nothing."""
    raw = answer(
        json.dumps({"identifier": IDENTIFIER} if status[0] == "2" else {"error": "Early."}).encode(), status
    )
    with Peer(early(raw, then_close=then_close)) as peer:
        error = failure_of(peer.url, upload_of(AUDIO * 40), lambda: pytest.fail("it was released"))
    assert type(error) is kind
    assert error.charged is Charged.NO
    assert error.status == int(status[:3])


@pytest.mark.parametrize("is_secure", [False, True])
def test_answer_is_heard_while_the_service_takes_no_more(
    is_secure: bool, tls: ssl.SSLContext, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that comes while sending is stuck ends the upload at once, not at a timeout."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)

    def stuck(talk: Talk) -> None:
        talk.hear_head()
        talk.peer.stopping.wait(0.3)  # the buffers between the two are full by now
        talk.say(UNAUTHORIZED)
        talk.peer.stopping.wait(10)

    clock = SystemClock()
    began = clock.monotonic()
    with Peer(stuck, tls=tls if is_secure else None) as peer:
        error = failure_of(peer.url, upload_of(AUDIO * 100))
    assert isinstance(error, Unauthorized)
    assert clock.monotonic() - began < 3


@pytest.mark.parametrize("pieces", [1, 5, 60])
def test_interim_answer_is_no_answer(pieces: int) -> None:
    """A service that says "100 Continue" unasked, at once or bit by bit, gets the whole recording all the same."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: b\r\n\r\n"
    step = -(-len(interim) // pieces)
    heard = threading.Semaphore(0)

    def script(talk: Talk) -> None:
        seen = talk.hear_head()
        assert seen is not None
        for start in range(0, len(interim), step):
            talk.say(interim[start : start + step])
            heard.release()
        talk.hear_body(seen)
        talk.say(ACCEPTED)

    class Paced(io.BytesIO):
        """So that something of it is there before every part of the recording."""

        def read(self, size: int | None = -1, /) -> bytes:
            heard.acquire(timeout=0.1)
            return super().read(size)

    audio = bytes(10 * READ_BYTES)
    with Peer(script) as peer, client_of(peer.url) as client:
        assert client.submit(upload_of(audio, file=Paced(audio)), go).identifier == IDENTIFIER
    assert peer.seen[0].is_whole


def test_connection_of_a_cut_request_is_not_used_again() -> None:
    """After an early answer the next request has its own connection: it is not read as the rest of the first."""
    with Peer(early(UNAUTHORIZED, then_close=False), answering()) as peer, client_of(peer.url) as client:
        with pytest.raises(Unauthorized):
            client.submit(upload_of(AUDIO * 40), go)
        client.submit(upload_of(), go)
    assert peer.connections == 2
    assert sorted(seen.is_whole for seen in peer.seen) == [False, True]


@pytest.mark.parametrize(
    ("raw", "kind"), [(answer(b"", "408 Request Timeout"), Intercepted), (b"", NeverSent)], ids=["408", "closed"]
)
def test_service_that_tires_during_release(raw: bytes, kind: type[ServiceError]) -> None:
    """A service that gives up while the last part waits gets no last part, and charged nothing."""
    answered = threading.Event()

    def script(talk: Talk) -> None:
        seen = talk.hear_head()
        assert seen is not None
        talk.hear_body(seen, 1)
        talk.say(raw)
        talk.sock.shutdown(socket.SHUT_WR)
        answered.set()
        talk.hear_body(seen)

    def release() -> None:
        answered.wait(5)

    with Peer(script) as peer:
        error = failure_of(peer.url, upload_of(AUDIO[:1000]), release)
    assert type(error) is kind
    assert error.charged is Charged.NO
    assert not peer.seen[0].is_whole


# Connections that are kept


def test_connection_closed_between_uploads_costs_nothing() -> None:
    """A kept connection that the service closed meanwhile is replaced, and no error comes of it."""
    with Peer(closing(ACCEPTED)) as peer, client_of(peer.url) as client:
        for n in range(5):
            client.submit(upload_of(), go)
            wait_until(lambda n=n: peer._open[n].fileno() == -1)  # type: ignore[misc]
    assert peer.connections == 5


def test_connection_idle_for_long_is_not_trusted() -> None:
    """A connection that has been idle for long is replaced before the service's close can cross an upload."""
    clock = ShiftedClock()
    with Peer(answering()) as peer, client_of(peer.url, clock=clock) as client:
        client.submit(upload_of(), go)
        client.submit(upload_of(), go)
        assert peer.connections == 1
        clock.shift_seconds = IDLE_SECONDS
        client.submit(upload_of(), go)
    assert peer.connections == 2


# TLS, proxies, secrets


def test_tls_with_the_environments_ca(tls, certificate, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Over TLS everything is the same: session tickets are not taken for an answer, the connection is kept."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    with Peer(answering(), tls=tls) as peer, client_of(peer.url) as client:
        for _ in range(2):
            assert client.submit(upload_of(AUDIO * 10), go).identifier == IDENTIFIER
    assert peer.connections == 1
    assert all(seen.is_whole for seen in peer.seen)


def test_tls_early_answer_and_deadline(tls, certificate, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Over TLS too an early answer is read, and a trickled one given up at the deadline."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    with Peer(early(UNAUTHORIZED, then_close=False), tls=tls) as peer:
        assert isinstance(failure_of(peer.url, upload_of(AUDIO * 40)), Unauthorized)
    with Peer(trickling(answer(b" " * 500)), tls=tls) as peer:
        assert isinstance(failure_of(peer.url, deadline=0.5), Unanswered)


def test_tls_that_takes_nothing(tls, certificate, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Over TLS too a service that stops reading is given up, and not taken for one that speaks no TLS."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    with Peer(deaf, tls=tls) as peer:
        error = failure_of(peer.url, upload_of(AUDIO * 40), read=0.3)
    assert isinstance(error, NeverSent)
    assert "nothing for 0.3 s" in error.message


def test_untrusted_certificate_is_never_sent(tls: ssl.SSLContext) -> None:
    """Who cannot prove to be the service gets nothing; the hint names the clock and the CA."""
    with Peer(answering(), tls=tls) as peer:
        error = failure_of(peer.url)
    assert isinstance(error, NeverSent)
    assert "certificate" in error.message
    assert "clock" in error.hint
    assert "REQUESTS_CA_BUNDLE" in error.hint


def test_no_tls_where_it_is_expected() -> None:
    """A plain server under an https URL is named as such, and has been sent nothing."""

    def plain(talk: Talk) -> None:
        talk.sock.recv(1)
        talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Peer(plain) as peer:
        error = failure_of(peer.url.replace("http:", "https:"), read=1)
    assert isinstance(error, NeverSent)
    assert "TLS" in error.message


def test_handshake_that_never_ends_is_never_sent() -> None:
    """A server that accepts and then is silent under an https URL is given up after the connect timeout."""
    with Peer(deaf) as peer:
        error = failure_of(peer.url.replace("http:", "https:"), connect=0.2)
    assert isinstance(error, NeverSent)
    assert "connect_timeout_seconds" in error.message


def test_missing_ca_bundle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA bundle that is not there is the environment's fault, and named."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    error = failure_of("https://127.0.0.1:9")
    assert isinstance(error, NeverSent)
    assert "REQUESTS_CA_BUNDLE" in error.hint


def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy that operators set is asked, except for this machine's own addresses."""
    with Peer(answering()) as proxy, Peer(answering()) as peer:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        with client_of("http://service.invalid") as client:
            assert client.submit(upload_of(), go).identifier == IDENTIFIER
        with client_of(peer.url) as client:
            client.submit(upload_of(), go)
    assert proxy.seen[0].head.startswith("POST http://service.invalid/api/classification_audio ")
    assert (proxy.connections, peer.connections) == (1, 1)


def test_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be reached is named, with the variables to look at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://user:hush@127.0.0.1:{port}")
    error = failure_of("https://service.invalid")
    assert isinstance(error, NeverSent)
    assert "proxy" in error.message
    assert "HTTPS_PROXY" in error.hint
    assert "hush" not in error.message


@pytest.mark.parametrize("key", ["", "  ", "two\nlines", "schlüssel", "tab\there"])
def test_key_that_no_header_can_carry(key: str) -> None:
    """A malformed key is refused at the start, without being shown."""
    with pytest.raises(ConfigError) as caught, client_of("http://127.0.0.1", key=key):
        pass
    assert not key.strip() or key not in str(caught.value)


def test_client_does_not_show_the_key() -> None:
    """Nothing that prints a client prints its key."""
    with client_of("http://127.0.0.1") as client:
        assert KEY not in f"{client!r} {vars(client)!r}"


# Verdicts


def entry(identifier: str, **more: object) -> dict[str, object]:
    return {"identifier": identifier, "status": "new", "api_version": "v1.1.0"} | more


def test_verdicts_are_asked_for_as_a_list() -> None:
    """One GET asks for many; what the service leaves out, or garbles, is absent, and strangers are left out."""
    done = {"heuristic": "h", "confidence": 0.9, "classification": "artificial", "models": ["m"]}
    answered = [entry("a"), entry("b", status="done", verdict=done), None, {"identifier": 7}, entry("stranger")]
    with Peer(answering(answer(json.dumps(answered).encode()))) as peer, client_of(peer.url) as client:
        readings = client.verdicts(["a", "b", "c"])
    assert set(readings) == {"a", "b"}
    assert readings["a"].state is VerdictState.AWAITED
    assert (readings["b"].classification, readings["b"].confidence) == ("artificial", 0.9)
    line = peer.seen[0].head.splitlines()[0].replace("%5B%5D", "[]")
    assert line == "GET /api/classifications_audio?identifiers[]=a&identifiers[]=b&identifiers[]=c HTTP/1.1"
    assert peer.seen[0].headers["accept"] == "application/json"
    assert peer.seen[0].headers["x-api-key"] == KEY


def test_a_call_for_verdicts_fits_a_request_line() -> None:
    """As many identifiers as are wise to ask for at once make a line that web servers take."""
    with Peer(answering(answer(b"[]"))) as peer, client_of(peer.url) as client:
        assert client.verdicts([IDENTIFIER] * IDENTIFIERS_A_CALL) == {}
        with pytest.raises(ValueError, match="1 to 100"):
            client.verdicts([IDENTIFIER] * 101)
    assert len(peer.seen[0].head.splitlines()[0]) < 8000


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (closing(answer(b'{"identifier": "a"}')), Unintelligible),
        (closing(answer(b"<html>")), Unintelligible),
        (closing(answer(b"[{", length=99)), Unanswered),
        (closing(UNAUTHORIZED), Unauthorized),
        (closing(answer(b"", "429 Too Many Requests")), Throttled),
        (closing(answer(b'{"message": "Server Error"}', "500 Internal Server Error")), ServiceFault),
        (closing(answer(b"", "500 Internal Server Error")), Intercepted),
        (closing(answer(b"", "302 Found", "Location: /login")), Intercepted),
        (close_at_once, Unanswered),
        (silent, Unanswered),
        (trickling(answer(b" " * 500)), Unanswered),
    ],
)
def test_asking_costs_nothing(script: Script, kind: type[ServiceError]) -> None:
    """However a question for verdicts fails, it is one of our errors, and nothing was charged."""
    with (
        Peer(script) as peer,
        client_of(peer.url, read=0.3, deadline=0.5) as client,
        pytest.raises(kind) as caught,
    ):
        client.verdicts(["a"])
    assert caught.value.charged is Charged.NO


def test_asking_nobody_is_never_sent() -> None:
    """Where nobody listens, the question was never sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with client_of(f"http://127.0.0.1:{port}") as client, pytest.raises(NeverSent):
        client.verdicts(["a"])


# Against the sandbox

WAV = b"RIFF" + (36 + 80_000).to_bytes(4, "little") + b"WAVEfmt " + bytes.fromhex(
    "10000000010001 00401f0000803e0000 02001000".replace(" ", "")
) + b"data" + (80_000).to_bytes(4, "little") + bytes(80_000)  # fmt: skip


LONG_WAV = WAV * 150  # more than the buffers between the two hold, less than the service takes


def test_sandbox_accepts_and_answers() -> None:
    """What the sandbox takes is what was sent; its verdict is read; a repeat is answered alike and free."""
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0) as sandbox, client_of(sandbox.url) as client:
        accepted = client.submit(upload_of(WAV), go)
        assert client.submit(upload_of(WAV), go).identifier == accepted.identifier
        assert sandbox.charged == 1
        readings = client.verdicts([accepted.identifier, "0" * 64])
    assert set(readings) == {accepted.identifier}
    assert readings[accepted.identifier].state is VerdictState.KNOWN
    assert readings[accepted.identifier].classification == "human"
    sent = sandbox.ledger[0]
    assert (sent.sha256, sent.size, sent.filename, sent.media_type, sent.ref_id) == (
        hashlib.sha256(WAV).hexdigest(), len(WAV), "0190.wav", "audio/wav", "0190",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings", "error"),
    [
        (FaultKind.CLOSE_BEFORE_READING, {}, NeverSent),
        (FaultKind.CLOSE_WHILE_READING, {}, NeverSent),
        (FaultKind.STALL_READING, {"seconds": 30}, ServiceError),
        (FaultKind.CLOSE_AFTER_READING, {}, Unanswered),
        (FaultKind.STATUS, {"status": 500, "charges": True}, ServiceFault),
        (FaultKind.STATUS, {"status": 503}, ServiceFault),
        (FaultKind.NO_CREDIT, {}, Rejected),
        (FaultKind.UNCLASSIFIED, {}, Rejected),
        (FaultKind.HTML, {}, Unintelligible),
        (FaultKind.REDIRECT, {}, Intercepted),
        (FaultKind.EMPTY, {}, Unintelligible),
        (FaultKind.CUT_JSON, {}, Unintelligible),
        (FaultKind.NO_IDENTIFIER, {}, Unintelligible),
        (FaultKind.LOSE_ANSWER, {}, Unanswered),
        (FaultKind.SLOW_AFTER, {"seconds": 30}, Unanswered),
        (FaultKind.TRICKLE, {"seconds": 0.1}, Unanswered),
    ],
)
def test_sandbox_faults_never_cost_what_is_said_to_be_free(
    kind: FaultKind, settings: dict[str, object], error: type[ServiceError]
) -> None:
    """Whenever the client says that nothing was charged, the service's own ledger says so too."""
    with Sandbox(KEY, writes=(), reads=()) as sandbox:
        sandbox.add_fault(kind, **settings)
        caught = failure_of(sandbox.url, upload_of(LONG_WAV), read=0.5, deadline=1)
        assert isinstance(caught, error)
        if caught.charged is Charged.NO:
            assert sandbox.charged == 0


def test_sandbox_throttle_and_wrong_key() -> None:
    """The sandbox's own refusals are understood."""
    with Sandbox(KEY, writes=("1/minute",)) as sandbox:
        with client_of(sandbox.url) as client:
            client.submit(upload_of(WAV), go)
        throttled = failure_of(sandbox.url, upload_of(WAV))
        assert isinstance(throttled, Throttled)
        assert throttled.limit == 1
        assert throttled.retry_after is not None
        sandbox.key = "another"
        assert isinstance(failure_of(sandbox.url, upload_of(WAV)), Unauthorized)


# Answers that are made to hurt

HOSTILE = {
    "20 million empty objects": (b"[" + b"{}," * 20_000_000 + b"{}]", 1),
    "one object with as many in it": (b'[{"a":[' + b"{}," * 10_000_000 + b"{}]}]", 1),
    "wide characters": (b'[{"a":"' + "\U0001f600".encode() * 10_000_000 + b'"}]', 1),
    "300 MB of blanks, twice compressed": (b"", 2),
    "an error of 60 MB": (b'{"error":"' + b"x" * 60_000_000 + b'"}', 1),
}
CHILD = """
import resource, sys
sys.path.insert(0, ".")
from tests.journey.test_client import client_of, go, upload_of
from watcher.errors import ServiceError
with client_of(sys.argv[1], read=60, deadline=100) as client:
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    upload, before = upload_of(), peak()
    for ask in (lambda: client.submit(upload, go), lambda: client.verdicts(["a"])):
        try:
            ask()
        except ServiceError:
            pass
    print(peak() - before)
"""


def compressed(name: str) -> bytes:
    """The content as it travels."""
    content, times = HOSTILE[name]
    if not content:
        squeezer = zlib.compressobj(9, wbits=31)
        content = b"".join(squeezer.compress(b" " * 1_000_000) for _ in range(300)) + squeezer.flush()
        times -= 1
    for _ in range(times):
        content = gzip.compress(content, 1)
    return content


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_answer_fills_the_memory(name: str, status: str) -> None:
    """However much an answer unpacks to, an upload and a question take less than 200 MB for it."""
    encoding = ", ".join(["gzip"] * HOSTILE[name][1])
    raw = answer(compressed(name), status, f"Content-Encoding: {encoding}", "Content-Type: application/json")
    with Peer(answering(raw)) as peer:
        command = [sys.executable, "-c", CHILD, peer.url]
        child = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
    assert int(child.stdout) < 200_000_000


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Key: " + KEY.encode() + b"\r\n" * 3,
        b"HTTP/1.1 200 " + KEY.encode() * 3_000 + b"\r\n\r\n",
        KEY.encode() + b" is no HTTP\r\n\r\n",
        b"HTTP/1.1 " + KEY.encode() + b"\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nVia: " + KEY.encode() + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: " + KEY.replace("-", "%2D").encode() + b"\r\nContent-Length: 0\r\n\r\n",
        answer(b'{"identifier": "' + KEY.encode() + b'"}'),
        answer(b"x" * 10, "200 OK", f"Content-Encoding: {KEY}"),
        answer(b"x" * 10, "200 OK", f"Transfer-Encoding: {KEY}"),
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_no_error_repeats_the_key(raw: bytes) -> None:
    """Whatever part of an answer shows it, be it one that a library complains about."""
    with Peer(closing(raw)) as peer:
        error = failure_of(peer.url, read=1, deadline=2)
        assert bones(KEY) not in plain(f"{error.message} {error.hint}")
        with client_of(peer.url, read=1, deadline=2) as client, contextlib.suppress(ServiceError):
            client.verdicts(["a"])


def test_interim_answers_without_end_are_an_answer() -> None:
    """What goes on saying that it will answer gets no more, and fills no memory."""

    def script(talk: Talk) -> None:
        talk.hear_head()
        with contextlib.suppress(OSError):
            for _ in range(200):
                talk.say(b"HTTP/1.1 102 Processing\r\n" + b"X: y\r\n" * 10_000)

    with Peer(script) as peer:
        error = failure_of(peer.url, upload_of(AUDIO * 40), read=2, deadline=5)
    assert error.charged is Charged.NO


# Who answered

FORBIDDEN = b'{"error": "Forbidden"}'
POLICY = b'{"status": 403, "reason": "blocked by policy"}'
SQUID = "Via: 1.1 squid.corp (squid/5.7)"
PORTAL = "Location: http://portal.hotel/login?x=1"
PAGES = {
    "a proxy's page": (
        "403 F",
        b"<html><title>Access Denied</title>Media</html>",
        SQUID,
        "Access Denied",
        "squid.corp",
    ),
    "JSON of another form": ("403 F", POLICY, "", "policy", ""),
    "JSON with more in it": ("403 F", b'{"error": "Forbidden", "policy": "DLP 7"}', "", "Forbidden", "firewall"),
    "JSON of another depth": ("401 U", b'{"error": {"message": "No."}}', "", "No.", "API key"),
    "an empty 401": ("401 U", b"", "", "401", "API key"),
    "text": ("403 F", b"Blocked by the firewall", "", "firewall", "proxy"),
    "a proxy that wants a user": ("407 P", b"", "Proxy-Authenticate: Basic", "407", "HTTPS_PROXY"),
    "for legal reasons": ("451 U", b"<h1>Unavailable</h1>", "", "Unavailable", "NO_PROXY"),
    "a log-in page": ("302 Found", b"", PORTAL, "portal.hotel", "log in"),
    "another log-in page": ("200 OK", b"<title>Welcome, guest</title>", "", "Welcome, guest", "NO_PROXY"),
    "network authentication": ("511 N", b"<title>Log in</title>", "", "Log in", "log in"),
    "a page about credit": ("400 B", b"<h1>Buy credit for this audio file</h1>", "", "credit", "proxy"),
    "a page about payment": ("402 P", b"<h1>Pay</h1>", "", "Pay", "NO_PROXY"),
}


@pytest.mark.parametrize("name", PAGES)
def test_what_is_not_in_the_services_form_is_not_its_word(name: str) -> None:
    """Told is that something in between answered, what it shows of itself, and where to look: never the terms."""
    status, body, header, says, tells = PAGES[name]
    with Peer(answering(answer(body, status, *filter(None, [header])))) as peer:
        error = failure_of(peer.url)
        with client_of(peer.url) as client, pytest.raises(ServiceError) as caught:
            client.verdicts(["a"])
    for one in (error, caught.value):
        assert isinstance(one, Intercepted | Unintelligible)
        assert find_cause(one) not in (Cause.FILE, Cause.NO_CREDIT, Cause.UNAUTHORIZED, Cause.FORBIDDEN)
        assert one.message.startswith("Something between this machine and 127.0.0.1")
        assert says in one.message
        assert tells in f"{one.message} {one.hint}"
        assert "terms" not in f"{one.message} {one.hint}"
        assert len(one.message) < 500


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (FORBIDDEN, "403 Forbidden", Forbidden),
        (b'{"error": "Unauthorized"}', "401 Unauthorized", Unauthorized),
        (b'{"message": "Unauthenticated."}', "401 Unauthorized", Unauthorized),
        (
            b'{"message": "Server Error", "exception": "E", "file": "f", "line": 7, "trace": []}',
            "500 E",
            ServiceFault,
        ),
        (b'{"audio": ["The audio field is required."]}', "400 Bad Request", Rejected),
        (b'{"message": "Invalid.", "errors": {"audio": ["Short."]}}', "422 Unprocessable", Rejected),
        (b'{"errors": {"audio": ["Short."]}}', "400 Bad Request", Rejected),
    ],
)
def test_the_services_own_forms_are_its_word(body: bytes, status: str, kind: type[ServiceError]) -> None:
    """They count whatever type they are sent as, and though a proxy on the way left its name."""
    with Peer(answering(answer(body, status, "Content-Type: text/html", "Via: 1.1 cdn"))) as peer:
        assert type(failure_of(peer.url)) is kind
