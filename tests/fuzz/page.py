"""What anybody who reaches the page's port may send: bytes, to the real server of a site with hostile names."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clock import FalseClock
from tests.databases import compiled_once, made_at_once
from tests.fuzz.target import Check, Target, is_safe, plain
from tests.places import Place, sandbox
from tests.web.asking import FORM, OURS, head
from tests.web.sites import Served, make_hostile, served
from watcher.web.gate import MOST_BYTES, Head, Rules, allowed_hosts, refuse_deed, refuse_origin

_PORT = 8473
_HOST = ("Host", f"127.0.0.1:{_PORT}")
_MARK = b"<zq"  # nothing of ours has it: sent back, it would be what somebody else put into a page
_GETS = (
    *(
        "/",
        "/needs",
        "/recordings",
        "/recordings?name=wav&state=done&verdict=artificial&since=7d&until=2026-11-25",
    ),
    *(
        "/recordings?folder=%3Cb%3E&sites=all&to_see=1",
        "/recordings?before=1-2",
        "/events?before=9",
        "/charts?days=7",
    ),
    *(
        "/all?state=failed",
        "/sites",
        "/healthz",
        "/metrics",
        "/static/page.css",
        "/style.css",
        "/recordings/",
        "//x/",
    ),
    *("/recordings/0123456789abcdef", "/static/../../etc/passwd", "/?told=x", "/nowhere"),
)
_POSTS = (
    ("/recordings/0123456789abcdef/retry", b"seen=1&back=needs"),
    ("/recordings/0123456789abcdef/review", b"word=human&note=%1b%5b31m&seen=1"),
    ("/all/retry?state=failed", b"number=3&seen=5"),
    ("/pause", b"reason=%3Cb%3E&sites=all"),
    ("/resume", b"seen=1"),
)
_WORDS = (
    *(_MARK + b">", b"%3Czq%3E", b"%0d%0aX-Evil:%20zq", b"\r\nX-Evil: zq", b"..%2f..%2f", b"%00", b"%ff", b"\0"),
    *(
        b"Host: evil.example\r\n",
        b"Sec-Fetch-Site: cross-site\r\n",
        b"Origin: null\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: Upgrade\r\n"),
    *(
        b"Authorization: Basic AAAA\r\n",
        b"Range: bytes=0-0,5-\r\n",
        b"If-None-Match: *\r\n",
        b"TRACE ",
        b"OPTIONS * ",
    ),
    *(
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"//evil.example",
        b"/\\evil.example/",
        b"state=",
        b"9" * 30,
        b"\xd9\xa3",
        b"&a=" * 30,
    ),
)
_OURS = (b"same-origin", b"none", b"origin: http://127.0.0.1")
_STATUSES = frozenset((200, 206, 303, 304, 307, 400, 401, 403, 404, 405, 413, 415, 416, 422, 429, 431))


def _requests() -> list[bytes]:
    gets = [head("GET", path, [_HOST, ("Connection", "close")]) for path in _GETS]
    posts = [
        head("POST", path, [_HOST, OURS, FORM, ("Content-Length", str(len(body))), ("Connection", "close")]) + body
        for path, body in _POSTS
    ]
    others = [
        body.replace(b"Sec-Fetch-Site: same-origin\r\n", b"Origin: http://evil.example\r\n") for body in posts
    ]
    return gets + posts + others


@contextmanager
def _serving() -> Iterator[Check]:
    clock = FalseClock()
    memory = tempfile.TemporaryDirectory(dir="/dev/shm")
    with memory as name, compiled_once(), made_at_once(), sandbox(clock, writes=(), reads=()) as service:
        place = Place(Path(name), service.url, clock, limits={"writes": [], "reads": []})
        make_hostile(place, service)
        with served(place) as site:
            yield _Page(site, int(site.url.rpartition(":")[2])).ask


@dataclass
class _Page:
    """The page, and what there was before the last request."""

    site: Served
    port: int
    was_ours: bool = False

    def ask(self, data: bytes) -> None:
        """As `_ask`; and only what claims to come from a page of ours changes anything.

        What the last request asked for may be done only now, if its connection broke.
        """
        before, is_ours = _changes(self.site), any(name in data.lower() for name in _OURS)
        _ask(self.port, data)
        assert is_ours or self.was_ours or _changes(self.site) == before
        self.was_ours = is_ours


def _ask(port: int, data: bytes) -> None:
    """Whatever is sent, the answer is ours, and nothing of it becomes markup or a header."""
    data = data.replace(f"127.0.0.1:{_PORT}".encode(), f"127.0.0.1:{port}".encode())
    reply = _talk(port, data)
    assert _MARK not in reply
    top, _, body = reply.partition(b"\r\n\r\n")
    if not top:
        return
    status, lines = int(top.split()[1]), top.decode("latin-1").split("\r\n")[1:]
    assert status in _STATUSES, status
    assert all(is_safe(line) for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert "x-evil" not in headers
    to = headers.get("location", "/")
    assert to.startswith("/")
    assert not to.startswith(("//", "/\\"))
    if status != 400 or "content-security-policy" in headers:
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
    if headers.get("content-type", "").startswith("text/") and b"HTTP/1.1 " not in body:
        assert is_safe(body.decode(), "\r\n\t\xa0\u2066\u2069\u2068\u00ad\u200b"), body


def _changes(site: Served) -> tuple[object, ...]:
    with site.journey.site.store.reading() as books:
        return books.items.last_change(), len(books.pauses.active())


def _talk(port: int, data: bytes) -> bytes:
    """All that comes back until the other side closes; it may do so before it has read everything."""
    reply = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        try:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while part := peer.recv(65_536):
                reply += part
        except ConnectionResetError:
            pass
    return reply


def _gate(data: bytes) -> None:
    """The rules by themselves: only a Host of ours passes, and only a form of ours may change something."""
    first, _, lines = data.partition(b"\r\n")
    words = first.decode("latin-1").split(" ")
    pairs = [line.partition(b":")[::2] for line in lines.split(b"\r\n")]
    told = Head(words[0], words[-1], [(name.strip().lower(), value.strip()) for name, value in pairs])
    rules = Rules(allowed_hosts(["watch.example"], "127.0.0.1", _PORT), read_only=len(data) % 2 == 0)
    refusal, deed = refuse_origin(told, rules), refuse_deed(told, rules)
    if refusal is None:
        assert (told.only("host") or "").lower() in rules.hosts
        assert told.method in ("GET", "HEAD") or told.only("sec-fetch-site") in (None, "same-origin", "none")
    if deed is None:
        assert told.method in ("GET", "HEAD") or not rules.read_only
        assert int(told.only("content-length") or 0) <= MOST_BYTES
    assert all(one is None or (one.words and is_safe(one.words)) for one in (refusal, deed))


TARGETS = (
    Target("page", _serving, _requests, words=_WORDS, most_bytes=200_000, seconds=2.0, memory_bytes=256 << 20),
    plain("gate", _gate, _requests, words=_WORDS, most_bytes=100_000),
)
