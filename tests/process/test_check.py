"""What `check` finds: everything that could go wrong, before it does; and beside a daemon it disturbs nothing.

It runs in the test's own process wherever no other process is what the test is about."""

import resource
import socket
from typing import Any

import pytest

from tests.places import KEY, Place
from tests.process.checks import Checked, checks_of, with_key
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Programs, posts
from watcher.cli import main
from watcher.domain import Pause, PauseKind
from watcher.errors import Exit
from watcher.sandbox import FaultKind, Sandbox
from watcher.store import revisions
from watcher.store.sqlite import SqliteDatabase

__all__ = ["with_key"]  # a fixture


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
        "spool",
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
    checked.is_now("database", "well", "does not exist yet")
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
    assert lines[-1].startswith("Correct: done folder, service. Until then `watcher run` does not start.")


def test_a_site_at_work_is_well(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folders are recognised, its database is whole, and its own reads are kept to."""
    place = make_place(limits={"reads": ["30/minute"]})
    place.drop("call.wav")
    place.run_once()
    asked = len(service.ledger)

    checked = Checked(place, capsys)

    assert checked.code == Exit.WELL
    checked.but()
    checked.is_now("database", "well", "intact", "has this version", "can be written")
    question = service.ledger[asked]
    assert question.asked == (place.item("call.wav").identifier,)
    assert service.charged == 1
    with place.books() as books:
        log = books.ledger.log("read", [1], place.clock.now())
    assert log.unended == 0
    counted_at = log.ends[1]
    assert counted_at is not None
    assert abs(question.time - counted_at) < 60


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
    """A person's is a warning; the account's stands in the way, since the credit cannot be asked for."""
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
    lesson = {"30/60": [0.5, place.clock.now() + 1000]}
    write_fact(place, "limits.writes.lowered", lesson)
    Checked(place, capsys).is_now("limits", "warning", "after a refusal", "limits.writes")


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
    file = place.config.books
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
    checked.is_now("database", "wrong", "not a database")


def test_a_clock_that_was_set_back_is_a_warning(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What was done already cannot lie in the future."""
    place.run_once()
    write_fact(place, "last_scan_at", place.clock.now() + 3600)

    checked = Checked(place, capsys)

    assert checked.code == Exit.WELL
    checked.is_now("clock", "warning", "the last scan was at", "timedatectl")


def test_a_wrong_configuration_ends_it_as_any_command(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """78, and nothing on standard output."""
    place.configure(arrivals={"setle_seconds": 3})
    assert main(["check", "--config", str(place.config_path), "--json"]) == Exit.CONFIG
    said = capsys.readouterr()
    assert said.out == ""
    assert "settle_seconds" in said.err


# Beside a daemon, and on a machine without a terminal


def test_beside_a_running_daemon_it_disturbs_nothing(place: Place, service: Sandbox, watcher: Programs) -> None:
    """The daemon is named, which is well; it notices none of the trials, and recordings go on being filed."""
    daemon = watcher.daemon(place)
    place.drop("one.wav")
    daemon.wait_for("recording.done")

    for _ in range(3):
        checks = checks_of(watcher.call("check", "--json", "--config", place.config_path))
        assert {check["state"] for check in checks.values()} == {"well"}, checks
        assert f"process {daemon.pid}" in checks["daemon"]["found"]
    place.drop("two.wav")
    daemon.wait_for("recording.done", 2)

    assert daemon.stop() == Exit.WELL
    assert not {line["level"] for line in daemon.log} & {"warning", "error", "critical"}
    assert not {path for path in place.root.rglob("*") if ".watcher-" in path.name}
    assert len(posts(service)) == service.charged == 2
    checks = checks_of(watcher.call("check", "--json", "--config", place.config_path))
    assert "not running" in checks["daemon"]["found"]


def test_a_daemon_that_was_killed_is_not_taken_for_a_running_one(place: Place, watcher: Programs) -> None:
    """Its note is still in the lock's file, but the lock died with it."""
    daemon = watcher.daemon(place)
    daemon.kill()
    assert str(daemon.pid) in (place.root / "drop" / ".watcher.lock").read_text()

    checks = checks_of(watcher.call("check", "--json", "--config", place.config_path))

    assert "not running" in checks["daemon"]["found"]
    watcher.daemon(place)


def test_it_is_plain_text_where_there_is_no_terminal_and_sees_a_low_limit(place: Place, watcher: Programs) -> None:
    """No colours in a pipe; too few open files are a warning, and say where to raise them."""
    program = watcher.call(
        *("check", "--config", place.config_path),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)),
    )
    assert program.process.returncode == Exit.WELL, program.out + program.err
    assert "\x1b" not in program.out
    assert "warning     open files     100 at the same time" in program.out
    assert "LimitNOFILE=" in program.out
    assert program.out.splitlines()[-1] == "Nothing is wrong; 1 warning. Next: `watcher run`."


def test_its_help_tells_the_exit_codes(watcher: Programs) -> None:
    """What a script may rely on stands where a person looks for it."""
    program = watcher.call("check", "--help", environment=ENVIRONMENT)
    assert program.process.returncode == Exit.WELL
    assert all(word in program.out for word in ("--config", "--json", "no credit", "exit codes", "69", "78"))
    assert all(len(line) <= 115 for line in program.out.splitlines())
