"""What the client makes of each reply: odd ones, refusals, and those that come too early."""

import gzip
import io
import json
import socket
import ssl
import threading

import pytest

from tests.client.servers import (
    ACCEPTED,
    IDENTIFIER,
    JSON_BODY,
    UNAUTHORIZED,
    Peer,
    Talk,
    answer,
    answering,
    closing,
    early,
)
from tests.client.uploads import AUDIO, KEY, client_of, failure_of, go, upload_of
from watcher.clock import SystemClock
from watcher.domain import Charged
from watcher.errors import (
    Forbidden,
    Intercepted,
    NeverSent,
    Rejected,
    ServiceError,
    ServiceFault,
    Throttled,
    Unauthorized,
    Unintelligible,
)
from watcher.identifai.upload import READ_BYTES

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
