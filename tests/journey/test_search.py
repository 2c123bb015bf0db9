"""What a person looks for is found, by whatever of it they know, and read page by page."""

from dataclasses import replace
from typing import Any

import pytest

from tests.places import Place
from tests.store.recordings import item as an_item
from tests.store.recordings import verdict as a_verdict
from tests.transitions import any_transition
from watcher.domain import ARTIFICIAL, Audio, Mode, Part, PartState, Planned, State, VerdictState
from watcher.errors import UsageError
from watcher.store import FIRST, LAST, Books, Store
from watcher.views import search
from watcher.views.context import open_to_read
from watcher.views.period import Period
from watcher.views.recordings import Recording
from watcher.views.search import count_found, read_page, read_search, search_rows

NAMES = [
    b"2026-11-20/anna/call-+49 30 1234567.wav",
    b"2026-11-20/bert/+4930-765-4321.wav",
    "2026-11-21/anna/Gespräch Müller.wav".encode(),
    "2026-11-21/anna/Gespra\u0308ch MU\u0308LLER.wav".encode(),
    b"2026-11-21/caf\xe9.wav",
    b"annasepp.wav",
]


@pytest.fixture
def books_of(place: Place) -> Place:
    """Recordings of these names, an hour apart, each in its state and with its verdict."""
    states = [State.DONE, State.DONE, State.FAILED, State.HELD, State.DONE, State.QUEUED]
    with Store(place.config.store.url) as store:
        store.database.migrate()
        with any_transition(), store.writing() as books:
            for number, (name, state) in enumerate(zip(NAMES, states, strict=True)):
                known: dict[str, Any] = {"path": name, "state": state, "arrived_at": number * 3600.0}
                if state is State.DONE:
                    known |= {"identifier": f"{number:064x}", "outcome": state, "filed_as": name}
                books.items.add(replace(an_item(number), size=1000 - number, **known))
            _judge(books, 0, VerdictState.KNOWN, ARTIFICIAL, 0.7)
            _judge(books, 1, VerdictState.KNOWN, "human", 0.9)
            _judge(books, 4, VerdictState.AWAITED, None, None)
    return place


def _judge(books: Books, number: int, state: VerdictState, said: str | None, confidence: float | None) -> None:
    books.verdicts.add(a_verdict(f"{number:064x}", state=state, classification=said, confidence=confidence))


def found(place: Place, **asked: Any) -> list[bytes]:
    """The paths that are found, in their order."""
    with open_to_read(place.config, place.clock) as context:
        batches = list(search_rows(context, read_search(**asked)))
    return [row.item.path if isinstance(row, Recording) else row.path for rows in batches for row in rows]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("call", [0]),
        ("CALL", [0]),
        ("+49301234567", [0]),
        ("0049 30 123-4567", [0]),
        ("(+49) 30 7654321", [1]),
        ("1234567", [0]),
        ("müller", [2, 3]),
        ("mu\u0308ller", [2, 3]),
        ("gespräch", [2, 3]),
        (r"caf\xe9", [4]),
        ("2026-11-21", [2, 3, 4]),
        ("anna/", [0, 2, 3]),
        ("100%", []),
        ("%", []),
        ("_", []),
        ("nobody", []),
    ],
)
def test_any_part_of_a_name_is_enough(books_of: Place, name: str, expected: list[int]) -> None:
    """In either case and Unicode form, as `list` shows it; a telephone number however it is written."""
    assert found(books_of, name=name) == [NAMES[number] for number in expected]


