"""A recording that somebody writes on, or changes, after it was filed: found, named, and what to do is said."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakePlace
from tests.places import REFUSED, Place, speech
from tests.queues import drain, listening, queued, told
from watcher import once
from watcher.cli import main
from watcher.composition import Journey
from watcher.domain import State, VerdictState
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.text import JsonObject

CALL = speech("call")


def said(
    place: Place, capsys: pytest.CaptureFixture[str], command: str, *arguments: str, code: int = Exit.WELL
) -> str:
    capsys.readouterr()
    assert main([command, "--config", str(place.config_path), *arguments]) == code
    return capsys.readouterr().out


def listed(place: Place, capsys: pytest.CaptureFixture[str]) -> dict[str, JsonObject]:
    lines = said(place, capsys, "list", "--json").splitlines()
    return {item["path"]: item for item in map(json.loads, lines)}


def fetch_verdicts(place: Place, journey: Journey) -> None:
    place.clock.wait(6, journey.stopping)
    while any(place.verdict(path).state is VerdictState.AWAITED for path in place.items()):  # type: ignore[union-attr]
        place.clock.wait(max(journey.verdict_poller.step(), 0.001), journey.stopping)
    while journey.filing.step() <= 0:
        pass


def test_a_recording_that_its_writer_goes_on_writing_is_found_with_the_verdict(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Item, receipt, log, status, why, show and check name it as grown, once in the log, and say what to do."""
    with queued(place, call=CALL) as journey, listening() as log:
        writer = (place.root / "drop/call.wav").open("ab")  # as a recorder would that nobody could see
        drain(journey)
        assert place.states() == {"call.wav": State.DONE}
        with writer:
            writer.write(bytes(36_000))
        fetch_verdicts(place, journey)
        (line,) = told(log, "recording.grown")
        assert (line["size_judged"], line["size"]) == (len(CALL), len(CALL) + 36_000)
    item = listed(place, capsys)["call.wav"]
    assert item["grown"]["size"] == len(CALL) + 36_000
    assert item["changed"] is None
    receipt = place.receipt("done/call.wav.json")
    assert receipt["grown"] == item["grown"]
    assert receipt["verdict"]["state"] == "known"
    assert "back into the drop folder" in receipt["grown"]["hint"]
    status = json.loads(said(place, capsys, "status", "--json"))
    assert (status["grown"], status["changed"]) == (1, 0)
    assert [one["path"] for one in status["altered"]] == ["call.wav"]
    words = f"grew after it was filed, from {len(CALL):,} to {len(CALL) + 36_000:,} bytes"
    for command, arguments in (("status", []), ("show", ["call.wav"]), ("why", ["call.wav"])):
        assert words in said(place, capsys, command, *arguments)
    assert "done, grown" in said(place, capsys, "list")
    assert f"wrong: {item['id'][:6]} call.wav: It grew" in said(place, capsys, "reconcile", code=Exit.INCOMPLETE)


