"""The order of checks, as one table, and as it stands before every route of a real daemon."""

import base64
from pathlib import Path

import pytest

from tests.web.asking import FORM, HEADER, OURS, ask, connect, head, read_reply
from tests.web.conftest import Serve
from watcher.web.gate import MOST_BYTES, Head, Rules, allowed_hosts, refuse_deed, refuse_origin
from watcher.web.password import PasswordHash

HOSTS = allowed_hosts(["Watch.example", "proxy.example:8443"], "127.0.0.1", 8473)
PATHS = ["/", "/healthz", "/metrics", "/static/page.css", "/nowhere"]


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost:8473", True),
        ("LOCALHOST:8473", True),
        ("127.0.0.1:8473", True),
        ("[::1]:8473", True),
        ("watch.example", True),
        ("WATCH.EXAMPLE", True),
        ("watch.example:8473", True),
        ("proxy.example:8443", True),
        ("proxy.example", False),
        ("proxy.example:8473", False),
        ("watch.example:8443", False),
        ("watch.example.", False),
        ("localhost", False),
        ("localhost:80", False),
        ("localhost.:8473", False),
        ("127.0.0.1", False),
        ("127.0.0.1:08473", False),
        ("127.0.0.1.evil.example:8473", False),
        ("127.0.0.1:8473.evil.example", False),
        ("127.0.0.1:8473@evil.example", False),
        ("evil.example@127.0.0.1:8473", False),
        ("evil.example", False),
        ("evil.example:8473", False),
        ("127.1:8473", False),
        ("0.0.0.0:8473", False),
        ("::1:8473", False),
        ("[::ffff:127.0.0.1]:8473", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_host_is_exactly_one_that_the_page_is_asked_by(host: str, is_ours: bool, method: str) -> None:
    """Not by its beginning, not by its end, not by what it resolves to; whatever the method."""
    headers = [(b"host", host.encode()), (b"sec-fetch-site", b"none"), (b"content-type", FORM[1].encode())]
    assert (refuse_origin(Head(method, "/", headers), Rules(HOSTS)) is None) is is_ours


def test_on_the_port_of_http_a_browser_names_none() -> None:
    """There `localhost` alone is exact; a name of loopback that the page listens on is one, too."""
    assert {"localhost", "localhost:80", "[::1]"} <= allowed_hosts([], "127.0.0.1", 80)
    assert "127.0.0.5:8473" in allowed_hosts([], "127.0.0.5", 8473)
    assert "10.0.0.5:8473" not in allowed_hosts([], "10.0.0.5", 8473)


@pytest.mark.parametrize("headers", [[], [(b"host", b"localhost:8473"), (b"host", b"localhost:8473")]])
def test_no_host_and_two_are_none(headers: list[tuple[bytes, bytes]]) -> None:
    refusal = refuse_origin(Head("GET", "/", headers), Rules(HOSTS))
    assert refusal is not None
    assert refusal.status == 403


SITE, ORIGIN, KIND = "sec-fetch-site", "origin", "content-type"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({SITE: "same-origin"}, None),
        ({SITE: "none"}, None),
        ({SITE: "same-site"}, 403),
        ({SITE: "cross-site"}, 403),
        ({SITE: ""}, 403),
        ({SITE: "Same-Origin"}, 403),
        ({SITE: "cross-site", ORIGIN: "http://watch.example"}, 403),  # what the browser says of itself decides
        ({ORIGIN: "http://watch.example"}, None),
        ({ORIGIN: "https://watch.example"}, None),
        ({ORIGIN: "https://watch.example:8443"}, 403),
        ({ORIGIN: "http://evil.example"}, 403),
        ({ORIGIN: "http://watch.example.evil.example"}, 403),
        ({ORIGIN: "http://localhost:8473"}, 403),  # ours, but not the one that was asked
        ({ORIGIN: "file://watch.example"}, 403),
        ({ORIGIN: "watch.example"}, 403),
        ({ORIGIN: "null"}, 403),
        ({ORIGIN: ""}, 403),
        ({}, 403),
        ({SITE: "none", KIND: "application/x-www-form-urlencoded; charset=UTF-8"}, None),
        ({SITE: "none", KIND: "APPLICATION/X-WWW-FORM-URLENCODED"}, None),
        ({SITE: "none", KIND: "text/plain"}, 415),
        ({SITE: "none", KIND: "application/json"}, 415),
        ({SITE: "none", KIND: "multipart/form-data; boundary=x"}, 415),
        ({SITE: "none", KIND: ""}, 415),
        ({KIND: "text/plain"}, 403),  # the order: whence it comes is asked first
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FROB"])
def test_what_may_change_something_comes_from_a_page_of_ours_as_a_form(
    headers: dict[str, str], status: int | None, method: str
) -> None:
    """Sec-Fetch-Site is same-origin or none; without it Origin is the Host; and the body is a form."""
    told = {"host": "watch.example", KIND: FORM[1]} | headers
    pairs = [(name.encode(), value.encode()) for name, value in told.items()]
    refusal = refuse_origin(Head(method, "/", pairs), Rules(HOSTS))
    assert (refusal and refusal.status) == status
    assert refuse_origin(Head("GET", "/", pairs), Rules(HOSTS)) is None  # looking is not asked whence


def test_two_words_on_where_it_comes_from_are_none() -> None:
    headers = [(b"host", b"watch.example"), (b"sec-fetch-site", b"none"), (b"sec-fetch-site", b"none")]
    assert refuse_origin(Head("POST", "/", headers), Rules(HOSTS)) is not None


def test_read_only_refuses_whatever_is_not_looking() -> None:
    """Whatever the path is called."""
    rules = Rules(HOSTS, read_only=True)
    assert refuse_deed(Head("GET", "/"), rules) is None
    assert refuse_deed(Head("HEAD", "/"), rules) is None
    refusal = refuse_deed(Head("POST", "/retry"), rules)
    assert refusal is not None
    assert refusal.status == 403
    assert "read_only" in refusal.words


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (str(MOST_BYTES), None),
        (str(MOST_BYTES + 1), 413),
        ("-1", 413),
        ("1e3", 413),
        ("9" * 99, 413),
        ("9" * 5_000, 413),
    ],
)
def test_a_body_is_small(length: str, status: int | None) -> None:
    refusal = refuse_deed(Head("POST", "/", [(b"content-length", length.encode())]), Rules(HOSTS))
    assert (refusal and refusal.status) == status


