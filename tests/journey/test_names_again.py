"""done/ and failed/ are collected, and exporters use names again: a name does not say whose a file is."""

import json
from collections.abc import Callable

import pytest

from tests.conftest import MakePlace
from tests.journey.test_alterations import fetch_verdicts, said
from tests.places import REFUSED, Place, speech
from tests.queues import add, drain, listening, queued, told
from watcher.cli import main
from watcher.domain import Item, State
from watcher.errors import Exit
from watcher.sandbox import Sandbox


def take_away(place: Place) -> None:
    """Both go, as a consumer has it who moves them into its own folders."""
    for name in ("call.wav", "call.wav.json"):
        (place.root / "done" / name).rename(place.root / f"mine-{name}")


def remove(place: Place) -> None:
    """Both go, so that the next file may have the number of this one."""
    for name in ("call.wav", "call.wav.json"):
        (place.root / "done" / name).unlink()


@pytest.mark.parametrize("seconds", [9.0, 4.0, 3.2])
@pytest.mark.parametrize("collect", [take_away, remove])
def test_a_recording_that_was_collected_is_not_the_next_of_its_name(
    place: Place,
    service: Sandbox,
    capsys: pytest.CaptureFixture[str],
    collect: Callable[[Place], None],
    seconds: float,
) -> None:
    """Its verdict comes when another one lies there: nothing is grown, changed or displaced, whoever looks."""
    with queued(place, call=speech("one")) as journey, listening() as log:
        drain(journey, seconds=1)
        assert place.states() == {"call.wav": State.DONE}
        collect(place)
        add(place, journey, call=speech("two", seconds=seconds))
        drain(journey, seconds=1)
        fetch_verdicts(place, journey)
        for wait in (11, 60, 600):
            place.clock.wait(wait, journey.stopping)
            while journey.filing.step() <= 0:
                pass
        assert told(log, "recording.grown", "recording.changed", "receipt.displaced") == []
    with place.books() as books:
        first, second = books.items.listed()
    assert (first.filed_as, second.filed_as) == (b"call.wav", b"call.wav")
    assert place.receipt("done/call.wav.json")["id"] == second.id
    assert place.receipt("done/call.wav.json")["verdict"]["state"] == "known"
    status = json.loads(said(place, capsys, "status", "--json"))
    assert (status["grown"], status["changed"]) == (0, 0)
    wrong = said(place, capsys, "reconcile", "--hashes", code=Exit.INCOMPLETE).splitlines()
    (line,) = [line for line in wrong if line.startswith("wrong")]
    assert line.startswith(f"wrong: {first.id[:6]} call.wav: is done, but neither its recording nor its receipt")
    assert "no longer" not in said(place, capsys, "why", "call.wav")


def test_what_grew_is_known_without_its_receipt_and_what_is_another_file_is_not_it(
    place: Place, service: Sandbox
) -> None:
    """Only the receipts were collected: one is written on, another is replaced by somebody's own file."""
    names = ("grown", "copied", "replaced")
    with queued(place, *names) as journey, listening() as log:
        drain(journey, seconds=5)
        assert set(place.states().values()) == {State.DONE}
        for name in names:
            (place.root / f"done/{name}.wav.json").unlink()
        with (place.root / "done/grown.wav").open("ab") as writer:
            writer.write(bytes(1000))
        copies = {"copied": speech("copied") + bytes(1000), "replaced": speech("own", seconds=9)}
        for name, content in copies.items():
            (place.root / "fresh").write_bytes(content)
            (place.root / "fresh").rename(place.root / f"done/{name}.wav")
        fetch_verdicts(place, journey)
        for wait in (11, 60):
            place.clock.wait(wait, journey.stopping)
            while journey.filing.step() <= 0:
                pass
    grown = {line["path"] for line in told(log, "recording.grown", "recording.changed")}
    assert grown == {b"grown.wav", b"copied.wav"}


def failed_twice(place: Place, service: Sandbox) -> tuple[Item, Item]:
    """Two recordings of one name failed: the first one was cleared out of failed/, the second lies there."""
    service.add_fault(**REFUSED, times=2)
    for content in (speech("one"), speech("two", seconds=9)):
        place.drop("call.wav", content)
        place.drop("call.xml", content[:100])
        place.run_once()
        if content == speech("one"):
            for name in ("call.wav", "call.wav.json", "call.xml"):
                (place.root / "failed" / name).unlink()
    with place.books() as books:
        first, second = books.items.listed()
    assert (first.filed_as, second.filed_as) == (b"call.wav", b"call.wav")
    assert first.state is second.state is State.FAILED
    return first, second


@pytest.fixture
def with_sidecars(make_place: MakePlace) -> Place:
    return make_place(arrivals={"sidecar": [".xml"]})


def test_a_retry_of_all_fetches_each_its_own(
    with_sidecars: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one that was cleared away is left as it is, and said to be; the other is sent again with what is its."""
    place = with_sidecars
    first, second = failed_twice(place, service)
    capsys.readouterr()
    assert main(["retry", "--failed", "--config", str(place.config_path)]) == Exit.INCOMPLETE
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{second.id} call.wav: goes back")
    assert f"{first.id} call.wav: is not retried: another recording has its name" in printed.err
    assert f"watcher dismiss {first.id}" in printed.err

    place.run_once()

    with place.books() as books:
        states = {item.id: (item.state, item.path, item.size) for item in books.items.listed()}
    assert states[first.id] == (State.FAILED, b"call.wav", first.size)
    assert states[second.id] == (State.DONE, b"call.wav", second.size)
    assert place.files() == {"done/call.wav", "done/call.wav.json", "done/call.xml"}


def test_what_is_returned_takes_nothing_of_another(with_sidecars: Place, service: Sandbox) -> None:
    """The wish was written down before the other came there: its recording, receipt and sidecar stay."""
    place = with_sidecars
    first, second = failed_twice(place, service)
    before = {path: (place.root / path).read_bytes() for path in place.files()}
    with place.books() as books:
        books.items.change(first, State.RETURNING, place.clock.now(), retried=True)

    place.run_once()

    with place.books() as books:
        states = {item.id: item.state for item in books.items.listed()}
    assert states == {first.id: State.FAILED, second.id: State.FAILED}
    assert {path: (place.root / path).read_bytes() for path in place.files()} == before


def test_what_was_cleared_away_and_is_dropped_again_is_a_retry_though_its_name_is_anothers(
    with_sidecars: Place, service: Sandbox
) -> None:
    """The other one's recording, receipt and sidecar stay in failed/."""
    place = with_sidecars
    first, second = failed_twice(place, service)
    place.drop("call.wav", speech("one"))
    place.drop("call.xml", b"anew")

    place.run_once()

    with place.books() as books:
        states = {item.id: item.state for item in books.items.listed()}
    assert states == {first.id: State.DONE, second.id: State.FAILED}
    assert place.receipt("failed/call.wav.json")["id"] == second.id
    assert (place.root / "failed/call.wav").read_bytes() == speech("two", seconds=9)
    assert (place.root / "failed/call.xml").read_bytes() == speech("two", seconds=9)[:100]
    assert (place.root / "done/call.xml").read_bytes() == b"anew"
