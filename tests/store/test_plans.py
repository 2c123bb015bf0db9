"""With 100,000 items in the database, what is asked all the time is still found at once."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from watcher.alarms import Alarm
from watcher.domain import BACKLOG, IN_DROP, State
from watcher.errors import UNSENDABLE, NoSuchItem
from watcher.folders import Folder
from watcher.journey.arrive.companions import Companions
from watcher.store import FIRST, LAST, Books, Sought, Store
from watcher.store.listed_rows import Place
from watcher.store.removal_rows import Reached
from watcher.views.lookup import Named, find_accompanied, find_failed, find_lying

COMPANIONS = Companions(b".done", (b".xml",))
ROWS = 100_000
QUEUED = ROWS // 5
STEPS = 10_000  # of SQLite's machine, for one question; looking at a row costs about ten of them

_FILL = [
    # Half are done; a sixth failed; a tenth each are queued and due, queued and not due, withdrawn, held.
    """
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows - 1)
    INSERT INTO items (id, path, state, fingerprint, size, sha256, content_key, arrived_at, due_at, identifier,
                       duplicate_of, filed_as, submitted_at, receipt_due, outcome, companions)
    SELECT printf('%016x', n), CAST('folder/' || n || '.wav' AS BLOB),
           CASE n % 10 WHEN 0 THEN 'queued' WHEN 1 THEN 'queued' WHEN 2 THEN 'withdrawn' WHEN 3 THEN 'failed'
                       WHEN 4 THEN 'held' ELSE 'done' END,
           '1:' || n || ':1000:1:1', 1000, printf('%064x', n), printf('%064x', n), n,
           CASE n % 10 WHEN 1 THEN 1e9 ELSE n END,
           CASE WHEN n % 10 > 4 THEN printf('%064x', n) END,
           CASE WHEN n % 1000 = 0 THEN printf('%016x', 5) WHEN n % 1000 = 10 THEN printf('%016x', n - 10) END,
           CASE WHEN n % 10 > 4 OR n % 10 = 3 THEN CAST('folder/' || n || '.wav' AS BLOB) END,
           CASE WHEN n % 10 > 4 THEN n END, n % 5000 = 5,
           CASE WHEN n % 10 > 4 THEN 'done' WHEN n % 10 = 3 THEN 'failed' END, x''
    FROM numbers
    """,
    """
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows - 1)
    INSERT INTO hits (kind, released_at, ended_at)
    SELECT CASE n % 2 WHEN 0 THEN 'write' ELSE 'read' END, n, n + 1 FROM numbers
    """,
    """
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows - 1)
    INSERT INTO verdicts (identifier, state, since, due_at, classification)
    SELECT printf('%064x', n), CASE WHEN n % 50 = 0 THEN 'awaited' WHEN n % 50 = 1 THEN 'overdue' ELSE 'known' END,
           n, n, CASE WHEN n % 50 > 1 THEN CASE WHEN n % 3 = 0 THEN 'artificial' ELSE 'human' END END FROM numbers
    """,
    # As the store keeps them.
    """
    UPDATE items SET (judged_state, judged_as, judged_confidence, judged_at) =
    (SELECT state, classification, confidence, known_at FROM verdicts WHERE verdicts.identifier = items.identifier)
    """,
    """
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows - 1)
    INSERT INTO attempts (item_id, started_at, ended_at, size, outcome, charged)
    SELECT printf('%016x', n), n, n + 1, 1000, 'accepted', 'yes' FROM numbers
    """,
    # A few hundred are sent in three parts; of the queued ones, all have one that can be sent.
    """
    UPDATE items SET plan_mode = 'cut', parts_most = 3, plan_reason = '' WHERE serial % 500 < 2
    """,
    """
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 3)
    INSERT INTO parts (item_id, "index", start, "end", start_seconds, end_seconds, name, sha256, content_key,
                       state, identifier)
    SELECT id, n, n, n + 1, n, n + 1, id || '-' || n || '.wav', sha256, content_key,
           CASE WHEN state = 'done' THEN 'accepted' ELSE 'queued' END, identifier
    FROM items, numbers WHERE plan_mode IS NOT NULL
    """,
    # The oldest half of what was filed is gone, of the older half of that the receipts are, too.
    """
    UPDATE items SET filed_at = arrived_at, removed_at = CASE WHEN serial < :rows / 2 THEN arrived_at END,
                     receipt_removed_at = CASE WHEN serial < :rows / 4 THEN arrived_at END
    WHERE filed_as IS NOT NULL
    """,
    """
    INSERT INTO transitions (item_id, at, after) SELECT id, arrived_at, 'queued' FROM items
    """,
]

# Indexes and tables that hold only the few rows that are asked for: all of such a one may be read.
_SMALL = (
    "removals",
    "wishes",
    "messages",
    "ix_conditions_look",
    "ix_attempts_open",
    "ux_pauses_active",
    "ix_items_receipt_due",
    "ix_items_moves_to",
)

QUESTIONS: dict[str, Callable[[Books], Any]] = {
    "items.get": lambda books: books.items.get(f"{77:016x}"),
    "items.find": lambda books: books.items.find(f"{77:016x}", []),
    "items.latest_at": lambda books: books.items.latest_at(b"folder/77.wav"),
    "items.live_at": lambda books: books.items.live_at(b"folder/70.wav"),
    "listing.after": lambda books: [
        books.listing.after(place, 3, states)
        for place in (FIRST, Place(50.0, 51))
        for states in ((), [State.FAILED], [State.DONE, State.HELD])
    ],
    "listing.items_after": lambda books: [
        books.listing.items_after(Place(50.0, 51), 3, states) for states in ((), [State.DONE, State.HELD])
    ],
    "sought.page": lambda books: [
        books.sought.page(sought, place, 3, newest_first=newest_first)
        for place, newest_first in ((Place(50.0, 51), False), (Place(ROWS - 50.0, ROWS - 51), True))
        for sought in (
            Sought(),
            Sought(frozenset({State.FAILED, State.DONE})),
            Sought(names=(b"FOLDER",), digits="1"),
            Sought(verdicts=frozenset({"known", "human"}), folder=b"folder/"),
            Sought(frozenset({State.DONE}), frozenset({"known"})),
            Sought(since=ROWS / 2, until=ROWS / 2 + 10),
        )
    ],
    "sought.rows_of": lambda books: books.sought.rows_of([3, 77]),
    "listing.items_of": lambda books: books.listing.items_of([3, 77]),
    "parts.of_items": lambda books: books.parts.of_items([f"{n:016x}" for n in (77, 500)]),
    "items.with_identifier": lambda books: books.items.with_identifier(f"{77:064x}"),
    "items.history": lambda books: books.items.history(f"{77:016x}"),
    "queue.next_due": lambda books: books.queue.next_due(5e8, canary=False),
    "queue.next_affordable": lambda books: books.queue.next_affordable(
        5e8, canary=False, day=(2, 2), month=(2, 2)
    ),
    "queue.how_many_blocked": lambda books: books.queue.how_many_blocked(UNSENDABLE),
    "queue.blocked": lambda books: books.queue.blocked(UNSENDABLE, 3),
    "queue.next_due_at": lambda books: books.queue.next_due_at(5e8),
    "items.in_state": lambda books: books.items.in_state(State.DONE, limit=3),
    "filing.to_file": lambda books: [books.filing.to_file(s, 1.0, 9.0, 3) for s in (State.DONE, State.FAILED)],
    "filing.to_return": lambda books: books.filing.to_return(State.FAILED, 1.0, 9.0, 3),
    "filing.to_move_on": lambda books: books.filing.to_move_on(1.0, 9.0, 3),
    "filing.moves_on": lambda books: books.filing.moves_on(),
    "filing.with_receipt_due": lambda books: books.filing.with_receipt_due(State.DONE, 1.0, 9.0, 3),
    "obstacles.total": lambda books: books.obstacles.total(),
    "obstacles.listed": lambda books: books.obstacles.listed(3),
    "obstacles.waiting": lambda books: books.obstacles.waiting(1.0),
    "items.oldest_arrival": lambda books: books.items.oldest_arrival(BACKLOG),
    "items.live_among": lambda books: books.items.live_among([b"folder/70.wav", b"folder/75.wav"]),
    "items.filed_among": lambda books: books.items.filed_among([b"folder/73.wav", b"folder/75.wav"], State.DONE),
    "items.accompanied": lambda books: books.items.accompanied(b"folder/77"),
    "items.filed_beside": lambda books: books.items.filed_beside(b"folder/77"),
    "items.named": lambda books: books.items.named([b"folder/77.wav", b"folder/nothing.wav"]),
    "find_lying": lambda books: find_lying(books, Folder(b"/nowhere", "done"), b"folder/nothing.wav"),
    "find_failed": lambda books: _find_failed(books, "folder/75.wav"),
    "find_accompanied": lambda books: find_accompanied(books, COMPANIONS, b"folder/77.xml", [State.DONE]),
    "find_accompanied.marker": lambda books: find_accompanied(books, COMPANIONS, b"a.wav.done", sorted(IN_DROP)),
    "obstacles.next_at": lambda books: books.obstacles.next_at(1.0),
    "copies.original_of": lambda books: books.copies.original_of(f"{77:064x}", apart_from=f"{3:016x}"),
    "copies.duplicates_of": lambda books: books.copies.duplicates_of(f"{20:016x}"),
    "items.returnable": lambda books: books.items.returnable(b"folder/72.wav", f"{72:064x}", 72),
    "items.failed_with": lambda books: books.items.failed_with(f"{73:064x}"),
    "ledger.of_item": lambda books: books.ledger.of_item(f"{77:016x}"),
    "ledger.unfinished": lambda books: books.ledger.unfinished(),
    "ledger.spent_since": lambda books: books.ledger.spent_since(ROWS - 100.0),
    "ledger.accepted_since": lambda books: books.ledger.accepted_since(ROWS - 100.0, f"{77:016x}"),
    "ledger.canaries": lambda books: books.ledger.canaries(ROWS - 100.0, ROWS - 50.0),
    "ledger.log": lambda books: books.ledger.log("write", [30], ROWS),
    "parts.of": lambda books: books.parts.of(f"{77:016x}"),
    "parts.with_content": lambda books: books.parts.with_content(f"{77:064x}"),
    "parts.with_identifier": lambda books: books.parts.with_identifier(f"{77:064x}"),
    "parts.reserved": lambda books: books.parts.reserved(),
    "parts.begun": lambda books: books.parts.begun(3),
    "parts.next_to_prepare": lambda books: books.parts.next_to_prepare(ROWS / 2, ROWS),
    "verdicts.get": lambda books: books.verdicts.get(f"{77:064x}"),
    "verdicts.of": lambda books: books.verdicts.of([f"{n:064x}" for n in (77, 78)]),
    "verdicts.due": lambda books: _due(books, ROWS / 2),
    "verdicts.due, the clock set back": lambda books: _due(books, -ROWS),
    "verdicts.next_due_at": lambda books: books.verdicts.next_due_at(ROWS / 2),
    "pauses.active": lambda books: books.pauses.active(),
    "removals.claimed": lambda books: books.removals.claimed(3),
    "removals.get": lambda books: books.removals.get(f"{77:016x}"),
    "removals.due_recordings": lambda books: books.removals.due_recordings(ROWS, Reached(ROWS * 0.7), 3),
    "removals.due_receipts": lambda books: books.removals.due_receipts(ROWS, Reached(ROWS * 0.3), 3),
    "removals.due_rows": lambda books: books.removals.due_rows(ROWS, Reached(ROWS * 0.1), 3, keeps_receipts=False),
    "tombstones.of_content": lambda books: books.tombstones.of_content(f"{77:064x}"),
    "tombstones.get": lambda books: books.tombstones.get(f"{77:016x}"),
    "site.get": lambda books: books.site.get("last_scan_at"),
    "page.latest_to_see": lambda books: books.page.latest_to_see(3),
    "page.events": lambda books: [books.page.events(before, 3) for before in (1 << 62, 77)],
    "page.decided": lambda books: books.page.decided(f"{77:016x}", 5),
    "page.changed": lambda books: books.page.changed([f"{n:016x}" for n in (77, 500)], 5),
    "page.called": lambda books: [books.page.called(text) for text in (f"{77:016x}", f"{77:064x}", "nobody")],
    "page.behind": lambda books: books.page.behind(LAST, 500),
    "page.few_in_folder": lambda books: books.page.few_in_folder(b"nobody/"),
    "page.few_with_verdict": lambda books: books.page.few_with_verdict("nobody's"),
    "sought.among": lambda books: books.sought.among(Sought(names=(b"7",)), [77, 500]),
    "items.latest_arrival": lambda books: books.items.latest_arrival(),
    "conditions.waiting": lambda books: books.conditions.waiting(),
    "conditions.is_open": lambda books: books.conditions.is_open(Alarm.FAILED, f"{77:016x}"),
    "messages.unsent": lambda books: books.messages.unsent(),
    "wishes.next": lambda books: books.wishes.next(),
    "wishes.latest": lambda books: books.wishes.latest(3),
    "sought.page, the newest first": lambda books: [
        books.sought.page(sought, LAST, 3, newest_first=True)
        for sought in (
            Sought(),
            Sought(frozenset({State.HELD})),
            Sought(frozenset({State.FAILED}), to_see=True),
            Sought(since=ROWS - 50.0, names=(b"nobody",)),  # a window of the page's search
        )
    ],
}


RANGES: dict[str, Callable[[Books], Any]] = {
    "items.with_companions": lambda books: books.items.with_companions(50_000),
    "audit.contradictions": lambda books: books.audit.contradictions(50_000, 50_100),
    "audit.not_in_ledger": lambda books: books.audit.not_in_ledger(50_000, 50_100),
    "audit.for_nobody": lambda books: books.audit.for_nobody(50_000, 50_100),
    "audit.held_by_nobody": lambda books: books.audit.held_by_nobody(50_000, 50_100),
    "audit.given": lambda books: books.audit.given(50_000, 50_100, [f"{77:064x}"]),
}
"""What `reconcile` asks of one range of rows after the other."""

_SOME = range(20_000, 21_000)

MANY: dict[str, Callable[[Books], Any]] = {
    "items.live_among": lambda books: books.items.live_among([b"folder/%d.wav" % n for n in _SOME]),
    "items.filed_among": lambda books: books.items.filed_among([b"folder/%d.wav" % n for n in _SOME], State.DONE),
    "rebuilt.places": lambda books: books.rebuilt.places([f"{n:016x}" for n in _SOME]),
    "located.after": lambda books: books.located.after(20_000, 1000),
}
"""What `reconcile` and `recover` ask of a thousand names or rows at once."""


def _find_failed(books: Books, name: str) -> None:
    """A person names as failed what is done."""
    with pytest.raises(NoSuchItem):
        find_failed(books, [Named(name, ([(None, name.encode())],))], "")


def _due(books: Books, now: float) -> Any:
    return books.verdicts.due(now, limit=3, awaited_seconds=300, overdue_seconds=3600)


@pytest.fixture(scope="module")
def full_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("plans") / "watcher.db"
    with Store(f"sqlite:///{path}") as store:
        store.database.migrate()
        with store.database.writing() as connection:
            for statement in _FILL:
                connection.execute(text(statement), {"rows": ROWS} if ":rows" in statement else {})
        yield store


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_asked_all_the_time_is_found_through_an_index(full_store: Store, name: str) -> None:
    """No question of the daemon's steps looks at every row of a table, nor at every queued item."""
    plans, steps = _watch(full_store, QUESTIONS[name])
    scans = [line for line in plans if line.startswith("SCAN") and not line.endswith(_SMALL)]
    # What a subquery has found; what is of no table; and obstacles, which are few, and none where all is well.
    scans = [line for line in scans if not line.startswith(("SCAN anon_", "SCAN obstacles"))]
    scans = [line for line in scans if line != "SCAN CONSTANT ROW"]
    assert plans
    assert scans == []
    assert steps <= STEPS, plans


