"""Whatever comes on a connection is answered; and what is closed leaves nothing behind."""

import hashlib
import http.client
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest
import requests

from tests.sandbox.clock import FalseClock
from tests.sandbox.visits import KEY, POST, WAV, converse, form, last, post_form, submit, wait_for_entry
from watcher.errors import ConfigError
from watcher.sandbox import Sandbox, serve

# The wire


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET %ff%00/../.. HTTP/1.1\r\nHost: x\r\nAccept: ;q=,;;q=z\r\n\r\n", 404),
        (b"\r\nGET / HTTP/1.0\r\n\r\n", 404),
    ],
)
def test_malformed_requests_get_an_error(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str], sent: bytes, status: int
) -> None:
    """Whatever comes is answered with an error, never with a traceback; and the next request is served."""
    is_request = status == 404  # then the connection is kept
    assert converse(sandbox, sent, hang_up=is_request).startswith(f"HTTP/1.1 {status} ".encode())
    assert submit(sandbox).status_code == 200
    assert capfd.readouterr().err == ""


def test_chunked_body_is_understood(sandbox: Sandbox) -> None:
    """A body in chunks counts as one with a length."""
    audio = WAV + os.urandom(200_000)
    body = form(('name="audio"; filename="a.wav"', audio))
    pieces = (body[at : at + 777] for at in range(0, len(body), 777))
    said = requests.post(
        sandbox.url + POST,
        data=pieces,
        headers={"X-Api-Key": KEY, "Content-Type": "multipart/form-data; boundary=xYz"},
        timeout=10,
    )
    assert (said.status_code, last(sandbox).bytes) == (200, len(body))
    assert last(sandbox).sha256 == hashlib.sha256(audio).hexdigest()


def test_connections_are_kept_alive(sandbox: Sandbox) -> None:
    """Requests follow each other on one connection, of any size, also where one expects "100 Continue"."""
    connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=10)
    headers = {"X-Api-Key": KEY, "Content-Type": "multipart/form-data; boundary=xYz"}
    connection.connect()
    name = connection.sock.getsockname()
    for size in (10, 3_000_000, 0, 70_000):
        audio = WAV + os.urandom(size)
        body = form(('name="ref_id"', b""), ('name="audio"; filename="a.wav"', audio))
        connection.request("POST", POST, body, headers)
        assert len(connection.getresponse().read()) == 64
        assert last(sandbox).sha256 == hashlib.sha256(audio).hexdigest()
        assert connection.sock.getsockname() == name
    connection.close()
    request = f"POST {POST} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab"
    assert converse(sandbox, request.encode()).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 ")


def test_requests_that_come_together_are_answered_in_turn(sandbox: Sandbox) -> None:
    """What comes behind a request belongs to the next one, line breaks in between apart; also in small pieces."""
    body = form(('name="audio"; filename="a.wav"', WAV))
    upload = (
        f"POST {POST} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\n"
        f"Content-Type: multipart/form-data; boundary=xYz\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    chunked = (
        b"POST /api/none HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\nA: b\r\n\r\n"
    )
    together = upload + b"\r\n" + chunked + upload
    assert re.findall(rb"HTTP/1.1 (\d+) ", converse(sandbox, together)) == [b"200", b"404", b"200"]
    assert [entry.bytes for entry in sandbox.ledger] == [len(body), 1, len(body)]
    assert (last(sandbox).cached, sandbox.charged) == (True, 1)
    assert re.findall(rb"HTTP/1.1 (\d+) ", converse(sandbox, together, piece=7)) == [b"200", b"404", b"200"]


def test_boundary_inside_the_audio_is_content(sandbox: Sandbox) -> None:
    """Only a boundary at the start of a line ends a part: recordings hold any bytes."""
    audio = WAV + b"--xYz\r\n\r\n--xY\r\n\r\n"
    assert post_form(sandbox, form(('name="audio"; filename="a\\"b.wav"', audio))).status_code == 200
    assert (last(sandbox).sha256, last(sandbox).filename) == (hashlib.sha256(audio).hexdigest(), 'a"b.wav')


# Life


def test_closing_leaves_nothing_behind(clock: FalseClock) -> None:
    """After close no thread and no socket is left, even with connections idle, waiting or half way."""
    before = set(threading.enumerate())
    sandbox = Sandbox(KEY, writes=(), latency_seconds=600)
    sandbox.start()
    parts = urlsplit(sandbox.url)
    address = (parts.hostname, parts.port or 0)
    with (
        socket.create_connection(address, timeout=10) as idle,
        socket.create_connection(address, timeout=10) as half_way,
        socket.create_connection(address, timeout=10) as waiting,
    ):
        half_way.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for_entry(sandbox, 1)
        sandbox.close()
        assert idle.recv(1) == b""
        assert half_way.recv(1) == b""
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10).close()


def test_it_comes_back_as_it_was(sandbox: Sandbox) -> None:
    """Closed and started again it listens where it did, and has forgotten nothing."""
    url, identifier = sandbox.url, submit(sandbox).json()["identifier"]
    sandbox.close()
    with pytest.raises(requests.ConnectionError):
        submit(sandbox)
    sandbox.start()
    assert (sandbox.url, submit(sandbox).json()["identifier"], sandbox.charged) == (url, identifier, 1)


def test_many_at_once(sandbox: Sandbox) -> None:
    """Submissions at the same time are each charged once, and each is in the ledger."""
    gate = threading.Barrier(8)

    def work(worker: int) -> None:
        gate.wait()
        for n in range(10):
            submit(sandbox, WAV + bytes([n, worker // 2]))

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (sandbox.charged, len(sandbox.ledger)) == (40, 80)
    assert [entry.number for entry in sandbox.ledger] == list(range(1, 81))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_runs_until_a_signal(number: signal.Signals) -> None:
    """The command says where it listens, serves, and ends cleanly on a signal."""
    code = "from watcher.sandbox import serve; raise SystemExit(serve(port=0, key='secret'))"
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert match is not None, first
        assert "IDENTIFAI_API_KEY=secret" in second
        said = requests.post(match[0] + POST, headers={"X-Api-Key": "secret"}, timeout=10)
        assert said.status_code == 400
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_command_says_why_it_cannot_listen(sandbox: Sandbox) -> None:
    """A port that is taken is an error in a sentence, with the next step."""
    with pytest.raises(ConfigError) as caught:
        serve(port=urlsplit(sandbox.url).port or 0, output=io.StringIO())
    assert "cannot listen" in caught.value.message
    assert "another port" in caught.value.hint
