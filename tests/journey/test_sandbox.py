"""The stand-in of the service behaves as the service does, over real HTTP, and its ledger is the truth."""

import hashlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from watcher.errors import ConfigError
from watcher.sandbox import LedgerEntry, Passed, Refused, Sandbox, Throttle, serve

KEY = "k" * 20
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
POST = "/api/classification_audio"
LIST = "/api/classifications_audio"


class FalseClock:
    """A clock that stands still until it is told, or until somebody waits on it."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0
        self.waited: list[float] = []

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, seconds: float, wake: threading.Event) -> bool:
        self.waited.append(seconds)
        self.seconds += seconds
        return wake.is_set()


@pytest.fixture
def clock() -> FalseClock:
    return FalseClock()


@pytest.fixture
def sandbox(clock: FalseClock) -> Iterator[Sandbox]:
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=10, clock=clock) as running:
        yield running


def submit(
    sandbox: Sandbox,
    audio: bytes = WAV,
    *,
    accept: str = "application/json",
    key: str = KEY,
    filename: str = "call.wav",
    **fields: str,
) -> requests.Response:
    return requests.post(
        sandbox.url + POST,
        files={"audio": (filename, audio, "audio/wav")},
        data=fields,
        headers={"X-Api-Key": key, "Accept": accept},
        timeout=10,
        allow_redirects=False,
    )


def get(sandbox: Sandbox, path: str, **headers: str) -> requests.Response:
    said = {"X-Api-Key": KEY, "Accept": "application/json", **headers}
    return requests.get(sandbox.url + path, headers=said, timeout=10)


def last(sandbox: Sandbox) -> LedgerEntry:
    return sandbox.ledger[-1]


def converse(sandbox: Sandbox, sent: bytes, *, hang_up: bool = True) -> bytes:
    """Everything the sandbox says to these bytes on a connection of their own."""
    parts = urlsplit(sandbox.url)
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=10) as peer:
        peer.sendall(sent)
        if hang_up:
            peer.shutdown(socket.SHUT_WR)
        said = b""
        try:
            while piece := peer.recv(65_536):
                said += piece
        except ConnectionResetError:
            pass
        return said


def wait_for_entry(sandbox: Sandbox, number: int) -> LedgerEntry:
    for _ in range(1_000):
        if len(sandbox.ledger) >= number:
            return sandbox.ledger[number - 1]
        time.sleep(0.005)  # noqa: TID251
    raise AssertionError(f"there are {len(sandbox.ledger)} entries")


def form(*parts: tuple[str, bytes], boundary: str = "xYz") -> bytes:
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    return body + f"--{boundary}--\r\n".encode()


def post_form(sandbox: Sandbox, body: bytes) -> requests.Response:
    return requests.post(
        sandbox.url + POST,
        data=body,
        headers={
            "X-Api-Key": KEY,
            "Accept": "application/json",
            "Content-Type": "multipart/form-data; boundary=xYz",
        },
        timeout=10,
    )


# Answers


def test_identifier_is_json_or_text_by_accept(sandbox: Sandbox) -> None:
    """JSON for who accepts JSON first; the bare identifier as plain text for everyone else."""
    said = submit(sandbox)
    identifier = said.json()["identifier"]
    assert said.json() == {"identifier": identifier}
    assert re.fullmatch("[0-9a-f]{64}", identifier)
    assert "X-Sandbox-Invented" not in said.headers
    for accept in ("text/plain", "*/*", "text/plain, application/json", "application/json;q=0.5, text/html"):
        plain = submit(sandbox, accept=accept)
        assert (plain.text, plain.headers["Content-Type"][:10]) == (identifier, "text/plain")


@pytest.mark.parametrize(
    ("audio", "key", "body"),
    [
        (b"<html>", KEY, {"error": "The uploaded file format is not supported."}),
        (
            WAV + bytes(1_000),
            KEY,
            {"error": "The uploaded file exceeds the maximum allowed size of 50MB."},
        ),
        (WAV, "stranger", {"error": "Unauthorized"}),
    ],
)
def test_errors_have_the_documented_bodies(audio: bytes, key: str, body: dict[str, str]) -> None:
    """A refusal says exactly what the documentation says, as JSON, or is a page in HTML."""
    with Sandbox(KEY, writes=(), max_upload_bytes=1_000) as sandbox:
        said = submit(sandbox, audio, key=key)
        assert (said.status_code, said.json()) == (401 if key != KEY else 400, body)
        assert "X-Sandbox-Invented" not in said.headers
        page = submit(sandbox, audio, key=key, accept="text/plain, application/json")
        assert page.status_code == said.status_code
        assert page.headers["Content-Type"].startswith("text/html")
        assert sandbox.charged == 0


def test_size_limit_is_inclusive() -> None:
    """A recording of exactly the limit is accepted."""
    with Sandbox(KEY, writes=(), max_upload_bytes=1_000) as sandbox:
        assert submit(sandbox, WAV + bytes(1_000 - len(WAV))).status_code == 200
        assert submit(sandbox, WAV + bytes(1_001 - len(WAV))).status_code == 400


def test_body_over_the_server_limit_has_no_fields() -> None:
    """Over the limit for a whole body, the service sees no fields: "required" can mean "too large"."""
    with Sandbox(KEY, writes=(), max_body_bytes=5_000) as sandbox:
        said = submit(sandbox, WAV + bytes(1_000_000), ref_id="a")
        assert (said.status_code, said.json()) == (400, {"audio": ["The audio field is required."]})
        assert (last(sandbox).ref_id, last(sandbox).bytes > 1_000_000) == (None, True)


@pytest.mark.parametrize(
    "disposition",
    ['name="audio"', "name=\"audio\"; filename*=UTF-8''call.wav", 'name="audio"; filename=""', 'name="file"'],
)
def test_part_without_filename_is_no_file(sandbox: Sandbox, disposition: str) -> None:
    """Without a plain `filename=` the audio is taken for a text field, so it is missing."""
    said = post_form(sandbox, form((disposition, WAV)))
    assert (said.status_code, said.json()) == (400, {"audio": ["The audio field is required."]})


@pytest.mark.parametrize(
    "start",
    [
        WAV,
        b"RIFF\x00\x00\x00\x00WAVE",
        b"RF64\xff\xff\xff\xffWAVE",
        b"ID3\x04",
        b"\xff\xfb\x90\x44",
        b"\xff\xf3\x40\xc4",
        b"\xff\xf1\x50\x80",
        b"OggS",
        b"fLaC",
        b"\x00\x00\x00\x18ftypM4A ",
        b"\x00\x00\x00\x18ftypisom",
        b"\x00\x00\x00\x18ftyp3gp4",
    ],
)
def test_listed_formats_pass_by_content(sandbox: Sandbox, start: bytes) -> None:
    """What begins as a listed format passes, whatever it is called and however short it is."""
    assert submit(sandbox, start, filename="x.txt").status_code == 200


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"RIFF\x00\x00",
        b"RIFF\x00\x00\x00\x00AVI ",
        b"\x1aE\xdf\xa3",
        b"FORM\x00\x00\x00\x00AIFF",
        b".snd",
        b"#!AMR\n",
        b"\x00\x00\x00\x14ftypqt  ",
        b"\x00\x00\x00\x14ftyp3g2a",
        b"\xff\xfb\xf0\x00",
        b"\xff\xd8\xff\xe0",
        b"0&\xb2u",
        WAV + b"sandbox:unsupported",
    ],
)
def test_other_formats_are_refused_by_content(sandbox: Sandbox, start: bytes) -> None:
    """What begins as none is refused, even under a listed extension and media type."""
    said = submit(sandbox, start)
    assert (said.status_code, said.json()) == (400, {"error": "The uploaded file format is not supported."})


def test_texts_are_trimmed_and_empty_is_null(sandbox: Sandbox) -> None:
    """Fields are trimmed; an empty one was never sent. The ledger keeps what came."""
    submit(sandbox, ref_id="  abc ", no_cache=" ")
    assert (last(sandbox).ref_id, last(sandbox).options, last(sandbox).charged) == ("abc", {"no_cache": " "}, True)
    submit(sandbox, ref_id=" ")
    assert (last(sandbox).ref_id, last(sandbox).options) == (None, {})


def test_booleans_are_four_words(sandbox: Sandbox) -> None:
    """true, false, 1 and 0 are booleans; anything else is a validation error, marked as invented."""
    for word in ("true", "false", "1", "0"):
        assert submit(sandbox, no_cache=word, prevent_c2pa_forces=word).status_code == 200
    for word in ("yes", "True", "2"):
        said = submit(sandbox, no_cache=word)
        assert (said.status_code, list(said.json()), said.headers["X-Sandbox-Invented"]) == (
            400,
            ["no_cache"],
            "body",
        )


def test_strange_paths_and_methods_are_named(sandbox: Sandbox) -> None:
    """Nothing is where nothing is, and a wrong method names the right ones."""
    assert get(sandbox, "/api/nowhere").status_code == 404
    assert get(sandbox, "/sandbox/nowhere").status_code == 404
    wrong = get(sandbox, POST)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
    head = requests.head(sandbox.url + LIST, headers={"X-Api-Key": KEY}, timeout=10)
    assert (head.status_code, head.content) == (400, b"")


# Money


def test_repeat_is_free_and_no_cache_is_not(sandbox: Sandbox) -> None:
    """The same bytes with the same options are paid for once; `no_cache` pays again, for one identifier."""
    first = submit(sandbox, ref_id="a").json()["identifier"]
    assert submit(sandbox, ref_id="b", filename="other.wav").json()["identifier"] == first
    assert (last(sandbox).cached, last(sandbox).charged, sandbox.charged) == (True, False, 1)
    assert submit(sandbox, no_cache="true").json()["identifier"] == first
    assert (last(sandbox).cached, last(sandbox).charged, sandbox.charged) == (False, True, 2)
    assert submit(sandbox, prevent_c2pa_forces="1").json()["identifier"] != first
    assert submit(sandbox, WAV + b"x").json()["identifier"] != first
    assert sandbox.charged == 4


def test_credit_runs_out(sandbox: Sandbox) -> None:
    """Without credit a new submission is a 400 whose body is marked as invented; a repeat is still free."""
    sandbox.credit = 1
    assert submit(sandbox).status_code == 200
    said = submit(sandbox, WAV + b"x")
    assert (said.status_code, said.headers["X-Sandbox-Invented"], sandbox.charged) == (400, "body", 1)
    assert submit(sandbox).status_code == 200
    sandbox.credit = 1
    assert submit(sandbox, WAV + b"x").status_code == 200


def test_ledger_tells_everything(sandbox: Sandbox) -> None:
    """An entry has what was sent, what it came to and what it cost; over HTTP the same as in-process."""
    audio = WAV + os.urandom(300_000)
    identifier = submit(sandbox, audio, ref_id="r", no_cache="1", filename="Ä.wav").json()["identifier"]
    entry = last(sandbox)
    assert (entry.number, entry.method, entry.path, entry.status, entry.charged) == (1, "POST", POST, 200, True)
    assert (entry.sha256, entry.size) == (hashlib.sha256(audio).hexdigest(), len(audio))
    assert (entry.identifier, entry.ref_id, entry.options) == (identifier, "r", {"no_cache": "1"})
    assert (entry.filename, entry.media_type, entry.is_whole, entry.bytes > len(audio)) == (
        "Ä.wav",
        "audio/wav",
        True,
        True,
    )
    shown = requests.get(sandbox.url + "/sandbox/ledger", timeout=10).json()
    assert shown["charged"] == 1
    assert shown["entries"] == json.loads(json.dumps([entry.as_json() for entry in sandbox.ledger]))
    assert shown["entries"][0]["time"].startswith("2023-11-14T22:13:20")


def test_aborted_upload_is_recorded_and_free(sandbox: Sandbox) -> None:
    """A body that is cut off before its end is in the ledger, without an answer and without a charge."""
    body = form(('name="audio"; filename="a.wav"', WAV + bytes(1_000)))
    head = (
        f"POST {POST} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\n"
        "Content-Type: multipart/form-data; boundary=xYz\r\n"
    )
    length = f"Content-Length: {len(body)}\r\n\r\n"
    assert converse(sandbox, (head + length).encode() + body[:-1]) == b""
    entry = wait_for_entry(sandbox, 1)
    assert (entry.is_whole, entry.status, entry.charged, entry.bytes) == (False, None, False, len(body) - 1)
    chunked = head + f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n"
    assert converse(sandbox, chunked.encode() + body + b"\r\n") == b""
    assert wait_for_entry(sandbox, 2).is_whole is False
    assert sandbox.charged == 0


def test_cut_form_is_refused(sandbox: Sandbox) -> None:
    """A form without its closing boundary is not accepted, though its length was right."""
    said = post_form(sandbox, form(('name="audio"; filename="a.wav"', WAV))[:-20])
    assert (said.status_code, said.headers["X-Sandbox-Invented"]) == (400, "body")


# Time


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


# Results


def test_result_is_new_for_a_while_then_done(sandbox: Sandbox, clock: FalseClock) -> None:
    """A result is `new` until the time set, then done, with every field the service has."""
    audio = WAV + b"sandbox:artificial"
    identifier = submit(sandbox, audio, ref_id="r").json()["identifier"]
    clock.seconds += 9
    new = get(sandbox, f"{POST}/{identifier}").json()
    assert (new["status"], new["verdict"], new["verdicts"], new["results"]) == ("new", None, [], [])
    clock.seconds += 2
    said = get(sandbox, f"{POST}/{identifier}")
    done = said.json()
    assert (done["status"], done["identifier"], done["ref_id"], done["name"], done["hash"]) == (
        "done",
        identifier,
        "r",
        "call.wav",
        hashlib.sha256(audio).hexdigest(),
    )
    assert (done["verdict"]["classification"], done["verdict"] in done["verdicts"]) == ("artificial", True)
    assert 0.5 < done["verdict"]["confidence"] <= 1
    assert done["force_classification"] is None
    for result in done["results"]:
        scores = {entry["label"]: entry["score"] for entry in result["classification"]}
        assert scores["artificial"] > scores["human"]
    assert "verdict" in said.headers["X-Sandbox-Invented"]
    assert get(sandbox, f"{POST}/{identifier}").json() == done


@pytest.mark.parametrize(
    ("marker", "status", "classification"),
    [
        (b"", "done", "human"),
        (b"sandbox:human", "done", "human"),
        (b"sandbox:artificial", "done", "artificial"),
        (b"sandbox:inconclusive", "done", None),
        (b"sandbox:errored", "errored", None),
        (b"\0" * 5_000 + b"sandbox:artificial", "done", "human"),
    ],
)
def test_content_decides_the_verdict(
    sandbox: Sandbox, clock: FalseClock, marker: bytes, status: str, classification: str | None
) -> None:
    """A marker in the first 4,096 bytes names the verdict; without one it is human."""
    identifier = submit(sandbox, WAV + marker).json()["identifier"]
    clock.seconds += 11
    result = get(sandbox, f"{POST}/{identifier}").json()
    verdict = result["verdict"]
    assert (result["status"], verdict and verdict["classification"]) == (status, classification)
    assert bool(result["errors"]) is (status == "errored")


def test_list_form_takes_a_hundred(sandbox: Sandbox, clock: FalseClock) -> None:
    """The list form shows what is known of up to 100 identifiers, and leaves strangers out."""
    known = [submit(sandbox, WAV + bytes([n])).json()["identifier"] for n in range(3)]
    clock.seconds += 11
    asked = [*known, *(f"{n:064x}" for n in range(97))]
    query = "&".join(f"identifiers[]={identifier}" for identifier in asked)
    said = get(sandbox, f"{LIST}?{query}").json()
    assert [result["identifier"] for result in said] == known
    assert all("clips" in result["details"] for result in said)
    assert last(sandbox).asked == tuple(asked)
    escaped = get(sandbox, f"{LIST}?{quote('identifiers[]')}={known[1]}").json()
    assert [result["identifier"] for result in escaped] == [known[1]]
    assert get(sandbox, f"{LIST}?{query}&identifiers[]=one-more").status_code == 400
    assert get(sandbox, LIST).status_code == 400


def test_strangers_are_not_found(sandbox: Sandbox) -> None:
    """An identifier nobody was given is 404, and who has no key learns nothing."""
    said = get(sandbox, f"{POST}/{'0' * 64}")
    assert (said.status_code, said.headers["X-Sandbox-Invented"]) == (404, "body")
    identifier = submit(sandbox).json()["identifier"]
    assert get(sandbox, f"{POST}/{identifier}", **{"X-Api-Key": "other"}).status_code == 401


# Faults


@pytest.mark.parametrize(
    ("kind", "settings", "status", "text"),
    [
        ("status", {"status": 500}, 500, "Server Error"),
        ("status", {"status": 401}, 401, "Unauthorized"),
        ("status", {"status": 403}, 403, "Forbidden"),
        ("status", {"status": 502}, 502, "<h1>"),
        ("status", {"status": 413}, 413, "<h1>"),
        ("status", {"status": 422}, 422, "errors"),
        ("status", {"status": 400, "body": "teapot"}, 400, "teapot"),
        ("no_credit", {}, 400, "credits"),
        ("unclassified", {}, 400, "could not be processed"),
        ("html", {}, 200, "<!DOCTYPE html>"),
        ("redirect", {}, 302, "Found"),
    ],
)
def test_answers_instead_cost_nothing(
    sandbox: Sandbox, kind: str, settings: dict[str, Any], status: int, text: str
) -> None:
    """A fault that answers in the service's place charges nothing, applies once and stands in the ledger."""
    sandbox.add_fault(kind, **settings)
    said = submit(sandbox)
    assert (said.status_code, text in said.text) == (status, True)
    assert (last(sandbox).status, last(sandbox).faults, sandbox.charged) == (status, (kind,), 0)
    assert submit(sandbox).status_code == 200


