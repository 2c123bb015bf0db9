"""What stands in the way of the database is said: what, where, and what to do. And root breaks nothing."""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import alembic.command
import alembic.config  # noqa: F401  loaded at first use otherwise, when the stranger cannot
import pytest

from tests.people import ROOT, STRANGER, Person, as_user, missing, needs_root
from tests.store.recordings import count_up, item, sqlite_of
from watcher import mounts
from watcher.errors import Exit, StoreError, StoreUnavailable
from watcher.store import Store
from watcher.store.sqlite import connections, database_file
from watcher.store.sqlite.files import check_folder

pytestmark = pytest.mark.sqlite  # all of it is about the file


@pytest.fixture
def reachable() -> Iterator[Path]:
    """An empty folder of the stranger's, which every user can reach."""
    needs_root()
    made = Path(tempfile.mkdtemp(prefix="watcher-tests-"))
    made.chmod(0o755)
    folder = made / "state"
    folder.mkdir()
    os.chown(folder, STRANGER.uid or 0, STRANGER.gid)
    yield folder
    shutil.rmtree(made)


@pytest.fixture
def tiny_disk(reachable: Path) -> Iterator[Path]:
    """A file system of its own, of 2 MiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", reachable], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        missing(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield reachable
    subprocess.run(["umount", reachable], check=True)


def _url(folder: Path) -> str:
    return f"sqlite:///{folder}/watcher.db"


def _start(url: str) -> None:
    with Store(url) as store:
        store.database.migrate()


def _use(url: str) -> int:
    with Store(url) as store:
        with store.reading() as books:
            books.site.get("count")
        return count_up(store)


def _read(url: str) -> object:
    with Store(url) as store, store.reading() as books:
        return books.site.get("count")


# Root and the service's user


@pytest.mark.parametrize(
    ("first", "second"), [(ROOT, STRANGER), (STRANGER, ROOT)], ids=["root first", "root second"]
)
def test_what_root_leaves_behind_the_services_user_can_write(
    reachable: Path, first: Person, second: Person
) -> None:
    """Root makes, writes, reads, copies; with whatever files that leaves the folder's owner goes on."""
    first.does(_start, _url(reachable))
    with Store(_url(reachable)) as store:  # root's, open all the while: its -wal and -shm are there
        assert count_up(store) == 1
        sqlite_of(store)._back_up("0000")
        with store.reading() as books:
            books.site.get("count")
            assert second.does(_use, _url(reachable)) == 2
            assert first.does(_use, _url(reachable)) == 3
            owners = {path.name: path.stat().st_uid for path in reachable.iterdir()}
    names = ("watcher.db", "watcher.db-wal", "watcher.db-shm", "watcher.db.lock", "watcher.db.before-0000.bak")
    assert owners == dict.fromkeys(names, STRANGER.uid)
    assert _read(_url(reachable)) == 3  # root, the last to go
    assert STRANGER.does(_use, _url(reachable)) == 4


def test_what_root_makes_in_a_folder_of_a_group_the_group_can_write(reachable: Path) -> None:
    """The service's user may have the folder through a group only, as root:crew with mode 2770."""
    os.chown(reachable, 0, STRANGER.groups[0])
    reachable.chmod(0o2770)
    _start(_url(reachable))
    with Store(_url(reachable)) as store:
        count_up(store)
        assert as_user(_use, _url(reachable)) == 2


def test_root_gives_nothing_away_through_a_link(reachable: Path) -> None:
    """A link in a folder of somebody else's does not make root hand over the file it leads to."""
    precious = reachable.parent / "precious"
    precious.touch(mode=0o600)
    (reachable / "watcher.db.lock").symlink_to(precious)
    with pytest.raises(StoreError, match="the lock cannot be opened"):
        _start(_url(reachable))
    assert (precious.stat().st_uid, stat.S_IMODE(precious.stat().st_mode)) == (0, 0o600)


def test_strangers_can_not_read_the_database(store: Store) -> None:
    """Names of recordings hold phone numbers: no file of the database is everybody's."""
    count_up(store)
    sqlite_of(store)._back_up("0000")
    assert [path for path in store.database.path.parent.iterdir() if path.stat().st_mode & stat.S_IRWXO] == []


