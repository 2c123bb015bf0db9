"""An answer that the database does not take: it is told at once, and no stop passes over it."""

import json
import os

import pytest

from tests.people import STRANGER, needs_root
from tests.places import Place
from tests.process.conftest import MakePlace
from tests.process.programs import Program, Programs, mend, posts, spoil, wait_until
from tests.queues import listening, queued, told
from watcher.domain import State
from watcher.errors import Exit, StoreError
from watcher.journey.submit import journal
from watcher.sandbox import Sandbox

ANSWERS = "UPDATE OF ended_at ON attempts"


@pytest.fixture
def site(make_place: MakePlace) -> Place:
    """Where an answer that was lost would be a person's to decide."""
    return make_place(identifai={"in_doubt": "hold"})


def unrecorded(program: Program) -> dict[str, object]:
    """The one line that has the answer."""
    (line,) = program.wait_for("answer.unrecorded")
    return line


def test_an_identifier_that_cannot_be_recorded_stands_in_the_log_and_in_the_exit_code(
    site: Place, service: Sandbox, watcher: Programs
) -> None:
    """Once, with its recording and what to do. A stop tries again, and says by its code that it could not."""
    daemon = watcher.daemon(site)
    daemon.wait_for("watch.chosen")
    spoil(site, ANSWERS)
    site.drop("call.wav")
    line = unrecorded(daemon)
    wait_until(lambda: len(daemon.events("step.failed")) >= 2, "it is tried again")

    assert daemon.stop() == Exit.INCOMPLETE

    (upload,) = posts(service)
    assert (line["level"], line["identifier"], line["path"]) == ("error", upload.identifier, "call.wav")
    assert "database" in str(line["hint"])
    assert len(daemon.events("answer.unrecorded")) == 1


def test_a_stop_records_what_can_be_recorded_by_then(site: Place, service: Sandbox, watcher: Programs) -> None:
    """Whatever the wait before the next try: the daemon ends well, and the next one files the recording."""
    daemon = watcher.daemon(site)
    daemon.wait_for("watch.chosen")
    spoil(site, ANSWERS)
    site.drop("call.wav")
    unrecorded(daemon)
    wait_until(lambda: len(daemon.events("step.failed")) >= 3, "the next try is some seconds off")
    mend(site)

    assert daemon.stop() == Exit.WELL

    (upload,) = posts(service)
    assert site.item("call.wav").identifier == upload.identifier
    watcher.daemon(site).wait_for("recording.done")


@pytest.mark.parametrize("has_room", [True, False], ids=["beside the database", "in the drop folder"])
@pytest.mark.parametrize("ends", ["killed", "stopped"])
def test_an_identifier_that_could_not_be_recorded_outlives_the_process(
    site: Place, service: Sandbox, watcher: Programs, ends: str, has_room: bool
) -> None:
    """The next start has it from the disk: nothing is in doubt, and the recording is filed, paid for once."""
    beside = site.config.books.with_name(site.config.books.name + "-answers")
    in_drop = site.root / "drop" / ".watcher-answers.tmp"
    if not has_room:
        beside.mkdir()  # whatever the reason: no file can be written there
    daemon = watcher.daemon(site)
    daemon.wait_for("watch.chosen")
    spoil(site, ANSWERS)
    site.drop("call.wav")
    line = unrecorded(daemon)
    kept = beside if has_room else in_drop
    (told,) = daemon.wait_for("answer.kept")
    assert told["identifier"] == line["identifier"]
    assert str(kept) in str(told["reason"])
    assert kept.is_file()
    daemon.kill() if ends == "killed" else daemon.stop()
    with kept.open("ab") as file:
        file.write(b'{"attempt": 1, "item": "')  # as a crash may leave it
    mend(site)

    daemon = watcher.daemon(site)

    daemon.wait_for("recording.done")
    (upload,) = posts(service)
    assert site.item("call.wav").identifier == upload.identifier
    assert site.states() == {"call.wav": State.DONE}
    assert not kept.exists()
    assert daemon.stop() == Exit.WELL


def test_the_log_has_the_identifier_before_any_disk_is_asked_to_keep_it(
    site: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk that the database cannot write may not answer, nor the drop folder's server."""
    with queued(site, "call") as journey, listening() as lines:
        spoil(site, ANSWERS)

        def keep(*_: object) -> None:
            (line,) = told(lines, "answer.unrecorded")
            assert line["identifier"] == posts(service)[0].identifier
            raise KeyboardInterrupt

        monkeypatch.setattr(journal, "keep", keep)
        with pytest.raises(KeyboardInterrupt):
            journey.submissions[0].step()
        mend(site)


@pytest.mark.parametrize("has_room", [True, False], ids=["beside the database", "in the drop folder"])
def test_what_root_keeps_can_be_read_by_the_service_s_user(site: Place, service: Sandbox, has_room: bool) -> None:
    """The next start may be that user's."""
    needs_root()
    beside = site.config.books.with_name(site.config.books.name + "-answers")
    if not has_room:
        beside.mkdir()
    with queued(site, "call") as journey:
        os.chown(site.config.books, STRANGER.uid or 0, -1)
        spoil(site, ANSWERS)
        with pytest.raises(StoreError):
            journey.submissions[0].step()
        kept = beside if has_room else site.root / "drop" / ".watcher-answers.tmp"
        assert kept.stat().st_uid == STRANGER.uid
        mend(site)


def test_a_stranger_s_file_of_answers_is_believed_by_nobody(
    site: Place, service: Sandbox, watcher: Programs
) -> None:
    """A link, or what is no JSON: the start goes on as without it."""
    (site.root / "drop" / ".watcher-answers.tmp").symlink_to("/etc/passwd")
    beside = site.config.books.with_name(site.config.books.name + "-answers")
    beside.write_bytes(b"[" * 100_000 + b"\n{}\n[1]\nnull\n")
    daemon = watcher.daemon(site)
    site.drop("call.wav")
    daemon.wait_for("recording.done")
    assert daemon.stop() == Exit.WELL


@pytest.mark.parametrize("in_flight", [1, 2])
def test_a_pass_that_ends_on_its_database_tells_the_answer_and_sends_no_more(
    make_place: MakePlace, service: Sandbox, watcher: Programs, in_flight: int
) -> None:
    """`run --once`: the identifiers stand in the log, and what waits behind them is not paid for."""
    site = make_place(identifai={"in_doubt": "hold"}, limits={"in_flight": in_flight})
    assert watcher.call("run", "--once", "--config", site.config_path).process.returncode == Exit.WELL
    spoil(site, ANSWERS)
    for number in range(6):
        site.drop(f"{number}.wav")

    program = watcher.call("run", "--once", "--config", site.config_path, seconds=60)

    assert program.process.returncode not in (Exit.WELL, None)
    identifiers = {upload.identifier for upload in posts(service)}
    lines = [
        json.loads(line) for line in program.err.splitlines() if line.startswith("{")
    ]  # then the error itself
    told = {line["identifier"] for line in lines if line["event"] == "answer.unrecorded"}
    assert told == identifiers
    assert 1 <= len(identifiers) <= in_flight
    mend(site)
    assert all(state in (State.QUEUED, State.SUBMITTING) for state in site.states().values())