@pytest.mark.parametrize("name", RANGES)
def test_what_proves_the_books_looks_at_the_rows_of_its_range(full_store: Store, name: str) -> None:
    """All else that it needs of other rows and tables is found through an index: so each transaction is short."""
    plans, steps = _watch(full_store, RANGES[name])
    assert plans
    assert [
        line for line in plans if line.startswith("SCAN") and "parts" not in line
    ] == []  # few are sent in parts
    assert steps <= 1_000_000, plans


@pytest.mark.parametrize("name", MANY)
def test_a_thousand_at_once_take_no_look_at_any_other(full_store: Store, name: str) -> None:
    """However many are asked for, each is found through the index of its name, and not all of its state."""
    plans, steps = _watch(full_store, MANY[name])
    with full_store.reading() as books:
        assert len(MANY[name](books)) >= 300
    assert [
        line for line in plans if line.startswith("SCAN") and not line.endswith(("CONSTANT ROW", *_SMALL))
    ] == []
    assert steps <= 100 * len(_SOME), plans


@pytest.mark.parametrize("name", ["items", "verdicts"])
def test_what_is_at_rest_is_counted_without_a_look_at_it(full_store: Store, name: str) -> None:
    """The states of half of all items are not looked at, nor those of the known verdicts."""
    counted = {"items": lambda books: books.items.counts(), "verdicts": lambda books: books.verdicts.counts()}
    plans, steps = _watch(full_store, counted[name])
    with full_store.reading() as books:
        assert sum(counted[name](books).values()) == ROWS
    assert [line for line in plans if "TEMP B-TREE" in line] == []
    assert all("COVERING INDEX" in line for line in plans), plans
    assert steps <= 10 * ROWS // 2, plans