@pytest.mark.parametrize("kind", ["empty", "cut_json", "no_identifier"])
def test_spoiled_answers_were_paid_for(sandbox: Sandbox, kind: str) -> None:
    """A 200 that names no identifier comes instead of the charge, or after it."""
    for charged in (0, 1):
        sandbox.add_fault(kind, charges=bool(charged))
        said = submit(sandbox)
        assert said.status_code == 200
        assert '"identifier":"' not in said.text or not said.text.endswith("}")
        assert sandbox.charged == charged


def test_throttling_can_say_anything(sandbox: Sandbox) -> None:
    """A 429 has the Retry-After that was given: a number, 0, a date or none; and the Limit that was given."""
    for retry_after in (7, 0, "Wed, 21 Oct 2026 07:28:00 GMT", None):
        sandbox.add_fault("status", status=429, retry_after=retry_after, limit=30)
        said = submit(sandbox)
        assert (said.status_code, said.json()) == (429, {"message": "Too Many Attempts."})
        assert said.headers.get("Retry-After") == (None if retry_after is None else str(retry_after))
        assert said.headers["X-RateLimit-Limit"] == "30"


@pytest.mark.parametrize(
    ("kind", "charged", "is_whole"),
    [
        ("close_before_reading", 0, False),
        ("close_while_reading", 0, False),
        ("close_after_reading", 0, True),
        ("lose_answer", 1, True),
    ],
)
def test_closed_connections(sandbox: Sandbox, kind: str, charged: int, is_whole: bool) -> None:
    """The connection is closed at the moment named, and only after charging has something been paid."""
    sandbox.add_fault(kind)
    with pytest.raises(requests.ConnectionError):
        submit(sandbox, WAV + bytes(1_000_000))
    entry = last(sandbox)
    assert (entry.status, entry.faults, entry.is_whole, sandbox.charged) == (None, (kind,), is_whole, charged)
    assert (submit(sandbox, WAV + bytes(1_000_000)).status_code, sandbox.charged) == (200, 1)


