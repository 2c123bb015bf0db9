"""What is written down: nobody overwrites another's decision, and nothing of the history is lost."""

from dataclasses import replace
from typing import Any

import pytest

from tests.store.recordings import item, sqlite_of, verdict
from tests.transitions import any_transition
from watcher.domain import BACKLOG, TRANSITIONS, Audio, Fault, Fingerprint, Item, State, VerdictState
from watcher.errors import StaleItem, StoreContradicted, StoreError, TransitionRefused
from watcher.store import FIRST, Books, Sought, Store, Waiting
from watcher.store.waiting import WAITING_SHOWN

# The items


def test_an_item_reads_as_it_was_written(store: Store) -> None:
    """Every field comes back as it was: bytes of a path, 64-bit inodes, a fault, companions."""
    whole = item(
        1,
        path=b"\xff\xfe/ \n.wav",
        fingerprint=Fingerprint(2**63, 2**64 - 1, 10, -5, 1_700_000_000_123_456_789),
        fault=Fault("code", "message", "hint"),
        companions=(b"a.xml", b"\xff.json"),
        state=State.HELD,
        outcome=State.FAILED,
        in_doubt=True,
        suspected_at=3.5,
        media_type="audio/wav",
        extension=".wav",
        audio=Audio("WAV", "µ-law", 12.5, 2, 8000),
        claim="somebody",
        identifier="f" * 64,
        warning="short",
        duplicate_of="another",
        attempts=3,
        attempted_at=1.0,
        filed_as=b"x~1.wav",
    )
    with store.writing() as books:
        books.items.add(whole)
    with store.reading() as books:
        assert books.items.get(whole.id) == whole


def test_what_status_asks_of_all_items_counts_none_of_them(store: Store) -> None:
    """How many there are is kept, and the first arrival is found in an index: a million take no longer."""
    with store.reading() as books:
        assert books.items.oldest_arrival(BACKLOG) is None
        assert books.tallies.items() == 0
    with store.writing() as books:
        for number, state in enumerate((State.QUEUED, State.PREPARING, State.QUEUED), 3):
            books.items.add(item(10 - number, state=state))
        books.items.add(item(1, state=State.HELD))
    with store.reading() as books:
        assert books.items.oldest_arrival(BACKLOG) == 5.0
        assert books.items.oldest_arrival({State.FILING, State.PREPARING}) == 6.0
        assert books.tallies.items() == 4
        assert books.items.counts(books.tallies.items()) == books.items.counts()


def test_a_row_of_the_list_has_what_the_item_has(store: Store) -> None:
    """The list takes rows as the driver has them, whichever it is: bytes are bytes, numbers numbers."""
    listed = item(1, path=b"\xff\xfe/ \n.wav", filed_as=b"x~1.wav", audio=Audio("WAV", "µ-law", 12.5, 2, 8000))
    with store.writing() as books:
        books.items.add(replace(listed, identifier="f" * 64))
        books.items.add(item(2))
        books.verdicts.add(verdict("f" * 64, forced=True, confidence=0.75))
    with store.reading() as books:
        found = books.listing.after(FIRST, 10)
        assert books.sought.rows_of([1, 2]) == books.sought.page(Sought(), FIRST, 10) == found
        assert books.report.rows_after(FIRST, 10.0, 10) == found
    judged, unjudged = found
    assert (judged.path, judged.filed_as, judged.seconds) == (listed.path, listed.filed_as, 12.5)
    assert (judged.arrived_at, judged.size, judged.forced, judged.confidence) == (1.0, 1000, True, 0.75)
    assert (unjudged.path, unjudged.filed_as, unjudged.forced, unjudged.confidence) == (b"2.wav", None, None, None)
    types = {type(value) for row in found for value in row}
    assert types <= {int, str, bytes, float, bool, type(None)}
    assert all(type(row.arrived_at) is float for row in found)


@pytest.mark.parametrize(
    "meanwhile",
    [{"after": State.HELD}, {"after": State.SUBMITTING, "claim": "another"}],
    ids=["another state", "in another's hands"],
)
def test_who_comes_late_changes_nothing(store: Store, meanwhile: dict[str, Any]) -> None:
    """A step that held an item too long finds that somebody else decided, and its own decision is dropped."""
    with store.writing() as books:
        books.items.add(item(1))
        stale = books.items.get(item(1).id)
        assert stale is not None
        books.items.change(stale, now=2.0, **meanwhile)
        decided, history = books.items.get(stale.id), books.items.history(stale.id)
    with pytest.raises(StaleItem), store.writing() as books:
        books.items.change(stale, State.FILING, 3.0, "too late", identifier="f" * 64)
    with store.reading() as books:
        assert books.items.get(stale.id) == decided
        assert books.items.history(stale.id) == history