@pytest.mark.parametrize("count", ["counts", "asked", "classes", "failed_to_see"])
def test_a_page_counts_no_further_than_it_shows(full_store: Store, count: str) -> None:
    """Of each state and class ten thousand and one are looked at, in an index, however many there are."""
    plans, steps = _watch(full_store, lambda books: getattr(books.page, count)())
    found = [line for line in plans if line.startswith(("SEARCH", "SCAN")) and "anon_" not in line]
    assert found
    assert [line for line in found if not re.search(r"INDEX|PRIMARY KEY", line)] == []
    assert steps <= 25 * 10_001 * 9


def test_classes_are_counted_without_a_look_at_each_verdict(full_store: Store) -> None:
    """An item knows its own: one step in an index for each that is counted, of those in parts a few more."""
    plans, steps = _watch(full_store, lambda books: books.page.classes())
    assert [line for line in plans if "verdicts" in line and "identifier=?" not in line] == []
    assert steps <= 10 * 2 * 10_001 + 100_000, plans


def test_where_nothing_is_due_only_what_is_queued_is_looked_at(full_store: Store) -> None:
    """The costliest question of all, which is asked when everything has to wait, leaves out what is at rest."""
    _, steps = _watch(full_store, lambda books: books.queue.next_due(-1.0, canary=False))
    assert steps <= 10 * QUEUED


def _watch(store: Store, question: Callable[[Books], Any]) -> tuple[list[str], int]:
    """The plans of all statements that the question asks, and how many steps SQLite's machine took, about."""
    statements: list[str] = []
    ticks: list[None] = []
    with store.reading() as books, store.database.reading() as other:
        question(books)  # begins the transaction, and has the statements compiled
        driver = books.items._connection.connection.driver_connection
        assert driver is not None
        driver.set_trace_callback(statements.append)
        driver.set_progress_handler(lambda: ticks.append(None), 100)
        question(books)
        driver.set_trace_callback(None)
        driver.set_progress_handler(None, 0)
        plans = [
            row.detail for query in statements for row in other.exec_driver_sql("EXPLAIN QUERY PLAN " + query)
        ]
    return plans, 100 * len(ticks)
