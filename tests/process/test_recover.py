"""A site whose database is lost, at any moment, is whole again after `recover` and one pass, and pays nothing."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.people import STRANGER, needs_root
from tests.places import REFUSED, Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import CLOCK, Program, Programs, let_pass, posts, spoil, wait_until
from watcher.domain import FILED, State
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.text import rfc3339

LONG = 40.0  # seconds: three parts
LIMIT = 300_000

RECORDINGS = {
    "one.wav": speech("one"),
    "folder/two.wav": speech("two"),
    "again.wav": speech("one"),
    "refused.wav": speech("refused"),
    "doubt.wav": speech("doubt"),
    "held.wav": speech("held"),
    "long.wav": speech("long", seconds=LONG),
}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def site(make_place: MakePlace) -> Place:
    return make_place(
        limits={"max_upload_bytes": LIMIT},
        audio={"oversize": "split"},
        retry={"hold_after": 2, "first_seconds": 0.1, "max_seconds": 0.2},
    )


@pytest.fixture
def service(service: Sandbox) -> Sandbox:
    """The service as everybody meets it: it refuses one recording, loses an answer, and chokes on another."""
    service.latency_seconds = 0.05
    service.add_fault(**REFUSED, sha256=digest(RECORDINGS["refused.wav"]), times=0)
    service.add_fault("lose_answer", sha256=digest(RECORDINGS["doubt.wav"]), times=1)
    service.add_fault("status", status=500, sha256=digest(RECORDINGS["held.wav"]), times=0)
    return service


def lose(site: Place) -> None:
    """The database is gone, with everything that SQLite has beside it."""
    for ending in ("", "-wal", "-shm"):
        Path(f"{site.root}/watcher.db{ending}").unlink(missing_ok=True)


def events(program: Program, name: str, count: int = 1) -> Callable[[], bool]:
    return lambda: len(program.events(name)) >= count


def accepted_parts(program: Program, count: int) -> Callable[[], bool]:
    return lambda: sum("part" in line for line in program.events("recording.submitted")) >= count


def failed(program: Program) -> Callable[[], bool]:
    return events(program, "recording.failed")


MOMENTS: dict[str, Callable[[Program, Sandbox], Callable[[], bool]]] = {
    "nothing is sent yet": lambda *_: lambda: True,
    "the first is on the wire": lambda _, service: lambda: len(posts(service)) >= 1,
    "the first is accepted": lambda daemon, _: events(daemon, "recording.submitted"),
    "the first is filed": lambda daemon, _: events(daemon, "recording.done"),
    "three are filed": lambda daemon, _: events(daemon, "recording.done", 3),
    "one is refused": lambda daemon, _: failed(daemon),
    "one part is accepted": lambda daemon, _: accepted_parts(daemon, 1),
    "two parts are accepted": lambda daemon, _: accepted_parts(daemon, 2),
    "a verdict is known": lambda daemon, _: events(daemon, "verdict.known"),
    "all but the held one are filed": lambda daemon, _: events(daemon, "recording.done", 5),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_lost_at_any_moment_it_is_whole_again_without_one_more_charge(
    moment: str, site: Place, service: Sandbox, watcher: Programs
) -> None:
    """Killed, and the database deleted. Each recording is filed in the end, each content was charged once."""
    daemon = watcher.daemon(site)
    for name, content in RECORDINGS.items():
        site.drop(name, content)
    wait_until(MOMENTS[moment](daemon, service), moment, told=lambda: daemon.err)
    daemon.kill()
    lose(site)
    service.clear_faults()
    service.add_fault(**REFUSED, sha256=digest(RECORDINGS["refused.wav"]), times=0)
    if any(name.endswith(".json") for name in site.files()):
        refused = watcher.call("run", "--once", "--config", site.config_path)
        assert refused.process.returncode == Exit.UNAVAILABLE
        assert "watcher recover" in refused.err

    recovered = watcher.call("recover", "--config", site.config_path)
    assert recovered.process.returncode == Exit.WELL, recovered.err
    again = watcher.call("recover", "--config", site.config_path)
    assert again.process.returncode == Exit.WELL
    assert "nothing was changed" in again.out
    watcher.call("run", "--once", "--verdicts", "--config", site.config_path, seconds=60)

    charged = Counter(entry.sha256 for entry in posts(service) if entry.charged)
    assert set(charged.values()) == {1}
    assert set(site.states().values()) <= FILED
    assert site.states().keys() >= RECORDINGS.keys()
    for name, content in RECORDINGS.items():
        filed = site.root / ("failed" if name == "refused.wav" else "done") / name
        assert filed.read_bytes() == content
    assert site.receipt("done/again.wav.json")["identifier"] == site.receipt("done/one.wav.json")["identifier"]
    assert len(charged) == 4 + len(site.receipt("done/long.wav.json")["parts"])
    reconciled = watcher.call("reconcile", "--hashes", "--config", site.config_path)
    assert reconciled.process.returncode == Exit.WELL, reconciled.out
    with site.books() as books:
        spent = books.ledger.spent_since(0.0)
    assert spent >= len(charged)  # what an answer was lost for may count twice, never less


def test_what_is_dropped_again_is_known_by_its_receipt_though_it_was_collected(
    site: Place, service: Sandbox, watcher: Programs
) -> None:
    """Its recording has left done/: the receipt alone keeps its content from being paid for again."""
    site.drop("one.wav", RECORDINGS["one.wav"])
    site.drop("long.wav", RECORDINGS["long.wav"])
    watcher.call("run", "--once", "--config", site.config_path, seconds=60)
    before = service.charged
    lose(site)
    for name in ("one.wav", "long.wav"):
        (site.root / "done" / name).unlink()

    assert watcher.call("recover", "--config", site.config_path).process.returncode == Exit.WELL
    site.drop("later/one.wav", RECORDINGS["one.wav"])
    site.drop("later/long.wav", RECORDINGS["long.wav"])
    watcher.call("run", "--once", "--config", site.config_path, seconds=60)

    assert service.charged == before == len(posts(service))
    assert site.receipt("done/later/one.wav.json")["duplicate_of"]
    assert site.receipt("done/later/long.wav.json")["duplicate_of"]


def test_a_dry_run_changes_nothing_at_all(site: Place, watcher: Programs, tmp_path: Path) -> None:
    """No file, no time of a change, no database; and it says what would be added. So with an older copy there."""
    site.drop("one.wav", RECORDINGS["one.wav"])
    watcher.call("run", "--once", "--config", site.config_path)
    copy = tmp_path / "copy.db"
    shutil.copy(site.root / "watcher.db", copy)
    site.drop("folder/two.wav", RECORDINGS["folder/two.wav"])
    watcher.call("run", "--once", "--config", site.config_path)
    lose(site)
    site.drop("waits.wav")

    before = everything(site.root)
    said = watcher.call("recover", "--dry-run", "--config", site.config_path)
    assert said.process.returncode == Exit.WELL, said.err
    assert "2 added" in said.out
    assert everything(site.root) == before

    shutil.copy(copy, site.root / "watcher.db")
    before = everything(site.root)
    said = watcher.call("recover", "--dry-run", "--verify", "--config", site.config_path)
    assert "1 added" in said.out
    assert everything(site.root) == before


def everything(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Every file and folder, with its inode, size, and when it was changed."""
    return {
        str(path): (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for path in [root, *root.rglob("*")]
        for status in [path.lstat()]
    }


def test_a_daemon_at_work_refuses_it(site: Place, watcher: Programs) -> None:
    daemon = watcher.daemon(site)
    for options in ((), ("--dry-run",)):
        refused = watcher.call("recover", *options, "--config", site.config_path)
        assert refused.process.returncode == Exit.RUNNING, refused.err
    assert daemon.stop() == Exit.WELL


@pytest.mark.parametrize("mode", ["hold", "resubmit"])
def test_what_waited_without_a_trace_is_in_doubt_and_what_is_dropped_later_is_not(
    mode: str, make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Killed while it was on the wire: nobody knows if it was charged. A person decides, or it is sent again."""
    site = make_place(identifai={"in_doubt": mode, "no_cache": True})
    service.latency_seconds = 5.0
    daemon = watcher.daemon(site)
    site.drop("one.wav", RECORDINGS["one.wav"])
    wait_until(lambda: len(posts(service)) >= 1, "it is on the wire")
    daemon.kill()
    service.latency_seconds = 0.0
    lose(site)

    recovered = watcher.call("recover", "--config", site.config_path)
    assert recovered.process.returncode == (Exit.INCOMPLETE if mode == "hold" else Exit.WELL)
    assert "may have been sent" in recovered.out
    os.chmod(site.root / "drop/one.wav", 0o644)  # as somebody would who looks after the folder: its ctime is new
    site.drop("later.wav", speech("later"))
    watcher.call("run", "--once", "--config", site.config_path)

    states = site.states()
    assert states["later.wav"] is State.DONE
    if mode == "hold":
        assert states["one.wav"] is State.HELD
        fault = site.item("one.wav").fault
        assert fault is not None
        assert "database was lost" in fault.message
        assert [entry.sha256 for entry in posts(service)].count(digest(RECORDINGS["one.wav"])) == 1
    else:
        assert states["one.wav"] is State.DONE
        again = [entry for entry in posts(service) if entry.sha256 == digest(RECORDINGS["one.wav"])][-1]
        assert "no_cache" not in again.options


def test_a_folder_that_is_not_mounted_is_not_taken_for_an_empty_one(
    site: Place, watcher: Programs, service: Sandbox
) -> None:
    """Without its receipts, everything in it would be paid for again: the bare mount point has no mark."""
    site.drop("one.wav", RECORDINGS["one.wav"])
    watcher.call("run", "--once", "--config", site.config_path)
    lose(site)
    (site.root / "done").rename(site.root / "elsewhere")
    (site.root / "done").mkdir()

    refused = watcher.call("recover", "--config", site.config_path)

    assert refused.process.returncode == Exit.CONFIG
    assert "is its disk mounted" in refused.err
    assert not (site.root / "watcher.db").exists()


def test_a_recovery_that_was_killed_is_not_taken_for_a_whole_one(
    site: Place, watcher: Programs, service: Sandbox
) -> None:
    """A daemon does not start on half of the books. Run again, it goes on and comes to its end."""
    for number in range(30):
        site.drop(f"{number}.wav", speech(f"number {number}", seconds=1.0))
    watcher.call("run", "--once", "--config", site.config_path, seconds=60)
    for moment in range(4):
        lose(site)
        program = watcher.start("recover", "--config", site.config_path)
        wait_until((site.root / "watcher.db").exists, told=lambda ended=program: ended.err)  # type: ignore[misc]
        let_pass(0.03 * moment)
        program.process.kill()
        program.process.wait()
        started = watcher.call("run", "--once", "--config", site.config_path)
        if started.process.returncode != Exit.WELL:
            assert started.process.returncode == Exit.UNAVAILABLE, started.err
            assert "watcher recover" in started.err
        assert watcher.call("recover", "--config", site.config_path).process.returncode == Exit.WELL
        assert set(site.states().values()) == {State.DONE}
        assert len(site.states()) == 30
    assert service.charged == 30


def test_an_older_copy_is_completed_and_what_it_has_as_waiting_is_not_sent(
    site: Place, service: Sandbox, watcher: Programs, tmp_path: Path
) -> None:
    """What its receipts say is done becomes done, with the ledger's lines; and what still waits is in doubt."""
    watcher.call("pause", "--config", site.config_path)
    for name in ("one.wav", "long.wav", "refused.wav"):
        site.drop(name, RECORDINGS[name])
    watcher.call("run", "--once", "--config", site.config_path, seconds=60)
    assert State.DONE not in site.states().values()
    copy = tmp_path / "copy.db"
    shutil.copy(site.root / "watcher.db", copy)
    watcher.call("resume", "--config", site.config_path)
    site.drop("folder/two.wav", RECORDINGS["folder/two.wav"])
    watcher.call("run", "--once", "--verdicts", "--config", site.config_path, seconds=60)
    before = len(posts(service))
    states = site.states()
    with site.books() as books:
        ledger = sorted((line.item_id, line.identifier, line.part, line.charged) for line in books.ledger.listed())
    lose(site)
    shutil.copy(copy, site.root / "watcher.db")

    assert watcher.call("recover", "--config", site.config_path).process.returncode == Exit.WELL

    assert site.states() == states
    with site.books() as books:
        found = sorted((line.item_id, line.identifier, line.part, line.charged) for line in books.ledger.listed())
    assert found == ledger
    watcher.call("resume", "--config", site.config_path)
    watcher.call("run", "--once", "--config", site.config_path)
    assert len(posts(service)) == before
    assert watcher.call("reconcile", "--config", site.config_path).process.returncode == Exit.WELL


def test_a_filing_that_was_cut_off_is_completed(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """The receipt is written, the recording not moved, or moved without what came with it: `run` does the rest."""
    site = make_place(arrivals={"sidecar": [".xml"]})
    for name in ("not moved", "without its sidecar", "brought back"):
        site.drop(f"{name}.wav")
        site.drop(f"{name}.xml", b"<call/>")
    watcher.call("run", "--once", "--config", site.config_path)
    charged = service.charged
    lose(site)
    drop, done = site.root / "drop", site.root / "done"
    for name in ("not moved.wav", "not moved.xml", "without its sidecar.xml"):
        (done / name).rename(drop / name)
    let_pass(0.05)  # more than a tick of the disk's clock
    for there, here in (("without its sidecar.wav", "aside"), ("aside", "without its sidecar.wav")):
        (done / there).rename(done / here)  # moved after its sidecar was made
    set_back(site, "not moved", "without its sidecar")
    (done / "brought back.wav").rename(drop / "brought back.wav")
    (done / "brought back.xml").rename(drop / "brought back.xml")

    assert watcher.call("recover", "--config", site.config_path).process.returncode == Exit.WELL
    states = site.states()
    assert states["not moved.wav"] is State.FILING
    assert states["without its sidecar.wav"] is State.FILING
    assert states["brought back.wav"] is State.DONE
    watcher.call("run", "--once", "--config", site.config_path)

    assert set(site.states().values()) == {State.DONE}
    assert not [name for name in site.files() if name.startswith("drop/")]
    assert (done / "not moved.xml").exists()
    assert (done / "without its sidecar.xml").exists()
    assert service.charged == charged
    assert watcher.call("reconcile", "--config", site.config_path).process.returncode == Exit.WELL


def set_back(site: Place, *names: str) -> None:
    """As if the receipts had been written just now, after what lies in the drop folder."""
    for name in names:
        path = site.root / "done" / f"{name}.wav.json"
        receipt = json.loads(path.read_bytes())
        path.write_text(json.dumps(receipt | {"filed_at": rfc3339(CLOCK.now() + 0.1)}))
    let_pass(0.2)


def forge(site: Place, name: str, **changes: Any) -> Path:
    """A receipt like that of one.wav, beside no recording, of an item of its own."""
    receipt = site.receipt("done/one.wav.json") | {"id": hashlib.md5(name.encode()).hexdigest()[:16]} | changes
    path = site.root / "done" / name
    path.write_text(json.dumps(receipt))
    return path


def test_what_strangers_wrote_counts_for_nothing(site: Place, service: Sandbox, watcher: Programs) -> None:
    """A receipt of another user, one behind a link, one whose recording has another size: named, and left."""
    needs_root()
    for name in ("one.wav", "folder/two.wav", "doubt.wav"):
        site.drop(name, RECORDINGS[name])
    service.clear_faults()
    watcher.call("run", "--once", "--config", site.config_path)
    forged = forge(site, "forged.wav.json", path="forged.wav", filed_as="forged.wav", sha256="a" * 64)
    os.chown(forged, STRANGER.uid or 0, STRANGER.gid)
    outside = forge(site, "outside.wav.json")
    outside.rename(site.root / "outside.json")
    outside.symlink_to(site.root / "outside.json")
    broken = forge(site, "broken.wav.json", size=-1)
    (site.root / "done/foreign.json").write_text('{"not": "ours"}')
    with (site.root / "done/folder/two.wav").open("ab") as file:
        file.write(b"more")
    with (site.root / "done/doubt.wav").open("r+b") as file:
        file.seek(1000)
        file.write(b"other bytes")
    lose(site)

    said = watcher.call("recover", "--verify", "--config", site.config_path)

    assert said.process.returncode == Exit.INCOMPLETE
    left = {line.split(": ")[1]: line for line in said.err.splitlines() if line.startswith("left: ")}
    assert left.keys() == {
        "done/forged.wav.json",
        "done/outside.wav.json",
        "done/broken.wav.json",
        "done/folder/two.wav.json",
        "done/doubt.wav.json",
    }
    assert "may be forged" in left["done/forged.wav.json"]
    assert "bytes" in left["done/folder/two.wav.json"]
    assert set(site.states()) == {"one.wav"}
    assert forged.exists()
    assert broken.exists()

    said = watcher.call("recover", "--trust-owner", str(STRANGER.uid), "--config", site.config_path)
    assert "forged" not in said.err
    assert set(site.states()) == {"one.wav", "forged.wav", "doubt.wav"}


def test_a_damaged_database_is_named_and_nothing_is_repaired(
    site: Place, service: Sandbox, watcher: Programs
) -> None:
    """Neither a start nor `recover` touches it. Moved aside, it is rebuilt."""
    for number in range(20):
        site.drop(f"{number}.wav", speech(f"number {number}", seconds=1.0))
    watcher.call("run", "--once", "--config", site.config_path, seconds=60)
    database = site.root / "watcher.db"
    pages = bytearray(database.read_bytes())
    for start in range(2 * 4096, len(pages), 4096):
        pages[start + 8 : start + 2048] = b"\xaa" * 2040
    database.write_bytes(pages)

    for words in (["run", "--once"], ["recover"], ["recover", "--dry-run"]):
        program = watcher.call(*words, "--config", site.config_path)
        assert program.process.returncode == Exit.CONFIG, (words, program.err)
        assert "damaged" in program.err
        assert "watcher recover" in program.err
        assert set(re.findall(r"[^\s'`:]+/watcher\.db", program.err)) == {str(database)}  # never a copy of it
        assert database.read_bytes() == pages

    database.rename(site.root / "watcher.db.damaged")
    assert watcher.call("recover", "--config", site.config_path).process.returncode == Exit.WELL
    assert list(site.states().values()) == [State.DONE] * 20
    assert service.charged == 20


def test_an_answer_that_only_the_journal_has_is_taken_from_there(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """The database took no answer, then it was lost: what was paid for is filed, and nobody has to decide."""
    site = make_place(
        identifai={"in_doubt": "hold"}, limits={"max_upload_bytes": LIMIT}, audio={"oversize": "split"}
    )
    daemon = watcher.daemon(site)
    daemon.wait_for("watch.chosen")
    spoil(site, "UPDATE OF ended_at ON attempts")
    site.drop("call.wav")
    (kept,) = daemon.wait_for("answer.kept")
    daemon.kill()
    lose(site)

    assert watcher.call("recover", "--config", site.config_path).process.returncode == Exit.WELL
    watcher.call("run", "--once", "--config", site.config_path)

    assert site.states() == {"call.wav": State.DONE}
    assert site.receipt("done/call.wav.json")["identifier"] == kept["identifier"]
    assert len(posts(service)) == 1
    assert not (site.root / "watcher.db-answers").exists()
    assert watcher.call("reconcile", "--config", site.config_path).process.returncode == Exit.WELL


@pytest.mark.parametrize("moment", ["between", "on the wire"])
def test_parts_that_are_paid_for_are_kept_while_a_person_decides_on_the_others(
    moment: str, make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Of a recording in parts the spool has the identifiers. It is held; released, only the others are sent."""
    site = make_place(
        identifai={"in_doubt": "hold"}, limits={"max_upload_bytes": LIMIT}, audio={"oversize": "split"}
    )
    daemon = watcher.daemon(site)
    service.latency_seconds = 0.5
    site.drop("folder/long.wav", RECORDINGS["long.wav"])
    wait_until(
        lambda: list((site.root / "spool").glob("*-1.*.json")), "a part is paid for", told=lambda: daemon.err
    )
    if moment == "on the wire":
        wait_until(lambda: len(posts(service)) >= 2, "the next is on the wire")
    daemon.kill()
    service.latency_seconds = 0.0
    lose(site)

    recovered = watcher.call("recover", "--config", site.config_path)
    assert site.states() == {"folder/long.wav": State.HELD}, recovered.out + recovered.err
    watcher.call("run", "--once", "--config", site.config_path)
    paid = [entry.sha256 for entry in posts(service) if entry.charged]
    assert site.states() == {"folder/long.wav": State.HELD}
    assert watcher.call("release", "--all", "--config", site.config_path).process.returncode == Exit.WELL
    watcher.call("run", "--once", "--verdicts", "--config", site.config_path, seconds=60)

    receipt = site.receipt("done/folder/long.wav.json")
    assert [part["state"] for part in receipt["parts"]] == ["accepted"] * len(receipt["parts"])
    charged = Counter(entry.sha256 for entry in posts(service) if entry.charged)
    assert set(charged.values()) == {1}
    assert len(charged) == len(receipt["parts"])
    first = [entry for entry in posts(service) if entry.sha256 == paid[0]]
    assert len(first) == 1
    assert watcher.call("reconcile", "--config", site.config_path).process.returncode == Exit.WELL