def test_what_was_told_to_do_is_all_there_is_to_do(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Moved back it is a recording of its own, submitted whole; nothing is wrong any more."""
    place.drop("a/call.wav", CALL)
    place.run_once()
    grown = place.root / "done/a/call.wav"
    with grown.open("ab") as writer:
        writer.write(speech("more")[44:])
    said(place, capsys, "reconcile", code=Exit.INCOMPLETE)
    os.rename(grown, place.root / "drop/a/call.wav")

    place.run_once()

    assert service.charged == 2
    assert json.loads(said(place, capsys, "status", "--json"))["grown"] == 0
    assert "add up" in said(place, capsys, "reconcile")


def test_without_verdicts_it_is_found_soon_after(make_place: MakePlace, service: Sandbox) -> None:
    """A look some seconds after it was filed, one after a minute and one after ten, and no more."""
    place = make_place(verdicts={"fetch": False})
    with queued(place, call=CALL) as journey, listening() as log:
        drain(journey)
        writer = (place.root / "done/call.wav").open("ab")
        for seconds in (11, 50, 300):
            writer.write(bytes(1000))
            writer.flush()
            place.clock.wait(seconds, journey.stopping)
            while journey.filing.step() <= 0:
                pass
        writer.close()
        assert len(told(log, "recording.grown")) == 1
        assert place.receipt("done/call.wav.json")["grown"]["size"] == len(CALL) + 2000  # as of the second look
        place.clock.wait(300, journey.stopping)
        while journey.filing.step() <= 0:
            pass
        assert place.receipt("done/call.wav.json")["grown"]["size"] == len(CALL) + 3000


def test_one_pass_looks_once_more_before_it_ends(
    make_place: MakePlace, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For cron: what was written on while the pass was under way is told by its own log and receipt."""
    place = make_place(verdicts={"fetch": False}, limits={"writes": []})
    place.drop("call.wav", CALL)
    with place.opened(once=True) as journey:
        tell = journey.filing._tell_filed

        def write_on(item: Any) -> None:
            tell(item)
            with (place.root / "done/call.wav").open("ab") as writer:
                writer.write(b"more")

        monkeypatch.setattr(journey.filing, "_tell_filed", write_on)
        once.run_once(journey)
    assert place.receipt("done/call.wav.json")["grown"]["size"] == len(CALL) + 4


def test_reconcile_finds_it_by_itself_and_the_daemon_writes_the_receipt(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long after the verdict: item and status name it at once, receipt and log with the next step."""
    place.drop("call.wav", CALL)
    place.run_once(verdicts=True)
    with (place.root / "done/call.wav").open("ab") as writer:
        writer.write(b"more")
    assert listed(place, capsys)["call.wav"]["grown"] is None

    told_there = said(place, capsys, "reconcile", code=Exit.INCOMPLETE)

    assert f"It grew after it was filed, from {len(CALL):,} to {len(CALL) + 4:,} bytes" in told_there
    assert listed(place, capsys)["call.wav"]["grown"]["size"] == len(CALL) + 4
    assert json.loads(said(place, capsys, "status", "--json"))["grown"] == 1
    with place.opened() as journey, listening() as log:
        while journey.filing.step() <= 0:
            pass
        assert len(told(log, "recording.grown")) == 1
        with place.books() as books:
            books.filing.mark_receipts_due(place.item_in(books, "call.wav").identifier or "")
        while journey.filing.step() <= 0:
            pass
        assert len(told(log, "recording.grown")) == 1
    said(place, capsys, "reconcile", code=Exit.INCOMPLETE)
    with place.books() as books:
        assert books.filing.with_any_receipt_due() == []  # nothing is news
    assert place.receipt("done/call.wav.json")["grown"]["size"] == len(CALL) + 4


def touch(path: Path) -> None:
    os.utime(path, ns=(10**18, 10**18))


def chmod(path: Path) -> None:
    path.chmod(0o600)


def rewrite(path: Path) -> None:
    path.write_bytes(CALL)


def copy_over(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_bytes(CALL)
    fresh.replace(path)


def collect(path: Path) -> None:
    path.unlink()


def collect_both(path: Path) -> None:
    path.unlink()
    path.with_name("call.wav.json").unlink()


@pytest.mark.parametrize("deed", [touch, chmod, rewrite, copy_over, collect, collect_both])
def test_what_leaves_its_bytes_alone_is_nothing(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], deed: Callable[[Path], None]
) -> None:
    """A touch, a chmod, the same bytes once more; nor is a recording grown that was collected."""
    with queued(place, call=CALL) as journey, listening() as log:
        drain(journey)
        deed(place.root / "done/call.wav")
        fetch_verdicts(place, journey)
        for seconds in (11, 60, 600):
            place.clock.wait(seconds, journey.stopping)
            while journey.filing.step() <= 0:
                pass
        assert told(log, "recording.grown", "recording.changed") == []
    item = listed(place, capsys)["call.wav"]
    assert (item["grown"], item["changed"]) == (None, None)
    status = json.loads(said(place, capsys, "status", "--json"))
    assert (status["grown"], status["changed"], status["altered"]) == (0, 0, [])


def shorten(path: Path) -> None:
    os.truncate(path, 1000)


def tag(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"other bytes")


@pytest.mark.parametrize(("deed", "words"), [(shorten, "it has 1,000 bytes, and had"), (tag, "its bytes are not")])
def test_what_a_person_changed_is_told_as_that(
    place: Place,
    service: Sandbox,
    capsys: pytest.CaptureFixture[str],
    deed: Callable[[Path], None],
    words: str,
) -> None:
    """Shorter, or as long and of other bytes: not grown, and the verdict is of what it was."""
    with queued(place, call=CALL) as journey, listening() as log:
        drain(journey)
        deed(place.root / "done/call.wav")
        fetch_verdicts(place, journey)
        assert len(told(log, "recording.changed")) == 1
        assert told(log, "recording.grown") == []
    receipt = place.receipt("done/call.wav.json")
    assert receipt["grown"] is None
    assert words in receipt["changed"]["message"]
    assert json.loads(said(place, capsys, "status", "--json"))["changed"] == 1
    assert words in said(place, capsys, "why", "call.wav")


def test_what_failed_and_grew_is_looked_at_anew_by_a_retry(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hint says so; once it is done it is not grown any more."""
    service.add_fault(**REFUSED, times=1)
    place.drop("call.wav", CALL)
    place.run_once()
    assert place.states() == {"call.wav": State.FAILED}
    with (place.root / "failed/call.wav").open("ab") as writer:
        writer.write(bytes(1000))
    told_there = said(place, capsys, "reconcile", code=Exit.INCOMPLETE)
    assert "It grew after it was filed" in told_there
    assert "watcher retry" in told_there
    said(place, capsys, "retry", "call.wav")

    place.run_once()

    assert place.states() == {"call.wav": State.DONE}
    assert listed(place, capsys)["call.wav"]["grown"] is None
    assert "add up" in said(place, capsys, "reconcile")


def test_on_another_disk_with_coarse_times_nothing_is_grown(
    place: Place, service: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """FAT keeps two seconds: the books are not wrong for that, and nothing is read for it."""
    place.drop("call.wav", CALL)
    place.run_once(verdicts=True)
    filed = place.root / "done/call.wav"
    coarse = filed.stat().st_mtime_ns // (2 * 10**9) * 2 * 10**9
    os.utime(filed, ns=(coarse, coarse))
    filed.write_bytes(bytes(len(CALL)))  # would be found, were it read
    os.utime(filed, ns=(coarse, coarse))

    assert "add up" in said(place, capsys, "reconcile")
