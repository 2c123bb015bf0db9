"""Which file is which: a name says nothing, at every moment between queueing and filing."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from tests.places import REFUSED, Place, speech
from tests.queues import drain, posts, settle
from watcher import folders
from watcher.composition import Journey
from watcher.domain import State
from watcher.identifai.client import Accepted
from watcher.identifai.upload import Upload
from watcher.sandbox import Sandbox

NAME = "a/call.wav"
FIRST, SECOND = speech("the first"), speech("the second one", seconds=5)

Deed = Callable[[Path], None]
"""What somebody does with the file at this path."""


# What somebody does


def replaced(path: Path) -> None:
    """Another recording takes the name in one instant, as rsync, WinSCP and mv have it."""
    aside = path.parent.parent.parent / "aside"
    aside.write_bytes(SECOND)
    aside.rename(path)


def rewritten(path: Path) -> None:
    """Another recording is written into the same file."""
    path.write_bytes(SECOND)


def disguised(path: Path) -> None:
    """Other bytes, as many as before, in the same file, with the old times set again."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(disguise())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def disguise() -> bytes:
    return FIRST[:100] + bytes(200) + FIRST[300:]


def appended(path: Path) -> None:
    """Its writer was not through with it after all."""
    with path.open("ab") as file:
        file.write(bytes(1000))


def removed(path: Path) -> None:
    path.unlink()


def exchanged(path: Path) -> None:
    """It is renamed in the drop folder, and another recording gets its name."""
    path.rename(path.with_name("renamed.wav"))
    path.write_bytes(SECOND)


def touched(path: Path) -> None:
    """Its rights are set, as servers do after an upload: it is the same recording."""
    path.chmod(0o640)


def retimed(path: Path) -> None:
    """Its own times are set, as rsync --inplace and Samba do after the last byte: it is the same recording."""
    os.utime(path, (1_000_000_000, 1_000_000_000))


LEFT_BEHIND: dict[Deed, list[bytes]] = {
    replaced: [SECOND],
    rewritten: [SECOND],
    disguised: [disguise()],
    appended: [FIRST + bytes(1000)],
    removed: [],
    exchanged: [FIRST, SECOND],
    touched: [FIRST],
    retimed: [FIRST],
}
"""The recordings that lie in the drop folder afterwards."""


# When


