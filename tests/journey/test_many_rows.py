"""Many recordings: what is kept in memory is bounded, and each is looked at in its turn, whatever the batch."""

from pathlib import Path

import pytest

from tests.clock import FalseClock
from tests.places import Place
from tests.store.recordings import item as an_item
from watcher.domain import Charged, State
from watcher.store import Store
from watcher.views import agreement, comparison, differences, reconciliation
from watcher.views.context import open_to_read
from watcher.views.reconciliation import Reconciliation, reconcile_books


def reconcile(place: Place, shown: list[tuple[str, int, int | None]] | None = None) -> Reconciliation:
    with open_to_read(place.config, place.clock) as context:
        return reconcile_books(context, lambda *told: None if shown is None else shown.append(told))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a million: what is read at once, and what is kept, is a small part of all there is."""
    monkeypatch.setattr(comparison, "_BATCH", 3)
    monkeypatch.setattr(agreement, "_BATCH", 3)
    monkeypatch.setattr(comparison, "KEPT", 4)
    monkeypatch.setattr(differences, "KEPT", 4)
    monkeypatch.setattr(reconciliation, "_RANGE", 3)


@pytest.fixture
def filed(place: Place) -> Place:
    """Ten recordings were filed, each with its marker and its sidecar."""
    place.configure(arrivals={"marker": ".done", "sidecar": [".xml"]})
    for n in range(10):
        for ending, content in ((".wav.done", b"x"), (".xml", b"x"), (".wav", None)):
            place.drop(f"sub/call.{n}{ending}", content)
    place.run_once()
    assert set(place.states().values()) == {State.DONE}
    return place


@pytest.mark.usefixtures("small")
def test_what_is_right_is_right_in_any_number_of_batches(filed: Place) -> None:
    """Recordings, receipts and companions are known in whatever batch the disk lists them; progress is shown."""
    shown: list[tuple[str, int, int | None]] = []
    found = reconcile(filed, shown)
    assert (found.wrong, found.notes, found.seen) == ([], [], 10)
    assert {what for what, _, _ in shown} >= {"rows", "ledger", "identifiers", "items", "done/"}
    assert ("rows", 10, 10) in shown


@pytest.mark.usefixtures("small")
def test_a_name_taken_is_no_stray_with_its_companions(filed: Place) -> None:
    """A second recording of the name, its marker and its sidecar got a token each."""
    for ending, content in ((".wav.done", b"y"), (".xml", b"y"), (".wav", None)):
        filed.drop(f"sub/call.1{ending}", filed_content() if content is None else content)
    filed.run_once()
    assert len(list((filed.root / "done" / "sub").glob("*~*"))) == 4
    assert reconcile(filed).notes == []


def filed_content() -> bytes:
    from watcher.audio.synthesis import wav  # noqa: PLC0415

    return wav(2, seed=77)


@pytest.mark.usefixtures("small")
def test_beyond_what_is_kept_all_are_counted(filed: Place) -> None:
    """Strays, collected recordings, missing receipts: each is counted, and the first of them are named."""
    done = filed.root / "done" / "sub"
    for n in range(9):
        (done / f"stray-{n}.txt").write_bytes(b"somebody's")
    for n in range(3):
        (done / f"call.{n}.wav").unlink()
    for n in range(3, 10):
        (done / f"call.{n}.wav.json").unlink()
    found = reconcile(filed)
    assert [line for line in found.notes if "9 files in done/, not filed by the watcher" in line]
    assert [line for line in found.notes if "3 filed recordings are no longer in done/ (collected)" in line]
    assert len([line for line in found.wrong if "its receipt is missing" in line]) == 4
    assert "3 more items differ from the folders" in found.wrong


@pytest.mark.usefixtures("small")
def test_the_ledger_and_the_items_are_compared_both_ways(tmp_path: Path) -> None:
    """In ranges, by indexes: a duplicate's identifier is its original's; what only one of the two has is named."""
    place = Place(tmp_path, "http://127.0.0.1:1", FalseClock())
    with Store(place.config.store.url) as store:
        store.database.migrate()
        with store.writing() as books:
            for n in range(1, 9):
                books.items.add(an_item(n))
            for n, identifier in ((1, "one"), (8, "one"), (2, "nowhere"), (3, "misplaced")):
                found = books.items.get(an_item(n).id)
                assert found is not None
                books.items.change(found, State.QUEUED, 1.0, identifier=identifier)
            for n, identifier in ((1, "one"), (4, "misplaced"), (5, "nobody's")):
                found = books.items.get(an_item(n).id)
                assert found is not None
                number = books.ledger.begin(found, 1.0, no_cache=False, canary=False)
                books.ledger.end(
                    number, 2.0, outcome="accepted", charged=Charged.YES, decision="", identifier=identifier
                )
            gone = an_item(77)
            for _ in range(2):
                books.ledger.begin(gone, 1.0, no_cache=False, canary=False)
    wrong = [line for line in reconcile(place).wrong if "identifier" in line or "is no item" in line]
    assert sorted(wrong) == sorted(
        [
            f"{an_item(2).id[:6]} 2.wav: its identifier is not in the ledger",
            "nobody's: the service has given this identifier, but no item has it",
            f"{gone.id[:6]}: the ledger has 2 of its requests, but it is no item",
        ]
    )
