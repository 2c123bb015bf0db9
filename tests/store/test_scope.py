"""Several sites and accounts in one database: each sees its own, and the account's is seen by all of its sites."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.postgresql import Server
from tests.store.recordings import count_up, item, verdict
from watcher.alarms import Alarm, Noted
from watcher.domain import Charged, State
from watcher.errors import StoreError
from watcher.store import FIRST, Store, Waiting, revisions
from watcher.store.schema import metadata

OpenStore = Callable[..., Store]
_NOTED = Noted(frozenset(Alarm))


@pytest.fixture
def opened(postgresql: Server, migrated: str, tmp_path: Path) -> Iterator[OpenStore]:
    """Opens stores in one database, for a site and an account."""
    name = postgresql.database(migrated)
    with ExitStack() as stack:

        def open_store(site: str, account: str = "ours") -> Store:
            store = Store(postgresql.url(name), tmp_path / f"{site}-{account}.node", _NOTED, account=account)
            stack.enter_context(store)
            store.database.belong_to(site)
            return store

        yield open_store
    postgresql.drop(name)


def test_sites_see_nothing_of_each_other(opened: OpenStore) -> None:
    """The same paths, names of facts and kinds of sums at two sites are two; each counts its own."""
    one, other = opened("one"), opened("other")
    for store, number in ((one, 1), (other, 2)):
        with store.writing() as books:
            books.items.add(item(number, path=b"a.wav", state=State.QUEUED), "arrived")
            books.waiting.publish([Waiting(b"b.wav", float(number), 1, "settling", "")])
            books.site.put("name", number)
            books.tallies.add("verdicts", "human", number)
            books.conditions.open(Alarm.SILENCE, "", float(number))
    for store, number in ((one, 1), (other, 2)):
        with store.reading() as books:
            assert [found.id for found in books.items.listed()] == [item(number).id]
            assert [found.id for found in books.listing.after(FIRST, 9)] == [item(number).id]
            assert books.items.get(item(3 - number).id) is None
            assert books.items.history(item(3 - number).id) == []
            assert books.items.counts()[State.QUEUED] == 1
            assert [file.since for file in books.waiting.listed()] == [number]
            assert books.site.get("name") == number
            assert books.tallies.all()["verdicts"] == {"human": number}
            assert books.conditions.waiting() == {Alarm.SILENCE: number}
    with other.writing() as books:
        books.waiting.publish([])
    with one.reading() as books:
        assert len(books.waiting.listed()) == 1


def test_an_item_has_the_site_that_it_came_to(opened: OpenStore) -> None:
    with opened("one").writing() as books:
        books.items.add(item(1))
        found = books.items.get(item(1).id)
        assert found is not None
        assert found.site == "one"


def test_what_an_account_has_spent_is_seen_by_all_its_sites_and_a_site_s_requests_by_itself(
    opened: OpenStore,
) -> None:
    """Caps and rate windows are the account's; what a crash cut off, the ledger's list and the spend a site's."""
    one, other, theirs = opened("one"), opened("other"), opened("third", "theirs")
    for store, number in ((one, 1), (other, 2), (theirs, 3)):
        with store.writing() as books:
            books.items.add(item(number))
            books.ledger.begin(item(number), float(number), no_cache=False, canary=False)
            books.ledger.add_rate_event("write", float(number))
    for store, number, spent in ((one, 1, 2), (other, 2, 2), (theirs, 3, 1)):
        with store.reading() as books:
            assert books.ledger.spent_since(0.0) == spent
            assert books.ledger.log("write", [], 0.0).unended == spent
            for found in (books.ledger.unfinished(), books.ledger.latest(9), list(books.ledger.listed())):
                assert [attempt.item_id for attempt in found] == [item(number).id]
            assert [quarter.requests for quarter in books.report.spent(0.0, 99.0)] == [1]
            last = books.audit.last_request()
            assert books.audit.for_nobody(0, last) == {}
    with one.writing() as books:
        books.ledger.end_all_rate_events(5.0)
        books.ledger.end(
            books.ledger.unfinished()[0].number, 5.0, outcome="accepted", charged=Charged.YES, decision=""
        )
        books.ledger.sum_up(item(1).id)
        books.removals.forget_rest(item(1).id, [])
    with other.reading() as books:
        assert books.ledger.log("write", [], 0.0).unended == 1, "a node that is at work keeps its own"
        assert books.ledger.spent_since(0.0) == 2, "what is summed up is still spent"
        assert books.ledger.sums() == (0, 0), "but it is not this site's"


