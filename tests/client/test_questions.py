"""Questions for verdicts; and the client against the sandbox."""

import hashlib
import json
import socket

import pytest

from tests.client.servers import (
    IDENTIFIER,
    UNAUTHORIZED,
    Peer,
    Script,
    answer,
    answering,
    close_at_once,
    closing,
    silent,
    trickling,
)
from tests.client.uploads import KEY, client_of, failure_of, go, upload_of
from watcher.domain import Charged, VerdictState
from watcher.errors import (
    Intercepted,
    NeverSent,
    Rejected,
    ServiceError,
    ServiceFault,
    Throttled,
    Unanswered,
    Unauthorized,
    Unintelligible,
)
from watcher.identifai.client import IDENTIFIERS_A_CALL
from watcher.sandbox import FaultKind, Sandbox

# Verdicts


def entry(identifier: str, **more: object) -> dict[str, object]:
    return {"identifier": identifier, "status": "new", "api_version": "v1.1.0"} | more


def test_verdicts_are_asked_for_as_a_list() -> None:
    """One GET asks for many; what the service leaves out, or garbles, is absent, and strangers are left out."""
    done = {"heuristic": "h", "confidence": 0.9, "classification": "artificial", "models": ["m"]}
    answered = [entry("a"), entry("b", status="done", verdict=done), None, {"identifier": 7}, entry("stranger")]
    with Peer(answering(answer(json.dumps(answered).encode()))) as peer, client_of(peer.url) as client:
        readings = client.verdicts(["a", "b", "c"])
    assert set(readings) == {"a", "b"}
    assert readings["a"].state is VerdictState.AWAITED
    assert (readings["b"].classification, readings["b"].confidence) == ("artificial", 0.9)
    line = peer.seen[0].head.splitlines()[0].replace("%5B%5D", "[]")
    assert line == "GET /api/classifications_audio?identifiers[]=a&identifiers[]=b&identifiers[]=c HTTP/1.1"
    assert peer.seen[0].headers["accept"] == "application/json"
    assert peer.seen[0].headers["x-api-key"] == KEY


def test_a_call_for_verdicts_fits_a_request_line() -> None:
    """As many identifiers as are wise to ask for at once make a line that web servers take."""
    with Peer(answering(answer(b"[]"))) as peer, client_of(peer.url) as client:
        assert client.verdicts([IDENTIFIER] * IDENTIFIERS_A_CALL) == {}
        with pytest.raises(ValueError, match="1 to 100"):
            client.verdicts([IDENTIFIER] * 101)
    assert len(peer.seen[0].head.splitlines()[0]) < 8000


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (closing(answer(b'{"identifier": "a"}')), Unintelligible),
        (closing(answer(b"<html>")), Unintelligible),
        (closing(answer(b"[{", length=99)), Unanswered),
        (closing(UNAUTHORIZED), Unauthorized),
        (closing(answer(b"", "429 Too Many Requests")), Throttled),
        (closing(answer(b'{"message": "Server Error"}', "500 Internal Server Error")), ServiceFault),
        (closing(answer(b"", "500 Internal Server Error")), Intercepted),
        (closing(answer(b"", "302 Found", "Location: /login")), Intercepted),
        (close_at_once, Unanswered),
        (silent, Unanswered),
        (trickling(answer(b" " * 500)), Unanswered),
    ],
)
def test_asking_costs_nothing(script: Script, kind: type[ServiceError]) -> None:
    """However a question for verdicts fails, it is one of our errors, and nothing was charged."""
    with (
        Peer(script) as peer,
        client_of(peer.url, read=0.3, deadline=0.5) as client,
        pytest.raises(kind) as caught,
    ):
        client.verdicts(["a"])
    assert caught.value.charged is Charged.NO


def test_asking_nobody_is_never_sent() -> None:
    """Where nobody listens, the question was never sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with client_of(f"http://127.0.0.1:{port}") as client, pytest.raises(NeverSent):
        client.verdicts(["a"])


# Against the sandbox

WAV = b"RIFF" + (36 + 80_000).to_bytes(4, "little") + b"WAVEfmt " + bytes.fromhex(
    "10000000010001 00401f0000803e0000 02001000".replace(" ", "")
) + b"data" + (80_000).to_bytes(4, "little") + bytes(80_000)  # fmt: skip


LONG_WAV = WAV * 150  # more than the buffers between the two hold, less than the service takes


def test_sandbox_accepts_and_answers() -> None:
    """What the sandbox takes is what was sent; its verdict is read; a repeat is answered alike and free."""
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0) as sandbox, client_of(sandbox.url) as client:
        accepted = client.submit(upload_of(WAV), go)
        assert client.submit(upload_of(WAV), go).identifier == accepted.identifier
        assert sandbox.charged == 1
        readings = client.verdicts([accepted.identifier, "0" * 64])
    assert set(readings) == {accepted.identifier}
    assert readings[accepted.identifier].state is VerdictState.KNOWN
    assert readings[accepted.identifier].classification == "human"
    sent = sandbox.ledger[0]
    assert (sent.sha256, sent.size, sent.filename, sent.media_type, sent.ref_id) == (
        hashlib.sha256(WAV).hexdigest(), len(WAV), "0190.wav", "audio/wav", "0190",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings", "error"),
    [
        (FaultKind.CLOSE_BEFORE_READING, {}, NeverSent),
        (FaultKind.CLOSE_WHILE_READING, {}, NeverSent),
        (FaultKind.STALL_READING, {"seconds": 30}, ServiceError),
        (FaultKind.CLOSE_AFTER_READING, {}, Unanswered),
        (FaultKind.STATUS, {"status": 500, "charges": True}, ServiceFault),
        (FaultKind.STATUS, {"status": 503}, ServiceFault),
        (FaultKind.NO_CREDIT, {}, Rejected),
        (FaultKind.UNCLASSIFIED, {}, Rejected),
        (FaultKind.HTML, {}, Unintelligible),
        (FaultKind.REDIRECT, {}, Intercepted),
        (FaultKind.EMPTY, {}, Unintelligible),
        (FaultKind.CUT_JSON, {}, Unintelligible),
        (FaultKind.NO_IDENTIFIER, {}, Unintelligible),
        (FaultKind.LOSE_ANSWER, {}, Unanswered),
        (FaultKind.SLOW_AFTER, {"seconds": 30}, Unanswered),
        (FaultKind.TRICKLE, {"seconds": 0.1}, Unanswered),
    ],
)
def test_sandbox_faults_never_cost_what_is_said_to_be_free(
    kind: FaultKind, settings: dict[str, object], error: type[ServiceError]
) -> None:
    """Whenever the client says that nothing was charged, the service's own ledger says so too."""
    with Sandbox(KEY, writes=(), reads=()) as sandbox:
        sandbox.add_fault(kind, **settings)
        caught = failure_of(sandbox.url, upload_of(LONG_WAV), read=0.5, deadline=1)
        assert isinstance(caught, error)
        if caught.charged is Charged.NO:
            assert sandbox.charged == 0


def test_sandbox_throttle_and_wrong_key() -> None:
    """The sandbox's own refusals are understood."""
    with Sandbox(KEY, writes=("1/minute",)) as sandbox:
        with client_of(sandbox.url) as client:
            client.submit(upload_of(WAV), go)
        throttled = failure_of(sandbox.url, upload_of(WAV))
        assert isinstance(throttled, Throttled)
        assert throttled.limit == 1
        assert throttled.retry_after is not None
        sandbox.key = "another"
        assert isinstance(failure_of(sandbox.url, upload_of(WAV)), Unauthorized)
