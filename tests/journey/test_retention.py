"""What `[retention]` removes, when, and what stays of it: a tombstone, so that its content is known for ever."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import REFUSED, Place, speech
from tests.queues import pay_table, posts
from watcher.cli import main
from watcher.domain import PauseKind, State
from watcher.folders import Folder
from watcher.folders.tombstone_files import KEY, read_tombstones
from watcher.sandbox import Sandbox

DAY = 86_400.0
CALL = speech("call")


def later(clock: FalseClock, days: float) -> None:
    clock.advance(days * DAY)


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    """Recordings are kept for 30 days, receipts for 90, rows for 365."""
    return make_place(retention={"recordings_days": 30, "receipts_days": 90, "history_days": 365})


def done_call(place: Place, name: str = "a/call.wav") -> str:
    """A recording was filed, and its verdict is known. Return its id."""
    place.drop(name, CALL)
    place.run_once(verdicts=True)
    assert place.receipt(f"done/{name}.json")["verdict"]["state"] == "known"
    return place.item(name).id


def said(place: Place, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints; the books add up beside it."""
    config = ["--config", str(place.config_path)]
    capsys.readouterr()
    assert main(["reconcile", *config]) == 0, capsys.readouterr()
    capsys.readouterr()
    assert main([*words, *config]) == 0
    return capsys.readouterr().out


def tombstones(place: Place, name: str = "done") -> list[Any]:
    return [found.tombstone for found in read_tombstones(Folder(os.fsencode(place.root / name), name))]


def check_known(place: Place, service: Sandbox, erased_id: str, identifier: str | None) -> None:
    """The same content is dropped once more: it is filed with the old identifier, says so, and nothing is sent."""
    sent = len(posts(service))
    place.drop("again.wav", CALL)
    place.run_once(verdicts=True)
    receipt = place.receipt("done/again.wav.json")
    assert len(posts(service)) == sent
    assert receipt["duplicate_of"] == erased_id
    assert receipt["identifier"] == identifier
    assert receipt["verdict"]["state"] == "known"
    assert "erased" in receipt["warning"]


def test_nothing_is_removed_by_default(make_place: MakePlace, clock: FalseClock) -> None:
    place = make_place()
    done_call(place)
    later(clock, 5000)
    place.run_once()
    assert place.files() == {"done/a/call.wav", "done/a/call.wav.json"}


def test_each_goes_when_its_time_is_over(place: Place, service: Sandbox, clock: FalseClock) -> None:
    """First the recording, then the receipt, then the row; whatever is left knows the content."""
    item_id = done_call(place)
    identifier = place.item("a/call.wav").identifier
    later(clock, 29)
    place.run_once()
    assert place.files() == {"done/a/call.wav", "done/a/call.wav.json"}
    later(clock, 2)
    place.run_once()
    assert place.files() == {"done/a/call.wav.json"}
    receipt = place.receipt("done/a/call.wav.json")
    assert receipt["removed"]["how"] == "retention"
    assert receipt["identifier"] == identifier
    later(clock, 60)
    place.run_once()
    assert place.files() == {f"done/a/{item_id}.erased.json"}
    (tombstone,) = tombstones(place)
    assert tombstone.identifier == identifier
    assert tombstone.charged == 1
    assert place.item("a/call.wav").receipt_removed_at is not None
    later(clock, 280)
    place.run_once()
    assert place.items() == {}
    assert place.files() == {f"done/a/{item_id}.erased.json"}
    check_known(place, service, item_id, identifier)
    assert list(pay_table(service).values()) == [1]


@pytest.mark.parametrize("days", [31, 91, 366])
def test_a_content_whose_recording_receipt_or_row_is_gone_is_paid_for_once(
    place: Place, service: Sandbox, clock: FalseClock, days: float
) -> None:
    """Whatever is left of it, a copy that is dropped later gets its identifier, and says that it was erased."""
    item_id = done_call(place)
    identifier = place.item("a/call.wav").identifier
    later(clock, days)
    place.run_once()
    check_known(place, service, item_id, identifier)
    assert list(pay_table(service).values()) == [1]
    later(clock, days)
    place.run_once()


def test_whoever_asks_is_told(place: Place, clock: FalseClock, capsys: pytest.CaptureFixture[str]) -> None:
    """`why` and `show` say what was removed, and when, as long as anything is known of it; the books add up."""
    item_id = done_call(place)
    later(clock, 31)
    place.run_once()
    assert "removed at" in said(place, capsys, "why", "a/call.wav")
    assert "retention" in said(place, capsys, "show", item_id)
    later(clock, 60)
    place.run_once()
    assert "so was its receipt" in said(place, capsys, "why", "a/call.wav")
    later(clock, 365)
    place.run_once()
    for words in (("show", item_id), ("show", item_id[:6]), ("why", f"done/a/{item_id}.erased.json")):
        assert "removed when its time was over" in said(place, capsys, *words)
    assert json.loads(said(place, capsys, "show", "--json", item_id))["tombstone"] is True
    place.drop("again.wav", CALL)
    place.run_once(verdicts=True)
    assert "erased" in said(place, capsys, "show", "again.wav")
    assert "erased" in said(place, capsys, "why", "again.wav")