def test_accounts_have_their_own_verdicts(opened: OpenStore) -> None:
    """One identifier that two accounts were given has a verdict for each; two sites of an account share it."""
    one, other, theirs = opened("one"), opened("other"), opened("third", "it's \\theirs; --")
    for store in (one, theirs):
        with store.writing() as books:
            books.verdicts.add(verdict("f" * 64, detail="of this account"))
            books.verdicts.keep_result("f" * 64, {"of": "this"}, 1.0)
    with theirs.writing() as books:
        books.verdicts.put(verdict("f" * 64, detail="changed"))
        books.verdicts.keep_result("f" * 64, {"of": "that"}, 2.0)
    for store, detail, result in ((one, "of this account", "this"), (other, "of this account", "this")):
        with store.writing() as books:
            books.verdicts.add(verdict("f" * 64, detail="new"))
            found = books.verdicts.get("f" * 64)
            assert found is not None
            assert found.detail == detail
            assert books.verdicts.results_of(["f" * 64]) == {"f" * 64: {"of": result}}
    with one.reading() as books, other.reading() as others:
        assert len(books.verdicts.due(99.0)) == 1
        assert others.verdicts.due(99.0) == [], "the site that got it first asks for it"


def test_in_a_wide_block_all_rows_are_seen_and_after_it_one_s_own(opened: OpenStore) -> None:
    """However the block ends."""
    one, other = opened("one"), opened("other", "theirs")
    for number, store in enumerate((one, other)):
        with store.writing() as books:
            books.items.add(item(number))
    with one.reading() as books:
        with books.wide():
            assert len(list(books.items.listed())) == 2
        assert len(list(books.items.listed())) == 1
        with pytest.raises(KeyError), books.wide():
            raise KeyError
        assert len(list(books.items.listed())) == 1
    with pytest.raises(StoreError), one.writing() as books, books.wide():
        books.items.add(item(0))
    with one.reading() as books:
        assert len(list(books.items.listed())) == 1


def test_in_a_file_a_wide_block_is_nothing(store: Store) -> None:
    with store.writing() as books, books.wide():
        books.items.add(item(1))
        assert len(list(books.items.listed())) == 1


def test_every_table_has_a_policy_that_holds_for_its_owner(postgresql: Server, migrated: str) -> None:
    """A table without one shows every site's rows to all: whoever adds a table says whose its rows are.

    Who works where is for all to see.
    """
    tables = postgresql.execute(
        "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        migrated,
    )
    assert {name for name, is_forced in tables if is_forced} == set(metadata.tables) - {"leases"}


def test_a_site_s_id_is_kept_on_this_machine(opened: OpenStore, tmp_path: Path) -> None:
    """Whatever process of the node opens the database next works on the same site."""
    with opened("one").writing() as books:
        books.site.put("name", "value")
    url = opened("another").database.name
    with Store(url, tmp_path / "one-ours.node", account="ours") as again, again.reading() as books:
        assert books.site.get("name") == "value"
    (tmp_path / "one-ours.node").write_text("[]")
    with Store(url, tmp_path / "one-ours.node", account="ours") as again:
        with pytest.raises(StoreError, match="does not say on which site") as raised, again.reading():
            pass
        assert ".watcher" in raised.value.hint


