"""What a command prints as JSON is what the views know, so that whoever else asks them tells the same."""

import json
from dataclasses import replace

import pytest

from tests.journey.test_commands_that_look import said
from tests.places import REFUSED, Place
from watcher.domain import State
from watcher.journey.answer import Answer
from watcher.sandbox import Sandbox
from watcher.text import JsonObject, to_json
from watcher.views.context import open_to_read
from watcher.views.recordings import Recording, find_history, list_recordings, list_waiting
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


def as_printed(fact: JsonObject) -> object:
    return json.loads(to_json(fact))


def test_json_has_what_the_views_know(filed: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """`status`, `list` and `show` add nothing to it, and leave nothing out."""
    with open_to_read(filed.config, filed.clock) as context:
        status = read_status(context)
        recordings = list(list_recordings(context, ()))
        failed = [recording.item.path for recording in list_recordings(context, [State.FAILED])]
        waiting = list_waiting(context)
        history = find_history(context, "good.wav")

    assert json.loads(said(filed, capsys, "status", "--json")) == as_printed(status.as_json())
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
