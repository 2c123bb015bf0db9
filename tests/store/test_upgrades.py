"""The database is brought to the program's version whole, or stays as it was."""

import logging
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from tests.store.recordings import item, sqlite_of
from watcher.errors import StoreError
from watcher.store import Store, revisions
from watcher.store.empty import empty_database
from watcher.store.schema import metadata
from watcher.store.sqlite import database_file

pytestmark = pytest.mark.sqlite  # all of it is about the file

NEWEST = revisions.known()[-1]


@pytest.fixture(scope="module", autouse=True)
def new_databases() -> None:
    """Every database of this file is made by the revisions."""


def _dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def _shape(path: Path) -> set[tuple[str, ...]]:
    """Every column, and every index with its condition, whatever order they were made in."""
    with closing(sqlite3.connect(path)) as connection:
        return _shape_of(connection)


def _shape_of(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
        if "alembic_version" in name:
            continue
        if kind == "table":
            columns = connection.execute(f"PRAGMA table_info('{name}')").fetchall()
            found |= {(name, *map(str, column[1:])) for column in columns}
        else:
            found.add((kind, name, " ".join((sql or "").split())))
    return found


@pytest.fixture
def own_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's revisions, in a folder where the test adds its own."""
    copy = tmp_path / "a program's 100% own migrations"
    shutil.copytree(revisions.folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(revisions, "folder", lambda: copy)
    return copy


def _next_revision(folder: Path, body: str) -> str:
    before = revisions.known()[-1]
    number = f"{int(before) + 1:04}"
    lines = [
        "from alembic import op",
        f"revision, down_revision = {number!r}, {before!r}",
        "def upgrade() -> None:",
        *(f"    {line}" for line in body.splitlines()),
    ]
    (folder / "versions" / f"{number}_of_the_test.py").write_text("\n".join(lines) + "\n")
    return number


BROKEN = """
op.create_table("half", __import__("sqlalchemy").Column("done", __import__("sqlalchemy").Integer))
op.execute("INSERT INTO half VALUES (1)")
op.execute("UPDATE items SET path = x'00'")
with op.batch_alter_table("items") as batch:
    batch.drop_column("warning")
op.execute("DROP TABLE pauses")
raise RuntimeError("the revision's own fault")
"""


# What they lead to


@pytest.mark.parametrize("version", revisions.known())
def test_from_every_version_the_revisions_lead_to_the_tables_of_the_program(
    tmp_path: Path, url: str, version: str
) -> None:
    """An upgraded database and the schema in the code are the same: tables, columns, indexes, conditions."""
    with Store(url) as store:
        store.database.migrate()
    started = tmp_path / "started.db"
    with Store(f"sqlite:///{started}") as store:
        store.database.path.touch()
        with store.database.writing() as connection:
            config = Config()
            config.set_main_option("script_location", str(revisions.folder()))
            config.attributes["connection"] = connection
            command.upgrade(config, version)
        assert store.database.version() == version
        store.database.migrate()
        assert store.database.version() == NEWEST
        with store.database.reading() as connection:
            compared = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(compared, metadata) == []
    engine = empty_database()
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        assert _shape(started) == _shape_of(driver)
    engine.dispose()


def test_the_revisions_files_are_named_for_their_numbers() -> None:
    """The program knows the versions by the files' names: they are the revisions' numbers, in their order."""
    found = []
    for path in sorted((revisions.folder() / "versions").glob("*.py")):
        names: dict[str, object] = {}
        exec(compile(path.read_text(), path, "exec"), names)
        found.append((names["revision"], names["down_revision"]))
    known = revisions.known()
    assert found == list(zip(known, [None, *known[:-1]], strict=True))


def test_a_second_upgrade_does_nothing(store: Store) -> None:
    """What is of this version stays untouched, without a copy."""
    assert store.database.migrate() == (NEWEST, NEWEST)
    store.database.check_version()
    assert list(store.database.path.parent.glob("*.bak")) == []


def test_two_programs_that_upgrade_at_once_upgrade_once(url: str) -> None:
    """A daemon and a command that start together: one upgrades, the other finds it done."""

    def migrate(_: int) -> tuple[str | None, str | None]:
        with Store(url) as store:
            return store.database.migrate()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(migrate, range(4)))
    assert sorted(found, key=str) == [(NEWEST, NEWEST)] * 3 + [(None, NEWEST)]


def test_an_upgrade_says_nothing_and_leaves_the_logging_as_it_is(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Output belongs to the command, and the log to the daemon; neither to the library that upgrades."""
    ours = logging.getLogger("watcher.some.module")
    root = logging.getLogger()
    before = (root.level, list(root.handlers), ours.disabled, ours.level, logging.getLogger("alembic").level)
    with Store(url) as store:
        store.database.migrate()
    after = (root.level, list(root.handlers), ours.disabled, ours.level, logging.getLogger("alembic").level)
    assert capfd.readouterr() == ("", "")
    assert after == before


# Whole, or not at all


def test_a_revision_that_fails_half_way_leaves_the_old_database_as_it_was(
    store: Store, own_revisions: Path
) -> None:
    """Tables made, changed and dropped before the fault are as before, and the old version can go on."""
    with store.writing() as books:
        books.items.add(item(1), "kept")
    before = _dump(store.database.path)
    _next_revision(own_revisions, BROKEN)
    with pytest.raises(StoreError, match="the revision's own fault") as raised:
        store.database.migrate()
    assert "nothing was changed" in raised.value.message
    assert _dump(store.database.path) == before
    assert store.database.version() == NEWEST
    with store.writing() as books:
        assert books.items.get(item(1).id) == item(1)
        books.items.add(item(2))


def test_a_first_upgrade_that_fails_leaves_nothing(url: str, own_revisions: Path) -> None:
    """A new site whose first start failed is a new site still, and the next start makes it."""
    number = _next_revision(own_revisions, BROKEN)
    with Store(url) as store:
        with pytest.raises(StoreError, match=f"upgrade to version {number} failed"):
            store.database.migrate()
        assert not store.database.exists()
        with store.reading() as books:
            assert list(books.items.listed()) == []
    (own_revisions / "versions" / f"{number}_of_the_test.py").unlink()
    with Store(url) as store:
        assert store.database.migrate() == (None, NEWEST)


def test_before_an_upgrade_a_whole_copy_is_made(store: Store, own_revisions: Path) -> None:
    """The copy has everything that was committed, what lies in the log too, and can be used as it is."""
    with store.writing() as books:
        books.items.add(item(1), "in the log still")
    assert sqlite_of(store).log_size() > 0
    before = _dump(store.database.path)
    _next_revision(own_revisions, 'op.execute("DELETE FROM items")')
    store.database.migrate()
    path = store.database.path
    copy = path.with_name(f"{path.name}.before-{NEWEST}.bak")
    assert _dump(path) != before
    assert _dump(copy) == before
    with Store(f"sqlite:///{copy}") as restored, restored.writing() as books:
        assert books.items.get(item(1).id) == item(1)


def test_an_upgrade_says_how_far_it_is(store: Store, own_revisions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy by its bytes, the revisions by their number; and again while one statement takes long."""
    with store.writing() as books:
        for number in range(300):
            books.items.add(item(number), "x" * 3000)
    monkeypatch.setattr(database_file, "_PAGES_AT_ONCE", 50)
    monkeypatch.setattr(database_file, "_STEPS_AT_ONCE", 10)
    first, second = (
        _next_revision(own_revisions, "op.execute('UPDATE items SET due_at = due_at + 1')") for _ in "ab"
    )
    told: list[tuple[str, int, int | None]] = []
    store.database.migrate(lambda *said: told.append(said))
    copied = [(number, total) for what, number, total in told if what == "copying the database"]
    assert len(copied) > 3
    assert copied == sorted(copied)
    assert (
        copied[-1][0]
        == copied[-1][1]
        == sqlite_of(store).path.with_name("watcher.db.before-" + NEWEST + ".bak").stat().st_size
    )
    changed = [said for said in told if said[0] != "copying the database"]
    assert list(dict.fromkeys(changed)) == [
        (f"changing the tables to version {first}", 1, 2),
        (f"changing the tables to version {second}", 2, 2),
    ]
    assert len(changed) > 20


def test_only_the_last_three_copies_are_kept(store: Store, own_revisions: Path) -> None:
    """Copies do not fill the disk; a file that is none of them stays."""
    path = store.database.path
    mine = path.with_name(f"{path.name}.mine.bak")
    mine.touch()
    numbers = [_next_revision(own_revisions, "pass")]
    store.database.migrate()
    for _ in range(4):
        numbers.append(_next_revision(own_revisions, "pass"))
        store.database.migrate()
    found = sorted(path.parent.glob("*.bak*"))
    assert found == [*(path.with_name(f"{path.name}.before-{n}.bak") for n in numbers[-4:-1]), mine]


# Refused


def test_a_database_of_a_newer_program_is_refused(store: Store) -> None:
    """An older program neither reads nor changes what it does not know."""
    with closing(sqlite3.connect(store.database.path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = _dump(store.database.path)
    for refused in (store.database.check_version, store.database.migrate):
        with pytest.raises(StoreError, match="version 9999, which is newer than this program") as raised:
            refused()
        assert "Install the newer" in raised.value.hint
    assert _dump(store.database.path) == before
    assert list(store.database.path.parent.glob("*.bak")) == []


def test_a_command_on_a_database_of_an_older_version_says_how_to_upgrade(
    store: Store, own_revisions: Path
) -> None:
    """Only the daemon and `migrate` upgrade; whoever runs another command is told so."""
    _next_revision(own_revisions, "pass")
    with pytest.raises(StoreError, match=f"older version \\({NEWEST}\\)") as raised:
        store.database.check_version()
    assert "watcher migrate" in raised.value.hint


@pytest.mark.parametrize(
    "theirs",
    [
        "CREATE TABLE theirs (a)",
        "CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('9f3c1a2b')",
        f"CREATE TABLE items (a); CREATE TABLE alembic_version AS SELECT '{NEWEST}' AS version_num",
        "CREATE TABLE alembic_version (version_num)",
    ],
    ids=["plain", "of Alembic", "of Alembic, alike", "of Alembic, empty"],
)
def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path, url: str, theirs: str) -> None:
    """A wrong path in store.url puts no tables of ours among somebody else's, and is said to be that."""
    path = tmp_path / "watcher.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(theirs)
    before = path.read_bytes()
    with Store(url) as store:
        for use in (store.database.migrate, store.database.check_version, store.database.exists):
            with pytest.raises(StoreError, match="not watcher's database") as raised:
                use()
            assert f"store.url points at {path}" in raised.value.hint
    assert path.read_bytes() == before


# Before the first start


def test_before_a_site_s_first_start_there_is_nothing_to_read(url: str, tmp_path: Path) -> None:
    """Commands that read find an empty site, and make no file."""
    with Store(url) as store:
        assert not store.database.exists()
        for _ in range(2):
            with store.reading() as books:
                assert list(books.items.listed()) == []
                assert set(books.items.counts().values()) == {0}
                assert books.verdicts.due(1e9) == []
                assert books.waiting.listed() == []
                assert books.pauses.active() == []
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(StoreError, match="there is no database yet"), store.writing():
            pass
        store.database.migrate()
        with store.writing() as books:
            books.items.add(item(1))
        with store.reading() as books:
            assert books.items.get(item(1).id) == item(1)


def test_a_first_start_that_was_cut_off_before_its_tables_is_no_site_yet(url: str, tmp_path: Path) -> None:
    """An empty file, or one without tables, is what a start leaves that was killed: the next one goes on."""
    path = tmp_path / "watcher.db"
    for cut_off in ("", "PRAGMA journal_mode = WAL"):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(cut_off)
        path.touch()
        with Store(url) as store:
            assert not store.database.exists()
            with store.reading() as books:
                assert list(books.items.listed()) == []
            assert store.database.migrate() == (None, NEWEST)
            assert list(tmp_path.glob("*.bak")) == []


@pytest.mark.parametrize("name", ["a?b#c%20d.db", "name with spaces.db", "Ünïcode.db", "bytes\udcff.db"])
def test_a_database_may_have_any_name(tmp_path: Path, name: str) -> None:
    """No character of a path means anything else than itself."""
    with Store(f"sqlite:///{tmp_path}/{name}") as store:
        store.database.migrate()
        with store.writing() as books:
            books.items.add(item(1))
        with store.reading() as books:
            assert books.items.get(item(1).id) is not None
        store.database.checkpoint()
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.lock"}
