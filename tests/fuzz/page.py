"""What anybody who reaches the page's port may send: bytes, to the real server of a site with hostile names."""

import socket
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from tests.clock import FalseClock
from tests.databases import compiled_once, made_at_once
from tests.fuzz.target import Check, Target, is_safe, plain
from tests.places import Place, sandbox
from tests.web.asking import FORM, HEADER, OURS, head
from tests.web.sites import Served, make_hostile, served
from watcher.domain import State
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
_PATIENCE_SECONDS = 0.2
_OURS = (b"same-origin", b"none", b"origin: http://127.0.0.1")
_FIELDS = (
    b"&",
    b"=",
    b"%1b",
    b"%00",
    b"%ff",
    b"+",
    b"&seen=",
    b"&sites=all",
    b"&note=",
    b"&reason=",
    b"9" * 30,
    b";",
    b"\n",
)
_STATUSES = frozenset((200, 206, 303, 304, 307, 400, 401, 403, 404, 405, 413, 415, 416, 422, 429, 431))


def _requests() -> list[bytes]:
    """None that may change anything: those that ask for it come from elsewhere."""
    gets = [head("GET", path, [_HOST, ("Connection", "close")]) for path in _GETS]
    posts = [_post(path, body, ("Origin", "http://evil.example")) for path, body in _POSTS]
    return gets + posts + [_post(*_POSTS[-1], ("Sec-Fetch-Site", "cross-site"))]


def _post(path: str, body: bytes, *headers: HEADER) -> bytes:
    told = [_HOST, *headers, FORM, ("Content-Length", str(len(body))), ("Connection", "close")]
    return head("POST", path, told) + body


@contextmanager
def _site() -> Iterator[Served]:
    clock = FalseClock()
    memory = tempfile.TemporaryDirectory(dir="/dev/shm")
    with memory as name, compiled_once(), made_at_once(), sandbox(clock, writes=(), reads=()) as service:
        place = Place(Path(name), service.url, clock, limits={"writes": [], "reads": []})
        make_hostile(place, service)
        with served(place) as site:
            yield site


@contextmanager
def _serving() -> Iterator[Check]:
    with _site() as site:
        yield partial(_ask_unchanged, site)


def _ask_unchanged(site: Served, data: bytes) -> None:
    """As `_ask`; and nothing changes, unless it does claim to come from a page of ours."""
    before = _changes(site)
    _ask(_port_of(site), data)
    assert any(name in data.lower() for name in _OURS) or _changes(site) == before


@contextmanager
def _taking_forms() -> Iterator[Check]:
    with _site() as site:
        failed = [item.id for item in site.place.items().values() if item.state is State.FAILED]
        deeds = [f"/recordings/{one}/{deed}" for one in failed for deed in ("retry", "dismiss", "review")]
        paths = [*deeds, "/all/retry?state=failed&name=", "/all/dismiss?state=failed&since=", "/pause", "/resume"]
        yield partial(_send, _port_of(site), paths)


def _send(port: int, paths: Sequence[str], data: bytes) -> None:
    """The fields of a form of ours, and of the address that it is sent to: done, or refused in words."""
    body, _, query = data.partition(b"\n")
    path = paths[zlib.crc32(data) % len(paths)]
    path += quote(query[:500]) if "?" in path else ""
    _ask(port, _post(path, body, OURS))


def _forms() -> list[bytes]:
    return [*(body for _, body in _POSTS), b"seen=9&word=unclear&note=x\n2026-11-25", b"number=1&seen=9\n%3Cb%3E"]


def _port_of(site: Served) -> int:
    return int(site.url.rpartition(":")[2])


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
    """All that comes back until the other side closes. It may do so before it has read everything."""
    reply, is_ended = b"", False
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer, suppress(ConnectionResetError):
        with suppress(BrokenPipeError):
            peer.sendall(data)
        peer.settimeout(_PATIENCE_SECONDS)
        while True:
            try:
                part = peer.recv(65_536)
            except TimeoutError:  # it waits for the rest of a request, or for another one
                assert not is_ended, "it does not close"
                is_ended = True
                peer.shutdown(socket.SHUT_WR)
                peer.settimeout(10)
                continue
            if not part:
                break
            reply += part
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
    Target("forms", _taking_forms, _forms, words=_FIELDS, most_bytes=100_000, seconds=2.0, memory_bytes=256 << 20),
    plain("gate", _gate, _requests, words=_WORDS, most_bytes=100_000),
)