def test_a_receipt_outlives_its_row_where_receipts_are_kept(
    make_place: MakePlace, clock: FalseClock, capsys: pytest.CaptureFixture[str], service: Sandbox
) -> None:
    """The row goes on its own clock; `show` then reads the receipt, and the content is still known."""
    place = make_place(retention={"recordings_days": 1, "history_days": 2})
    item_id = done_call(place)
    identifier = place.item("a/call.wav").identifier
    later(clock, 3)
    place.run_once()
    place.run_once()
    assert place.items() == {}
    assert place.files() == {"done/a/call.wav.json"}
    assert item_id in said(place, capsys, "show", "done/a/call.wav")
    check_known(place, service, item_id, identifier)


def test_nothing_goes_before_its_verdict(place: Place, service: Sandbox, clock: FalseClock) -> None:
    """However old it is; and its time begins with the verdict."""
    place.drop("call.wav", CALL)
    place.run_once()
    later(clock, 1000)
    place.run_once()
    assert place.files() == {"done/call.wav", "done/call.wav.json"}
    place.run_once(verdicts=True)
    with place.opened() as journey:
        while journey.verdict_poller.step() <= 0:
            pass
        journey.retention.finish()
    assert "done/call.wav" in place.files()
    later(clock, 29)
    place.run_once()
    assert "done/call.wav" in place.files()
    later(clock, 2)
    place.run_once()
    assert "done/call.wav" not in place.files()


