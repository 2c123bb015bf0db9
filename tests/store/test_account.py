"""What the sites of one account share: rate windows, pauses, caps, and who finds out whether a trouble is over."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from tests.store.recordings import item, verdict
from tests.store.test_scope import opened  # noqa: F401 — a fixture
from watcher.config import AudioConfig, Window
from watcher.domain import Charged, Item, Mode, Part, PartState, Pause, PauseKind, Planned, State, VerdictState
from watcher.journey.duplicates import follow_originals
from watcher.journey.judged import put_verdict
from watcher.journey.submit import pauses
from watcher.journey.submit.windows import room_for_read
from watcher.store import Node, Store
from watcher.store.schema import items

OpenStore = Callable[..., Store]
LONG = 3600.0


def work_on(store: Store, site: str, seconds: float = LONG) -> None:
    """A node has the lease of this site, or had it."""
    with store.writing() as books:
        books.leases.take(site, Node(site, "host", "boot", "1.0", pid=1, token=site), seconds)


def pause(kind: PauseKind, since: float = 5.0) -> Pause:
    return Pause(kind, "code", "reason", since, since + 10)


@pytest.mark.parametrize("kind", PauseKind)
def test_a_pause_is_in_force_at_the_sites_whose_it_is(opened: OpenStore, kind: PauseKind) -> None:  # noqa: F811
    """What the account met all of its sites heed, and any of them ends; a person's and a folder's stay apart."""
    one, other, theirs = opened("one"), opened("other"), opened("third", "theirs")
    with one.writing() as books:
        assert books.pauses.set(pause(kind))
    with theirs.reading() as books:
        assert books.pauses.active() == []
    with other.writing() as books:
        assert books.pauses.active() == ([pause(kind)] if kind.is_of_account else [])
        assert books.pauses.set(pause(kind, 6.0)) != kind.is_of_account
    with one.writing() as books:
        kept = books.pauses.get(kind)
        assert kept is not None
        assert (kept.since, kept.until) == (5.0, 16.0 if kind.is_of_account else 15.0)
        assert books.pauses.end(kind, 7.0) is not None
    with other.reading() as books:
        assert (books.pauses.get(kind) is None) == kind.is_of_account


def test_rate_events_have_the_server_s_time(opened: OpenStore) -> None:  # noqa: F811
    """Whatever a node's own clock says: the ends of all of them are compared with one another."""
    one, other = opened("one"), opened("other")
    with one.writing() as books:
        before = books.ledger.log("write", [1], 7e9).now
        number = books.ledger.add_rate_event("write", before)
        assert books.ledger.log("write", [1], 0.0).unended == 1
        books.ledger.end_rate_event(number, 0.0)
    with other.writing() as books:
        books.ledger.pull_back_rate_events("write", 0.0)
        books.ledger.forget_rate_events(600.0, 7e9)
        now, unended, ends = books.ledger.log("write", [1, 2], 0.0)
        assert unended == 0
        assert before <= (ends[1] or 0.0) <= now < before + 600
        assert ends[2] is None
        assert not books.ledger.has_rate_events_to_come("write", 0.0)


def test_a_grant_keeps_a_margin_to_what_other_nodes_were_granted(opened: OpenStore) -> None:  # noqa: F811
    """So much may pass between the grant and the release that it allows; a request under way leaves no room."""
    one, other = opened("one"), opened("other")
    window = (Window(1, 10.0),)
    with one.writing() as books:
        room = room_for_read(books, window, 0.0)
        assert room.is_there
        number = books.ledger.add_rate_event("read", room.now)
    with other.writing() as books:
        room = room_for_read(books, window, 0.0)
        assert (room.is_there, room.unended) == (False, 1)
        books.ledger.end_rate_event(number, 0.0)
        end = books.ledger.log("read", [1], 0.0).ends[1] or 0.0
        assert room_for_read(books, window, 0.0).at >= end + 10.05


