"""Every fault strikes where it says, as often as it says, and costs what it says."""

import hashlib
from typing import Any

import pytest
import requests

from tests.sandbox.clock import FalseClock
from tests.sandbox.visits import KEY, LIST, POST, WAV, get, last, submit
from watcher.sandbox import Sandbox


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
