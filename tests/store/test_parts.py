"""The parts in the books: what is paid for stays, and nobody overwrites what another has decided."""

from dataclasses import replace
from typing import Any

import pytest

from tests.store.recordings import item
from watcher.domain import PART_TRANSITIONS, Fault, Mode, Part, PartState, Planned, State
from watcher.errors import StaleItem, TransitionRefused
from watcher.store import Store

PLAN = Planned(Mode.CUT, 3, "It is too large.")


def part(index: int, number: int = 1, **changes: Any) -> Part:
    """A part of item `number`, made, and to be sent."""
    known: dict[str, Any] = {
        "item_id": item(number).id,
        "index": index,
        "channel": None,
        "start": 80_000 * (index - 1),
        "end": 80_000 * index,
        "start_seconds": 10.0 * (index - 1),
        "end_seconds": 10.0 * index,
        "name": f"{item(number).id}-{index}.wav",
        "how": "cut",
        "sha256": f"{100 * number + index:064x}",
        "size": 160_044,
        "media_type": "audio/wav",
        "extension": ".wav",
        "proof": {"of": "blocks", "sha256": "0" * 64, "decoder": None},
        "content_key": f"{100 * number + index:064x}",
    }
    return Part(**known | changes)


def test_a_part_reads_as_it_was_written(store: Store) -> None:
    """Every field comes back, made or not, with its fault and its proof."""
    bare = Part(item(1).id, 2, None, 80_000, 100_000, 10.0, 12.5)
    whole = part(
        1,
        channel=1,
        silent=True,
        state=PartState.REFUSED,
        fault=Fault("no_sound", "silent", "hint"),
        in_doubt=True,
    )
    with store.writing() as books:
        books.parts.add([whole, bare])
    with store.reading() as books:
        assert books.parts.of(item(1).id) == [whole, bare]


def test_what_a_part_was_paid_for_is_found_by_its_content_and_by_its_identifier(store: Store) -> None:
    """So the same bytes, in whatever recording, are paid for once."""
    paid = part(1, state=PartState.ACCEPTED, identifier="f" * 64)
    twin = part(1, 2, content_key=paid.content_key)
    with store.writing() as books:
        books.parts.add([paid, part(2)])
        books.parts.add([twin])
    with store.reading() as books:
        assert books.parts.with_content(paid.content_key or "") == [paid, twin]
        assert books.parts.with_identifier("f" * 64) == [paid]


def test_who_comes_late_changes_no_part(store: Store) -> None:
    """A part that is another's by now keeps what that one wrote."""
    with store.writing() as books:
        books.parts.add([part(1)])
        books.parts.change(part(1), PartState.SUBMITTING)
    with pytest.raises(StaleItem), store.writing() as books:
        books.parts.change(part(1), PartState.REFUSED)
    with store.reading() as books:
        assert books.parts.of(item(1).id) == [part(1, state=PartState.SUBMITTING)]


@pytest.mark.parametrize("before", [None, *PartState])
@pytest.mark.parametrize("after", list(PartState))
def test_a_part_changes_only_as_the_table_says(store: Store, before: PartState | None, after: PartState) -> None:
    """Above all: what has its identifier never loses it."""
    if before is after:
        return
    known = part(1, state=before or after)
    with store.writing() as books:
        if before is not None:
            books.parts._connection.execute(_insert(known))
        is_allowed = after in PART_TRANSITIONS[before]
        if not is_allowed:
            with pytest.raises(TransitionRefused):
                _put(books, known, before, after)
        else:
            _put(books, known, before, after)
            assert books.parts.of(known.item_id) == [replace(known, state=after)]


def _put(books: Any, known: Part, before: PartState | None, after: PartState) -> None:
    if before is None:
        books.parts.add([known])
    else:
        books.parts.change(known, after)


def _insert(known: Part) -> Any:
    from watcher.store.parts import _columns  # noqa: PLC0415
    from watcher.store.schema import parts  # noqa: PLC0415

    columns = _columns({name: getattr(known, name) for name in Part.__dataclass_fields__})
    return parts.insert().values(columns)


def test_what_is_to_be_prepared_is_the_oldest_that_has_no_file_to_be_sent(store: Store) -> None:
    """In `preparing`, or queued without a part that is made; not what waits for another, nor before its time."""
    planned = {"plan": PLAN}
    with store.writing() as books:
        books.items.add(item(1))
        books.items.add(item(2, **planned))
        books.parts.add([part(1, 2), part(2, 2, name=None)])
        books.items.add(item(3, **planned, duplicate_of=item(2).id))
        books.items.add(item(4, **planned))
        books.parts.add([part(1, 4, state=PartState.ACCEPTED), part(2, 4, name=None)])
        books.items.add(item(5, **planned, state=State.PREPARING))
    with store.writing() as books:
        first = books.parts.next_to_prepare(10.0, 1000.0)
        assert first is not None
        assert first.id == item(4).id
        books.obstacles.put(first.id, Fault("folder_full", "full"), 10.0, 5.0, 600.0)
        second = books.parts.next_to_prepare(10.0, 1000.0)
        assert second is not None
        assert second.id == item(5).id
        later = books.parts.next_to_prepare(15.0, 1000.0)
        assert later is not None
        assert later.id == item(4).id


def test_only_what_has_a_file_is_sent_next(store: Store) -> None:
    """A recording whose parts are not made yet keeps none waiting that needs no preparation."""
    with store.writing() as books:
        books.items.add(item(1, plan=PLAN))
        books.items.add(item(2))
        found = books.queue.next_due(10.0, canary=False)
        assert found is not None
        assert found.id == item(2).id
        books.parts.add([part(1)])
        found = books.queue.next_due(10.0, canary=False)
        assert found is not None
        assert found.id == item(1).id