def test_wrong_length_promises_more(sandbox: Sandbox) -> None:
    """Content-Length says more than comes, after the charge."""
    sandbox.add_fault("wrong_length")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        submit(sandbox)
    assert sandbox.charged == 1


def test_time_passes_where_a_fault_wants_it(clock: FalseClock) -> None:
    """Slow answers wait before the throttle or after it, latency before every answer, on the clock given."""
    with Sandbox(KEY, writes=("1/10s",), clock=clock, latency_seconds=0.5) as sandbox:
        assert submit(sandbox).status_code == 200
        sandbox.add_fault("slow_before", seconds=9.0)
        assert submit(sandbox).status_code == 429
        sandbox.add_fault("slow_before", seconds=1.0)
        sandbox.add_fault("slow_after", seconds=20)
        assert submit(sandbox).status_code == 200
        assert last(sandbox).faults == ("slow_before", "slow_after")
        sandbox.add_fault("stall_reading", seconds=7)
        assert submit(sandbox).status_code == 200
        assert last(sandbox).seconds == 7
        assert clock.waited == [0.5, 9, 0.5, 1, 20.5, 7, 0.5]


def test_answer_trickles(sandbox: Sandbox, clock: FalseClock) -> None:
    """The answer comes byte by byte, with the time between that was asked for."""
    sandbox.add_fault("trickle", seconds=1.0)
    assert len(submit(sandbox).json()["identifier"]) == 64
    assert len(clock.waited) > 200
    assert set(clock.waited) == {1.0}