def test_what_was_altered_or_replaced_stays(
    place: Place, clock: FalseClock, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is not what was filed: it stays, with its receipt, and is named."""
    done_call(place, "grown.wav")
    place.drop("swapped.wav", speech("swapped"))
    place.run_once(verdicts=True)
    with (place.root / "done/grown.wav").open("ab") as file:
        file.write(b"more")
    os.utime(place.root / "done/swapped.wav")  # touched alone: its bytes are the same
    place.drop("linked.wav", speech("linked"))
    place.run_once(verdicts=True)
    target = place.root / "target.wav"
    os.rename(place.root / "done/linked.wav", target)
    (place.root / "done/linked.wav").symlink_to(target)
    later(clock, 31)
    place.run_once()
    assert (place.root / "done/grown.wav").exists()
    assert not (place.root / "done/swapped.wav").exists()
    assert (place.root / "done/linked.wav").is_symlink()
    assert target.read_bytes() == speech("linked")
    assert place.item("grown.wav").altered is not None


def test_another_recording_of_its_name_stays(place: Place, clock: FalseClock) -> None:
    """The first one was collected and a second one filed under its name: only what is due goes."""
    done_call(place, "call.wav")
    os.rename(place.root / "done/call.wav", place.root / "collected.wav")
    os.rename(place.root / "done/call.wav.json", place.root / "collected.wav.json")
    later(clock, 20)
    place.drop("call.wav", speech("another"))
    place.run_once(verdicts=True)
    later(clock, 15)
    place.run_once()
    assert (place.root / "done/call.wav").read_bytes() == speech("another")
    assert (place.root / "done/call.wav.json").exists()
    items = [item.removed and item.removed.how for item in place.items().values()]
    assert len(items) == 1  # of one path


def test_companions_go_with_their_recording(make_place: MakePlace, clock: FalseClock) -> None:
    """The marker and the sidecar go; what somebody has written since stays."""
    place = make_place(retention={"recordings_days": 1}, arrivals={"marker": ".done", "sidecar": [".xml"]})
    for name in ("a", "b"):
        place.drop(f"{name}.xml", b"<call/>")
        place.drop(f"{name}.wav.done", b"")
        place.drop(f"{name}.wav", speech(name))
    place.run_once(verdicts=True)
    newer = (place.root / "done/b.xml").stat().st_mtime + 1000
    (place.root / "done/b.xml").write_bytes(b"<call>a note</call>")
    os.utime(place.root / "done/b.xml", (newer, newer))
    later(clock, 2)
    place.run_once()
    assert place.files() == {"done/a.wav.json", "done/b.wav.json", "done/b.xml"}


def test_failed_recordings_go_too(place: Place, service: Sandbox, clock: FalseClock) -> None:
    """A failed one has no verdict to wait for. The service's refusal is remembered as long as anything is."""
    service.add_fault(**REFUSED, times=1)
    place.drop("odd.wav", CALL)
    place.run_once()
    assert place.item("odd.wav").state is State.FAILED
    for days, left in ((31, {"failed/odd.wav.json"}), (60, None), (365, None)):
        later(clock, days)
        place.run_once()
        assert "failed/odd.wav" not in place.files()
        assert left is None or place.files() == left
    assert place.items() == {}
    place.drop("again.wav", CALL)
    place.run_once()
    assert len(posts(service)) == 1
    receipt = place.receipt("failed/again.wav.json")
    assert receipt["error"]["code"] == "refused"
    assert "erased" in receipt["error"]["message"]


def test_held_and_queued_recordings_stay(make_place: MakePlace, service: Sandbox, clock: FalseClock) -> None:
    """They lie in the drop folder, where nothing is ever removed."""
    place = make_place(identifai={"in_doubt": "hold"}, retention={"recordings_days": 1, "history_days": 1})
    service.add_fault("lose_answer", times=1)
    place.drop("held.wav", CALL)
    place.run_once()
    assert place.item("held.wav").state is State.HELD
    later(clock, 100)
    place.run_once()
    assert place.item("held.wav").state is State.HELD
    assert place.files() == {"drop/held.wav"}


def test_what_was_withdrawn_is_forgotten(place: Place, clock: FalseClock) -> None:
    """Its row goes with the history; in doubt, it stays, as nobody else knows that it may have been paid for."""
    with place.opened() as journey:
        place.drop("call.wav", CALL)
        journey.arrivals.step()
        clock.advance(100)
        journey.arrivals.step()
        journey.admission.step()
        os.unlink(place.root / "drop/call.wav")
        clock.advance(100)
        journey.arrivals.step()
        assert place.item("call.wav").state is State.WITHDRAWN
        later(clock, 364)
        journey.retention.finish()
        assert set(place.items()) == {"call.wav"}
        later(clock, 2)
        journey.retention.finish()
    assert place.items() == {}


def test_the_caps_still_count_what_is_forgotten(
    make_place: MakePlace, service: Sandbox, clock: FalseClock
) -> None:
    """What was spent today stays spent, whatever was removed since."""
    place = make_place(
        retention={"recordings_days": 0.01, "receipts_days": 0.01, "history_days": 0.01}, limits={"per_month": 2}
    )
    start = clock.now()
    for name in ("one", "two"):
        place.drop(f"{name}.wav", speech(name))
    place.run_once(verdicts=True)
    later(clock, 0.02)
    place.run_once()
    assert place.items() == {}
    with place.books() as books:
        assert books.ledger.spent_since(start - 900) == 2
        assert books.ledger.sums() == (2, 2)
        assert list(books.ledger.listed()) == []
    place.drop("three.wav", speech("three"))
    place.run_once()
    assert len(posts(service)) == 2
    assert [pause.kind for pause in place.pauses()] == [PauseKind.CAP]


def test_in_parts_it_keeps_its_parts_identifiers(
    make_place: MakePlace, service: Sandbox, clock: FalseClock
) -> None:
    """A long recording's copy gets every part's identifier, and its joined verdict."""
    place = make_place(
        retention={"recordings_days": 1, "receipts_days": 1, "history_days": 1},
        audio={"oversize": "split"},
        limits={"max_upload_bytes": 400_000},
    )
    long = speech("long", seconds=60.0)
    place.drop("long.wav", long)
    place.run_once(verdicts=True)
    before = place.receipt("done/long.wav.json")
    assert len(before["parts"]) > 1
    sent = len(posts(service))
    later(clock, 2)
    place.run_once()
    assert place.items() == {}
    place.drop("again.wav", long)
    place.run_once(verdicts=True)
    after = place.receipt("done/again.wav.json")
    assert len(posts(service)) == sent
    assert [part["identifier"] for part in after["parts"]] == [part["identifier"] for part in before["parts"]]
    assert after["verdict"]["classification"] == before["verdict"]["classification"]
    assert after["verdict"]["state"] == "known"


def test_a_lost_database_leaves_the_tombstones(place: Place, clock: FalseClock) -> None:
    """The file tells the same as the row, and the key to its content lies in done/."""
    item_id = done_call(place)
    later(clock, 100)
    place.run_once()
    (tombstone,) = tombstones(place)
    with place.books() as books:
        assert books.tombstones.get(item_id) == tombstone
        (key,) = books.tombstones.known_keys()
    note: dict[str, str] = json.loads((place.root / "done" / os.fsdecode(KEY)).read_text())
    assert note == {"key": key.hex()}


@pytest.mark.parametrize("looked_before", [True, False])
def test_a_clock_that_is_wrong_by_years_removes_nothing(
    place: Place, clock: FalseClock, looked_before: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is removed, and that is said. A day later it is believed: the machine was off for long."""
    place.drop("a/call.wav", CALL)
    place.run_once(verdicts=True)
    if looked_before:
        place.run_once()
    later(clock, 5000)
    place.run_once()
    assert "the clock may be wrong" in caplog.text
    assert place.item("a/call.wav").removed is None
    later(clock, -5000)  # it was set
    place.run_once()
    later(clock, 5000)
    place.run_once()
    assert place.files() == {"done/a/call.wav", "done/a/call.wav.json"}
    later(clock, 1)
    place.run_once()
    assert place.items() == {}


def test_a_folder_that_is_away_is_not_empty(place: Place, clock: FalseClock, tmp_path: Path) -> None:
    """While done/ is away nothing is believed removed or collected."""
    done_call(place)
    later(clock, 500)
    os.rename(place.root / "done", tmp_path / "elsewhere")
    with place.opened() as journey:
        journey.retention.finish()
        assert place.item("a/call.wav").removed is None
        os.rename(tmp_path / "elsewhere", place.root / "done")
        clock.advance(60)
        journey.retention.finish()
    assert place.items() == {}
