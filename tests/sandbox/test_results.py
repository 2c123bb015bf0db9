"""What became of a recording, in both forms."""

import hashlib
from urllib.parse import quote

import pytest

from tests.sandbox.clock import FalseClock
from tests.sandbox.visits import LIST, POST, WAV, get, last, submit
from watcher.sandbox import Sandbox


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
