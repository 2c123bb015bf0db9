"""Verdicts are asked for again, and reviewed, beside a running daemon: receipts and folders follow."""

import json

from tests.journey.test_verdicts_kept import verdict_of
from tests.process.conftest import MakePlace
from tests.process.programs import Programs, wait_until
from watcher.sandbox import Sandbox


def test_a_verdict_changes_and_a_person_says_otherwise_beside_a_daemon(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """The receipt says what the service says now and what the person says, in the folder of the verdict."""
    place = make_place(folders={"by_verdict": True})
    daemon = watcher.daemon(place)
    place.drop("a/call.wav")
    daemon.wait_for("recording.moved_on")
    before = place.receipt("done/human/a/call.wav.json")
    assert before["verdict"]["classification"] == "human"

    service.add_fault("garbled", identifier=before["identifier"], times=0, body=verdict_of("artificial", 0.97))
    command = watcher.call("verdicts", "--config", place.config_path, "--refresh", "--json", "a/call.wav")
    assert json.loads(command.out)["verdict"]["classification"] == "artificial"
    assert "verdict.changed" in command.err
    daemon.wait_for("recording.moved_on", 2)
    assert place.files() == {"done/artificial/a/call.wav", "done/artificial/a/call.wav.json"}
    watcher.ask(place, "review", "done/artificial/a/call.wav", "--human", "--note", "I know her.")

    def receipt() -> object:
        return (place.receipt("done/artificial/a/call.wav.json")["review"] or {}).get("note")

    wait_until(lambda: receipt() == "I know her.", "the daemon brings the receipt up to date")
    assert place.receipt("done/artificial/a/call.wav.json")["verdict"]["confidence"] == 0.97
    assert service.charged == 1
    assert daemon.stop() == 0
    watcher.ask(place, "reconcile")
