"""What `check` finds about the folders, their disks and shares, and how they are watched."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.disks import Disk, deepen
from tests.places import Place
from tests.process.checks import Checked, with_key
from tests.process.conftest import MakePlace
from watcher import mounts
from watcher.cli import main
from watcher.cli.checking import lookout
from watcher.errors import Exit
from watcher.folders import Folder
from watcher.folders.capability import CAP_LEASE, has_capability
from watcher.sandbox import Sandbox

__all__ = ["with_key"]  # a fixture


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
        "why": "nfs4: other machines' changes raise no events here",
    }


def test_by_what_a_close_is_known_is_told_for_each_mount(
    place: Place, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for the folder and one for the share below it, with what protects a recording where by nothing."""
    place.configure()
    checked = Checked(place, capsys)
    local, share = (check for check in checked.found if check["name"] == "closure")
    assert f"{place.root / 'drop'}: it is ext4; polled" in local["found"]
    assert ("a lease tells" if has_capability(CAP_LEASE) else "after 60 s without a change") in local["found"]
    assert f"{shared}: it is nfs4" in share["found"]
    assert "after 60 s without a change" in share["found"]

    place.configure(arrivals={"watch": "events"})
    checked = Checked(place, capsys)
    local, share = (check for check in checked.found if check["name"] == "closure")
    assert local["found"].endswith("events tell when a recording is closed")
    assert "after 60 s without a change" in share["found"]


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
    Checked(place, capsys).is_now("proof", "well", "off (arrivals.proof)", "7 s without a change")
