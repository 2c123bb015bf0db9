"""What a command prints as JSON is what the views know, so that whoever else asks them tells the same."""

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert

from tests.journey.test_commands_that_look import said
from tests.places import REFUSED, Place
from tests.store.recordings import item as an_item
from watcher.domain import (
    Alteration,
    Altered,
    Audio,
    Dismissed,
    Fault,
    Mode,
    Part,
    PartState,
    Planned,
    Removed,
    Review,
    ReviewWord,
    State,
    Verdict,
    VerdictState,
)
from watcher.journey.answer import Answer
from watcher.sandbox import Sandbox
from watcher.store import Listed, Store
from watcher.store.parts import _columns
from watcher.store.rows import columns_of
from watcher.store.schema import items, parts
from watcher.text import JsonObject, to_json
from watcher.views.context import open_to_read
from watcher.views.lines import json_line
from watcher.views.recordings import Recording, find_history, list_recordings, list_rows, list_waiting
from watcher.views.status import read_status


@pytest.fixture
def filed(place: Place, service: Sandbox) -> Place:
    """One recording is done, one has failed, and one waits."""
    service.add_fault(**REFUSED, times=1)
    for name in ("failed.wav", "good.wav"):
        place.drop(name)
    place.drop("empty.wav", b"")
    place.run_once()
    return place


def as_printed(fact: JsonObject) -> JsonObject:
    printed: JsonObject = json.loads(to_json(fact))
    return printed