def test_the_name_that_it_was_filed_under_is_one_too(books_of: Place) -> None:
    with any_transition(), books_of.books() as books:
        taken = books_of.item_in(books, "annasepp.wav")
        books.items.change(taken, State.DONE, 1.0, filed_as=b"annasepp~0a1b2c.wav")
    assert found(books_of, name="~0a1b") == [b"annasepp.wav"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"states": ["done"]}, [0, 1, 4]),
        ({"states": ["failed", "held"]}, [2, 3]),
        ({"verdicts": ["artificial"]}, [0]),
        ({"verdicts": ["artificial", "human"]}, [0, 1]),
        ({"verdicts": ["known"]}, [0, 1]),
        ({"verdicts": ["awaited"]}, [4]),
        ({"verdicts": ["errored"]}, []),
        ({"folder": "2026-11-21"}, [2, 3, 4]),
        ({"folder": "2026-11-21/anna/"}, [2, 3]),
        ({"folder": "2026-11-2"}, []),
        ({"folder": "."}, [0, 1, 2, 3, 4, 5]),
        ({"folder": "anna"}, []),
        ({"period": Period(since=3600.0)}, [1, 2, 3, 4, 5]),
        ({"period": Period(until=3600.0)}, [0]),
        ({"period": Period(3600.0, 7200.5), "states": ["failed", "done"]}, [1, 2]),
        ({"states": ["done"], "verdicts": ["human"], "folder": "2026-11-20", "name": "4321"}, [1]),
        ({"sort": "-arrived"}, [5, 4, 3, 2, 1, 0]),
        ({"sort": "-arrived", "states": ["done", "held"]}, [4, 3, 1, 0]),
        ({"sort": "size"}, [5, 4, 3, 2, 1, 0]),
        ({"sort": "-name", "states": ["done"]}, [4, 1, 0]),
        ({"sort": "confidence"}, [0, 1, 2, 3, 4, 5]),
        ({"sort": "-confidence"}, [1, 0, 5, 4, 3, 2]),
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_what_is_asked_for_is_found_in_its_order(
    books_of: Place, monkeypatch: pytest.MonkeyPatch, asked: Any, expected: list[int], batch: int
) -> None:
    """Everything that was asked holds of each; and in pages of any size none is left out or told twice."""
    monkeypatch.setattr(search, "_FIRST_BATCH", batch)
    monkeypatch.setattr(search, "_BATCH", batch)
    assert found(books_of, **asked) == [NAMES[number] for number in expected]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("states", [[], ["done", "held"]])
def test_recordings_that_arrived_at_once_are_each_found_once(
    books_of: Place, states: list[str], newest_first: bool
) -> None:
    with any_transition(), books_of.books() as books:
        for number in range(20, 27):
            books.items.add(replace(an_item(number), state=State.HELD, arrived_at=3 * 3600.0))
    sought = read_search(states=states).sought
    seen: list[int] = []
    with open_to_read(books_of.config, books_of.clock) as context, context.store.reading() as books:
        place = LAST if newest_first else FIRST
        while rows := books.sought.page(sought, place, 2, newest_first=newest_first):
            seen += [row.serial for row in rows]
            place = rows[-1].place
    assert len(seen) == len(set(seen)) == (13 if not states else 11)


def test_a_recording_in_parts_is_found_by_its_joined_verdict(books_of: Place) -> None:
    """Of its two parts one is artificial: so it is, by the default rule; and it is no person's."""
    with any_transition(), books_of.books() as books:
        plan = Planned(Mode.CUT, 2, "too long")
        whole = replace(an_item(30), state=State.DONE, outcome=State.DONE, plan=plan, arrived_at=1e6)
        books.items.add(replace(whole, audio=Audio("WAV", "PCM", 60.0, 1, 8000)))
        for index, said in ((1, ARTIFICIAL), (2, "human")):
            part = Part(whole.id, index, None, index * 10, index * 10 + 10, index * 10.0, index * 10.0 + 10)
            part = replace(part, state=PartState.ACCEPTED, identifier=f"{30 + index:064x}")
            books.parts.add([part])
            _judge(books, 30 + index, VerdictState.KNOWN, said, 0.8)
    assert found(books_of, verdicts=["artificial"]) == [NAMES[0], b"30.wav"]
    assert found(books_of, verdicts=["human"]) == [NAMES[1]]
    assert found(books_of, verdicts=["artificial"], sort="-size") == [b"30.wav", NAMES[0]]


def test_no_more_are_counted_than_asked_for(books_of: Place) -> None:
    with open_to_read(books_of.config, books_of.clock) as context, context.store.reading() as books:
        audio = context.config.audio
        assert count_found(books, audio, read_search(name="wav").sought, 4) == 4
        assert count_found(books, audio, read_search(name="wav").sought, 100) == 6
        first, place = read_page(books, audio, read_search(name="wav").sought, FIRST, 4)
        assert place is not None
        rest, end = read_page(books, audio, read_search(name="wav").sought, place, 4)
        assert (len(first), len(rest), end) == (4, 2, None)


@pytest.mark.parametrize("asked", [{"sort": "colour"}, {"verdicts": ["perhaps"]}])
def test_what_nobody_can_mean_is_said_to_be_wrong(asked: Any) -> None:
    with pytest.raises(UsageError) as refused:
        read_search(**asked)
    assert "arrived" in refused.value.hint or "artificial" in refused.value.hint
