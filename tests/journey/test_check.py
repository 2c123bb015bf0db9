"""What `check` finds: everything that could go wrong, before it does. In the test's own process."""

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakePlace
from tests.disks import Disk, deepen
from tests.places import KEY, Place
from watcher import mounts
from watcher.cli import main
from watcher.cli.checking import lookout
from watcher.clock import SystemClock
from watcher.domain import JsonObject, Pause, PauseKind
from watcher.errors import Exit
from watcher.folders import Folder
from watcher.folders.capability import CAP_LEASE, has_capability
from watcher.sandbox import FaultKind, Sandbox
from watcher.store import revisions
from watcher.store.sqlite import SqliteDatabase


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a key, as far as a test does not take it away."""
    monkeypatch.setenv("IDENTIFAI_API_KEY", KEY)


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    made = Disk(tmp_path_factory.mktemp("disks") / "disk", "-o", "size=40m")  # it is filled, and lies in memory
    yield made
    made.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    """One that can be filled: its bytes are the machine's memory."""
    made = Disk(tmp_path / "small disk", "-o", "size=32m")
    yield made
    made.close()


class Checked:
    """One `check --json` of a place, which must have left everything as it was."""

    def __init__(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        before = everything(place.root)
        capsys.readouterr()
        self.code = main(["check", "--config", str(place.config_path), "--json"])
        self.out = capsys.readouterr().out
        facts = json.loads(self.out)
        self.watch: list[JsonObject] = facts["watch"]
        self.found: list[JsonObject] = facts["checks"]
        self.checks: dict[str, JsonObject] = {}
        for check in self.found:
            self.checks.setdefault(check["name"], check)
        left = everything(place.root) - before
        if self.checks["database"]["state"] != "well":  # SQLite's own, of whoever reads and may not write
            left = {(path, inode) for path, inode in left if not path.endswith(("-wal", "-shm"))}
        assert left == set()
        assert before <= everything(place.root)
        assert facts["well"] == (self.code == Exit.WELL)
        assert all(check["hint"] for check in self.checks.values() if check["state"] != "well"), self.checks

    def but(self, *names: str) -> None:
        """All is well, but for these."""
        assert {n for n, check in self.checks.items() if check["state"] != "well"} == set(names), self.checks

    def is_now(self, name: str, state: str, *words: str) -> None:
        """This check came to this, and what it says has these words."""
        check = self.checks[name]
        assert check["state"] == state, check
        said = f"{check['found']}\n{check['hint']}"
        assert all(word in said for word in words), said


def everything(root: Path) -> set[tuple[str, int]]:
    """Every name below the place, hidden ones too, with its inode."""
    return {(str(path), os.lstat(path).st_ino) for path in root.rglob("*")}


def write_fact(place: Place, name: str, value: Any) -> None:
    with place.books() as books:
        books.site.put(name, value)


def test_before_the_first_start_all_is_looked_at_and_nothing_made_or_spent(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """No database, no mark, no probe is left; the service was asked one question, which costs nothing."""
    place.drop("day/call.wav")

    checked = Checked(place, capsys)

    assert checked.code == Exit.WELL
    checked.but()
    names = [
        "configuration",
        "user",
        "key",
        "drop folder",
        "done folder",
        "failed folder",
        "filing",
        "proof",
        "mount",
    ]
    names += [
        "subfolders",
        "privacy",
        "recordings",
        "watch",
        "inotify",
        "database",
        "daemon",
        "limits",
        "clock",
        "open files",
        "service",
    ]
    assert list(checked.checks) == names
    assert [entry.method for entry in service.ledger] == ["GET"]
    assert service.charged == 0
    assert {path.name for path in place.root.iterdir()} == {"drop", "done", "failed", "config.toml"}
    checked.is_now("recordings", "well", "1 in the drop folder")
    checked.is_now("database", "well", "not there yet")
    assert KEY not in checked.out


def test_a_person_reads_a_line_a_check_and_the_next_step(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mark, the name, what was found; below what is not well stands what to do; the end sums up."""
    assert main(["check", "--config", str(place.config_path)]) == Exit.WELL
    lines = capsys.readouterr().out.splitlines()
    assert f"ok          drop folder    {place.root}/drop" in lines[3]
    assert lines[-1] == "All is well. Next: `watcher run`."

    monkeypatch.setenv("IDENTIFAI_API_KEY", "another")
    (place.root / "done").rmdir()
    assert main(["check", "--config", str(place.config_path)]) == Exit.CONFIG
    lines = capsys.readouterr().out.splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.startswith("wrong       done folder")]
    assert lines[at + 1].strip() == f"-> Create it (mkdir -p {place.root}/done), or correct the configuration."
    assert lines[-1].startswith("To be put right: done folder, service; until then `watcher run` would not start.")


@pytest.mark.parametrize("names", [("done", "failed"), ("drop",)], ids="-".join)
def test_subfolders_deeper_than_a_path_can_say_are_well(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    """What is filed goes there step by step, and so does the look."""
    for name in names:
        deepen(Folder(os.fsencode(place.root / name), name), 30, b"d" * 200)

    main(["check", "--json", "--config", str(place.config_path)])

    checks = json.loads(capsys.readouterr().out)["checks"]
    (subfolders,) = (check for check in checks if check["name"] == "subfolders")
    assert subfolders["state"] == "well", subfolders


def test_a_site_at_work_is_well(place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Its folders are recognised, its database is whole, and its own reads are kept to."""
    place.drop("call.wav")
    place.run_once()
    asked = len(service.ledger)

    checked = Checked(place, capsys)

    assert checked.code == Exit.WELL
    checked.but()
    checked.is_now("database", "well", "whole", "of this version", "can be written")
    assert service.ledger[asked].asked == (place.item("call.wav").identifier,)
    assert service.charged == 1
    with place.books() as books:
        assert books.ledger.unended_hits("read") == 0
        counted_at = books.ledger.nth_last_end("read", 1)
    assert counted_at is not None
    assert abs(SystemClock().now() - counted_at) < 60


def test_the_service_is_not_asked_where_the_reads_are_used_up(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon's limits are the account's: a check takes none of them away."""
    place = make_place(limits={"reads": ["1/hour"]})
    place.run_once()
    Checked(place, capsys).is_now("service", "well")

    checked = Checked(place, capsys)

    assert len(service.ledger) == 1
    assert checked.code == Exit.WELL
    checked.is_now("service", "warning", "limits.reads")


# The key, the service and the account


def test_a_missing_key_is_a_wrong_configuration(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `run` has it; all else is looked at none the less."""
    monkeypatch.delenv("IDENTIFAI_API_KEY")

    checked = Checked(place, capsys)

    assert checked.code == Exit.CONFIG
    checked.is_now("key", "wrong", "no API key found", "identifai.key")
    checked.is_now("service", "warning", "was not asked")
    checked.is_now("filing", "well")
    assert len(service.ledger) == 0


def test_a_key_that_others_can_read_is_a_warning_and_is_never_shown(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says where the key comes from, and how to keep it."""
    monkeypatch.delenv("IDENTIFAI_API_KEY")
    file = place.root / "identifai.key"
    file.write_text(KEY)
    file.chmod(0o644)

    checked = Checked(place, capsys)

    assert checked.code == Exit.WELL
    checked.is_now("key", "warning", str(file), "chmod 600")
    assert KEY not in checked.out
    file.chmod(0o600)
    Checked(place, capsys).is_now("key", "well", str(file))


@pytest.mark.parametrize(("status", "words"), [(401, "API key"), (403, "terms of service"), (503, "503")])
def test_an_account_or_a_service_that_stands_in_the_way_is_no_fault_of_this_machine(
    status: int, words: str, place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """69, and what to do about it."""
    service.add_fault(FaultKind.STATUS, status=status, method="GET")

    checked = Checked(place, capsys)

    assert checked.code == Exit.UNAVAILABLE
    checked.but("service")
    checked.is_now("service", "unavailable", words)


def test_a_service_that_is_not_reached_is_unavailable(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """69; but 1 where something on this machine is wrong as well."""
    place.run_once()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place.configure(identifai={"base_url": f"http://127.0.0.1:{closed.getsockname()[1]}"})
        checked = Checked(place, capsys)
        assert checked.code == Exit.UNAVAILABLE
        checked.is_now("service", "unavailable", "No connection")

        (place.root / "done").rename(place.root / "aside")
        checked = Checked(place, capsys)
        assert checked.code == Exit.INCOMPLETE
        checked.is_now("done folder", "wrong", "is not there")


def test_a_pause_in_force_is_told(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A person's is a warning; the account's stands in the way, since the credit can not be asked for."""
    place.run_once()
    with place.books() as books:
        books.pauses.set(Pause(PauseKind.PERSON, "person", "The auditors are here.", 1.0, None))
    checked = Checked(place, capsys)
    assert checked.code == Exit.WELL
    checked.is_now("submitting", "warning", "The auditors are here.", "watcher resume")

    with place.books() as books:
        books.pauses.end(PauseKind.PERSON, 2.0)
        books.pauses.set(Pause(PauseKind.ACCOUNT, "rejected", "No credit.", 1.0, 2.0))
    checked = Checked(place, capsys)
    assert checked.code == Exit.UNAVAILABLE
    checked.is_now("submitting", "unavailable", "No credit.")

    with place.books() as books:
        books.pauses.end(PauseKind.ACCOUNT, 3.0)
        books.pauses.set(Pause(PauseKind.SERVICE, "service_fault", "It is down.", 1.0, 2.0))
        books.pauses.set(Pause(PauseKind.FOLDER, "folder_missing", "It is away.", 1.0, None))
    checked = Checked(place, capsys)
    assert checked.code == Exit.UNAVAILABLE
    hints = {check["found"]: check["hint"] for check in checked.found if check["name"] == "submitting"}
    assert "watcher resume" in hints["is paused: It is down."]
    assert "by itself" in hints["is paused: It is away."]


def test_limits_that_the_service_will_not_grant_are_a_warning(
    make_place: MakePlace, capsys: pytest.CaptureFixture[str]
) -> None:
    """A size beyond the documented one, and a rate that was refused."""
    place = make_place(limits={"max_upload_bytes": 50_000_000})
    checked = Checked(place, capsys)
    assert checked.code == Exit.WELL
    checked.is_now("limits", "warning", "50,000,000", "documents 15,000,000")

    place.configure()
    place.run_once()
    lesson = {"30/60": [0.5, SystemClock().now() + 1000]}
    write_fact(place, "limits.writes.lowered", lesson)
    Checked(place, capsys).is_now("limits", "warning", "after a refusal", "limits.writes")


# The folders


@pytest.mark.parametrize("name", ["drop", "done", "failed"])
def test_a_missing_folder_stops_a_site_that_was_never_started(
    name: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """78, as `run` exits with; something that is no folder is none."""
    (place.root / name).rmdir()
    checked = Checked(place, capsys)
    assert checked.code == Exit.CONFIG
    checked.is_now(f"{name} folder", "wrong", f"folders.{name}: {place.root}/{name} does not exist", "mkdir -p")

    (place.root / name).write_text("no folder")
    assert Checked(place, capsys).code == Exit.CONFIG


@pytest.mark.parametrize("name", ["drop", "done", "failed"])
def test_a_missing_folder_of_a_known_site_is_not_mounted(
    name: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """1: a daemon would wait for it; nothing is made in its place."""
    place.run_once()
    shutil.rmtree(place.root / name)

    checked = Checked(place, capsys)

    assert checked.code == Exit.INCOMPLETE
    checked.is_now(f"{name} folder", "wrong", "is not there", "mount or create it")


def test_a_bare_mount_point_is_not_taken_for_the_folder(
    place: Place, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told by the mark that is missing; nothing is tried there."""
    disk.mount(place.root / "drop")
    place.run_once()
    disk.unmount(place.root / "drop")

    checked = Checked(place, capsys)

    assert checked.code == Exit.INCOMPLETE
    checked.is_now("drop folder", "wrong", "is not mounted", "Mount it")
    assert not {"filing", "watch", "recordings"} & checked.checks.keys()


def test_a_drop_folder_of_another_site_is_a_wrong_configuration(
    place: Place, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two databases with one drop folder would pay twice."""
    place.run_once()
    other = Place(tmp_path_factory.mktemp("other"), place.url)
    other.run_once()
    other.configure(folders={"drop": str(place.root / "drop")})

    checked = Checked(other, capsys)

    assert checked.code == Exit.CONFIG
    checked.is_now("drop folder", "wrong", "belongs to another site", "store.url")


def test_a_drop_folder_that_the_database_does_not_know_is_a_wrong_configuration(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the database all that lay in the one it knows would seem to be taken away."""
    place.run_once()
    (place.root / "elsewhere").mkdir()
    place.configure(folders={"drop": "elsewhere"})

    checked = Checked(place, capsys)

    assert checked.code == Exit.CONFIG
    checked.is_now("drop folder", "wrong", "is not the drop folder of the database", "store.url")


def test_a_folder_that_is_read_only_is_wrong(place: Place, disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    """Root, too, meets a file system that is mounted read-only."""
    place.run_once()
    for name in ("drop", "done"):
        shutil.copy(place.root / name / ".watcher", disk.home)
        disk.mount(place.root / name)
        disk.remount(place.root / name, "ro")
        checked = Checked(place, capsys)
        assert checked.code == Exit.INCOMPLETE
        checked.is_now(f"{name} folder", "wrong", "Read-only file system", "read-write")
        assert "filing" not in checked.checks
        disk.unmount(place.root / name)


def test_folders_on_other_file_systems_are_a_warning(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Filing is then a copy; it is tried, and nothing of it is left on either side."""
    apart = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        if apart.stat().st_dev == place.root.stat().st_dev:
            pytest.skip("/dev/shm is no file system of its own here")
        place.configure(folders={"done": str(apart)})

        checked = Checked(place, capsys)

        assert checked.code == Exit.WELL
        checked.but("filing")
        checked.is_now("filing", "warning", "done/ can only be reached by copying", "one file system")
        checked.is_now("done folder", "well", "tmpfs")
        assert list(apart.iterdir()) == []
    finally:
        shutil.rmtree(apart)


def test_little_room_is_a_warning_and_none_is_wrong(
    make_place: MakePlace, small_disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Room is reckoned in the largest recordings there may be."""
    place = make_place(limits={"max_upload_bytes": 200_000})
    free = shutil.disk_usage(small_disk.home).free
    small_disk.mount(place.root / "done")
    place.configure(limits={"max_upload_bytes": free // 50})
    checked = Checked(place, capsys)
    assert checked.code == Exit.WELL
    checked.is_now("done folder", "warning", "the largest recordings")

    place.configure(limits={"max_upload_bytes": free + 1})
    checked = Checked(place, capsys)
    assert checked.code == Exit.WELL
    checked.is_now("done folder", "warning", "a larger recording waits until there is room", "Free space")

    (small_disk.home / "ballast").write_bytes(bytes(free - 40_960))
    checked = Checked(place, capsys)
    assert checked.code == Exit.INCOMPLETE
    checked.is_now("done folder", "wrong", "40,960 bytes are free, 65,536 are needed for a receipt", "free space")


def test_a_mount_below_the_drop_folder_that_is_gone_is_wrong(
    place: Place, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its recordings are not withdrawn, they wait for it."""
    point = place.root / "drop" / "share"
    point.mkdir()
    disk.mount(point)
    place.run_once()
    checked = Checked(place, capsys)
    assert [(entry["path"], entry["watch"]) for entry in checked.watch] == [
        (str(place.root / "drop"), "events"),
        (str(point), "events"),
    ]
    disk.unmount(point)

    checked = Checked(place, capsys)

    assert checked.code == Exit.INCOMPLETE
    checked.is_now("recordings", "wrong", "nothing is mounted at share")


# The watch


@pytest.fixture
def shared(place: Place, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's table has a network share mounted below the drop folder."""
    share = place.root / "drop" / "share"
    share.mkdir()
    table = tmp_path_factory.mktemp("table") / "mountinfo"
    table.write_text(
        "27 1 254:0 / / rw - ext4 /dev/vda rw\n" + f"33 27 0:43 / {share} rw - nfs4 server:/calls rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTINFO", str(table))
    return share


def test_what_watch_auto_chooses_is_told_for_each_mount(
    place: Place, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A share makes no events, so it is polled, and says why; that is well."""
    checked = Checked(place, capsys)

    assert checked.code == Exit.WELL
    checked.is_now("watch", "well", f"polling at {shared}: nfs4")
    drop, share = checked.watch
    assert (drop["path"], drop["watch"]) == (str(place.root / "drop"), "polling")
    assert "ext4" in drop["why"]
    assert share == {
        "path": str(shared),
        "watch": "polling",
        "why": "nfs4: other machines' changes make no events here",
    }


def test_by_what_a_close_is_known_is_told_for_each_mount(
    place: Place, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for the folder and one for the share below it, with what protects a recording where by nothing."""
    checked = Checked(place, capsys)
    local, share = (check for check in checked.found if check["name"] == "closure")
    assert f"{place.root / 'drop'}: it is ext4; polled" in local["found"]
    assert ("a lease tells" if has_capability(CAP_LEASE) else "after 60 s of quiet") in local["found"]
    assert f"{shared}: it is nfs4" in share["found"]
    assert "after 60 s of quiet" in share["found"]

    place.configure(arrivals={"watch": "events"})
    checked = Checked(place, capsys)
    local, share = (check for check in checked.found if check["name"] == "closure")
    assert local["found"].endswith("that a writer closes a recording is heard")
    assert "after 60 s of quiet" in share["found"]


def test_events_wanted_of_a_share_are_a_warning(
    place: Place, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The setting is obeyed, and the full look finds what it misses; but auto were wiser."""
    place.configure(arrivals={"watch": "events"})
    checked = Checked(place, capsys)
    assert checked.code == Exit.WELL
    checked.is_now("watch", "warning", "nfs4", 'arrivals.watch = "auto"')
    assert [entry["watch"] for entry in checked.watch] == ["events", "events"]

    place.configure(arrivals={"watch": "polling"})
    checked = Checked(place, capsys)
    checked.is_now("watch", "well", "arrivals.watch says so")
    assert [entry["watch"] for entry in checked.watch] == ["polling", "polling"]


def test_more_folders_than_the_kernel_watches_are_a_warning(
    place: Place, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """With the setting to raise, and what happens otherwise."""
    limit = tmp_path_factory.mktemp("proc") / "max_user_watches"
    limit.write_text("5\n")
    monkeypatch.setattr(lookout, "_LIMIT", str(limit))
    for name in ("a/b", "c", "d", "e"):
        (place.root / "drop" / name).mkdir(parents=True)

    checked = Checked(place, capsys)

    assert checked.code == Exit.WELL
    checked.is_now("inotify", "warning", "more than 5 folders", "fs.inotify.max_user_watches=")


def test_a_missing_proof_is_told(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """How soon a recording is taken, as it was set."""
    place.configure(arrivals={"proof": False, "settle_seconds": 7})
    Checked(place, capsys).is_now("proof", "well", "off (arrivals.proof)", "7 s of quiet")


# The database and the machine


def test_an_older_database_is_a_warning_and_a_newer_one_stops(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next start brings an older one up; a newer one is refused, as by `run`."""
    place.run_once()
    known = revisions.known()
    with monkeypatch.context() as patched:
        patched.setattr(revisions, "known", lambda: [*known, "9998"])
        checked = Checked(place, capsys)
        assert checked.code == Exit.WELL
        checked.is_now("database", "warning", "older version", "watcher migrate")

    with SqliteDatabase(place.config.store.url) as database, database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    checked = Checked(place, capsys)
    assert checked.code == Exit.CONFIG
    checked.is_now("database", "wrong", "9999", "newer than this program")


def test_a_damaged_database_is_wrong(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """It is read to its end: a page that is overwritten is found before a recording needs it."""
    for n in range(5):
        place.drop(f"{n}.wav")
    place.run_once()
    file = place.config.store.path
    pages = bytearray(file.read_bytes())
    for start in range(2 * 4096, len(pages), 4096):
        pages[start + 8 : start + 2048] = b"\xaa" * 2040
    file.write_bytes(pages)

    checked = Checked(place, capsys)

    assert checked.code in (Exit.INCOMPLETE, Exit.CONFIG)
    checked.is_now("database", "wrong", "damaged", "restore a copy")


def test_a_database_that_can_not_be_made_is_found_before_the_first_start(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder must be there; it must not be another program's file."""
    place.configure(store={"url": "sqlite:///nowhere/watcher.db"})
    checked = Checked(place, capsys)
    assert checked.code == Exit.CONFIG
    checked.is_now("database", "wrong", "does not exist", "mkdir -p")

    place.configure(store={"url": "sqlite:///other.db"})
    (place.root / "other.db").write_bytes(b"no database at all, but a text of some length\n" * 50)
    checked = Checked(place, capsys)
    assert checked.code == Exit.CONFIG
    checked.is_now("database", "wrong", "no database")


def test_a_clock_that_was_set_back_is_a_warning(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What was done already can not lie in the future."""
    place.run_once()
    write_fact(place, "last_scan_at", SystemClock().now() + 3600)

    checked = Checked(place, capsys)

    assert checked.code == Exit.WELL
    checked.is_now("clock", "warning", "looked through at", "timedatectl")


def test_a_wrong_configuration_ends_it_as_any_command(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """78, and nothing on standard output."""
    place.configure(arrivals={"setle_seconds": 3})
    assert main(["check", "--config", str(place.config_path), "--json"]) == Exit.CONFIG
    said = capsys.readouterr()
    assert said.out == ""
    assert "settle_seconds" in said.err