def test_who_may_not_write_there_is_told_whom_to_be(reachable: Path) -> None:
    """A command by the wrong user says so, for reading and for writing, and makes nothing."""
    _start(_url(reachable))
    for path in (reachable, *reachable.iterdir()):
        os.chown(path, 0, 0)
    reachable.chmod(0o755)
    for use in (_use, _read, _start):
        with pytest.raises(StoreError, match="cannot be opened") as raised:
            as_user(use, _url(reachable))
        assert "as the user that the daemon runs as" in raised.value.hint
        assert str(reachable) in raised.value.message
    reachable.chmod(0o700)
    with pytest.raises(StoreError, match="cannot be reached: Permission denied"):
        as_user(_read, _url(reachable))


# The disk


def test_a_full_disk_is_said_and_loses_nothing(tiny_disk: Path) -> None:
    """Nothing that was committed is lost when the disk is full, and it goes on once there is room."""
    with Store(_url(tiny_disk)) as store:
        store.database.migrate()
        ballast = tiny_disk / "ballast"
        ballast.write_bytes(bytes(500_000))
        committed = []

        def add(number: int) -> None:
            with store.writing() as books:
                books.items.add(item(number), "x" * 20_000)
            committed.append(item(number))

        def fill() -> None:
            for number in range(1000):
                add(number)

        with pytest.raises(StoreError, match="the disk is full") as raised:
            fill()
        assert "Make room" in raised.value.hint
        with store.reading() as books:
            assert list(books.items.listed()) == committed
        assert len(committed) > 3
        ballast.unlink()
        add(2000)
        with store.reading() as books:
            assert list(books.items.listed()) == committed


def test_a_first_start_on_a_full_disk_says_so_and_can_be_repeated(tiny_disk: Path) -> None:
    """What a first start could not finish does not stand in the way of the next."""
    ballast = tiny_disk / "ballast"
    with open(ballast, "wb") as file:
        file.write(bytes(2 * 1024 * 1024 - 65_536))
    with pytest.raises(StoreUnavailable, match="disk is full") as raised:
        _start(_url(tiny_disk))
    assert "Make room" in raised.value.hint
    assert raised.value.exit_code != Exit.CONFIG, "no supervisor would try again"
    assert {path.name for path in tiny_disk.iterdir()} == {"ballast", "watcher.db.lock"}
    ballast.unlink()
    _start(_url(tiny_disk))
    assert _use(_url(tiny_disk)) == 1


def test_an_upgrade_on_a_full_disk_says_so_and_can_be_repeated(tiny_disk: Path) -> None:
    """There is no room for the copy that is made first: half a copy does not stay, and another try is worth it."""
    _start(_url(tiny_disk))
    ballast = tiny_disk / "ballast"
    room = os.statvfs(tiny_disk)
    ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - 65_536))
    with Store(_url(tiny_disk)) as store, pytest.raises(StoreUnavailable, match="disk is full"):
        sqlite_of(store)._back_up("0000")
    assert not list(tiny_disk.glob("*.bak*"))
    ballast.unlink()
    with Store(_url(tiny_disk)) as store:
        sqlite_of(store)._back_up("0000")
    assert [path.name for path in tiny_disk.glob("*.bak*")] == ["watcher.db.before-0000.bak"]


