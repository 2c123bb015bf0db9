"""Details of a recovery: tombstones, the ledger, older copies, malformed receipts."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.people import STRANGER, needs_root
from tests.places import REFUSED, Place, speech
from tests.queues import posts
from watcher import composition
from watcher.cli import main
from watcher.domain import Charged, State
from watcher.errors import StoreLost
from watcher.journey.decisions import pause, resume, retry
from watcher.journey.loss import note_loss
from watcher.journey.recovery import Found, Left
from watcher.journey.recovery.evidence import Malformed, read_evidence
from watcher.sandbox import Sandbox

CALL = speech("call")


def recover(place: Place, **options: Any) -> tuple[Found, list[Left]]:
    """What it came to, and what was left as it is."""
    left: list[Left] = []
    given: dict[str, Any] = {"trusted": (), "hashes": False, "is_trial": False, "show": lambda _: None}
    found = composition.recover_books(place.config, place.clock, tell=left.append, **(given | options))
    return found, left


def lose(place: Place) -> Path:
    database = place.root / "watcher.db"
    for ending in ("", "-wal", "-shm"):
        Path(f"{database}{ending}").unlink(missing_ok=True)
    return database


def erase(place: Place, name: str) -> None:
    assert main(["erase", name, "--config", str(place.config_path)]) == 0


@pytest.mark.parametrize("days", [31, 91, 366])
def test_what_retention_has_left_of_a_content_is_enough(
    make_place: MakePlace, service: Sandbox, clock: FalseClock, days: float
) -> None:
    """Recording, receipt, row: whichever is gone. Dropped again, it is not paid for, and its cost is known."""
    place = make_place(retention={"recordings_days": 30, "receipts_days": 90, "history_days": 365})
    place.drop("a/call.wav", CALL)
    place.run_once(verdicts=True)
    identifier = place.item("a/call.wav").identifier
    clock.advance(days * 86_400.0)
    place.run_once()
    lose(place)

    found, left = recover(place)
    again, _ = recover(place)

    assert left == []
    assert found.adopted
    assert not again.adopted
    with place.books() as books:
        assert books.ledger.spent_since(0.0) == 1
    place.drop("again.wav", CALL)
    place.run_once(verdicts=True)
    assert place.receipt("done/again.wav.json")["identifier"] == identifier
    assert len(posts(service)) == 1


def test_a_row_that_retention_removed_is_not_brought_back_by_its_receipt(
    make_place: MakePlace, clock: FalseClock
) -> None:
    """Receipts are kept for ever here, rows are not: the tombstone in the database tells."""
    place = make_place(retention={"recordings_days": 30, "history_days": 60})
    place.drop("call.wav", CALL)
    place.run_once(verdicts=True)
    clock.advance(61 * 86_400.0)
    place.run_once()
    assert place.items() == {}

    found, _ = recover(place)

    assert not found.adopted
    assert place.items() == {}


def test_an_original_whose_receipt_is_lost_is_in_the_ledger_all_the_same(place: Place, service: Sandbox) -> None:
    """Its duplicate's receipt has the identifier: it was paid for once, and caps count it."""
    place.drop("call.wav", CALL)
    place.run_once()
    place.drop("same.wav", CALL)
    place.run_once()
    (place.root / "done/call.wav.json").unlink()
    lose(place)

    recover(place)

    assert set(place.items()) == {"same.wav"}
    with place.books() as books:
        (line,) = books.ledger.listed()
        assert books.ledger.spent_since(0.0) == 1
    assert (line.identifier, line.charged) == (place.item("same.wav").identifier, Charged.YES)


def test_the_order_of_arrival_is_kept(place: Place, clock: FalseClock) -> None:
    """`list` has the oldest first, in whatever order the folders give the receipts; new ones come last."""
    for name in ("z/1.wav", "m.wav", "a/3.wav"):
        place.drop(name)
        place.run_once()
        clock.advance(60)
    lose(place)
    recover(place)
    place.drop("0.wav")
    place.run_once()
    assert list(place.items()) == ["z/1.wav", "m.wav", "a/3.wav", "0.wav"]
    with place.books() as books:
        assert books.items.last_serial() == 4  # whoever goes through all of them does so by their numbers


def test_a_failed_recording_that_was_retried_since_the_copy_is_as_its_latest_receipt_says(
    place: Place, service: Sandbox, clock: FalseClock, tmp_path: Path
) -> None:
    """Failed in the older copy, done in its receipt. A receipt never sets back books that know better."""
    place.drop("call.wav", CALL)
    service.add_fault(**REFUSED)
    place.run_once()
    assert place.states() == {"call.wav": State.FAILED}
    shutil.copy(place.root / "watcher.db", tmp_path / "copy.db")
    old_receipt = (place.root / "failed/call.wav.json").read_bytes()
    clock.advance(60)
    place.retry("call.wav")
    place.run_once()
    assert place.states() == {"call.wav": State.DONE}
    before = place.item("call.wav")

    (place.root / "failed/call.wav.json").write_bytes(old_receipt)  # as if its removal had been lost
    found, _ = recover(place)
    assert not found.adopted
    assert place.item("call.wav") == before

    shutil.copy(tmp_path / "copy.db", lose(place))
    recover(place)
    assert place.states() == {"call.wav": State.DONE}
    assert place.item("call.wav").identifier == before.identifier
    assert place.item("call.wav").attempts == 2