# Before a real daemon's routes


def test_every_path_asks_for_the_host_first(serve: Serve) -> None:
    """GET, /healthz and /metrics included, and what does not exist; the answer says what to do."""
    _, port = serve()
    for path in PATHS:
        for host in ("evil.example", f"127.0.0.1:{port}.evil.example", f"127.0.0.1.evil.example:{port}"):
            reply = ask(port, path, host=host)
            assert (reply.status, "web.hosts" in reply.text) == (403, True), path
        assert ask(port, path, host=f"localhost:{port}").status == ask(port, path).status != 403
    assert ask(port, host=None).status in (400, 403)
    assert ask(port, "/", ("Host", "evil.example")).status in (400, 403)
    # The Host that counts is the header, whatever the target says.
    assert ask(port, f"http://127.0.0.1:{port}/", host="evil.example").status == 403


def test_every_path_asks_whence_a_deed_comes(serve: Serve) -> None:
    """Before it is known whether the path exists, or takes the method."""
    _, port = serve()
    for path in PATHS:
        assert ask(port, path, FORM, method="POST", body=b"a=b").status == 403
        assert ask(port, path, FORM, ("Sec-Fetch-Site", "cross-site"), method="POST", body=b"a=b").status == 403
        assert ask(port, path, FORM, ("Origin", "http://evil.example"), method="POST", body=b"a=b").status == 403
        assert ask(port, path, OURS, ("Content-Type", "text/plain"), method="POST", body=b"a=b").status == 415
        assert ask(port, path, FORM, OURS, method="POST", body=b"a=b").status in (404, 405)
        origin = ("Origin", f"http://127.0.0.1:{port}")
        assert ask(port, path, FORM, origin, method="POST", body=b"a=b").status in (404, 405)