def test_a_lock_that_is_held_for_long_is_worth_another_try(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that hangs in its writing keeps a start waiting, not a supervisor from starting again."""
    monkeypatch.setattr(database_file, "_LOCK_SECONDS", 0.05)
    with store.writing(), pytest.raises(StoreUnavailable, match="another process has been writing"):
        _use(url)


def test_a_disk_mounted_read_only_is_named(tiny_disk: Path) -> None:
    """Root is told too, whom no permission stops."""
    _start(_url(tiny_disk))
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    with pytest.raises(StoreError) as raised, Store(_url(tiny_disk)) as store:
        count_up(store)
    assert "read-only" in raised.value.hint


# The file


def test_a_file_that_is_no_database_is_named(tmp_path: Path, url: str) -> None:
    """A wrong path in store.url destroys nothing."""
    path = tmp_path / "watcher.db"
    path.write_text("somebody's letter " * 1000)
    for use in (_use, _read, _start):
        with pytest.raises(StoreError, match="not a database") as raised:
            use(url)
        assert str(path) in raised.value.message
        assert "store.url" in raised.value.hint
    assert path.read_text() == "somebody's letter " * 1000


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a device"])
def test_what_is_no_file_is_named_and_left_in_its_place(tmp_path: Path, url: str, kind: str) -> None:
    """A folder, a pipe or a device under the database's name is refused by who reads and by the first start."""
    path = tmp_path / "watcher.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        os.mkfifo(tmp_path / "device")
        path.symlink_to("device")
    before = os.lstat(path)
    with Store(url) as store:
        for ask in (store.database.migrate, store.database.version, store.database.exists):
            with pytest.raises(StoreError, match="where a file must be") as failure:
                ask()
            assert not isinstance(failure.value, StoreUnavailable)
        with pytest.raises(StoreError, match="where a file must be"), store.reading():
            pass
    assert os.path.samestat(os.lstat(path), before)
    assert not path.is_file()


def test_a_damaged_database_says_how_to_rebuild_it(store: Store) -> None:
    """A page overwritten by something else is found out, and the way back is named."""
    with store.writing() as books:
        for number in range(500):
            books.items.add(item(number))
    store.close()
    path = store.database.path
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match=r"damaged|no database") as raised:
        _use(f"sqlite:///{path}")
    assert "restore a copy" in raised.value.hint


def test_another_program_that_keeps_it_locked_is_told_of(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An sqlite3 shell left open in a transaction is not waited for for ever."""
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.05)
    count_up(store)
    with closing(sqlite3.connect(store.database.path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program keeps it locked") as raised:
            _use(url)
        assert "fuser -v" in raised.value.hint
        shell.execute("ROLLBACK")
        assert _use(url) == 2


def test_a_second_item_at_one_path_is_refused_as_a_fault_of_the_program(store: Store) -> None:
    """Whatever else goes wrong, no path is queued twice; and nobody is sent to look at the disk for it."""
    with store.writing() as books:
        books.items.add(item(1))
    with pytest.raises(StoreError, match="contradicts") as raised, store.writing() as books:
        books.items.add(item(2, path=item(1).path))
    assert "report" in raised.value.hint


# The place


def test_a_folder_that_cannot_be_reached_says_what_the_system_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails is not a matter of rights, and may be well again."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fail)
        with pytest.raises(StoreUnavailable, match="folder cannot be reached") as raised:
            check_folder(tmp_path)
    assert "dmesg" in raised.value.hint


def test_a_folder_that_is_missing_is_not_an_empty_site(tmp_path: Path) -> None:
    """A disk that is not mounted is said, by every use; "nothing there yet" would be a lie."""
    for use in (_use, _read, _start):
        with pytest.raises(StoreError, match="does not exist") as raised:
            use(_url(tmp_path / "not mounted"))
        assert "mkdir -p" in raised.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """SQLite's locks cannot be trusted there: neither a new database nor one that is there already is used."""
    table = tmp_path / "mountinfo"
    folder = str(tmp_path).replace(" ", "\\040")
    table.write_text(
        "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        f"23 22 0:50 / {folder} rw,relatime shared:9 - {kind} server:/share rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTINFO", str(table))
    for use in (_use, _read, _start):
        with pytest.raises(StoreError, match=f"network file system \\({kind} from server:/share\\)") as raised:
            use(_url(tmp_path))
        assert "a disk of this machine" in raised.value.hint


def test_where_the_system_does_not_tell_its_mounts_the_database_is_used(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container without /proc there is nothing to ask, and nothing to refuse."""
    monkeypatch.setattr(mounts, "MOUNTINFO", str(tmp_path / "absent"))
    _start(url)
    assert _use(url) == 1


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "postgresql+psycopg://host/name"])
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    """There is no database in memory: what was paid for must outlive the process."""
    with pytest.raises(StoreError, match="names no file"):
        Store(url)
