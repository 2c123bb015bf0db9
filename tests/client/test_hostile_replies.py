"""Answers that are made to hurt, and answers of something in between."""

import contextlib
import gzip
import subprocess
import sys
import zlib

import pytest

from tests.client.servers import Peer, Talk, answer, answering, closing
from tests.client.uploads import AUDIO, KEY, client_of, failure_of, upload_of
from tests.echoes import bones, plain
from watcher.domain import Charged
from watcher.errors import (
    Forbidden,
    Intercepted,
    Rejected,
    ServiceError,
    ServiceFault,
    Unauthorized,
    Unintelligible,
)
from watcher.journey.submit.policy import Cause, find_cause

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
from tests.client.uploads import client_of, go, upload_of
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