def test_who_lost_the_claim_to_another_changes_nothing(store: Store) -> None:
    """The same state in other hands is another state: the claim is compared too."""
    with store.writing() as books:
        books.items.add(item(1))
        books.items.change(item(1), State.SUBMITTING, 1.0, claim="first")
        mine = _get(books.items.get(item(1).id))
        books.items.change(mine, State.QUEUED, 2.0)
        books.items.change(_get(books.items.get(mine.id)), State.SUBMITTING, 3.0, claim="second")
    with pytest.raises(StaleItem), store.writing() as books:
        books.items.change(mine, State.FILING, 4.0)
    with store.reading() as books:
        assert _get(books.items.get(mine.id)).claim == "second"


@pytest.mark.parametrize("before", [None, *State])
def test_the_store_refuses_every_change_that_the_table_has_not(store: Store, before: State | None) -> None:
    """Of one item that is not where it should be nothing is written, and whatever else there is goes on."""
    one = item(1, state=before or State.QUEUED, claim=None)
    if before is not None:
        with any_transition(), store.writing() as books:
            books.items.add(one)
    for after in State:
        if after in TRANSITIONS[before]:
            continue
        with pytest.raises(TransitionRefused) as refused, store.writing() as books:
            _take_on(books, one, before, after)
        assert isinstance(refused.value, StoreContradicted), "one item's trouble, and no other's"
        assert f"from {before or 'nothing'} to {after}" in refused.value.message
        with store.reading() as books:
            assert [found.state for found in books.items.listed()] == ([] if before is None else [before])


def _take_on(books: Books, one: Item, before: State | None, after: State) -> None:
    books.items.add(item(2))
    if before is None:
        books.items.add(replace(one, state=after))
    else:
        books.items.change(one, after, 1.0)


def test_an_item_out_of_hands_has_no_claim(store: Store) -> None:
    """Only what is being submitted is in somebody's hands."""
    with store.writing() as books:
        books.items.add(item(1))
        books.items.change(item(1), State.SUBMITTING, 1.0, claim="me")
        books.items.change(_get(books.items.get(item(1).id)), State.FILING, 2.0)
        assert _get(books.items.get(item(1).id)).claim is None


def test_no_path_is_live_twice_and_a_path_that_is_free_may_be_taken_again(store: Store) -> None:
    """One file, one row, in every state in which the file lies in the drop folder; afterwards its name is free."""
    for number, state in enumerate(State):
        with any_transition(), store.writing() as books:
            books.items.add(item(2 * number, path=b"a.wav", state=state))
        newcomer = item(2 * number + 1, path=b"a.wav")
        if state in (State.DONE, State.FAILED, State.WITHDRAWN):
            with any_transition(), store.writing() as books:
                books.items.add(newcomer)
                books.items.change(newcomer, State.DONE, 1.0)
        else:
            with pytest.raises(StoreError), store.writing() as books:
                books.items.add(newcomer)
            with any_transition(), store.writing() as books:
                books.items.change(item(2 * number, state=state), State.DONE, 1.0)


def test_the_history_has_every_change_in_its_order(store: Store) -> None:
    """From the arrival on, each change of state says from what, to what and why; so does a note alone."""
    with store.writing() as books:
        books.items.add(item(1), "arrived")
        books.items.change(item(1), State.SUBMITTING, 2.0, claim="me")
        claimed = _get(books.items.get(item(1).id))
        books.items.change(claimed, State.QUEUED, 3.0, "throttled")
        books.items.change(item(1), State.QUEUED, 4.0, "only a note", due_at=9.0)
        books.items.change(item(1), State.QUEUED, 5.0, due_at=10.0)
    with store.reading() as books:
        history = [(line["from"], line["to"], line["note"]) for line in books.items.history(item(1).id)]
        assert _get(books.items.get(item(1).id)).due_at == 10.0
    assert history == [
        (None, "queued", "arrived"),
        ("queued", "submitting", ""),
        ("submitting", "queued", "throttled"),
        ("queued", "queued", "only a note"),
    ]


# The verdicts


