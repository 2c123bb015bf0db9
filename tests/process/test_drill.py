"""`watcher drill`: the crash proof on a site's own disks, which leaves the site as it was, however it ends."""

import json
import os
import re
import signal
import subprocess
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from tests.disks import Disk, LoopDisk
from tests.people import STRANGER, StrangersPython
from tests.places import Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Program, Programs, wait_until
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox

HIDDEN = ".watcher-drill-"


def drill(watcher: Programs, place: Place, *options: str) -> Program:
    """It is under way, without a key."""
    return watcher.start("drill", "--config", place.config_path, *options, environment=ENVIRONMENT)


def everything(place: Place) -> dict[str, bytes]:
    """Every file and folder of the site, and what is in it; but for what a running daemon writes itself."""
    return {
        str(path.relative_to(place.root)): path.read_bytes() if path.is_file() else b""
        for path in sorted(place.root.rglob("*"))
    }


def hidden(place: Place) -> list[Path]:
    """What of a drill lies in the site's folders."""
    found = []
    for above, folders, _ in os.walk(place.root, followlinks=True):
        found += [Path(above, name) for name in folders if name.startswith(HIDDEN)]
    return found


def started_by_drills(place: Place) -> list[int]:
    """The processes that work in a drill's folder of this site."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(HIDDEN in word and str(place.root) in word for word in words) and process.is_running():
            found.append(process.pid)
    return found


def amid(watcher: Programs, place: Place, kills: int = 1, options: tuple[str, ...] = ("--kills", "30")) -> Program:
    """A drill that has killed already."""
    program = drill(watcher, place, *options)
    wait_until(
        lambda: f"kill {kills} of" in program.err or program.process.poll() is not None, told=lambda: program.err
    )
    assert program.process.poll() is None, program.err + program.out
    return program


def forget(place: Place) -> None:
    """The database is gone."""
    for path in place.root.glob("watcher.db*"):
        path.unlink()


def assert_proven(program: Program, kills: int) -> None:
    assert program.end() == Exit.WELL, program.out + program.err
    assert re.search(
        rf"^Proven by {kills} kills? \(\d+ amid work\), \d+ recordings, \d+ s \(seed \d+\):", program.out
    )
    assert "Nothing was paid, and nothing was left behind." in program.out


def test_a_drill_proves_the_promises_and_leaves_the_site_as_it_was(place: Place, watcher: Programs) -> None:
    """Before the first start, without a key: no database is made, and no folder changes."""
    place.drop("waiting.wav")
    before = everything(place)
    program = drill(watcher, place, "--kills", "3", "--seed", "7")
    assert_proven(program, 3)
    assert everything(place) == before
    assert "3 kills at moments from seed 7" in program.err
    assert re.search(r"^  drop, done, failed, database, spool: \S+ on .* at / \(.*rw", program.out, re.MULTILINE)
    assert "A kill is no power cut" in program.out


@pytest.mark.parametrize(
    "settings",
    [
        {"folders": {"own": True, "by_verdict": True}, "limits": {"in_flight": 3}},
        {"identifai": {"in_doubt": "hold"}, "audio": {"prepare": False}},
        {
            "arrivals": {"watch": "polling"},
            "verdicts": {"fetch": False},
            "store": {"url": "sqlite:///state/books.db"},
        },
    ],
    ids=["own_and_by_verdict", "hold", "polling"],
)
def test_a_site_is_drilled_as_it_is_configured(
    settings: dict[str, dict[str, object]], make_place: MakePlace, watcher: Programs
) -> None:
    place = make_place(**settings)
    (place.root / "state").mkdir()
    before = everything(place)
    assert_proven(drill(watcher, place, "--kills", "3"), 3)
    assert everything(place) == before


# On other file systems


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[list[Path]]:
    """What is unmounted in the end, the last first."""
    made: list[Path] = []
    yield made
    for point in reversed(made):
        subprocess.run(["umount", "--lazy", point], check=True)


@pytest.fixture(params=["ext4", "xfs", "tmpfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Disk]]:
    home = tmp_path / "disk"
    kind = request.param
    made = Disk(home) if kind == "tmpfs" else LoopDisk(home, kind)
    yield kind, made
    made.close()


def test_a_drill_on_each_file_system_names_it_and_what_it_cannot_promise(
    disk: tuple[str, Disk], make_place: MakePlace, watcher: Programs
) -> None:
    """All of the site lies there, the database too."""
    kind, made = disk
    place = make_place(made.home / "site")
    program = drill(watcher, place, "--kills", "2")
    assert_proven(program, 2)
    assert re.search(
        rf"^  drop, done, failed, database, spool: {kind} on \S+ at {made.home} \(.*rw.*\)$",
        program.out,
        re.MULTILINE,
    ), program.out
    assert ("it is memory: a power cut or a restart loses all" in program.out) == (kind == "tmpfs")
    assert "across mounts" not in program.out
    assert hidden(place) == []


def test_a_drill_through_bind_mounts_moves_by_copying(
    disk: tuple[str, Disk], make_place: MakePlace, watcher: Programs, mounts: list[Path]
) -> None:
    """Each of the three folders is a bind mount of the same disk: nothing can be renamed from one to another."""
    kind, made = disk
    place = make_place()
    for name in ("drop", "done", "failed"):
        (made.home / name).mkdir()
        subprocess.run(["mount", "--bind", made.home / name, place.root / name], check=True)
        mounts.append(place.root / name)
    program = drill(watcher, place, "--kills", "2")
    assert_proven(program, 2)
    for name in ("drop", "done", "failed"):
        where = rf"^  {name}: {kind} on \S+ at {place.root / name}, /{name} of it \("
        assert re.search(where, program.out, re.MULTILINE), program.out
    assert "drop/ to done/ and drop/ to failed/: a recording cannot be renamed across mounts" in program.out
    assert hidden(place) == []


# Beside the daemon, and after a drill that died


def test_a_running_daemon_and_a_drill_leave_each_other_alone(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """The daemon files what is dropped meanwhile, and nothing else; the books add up in the end."""
    daemon = watcher.daemon(place)
    program = amid(watcher, place, options=("--kills", "3"))
    contents = [speech(f"call {n}") for n in range(3)]
    for number, content in enumerate(contents):
        place.drop(f"{number}.wav", content)
    wait_until(lambda: list(place.states().values()) == [State.DONE] * 3, told=lambda: daemon.err)
    assert watcher.call("check", "--config", place.config_path).process.returncode == Exit.WELL
    assert_proven(program, 3)
    assert service.charged == 3
    assert set(place.states()) == {"0.wav", "1.wav", "2.wav"}
    assert "The books add up" in watcher.ask(place, "reconcile")
    assert daemon.stop() == 0
    assert not [line for line in daemon.log if line["level"] in ("warning", "error")]
    assert hidden(place) == []


@pytest.mark.lengthy
def test_what_a_killed_drill_left_is_in_nobodys_way_and_the_next_one_removes_it(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """Its program ends with it. No command takes its files for the site's, not even before the first start."""
    program = amid(watcher, place, kills=3)
    program.kill()
    wait_until(lambda: not started_by_drills(place), "the program has ended with the drill")
    left = hidden(place)
    assert {path.parent for path in left} == {place.root, *(place.root / n for n in ("drop", "done", "failed"))}
    receipts = [path for path in left[0].parent.rglob("*.json") if HIDDEN in str(path)]
    assert receipts
    assert watcher.call("check", "--config", place.config_path).process.returncode == Exit.WELL

    run = ("run", "--once", "--config", place.config_path)
    assert watcher.call(*run).process.returncode == Exit.WELL
    forget(place)
    place.drop("call.wav")
    assert watcher.call(*run).process.returncode == Exit.WELL, "a site that has filed nothing has lost nothing"
    assert service.charged == 1
    assert "The books add up" in watcher.ask(place, "reconcile")
    forget(place)
    said = watcher.ask(place, "recover")
    assert set(place.states()) == {"call.wav"}, said

    assert_proven(drill(watcher, place, "--kills", "1"), 1)
    assert hidden(place) == []
    assert set(place.states()) == {"call.wav"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_drill_that_is_told_to_end_leaves_nothing(
    number: signal.Signals, place: Place, watcher: Programs
) -> None:
    before = everything(place)
    program = amid(watcher, place)
    assert program.end(number, seconds=20) == 130
    assert everything(place) == before
    assert started_by_drills(place) == []
    assert program.out == ""


def test_a_second_drill_is_refused_and_takes_nothing_from_the_first(place: Place, watcher: Programs) -> None:
    program = amid(watcher, place, options=("--kills", "2"))
    second = drill(watcher, place)
    assert second.end() == Exit.RUNNING
    assert "another drill is running" in second.err
    assert f"process {program.pid}" in second.err
    assert_proven(program, 2)


# What it finds


def remove_receipt(folder: Path) -> str:
    receipt = next(folder.rglob("call-*.wav.json"))
    receipt.unlink()
    return "filed without a receipt: done/"


def cut_recording(folder: Path) -> str:
    recording = next(folder.rglob("call-*.wav"))
    os.truncate(recording, 100)
    return "half there: done/"


def remove_recording(folder: Path) -> str:
    recording = next(folder.rglob("call-*.wav"))
    recording.unlink()
    return "lost: "


@pytest.mark.parametrize("damage", [remove_receipt, cut_recording, remove_recording])
def test_a_broken_promise_is_named_and_its_evidence_kept(
    damage: Callable[[Path], str], place: Place, watcher: Programs
) -> None:
    """Somebody spoils what was filed, as a bad program or disk might: it says what and where, and ends with 1."""
    program = amid(watcher, place)
    (folder,) = [path for path in hidden(place) if path.parent.name == "done"]
    wait_until(lambda: next(iter(folder.rglob("call-*.wav.json")), None))
    said = damage(folder)

    assert program.end() == Exit.INCOMPLETE, program.out

    assert program.out.startswith("Broken, after ")
    assert f"  - {said}" in program.out
    (kept,) = [Path(line.rpartition(" are in ")[2]) for line in program.out.splitlines() if " are in /" in line]
    assert {path.name for path in kept.iterdir()} >= {
        "drop",
        "done",
        "failed",
        "database",
        "found.txt",
        "ledger.json",
    }
    assert said in (kept / "found.txt").read_text()
    assert json.loads((kept / "ledger.json").read_text())["charged"] > 0
    assert (kept / "database" / "log").stat().st_size > 0
    assert hidden(place) == []
    assert "Nothing was paid" not in program.out


def test_what_is_paid_twice_is_named(place: Place, watcher: Programs) -> None:
    """Somebody with the drill's key has a recording analysed anew, as a program that sends blindly would."""
    program = amid(watcher, place)
    (folder,) = [path for path in hidden(place) if path.parent.name == "done"]
    recording = wait_until(lambda: next(iter(folder.rglob("call-*.wav")), None))
    assert recording is not None
    (work,) = [path for path in hidden(place) if path.parent == place.root]
    url = tomllib.loads((work / "config.toml").read_text())["identifai"]["base_url"]
    key = wait_until(lambda: next(iter(keys_of(started_by_drills(place))), None))
    answer = requests.post(
        f"{url}/api/classification_audio",
        headers={"X-Api-Key": key, "Accept": "application/json"},
        files={"audio": ("call.wav", recording.read_bytes(), "audio/wav")},
        data={"no_cache": "true"},
        timeout=60,
    )
    assert answer.ok, answer.text

    assert program.end() == Exit.INCOMPLETE, program.out

    assert "  - paid 2 times: agent-" in program.out
    assert hidden(place) == []


def keys_of(processes: list[int]) -> Iterator[str]:
    for pid in processes:
        with suppress(psutil.Error):
            if key := psutil.Process(pid).environ().get("IDENTIFAI_API_KEY"):
                yield key


_RECEIPT_AFTER_MOVE = """
from threading import Timer
from watcher.folders import Folder

def write_late(folder, path, data, *, replacing, unsynced=None, write=Folder.write_whole):
    if replacing or not path.endswith(b".json"):
        return write(folder, path, data, replacing=replacing, unsynced=unsynced)
    late = Timer(0.3, write, (folder, path, data), {"replacing": True})
    late.daemon = True
    late.start()

Folder.write_whole = write_late
"""
_SENT_BLINDLY = """
from watcher.journey.submit.send import Uploads

def upload_anew(sender, item, part, file, *, no_cache, upload=Uploads._upload):
    return upload(sender, item, part, file, no_cache=True)

Uploads._upload = upload_anew
"""


@pytest.mark.parametrize(
    ("broken", "said"),
    [(_RECEIPT_AFTER_MOVE, "filed without a receipt: "), (_SENT_BLINDLY, "paid 2 times: ")],
    ids=["receipt after move", "sent blindly"],
)
def test_a_program_that_keeps_a_wrong_order_does_not_pass(
    broken: str, said: str, place: Place, watcher: Programs, tmp_path: Path
) -> None:
    """The program that is killed is another one than ours: its interpreter loads the mistake at its start."""
    sites = tmp_path / "broken"
    sites.mkdir()
    only_there = "import sys\nif '-m' in sys.orig_argv and 'drill' not in sys.orig_argv:\n"
    (sites / "sitecustomize.py").write_text(only_there + textwrap.indent(broken, "    "))
    path = os.pathsep.join([str(sites), ENVIRONMENT["PYTHONPATH"]])
    program = watcher.call(
        *("drill", "--kills", "30", "--seed", "7", "--config", place.config_path),
        environment=ENVIRONMENT | {"PYTHONPATH": path},
    )

    assert program.process.returncode == Exit.INCOMPLETE, program.out + program.err
    assert program.out.startswith("Broken, after "), program.out + program.err
    assert f"  - {said}" in program.out
    assert hidden(place) == []


# Where it cannot be carried out


def refused(watcher: Programs, place: Place, *words: str) -> None:
    """It said so, with what to do about it, and left nothing."""
    before = everything(place)
    program = drill(watcher, place, "--kills", "1")
    assert program.end() == Exit.INCOMPLETE, program.out + program.err
    assert program.out == ""
    assert "Traceback" not in program.err
    for word in words:
        assert word in program.err
    assert everything(place) == before
    assert hidden(place) == []


def test_a_folder_that_is_read_only_is_named(place: Place, watcher: Programs, tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    try:
        disk.mount(place.root / "done")
        disk.remount(place.root / "done", "ro")
        refused(watcher, place, "the done folder", "Read-only file system", "read-write")
    finally:
        disk.close()


def test_a_disk_without_room_is_named(place: Place, watcher: Programs, tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk", "-o", "size=1m")
    try:
        disk.mount(place.root / "failed")
        refused(watcher, place, "no space for a drill in the failed folder", "needed", "--kills")
        with pytest.raises(OSError, match="No space"):
            (disk.home / "filler").write_bytes(bytes(2 << 20))
        refused(watcher, place, "the failed folder")
    finally:
        disk.close()


def test_a_folder_that_is_missing_is_named(place: Place, watcher: Programs) -> None:
    (place.root / "failed").rmdir()
    refused(watcher, place, "the failed folder", "is not there")


def test_a_folder_that_this_user_may_not_write_is_named(
    site: Place, watcher: Programs, python: StrangersPython
) -> None:
    (site.root / "done").chmod(0o755)
    before = everything(site)
    program = watcher.call(
        "drill",
        "--config",
        site.config_path,
        executable=python.executable,
        environment=python.environment,
        **({"cwd": "/"} | STRANGER.spawning()),
    )
    assert program.process.returncode == Exit.INCOMPLETE, program.err
    assert "the done folder" in program.err
    assert "Permission denied" in program.err
    assert everything(site) == before


def test_root_drills_with_the_rights_of_the_daemons_user(
    site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """What it makes belongs to that user, who could remove it after a crash of the drill."""
    for name in ("drop", "done", "failed"):
        os.chown(site.root / name, STRANGER.uid or 0, -1)
    program = watcher.start(
        "drill",
        "--kills",
        "2",
        "--config",
        site.config_path,
        executable=python.executable,
        environment=python.environment,
        cwd="/",
    )
    wait_until(lambda: "kill 1 of" in program.err or program.process.poll() is not None, told=lambda: program.err)
    owners = {path.stat().st_uid for above in hidden(site) for path in (above, *above.rglob("*"))}
    assert_proven(program, 2)
    assert owners == {STRANGER.uid}
    assert f"(uid {STRANGER.uid})" in program.err


@pytest.mark.lengthy
def test_a_site_whose_database_is_on_a_server_is_drilled_with_a_file(
    make_place: MakePlace, watcher: Programs
) -> None:
    """Though the server does not answer: it says that this was not tried."""
    pytest.importorskip("psycopg")
    place = make_place(store={"url": "postgresql+psycopg://nobody@127.0.0.1:9/none"})
    program = drill(watcher, place, "--kills", "1")
    assert_proven(program, 1)
    assert f"the database's server was not tried: the drill's was a file in {place.root}" in program.out
    assert hidden(place) == []
