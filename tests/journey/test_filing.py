"""What stands in the way of one recording stops no other, is told wherever somebody looks, and is tried again."""

import errno
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.journey.test_mounts import look
from tests.people import STRANGER, needs_root
from tests.people import place as everybodys
from tests.places import KEY, REFUSED, Place, speech
from tests.queues import drain, listening, queued, settle, told
from tests.transitions import strangers
from watcher.cli import main
from watcher.composition import Journey
from watcher.domain import Charged, Item, State, VerdictState
from watcher.errors import Exit, FolderMissing, FolderRefuses, RecordingUnreachable
from watcher.folders import RESERVE_BYTES, Folder, disk
from watcher.folders.root import Root
from watcher.journey.file.out import Out
from watcher.sandbox import Sandbox
from watcher.store import Books

__all__ = ["everybodys"]  # a fixture

ERRORS: dict[str, Callable[[], Exception]] = {
    "refuses": lambda: FolderRefuses("it takes nothing", hint="have it take something"),
    "missing": lambda: FolderMissing("this subfolder is away", hint="mount it"),
    "unreachable": lambda: RecordingUnreachable("it cannot be had", hint="let it be had"),
    "the disk's": lambda: OSError(errno.EIO, "Input/output error"),
    "memory": MemoryError,
    "recursion": lambda: RecursionError("maximum recursion depth exceeded"),
    "anything": lambda: ValueError("whatever"),
}


TOLD = [ERRORS["refuses"], ERRORS["memory"]]
"""Those with which all commands are asked, which takes a second each time."""