def test_clock_can_be_off(sandbox: Sandbox) -> None:
    """The Date header can be wrong, for every method, until that is cleared."""
    sandbox.add_fault("clock", seconds=-3600)
    assert submit(sandbox).headers["Date"] == "Tue, 14 Nov 2023 21:13:20 GMT"
    assert get(sandbox, LIST).headers["Date"] == "Tue, 14 Nov 2023 21:13:20 GMT"
    sandbox.clear_faults()
    assert submit(sandbox).headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"


def test_results_can_go_wrong(sandbox: Sandbox, clock: FalseClock) -> None:
    """Results can be stuck, errored, without verdict or left out, one content at a time, until cleared."""
    identifiers = []
    for n, kind in enumerate(("stuck", "errored", "null_verdict", "leave_out", "")):
        audio = WAV + bytes([n])
        identifiers.append(submit(sandbox, audio).json()["identifier"])
        if kind:
            sandbox.add_fault(kind, sha256=hashlib.sha256(audio).hexdigest())
    clock.seconds += 11
    query = "&".join(f"identifiers[]={identifier}" for identifier in identifiers)
    for _ in range(2):
        shown = get(sandbox, f"{LIST}?{query}").json()
        assert [result["status"] for result in shown] == ["new", "errored", "done", "done"]
        assert [result["verdict"] is None for result in shown] == [True, True, True, False]
        assert get(sandbox, f"{POST}/{identifiers[3]}").status_code == 404
    sandbox.clear_faults()
    assert [result["status"] for result in get(sandbox, f"{LIST}?{query}").json()] == ["done"] * 5


