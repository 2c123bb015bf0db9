"""A recording's whole journey, from the drop folder to its verdict, against the sandbox."""

import json
import os
from hashlib import sha256

import pytest

from tests.conftest import MakePlace
from tests.places import REFUSED, Place, speech
from watcher.audio.synthesis import wav
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox

pytestmark = pytest.mark.server


def test_a_recording_is_submitted_once_and_filed_with_a_receipt(place: Place, service: Sandbox) -> None:
    """Whoever dropped a recording finds it in done/, with the service's identifier beside it."""
    content = speech("one")
    place.drop("agent-7/one.wav", content)

    outcome = place.run_once()

    assert outcome.exit_code == Exit.WELL
    assert place.files() == {"done/agent-7/one.wav", "done/agent-7/one.wav.json"}
    receipt = place.receipt("done/agent-7/one.wav.json")
    (entry,) = [entry for entry in service.ledger if entry.method == "POST"]
    assert receipt["identifier"] == entry.identifier
    assert receipt["sha256"] == sha256(content).hexdigest() == entry.sha256
    assert receipt["path"] == "agent-7/one.wav"
    assert receipt["size"] == len(content)
    assert receipt["error"] is None
    assert [attempt["charged"] for attempt in receipt["attempts"]] == ["yes"]
    assert entry.ref_id == receipt["id"]
    assert (place.root / "done/agent-7/one.wav").read_bytes() == content


def test_a_receipt_says_first_what_became_of_it(place: Place, service: Sandbox) -> None:
    """Whoever opens one need not read down to the verdict: then what the recording is, and its history last."""
    service.add_fault(**REFUSED, times=1)
    place.drop("refused.wav")
    place.run_once()
    place.drop(b"one\xff.wav")
    place.run_once(verdicts=True)

    for name in ("failed/refused.wav.json", "done/" + os.fsdecode(b"one\xff.wav.json")):
        fields = list(place.receipt(name))
        assert fields[:4] == ["state", "verdict", "review", "error"]
        parts = ["filed_as", "id", "path", "size", "sha256", "arrived_at", "filed_at", "base_url", "attempts"]
        assert [field for field in fields if field in parts] == parts
        assert fields[-1] == "attempts"


def test_the_verdict_is_fetched_and_written_into_the_receipt(place: Place) -> None:
    """The verdict of a recording stands in its receipt, and in what `list` prints."""
    place.drop("bot.wav", speech("bot", note=b"sandbox:artificial"))

    outcome = place.run_once(verdicts=True)

    assert outcome.exit_code == Exit.WELL
    verdict = place.receipt("done/bot.wav.json")["verdict"]
    assert verdict["classification"] == "artificial"
    assert 0 < verdict["confidence"] <= 1
    kept = place.verdict("bot.wav")
    assert kept is not None
    assert kept.classification == "artificial"


def test_what_the_service_can_not_take_costs_nothing_and_is_explained(
    make_place: MakePlace, service: Sandbox
) -> None:
    """Text named .wav and a recording over the limit are failed unpaid, an empty file waits; each says why."""
    place = make_place(audio={"oversize": "fail"})
    place.drop("notes.wav", b"Call back on Monday.\n")
    place.drop("huge.wav", speech("huge") + bytes(16_000_000))
    place.drop("empty.wav", b"")

    outcome = place.run_once()

    assert outcome.exit_code == Exit.INCOMPLETE
    assert len(service.ledger) == 0
    assert place.receipt("failed/notes.wav.json")["error"]["code"] == "unsupported_type"
    too_large = place.receipt("failed/huge.wav.json")
    assert too_large["error"]["code"] == "too_large"
    assert too_large["sha256"] is None
    assert "15,000,000" in too_large["error"]["message"]
    assert all(place.receipt(f"failed/{name}.json")["error"]["hint"] for name in ("notes.wav", "huge.wav"))
    assert [(file.path, file.code) for file in outcome.waiting] == [(b"empty.wav", "empty")]
    assert "drop/empty.wav" in place.files()


def test_a_refusal_by_the_service_files_the_recording_in_failed(place: Place, service: Sandbox) -> None:
    """What the service refuses lies in failed/ with the service's own words and what to do."""
    place.drop("odd.wav", speech("odd", note=b"sandbox:unsupported"))

    assert place.run_once().exit_code == Exit.INCOMPLETE

    error = place.receipt("failed/odd.wav.json")["error"]
    assert error["code"] == "refused"
    assert "not supported" in error["message"]
    assert error["hint"]
    assert service.charged == 0


def test_the_same_bytes_are_paid_for_once(place: Place, service: Sandbox) -> None:
    """A duplicate, at the same moment or later, is filed in done/ with the first one's identifier."""
    place.drop("first.wav", speech("same"))
    place.drop("copy.wav", speech("same"))
    place.run_once()
    place.drop("later.wav", speech("same"))

    assert place.run_once().exit_code == Exit.WELL

    assert service.charged == 1
    assert len([entry for entry in service.ledger if entry.method == "POST"]) == 1
    receipts = {name: place.receipt(f"done/{name}.wav.json") for name in ("first", "copy", "later")}
    assert len({receipt["identifier"] for receipt in receipts.values()}) == 1
    firsts = [receipt for receipt in receipts.values() if receipt["duplicate_of"] is None]
    assert len(firsts) == 1
    assert {r["duplicate_of"] for r in receipts.values()} == {None, firsts[0]["id"]}


