"""What an item repeats of its verdict is the verdict, whatever came first and whoever wrote it last."""

from dataclasses import replace
from itertools import permutations

import pytest
from sqlalchemy import text

from tests.places import Place, speech
from watcher.domain import State, Verdict, VerdictState
from watcher.identifai.reading import Reading
from watcher.journey.judged import take_over
from watcher.sandbox import Sandbox
from watcher.store import Books
from watcher.store.schema import items, verdicts
from watcher.store.verdict_copies import COPIED

_DRIFTED = text(
    "SELECT count(*) FROM items LEFT JOIN verdicts ON verdicts.identifier = items.identifier WHERE "
    + " OR ".join(f"items.{name} IS DISTINCT FROM verdicts.{column.name}" for name, column in COPIED.items())
)


def drifted(books: Books) -> int:
    """How many items say something else than their verdicts."""
    return int(books.items._connection.execute(_DRIFTED).scalar_one())


def copies(books: Books, identifier: str) -> list[tuple[object, ...]]:
    found = items.select().where(items.c.identifier == identifier)
    return [tuple(row._mapping[name] for name in COPIED) for row in books.items._connection.execute(found)]


def test_each_column_is_the_verdicts_own() -> None:
    """Of the same type: what is summed up is what was said."""
    for name, column in COPIED.items():
        assert items.c[name].nullable
        assert str(items.c[name].type) == str(column.type)
        assert column.table is verdicts


@pytest.mark.parametrize("order", list(permutations(("item", "awaited", "known"))), ids="-".join)
def test_the_order_in_which_things_become_known_does_not_matter(place: Place, order: tuple[str, ...]) -> None:
    """An identifier may come to an item before its verdict, with it, or long after, as to a duplicate."""
    place.drop("one.wav")
    place.run_once()
    known = Verdict("aud_other", VerdictState.KNOWN, 5.0, 5.0, 1.0, "artificial", 0.75, asked=2, known_at=5.0)
    with place.books() as books:
        for what in order:
            if what == "item":
                item = books.items.latest_at(b"one.wav")
                assert item is not None
                books.items.change(item, State.DONE, 2.0, identifier="aud_other")
            elif what == "awaited":
                books.verdicts.add(Verdict("aud_other", VerdictState.AWAITED, None, 1.0, 1.0))
            elif books.verdicts.get("aud_other") is None:
                books.verdicts.add(known)
            else:
                books.verdicts.put(known)
            assert drifted(books) == 0, what
        assert copies(books, "aud_other") == [("known", "artificial", 0.75, 5.0)]
        (item,) = books.items.with_identifier("aud_other")
        books.items.change(item, State.DONE, 3.0, identifier=None)
        assert drifted(books) == 0


def test_nothing_drifts_in_a_mixed_site(place: Place, service: Sandbox) -> None:
    """Duplicates, from before the verdict and from after it, and one that could not be judged."""
    place.drop("human.wav")
    place.drop("robot.wav", speech("robot", note=b"sandbox:artificial"))
    place.drop("again.wav", speech("robot", note=b"sandbox:artificial"))
    place.drop("lost.wav", speech("lost", note=b"sandbox:errored"))
    place.run_once(verdicts=True)
    place.drop("later.wav", speech("robot", note=b"sandbox:artificial"))
    place.run_once(verdicts=True)

    robot, lost_identifier = (place.item(name).identifier or "" for name in ("robot.wav", "lost.wav"))
    with place.books() as books:
        assert drifted(books) == 0
        assert [state for state, *_ in copies(books, robot)] == ["known"] * 3
        lost = books.verdicts.get(lost_identifier)
        assert lost is not None
        assert lost.known_at is None


def test_a_verdict_is_known_since_it_first_said_what_it_says_now() -> None:
    """Unchanged when it is asked for again, it was known before; another one is known since then."""
    told = Reading("aud_1", VerdictState.KNOWN, "human", 0.9)
    first = take_over(Verdict("aud_1", VerdictState.AWAITED, 5.0, 5.0, 1.0), told, 10.0)
    assert first.known_at == 10.0
    assert take_over(first, told, 20.0).known_at == 10.0
    assert take_over(replace(first, known_at=None), told, 20.0).known_at is None  # recovered from a receipt
    assert take_over(first, Reading("aud_1", VerdictState.KNOWN, "artificial", 0.9), 30.0).known_at == 30.0
    assert take_over(first, Reading("aud_1", VerdictState.ERRORED), 40.0).known_at is None
