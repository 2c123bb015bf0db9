"""Requests are counted in fixed windows, as the service counts them."""

import http.client
from urllib.parse import urlsplit

import pytest

from tests.sandbox.clock import FalseClock
from tests.sandbox.visits import KEY, LIST, POST, WAV, form, get, last, submit
from watcher.sandbox import Passed, Refused, Sandbox, Throttle


def test_windows_open_at_their_first_hit() -> None:
    """A window is fixed: it opens at a hit, ends its seconds later, and the next opens at the next hit."""
    throttle = Throttle(("2/10s",))
    assert throttle.hit(100.0) == Passed(2, 1)
    assert throttle.hit(109.0) == Passed(2, 0)
    assert throttle.hit(109.9) == Refused(2, 1, 110)
    assert throttle.hit(110.0) == Passed(2, 1)
    assert throttle.hit(125.0) == Passed(2, 1)
    assert throttle.hit(134.9) == Passed(2, 0)
    assert isinstance(throttle.hit(134.99), Refused)


def test_retry_after_can_be_zero() -> None:
    """Whole seconds are compared, so a window that is still open may say: at once."""
    throttle = Throttle(("1/second",))
    throttle.hit(10.9)
    assert throttle.hit(10.95) == Refused(1, 1, 11)
    assert throttle.hit(11.2) == Refused(1, 0, 11)
    assert isinstance(throttle.hit(11.9), Passed)


def test_refusal_names_its_window() -> None:
    """The limit of a refusal is that of the window that was full; a success shows the tightest."""
    throttle = Throttle(("1/second", "3/minute"))
    assert [throttle.hit(100.0 + n) for n in range(3)] == [Passed(1, 0)] * 3
    assert throttle.hit(103.0) == Refused(3, 57, 160)
    assert throttle.hit(103.5) == Refused(1, 1, 104)
    assert Throttle(("5/second", "3/minute")).hit(0.0) == Passed(3, 2)


@pytest.mark.parametrize("text", ["", "1", "0/second", "1/fortnight", "-1/second", "1 / second", "1/0.5s"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    """A text that is no limit is an error, and not "no limit"."""
    with pytest.raises(ValueError, match="not a limit"):
        Throttle((text,))


def test_throttle_speaks_in_headers(clock: FalseClock) -> None:
    """Success has Limit and Remaining only; 429 adds Retry-After and Reset. Reads and writes count apart."""
    clock.seconds = 1_000.25
    with Sandbox(KEY, writes=("1/second", "2/minute"), reads=("1/minute",), clock=clock) as sandbox:
        said = submit(sandbox)
        rates = {name: value for name, value in said.headers.items() if "ate" in name and name != "Date"}
        assert rates == {"X-RateLimit-Limit": "1", "X-RateLimit-Remaining": "0"}
        assert "Retry-After" not in said.headers
        clock.seconds += 1
        assert submit(sandbox).status_code == 200
        clock.seconds += 1
        said = submit(sandbox)
        assert (said.status_code, said.json()) == (429, {"message": "Too Many Attempts."})
        assert (said.headers["X-RateLimit-Limit"], said.headers["X-RateLimit-Remaining"]) == ("2", "0")
        assert (said.headers["Retry-After"], said.headers["X-RateLimit-Reset"]) == ("58", "1060")
        assert (last(sandbox).status, last(sandbox).charged, sandbox.charged) == (429, False, 1)
        assert get(sandbox, f"{LIST}?identifiers[]=a").status_code == 200
        assert get(sandbox, f"{LIST}?identifiers[]=a").status_code == 429


def test_what_counts_is_when_an_upload_ends(clock: FalseClock) -> None:
    """The throttle runs after the body: two uploads begun together pass when their ends lie apart."""
    with Sandbox(KEY, writes=("1/second",), clock=clock) as sandbox:
        parts = urlsplit(sandbox.url)
        body = form(('name="audio"; filename="a.wav"', WAV + bytes(100_000)))
        headers = {"X-Api-Key": KEY, "Content-Type": "multipart/form-data; boundary=xYz"}
        slow = [http.client.HTTPConnection(parts.netloc, timeout=10) for _ in range(2)]
        for connection in slow:
            connection.putrequest("POST", POST)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body[:-10])
        statuses = []
        for connection in slow:
            connection.send(body[-10:])
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            connection.close()
            clock.seconds += 1
        assert statuses == [200, 200]