def test_a_revision_changes_the_rows_of_all_sites(opened: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever upgrades the database first works on one site: the others' rows must not stay as they were."""
    stores = [opened("one"), opened("other", "theirs")]
    for number, store in enumerate(stores):
        with store.writing() as books:
            books.items.add(item(number))
    changed: list[int] = []

    def apply(connection: Any, *_: object) -> None:
        changed.append(connection.exec_driver_sql("UPDATE items SET due_at = 5").rowcount)

    known = revisions.known()
    monkeypatch.setattr(revisions, "known", lambda: [*known, "9999"])
    monkeypatch.setattr(revisions, "apply", apply)
    stores[0].database.migrate()
    assert changed == [2]


@pytest.mark.parametrize("role", ["SUPERUSER", "BYPASSRLS"])
def test_a_user_for_whom_no_policy_holds_is_refused(postgresql: Server, tmp_path: Path, role: str) -> None:
    """It would take the rows of all sites for its own, and mix them up for good."""
    postgresql.execute(f"CREATE ROLE mighty LOGIN {role}")
    try:
        url = postgresql.url("postgres").replace("watcher@", "mighty@")
        with Store(url, tmp_path / "watcher.node") as store, pytest.raises(StoreError) as raised:
            store.database.check_place()
        assert "the user mighty is a superuser, or has BYPASSRLS" in raised.value.message
        assert "CREATE ROLE watcher LOGIN" in raised.value.hint
    finally:
        postgresql.execute("DROP ROLE mighty")


def test_in_one_account_a_fact_of_it_is_known_at_every_site(opened: OpenStore) -> None:
    """The key of the tombstones, for one: what one site has erased another must know again."""
    one, other, theirs = opened("one"), opened("other"), opened("third", "theirs")
    for store, key in ((one, b"1"), (theirs, b"3")):
        with store.writing() as books:
            books.tombstones.add_key(key)
    for store, key in ((one, b"1"), (other, b"1"), (theirs, b"3")):
        with store.reading() as books:
            assert books.tombstones.known_keys() == (key,)
    with other.writing() as books:
        books.tombstones.add_key(b"2")
    with one.reading() as books:
        assert books.tombstones.known_keys() == (b"1", b"2")
        assert books.site.get("tombstone.key") is None
    assert count_up(one) == count_up(other) == 1


def test_the_sites_of_an_account_are_known_and_each_can_be_looked_at(opened: OpenStore) -> None:
    """By what each has noted of itself; what is seen and written at one is as if its own node did it."""
    one, other, theirs = opened("one"), opened("other"), opened("third", "theirs")
    for store, number, account in ((one, 1, "ours"), (other, 2, "ours"), (theirs, 3, "theirs")):
        with store.writing() as books:
            books.site.join(account)
            books.items.add(item(number))
    with one.writing() as books:
        assert books.site.joined("ours") == ["one", "other"]
        with books.at("other"):
            assert [found.id for found in books.items.listed()] == [item(2).id]
            books.site.put("seen", "there")
        assert [found.id for found in books.items.listed()] == [item(1).id]
        assert books.site.get("seen") is None
        with pytest.raises(ValueError, match="mine"), books.at("other"):
            raise ValueError("mine")
        assert [found.id for found in books.items.listed()] == [item(1).id]
    with one.at("other").reading() as books:
        assert books.site.get("seen") == "there"
        assert books.items.counts()[State.QUEUED] == 1
    with one.reading() as books:
        assert [found.id for found in books.items.listed()] == [item(1).id]


@pytest.mark.parametrize(
    ("table", "condition"),
    [
        ("items", "id = '77'"),
        ("items", "id BETWEEN '77' AND '77g'"),
        ("items", "path = 'a'::bytea"),
        ("items", "path BETWEEN 'a.'::bytea AND 'a/'::bytea"),
        ("items", "arrived_at >= 5 AND arrived_at < 6"),
        ("items", "serial > 5"),
        ("attempts", "started_at > 5"),
        ("verdicts", "identifier > 'a'"),
        ("waiting", "path = 'a'::bytea"),
        ("site", "name = 'id'"),
    ],
)
def test_a_policy_keeps_no_question_from_its_index(opened: OpenStore, table: str, condition: str) -> None:
    """The server looks at a policy before any comparison that might betray a row: none of ours is such."""
    with opened("one").database.reading() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN SELECT * FROM {table} WHERE {condition}")]
    assert any("Index Cond" in line for line in plan), plan
