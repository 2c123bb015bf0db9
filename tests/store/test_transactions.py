"""No update is lost, nobody waits for a reader, and a process may die at any moment."""

import contextlib
import itertools
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.store.processes import kill, start
from tests.store.recordings import (
    address_of,
    claim_all,
    count_up,
    item,
    sqlite_of,
    stop_while_writing,
    write_until_killed,
)
from watcher.clock import SystemClock
from watcher.domain import State
from watcher.errors import StoreError
from watcher.store import Store
from watcher.store.sqlite import database_file

_now = SystemClock().monotonic


# Alone


def test_threads_that_read_and_then_write_lose_no_update(store: Store) -> None:
    """What one transaction read is still true when it writes, whatever other threads do."""
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: count_up(store), range(200)))
    assert sorted(counts) == list(range(1, 201))


def test_four_processes_claim_each_item_once_and_lose_no_update(store: Store) -> None:
    """A command beside the daemon is another process: each of 200 items is claimed by exactly one of four."""
    with store.writing() as books:
        for number in range(200):
            books.items.add(item(number))
    started = [start(claim_all, *address_of(store), f"worker-{n}") for n in range(4)]
    for _, pipe in started:
        assert pipe.recv() == "ready"
    for _, pipe in started:
        pipe.send("go")
    claimed = [pipe.recv() for _, pipe in started]
    for process, _ in started:
        process.join()
    assert sorted(itertools.chain(*claimed)) == [item(number).id for number in range(200)]
    with store.reading() as books:
        assert books.items.counts()[State.SUBMITTING] == 200
        assert books.site.get("count") == 200


def test_an_error_inside_a_transaction_undoes_all_of_it(store: Store) -> None:
    """All of a transaction is written, or nothing of it; the next one is not hindered."""

    def stumble() -> None:
        with store.writing() as books:
            books.items.add(item(1))
            raise LookupError

    with pytest.raises(LookupError):
        stumble()
    with store.writing() as books:
        assert list(books.items.listed()) == []
        books.items.add(item(1))
    with store.reading() as books:
        assert [found.id for found in books.items.listed()] == [item(1).id]


@pytest.mark.sqlite
def test_what_a_transaction_reads_nobody_changes_before_it_writes(store: Store) -> None:
    """It is locked from the first moment on, against an sqlite3 shell too, not only at the first write."""
    count_up(store)
    shell = sqlite3.connect(store.database.path, isolation_level=None, timeout=0)
    with closing(shell), store.writing() as books:
        assert books.site.get("count") == 1
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            shell.execute("UPDATE site SET value = '7'")
        books.site.put("count", 2)
    assert count_up(store) == 3


@pytest.mark.sqlite
def test_a_commit_is_on_the_disk_when_it_returns(store: Store) -> None:
    """A write-ahead log with a sync at each commit: what was paid for is not forgotten in a power cut."""
    with store.database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_transaction_within_another_is_an_error_at_once(store: Store) -> None:
    """A step that opens a second transaction inside its first would wait for itself: it is told."""
    began = _now()
    with pytest.raises(Exception, match=r"QueuePool limit|within another"), store.writing(), store.writing():
        pass
    assert _now() - began < 1
    assert count_up(store) == 1