def test_a_rate_event_of_a_site_that_nobody_works_on_is_spent(opened: OpenStore) -> None:  # noqa: F811
    """Its node died with the request under way: it counts as ended from now on, or the others waited for ever."""
    one, other = opened("one"), opened("other")
    for store, site, seconds in ((one, "one", LONG), (other, "other", -1.0)):
        work_on(store, site, seconds)
        with store.writing() as books:
            books.items.add(item(len(site)))
            books.ledger.begin(item(len(site)), 1.0, no_cache=False, canary=False)
            books.ledger.add_rate_event("write", books.ledger.log("write", [1], 0.0).now)
    with one.writing() as books:
        assert books.ledger.under_way() == books.ledger.under_way(unreleased=True) == 1
        assert books.ledger.log("write", [1], 0.0).unended == 2
        books.ledger.end_lapsed_rate_events("write", 0.0)
        now, unended, ends = books.ledger.log("write", [2], 0.0)
        assert unended == 1
        assert now - 60 < (ends[1] or 0.0) <= now


def test_whoever_asks_first_is_let_go_first(opened: OpenStore) -> None:  # noqa: F811
    """Of all nodes; who does not come back when it promised to has lost its place."""
    one, other = opened("one"), opened("other")
    with one.writing() as books:
        now = books.ledger.log("write", [1], 0.0).now
        assert books.ledger.waiting_before(None, 0.0) == 0
        first = books.ledger.wait_for_room(None, now + 60, 0.0)
    with other.writing() as books:
        assert books.ledger.waiting_before(None, 0.0) == 1
        second = books.ledger.wait_for_room(None, now + 60, 0.0)
        assert books.ledger.wait_for_room(second, now + 90, 0.0) == second
        assert books.ledger.waiting_before(second, 0.0) == 1
    with one.writing() as books:
        assert books.ledger.waiting_before(first, 0.0) == 0
        assert books.ledger.log("write", [1], 0.0).unended == 0, "who waits has used no room"
        books.ledger.let_go(first, "write", now)
        assert books.ledger.log("write", [1], 0.0).unended == 1
    with other.writing() as books:
        assert books.ledger.waiting_before(second, 0.0) == 0
        books.ledger.wait_for_room(second, now - 60, 0.0)
        assert books.ledger.waiting_before(None, 0.0) == 0


def test_one_node_alone_finds_out_whether_a_trouble_is_over(opened: OpenStore) -> None:  # noqa: F811
    """Until it has found out, or 90 seconds have passed: it may have died. One that asked too late has to wait."""
    one, other, theirs = opened("one"), opened("other"), opened("third", "theirs")
    with one.writing() as books:
        assert pauses.begin_trial(books, "first", 10.0) == 0.0
        assert pauses.begin_trial(books, "first", 11.0) == 0.0
    with theirs.writing() as books:
        assert pauses.begin_trial(books, "third", 12.0) == 0.0
    with other.writing() as books:
        assert pauses.begin_trial(books, "second", 12.0) > 0.0
        assert pauses.begin_trial(books, "second", 102.0) == 0.0
        pauses.end_trial(books)
        books.pauses.set(pause(PauseKind.SERVICE, 105.0))
    with one.writing() as books:
        assert pauses.begin_trial(books, "first", 106.0) > 0.0, "the other's has just failed"
        assert pauses.begin_trial(books, "first", 116.0) == 0.0


def test_a_cap_keeps_room_for_the_parts_of_recordings_at_other_sites(opened: OpenStore) -> None:  # noqa: F811
    one, other, theirs = opened("one"), opened("other"), opened("third", "theirs")
    begun = item(1, plan=Planned(Mode.CUT, 2, "long"))
    with one.writing() as books:
        books.items.add(begun)
        accepted = Part(begun.id, 1, None, 0, 10, 0.0, 1.0, size=9, state=PartState.ACCEPTED, identifier="f" * 64)
        books.parts.add([accepted, Part(begun.id, 2, None, 10, 20, 1.0, 2.0, state=PartState.QUEUED)])
        number = books.ledger.begin(begun, 1.0, part=accepted, no_cache=False, canary=False)
        books.ledger.end(number, 2.0, outcome="accepted", charged=Charged.YES, decision="done")
    for store, reserved in ((one, 1), (other, 1), (theirs, 0)):
        with store.reading() as books:
            assert books.parts.reserved() == reserved
            assert books.ledger.spent_since(0.0) == reserved
    with other.reading() as books:
        assert books.items.counts()[State.QUEUED] == 0, "and it sees no more of them than that"