def test_what_waits_in_an_older_copy_is_in_doubt(make_place: MakePlace, tmp_path: Path) -> None:
    """It may have been sent since: a person decides. One that arrives later is not in doubt."""
    place = make_place(identifai={"in_doubt": "hold"})
    place.drop("waits.wav")
    with place.opened(once=True) as journey, journey.site.store.writing() as books:
        pause(books, "", 0.0, "somebody")
    place.run_once()
    assert place.states() == {"waits.wav": State.QUEUED}
    shutil.copy(place.root / "watcher.db", tmp_path / "copy.db")
    with place.books() as books:
        resume(books, 0.0, "somebody")
    place.drop("since.wav")
    place.run_once()
    (place.root / "done/waits.wav").rename(place.root / "drop/waits.wav")  # as if it had just been sent
    (place.root / "done/waits.wav.json").unlink()
    shutil.copy(tmp_path / "copy.db", lose(place))
    with place.books() as books:
        resume(books, 0.0, "somebody")

    found, _ = recover(place)

    assert found.doubtful == 1
    assert place.states() == {"waits.wav": State.HELD, "since.wav": State.DONE}
    place.drop("later.wav")
    place.run_once()
    assert place.states()["later.wav"] is State.DONE


def test_what_was_going_back_in_an_older_copy_is_in_doubt(
    make_place: MakePlace, service: Sandbox, tmp_path: Path
) -> None:
    """It was retried: since then it may have been sent, and the answer may have been lost with the database."""
    place = make_place(identifai={"in_doubt": "hold"})
    service.add_fault(**REFUSED, times=1)
    place.drop("odd.wav", CALL)
    place.run_once()
    failed = [place.item("odd.wav")]
    with place.books() as books:
        retry(books, failed, 0.0, "somebody", fresh=False, spares_dismissed=True)
    assert place.states() == {"odd.wav": State.RETURNING}
    shutil.copy(place.root / "watcher.db", tmp_path / "copy.db")
    place.drop("since.wav")
    place.run_once()
    (place.root / "done/odd.wav").rename(place.root / "drop/odd.wav")  # as if it had just been sent
    (place.root / "done/odd.wav.json").unlink()
    shutil.copy(tmp_path / "copy.db", lose(place))
    sent = len(posts(service))

    recover(place)
    place.run_once()

    assert place.states() == {"odd.wav": State.HELD, "since.wav": State.DONE}
    assert len(posts(service)) == sent


def test_what_was_erased_is_counted_once(place: Place) -> None:
    """Its tombstone has what it cost. A copy that stays has its identifier, and was not charged for."""
    place.drop("call.wav", CALL)
    place.run_once()
    place.drop("same.wav", CALL)
    place.run_once()
    erase(place, "call.wav")
    lose(place)

    recover(place)

    with place.books() as books:
        assert books.ledger.spent_since(0.0) == 1


def test_what_was_erased_is_counted_where_an_older_copy_has_it_as_waiting(place: Place, tmp_path: Path) -> None:
    """The older copy knows of no request; the tombstone does."""
    place.drop("call.wav", CALL)
    with place.opened(once=True) as journey, journey.site.store.writing() as books:
        pause(books, "", 0.0, "somebody")
    place.run_once()
    shutil.copy(place.root / "watcher.db", tmp_path / "copy.db")
    with place.books() as books:
        resume(books, 0.0, "somebody")
    place.run_once()
    erase(place, "call.wav")
    shutil.copy(tmp_path / "copy.db", lose(place))

    recover(place)

    with place.books() as books:
        assert books.ledger.spent_since(0.0) == 1


def test_a_stranger_s_tombstone_counts_for_nothing(place: Place) -> None:
    """Whoever may write in done/ can make no content known as one that was paid for and erased."""
    needs_root()
    place.drop("call.wav", CALL)
    place.run_once(verdicts=True)
    erase(place, "call.wav")
    (tombstone,) = (place.root / "done").glob("*.erased.json")
    lose(place)
    os.chown(tombstone, STRANGER.uid or 0, -1)

    found, left = recover(place)
    trusting, _ = recover(place, trusted=[STRANGER.uid])

    assert [one.path for one in left] == [os.fsencode(tombstone.name)]
    assert "may be forged" in left[0].reason
    assert found.buried == 0
    assert trusting.buried == 1


def test_what_a_person_erased_is_erased_in_an_older_copy_too(make_place: MakePlace, clock: FalseClock) -> None:
    """There, retention had only removed its receipt."""
    place = make_place(retention={"recordings_days": 30, "receipts_days": 60})
    place.drop("call.wav", CALL)
    place.run_once(verdicts=True)
    clock.advance(61 * 86_400.0)
    place.run_once()
    copy = place.root / "copy.db"
    shutil.copy(place.root / "watcher.db", copy)
    erase(place, "call.wav")
    shutil.copy(copy, lose(place))
    assert set(place.items()) == {"call.wav"}

    found, _ = recover(place)
    again, _ = recover(place)

    assert place.items() == {}
    assert found.adopted
    assert not again.adopted