@pytest.mark.sqlite
def test_two_stores_of_one_file_have_one_lock_whatever_link_they_came_by(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration that names the database through a link does not get around the lock."""
    monkeypatch.setattr(database_file, "_LOCK_SECONDS", 0.05)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "other.db"
    link.symlink_to(store.database.path)
    with Store(f"sqlite:///{link}") as other:
        with store.writing(), pytest.raises(StoreError, match="another process has been writing"):
            count_up(other)
        assert count_up(other) == 1


@pytest.mark.sqlite
def test_a_lock_file_that_was_tidied_away_still_excludes(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who deletes the lock file does not part those who have it open from those who come."""
    monkeypatch.setattr(database_file, "_LOCK_SECONDS", 0.05)
    count_up(store)
    Path(f"{store.database.path}.lock").unlink()
    with Store(url) as other:
        with other.writing(), pytest.raises(StoreError, match="another process has been writing"):
            count_up(store)
        assert count_up(store) == 2


# Beside readers


def test_a_reader_sees_one_moment_and_hinders_no_writer(store: Store) -> None:
    """A list that is paged slowly shows what there was when it began; meanwhile all is written as ever."""
    with store.writing() as books:
        for number in range(3000):
            books.items.add(item(number))
    with store.reading() as books:
        listing = books.items.listed()
        seen = [next(listing).id]
        began = _now()
        with ThreadPoolExecutor(1) as pool:
            for number in range(3000, 3100):
                pool.submit(_add, store, number).result()
            pool.submit(store.tidy, 0.0, rate_events_for=0.0).result()
        assert _now() - began < 5
        seen += [found.id for found in listing]
    assert seen == [item(number).id for number in range(3000)]
    with store.reading() as books:
        assert sum(books.items.counts().values()) == 3100


@pytest.mark.sqlite
def test_the_log_is_short_without_anybody_s_doing(store: Store) -> None:
    """The write-ahead log is put into the database by the commits themselves, and its file is used again."""
    for number in range(150):
        _add(store, number, note="x" * 50_000)
    assert 0 < sqlite_of(store).log_size() < 5_000_000


@pytest.mark.sqlite
def test_a_checkpoint_waits_for_no_reader_and_the_log_is_given_back_afterwards(store: Store) -> None:
    """A reader makes the log grow, since it may need what was; once it has gone the log is empty again."""
    with store.reading() as books:
        assert books.site.get("anything") is None
        for number in range(150):
            _add(store, number, note="x" * 50_000)
        began = _now()
        store.tidy(0.0, rate_events_for=0.0)
        assert _now() - began < 5.0  # half of what it would wait for a lock
        assert sqlite_of(store).log_size() > 7_500_000
    store.tidy(0.0, rate_events_for=0.0)
    assert sqlite_of(store).log_size() == 0


@pytest.mark.sqlite
def test_a_log_that_a_reader_makes_grow_is_said_once_and_at_each_doubling(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the daemon hears that something keeps the log, in a few lines, not in one a second."""
    monkeypatch.setattr(database_file, "_LONG_LOG_BYTES", 1_000_000)
    sqlite_of(store)._bytes_worth_saying = 1_000_000
    numbers = itertools.count()
    with capture_logs() as said:
        for grown_to, lines in ((5_000_000, 3), (1_500_000, 4)):  # at 1, 2 and 4 MB; then at 1 MB again
            with store.reading() as books:
                books.site.get("anything")
                while sqlite_of(store).log_size() < grown_to:
                    _add(store, next(numbers), note="x" * 20_000)
                    store.tidy(0.0, rate_events_for=0.0)
            store.tidy(0.0, rate_events_for=0.0)
            warned = [line for line in said if line["log_level"] == "warning"]
            assert [line["event"] for line in warned] == ["database.log_grew"] * lines


def test_a_reader_can_not_write(store: Store) -> None:
    """What is opened for reading changes nothing, even by mistake."""
    with pytest.raises(StoreError, match=r"cannot be written|read-only transaction"), store.reading() as books:
        books.items.add(item(1))


@pytest.mark.sqlite
def test_a_command_that_only_reads_leaves_the_log_alone(store: Store, url: str) -> None:
    """Only who writes takes a checkpoint: the last reader to go leaves the database's bytes as they are."""
    _add(store, 1)
    path = store.database.path
    with closing(sqlite3.connect(path)) as keeper:  # so that closing the store is not the last closing
        keeper.execute("PRAGMA wal_autocheckpoint = 0")
        keeper.execute("SELECT * FROM site").fetchall()
        before, log = path.read_bytes(), sqlite_of(store).log_size()
        with Store(url) as reader, reader.reading() as books:
            assert books.items.get(item(1).id) is not None
        assert log > 0
        assert sqlite_of(store).log_size() == log
        assert path.read_bytes() == before


def test_many_threads_read_at_the_same_time(store: Store) -> None:
    """No reader waits for a connection that another one has, however many there are."""
    everybody = threading.Barrier(30)

    def read(_: int) -> object:
        with store.reading() as books:
            everybody.wait(10)
            return books.site.get("count")

    count_up(store)
    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(read, range(30))) == [1] * 30


# Killed


@pytest.mark.sqlite
def test_a_process_killed_while_it_writes_leaves_a_whole_database_and_no_lock(store: Store, url: str) -> None:
    """After kill -9 everything that was committed is there, nothing by half, and the next writer goes on."""
    first = 0
    for milliseconds in (1, 20, 60):
        process, pipe = start(write_until_killed, url, first)
        told = pipe.recv()
        SystemClock().wait(milliseconds / 1000, threading.Event())
        kill(process)
        with contextlib.suppress(EOFError):
            while pipe.poll():
                told = pipe.recv()
        began = _now()
        with store.writing() as books:
            count = books.site.get("count")
            assert sum(books.items.counts().values()) == count >= told
            assert len(books.items.history(item(count - 1).id)) == 1
            assert books.items.get(item(count).id) is None
        assert _now() - began < 1
        first = count
    with closing(sqlite3.connect(store.database.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.sqlite
def test_a_process_that_hangs_while_it_writes_is_told_of_and_its_end_frees_the_database(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a process that stands still; what it had not committed never was."""
    monkeypatch.setattr(database_file, "_LOCK_SECONDS", 0.05)
    process, pipe = start(stop_while_writing, *address_of(store))
    assert pipe.recv() == "inside"
    with pytest.raises(StoreError, match="another process has been writing to it") as raised:
        count_up(store)
    assert "fuser -v" in raised.value.hint
    with store.reading() as books:
        assert books.site.get("count") is None
    kill(process)
    assert count_up(store) == 1


# The file is taken away


@pytest.mark.sqlite
@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_that_is_taken_away_while_it_is_used_is_not_written_to(store: Store, replaced: bool) -> None:
    """Commits to a file without a name would be lost, with what was paid for: nobody can go on."""
    count_up(store)
    path = store.database.path
    os.rename(path, f"{path}.away")
    if replaced:
        Path(path).write_bytes(Path(f"{path}.away").read_bytes())
    expected = "replaced by another file" if replaced else "the database is gone"
    with pytest.raises(StoreError, match=expected):
        count_up(store)
    with pytest.raises(StoreError, match=expected), store.reading():
        pass
    os.rename(f"{path}.away", path)
    assert count_up(store) == 2


def _add(store: Store, number: int, note: str = "") -> None:
    with store.writing() as books:
        books.items.add(item(number), note)