def test_a_verdict_reads_as_it_was_written(store: Store) -> None:
    """Everything that the service says of an identifier is kept."""
    known = verdict(
        "f" * 64,
        state=VerdictState.KNOWN,
        asked_at=7.0,
        asked=3,
        classification="artificial",
        confidence=0.75,
        heuristic="main",
        api_version="1.1.0",
        models=("one", "two"),
        forced=True,
        detail="a detail",
    )
    with store.writing() as books:
        books.verdicts.add(verdict(known.identifier))
        books.verdicts.put(known)
    with store.reading() as books:
        assert books.verdicts.get(known.identifier) == known
        assert books.verdicts.get("0" * 64) is None
        assert books.verdicts.get(None) is None


def test_a_second_submission_of_the_same_content_asks_nothing_anew(store: Store) -> None:
    """Duplicates share one verdict: what is known of it stays."""
    known = verdict("f" * 64, state=VerdictState.KNOWN, classification="human")
    with store.writing() as books:
        books.verdicts.add(known)
        books.verdicts.add(verdict("f" * 64))
    with store.reading() as books:
        assert books.verdicts.get("f" * 64) == known


def test_verdicts_are_asked_for_when_they_are_due_the_longest_due_first(store: Store) -> None:
    """Awaited and overdue ones alike; what is known or errored is never asked for again."""
    with store.writing() as books:
        for name, state, due_at in (
            ("b", VerdictState.AWAITED, 20.0),
            ("a", VerdictState.OVERDUE, 10.0),
            ("late", VerdictState.AWAITED, 30.5),
            ("known", VerdictState.KNOWN, 1.0),
            ("errored", VerdictState.ERRORED, 1.0),
        ):
            books.verdicts.add(verdict(name, state=state, due_at=due_at))
    with store.reading() as books:
        assert [found.identifier for found in books.verdicts.due(30.0)] == ["a", "b"]
        assert [found.identifier for found in books.verdicts.due(30.0, limit=1)] == ["a"]
        assert books.verdicts.next_due_at(5.0) == 10.0
        assert books.verdicts.counts() == {
            VerdictState.AWAITED: 2,
            VerdictState.KNOWN: 1,
            VerdictState.ERRORED: 1,
            VerdictState.OVERDUE: 1,
        }


# The site


def test_a_fact_is_what_was_said_last(store: Store) -> None:
    """Facts are kept by name, as JSON has them."""
    with store.writing() as books:
        assert books.site.get("name") is None
        for value in (1.5, {"a": [1, None, "ä"]}, None, "text"):
            books.site.put("name", value)
            assert books.site.get("name") == value


def test_the_waiting_files_are_those_published_last(store: Store) -> None:
    """The longest waiting first; one that is there no more is gone, one that changed reads anew."""
    first = Waiting(b"b\xff.wav", 2.0, 10, "settling", "it still changes")
    second = Waiting(b"a.wav", 1.0, 0, "empty", "it is empty")
    with store.writing() as books:
        books.waiting.publish([first, second])
    with store.reading() as books:
        assert books.waiting.listed() == [second, first]
        assert books.waiting.at(first.path) == first
        assert books.waiting.at(b"nothing") is None
    changed = Waiting(first.path, 3.0, 11, "cut_short", "it is cut short")
    with store.writing() as books:
        books.waiting.publish(iter([changed]))
        assert books.waiting.listed() == [changed]
        books.waiting.publish([])
        assert books.waiting.listed() == []


def test_only_the_first_thousand_waiting_files_are_published(store: Store) -> None:
    """A hundred thousand files that settle do not become a hundred thousand rows."""
    with store.writing() as books:
        books.waiting.publish(Waiting(b"%d" % n, float(n), 1, "settling", "") for n in range(100_000))
        assert [int(file.path) for file in books.waiting.listed()] == list(range(WAITING_SHOWN))
        assert books.waiting.total() == 100_000
        books.waiting.publish(books.waiting.listed(), 5_000)
        assert books.waiting.total() == 5_000


@pytest.mark.sqlite
def test_publishing_the_same_files_again_writes_nothing(store: Store) -> None:
    """A scan that finds what the last one found costs the disk nothing."""
    files = [Waiting(b"%d" % n, float(n), 1, "settling", "") for n in range(50)]
    with store.writing() as books:
        books.waiting.publish(files)
    before = sqlite_of(store).log_size()
    for _ in range(5):
        with store.writing() as books:
            books.waiting.publish(reversed(files))
    assert sqlite_of(store).log_size() == before


def _get(found: Item | None) -> Item:
    assert found is not None
    return found
