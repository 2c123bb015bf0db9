"""Very many files wait in the drop folder: what a second costs does not depend on how many. Counted, not timed."""

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.places import Place, speech
from tests.queues import settle
from watcher.audio.synthesis import wav
from watcher.composition import Journey
from watcher.domain import Item, State
from watcher.errors import RecordingUnreachable, StoreUnavailable
from watcher.folders import Folder
from watcher.journey.arrive import recheck
from watcher.journey.arrive.look import Look
from watcher.sandbox import Sandbox
from watcher.store import Books, Store
from watcher.store.items import Items

FEW, MANY = 1_500, 4_500


def calls_of(act: Callable[[], object]) -> int:
    """How many functions and generators this thread enters meanwhile."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def wait(place: Place, journey: Journey, number: int, content: bytes = b"") -> None:
    """So many files more lie there, were looked at, and wait."""
    before = len(journey.arrivals.registry.settler)
    for n in range(number):
        place.drop(f"day-{n % 10}/{before + n}.wav", content)
    journey.arrivals.hints.scan_soon()
    while journey.arrivals.step() <= 0:
        pass
    place.clock.wait(2.5, journey.stopping)
    while journey.arrivals.step() <= 0:
        pass


def second(place: Place, journey: Journey, newcomer: str) -> int:
    """What one second's step costs in which one file comes."""
    place.clock.wait(1.0, journey.stopping)
    place.drop(newcomer, b"")
    journey.arrivals.hint(newcomer.encode(), is_closed=True)
    return calls_of(journey.arrivals.step)