def test_a_page_behind_a_proxy_is_asked_by_its_name(serve: Serve) -> None:
    """web.hosts names it; its forms come from there."""
    _, port = serve(web={"hosts": ["watch.example"]})
    assert ask(port, host="watch.example").status == 200
    origin = ("Origin", "https://watch.example")
    assert ask(port, "/", FORM, origin, host="watch.example", method="POST", body=b"").status == 405


def test_read_only_closes_the_endpoints(serve: Serve) -> None:
    """Whatever the path: a form that somebody makes by hand meets a closed door, not a missing button."""
    _, port = serve(web={"read_only": True})
    assert ask(port).status == 200
    for path in PATHS:
        reply = ask(port, path, FORM, OURS, method="POST", body=b"a=b")
        assert (reply.status, "read_only" in reply.text) == (403, True)


def test_a_body_that_is_too_large_is_refused_whether_its_head_says_so_or_not(serve: Serve) -> None:
    _, port = serve()
    large = b"a" * (MOST_BYTES + 1)
    assert ask(port, "/", FORM, OURS, method="POST", body=large).status == 413
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large)
    assert ask(port, "/", FORM, OURS, ("Transfer-Encoding", "chunked"), method="POST", body=chunked).status == 413
    assert ask(port, "/", ("Cookie", "a" * 1_000_000)).status == 400
    assert ask(port).status == 200


def basic(password: str, name: str = "anybody") -> HEADER:
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_the_password_stands_before_everything_once_the_host_is_ours(serve: Serve, tmp_path: Path) -> None:
    """It is asked for after the Host and the origin, and before whatever can be seen or done."""
    file = tmp_path / "web.password"
    file.write_text(f"{PasswordHash.of('correct horse: battery')}\n")
    file.chmod(0o600)
    _, port = serve(web={"password_file": str(file), "read_only": True})
    for path in PATHS:
        assert ask(port, path, host="evil.example").status == 403
        reply = ask(port, path)
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Basic ")
        assert ask(port, path, basic("correct horse: battery")).status != 401
    assert ask(port, "/", FORM, method="POST", body=b"").status == 403
    assert ask(port, "/", FORM, OURS, method="POST", body=b"").status == 401  # before read_only
    assert ask(port, "/", basic("wrong")).status == 401
    assert ask(port, "/", ("Authorization", "Basic %%%")).status == 401
    assert ask(port, "/", ("Authorization", "Bearer x")).status == 401
    assert ask(port, "/", basic("correct horse: battery", "another")).status == 200


def test_guesses_keep_nobody_out_who_has_the_password(serve: Serve, tmp_path: Path) -> None:
    """However many are sent at once: few wait for their turn, the others are refused unread."""
    file = tmp_path / "web.password"
    file.write_text(f"{PasswordHash.of('correct horse')}\n")
    file.chmod(0o600)
    _, port = serve(web={"password_file": str(file)})
    assert ask(port, "/healthz", basic("correct horse")).status != 401
    told = [("Host", f"127.0.0.1:{port}"), basic("wrong"), ("Connection", "close")]
    guesses = [connect(port) for _ in range(32)]
    try:
        for guess in guesses:
            guess.sendall(head("GET", "/", told))
        statuses = [read_reply(guess).status for guess in reversed(guesses[4:])]
        assert 429 in statuses
        assert ask(port, "/healthz", basic("correct horse")).status != 401
    finally:
        for guess in guesses:
            guess.close()


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x", "text/plain; version=latest"])
def test_a_damaged_request_is_no_fault_of_the_program(serve: Serve, accept: str) -> None:
    """It is answered as well as it can be, and the log is not written by whoever sends it."""
    place, port = serve()
    assert ask(port, "/metrics", ("Accept", accept)).status == 200
    fields = b"&".join(b"field%d=1" % n for n in range(30))
    assert ask(port, "/pause", FORM, OURS, method="POST", body=fields).status == 400
    assert place.pauses() == []


def test_what_every_answer_carries(serve: Serve) -> None:
    """A policy that allows nothing from elsewhere and nothing unsafe; refusals and errors carry it, too."""
    _, port = serve()
    for reply in (ask(port), ask(port, "/static/page.css"), ask(port, "/nowhere"), ask(port, host="evil.example")):
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "same-origin"
        assert "server" not in reply.headers