def test_results_can_be_garbled(sandbox: Sandbox, clock: FalseClock) -> None:
    """What one recording's result says, or is, can be anything; the others in the list are as they were."""
    identifiers = [submit(sandbox, WAV + bytes([n])).json()["identifier"] for n in range(3)]
    sandbox.add_fault("garbled", identifier=identifiers[0], body={"verdict": {"confidence": -5}})
    sandbox.add_fault("garbled", identifier=identifiers[1], body="rubbish")
    clock.seconds += 11
    query = "&".join(f"identifiers[]={identifier}" for identifier in identifiers)
    first, second, third = get(sandbox, f"{LIST}?{query}").json()
    assert (first["identifier"], first["verdict"]) == (identifiers[0], {"confidence": -5})
    assert second == "rubbish"
    assert third["verdict"]["confidence"] > 0


def test_a_question_can_fail_for_one_of_those_it_asks_for(sandbox: Sandbox) -> None:
    """A fault of one identifier befalls every question that names it, and no other."""
    sandbox.add_fault("status", status=500, method="GET", identifier="a", times=0)
    statuses = [
        get(sandbox, f"{LIST}?identifiers[]={query}").status_code for query in ("a", "b&identifiers[]=a", "b")
    ]
    assert statuses == [500, 500, 200]
    assert get(sandbox, f"{POST}/a").status_code == 500
    assert get(sandbox, f"{POST}/b").status_code == 404