def test_json_has_what_the_views_know(filed: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """`status`, `list` and `show` add nothing to it, and leave nothing out."""
    with open_to_read(filed.config, filed.clock) as context:
        status = read_status(context)
        recordings = list(list_recordings(context))
        failed = [
            row.path for rows in list_rows(context, [State.FAILED]) for row in rows if isinstance(row, Listed)
        ]
        waiting = list_waiting(context)
        history = find_history(context, "good.wav")

    told, known = json.loads(said(filed, capsys, "status", "--json")), as_printed(status.as_json())
    for of_this_day in ("today", "spend"):  # the command's own
        assert told.pop(of_this_day).keys() == known.pop(of_this_day).keys()
    assert told == known
    lines = said(filed, capsys, "list", "--json").splitlines()
    assert [json.loads(line) for line in lines] == [as_printed(recording.as_json()) for recording in recordings]
    lines = said(filed, capsys, "list", "--waiting", "--json").splitlines()
    assert [json.loads(line) for line in lines] == [as_printed(file.as_json()) for file in waiting.files]
    assert json.loads(said(filed, capsys, "show", "good.wav", "--json")) == as_printed(history.as_json())
    assert (status.counts.states[State.DONE], failed, len(waiting.files)) == (1, [b"failed.wav"], 1)


def test_json_says_whose_an_item_is(filed: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """It is "" in a database of one site. A receipt has none, since it lies in the site's own folders."""
    (first, second) = (json.loads(line) for line in said(filed, capsys, "list", "--json").splitlines())
    shown = json.loads(said(filed, capsys, "show", "good.wav", "--json"))
    assert [one["site"] for one in (first, second, shown)] == ["", "", ""]
    assert "site" not in filed.receipt("done/good.wav.json")

    with filed.books() as books:
        items = [replace(item, site="north") for item in books.items.listed([State.DONE])]
    assert [Recording(item, Answer()).as_json()["site"] for item in items] == ["north"]


AUDIO = Audio("WAV", "µ-law", 61.23456, 2, 8000)
ODD = 'a "quote", a \\ and a \x1b[31m, a \u202e, a \x7f and an é, a tab\t'

KINDS: dict[str, dict[str, Any]] = {
    "nothing is known": {},
    "accepted": {
        "state": State.DONE,
        "outcome": State.DONE,
        "identifier": "f" * 64,
        "audio": AUDIO,
        "filed_as": b"d\xe9p/a.wav",
        "attempts": 3,
        "submitted_at": 1735689599.9996,
        "filed_at": 0.0005,
    },
    "odd words": {
        "path": ODD.encode() + b"\xff\x00.wav",
        "state": State.FAILED,
        "fault": Fault("refused", ODD, ODD),
        "warning": ODD,
        "dismissed": Dismissed(1e9, ODD),
        "audio": Audio(ODD, None, None, None, None),
        "duplicate_of": "0" * 16,
        "filed_as": ODD.encode(),
    },
    "altered": {"state": State.DONE, "outcome": State.DONE, "altered": Altered(Alteration.GROWN, 2000, 5.0)},
    "in parts": {"state": State.DONE, "outcome": State.DONE, "plan": Planned(Mode.CUT, 3, ODD), "audio": AUDIO},
    "removed": {"state": State.DONE, "outcome": State.DONE, "removed": Removed(7.0, "retention")},
    "of another site": {"site": "north \u2028"},
    "reviewed": {
        "state": State.DONE,
        "outcome": State.DONE,
        "identifier": "f" * 64,
        "review": Review(ReviewWord.UNCLEAR, ODD, ODD, 1735689599.9996),
    },
}


KNOWN = Verdict("f" * 64, VerdictState.KNOWN, 1.0, 2.0, 3.0, "human", 1, ODD, "1.2", ("é", ODD), detail=ODD)
VERDICTS = {
    "not judged": None,
    "judged": replace(KNOWN, machine_classification="human", machine_confidence=1, result_url=ODD),
    "nearly human": replace(KNOWN, confidence=0.1 + 0.2),
    "forced": replace(KNOWN, forced=True, machine_classification=ODD, machine_confidence=1e-9),
    "forced, not judged": replace(KNOWN, confidence=None, forced=True),
    "errored": Verdict("f" * 64, VerdictState.ERRORED, 1.0, 2.0, 3.0, detail=ODD, result_url="https://x/"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("judged", VERDICTS)
def test_a_line_of_a_list_has_what_a_recording_has(place: Place, kind: str, judged: str) -> None:
    """Lines are made of rows, for speed: to the letter as `show --json` has each, with and without a verdict."""
    verdict = VERDICTS[judged]
    with Store(place.config.store.url) as store:
        store.database.migrate()
        with store.writing() as books:
            books.items.add(an_item(1))
            made = replace(an_item(2), **KINDS[kind])
            connection = books.items._connection
            connection.execute(insert(items), {"id": made.id, **columns_of(made)})
            if made.plan is not None:
                part = Part(made.id, 1, None, 0, 5, 0.0, 1.0, state=PartState.ACCEPTED, identifier="f" * 64)
                connection.execute(
                    insert(parts), _columns({n: getattr(part, n) for n in Part.__dataclass_fields__})
                )
            if verdict is not None:
                books.verdicts.add(verdict)
    with open_to_read(place.config, place.clock) as context:
        whole = [to_json(recording.as_json()) for recording in list_recordings(context)]
        lines = [json_line(row) for rows in list_rows(context, ()) for row in rows]
        of_state = [json_line(row) for rows in list_rows(context, list(State)) for row in rows]
    assert len(lines) == 2
    assert lines == whole
    assert sorted(of_state) == sorted(whole)
    assert all(line.isprintable() for line in lines)


def test_each_recording_is_listed_once_and_in_order_whatever_its_state(place: Place) -> None:
    """Many that arrived at the same moment, in several batches, in one state or another."""
    with Store(place.config.store.url) as store:
        store.database.migrate()
        with store.writing() as books:
            made = [
                replace(an_item(n), arrived_at=float(n // 900), state=(State.QUEUED, State.HELD)[n % 7 == 0])
                for n in range(2000)
            ]
            books.items._connection.execute(insert(items), [{"id": one.id, **columns_of(one)} for one in made])
    with open_to_read(place.config, place.clock) as context:
        for states in ([], [State.HELD], [State.QUEUED], [State.QUEUED, State.HELD, State.DONE]):
            listed = [row.id for rows in list_rows(context, states) for row in rows if isinstance(row, Listed)]
            assert listed == [one.id for one in made if one.state in (states or State)]
