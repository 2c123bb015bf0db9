"""`erase` and `prune`: what they remove, what they refuse, and what they say of the rest."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.places import REFUSED, Place, speech
from tests.queues import pay_table, posts, queued
from watcher.cli import main
from watcher.clock import SystemClock
from watcher.domain import State
from watcher.folders import Folder
from watcher.folders.tombstone_files import read_tombstones
from watcher.outlet import Outlet, standard_error
from watcher.sandbox import Sandbox
from watcher.store.sqlite.connections import connect

NAME = "Mueller-0391234567"
CALL = speech("call")


@pytest.fixture
def clock() -> FalseClock:
    """The machine's own time, which the commands go by."""
    return FalseClock(SystemClock().now())


@pytest.fixture
def run(place: Place, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run a command: its exit code, what it prints, and what it says on standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([*words, "--config", str(place.config_path)])
        told: object = standard_error()
        if isinstance(told, Outlet):
            assert told.drain(60.0)
        return code, *capfd.readouterr()

    yield run
    assert run("reconcile")[0] == 0, "the books do not add up"


Run = Callable[..., tuple[int, str, str]]


def done_call(place: Place, name: str = f"a/{NAME}.wav", content: bytes = CALL) -> str:
    place.drop(name, content)
    place.run_once(verdicts=True)
    return place.item(name).id


def everything_of(root: Path) -> bytes:
    """All bytes below the place, and all names: of files, folders, the database and what lies beside it."""
    found = b""
    for path in root.rglob("*"):
        found += os.fsencode(path.name) + b"\n"
        if path.is_file() and not path.is_symlink():
            found += path.read_bytes()
    return found


@pytest.mark.server
def test_nothing_that_names_anybody_is_left(place: Place, service: Sandbox, run: Run) -> None:
    """Neither in the folders nor in the database, its free pages and its log: but the content is known."""
    other = done_call(place, "other.wav", speech("other"))
    item_id = done_call(place)
    identifier, sha256 = place.item(f"a/{NAME}.wav").identifier, place.item(f"a/{NAME}.wav").sha256
    assert NAME.encode() in everything_of(place.root)
    code, out, _ = run("erase", item_id)
    assert code == 0, out
    assert f"{item_id}: is erased" in out
    assert "out of reach: the service" in out
    left = everything_of(place.root)
    for secret in (NAME, str(sha256)):
        assert secret.encode() not in left
    assert place.files() == {f"done/a/{item_id}.erased.json", "done/other.wav", "done/other.wav.json"}
    assert [item.id for item in place.items().values()] == [other]
    sent = len(posts(service))
    again = done_call(place, "again.wav")
    assert len(posts(service)) == sent
    item = place.item("again.wav")
    assert (item.identifier, item.duplicate_of, item.id) == (identifier, item_id, again)
    assert "erased" in place.receipt("done/again.wav.json")["warning"]
    assert place.receipt("done/again.wav.json")["verdict"]["state"] == "known"
    assert "was erased" in run("show", item_id)[1]
    assert "was erased" in run("why", "again.wav")[1]
    assert sorted(pay_table(service).values()) == [1, 1]


def test_once_more_changes_nothing(place: Place, run: Run) -> None:
    item_id = done_call(place)
    assert run("erase", item_id)[0] == 0
    files = place.files()
    code, out, _ = run("erase", item_id)
    assert code == 0
    assert "erased, as a person had asked" in out
    assert place.files() == files


def test_a_dry_run_changes_nothing(place: Place, run: Run) -> None:
    item_id = done_call(place)
    code, out, _ = run("erase", "--dry-run", item_id)
    assert code == 0
    assert f"would be erased: {item_id}: done/a/{NAME}.wav, done/a/{NAME}.wav.json" in out
    assert place.files() == {f"done/a/{NAME}.wav", f"done/a/{NAME}.wav.json"}
    with place.books() as books:
        assert books.removals.get(item_id) is None


@pytest.mark.server
def test_copies_are_named_and_erased_on_demand(place: Place, service: Sandbox, run: Run) -> None:
    """What has the same bytes stays, and is named; with --all-copies it goes as well, whatever became of it."""
    first = done_call(place, "first.wav")
    second = done_call(place, "second.wav")
    code, out, _ = run("erase", first)
    assert code == 0
    assert f"stays: {second} second.wav (done) has the same bytes" in out
    assert run("show", second)[0] == 0
    third = done_call(place, "third.wav")
    code, out, _ = run("erase", "--all-copies", "second.wav")
    assert code == 0
    assert "stays" not in out.replace("tombstone stays", "")
    assert place.items() == {}
    assert place.files() == {f"done/{one}.erased.json" for one in (first, second, third)}
    assert list(pay_table(service).values()) == [1]
    done_call(place, "fourth.wav")
    assert list(pay_table(service).values()) == [1]


def test_failed_and_withdrawn_ones_can_be_erased(
    place: Place, service: Sandbox, clock: FalseClock, run: Run
) -> None:
    """The refusal is remembered; what was never sent may be sent, if it comes again."""
    service.add_fault(**REFUSED, times=1)
    place.drop("odd.wav", speech("odd"))
    place.run_once()
    with queued(place, gone=CALL) as journey:
        os.unlink(place.root / "drop/gone.wav")
        clock.advance(100)
        journey.arrivals.step()
    assert place.item("gone.wav").state is State.WITHDRAWN
    code, _, err = run("erase", "odd.wav", "gone.wav")
    assert code == 0, err
    assert place.items() == {}
    sent = len(posts(service))
    place.drop("odd again.wav", speech("odd"))
    place.drop("gone again.wav", CALL)
    place.run_once(verdicts=True)
    assert place.states() == {"odd again.wav": State.FAILED, "gone again.wav": State.DONE}
    assert len(posts(service)) == sent + 1


def test_what_is_not_at_rest_is_refused(place: Place, service: Sandbox, run: Run) -> None:
    """Nothing is erased then, not even what was named beside it; the message says what to do first."""
    done = done_call(place)
    with queued(place, waiting=speech("waiting")):
        pass
    code, _, err = run("erase", done, "waiting.wav")
    assert code == 2
    assert "is queued, and nothing was erased" in err
    assert "take it out of the drop folder" in err
    assert len(place.items()) == 2
    assert run("erase", "nobody.wav")[0] == 2


def test_what_was_altered_stays_and_is_named(place: Place, run: Run) -> None:
    """It is not what was filed. Once a person has removed it, the rest can be erased."""
    item_id = done_call(place, "call.wav")
    recording = place.root / "done/call.wav"
    recording.write_bytes(CALL + b"more")
    code, _, err = run("erase", item_id)
    assert code == 1
    assert "is not what was filed there" in err
    assert f"rm {recording}" in err
    assert recording.read_bytes() == CALL + b"more"
    with place.books() as books:
        assert books.removals.get(item_id) is None
    assert (place.root / "done/call.wav.json").exists()
    place.run_once()
    recording.unlink()
    assert run("erase", item_id)[0] == 0
    assert place.files() == {f"done/{item_id}.erased.json"}


def test_links_and_strangers_files_stay(place: Place, run: Run) -> None:
    """A link in the recording's place is not followed, nor removed; a hard link elsewhere is named."""
    linked = done_call(place, "linked.wav", speech("linked"))
    other = done_call(place, "other.wav", speech("other"))
    theirs = place.root / "theirs.wav"
    os.rename(place.root / "done/linked.wav", theirs)
    (place.root / "done/linked.wav").symlink_to(theirs)
    os.link(place.root / "done/other.wav", place.root / "second name.wav")
    assert run("erase", linked, other)[0] == 0
    assert theirs.read_bytes() == speech("linked")
    assert (place.root / "done/linked.wav").is_symlink()
    assert not (place.root / "done/other.wav").exists()
    (place.root / "done/linked.wav").unlink()


def test_another_recordings_files_stay(place: Place, run: Run) -> None:
    """The first one was collected, and another was filed under its name: that one and its receipt stay."""
    first = done_call(place, "call.wav")
    (place.root / "done/call.wav").unlink()
    (place.root / "done/call.wav.json").unlink()
    second = done_call(place, "call.wav", speech("second"))
    assert run("erase", first)[0] == 0
    assert place.files() == {"done/call.wav", "done/call.wav.json", f"done/{first}.erased.json"}
    assert place.receipt("done/call.wav.json")["id"] == second


def test_a_copy_under_its_name_stays(place: Place, service: Sandbox, run: Run) -> None:
    """The first one was collected, and a recording with the very same bytes was filed under its name."""
    first = done_call(place, "call.wav")
    (place.root / "done/call.wav").unlink()
    (place.root / "done/call.wav.json").unlink()
    second = done_call(place, "call.wav")
    code, out, _ = run("erase", first)
    assert code == 0
    assert f"stays: {second}" in out
    assert (place.root / "done/call.wav").read_bytes() == CALL
    assert place.receipt("done/call.wav.json")["id"] == second


def test_a_copy_of_the_database_from_before_an_upgrade_is_named(place: Place, run: Run) -> None:
    """It has the item still, so a person is told to delete it; one without the item is not named."""
    item_id = done_call(place)
    later = done_call(place, "later.wav", speech("later"))
    with closing(connect(place.root / "watcher.db", "ro")) as source:
        for version, keeps in (("0006", item_id), ("0008", later)):
            with closing(sqlite3.connect(place.root / f"watcher.db.before-{version}.bak")) as copy:
                source.backup(copy)
                copy.execute("DELETE FROM items WHERE id != ?", (keeps,))
                copy.commit()
    _, out, _ = run("erase", item_id)
    assert "watcher.db.before-0006.bak" in out
    assert "watcher.db.before-0008.bak" not in out


def test_a_wish_is_kept_until_the_folder_is_there(place: Place, run: Run, tmp_path: Path) -> None:
    """While done/ is away nothing can be erased: the next run does it."""
    item_id = done_call(place)
    os.rename(place.root / "done", tmp_path / "away")
    code, _, err = run("erase", item_id)
    assert code == 1
    assert "is not erased yet, but will be" in err
    os.rename(tmp_path / "away", place.root / "done")
    place.run_once()
    assert place.files() == {f"done/a/{item_id}.erased.json"}


def test_what_is_to_be_erased_is_not_sent_again(place: Place, service: Sandbox, run: Run, tmp_path: Path) -> None:
    """A failed one that is to be erased as soon as its folder is there is not retried meanwhile."""
    service.add_fault(**REFUSED, times=1)
    place.drop("odd.wav", CALL)
    place.run_once()
    os.rename(place.root / "done", tmp_path / "away")
    os.rename(place.root / "failed", tmp_path / "failed away")
    assert run("erase", "odd.wav")[0] == 1
    os.rename(tmp_path / "away", place.root / "done")
    os.rename(tmp_path / "failed away", place.root / "failed")
    assert run("retry", "odd.wav")[0] == 1
    assert place.item("odd.wav").state is State.FAILED
    place.run_once()
    assert place.items() == {}


@pytest.mark.server
def test_prune_says_what_it_would_remove_and_removes_it(
    make_place: MakePlace, clock: FalseClock, run: Run, place: Place
) -> None:
    """A dry run names each; nothing changes. Then they go, and what was altered stays, named."""
    place.configure(retention={"recordings_days": 30, "receipts_days": 60})
    item_id = done_call(place, "call.wav")
    altered = done_call(place, "altered.wav", speech("altered"))
    with (place.root / "done/altered.wav").open("ab") as file:
        file.write(b"more")
    place.run_once()
    with place.books() as books:
        done = books.removals._connection  # as if they had been filed two months ago
        done.exec_driver_sql("UPDATE items SET filed_at = filed_at - 5356800")
        done.exec_driver_sql("UPDATE verdicts SET asked_at = asked_at - 5356800, since = since - 5356800")
    files = place.files()
    code, out, _ = run("prune", "--dry-run")
    assert f"would go: recording {item_id} call.wav" in out
    assert f"would go: receipt {item_id} call.wav" in out
    assert f"would go: recording {altered}" not in out
    assert f"stays: {altered} altered.wav" in out
    assert code == 1
    assert place.files() == files
    code, out, _ = run("prune")
    assert "1 recordings, 1 receipts and 0 rows were removed." in out
    assert f"stays: {altered} altered.wav: has grown" in out
    assert code == 1
    assert place.files() == {f"done/{item_id}.erased.json", "done/altered.wav", "done/altered.wav.json"}
    (found,) = read_tombstones(Folder(os.fsencode(place.root / "done"), "done"))
    assert found.tombstone.id == item_id
    (place.root / "done/altered.wav").unlink()


def test_prune_without_retention_says_so(place: Place, run: Run) -> None:
    done_call(place)
    assert run("prune") == (0, "[retention] keeps everything for ever: there is nothing to remove.\n", "")


def test_a_receipt_that_outlived_its_row_is_erased_by_its_path(
    place: Place, clock: FalseClock, run: Run, service: Sandbox
) -> None:
    """Where receipts are kept for ever, only the receipt still has a name: its path finds it."""
    place.configure(retention={"recordings_days": 0.01, "history_days": 0.01})
    item_id = done_call(place)
    clock.advance(2000)
    place.run_once()
    assert place.items() == {}
    assert place.files() == {f"done/a/{NAME}.wav.json"}
    code, out, err = run("erase", f"done/a/{NAME}.wav")
    assert code == 0, err
    assert f"{item_id}: its receipt is erased" in out
    assert place.files() == {f"done/a/{item_id}.erased.json"}
    done_call(place, "again.wav")
    assert list(pay_table(service).values()) == [1]


def test_what_may_have_been_paid_for_stays_in_doubt(
    place: Place, clock: FalseClock, run: Run, service: Sandbox
) -> None:
    """Under "hold" a lost answer is a person's to decide on, even after its recording was withdrawn and erased."""
    place.configure(identifai={"in_doubt": "hold"})
    service.add_fault("lose_answer", times=1)
    held = place.drop("held.wav", CALL)
    place.run_once()
    assert place.item("held.wav").state is State.HELD
    held.unlink()
    place.run_once()
    assert place.item("held.wav").state is State.WITHDRAWN
    item_id = place.item("held.wav").id
    assert run("erase", item_id)[0] == 0
    assert place.files() == {f"failed/{item_id}.erased.json"}
    place.drop("again.wav", CALL)
    place.run_once()
    assert place.item("again.wav").state is State.HELD
    assert len(posts(service)) == 1
