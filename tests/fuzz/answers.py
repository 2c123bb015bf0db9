"""Answers of the service, or of whatever stands between: their meaning, and the bytes on the wire."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from email.parser import BytesHeaderParser
from functools import partial
from random import Random
from typing import Any

from requests.structures import CaseInsensitiveDict

from tests.client.servers import ACCEPTED, JSON_BODY, UNAUTHORIZED, answer
from tests.client.uploads import KEY, client_of, go, upload_of
from tests.echoes import ENCODINGS, bones
from tests.fuzz.target import Check, Target, all_safe, is_safe, plain
from watcher.errors import ServiceError, Throttled
from watcher.identifai.client import Client
from watcher.identifai.diagnosis import diagnose_refusal
from watcher.identifai.reading import CLASSIFICATIONS, Reader, Reading
from watcher.identifai.transport import Reply
from watcher.redaction import Redactor
from watcher.text import to_json

_NOW = 1_795_000_000.0
_ONE, _OTHER = "8d64370a87b820cc1cf620338f5c898bab37439c9a405f32d9eaffc50c4f27b0", "ab" * 32
_READER = Reader(Redactor(KEY))
_DONE: dict[str, Any] = {
    "identifier": _ONE,
    "status": "done",
    "api_version": "1.4.2",
    "name": "call.wav",
    "ref_id": "0190",
    "result_url": "https://app.example/results/1",
    "verdict": {"heuristic": "voice", "confidence": 0.97, "classification": "artificial", "models": ["m1", "m2"]},
    "verdicts": [{"heuristic": "voice", "confidence": 0.97, "classification": "artificial", "models": ["m1"]}],
    "results": {"m1": {"scores": [{"start": 0, "end": 5, "score": 0.9}] * 4}},
    "force_classification": None,
    "errors": None,
}
_LISTS: tuple[list[dict[str, Any]], ...] = (
    [_DONE],
    [{"identifier": _ONE, "status": "new"}, _DONE | {"identifier": _OTHER}],
    [{"identifier": _ONE, "status": "errored", "errors": {"speech": ["There is no speech in it."]}}],
    [_DONE | {"force_classification": "human"}, _DONE | {"verdict": "human", "verdicts": []}],
    [],
)
_PAGES = (
    b"<html><head><title>403 Forbidden</title><style>p{}</style></head><body><h1>No</h1><!-- c --></body></html>",
    b"<script>alert(1)</script><p>Log in to the guest network</p>",
    b"upstream connect error or disconnect/reset before headers",
)
_ERRORS = (
    {"error": "Unauthorized"},
    {
        "message": "The given data was invalid.",
        "errors": {"audio": ["The uploaded file format is not supported."]},
    },
    {"audio": ["Too short."]},
    {"message": "Server Error", "exception": "E", "file": "a.php", "line": 3, "trace": [{"file": "b.php"}]},
)
_HEADERS = (
    b"Retry-After: 120",
    b"Retry-After: Wed, 25 Nov 2026 10:00:00 GMT\r\nDate: Wed, 25 Nov 2026 09:59:00 GMT",
    b"X-RateLimit-Limit: 30\r\nX-RateLimit-Remaining: 0\r\nRetry-After: 7",
    b"Via: 1.1 squid.example\r\nServer: squid/6",
    b"Location: https://login.example/?to=a",
    b"Content-Type: application/json",
)
_WORDS = (
    *(b"Retry-After: ", b"99999999999999999999", b"-1", b"1e9", b"Date: ", b"Location: ", b"Set-Cookie: a=b\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"Content-Encoding: gzip\r\n", b"\r\n\r\n"),
    *(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 429 Too Many Requests",
        b"[" * 70,
        b'{"a":' * 70,
        b"\xef\xbb\xbf",
    ),
    *(
        b"<!--",
        b"<script",
        b"<title>",
        b"&#x1b;",
        b"\x1b[31m",
        b"\\u001b",
        b"\\ud800",
        b"1e400",
        b"9" * 400,
        b"NaN",
    ),
    *(KEY.encode(), KEY[:14].encode(), b"<key>"),
)


def _echoes() -> list[str]:
    return [encode(KEY, Random(name)) for name, encode in ENCODINGS.items()]


def _lists() -> list[bytes]:
    listed = [json.dumps(one).encode() for one in _LISTS]
    echoes = [
        json.dumps([_DONE | {"api_version": e, "errors": [e], "verdict": {"models": [e]}}]) for e in _echoes()
    ]
    return listed + [e.encode("utf-8", "surrogatepass") for e in echoes]


def _read_list(data: bytes) -> None:
    found = _READER.verdicts(data, {_ONE, _OTHER})
    for identifier, reading in (found or {}).items():
        assert identifier in (_ONE, _OTHER)
        _judge(reading)


def _judge(reading: Reading) -> None:
    """Whatever was said, it can be shown and kept, and has no key in it."""
    assert reading.classification in (None, "inconclusive", *CLASSIFICATIONS)
    assert all(one is None or 0 <= one <= 1 for one in (reading.confidence, reading.machine_confidence))
    texts = [getattr(reading, field.name) for field in fields(reading)]
    texts = [text for text in texts if isinstance(text, str)] + list(reading.models)
    assert all_safe(texts)
    assert all(len(text) <= 500 for text in texts)
    assert reading.result_url is None or reading.result_url.startswith(("https://", "http://"))
    kept = None if reading.result is None else to_json(reading.result)
    assert kept is None or is_safe(kept)
    _has_no_key(*texts, kept or "")


def _has_no_key(*texts: str) -> None:
    for text in texts:
        assert KEY not in text
        assert bones(KEY) not in bones(text)


def _refusals() -> list[bytes]:
    bodies = (
        [json.dumps(one).encode() for one in _ERRORS]
        + list(_PAGES)
        + [e.encode("utf-8", "replace") for e in _echoes()]
    )
    bodies += [b"", JSON_BODY]
    statuses = (200, 301, 400, 401, 402, 403, 404, 407, 413, 422, 429, 451, 500, 502, 503, 511, 599)
    return [
        b"HTTP/1.1 %d X\r\n%b\r\n\r\n%b" % (statuses[n % len(statuses)], _HEADERS[n % len(_HEADERS)], body)
        for n, body in enumerate(bodies * 3)
    ]


def _refuse(data: bytes) -> None:
    """A status, some headers and a body: whatever they say, one error of ours comes of it, in words."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, _, lines = head.partition(b"\r\n")
    status = int(first[9:12]) if first[9:12].isdigit() else 500
    told = BytesHeaderParser().parsebytes(lines)
    headers = CaseInsensitiveDict({name: str(value) for name, value in told.items()})
    reply = Reply(status, headers, body, None)
    error = diagnose_refusal(reply, _READER, host="api.example", may_be_charged=True, now=_NOW)
    _judge_error(error)
    identifier = _READER.identifier(body)
    assert identifier is None or len(identifier) == 64
    words = _READER.words(body)
    assert is_safe(words)
    assert len(words) <= 500
    _has_no_key(words)


