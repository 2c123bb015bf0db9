"""What the sites of one account share: rate windows, pauses, caps, and who finds out whether a trouble is over."""

from collections.abc import Callable

import pytest

from tests.store.recordings import item
from tests.store.test_scope import opened  # noqa: F401 — a fixture
from watcher.domain import Charged, Mode, Part, PartState, Pause, PauseKind, Planned, State
from watcher.journey.submit import pauses
from watcher.store import Node, Store

OpenStore = Callable[..., Store]
LONG = 3600.0


def work_on(store: Store, site: str, seconds: float = LONG) -> None:
    """A node has the lease of this site, or had it."""
    with store.writing() as books:
        books.leases.take(site, Node(site, "host", "boot", "1.0"), seconds)


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
