"""The sums that are kept say what the rows say, as long as the rows are there, and afterwards what they said."""

import sqlite3
from contextlib import closing
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import NullPool, create_engine, text

from tests.clock import FalseClock
from tests.places import REFUSED, Place, speech
from watcher.domain import Charged
from watcher.sandbox import Sandbox
from watcher.store import tallies

MIGRATION = Path(__file__).parents[2] / "migrations" / "versions" / "0015_tallies.py"


@pytest.fixture
def worked(place: Place, service: Sandbox) -> Place:
    """Two are done with their verdicts, one more with the bytes of another, and one failed first."""
    for name in ("one.wav", "two.wav"):
        place.drop(name)
    place.drop("again.wav", speech("one.wav"))
    place.run_once(verdicts=True)
    service.add_fault(**REFUSED)
    place.drop("refused.wav")
    place.run_once()
    place.retry("refused.wav")
    place.run_once()
    service.clear_faults()
    return place


def kept(place: Place) -> dict[str, dict[str, float]]:
    with place.books() as books:
        return books.tallies.all()


def rows(place: Place, query: str) -> dict[str, float]:
    with closing(sqlite3.connect(place.root / "watcher.db")) as connection:
        return {str(label): float(number) for label, number in connection.execute(query)}


def test_the_sums_are_those_of_the_rows(worked: Place) -> None:
    sums = kept(worked)
    assert sums[tallies.ITEMS] == rows(worked, "SELECT '', count(*) FROM items")
    by_outcome = rows(worked, "SELECT outcome, count(*) FROM attempts GROUP BY outcome")
    assert sums[tallies.SUBMISSIONS] == by_outcome == {"accepted": 3, "file": 1}
    assert sums[tallies.CREDITS] == {"": 3}
    known = "SELECT classification, count(*) FROM verdicts WHERE state = 'known' GROUP BY classification"
    assert sums[tallies.VERDICTS] == rows(worked, known)
    assert sum(sums[tallies.VERDICTS].values()) == 2
    assert sums[tallies.REQUESTS]["submit 400"] == 1
    assert sums[tallies.REQUESTS]["verdict 200"] >= 1


def test_an_upgrade_counts_what_came_before_it(worked: Place) -> None:
    """As if the sums had always been kept, but for what no row tells: questions, and what was filed twice."""
    before = kept(worked)
    engine = create_engine(f"sqlite:///{worked.root / 'watcher.db'}", poolclass=NullPool)
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        connection.execute(text("DROP TABLE tallies"))
        run_path(str(MIGRATION))["upgrade"]()  # alone: later ones have been made already
    after = kept(worked)
    before[tallies.REQUESTS] = {k: n for k, n in before[tallies.REQUESTS].items() if k.startswith("submit ")}
    for sums in (before, after):
        counts = {k: n for k, n in sums.pop(tallies.FILED).items() if not k.endswith(tallies.SUM)}
        assert sum(n for label, n in counts.items() if label.startswith("done ")) == 4
    assert after.pop(tallies.UPLOADS) == pytest.approx(before.pop(tallies.UPLOADS))
    assert after == before


def test_a_request_that_ends_twice_is_counted_once(place: Place) -> None:
    place.drop("one.wav")
    place.run_once()
    before = kept(place)
    with place.books() as books:
        (attempt,) = books.ledger.of_item(place.item_in(books, "one.wav").id)
        books.ledger.end(attempt.number, place.clock.now(), outcome="in_doubt", charged=Charged.YES, decision="")
    assert kept(place) == before


def test_what_ended_with_its_process_took_nobody_knows_how_long(place: Place, clock: FalseClock) -> None:
    """It is counted at the next start, but the time until then is not that of an upload."""
    place.drop("one.wav")
    place.run_once()
    before = kept(place)
    with closing(sqlite3.connect(place.root / "watcher.db")) as connection, connection:
        connection.execute("UPDATE attempts SET ended_at = NULL, outcome = 'unanswered'")
    clock.advance(10_000)
    place.run_once()
    after = kept(place)
    assert sum(after[tallies.SUBMISSIONS].values()) == 2
    assert after[tallies.UPLOADS] == before[tallies.UPLOADS]


def test_what_is_rolled_back_is_not_counted(place: Place) -> None:
    """The sum and the row are of one transaction."""
    place.drop("one.wav")
    place.run_once()
    before = kept(place)
    with pytest.raises(ZeroDivisionError):
        _count_and_stumble(place)
    assert kept(place) == before


def _count_and_stumble(place: Place) -> None:
    with place.books() as books:
        books.tallies.count_question(200)
        raise ZeroDivisionError


def test_a_sum_is_written_once_in_a_transaction(place: Place) -> None:
    """However many recordings it is about; whoever reads it meanwhile finds it."""
    place.run_once()
    written: list[str] = []

    with place.books() as books:
        driver: Any = books._connection.connection.driver_connection
        driver.set_trace_callback(written.append)
        for _ in range(50):
            books.tallies.count_question(200)
    assert len([statement for statement in written if statement.startswith("INSERT INTO tallies")]) == 1
    with place.books() as books:
        books.tallies.count_question(200)
        assert books.tallies.all()[tallies.REQUESTS]["verdict 200"] == 51
    assert kept(place)[tallies.REQUESTS]["verdict 200"] == 51