@pytest.fixture(autouse=True)
def _with_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` finds nothing else wrong."""
    monkeypatch.setenv("IDENTIFAI_API_KEY", KEY)


@pytest.fixture(params=ERRORS)
def error(request: pytest.FixtureRequest) -> Callable[[], Exception]:
    return ERRORS[request.param]


@contextmanager
def bad(error: Callable[[], Exception]) -> Any:
    """Whatever is asked of a folder about a path with `bad` in it ends in this error. Yields how often it was."""
    asked: list[bytes] = []
    components = Root.components

    def refused(root: Root, path: bytes) -> list[bytes]:
        if b"bad" in path:
            asked.append(path)
            raise error()
        return components(root, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Root, "components", refused)
        yield asked


def tries(journey: Journey, asked: list[bytes], seconds: float) -> int:
    """How often it is tried in so many seconds in which nothing else happens."""
    before, clock = len(asked), journey.site.clock
    began = clock.now()
    while clock.now() - began < seconds:
        clock.wait(max(min(journey.filing.step(), seconds), 0.001), journey.stopping)
    return len(asked) - before


def step_out(journey: Journey) -> None:
    """The filing step has nothing to do that it can do now."""
    while journey.filing.step() <= 0:
        pass


def is_told(place: Place, capsys: pytest.CaptureFixture[str], path: str, *words: str) -> None:
    """Each command that somebody would ask says that this one is stuck, and why."""
    capsys.readouterr()
    config = ["--config", str(place.config_path)]
    said = {}
    for name, arguments in {
        "why": [path],
        "show": [path],
        "status": [],
        "check": [],
        "reconcile": [],
    }.items():
        code = main([name, *config, *arguments])
        said[name] = capsys.readouterr().out
        assert code == (Exit.INCOMPLETE if name in ("check", "reconcile") else Exit.WELL), said[name]
    main(["status", "--json", *config])
    said["status --json"] = json.dumps(json.loads(capsys.readouterr().out)["stuck"])
    for command, told_there in said.items():
        for word in words:
            assert word in told_there, (command, told_there)


def test_what_stops_one_recording_from_being_filed_stops_no_other(
    place: Place, error: Callable[[], Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    """Accepted ones are filed around it; it is told once, tried ever more seldom, and filed once it can be."""
    names = ("a", "bad", "c")
    with queued(place, *names) as journey, listening() as log:
        while State.QUEUED in place.states().values():
            place.clock.wait(max(journey.submissions[0].step(), 0.001), journey.stopping)
        with bad(error) as asked:
            step_out(journey)
            assert place.states() == {"a.wav": State.DONE, "bad.wav": State.FILING, "c.wav": State.DONE}
            assert tries(journey, asked, 60) >= 2
            assert tries(journey, asked, 7200) <= 2 * 7200 / 600
            assert place.pauses() == []
            assert len(told(log, "recording.stuck")) == 1
        if error in TOLD:
            is_told(place, capsys, "bad.wav", told(log, "recording.stuck")[0]["reason"][:30])
        tries(journey, [], 601)
    assert set(place.states().values()) == {State.DONE}
    assert "stuck" not in said(place, capsys, "status")


def test_what_stops_one_recording_from_failing_stops_no_other(
    place: Place, service: Sandbox, error: Callable[[], Exception]
) -> None:
    """Refused ones are filed around it, and accepted ones too."""
    with queued(place, "a", "bad", "c", "d") as journey, listening() as log:
        service.add_fault(**REFUSED, times=3)
        while State.QUEUED in place.states().values():
            place.clock.wait(max(journey.submissions[0].step(), 0.001), journey.stopping)
        with bad(error):
            step_out(journey)
            after = [place.states()[f"{name}.wav"] for name in ("a", "bad", "c", "d")]
            assert after == [State.FAILED, State.FILING, State.FAILED, State.DONE]
        tries(journey, [], 601)
        assert len(told(log, "recording.stuck")) == 1
    assert place.states()["bad.wav"] is State.FAILED


def test_what_stops_one_retry_stops_no_other(
    place: Place, service: Sandbox, error: Callable[[], Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    """Others go back and are sent, those that fail or are accepted meanwhile are filed, and no pause begins."""
    service.add_fault(**REFUSED, times=3)
    for name in ("a.wav", "bad.wav", "c.wav"):
        place.drop(name)
    place.run_once()
    assert set(place.states().values()) == {State.FAILED}
    place.drop("d.wav")
    with place.opened() as journey, listening() as log:
        for name in ("a.wav", "bad.wav", "c.wav"):
            place.retry(name)
        with bad(error):
            look(journey)
            drain(journey, seconds=20)
            assert place.states() == {
                "a.wav": State.DONE,
                "bad.wav": State.RETURNING,
                "c.wav": State.DONE,
                "d.wav": State.DONE,
            }
            assert told(log, "submitting.paused") == []
            assert len(told(log, "recording.stuck")) == 1
        if error in TOLD:
            is_told(place, capsys, "bad.wav", told(log, "recording.stuck")[0]["reason"][:30])
        tries(journey, [], 601)
        drain(journey)
    assert set(place.states().values()) == {State.DONE}


def test_what_stops_one_receipt_stops_no_other(
    place: Place, error: Callable[[], Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    """Verdicts stand in the other receipts; the one that could not be written has its own once it can be."""
    with queued(place, "a", "bad", "c") as journey, listening() as log:
        drain(journey)
        place.clock.wait(6, journey.stopping)
        while any(v.state is VerdictState.AWAITED for v in verdicts(place)):
            place.clock.wait(max(journey.verdict_poller.step(), 0.001), journey.stopping)
        with bad(error):
            step_out(journey)
            found = [place.receipt(f"done/{n}.wav.json")["verdict"]["state"] for n in ("a", "bad", "c")]
            assert found == ["known", "awaited", "known"]
            assert len(told(log, "recording.stuck")) == 1
        if error in TOLD:
            is_told(place, capsys, "bad.wav", told(log, "recording.stuck")[0]["reason"][:30])
        tries(journey, [], 601)
    assert place.receipt("done/bad.wav.json")["verdict"]["state"] == "known"


def test_more_than_a_few_that_are_stuck_stop_no_other(place: Place, service: Sandbox) -> None:
    """However many go where nothing can be put: what goes elsewhere is filed at once."""
    place.configure(limits={"writes": []})
    (place.root / "failed/sub").symlink_to("elsewhere")  # which is never followed
    for number in range(130):
        place.drop(f"sub/{number}.wav", f"no recording {number}".encode())
    with place.opened() as journey:
        look(journey)
        step_out(journey)
        assert list(place.states().values()).count(State.FILING) == 130
        place.drop("notes.wav", b"no recording either")
        place.drop("call.wav")
        look(journey)
        drain(journey, seconds=1)
        assert place.states()["notes.wav"] is State.FAILED
        assert place.states()["call.wav"] is State.DONE
        (place.root / "failed/sub").unlink()
        drain(journey, seconds=601)
    assert list(place.states().values()).count(State.FAILED) == 131


# Real ones


@pytest.fixture
def read_only(place: Place) -> Iterator[Path]:
    """A subfolder of failed/ in which nothing can be put, not even by root; until it is unmounted."""
    folder = place.root / "failed/sub"
    folder.mkdir()
    needs_root()
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=False, stderr=subprocess.DEVNULL)


def test_one_pass_ends_though_failed_takes_one_of_them_not(
    place: Place, read_only: Path, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names that one and exits with 1; nothing says that it was sent. Once mended, the next pass files it."""
    place.drop("sub/notes.wav", b"no recording")
    place.drop("sub/good.wav")
    place.drop("other.wav", b"no recording either")
    began = place.clock.monotonic()
    for _ in range(2):
        outcome = place.run_once()
        assert outcome.exit_code == Exit.INCOMPLETE
        (left,) = outcome.left
        assert left.startswith("sub/notes.wav: filing (sub")
        assert "Read-only" in left
    assert place.clock.monotonic() - began < 120
    assert place.states() == {
        "sub/notes.wav": State.FILING,
        "sub/good.wav": State.DONE,
        "other.wav": State.FAILED,
    }
    is_told(place, capsys, "sub/notes.wav", "Read-only")
    assert "failed without being sent" in said(place, capsys, "why", "sub/notes.wav")
    subprocess.run(["umount", read_only], check=True)

    place.run_once()

    assert place.states()["sub/notes.wav"] is State.FAILED


def test_a_subfolder_of_failed_that_is_anothers_ends_no_pass_and_stops_nobody(
    everybodys: Path, service: Sandbox
) -> None:
    """As the shipped unit runs it: another user's daemon, and `failed/sub` made by root with its usual mode."""
    needs_root()
    place = Place(everybodys, service.url, FalseClock())
    place.drop("sub/notes.wav", b"no recording")
    place.drop("call.wav")
    (everybodys / "failed/sub").mkdir(mode=0o755)
    for path in (everybodys, *(everybodys / name for name in ("drop", "drop/sub", "done", "failed"))):
        os.chmod(path, 0o777)

    outcome = STRANGER.does(place.run_once)

    assert outcome.exit_code == Exit.INCOMPLETE
    assert [line for line in outcome.left if "Permission denied" in line] == outcome.left
    assert len(outcome.left) == 1
    assert place.files() == {"drop/sub/notes.wav", "done/call.wav", "done/call.wav.json"}


def test_a_retry_into_a_subfolder_that_became_a_link_waits_by_itself(place: Place, service: Sandbox) -> None:
    """No pause begins, others go back and are sent; it goes back when the subfolder is one again."""
    service.add_fault(**REFUSED, times=2)
    for name in ("sub/linked.wav", "other.wav"):
        place.drop(name)
    place.run_once()
    (place.root / "drop/sub").rmdir()
    os.symlink("/nowhere", place.root / "drop/sub")
    with place.opened() as journey, listening() as log:
        for name in ("sub/linked.wav", "other.wav"):
            place.retry(name)
        for _ in range(4):
            look(journey)
            drain(journey, seconds=5)
        assert place.states() == {"sub/linked.wav": State.RETURNING, "other.wav": State.DONE}
        assert told(log, "submitting.paused") == []
        assert len(told(log, "recording.stuck")) == 1
        (place.root / "drop/sub").unlink()
        drain(journey, seconds=601)
    assert place.states()["sub/linked.wav"] is State.DONE


def test_while_failed_is_away_what_was_accepted_is_filed(place: Place, service: Sandbox) -> None:
    """A retry waits for failed/, and one pause says so, however often it is looked for."""
    service.add_fault(**REFUSED, times=1)
    place.drop("refused.wav")
    place.run_once()
    with queued(place, "good") as journey, listening() as log:
        journey.submissions[0].step()
        assert place.states()["good.wav"] is State.FILING
        place.retry("refused.wav")
        (place.root / "failed").rename(place.root / "aside")
        for _ in range(4):
            look(journey)
            drain(journey, seconds=20)
        assert place.states() == {"refused.wav": State.RETURNING, "good.wav": State.DONE}
        assert len(told(log, "submitting.paused")) == 1
        assert told(log, "recording.stuck") == []
        (place.root / "aside").rename(place.root / "failed")
        look(journey)
        drain(journey)
        assert len(told(log, "submitting.resumed")) == 1
    assert set(place.states().values()) == {State.DONE}


def test_a_verdict_that_comes_while_its_receipt_is_written_is_not_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt was composed before: it is written once more, and tells the verdict that stands in the books."""
    with queued(place, "one") as journey:
        drain(journey)
        with place.books() as books:
            verdict = books.verdicts.get(place.item_in(books, "one.wav").identifier)
            assert verdict is not None
            books.verdicts.put(replace(verdict, state=VerdictState.OVERDUE))
            books.filing.mark_receipts_due(verdict.identifier)
        known = replace(verdict, state=VerdictState.KNOWN, classification="artificial", confidence=0.9)
        write = Folder.write_whole

        def write_meanwhile(folder: Folder, path: bytes, data: bytes, *, replacing: bool, **more: Any) -> None:
            write(folder, path, data, replacing=replacing, **more)
            monkeypatch.setattr(Folder, "write_whole", write)
            with place.books() as books:
                books.verdicts.put(known)
                books.filing.mark_receipts_due(known.identifier)

        monkeypatch.setattr(Folder, "write_whole", write_meanwhile)
        step_out(journey)
    assert place.receipt("done/one.wav.json")["verdict"]["classification"] == "artificial"


@pytest.mark.parametrize(
    "other", [{"claim": "another"}, {"state": State.HELD}], ids=["in another's hands", "from where it cannot go"]
)
def test_a_row_that_cannot_be_changed_stops_no_other(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    """Of those that are recorded together, the others are recorded all the same."""
    with queued(place, "a", "b", "c") as journey:
        while State.QUEUED in place.states().values():
            place.clock.wait(max(journey.submissions[0].step(), 0.001), journey.stopping)
        record = Out.record

        def record_meanwhile(out: Out, books: Books, item: Item) -> None:
            record(out, books, replace(item, **other) if item.path == b"b.wav" else item)

        with monkeypatch.context() as patch:
            patch.setattr(Out, "record", record_meanwhile)
            step_out(journey)
            assert place.states() == {"a.wav": State.DONE, "b.wav": State.FILING, "c.wav": State.DONE}
            assert set(strangers()) == ({"held to done by file"} if "state" in other else set())
        tries(journey, [], 601)
    assert place.states()["b.wav"] is State.DONE


def verdicts(place: Place) -> list[Any]:
    found = [place.verdict(path) for path in place.items()]
    return [verdict for verdict in found if verdict is not None]


def said(place: Place, capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> str:
    capsys.readouterr()
    assert main([command, "--config", str(place.config_path), *arguments]) == Exit.WELL
    return capsys.readouterr().out


def test_the_receipt_of_thousands_of_requests_can_be_read(place: Place, service: Sandbox) -> None:
    """It tells the first and the last of them, and how many it leaves out; later news are written into it too."""
    requests = 5_000
    with queued(place, "call") as journey:
        with place.books() as books:
            item = place.item_in(books, "call.wav")
            for number in range(requests):
                at = place.clock.now()
                attempt = books.ledger.begin(item, at, no_cache=False, canary=False)
                detail = f"request {number}: " + "no answer\n\N{WARNING SIGN} " * 20
                books.ledger.end(
                    attempt, at, outcome="unanswered", charged=Charged.NO, decision="again", detail=detail
                )
        place.clock.wait(3600, journey.stopping)  # so that they count against no window
        drain(journey)
        first = place.receipt("done/call.wav.json")
        assert first["verdict"]["classification"] is None
        for _ in range(20):
            place.clock.wait(60, journey.stopping)
            journey.verdict_poller.step()
            journey.filing.step()
    receipt = place.receipt("done/call.wav.json")
    assert (place.root / "done/call.wav.json").stat().st_size < RESERVE_BYTES
    attempts, left_out = receipt["attempts"], receipt["attempts_left_out"]
    assert attempts[0]["detail"].startswith("request 0: ")
    assert attempts[-1]["outcome"] == "accepted"
    assert len(attempts) + left_out["number"] == requests + 1
    after = left_out["after"]
    assert attempts[after]["number"] - attempts[after - 1]["number"] == left_out["number"] + 1
    assert receipt["verdict"]["classification"] is not None


@pytest.mark.parametrize("lies_there", ["a pipe", "a link", "a link to nothing"])
def test_what_cannot_be_filed_and_so_is_not_sent_is_told(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], lies_there: str
) -> None:
    """`status` and `check` name it, how many there are, why, and what to do, while it is queued; then no more."""
    target = place.root / "done/sub"
    if lies_there == "a pipe":
        os.mkfifo(target)
    else:
        target.symlink_to(place.root if lies_there == "a link" else "/nowhere")
    place.drop("sub/a.wav", speech("a"))
    place.drop("sub/b.wav", speech("b"))
    place.drop("call.wav", speech("call"))
    assert place.run_once().exit_code == Exit.INCOMPLETE
    assert place.states() == {"sub/a.wav": State.QUEUED, "sub/b.wav": State.QUEUED, "call.wav": State.DONE}
    assert service.charged == 1
    words = ("sub/a.wav", "Not a directory", "move it aside")

    assert all(word in said(place, capsys, "status") for word in ("blocked      2 ", *words))
    told_to_programs = json.loads(said(place, capsys, "status", "--json"))
    assert told_to_programs["blocked_total"] == 2
    assert [one["path"] for one in told_to_programs["blocked"]] == ["sub/a.wav", "sub/b.wav"]
    assert main(["check", "--config", str(place.config_path)]) == Exit.INCOMPLETE
    checked = capsys.readouterr().out
    assert all(word in checked for word in ("blocked ", *words)), checked

    target.unlink()
    place.clock.wait(601, threading.Event())
    assert place.run_once().exit_code == Exit.WELL
    assert "blocked" not in said(place, capsys, "status")
    assert json.loads(said(place, capsys, "status", "--json"))["blocked"] == []


@pytest.mark.parametrize("made", ["nothing", "a folder", "no JSON", "brackets", "another's", "empty"])
def test_a_recording_whose_receipt_is_none_any_more_says_so(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], made: str
) -> None:
    """What lies in its place is left alone; the log says that no verdict got there, and `why` who tells it."""
    with queued(place, "call") as journey:
        drain(journey, seconds=1)
        assert place.states() == {"call.wav": State.DONE}
        receipt = place.root / "done/call.wav.json"
        receipt.unlink()
        if made == "a folder":
            receipt.mkdir()
        elif made != "nothing":
            receipt.write_text(
                {"brackets": "[" * 9_000, "another's": '{"id": "0"}', "empty": ""}.get(made, "none")
            )
        before = receipt.read_bytes() if receipt.is_file() else None
        with listening() as log:
            place.clock.wait(6, journey.stopping)
            while any(v.state is VerdictState.AWAITED for v in verdicts(place)):
                place.clock.wait(max(journey.verdict_poller.step(), 0.001), journey.stopping)
            drain(journey, seconds=1)
        assert place.item("call.wav").id in said(place, capsys, "why", "call.wav").split("watcher show")[1]
        assert len(told(log, "receipt.displaced")) == (made != "nothing")  # one that was collected stays away
        assert (receipt.read_bytes() if receipt.is_file() else None) == before


@pytest.mark.parametrize("fails_at", ["receipt", "move"])
def test_a_folder_that_cannot_be_synced_keeps_only_what_goes_there(
    place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    """Though all are synced together: nothing that rests on that sync is recorded, and the others are done."""
    names = ["good/a.wav", "bad/b.wav", "good/c.wav"]
    sync, is_bad = disk.sync, True

    def failing(opened: int) -> None:
        folder = os.readlink(f"/proc/self/fd/{opened}")
        if is_bad and folder.endswith("done/bad"):
            has_moved = any(name.endswith(".wav") for name in os.listdir(folder))
            if has_moved == (fails_at == "move"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(opened)

    monkeypatch.setattr(disk, "sync", failing)
    for name in names:
        place.drop(name, speech(name))
    with place.opened() as journey:
        settle(journey)
        drain(journey, seconds=1)
        assert place.states() == {"good/a.wav": State.DONE, "bad/b.wav": State.FILING, "good/c.wav": State.DONE}
        with place.books() as books:
            (stuck,) = books.obstacles.listed(10)
        assert stuck.path == b"bad/b.wav"
        is_bad = False
        drain(journey, seconds=600)
    assert set(place.states().values()) == {State.DONE}
    assert {name for name in place.files() if name.startswith("done/")} == {
        f"done/{name}{ending}" for name in names for ending in ("", ".json")
    }
    assert len([entry for entry in service.ledger if entry.method == "POST"]) == 3
