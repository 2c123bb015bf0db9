"""What was charged is told by day, by folder and by whose recording it was, as the caps count it."""

import os
import threading

import pytest

from tests.conftest import MakePlace
from tests.places import Place, speech
from watcher.accounts import user_name
from watcher.domain import Charged, Pause, PauseKind
from watcher.errors import Exit
from watcher.store import Store
from watcher.views.context import open_to_read
from watcher.views.health import find_troubles
from watcher.views.period import ALWAYS, Period
from watcher.views.spend import FORGOTTEN, Row, Spend, read_spend
from watcher.views.status import read_status

DAY = 86_400.0


def spend(place: Place, by: str = "day", period: Period = ALWAYS) -> Spend:
    with open_to_read(place.config, place.clock) as context:
        return read_spend(context, period, by)


@pytest.fixture
def paid(make_place: MakePlace) -> Place:
    """Three recordings in two folders, one more with the bytes of another, and a day later one in no folder."""
    place = make_place(limits={"per_day": 10, "timezone": "UTC"})
    for name in ("anna/1.wav", "anna/2.wav", "bert/3.wav"):
        place.drop(name)
    place.drop("anna/again.wav", speech("anna/1.wav"))
    place.run_once()
    place.clock.wait(DAY, threading.Event())
    place.drop("4.wav")
    place.run_once()
    return place


def test_spend_is_told_by_day_and_against_the_caps(paid: Place) -> None:
    """What has the same bytes as another cost nothing. Today is one; the month has all."""
    found = spend(paid)
    assert [(row.requests, row.charged, row.unsure) for row in found.rows] == [(3, 3, 0), (1, 1, 0)]
    assert found.rows[0].key < found.rows[1].key
    assert [(one.span, one.charged, one.cap) for one in found.now] == [("day", 1, 10), ("month", 4, 0)]
    assert found.total.charged == 4
    since = found.now[0].since
    assert spend(paid, period=Period(since=since)).total.charged == 1


def test_spend_is_told_by_folder(paid: Place) -> None:
    """The most first."""
    assert spend(paid, "folder").rows == [
        Row("anna", 2, 2, 0),
        Row("(the drop folder itself)", 1, 1, 0),
        Row("bert", 1, 1, 0),
    ]


def test_spend_is_told_by_whose_file_it_was(make_place: MakePlace) -> None:
    """By name, or by number where the machine has no name for it: whoever the files belong to now."""
    place = make_place()
    for name, owner in (("a.wav", 0), ("b.wav", 54321), ("c.wav", 54321)):
        path = place.drop(name)
        if os.geteuid() == 0:
            os.chown(path, owner, -1)
    place.run_once()
    for path in (place.root / "done").iterdir():
        os.chown(path, os.geteuid(), -1)
    if os.geteuid() == 0:
        assert spend(place, "user").rows == [Row("54321", 2, 2, 0), Row("root", 1, 1, 0)]
        assert place.receipt("done/b.wav.json")["owner"] == 54321
    else:
        assert spend(place, "user").rows == [Row(user_name(os.geteuid()), 3, 3, 0)]


@pytest.mark.parametrize("by", ["folder", "user"])
def test_what_has_no_row_any_more_is_counted(paid: Place, by: str) -> None:
    """As after its history's days: its requests are sums only."""
    with paid.books() as books:
        item = paid.item_in(books, "bert/3.wav")
        books.ledger.sum_up(item.id)
        books.items._connection.exec_driver_sql("DELETE FROM attempts WHERE item_id = ?", (item.id,))
    found = spend(paid, by)
    assert found.total.charged == 4
    assert Row(FORGOTTEN, 1, 1, 0) in found.rows


def test_what_may_have_been_charged_is_told_apart(paid: Place) -> None:
    with paid.books() as books:
        item = paid.item_in(books, "4.wav")
        number = books.ledger.begin(item, paid.clock.now(), no_cache=False, canary=False)
        books.ledger.end(number, paid.clock.now(), outcome="timeout", charged=Charged.UNKNOWN, decision="")
    assert spend(paid).rows[-1][1:] == (2, 1, 1)
    assert spend(paid).now[0].charged == 2


def test_work_that_does_not_succeed_is_trouble_and_one_recording_is_not(paid: Place) -> None:
    """For monitoring: no daemon, a step that fails, a pause; but not one recording that cannot be taken."""
    with open_to_read(paid.config, paid.clock) as context:
        (down,) = find_troubles(read_status(context), paid.clock.now(), 30.0)
        assert (down.code, "not running" in down.said) == (Exit.INCOMPLETE, True)
        for kind in (PauseKind.ACCOUNT, PauseKind.CAP, PauseKind.THROTTLE):
            with context.store.writing() as books:
                books.pauses.set(Pause(kind, "code", f"because of {kind}", 1.0, None))
        told = find_troubles(read_status(context), paid.clock.now(), 30.0)
    codes = [trouble.code for trouble in told]
    assert codes == [Exit.INCOMPLETE, Exit.UNAVAILABLE, Exit.UNAVAILABLE]
    assert "account" in "".join(trouble.said for trouble in told)


def test_before_the_first_start_nothing_was_spent(place: Place) -> None:
    with Store(place.config.store.url):
        assert spend(place).rows == spend(place, "user").rows == []