def test_a_taken_name_is_never_overwritten(place: Place) -> None:
    """A newcomer whose name is taken in done/ is filed beside it, under a name of its own."""
    place.drop("call.wav", speech("monday"))
    place.run_once()
    place.drop("call.wav", speech("tuesday"))

    place.run_once()

    item = place.items()["call.wav"]
    assert item.filed_as is not None
    name = os.fsdecode(item.filed_as)
    assert name == f"call~{item.id[:6]}.wav"
    assert (place.root / "done/call.wav").read_bytes() == speech("monday")
    assert (place.root / "done" / name).read_bytes() == speech("tuesday")
    assert place.receipt(f"done/{name}.json")["id"] == item.id


@pytest.mark.parametrize("name", [b"caf\xe9.wav", b"line\nbreak.wav", b"-rf.wav", b"x" * 251 + b".wav"])
def test_any_name_is_filed_under_the_same_bytes(place: Place, name: bytes) -> None:
    """Names that are no UTF-8, hold newlines, begin with a dash, or are as long as can be, survive."""
    place.drop(name, speech("named"))

    assert place.run_once().exit_code == Exit.WELL

    done = os.listdir(os.fsencode(place.root / "done"))
    assert name in done
    (receipt,) = [entry for entry in done if entry.endswith(b".json")]
    assert json.loads((place.root / "done" / os.fsdecode(receipt)).read_bytes())["identifier"]


def test_a_failed_recording_is_sent_again_on_request(place: Place, service: Sandbox) -> None:
    """`retry` moves file and history back; the second try is the same item's."""
    service.add_fault(**REFUSED, times=1)
    place.drop("a/one.wav")
    place.run_once()
    before = place.item("a/one.wav")
    assert before.state is State.FAILED
    place.retry("a/one.wav")

    assert place.run_once().exit_code == Exit.WELL

    after = place.item("a/one.wav")
    assert (after.id, after.state, after.attempts) == (before.id, State.DONE, 2)
    assert place.files() == {"done/a/one.wav", "done/a/one.wav.json"}


def test_a_recording_dragged_back_out_of_failed_is_a_retry_with_its_history(
    place: Place, service: Sandbox
) -> None:
    """A person may drag a recording from failed/ into the drop folder: it is the same item, tried again."""
    service.add_fault(**REFUSED, times=1)
    place.drop("one.wav")
    place.run_once()
    before = place.item("one.wav")
    os.rename(place.root / "failed/one.wav", place.root / "drop/again.wav")

    assert place.run_once().exit_code == Exit.WELL

    after = place.item("again.wav")
    assert (after.id, after.state) == (before.id, State.DONE)
    assert place.files() == {"done/again.wav", "done/again.wav.json"}


def test_a_recording_taken_away_before_it_was_sent_is_withdrawn_and_may_return(
    place: Place, service: Sandbox
) -> None:
    """A file that leaves the drop folder unsent costs nothing; when it comes back it is the same item."""
    with place.opened() as journey:
        path = place.drop("one.wav")
        journey.arrivals.step()
        place.clock.wait(3, journey.stopping)
        journey.arrivals.step()
        journey.admission.step()
        assert place.states() == {"one.wav": State.QUEUED}
        os.rename(path, place.root / "aside.wav")
        assert journey.submissions[0].step() == 0
        assert place.states() == {"one.wav": State.WITHDRAWN}
    os.rename(place.root / "aside.wav", path)

    assert place.run_once().exit_code == Exit.WELL

    assert len(place.items()) == 1
    assert service.charged == 1


@pytest.mark.sqlite  # on a server the windows are on its clock, which is real
def test_both_limits_hold_and_no_upload_is_ever_refused(make_place: MakePlace, service: Sandbox) -> None:
    """Forty recordings go out within 1 a second and 30 a minute: the service never has to say 429."""
    place = make_place()
    for n in range(40):
        place.drop(f"{n}.wav")

    began = place.clock.now()
    assert place.run_once().exit_code == Exit.WELL

    assert [entry.status for entry in service.ledger if entry.method == "POST"] == [200] * 40
    assert 60 <= place.clock.now() - began < 80


def test_what_a_recording_is_stands_in_its_item_its_receipt_and_its_history(place: Place) -> None:
    """Container, codec, length, channels and rate, as they were examined; null of what is no recording."""
    place.drop("call.wav", wav(4.0, seed=3, codec="mulaw", channels=2))
    place.drop("notes.wav", b"no recording")
    place.run_once()

    told = {"container": "WAV", "codec": "µ-law", "seconds": 4.0, "channels": 2, "sample_rate": 8000}
    assert place.receipt("done/call.wav.json")["audio"] == told
    audio = place.item("call.wav").audio
    assert audio is not None
    assert audio.as_json() == told
    assert str(audio) == "WAV, µ-law, 2 channels, 8,000 Hz, 4.0 s"
    assert place.receipt("failed/notes.wav.json")["audio"] is None
    assert place.item("notes.wav").audio is None
