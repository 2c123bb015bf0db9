"""One node at a time works on a site: who has the lease, until when, and what a former holder can still write."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from tests.postgresql import Server
from tests.process.programs import let_pass, wait_until
from tests.store.recordings import item
from watcher.domain import Charged, State
from watcher.errors import LeaseHeld, StoreLeaseLost
from watcher.store import Lease, Node, Store, revisions
from watcher.store.terms import Terms

SITE = "00000000000000aa"
LONG = 3600.0


def node(name: str) -> Node:
    return Node(name, f"{name}.example", "boot", "1.0", "/srv/drop", started="17")


def terms_of(store: Store) -> Terms:
    assert store.database.terms is not None
    return store.database.terms


def take(store: Store, who: Node, seconds: float = LONG, *, site: str = SITE) -> int:
    """The node works on the site from now on, by this store."""
    with store.writing() as books:
        epoch = books.leases.take(site, who, seconds)
    terms_of(store).fence(site, who.owner, epoch)
    return epoch


def lease_of(store: Store) -> Lease:
    with store.reading() as books:
        lease = books.leases.of(SITE)
    assert lease is not None
    return lease


@pytest.fixture
def address(postgresql: Server, migrated: str) -> Iterator[str]:
    name = postgresql.database(migrated)
    yield postgresql.url(name)
    postgresql.drop(name)


@pytest.fixture
def first(address: str, tmp_path: Path) -> Iterator[Store]:
    with Store(address, tmp_path / "first.node") as store:
        yield store


@pytest.fixture
def second(address: str, tmp_path: Path) -> Iterator[Store]:
    with Store(address, tmp_path / "second.node") as store:
        yield store


def test_of_two_that_take_at_once_one_has_it(first: Store, second: Store) -> None:
    """The other is told who has it, and where."""

    def try_to(store: Store, name: str) -> str:
        try:
            take(store, node(name))
        except LeaseHeld as error:
            return error.message
        return "taken"

    with ThreadPoolExecutor(2) as pool:
        trying = [pool.submit(try_to, first, "one"), pool.submit(try_to, second, "two")]
        said = [one.result() for one in trying]
    assert said.count("taken") == 1
    loser = next(one for one in said if one != "taken")
    assert lease_of(first).host in loser
    assert lease_of(first).epoch == 1


def test_the_lease_of_a_live_holder_is_not_taken_however_often_it_is_tried(first: Store, second: Store) -> None:
    """Nor does a try change anything of it."""
    take(first, node("one"))
    before = lease_of(second)
    for _ in range(3):
        with pytest.raises(LeaseHeld):
            take(second, node("one"))  # of the same name
    assert (lease_of(second).owner, lease_of(second).until) == (before.owner, before.until)
    with first.writing() as books:
        books.site.put("count", 1)


def test_a_lease_that_is_over_is_taken_with_the_next_epoch_and_no_write_of_the_former_holder_is_taken(
    first: Store, second: Store
) -> None:
    """Whatever it writes, once or again; and renewing does not bring it back."""
    assert take(first, node("one"), 0.1) == 1
    with first.writing() as books:
        books.site.put("count", 1)
    wait_until(lambda: lease_of(second).is_over)
    assert take(second, node("two")) == 2
    for _ in range(2):
        with pytest.raises(StoreLeaseLost, match="taken over"), first.writing() as books:
            books.site.put("count", 2)
    assert not terms_of(first).renew(LONG)
    with pytest.raises(StoreLeaseLost):
        first.tidy(0.0, rate_events_for=0.0)
    with second.writing() as books:
        assert books.site.get("count") == 1
        books.site.put("count", 3)
    assert lease_of(first).node == "two"


def test_an_identifier_that_comes_late_is_written_all_the_same(first: Store, second: Store) -> None:
    """It is money: the ledger has it, though another node has the site."""
    take(first, node("one"), 0.1)
    with first.writing() as books:
        books.items.add(item(1))
        number = books.ledger.begin(item(1), 1.0, no_cache=False, canary=False)
    wait_until(lambda: lease_of(second).is_over)
    take(second, node("two"))
    with first.writing(late=True) as books:
        books.ledger.end(number, 2.0, outcome="accepted", charged=Charged.YES, decision="", identifier="paid")
    with second.reading() as books:
        assert [attempt.identifier for attempt in books.ledger.of_item(item(1).id)] == ["paid"]
    with pytest.raises(StoreLeaseLost), first.writing() as books:  # the next one is fenced again
        books.items.change(item(1), State.QUEUED, 3.0)


def test_who_learns_that_it_lost_the_lease_is_called(first: Store, second: Store) -> None:
    """So that everything ends at the first write that is refused, not when the renewal next looks."""
    told: list[str] = []
    take(first, node("one"), 0.1)
    terms_of(first).on_lost = lambda: told.append("lost")
    wait_until(lambda: lease_of(second).is_over)
    take(second, node("two"))
    with pytest.raises(StoreLeaseLost), first.writing():
        pass
    assert told == ["lost"]


def test_a_lease_that_was_renewed_late_is_still_the_holders_unless_it_was_taken(first: Store) -> None:
    """After the server was away for longer than the lease, nobody has done anything meanwhile."""
    take(first, node("one"), 0.1)
    wait_until(lambda: lease_of(first).is_over)
    assert terms_of(first).renew(LONG)
    assert lease_of(first).left > LONG / 2
    assert lease_of(first).epoch == 1


def test_nobody_waits_for_the_end_of_a_lease_whose_owner_is_known_to_be_dead(first: Store, second: Store) -> None:
    """Of exactly that owner: if another took it meanwhile, that one has it."""
    one, two = node("one"), node("two")
    take(first, one)
    with second.writing() as books:
        assert books.leases.take(SITE, two, LONG, dead=one.owner) == 2
    with pytest.raises(LeaseHeld), first.writing(late=True) as books:
        books.leases.take(SITE, node("three"), LONG, dead=one.owner)
    assert lease_of(second).process == ("boot", "17")


def test_a_node_that_is_stopped_while_it_renews_keeps_nobody_from_the_lease(
    first: Store, postgresql: Server
) -> None:
    """Each statement about a lease is a transaction of its own: none is left open for the server to wait for."""
    take(first, node("one"))
    found: list[object] = []
    look = "SELECT state FROM pg_stat_activity WHERE query LIKE 'UPDATE leases%' AND pid <> pg_backend_pid()"

    def note(*about: object) -> None:
        if str(about[2]).startswith("UPDATE leases"):
            found.extend(postgresql.execute(look))

    event.listen(Engine, "after_cursor_execute", note)
    try:
        assert terms_of(first).renew(LONG)
        terms_of(first).give_up()
    finally:
        event.remove(Engine, "after_cursor_execute", note)
    assert found == [("idle",)] * 2


def test_giving_up_lets_another_take_it_at_once(first: Store, second: Store) -> None:
    """And the row stays: the epoch never goes back."""
    take(first, node("one"))
    terms_of(first).give_up()
    assert lease_of(second).is_over
    assert take(second, node("two")) == 2
    terms_of(first).give_up()  # a second time, or too late: it is another's
    assert not lease_of(second).is_over


def test_whoever_has_it_takes_it_again_with_a_new_epoch(first: Store) -> None:
    """Its own writes from before count no more: what it left half done is decided anew."""
    who = node("one")
    with first.writing() as books:
        books.leases.take(SITE, who, LONG)
    terms_of(first).fence(SITE, who.owner, 1)
    with first.writing() as books:
        assert books.leases.take(SITE, who, LONG) == 2
    with pytest.raises(StoreLeaseLost), first.writing():
        pass


def test_a_lease_counts_from_when_it_was_granted_not_from_when_it_was_asked_for(
    first: Store, second: Store
) -> None:
    """Whoever waited for the writers' lock has a whole lease; by now() some of it would be over already."""
    with ThreadPoolExecutor(1) as pool:
        with first.database.writing() as connection:
            taking = pool.submit(take, second, node("two"), 100.0)
            let_pass(1.0)  # it waits, or has not even begun
            released = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one()
        taking.result()
    lease = lease_of(first)
    assert lease.since >= released
    assert lease.until - lease.since == pytest.approx(100.0, abs=0.01)


def test_sites_have_leases_of_their_own(first: Store, second: Store) -> None:
    """Two nodes, two sites, and each writes."""
    take(first, node("one"))
    take(second, node("two"), site="00000000000000bb")
    for store in (first, second):
        with store.writing() as books:
            books.site.put("count", 1)
    with first.reading() as books:
        assert [lease.node for lease in books.leases.listed()] == ["one", "two"]


def test_tables_are_not_upgraded_under_a_lease(
    first: Store, second: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer program says who works with the older tables; once that has ended it upgrades them."""
    take(first, node("one"))
    applied: list[str | None] = []
    monkeypatch.setattr(revisions, "known", lambda: [*_known, "9999"])
    monkeypatch.setattr(revisions, "apply", lambda _connection, before, _show: applied.append(before))
    with pytest.raises(LeaseHeld, match=r"one \(process"):
        second.database.migrate()
    assert applied == []
    terms_of(first).give_up()
    second.database.migrate()
    assert applied == [_known[-1]]


_known = revisions.known()