def _judge_error(error: ServiceError) -> None:
    assert is_safe(error.message)
    assert is_safe(error.hint)
    assert error.message
    assert error.hint or isinstance(error, Throttled)
    assert len(error.message) < 1000
    wait = getattr(error, "retry_after", None)
    assert wait is None or 0 <= wait <= 86_400
    _has_no_key(error.message, error.hint)


# On the wire


class _Answering:
    """A server that answers every request with the same bytes, and closes the connection."""

    def __init__(self) -> None:
        self.said = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            peer, _ = self._listener.accept()
            peer.settimeout(5)
            with suppress(OSError), peer:
                self._answer(peer)

    def _answer(self, peer: socket.socket) -> None:
        heard = b""
        while b"\r\n\r\n" not in heard:
            more = peer.recv(65_536)
            if not more:
                return
            heard += more
        head, _, body = heard.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            more = peer.recv(65_536)
            if not more:
                return
            body += more
        peer.sendall(self.said)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(65_536):
            pass


@contextmanager
def _wired() -> Iterator[Check]:
    server = _Answering()
    with client_of(server.url, read=3, deadline=5) as client:
        yield partial(_exchange, server, client)


def _exchange(server: _Answering, client: Client, data: bytes) -> None:
    """An upload and a question: each ends in an answer, or in an error of ours."""
    server.said = data
    with suppress(ServiceError):
        accepted = None
        try:
            accepted = client.submit(upload_of(b"RIFF" + bytes(400)), go)
        except ServiceError as error:
            _judge_error(error)
        assert accepted is None or len(accepted.identifier) == 64
        try:
            for reading in client.verdicts([_ONE, _OTHER]).values():
                _judge(reading)
        except ServiceError as error:
            _judge_error(error)
            raise


def _wire() -> list[bytes]:
    lists = [answer(one, "200 OK", "Content-Type: application/json") for one in _lists()[:6]]
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(JSON_BODY),
        JSON_BODY,
    )
    return [ACCEPTED, UNAUTHORIZED, chunked, *lists, *_refusals()[:20]]


TARGETS = (
    plain("verdicts", _read_list, _lists, words=_WORDS, is_json=True),
    plain("refusals", _refuse, _refusals, words=_WORDS),
    Target("wire", _wired, _wire, words=_WORDS, seconds=2.0),
)
