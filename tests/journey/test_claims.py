"""Who has lost an item cannot let it go any more, and what comes of it late is written down all the same."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import MakePlace
from tests.places import Place
from tests.process.programs import wait_until
from tests.queues import drain, listening, posts, queued, told
from watcher.composition import Journey
from watcher.domain import Attempt, Charged, PauseKind, State
from watcher.sandbox import Sandbox

TAKES = {
    "claimed anew": "UPDATE items SET claim = 'another-claim' WHERE path = ?",
    "queued again": "UPDATE items SET state = 'queued', claim = NULL WHERE path = ?",
    "given up": "UPDATE items SET state = 'held', claim = NULL WHERE path = ?",
    "decided in the ledger": "UPDATE attempts SET ended_at = started_at, charged = 'no' WHERE item_id ="
    " (SELECT id FROM items WHERE path = ?)",
}
"""What another process may have done with an item that it takes for a dead one's."""

TAKEN_AS = {"claimed anew": State.SUBMITTING, "queued again": State.QUEUED, "given up": State.HELD}


def take(place: Place, path: str, how: str) -> None:
    """Another process has the item now."""
    script = (
        "import sqlite3, sys; database, statement, path = sys.argv[1:]\n"
        "connection = sqlite3.connect(database)\n"
        "assert connection.execute(statement, (path.encode(),)).rowcount == 1\n"
        "connection.commit(); connection.close()\n"
    )
    words = [sys.executable, "-c", script, str(place.root / "watcher.db"), TAKES[how], path]
    subprocess.run(words, check=True, timeout=30)


def while_it_travels(journey: Journey, happen: Callable[[], None]) -> None:
    """It happens when all of the next body but its last part has been sent."""
    client = journey.submissions[0]._uploads._client
    submit = client.submit

    def submitting(upload: Any, release: Callable[[], None]) -> Any:
        client.submit = submit  # type: ignore[method-assign]

        def releasing() -> None:
            happen()
            release()

        return submit(upload, releasing)

    client.submit = submitting  # type: ignore[method-assign]


def before_it_is_recorded(journey: Journey, happen: Callable[[], None]) -> None:
    """It happens when the next upload has ended in whatever way, and that is in no book yet."""
    client = journey.submissions[0]._uploads._client
    submit = client.submit

    def submitting(*arguments: Any) -> Any:
        client.submit = submit  # type: ignore[method-assign]
        try:
            return submit(*arguments)
        finally:
            happen()

    client.submit = submitting  # type: ignore[method-assign, assignment]


def attempts(place: Place, path: str) -> list[Attempt]:
    with place.books() as books:
        return books.ledger.of_item(place.item_in(books, path).id)


def open_rate_events(place: Place) -> int:
    with place.books() as books:
        return books.ledger.log("write", [], place.clock.now()).unended


@pytest.mark.parametrize("writes", [["1/second", "30/minute"], []], ids=["limited", "unlimited"])
@pytest.mark.parametrize("how", TAKES)
def test_who_has_lost_an_item_can_not_let_it_go(
    make_place: MakePlace, service: Sandbox, how: str, writes: list[str]
) -> None:
    """Taken while its body travels, the body is cut off before its last part: nothing is charged."""
    place = make_place(limits={"writes": writes})
    with queued(place, "a", "b") as journey, listening() as log:
        while_it_travels(journey, lambda: take(place, "a.wav", how))
        journey.submissions[0].step()

        wait_until(lambda: posts(service), "the service has noticed that the body ended")
        assert [(entry.is_whole, entry.charged) for entry in posts(service)] == [(False, False)]
        (attempt,) = attempts(place, "a.wav")
        assert attempt.ended_at is not None
        assert (attempt.charged, attempt.released_at) == (Charged.NO, None)
        assert open_rate_events(place) == 0
        late = [line["item"] for line in told(log, "answer.late")]
        assert late == ([place.item("a.wav").id] if how in TAKEN_AS else [])
        drain(journey)  # the others go on
        assert place.item("b.wav").state is State.DONE


@pytest.mark.parametrize("how", ["claimed anew", "queued again", "given up"])
def test_an_identifier_that_comes_late_stands_in_the_ledger(place: Place, service: Sandbox, how: str) -> None:
    """It was paid for, whoever has the item now: their decision on the item stays, and other uploads have room."""
    with queued(place, "a", *(f"{n}" for n in range(35))) as journey, listening() as log:
        before_it_is_recorded(journey, lambda: take(place, "a.wav", how))
        journey.submissions[0].step()

        (identifier,) = (entry.identifier for entry in posts(service))
        (attempt,) = attempts(place, "a.wav")
        assert (attempt.charged, attempt.identifier, attempt.status) == (Charged.YES, identifier, 200)
        assert attempt.ended_at is not None
        assert open_rate_events(place) == 0
        assert [line["identifier"] for line in told(log, "answer.late")] == [identifier]
        assert (place.item("a.wav").identifier, place.item("a.wav").state) == (None, TAKEN_AS[how])
        drain(journey)
    others = [item.state for path, item in place.items().items() if path != "a.wav"]
    assert others == [State.DONE] * 35


@pytest.mark.parametrize(
    ("fault", "charged", "kind"),
    [
        ({"kind": "status", "status": 401}, Charged.NO, PauseKind.ACCOUNT),
        ({"kind": "status", "status": 429, "retry_after": 3}, Charged.NO, PauseKind.THROTTLE),
        ({"kind": "lose_answer"}, Charged.UNKNOWN, PauseKind.SERVICE),
        ({"kind": "no_credit"}, Charged.NO, PauseKind.ACCOUNT),
    ],
    ids=lambda value: str(value) if isinstance(value, PauseKind) else "",
)
def test_a_refusal_that_comes_late_ends_its_attempt_and_pauses_as_any_other(
    place: Place, service: Sandbox, fault: dict[str, Any], charged: Charged, kind: PauseKind
) -> None:
    """What it may have cost is known, its rate event ended, and the account's or the service's fault counts."""
    service.add_fault(**fault)
    with queued(place, "a", "b") as journey:
        before_it_is_recorded(journey, lambda: take(place, "a.wav", "claimed anew"))
        journey.submissions[0].step()

        (attempt,) = attempts(place, "a.wav")
        assert attempt.ended_at is not None
        assert attempt.charged == charged
        assert open_rate_events(place) == 0
        assert [pause.kind for pause in place.pauses()] == [kind]
        drain(journey)
        assert place.item("b.wav").state is State.DONE
