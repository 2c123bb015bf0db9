"""What a killed process leaves at the database, and beside it: whoever comes next goes on from there."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.recordings import item, sqlite_of
from watcher.ownership import make_file
from watcher.store import Store, revisions

pytestmark = pytest.mark.sqlite  # all of it is about the file

NEWEST = revisions.known()[-1]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _log_of_another_database(folder: Path) -> bytes:
    """A write-ahead log with a recording in it, as it lies beside its database while that is open."""
    with Store(f"sqlite:///{folder}/another.db") as store:
        store.database.migrate()
        with store.writing() as books:
            books.items.add(item(1))
        log = (folder / "another.db-wal").read_bytes()
    shutil.rmtree(folder)
    return log


@pytest.mark.parametrize("is_empty", [False, True], ids=["missing", "empty"])
def test_what_a_killed_first_start_left_is_no_site_yet_and_is_in_nobodys_way(
    url: str, tmp_path: Path, is_empty: bool
) -> None:
    """Half a database under its first name, a journal or a log without one: commands find an empty site, and the
    next start makes a sound database and tidies the rest away."""
    path = tmp_path / "watcher.db"
    (tmp_path / "elsewhere").mkdir()
    log = _log_of_another_database(tmp_path / "elsewhere")
    for half in (".new", ".new-journal", ".new-wal", ".new-shm", "-journal", "-shm"):
        path.with_name(path.name + half).write_bytes(b"SQLite format 3\0 and no more" * 100)
    path.with_name(path.name + "-wal").write_bytes(log)
    if is_empty:
        path.touch()
    with Store(url) as store:
        assert not store.database.exists()
        with store.reading() as books:
            assert list(books.items.listed()) == []

        assert store.database.migrate() == (None, NEWEST)

        with store.writing() as books:
            assert list(books.items.listed()) == []
            books.items.add(item(2))
    assert _names(tmp_path) == {path.name, f"{path.name}.lock"}
    assert _is_sound(path)


def test_an_empty_file_that_somebody_made_for_it_keeps_its_owner(url: str, tmp_path: Path) -> None:
    """The database takes the place of the empty file, and belongs to whom that did."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of somebody else's")
    path = tmp_path / "watcher.db"
    path.touch()
    os.chown(path, 54_320, 54_321)
    path.chmod(0o660)
    with Store(url) as store:
        store.database.migrate()
    made = path.stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (54_320, 54_321, 0o660)


def test_a_hot_journal_is_rolled_back_by_whoever_reads_first(url: str, tmp_path: Path) -> None:
    """Somebody was killed in the middle of a write in SQLite's other mode: nothing of it stays."""
    path = tmp_path / "watcher.db"
    _leave_hot_journal(path)
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    with closing(reader), pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("SELECT 1 FROM sqlite_master")
    with Store(url) as store:
        assert store.database.exists()
        store.database.check_version()
        with store.reading() as books:
            assert books.items.get(item(1).id) == item(1)
        assert store.database.migrate() == (NEWEST, NEWEST)
        with store.writing() as books:
            books.items.add(item(2))
    assert not path.with_name("watcher.db-journal").exists()
    assert _is_sound(path)


def test_a_database_that_was_killed_as_it_began_is_begun_anew(url: str, tmp_path: Path) -> None:
    """As an earlier version left it: the file has its first page already, and a journal that says it had none."""
    path = tmp_path / "watcher.db"
    building = tmp_path / "building.db"
    with closing(sqlite3.connect(building, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("CREATE TABLE half AS SELECT zeroblob(100000)")
        for ending in ("", "-journal"):
            shutil.copy(f"{building}{ending}", f"{path}{ending}")
    building.unlink()
    assert path.stat().st_size > 0
    with Store(url) as store:
        with store.reading() as books:
            assert list(books.items.listed()) == []
        assert store.database.migrate() == (None, NEWEST)
        with store.writing() as books:
            books.items.add(item(1))
        with store.reading() as books:
            assert books.items.get(item(1).id) == item(1)
    assert _names(tmp_path) == {path.name, f"{path.name}.lock"}


def _leave_hot_journal(path: Path) -> None:
    """The file holds pages of a transaction that was never committed; its journal has what they were."""
    building = path.with_name("building.db")
    with Store(f"sqlite:///{building}") as store:
        store.database.migrate()
        with store.writing() as books:
            books.items.add(item(1))
    with closing(sqlite3.connect(building, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = DELETE")
        writer.execute("PRAGMA cache_size = 1")  # so that pages go into the file before the end
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE items SET path = zeroblob(100000)")
        for ending in ("", "-journal"):
            shutil.copy(f"{building}{ending}", f"{path}{ending}")
    for left in path.parent.glob("building.db*"):
        left.unlink()


def test_an_upgrade_that_was_killed_while_it_made_its_copy_makes_it_anew(store: Store) -> None:
    """Half a copy, and the journal of half a copy, are in nobody's way, and do not get into the whole one."""
    path = store.database.path
    copy = path.with_name(f"{path.name}.before-{NEWEST}.bak")
    with store.writing() as books:
        books.items.add(item(1))
    for half in (".new", ".new-journal", ".new-wal"):
        copy.with_name(copy.name + half).write_bytes(b"SQLite format 3\0 and no more" * 100)

    sqlite_of(store)._back_up(NEWEST)

    assert not list(path.parent.glob("*.new*"))
    assert _is_sound(copy)
    with Store(f"sqlite:///{copy}") as restored, restored.reading() as books:
        assert books.items.get(item(1).id) == item(1)


def test_a_file_of_ours_has_its_owner_before_it_has_its_name(tmp_path: Path) -> None:
    """Root may be killed at any call: what it made is either not there, or the service's."""
    seen: list[bool] = []
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        make_file(folder, b"lock", 0o640, lambda _: seen.append((tmp_path / "lock").exists()))
        with pytest.raises(FileExistsError):
            make_file(folder, b"lock", 0o640, lambda _: None)
    finally:
        os.close(folder)
    assert seen == [False]
    assert _names(tmp_path) == {"lock"}
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o640


def test_where_no_nameless_file_can_be_made_the_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS, on many FUSE file systems, and without /proc, the file is made all the same."""
    monkeypatch.setattr("watcher.ownership._DESCRIPTORS", b"/nonexistent")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        make_file(folder, b"lock", 0o640, lambda made: os.fchmod(made, 0o600))
        with pytest.raises(FileExistsError):
            make_file(folder, b"lock", 0o640, lambda _: None)
    finally:
        os.close(folder)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