def add(store: Store, number: int, **changes: Any) -> Item:
    """An item at this site; the same content as every other one here."""
    added = item(number, content_key="c" * 64, **changes)
    with store.writing() as books:
        books.items.add(added)
        found = books.items.get(added.id)
    assert found is not None
    return found


def test_what_waits_for_an_original_elsewhere_is_not_sent(opened: OpenStore) -> None:  # noqa: F811
    """Nobody sends it, until the original is decided: then its own site's node sees that, and no other."""
    one, other, third = opened("one"), opened("other"), opened("third")
    work_on(one, "one")
    original = add(one, 1)
    for number, store in ((2, other), (3, third)):
        add(store, number, duplicate_of=original.id)
    with other.reading() as books:
        assert books.queue.next_due(9.0, canary=False) is None
        found = books.copies.original_of("c" * 64, apart_from=item(2).id)
        assert (found and found.id, found and found.site) == (original.id, "one")
        assert [copy.site for copy in books.copies.with_content("c" * 64)] == ["one", "other", "third"]
        assert books.copies.decided_originals() == books.copies.stranded_originals() == []
    with one.writing() as books:
        books.items.change(original, State.WITHDRAWN, 9.0)
        assert books.copies.decided_originals() == []
    with other.writing() as books:
        assert books.copies.decided_originals() == [original.id]
        follow_originals(books, 10.0)
        assert books.copies.decided_originals() == []
        found = books.queue.next_due(11.0, canary=False)
        assert (found and found.id, found and found.duplicate_of) == (item(2).id, None)
    with third.reading() as books:
        assert books.copies.decided_originals() == [original.id]


def _stop(store: Store) -> None:
    work_on(store, "one", -1.0)


def _pause(kind: PauseKind) -> Callable[[Store], None]:
    def deed(store: Store) -> None:
        with store.writing() as books:
            books.pauses.set(pause(kind))

    return deed


@pytest.mark.parametrize(
    "stand_still", [_stop, _pause(PauseKind.PERSON), _pause(PauseKind.FOLDER)], ids=["left", "person", "folder"]
)
def test_nobody_waits_for_a_site_that_stands_still(
    opened: OpenStore,  # noqa: F811
    stand_still: Callable[[Store], None],
) -> None:
    """The first of those that waited takes its place, and the others of its site wait for that one."""
    one, other = opened("one"), opened("other")
    original = add(one, 1)
    work_on(one, "one")
    for number in (2, 3):
        add(other, number, duplicate_of=original.id)
    with other.reading() as books:
        assert books.copies.stranded_originals() == []
        assert books.copies.stranded("c" * 64) == set()
    stand_still(one)
    with other.writing() as books:
        assert books.copies.stranded("c" * 64) == {original.id}
        assert books.copies.original_of("c" * 64, apart_from=item(2).id) is None
        follow_originals(books, 10.0)
        assert books.copies.stranded_originals() == []
        waiting = books.items.get(item(3).id)
        assert waiting is not None
        assert waiting.duplicate_of == item(2).id
        found = books.queue.next_due(11.0, canary=False)
        assert found is not None
        assert found.id == item(2).id


@pytest.mark.parametrize(
    "changes", [{"in_doubt": True}, {"state": State.SUBMITTING, "claim": "a"}, {"state": State.FILING}], ids=str
)
def test_what_may_have_been_paid_for_is_waited_for_wherever_it_is(
    opened: OpenStore,  # noqa: F811
    changes: dict[str, Any],
) -> None:
    """Its site stands still, but its bytes were sent, or are being sent: they are not sent again."""
    one, other = opened("one"), opened("other")
    with one.writing() as books:
        books.items.add(item(1, content_key="c" * 64))
        books.items.change(item(1), changes.pop("state", State.QUEUED), 2.0, **changes)
    add(other, 2, duplicate_of=item(1).id)
    with other.reading() as books:
        assert books.copies.stranded("c" * 64) == set()
        assert books.copies.stranded_originals() == []