def test_an_answer_can_be_a_bomb(sandbox: Sandbox) -> None:
    """Small on the wire, 60 MB when unpacked."""
    sandbox.add_fault("bomb", method="GET")
    said = get(sandbox, LIST)
    assert (said.status_code, int(said.headers["Content-Length"]) < 100_000) == (200, True)
    assert len(said.content) > 60_000_000


def test_faults_choose_their_requests(sandbox: Sandbox) -> None:
    """A fault applies to the content, the ordinal and the method it names, and as often as it says."""
    sandbox.add_fault("status", status=500, sha256=hashlib.sha256(WAV).hexdigest(), times=2)
    assert [submit(sandbox, audio).status_code for audio in (WAV + b"x", WAV, WAV, WAV)] == [200, 500, 500, 200]
    sandbox.add_fault("status", status=500, ordinal=3)
    assert [submit(sandbox).status_code for _ in range(4)] == [200, 200, 500, 200]
    sandbox.add_fault("status", status=503, method="*", times=0, retry_after=9)
    assert get(sandbox, LIST).headers["Retry-After"] == "9"
    assert [submit(sandbox).status_code for _ in range(3)] == [503] * 3
    sandbox.clear_faults()
    assert submit(sandbox).status_code == 200
    sandbox.add_fault("status", status=500, method="GET")
    assert (submit(sandbox).status_code, get(sandbox, LIST).status_code) == (200, 500)


