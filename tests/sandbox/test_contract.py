"""The sandbox keeps to what is known of the service, whatever is asked of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks

from watcher.sandbox import Sandbox

KEY = "contract-key"
MARKERS = (b"", b"sandbox:artificial", b"sandbox:inconclusive", b"sandbox:errored")

schemathesis.openapi.format(
    "binary",
    st.builds(lambda marker, rest: b"RIFF\0\0\0\0WAVE" + marker + rest, st.sampled_from(MARKERS), st.binary()),
)
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "POST",
        "/api/classification_audio",
        {"body": {"audio": b"RIFF\0\0\0\0WAVE"}, "media_type": "multipart/form-data"},
    ),
    ("GET", "/api/classification_audio/{identifier}", {"path_parameters": {"identifier": "0" * 64}}),
    ("GET", "/api/classifications_audio", {"query": {"identifiers[]": ["0" * 64]}}),
]
CONFORMANCE = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
# A text field of a multipart body has no type: what was "an object" in the schema is text on the wire, and valid.
UNTESTABLE = (checks.negative_data_rejection,)
CONTRACT = schemathesis.openapi.from_path(Path(__file__).parent / "contract.yaml")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0) as running:
        yield running


@CONTRACT.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_sandbox_keeps_to_the_contract(case: schemathesis.Case[Any], sandbox: Sandbox) -> None:
    """Every answer to every request, well-formed or not, is one the contract states."""
    case.call_and_validate(base_url=sandbox.url, headers={"X-Api-Key": KEY}, excluded_checks=list(UNTESTABLE))


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("verdict_after_seconds", [0, 600])
def test_every_result_keeps_to_the_contract(marker: bytes, verdict_after_seconds: float) -> None:
    """A result of any kind, ready or not, in both forms, has the fields the contract states."""
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=verdict_after_seconds) as sandbox:
        identifier = submit(sandbox, b"RIFF\0\0\0\0WAVE" + marker)
        one = CONTRACT["/api/classification_audio/{identifier}"]["GET"].Case(
            path_parameters={"identifier": identifier}
        )
        several = CONTRACT["/api/classifications_audio"]["GET"].Case(query={"identifiers[]": [identifier]})
        shown, listed = (keep_to_contract(case, sandbox).json() for case in (one, several))
        assert [result["identifier"] for result in listed] == [shown["identifier"]] == [identifier]


@pytest.mark.parametrize("accept", ["application/json", "text/plain"])
@pytest.mark.parametrize(("method", "path", "request_parts"), REQUESTS)
def test_every_refusal_keeps_to_the_contract(
    method: str, path: str, request_parts: dict[str, Any], accept: str
) -> None:
    """Who has no key, may not, or is too fast is told so in the words of the contract, on every endpoint."""
    with Sandbox(KEY, writes=("1/hour",), reads=("1/hour",)) as sandbox:
        sandbox.add_fault("status", status=403, method="*")
        statuses = []
        for key in (KEY, "stranger", KEY, KEY):
            case = CONTRACT[path][method].Case(**request_parts)
            statuses.append(keep_to_contract(case, sandbox, key, accept).status_code)
        passed = 404 if "{" in path else 200
        assert statuses == [403, 401, passed, 429]


def submit(sandbox: Sandbox, audio: bytes) -> str:
    body: Any = {"audio": audio}
    case = CONTRACT["/api/classification_audio"]["POST"].Case(body=body, media_type="multipart/form-data")
    return str(keep_to_contract(case, sandbox).json()["identifier"])


def keep_to_contract(
    case: schemathesis.Case[Any], sandbox: Sandbox, key: str = KEY, accept: str = "application/json"
) -> schemathesis.Response:
    """The answer, after it has been found to be what the contract states."""
    answer = case.call(base_url=sandbox.url, headers={"X-Api-Key": key, "Accept": accept})
    case.validate_response(answer, checks=CONFORMANCE)
    return answer