@pytest.mark.parametrize("is_blocked", [False, True], ids=["waiting", "blocked"])
def test_a_second_costs_as_much_with_many_waiting_files_as_with_few(
    is_blocked: bool, place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of those that wait already is sorted, counted or even touched, blocked ones or others."""

    def refuse(*_: Any) -> None:
        raise RecordingUnreachable("it cannot be read", hint="Let it be.")

    if is_blocked:
        monkeypatch.setattr(Look, "_look_into", refuse)
    with place.opened() as journey:
        wait(place, journey, FEW)
        with_few = max(second(place, journey, f"few-{n}.wav") for n in range(3))
        wait(place, journey, MANY - FEW)
        with_many = max(second(place, journey, f"many-{n}.wav") for n in range(3))
    assert with_many < with_few + 1_000


def commits_of(act: Callable[[], object]) -> int:
    """How many transactions that write are begun meanwhile."""
    count = 0
    writing = Store.writing

    def counted(store: Store) -> Any:
        nonlocal count
        count += 1
        return writing(store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "writing", counted)
        act()
    return count


def test_recordings_that_are_taken_away_together_are_withdrawn_together(place: Place, service: Sandbox) -> None:
    """Some commits for hundreds of them; what still lies there, or was replaced, is not mistaken for gone."""
    for n in range(250):
        place.drop(f"{n:03}.wav")
    with place.opened() as journey:
        settle(journey)
        place.drop("../another.wav").replace(place.root / "drop/007.wav")
        for n in {*range(240)} - {7}:
            (place.root / f"drop/{n:03}.wav").unlink()
        journey.arrivals.hints.scan_soon()

        commits = commits_of(journey.arrivals.scanner.scan)

        assert Counter(place.states().values()) == {State.WITHDRAWN: 239, State.QUEUED: 11}
        assert [path for path, _ in journey.arrivals.registry.settler.roll.fingerprints()] == [b"007.wav"]
        one = place.item("001.wav")
        with place.books() as books:
            assert books.items.history(one.id)[-1]["note"] == "its file was taken out of the drop folder"
    assert commits < 10


def test_one_that_cannot_be_withdrawn_keeps_no_other(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with it: the others of its batch are withdrawn all the same, and it is tried again."""
    for n in range(20):
        place.drop(f"{n:03}.wav")
    withdraw = recheck.withdraw

    def stumble(books: Books, item: Item, now: float, note: str) -> None:
        if item.path == b"007.wav":
            raise ZeroDivisionError
        withdraw(books, item, now, note)

    with place.opened() as journey:
        settle(journey)
        for path in (place.root / "drop").glob("*.wav"):
            path.unlink()
        monkeypatch.setattr(recheck, "withdraw", stumble)
        journey.arrivals.scanner.scan()
        assert Counter(place.states().values()) == {State.WITHDRAWN: 19, State.QUEUED: 1}
        monkeypatch.undo()
        journey.arrivals.scanner.scan()
    assert Counter(place.states().values()) == {State.WITHDRAWN: 20}


def test_a_first_look_enters_one_function_for_each_file(place: Place, service: Sandbox) -> None:
    """Whether it is to stop; and it makes no object of ours: a call costs as much as what it does."""
    calls = []
    with place.opened() as journey:
        scanner = journey.arrivals.scanner
        scanner.scan()
        for n in range(4_000):
            place.drop(f"day-{n % 10}/{n}.wav", b"")
            if n + 1 in (1_000, 4_000):
                calls.append(calls_of(scanner.scan))
        assert len(journey.arrivals.registry.settler) == 4_000
    assert calls[1] - calls[0] < 1.5 * 3_000


def test_a_scan_of_a_queue_that_has_not_changed_reads_no_row_of_it(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies there is compared with what was read before; after any change it is read anew."""
    read = list[int]()
    live_paths = Items.live_paths

    def noted(items: Items) -> dict[bytes, int]:
        found = live_paths(items)
        read.append(len(found))
        return found

    monkeypatch.setattr(Items, "live_paths", noted)
    for n in range(5):
        place.drop(f"{n}.wav")
    with place.opened() as journey:
        settle(journey)
        scanner = journey.arrivals.scanner
        scanner.scan()
        read.clear()
        scanner.scan()
        assert read == []
        place.drop("new.wav")
        (place.root / "drop/3.wav").unlink()
        settle(journey)
        scanner.scan()
        assert read[-1] == 5
        read.clear()
        scanner.scan()
        assert read == []
    assert Counter(place.states().values()) == {State.QUEUED: 5, State.WITHDRAWN: 1}


def test_what_could_not_be_read_of_the_queue_is_read_by_the_next_scan(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was busy when the first scan asked: what is taken away then is noticed by the second."""
    for n in range(3):
        place.drop(f"{n}.wav")
    with place.opened() as journey:
        settle(journey)
    with place.opened() as journey:
        scanner = journey.arrivals.scanner
        with monkeypatch.context() as patched:
            patched.setattr(Items, "live_paths", unavailable)
            with pytest.raises(StoreUnavailable):
                scanner.scan()
        (place.root / "drop/1.wav").unlink()
        scanner.scan()
    assert Counter(place.states().values()) == {State.QUEUED: 2, State.WITHDRAWN: 1}


def unavailable(_items: Items) -> dict[bytes, int]:
    raise StoreUnavailable("it is locked")


def test_what_lacks_something_is_read_no_more_while_nothing_changes(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened as it comes, and once more when it is surely at rest; then its fingerprint tells enough.

    Until its time is over: whether somebody writes it is asked before it is given up.
    """
    opened = list[bytes]()
    opens = Folder.open

    def counted(folder: Folder, path: bytes) -> Any:
        opened.append(path)
        return opens(folder, path)

    path = place.drop("call.wav", speech("call")[:-2_000])
    monkeypatch.setattr(Folder, "open", counted)
    with place.opened() as journey:
        for _ in range(20):
            journey.arrivals.step()
            place.clock.wait(60, journey.stopping)
        assert [file.code for file in journey.arrivals.waiting()] == ["cut_short"]
        assert opened == [b"call.wav"] * 2
        with path.open("ab") as file:
            file.write(bytes(1_000))
        journey.arrivals.hint(b"call.wav", is_closed=True)
        journey.arrivals.step()
        assert opened == [b"call.wav"] * 3
        with path.open("ab"):
            place.clock.wait(3_600, journey.stopping)
            journey.arrivals.step()
            assert [file.code for file in journey.arrivals.waiting()] == ["open"]
        journey.arrivals.hint(b"call.wav", is_closed=True)
        settle(journey)
    fault = place.item("call.wav").fault
    assert fault is not None
    assert fault.code == "truncated"


def test_no_more_are_examined_than_are_soon_admitted(place: Place, service: Sandbox) -> None:
    """What waits for its admission is kept with all that is known of it: that must not be 100,000 files."""
    for n in range(2_000):
        place.drop(f"{n:04}.wav", recording(n))
    woken = list[None]()
    with place.opened() as journey:
        journey.arrivals.hints.wake = lambda: woken.append(None)
        while journey.arrivals.step() <= 0:
            pass
        assert len(journey.arrivals.settled) < 1_500
        woken.clear()
        journey.admission.step()
        assert woken  # the daemon goes on looking at once
        settle(journey)
    assert Counter(place.states().values()) == {State.QUEUED: 2_000}


def recording(number: int) -> bytes:
    return wav(0.02, seed=1)[:-8] + number.to_bytes(8, "little")