def test_fault_after_charging_waits_for_a_charge(clock: FalseClock) -> None:
    """A fault that comes after the charge is not used up by a request that is refused."""
    with Sandbox(KEY, writes=(), clock=clock) as sandbox:
        sandbox.add_fault("status", status=502, charges=True)
        assert submit(sandbox, b"no audio").status_code == 400
        assert (submit(sandbox).status_code, sandbox.charged) == (502, 1)


def test_faults_are_switched_over_http(sandbox: Sandbox) -> None:
    """POST switches one on, GET lists, DELETE clears; what is no fault is a 400 that says why."""
    url = sandbox.url + "/sandbox/faults"
    made = requests.post(url, json={"kind": "status", "status": 503, "times": 2}, timeout=10)
    assert made.status_code == 201
    submit(sandbox)
    (listed,) = requests.get(url, timeout=10).json()
    assert (listed["id"], listed["kind"], listed["applied"]) == (made.json()["id"], "status", 1)
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.get(url, timeout=10).json() == []
    wrongs: list[Any] = [
        {"kind": "earthquake"},
        {"kind": "status", "colour": "red"},
        {"kind": "status", "status": "many"},
        {"kind": "stuck", "charges": True},
        {"kind": "close_before_reading", "sha256": "0" * 64},
        {"kind": "redirect", "location": "a\r\nb"},
        {},
        [],
    ]
    for wrong in wrongs:
        assert requests.post(url, json=wrong, timeout=10).status_code == 400
    assert requests.post(url, data=b"\xff", timeout=10).status_code == 400
    assert len(sandbox.ledger) == 1


def test_unknown_fault_is_an_error(sandbox: Sandbox) -> None:
    """A test that misspells a fault is told so."""
    with pytest.raises(ValueError, match="kind"):
        sandbox.add_fault("lose_anser")


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