def test_a_start_on_half_of_the_books_is_refused(place: Place) -> None:
    """A recovery was cut off: nothing is sent before it has come to its end."""
    place.drop("call.wav", CALL)
    place.run_once()
    with place.books() as books:
        note_loss(books, 0.0, is_settled=False)
    with pytest.raises(StoreLost, match="recovery was cut off"):
        place.run_once()
    recover(place)
    place.run_once()


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../etc"},
        {"format": 2},
        {"path": "../outside.wav"},
        {"path": "a\0b"},
        {"size": "4"},
        {"size": True},
        {"sha256": "xyz"},
        {"identifier": ""},
        {"identifier": None},
        {"identifier": ["a"]},
        {"filed_at": "yesterday"},
        {"arrived_at": None},
        {"attempts": [{"number": 1}]},
        {"attempts": "none"},
        {"options": {}},
        {"parts": [{"index": 1}]},
        {"verdict": {"state": "wonderful"}},
        {"verdict": {"state": "known", "machine": "human"}},
        {"verdict": {"state": "known", "result_url": "javascript:alert(1)"}},
        {"review": {"word": "perhaps", "note": "", "by": "anna", "at": "2026-01-01T00:00:00.000Z"}},
        {"review": {"word": "human", "note": "", "by": None, "at": "2026-01-01T00:00:00.000Z"}},
        {"audio": {"container": 5}},
        {"arrived_at": "9999-12-31T23:59:59.999Z"},
        {"filed_as": "../call.wav"},
        {"filed_as": "/call.wav"},
        {"companions": 5},
        {"companions": ["../call.xml"]},
    ],
    ids=str,
)
def test_a_receipt_that_is_not_as_we_write_them_is_no_evidence(place: Place, change: dict[str, Any]) -> None:
    """Whatever is wrong with it, that is said, and the others are read."""
    place.drop("call.wav", CALL)
    place.drop("other.wav")
    place.run_once(verdicts=True)
    path = place.root / "done/call.wav.json"
    receipt = json.loads(path.read_bytes())
    assert read_evidence(receipt, channels="together").item.id == receipt["id"]
    with pytest.raises(Malformed):
        read_evidence(receipt | change, channels="together")
    path.write_text(json.dumps(receipt | change))
    lose(place)

    _, left = recover(place)

    assert [one.path for one in left] == [b"call.wav.json"]
    assert set(place.items()) == {"other.wav"}


@pytest.mark.parametrize("name", ["foo.json", "foo~abc.json"])
def test_what_was_dropped_is_no_receipt(make_place: MakePlace, service: Sandbox, name: str) -> None:
    """A sidecar may say what it likes, and belongs to the service where it was copied."""
    place = make_place(arrivals={"sidecar": [".json"]}, folders={"own": True})
    for stem in ("foo", "foo~abc"):
        place.drop(f"{stem}.json", b"{}")
        place.drop(f"{stem}.wav", speech(stem))
    place.run_once()
    receipt = place.receipt("done/foo.wav.json")
    assert (place.root / "done" / name).read_bytes() == b"{}"
    receipt |= {"id": "0" * 16, "path": "victim.wav", "filed_as": "victim.wav", "content_key": None}
    receipt |= {"companions": [], "sha256": hashlib.sha256(CALL).hexdigest(), "size": len(CALL)}
    (place.root / "done" / name).write_text(json.dumps(receipt))
    lose(place)

    _, left = recover(place)

    assert [one.path for one in left] == [os.fsencode(name)]
    assert place.items().keys() == {"foo.wav", "foo~abc.wav"}
    sent = len(posts(service))
    place.drop("victim.json", b"{}")
    place.drop("victim.wav", CALL)
    place.run_once()
    assert len(posts(service)) == sent + 1


def test_a_receipt_tells_all_that_its_row_did(place: Place, service: Sandbox) -> None:
    """Every field that a receipt has comes back, and the history says where it is from."""
    service.add_fault(**REFUSED, sha256=hashlib.sha256(CALL).hexdigest())
    place.drop("folder/call.wav", CALL)
    place.drop("other.wav")
    place.run_once(verdicts=True)
    before = place.items()
    with place.books() as books:
        ledger = list(books.ledger.listed())
    lose(place)

    recover(place)

    for path, item in place.items().items():
        for name in ("id", "state", "size", "sha256", "audio", "content_key", "identifier", "fault", "warning"):
            assert getattr(item, name) == getattr(before[path], name), name
        assert item.filed_as == before[path].filed_as
        assert item.attempts == before[path].attempts
    with place.books() as books:
        found = list(books.ledger.listed())
        assert "from its receipt" in books.items.history(before["other.wav"].id)[0]["note"]
    assert [(a.number, a.item_id, a.outcome, a.charged, a.status) for a in found] == [
        (a.number, a.item_id, a.outcome, a.charged, a.status) for a in ledger
    ]