def test_a_verdict_reaches_every_site_that_has_its_identifier(opened: OpenStore) -> None:  # noqa: F811
    """One site asks. All have it in their rows, receipts and histories, and no other account has."""
    stores = {"one": opened("one"), "other": opened("other"), "theirs": opened("theirs", "their account")}
    for number, (site, store) in enumerate(stores.items()):
        with store.writing() as books:
            books.site.join("theirs" if site == "theirs" else "ours")
            books.items.add(item(number, state=State.QUEUED))
            books.items.change(item(number), State.FILING, 1.0, identifier="f" * 64, outcome=State.DONE)
            books.items.change(item(number, state=State.FILING), State.DONE, 2.0)
    with stores["one"].writing() as books:
        before = verdict("f" * 64)
        books.verdicts.add(before)
    for classification in ("human", "artificial"):
        with stores["one"].writing() as books:
            known = books.verdicts.get("f" * 64) or before
            after = replace(known, state=VerdictState.KNOWN, classification=classification, known_at=3.0)
            put_verdict(books, known, after, None, 3.0, AudioConfig())
    for number, (site, store) in enumerate(stores.items()):
        with store.reading() as books:
            history = [line["note"] for line in books.items.history(item(number).id)]
            told = [note for note in history if "the verdict changed: human, now artificial" in note]
            assert len(told) == (site != "theirs")
            assert bool(books.filing.with_any_receipt_due()) == (site != "theirs")
        with store.database.reading() as connection:
            judged = connection.execute(select(items.c.judged_as)).scalars().all()
        assert judged == [None if site == "theirs" else "artificial"]


def test_a_verdict_is_asked_for_by_another_site_once_its_own_is_left(opened: OpenStore) -> None:  # noqa: F811
    one, other, third = opened("one"), opened("other"), opened("third")
    work_on(one, "one")
    for number, store in enumerate((one, other)):
        with store.writing() as books:
            books.items.add(item(number))
            books.items.change(item(number), State.FILING, 1.0, identifier="f" * 64, outcome=State.DONE)
            books.verdicts.add(verdict("f" * 64))
    with other.reading() as books:
        assert not books.verdicts.has_left()
    work_on(one, "one", -1.0)
    with third.reading() as books:
        assert not books.verdicts.has_left(), "it has no such recording"
    with other.writing() as books:
        assert books.verdicts.has_left()
        books.verdicts.take_left()
        assert not books.verdicts.has_left()
        assert [due.identifier for due in books.verdicts.due(99.0)] == ["f" * 64]
    with one.reading() as books:
        assert books.verdicts.due(99.0) == []


def test_a_verdict_that_another_site_shares_outlasts_a_recording(opened: OpenStore) -> None:  # noqa: F811
    one, other = opened("one"), opened("other")
    for number, store in enumerate((one, other)):
        with store.writing() as books:
            books.site.join("ours")
            books.items.add(item(number, identifier="f" * 64))
    for store, number, stays in ((one, 0, True), (other, 1, False)):
        with store.writing() as books:
            books.verdicts.add(verdict("f" * 64))
            assert books.removals.forget_item(books.items.get(item(number).id) or item(number))
            books.removals.forget_rest(item(number).id, ["f" * 64])
            assert (books.verdicts.get("f" * 64) is not None) == stays


def test_who_follows_names_the_original_and_no_other_duplicate(opened: OpenStore) -> None:  # noqa: F811
    """Though a duplicate arrived before its original, and has its identifier, too."""
    one, other = opened("one"), opened("other")
    add(other, 1, duplicate_of=item(2).id)
    add(one, 2)
    for store, number in ((other, 1), (one, 2)):
        with store.writing() as books:
            found = books.items.get(item(number).id)
            assert found is not None
            books.items.change(found, State.FILING, 5.0, identifier="f" * 64, outcome=State.DONE)
    for store in (one, other):
        with store.reading() as books:
            found = books.copies.original_of("c" * 64)
            assert found is not None
            assert (found.id, found.site) == (item(2).id, "one")