class Moment:
    """Calls the deed once, when the upload or the filing comes by this point."""

    def __init__(self, name: str, deed: Deed, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name = name
        self._deed = deed
        self._path = path
        self._patch = monkeypatch
        self.is_past = False

    def reach(self, name: str) -> None:
        if name == self.name and not self.is_past:
            self.is_past = True
            self._deed(self._path)

    def attend(self, journey: Journey) -> None:
        """The doors to the service and to the disk are watched; what they do is real."""
        client = journey.submissions[0]._uploads._client
        submit, move = client.submit, folders.move

        def submit_meanwhile(upload: Upload, release: Callable[[], None]) -> Accepted:
            self.reach("opened, and not read yet")

            def release_meanwhile() -> None:
                self.reach("read, and not let go yet")
                release()

            observed = cast("BinaryIO", Observed(upload.file, self))
            accepted = submit(replace(upload, file=observed), release_meanwhile)
            self.reach("answered, and not written down yet")
            return accepted

        def move_meanwhile(*arguments: Any, **options: Any) -> Any:
            self.reach("its receipt written, and not moved yet")
            return move(*arguments, **options)

        self._patch.setattr(client, "submit", submit_meanwhile)
        self._patch.setattr("watcher.journey.file.out.move", move_meanwhile)


class Observed:
    """The open recording; somebody acts after its first part was read."""

    def __init__(self, file: BinaryIO, moment: Moment) -> None:
        self._file = file
        self._moment = moment

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self._moment.reach("half read")
        return part


BEFORE_SENT = ["queued", "opened, and not read yet", "half read"]
AFTER_SENT = [
    "read, and not let go yet",
    "answered, and not written down yet",
    "answered, and not filed yet",
    "its receipt written, and not moved yet",
]


@pytest.mark.parametrize(
    ("when", "deed"),
    [*product([*BEFORE_SENT, *AFTER_SENT], LEFT_BEHIND)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_neither_of_two_recordings_is_lost_or_taken_for_the_other(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch, when: str, deed: Deed
) -> None:
    """Whatever becomes of its file, and when: what lies in done/ bears the identifier of its own bytes.

    What was sent has its receipt though its file may be gone; what lies there afterwards is sent in its turn. No
    content is charged twice, and none that nobody meant to send is charged at all.
    """
    path = place.drop(NAME, FIRST)
    moment = Moment(when, deed, path, monkeypatch)
    with place.opened() as journey:
        moment.attend(journey)
        settle(journey)
        moment.reach("queued")
        journey.submissions[0].step()
        moment.reach("answered, and not filed yet")
        for _ in range(3):
            drain(journey)
            place.clock.wait(35, journey.stopping)
            settle(journey)
        drain(journey)
    assert moment.is_past

    left_behind = LEFT_BEHIND[deed]
    was_sent = when in AFTER_SENT or digest(FIRST) in {entry.sha256 for entry in posts(service) if entry.charged}
    expected = Counter(digest(content) for content in {*left_behind, *([FIRST] if was_sent else [])})
    assert Counter(entry.sha256 for entry in posts(service) if entry.charged) == expected
    assert not [name for name in place.files() if not name.startswith("done/")]
    assert_books_tell_the_truth(place, service)
    lying = [name for name in place.files() if not name.endswith(".json")]
    assert Counter((place.root / name).read_bytes() for name in lying) == Counter(left_behind)
    if deed is touched:
        assert place.files() == {f"done/{NAME}", f"done/{NAME}.json"}
        assert rows(place) == 1


def test_one_whose_times_are_set_after_it_was_sent_is_filed_as_itself(place: Place, service: Sandbox) -> None:
    """rsync --inplace and Samba set a file's times after its last byte: one item, under its own name."""
    path = place.drop(NAME, FIRST)
    with place.opened() as journey:
        settle(journey)
        journey.submissions[0].step()
        retimed(path)
        for _ in range(2):
            drain(journey)
            settle(journey)
        drain(journey)
    assert place.files() == {f"done/{NAME}", f"done/{NAME}.json"}
    assert rows(place) == 1


def assert_books_tell_the_truth(place: Place, service: Sandbox) -> None:
    """Each receipt and each item names the bytes that lie beside it, and the identifier these bytes were given."""
    given = {entry.sha256: entry.identifier for entry in posts(service) if entry.charged}
    receipts = [place.receipt(name) for name in place.files() if name.endswith(".json")]
    done = {item.id: item for item in place.items().values() if item.state is State.DONE}
    assert {receipt["id"] for receipt in receipts} >= done.keys()
    for receipt in receipts:
        assert receipt["identifier"] == given[receipt["sha256"]]
        if receipt["filed_as"] is not None:
            content = (place.root / "done" / receipt["filed_as"]).read_bytes()
            assert digest(content) == receipt["sha256"]
    assert {item.state for item in place.items().values()} <= {State.DONE, State.WITHDRAWN}


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


# One row, or another one


def test_one_that_changes_while_it_waits_settles_again_and_stays_one_item(place: Place, service: Sandbox) -> None:
    """Written to again and again before it was sent: one item, of the last bytes, sent once."""
    with place.opened() as journey:
        place.drop(NAME, FIRST)
        settle(journey)
        item = before = place.item(NAME)
        for content in (speech(f"version {n}", seconds=4 + n) for n in range(3)):
            (place.root / "drop" / NAME).write_bytes(content)
            journey.arrivals.hint(os.fsencode(NAME), is_closed=True)
            settle(journey)
            item = place.item(NAME)
            assert (item.id, item.state, item.sha256) == (before.id, State.QUEUED, digest(content))
        drain(journey)
    assert [entry.sha256 for entry in posts(service)] == [item.sha256]
    assert rows(place) == 1


def test_one_that_changes_unnoticed_while_it_waits_is_not_sent_as_it_was(place: Place, service: Sandbox) -> None:
    """No event told of it, and the look does not stat what is known: it is seen when it is about to be sent."""
    with place.opened() as journey:
        place.drop(NAME, FIRST)
        settle(journey)
        (place.root / "drop" / NAME).write_bytes(SECOND)
        drain(journey)
        assert posts(service) == []
        settle(journey)
        drain(journey)
    assert [entry.sha256 for entry in posts(service)] == [digest(SECOND)]
    assert rows(place) == 1


def test_another_recording_of_the_name_is_another_item(place: Place, service: Sandbox) -> None:
    """Swapped for another file while it waits: the old one is withdrawn, the new one has a history of its own."""
    with place.opened() as journey:
        path = place.drop(NAME, FIRST)
        settle(journey)
        before = place.item(NAME)
        replaced(path)
        settle(journey)
        after = place.item(NAME)
        assert after.id != before.id
        drain(journey)
        with place.books() as books:
            kept = books.items.get(before.id)
    assert kept is not None
    assert (kept.state, kept.attempts) == (State.WITHDRAWN, 0)
    assert [entry.sha256 for entry in posts(service)] == [digest(SECOND)]


@pytest.mark.parametrize("outcome", [State.DONE, State.FAILED])
def test_a_name_used_again_is_a_new_item(place: Place, service: Sandbox, outcome: State) -> None:
    """Exports number their files anew each day: each is an item of its own, beside the ones before it."""
    ids = set()
    with place.opened() as journey:
        for day in range(3):
            if outcome is State.FAILED:
                service.add_fault(**REFUSED, times=1)
            place.drop(NAME, speech(f"day {day}"))
            settle(journey)
            drain(journey)
            item = place.item(NAME)
            assert item.state is outcome
            ids.add(item.id)
    assert len(ids) == rows(place) == 3
    folder = str(outcome)
    stem = f"{folder}/a/call"
    names = {name for name in place.files() if name.endswith(".wav")}
    assert len(names) == 3
    assert f"{stem}.wav" in names
    for name in names:
        assert place.receipt(f"{name}.json")["sha256"] == digest((place.root / name).read_bytes())


def test_a_newcomer_waits_while_its_name_is_still_needed(place: Place, service: Sandbox) -> None:
    """The one before it cannot be filed yet: the newcomer is neither filed in its stead nor forgotten."""
    done, aside = place.root / "done", place.root / "aside-done"
    with place.opened() as journey:
        path = place.drop(NAME, FIRST)
        settle(journey)
        journey.submissions[0].step()
        done.rename(aside)
        journey.filing.step()
        assert place.states() == {NAME: State.FILING}
        path.rename(path.with_name("kept.wav"))
        path.write_bytes(SECOND)
        settle(journey)
        aside.rename(done)
        for _ in range(3):
            place.clock.wait(35, journey.stopping)
            settle(journey)
            drain(journey)
    assert Counter(entry.sha256 for entry in posts(service)) == {digest(FIRST): 1, digest(SECOND): 1}
    assert_books_tell_the_truth(place, service)
    lying = [(place.root / name).read_bytes() for name in place.files() if name.endswith(".wav")]
    assert Counter(lying) == {FIRST: 1, SECOND: 1}
    assert not [name for name in place.files() if name.startswith("drop/")]


def rows(place: Place) -> int:
    with place.books() as books:
        return sum(books.items.counts().values())
