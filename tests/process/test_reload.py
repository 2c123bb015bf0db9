"""SIGHUP, and a key that was replaced: what can be read again is, what cannot is named, and the work goes on."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.places import KEY, Place
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Program, Programs, posts, wait_until
from watcher.domain import State
from watcher.sandbox import Sandbox
from watcher.text import JsonObject

WRONG_KEY = "an-old-key-for-tests"


def hang_up(daemon: Program, count: int = 1) -> JsonObject:
    """It was told, and has read; its log's last word of that."""
    daemon.process.send_signal(signal.SIGHUP)
    return daemon.wait_for("configuration.reread", count)[-1]


def settings(place: Place, **changed: dict[str, Any]) -> None:
    """The configuration is the quick one with these changes."""
    quick: dict[str, dict[str, Any]] = {
        "limits": {"writes": [], "reads": []},
        "arrivals": {"settle_seconds": 0.3, "unclosed_seconds": 3, "rescan_seconds": 1},
        "retry": {"first_seconds": 0.2, "max_seconds": 0.5},
        "verdicts": {"first_seconds": 0.1, "max_seconds": 0.5},
    }
    place.configure(**{name: quick.get(name, {}) | changed.get(name, {}) for name in quick | changed})


@pytest.fixture(autouse=True)
def _sighup() -> Iterator[None]:
    """Programs that are started here heed it, even where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def key_file(place: Place) -> Path:
    """The place's key, in its file."""
    path = place.root / "identifai.key"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


def with_key_file(watcher: Programs, place: Place) -> Program:
    return watcher.daemon(place, environment=ENVIRONMENT)


def test_limits_and_log_are_read_again_and_the_rest_is_named(place: Place, watcher: Programs) -> None:
    """By key, with the advice to restart; the daemon goes on, and `status` and `check` tell the same."""
    daemon = watcher.daemon(place)
    assert watcher.ask_json(place, "status")[0]["outdated"] == []
    settings(place, limits={"in_flight": 3, "per_day": 7}, log={"level": "debug"}, arrivals={"marker": ".done"})
    (line,) = watcher.ask_json(place, "status")[0]["outdated"]
    assert (
        "The configuration was changed after the daemon read it: reload it with `systemctl reload watcher`" in line
    )

    told = hang_up(daemon)

    assert told["changed"] == ["limits.per_day", "log.level"]
    assert told["needs_restart"] == ["limits.in_flight", "arrivals.marker"]
    (warning,) = daemon.events("configuration.needs_restart")
    assert "systemctl restart watcher" in warning["hint"]
    (line,) = watcher.ask_json(place, "status")[0]["outdated"]
    assert "limits.in_flight, arrivals.marker" in line
    assert "outdated     Changed" in watcher.ask(place, "status")
    checked = watcher.call("check", "--config", place.config_path, "--json")
    assert "limits.in_flight, arrivals.marker" in checked.out
    place.drop("call.wav")
    daemon.wait_for("recording.done")
    assert daemon.stop() == 0
    assert watcher.ask_json(place, "status")[0]["outdated"] == []


def test_a_configuration_that_is_wrong_is_told_and_the_old_one_goes_on(place: Place, watcher: Programs) -> None:
    """With the line; mended, it is taken."""
    daemon = watcher.daemon(place)
    good = place.config_path.read_text()
    place.config_path.write_text(good + '[log]\nlevel = "loud"\n')
    daemon.process.send_signal(signal.SIGHUP)
    (refused,) = daemon.wait_for("configuration.refused")
    assert "log.level" in refused["reason"]
    assert f"(at line {len(good.splitlines()) + 2})" in refused["reason"]
    place.drop("call.wav")
    daemon.wait_for("recording.done")
    place.config_path.write_text(good)
    assert hang_up(daemon)["changed"] == []
    assert daemon.stop() == 0


def test_a_narrower_window_counts_what_was_sent_before_it(
    place: Place, watcher: Programs, service: Sandbox
) -> None:
    """Uploads that no window was kept for, or only a shorter one, count from the first moment of the new one."""
    daemon = watcher.daemon(place)
    for number in range(3):
        place.drop(f"{number}.wav")
    daemon.wait_for("recording.done", 3)
    settings(place, limits={"writes": ["3/hour"]})
    assert hang_up(daemon)["changed"] == ["limits.writes"]
    place.drop("fourth.wav")
    daemon.wait_for("recording.queued", 4)
    settings(place, limits={"writes": ["3/hour"]}, log={"level": "debug"})
    hang_up(daemon, 2)  # whatever is due was looked at in between
    assert len(posts(service)) == 3
    assert place.states()["fourth.wav"] is State.QUEUED
    settings(place, limits={"writes": ["4/hour"]})
    hang_up(daemon, 3)
    daemon.wait_for("recording.done", 4)
    assert daemon.stop() == 0


@pytest.mark.parametrize("how", ["by itself", "SIGHUP", "resume"])
def test_a_key_that_was_replaced_ends_the_pause_without_a_start(
    how: str, make_place: MakePlace, watcher: Programs, tmp_path: Path
) -> None:
    """Read again before each try. Neither the new key nor the old one stands in anything that is written."""
    patience = {"first_seconds": 0.2, "max_seconds": 0.5} if how == "by itself" else {"first_seconds": 600}
    place = make_place(retry={"max_seconds": 600} | patience)
    key_file = place.root / "identifai.key"
    key_file.write_text(WRONG_KEY)
    key_file.chmod(0o600)
    daemon = with_key_file(watcher, place)
    place.drop("call.wav")
    (paused,) = daemon.wait_for("submitting.paused")
    assert paused["kind"] == "account"
    key_file.write_text(f"{KEY}\n")
    if how == "SIGHUP":
        assert "another one was read from" in hang_up(daemon)["key"]
    if how != "by itself":
        watcher.ask(place, "resume")

    daemon.wait_for("recording.done")

    assert daemon.wait_for("key.renewed")
    assert daemon.stop() == 0
    key_file.unlink()
    keys = [KEY.encode(), WRONG_KEY.encode()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if any(key in path.read_bytes() for key in keys)] == []


def test_a_key_that_was_replaced_stays_out_of_what_the_service_repeats(
    place: Place, key_file: Path, watcher: Programs, service: Sandbox
) -> None:
    """The one before too: in the log, the books and the receipts."""
    other = "another-key-for-tests"
    daemon = with_key_file(watcher, place)
    key_file.write_text(other)
    hang_up(daemon)
    service.add_fault(
        "status", status=400, body={"error": f"The file format of {KEY} and {other} is bad."}, times=9
    )
    place.drop("call.wav")
    wait_until(lambda: place.states().get("call.wav") in (State.FAILED, State.QUEUED), "it was tried")
    wait_until(lambda: posts(service) or daemon.events("submitting.paused"), "it was asked")
    assert daemon.stop() == 0
    texts = [path.read_bytes() for path in place.root.rglob("*") if path.is_file() and path != key_file]
    texts += [daemon.err.encode()]
    assert not any(key.encode() in text for key in (KEY, other) for text in texts)


def test_a_key_file_that_holds_no_key_is_told_once_and_the_old_key_goes_on(
    place: Place, key_file: Path, watcher: Programs
) -> None:
    daemon = with_key_file(watcher, place)
    key_file.write_text("two\nlines\n")
    hang_up(daemon)
    hang_up(daemon, 2)
    (refused,) = daemon.events("key.refused")
    assert "has more than one line" in refused["reason"]
    place.drop("call.wav")
    daemon.wait_for("recording.done")
    assert daemon.stop() == 0


def test_a_key_file_that_was_changed_is_told_by_status(place: Place, key_file: Path, watcher: Programs) -> None:
    daemon = with_key_file(watcher, place)
    assert watcher.ask_json(place, "status")[0]["outdated"] == []
    key_file.write_text("another-key-for-tests")
    (line,) = watcher.ask_json(place, "status")[0]["outdated"]
    assert "The key file was changed after the daemon read it" in line
    hang_up(daemon)
    assert watcher.ask_json(place, "status")[0]["outdated"] == []
    assert daemon.stop() == 0


@pytest.mark.parametrize("kind", ["environment", "credential"])
def test_a_key_that_cannot_change_while_the_service_runs_is_told_so(
    kind: str, place: Place, watcher: Programs, tmp_path: Path
) -> None:
    """SIGHUP says what is true: only a restart has another one."""
    environment = ENVIRONMENT | {"IDENTIFAI_API_KEY": KEY}
    if kind == "credential":
        credentials = tmp_path / "credentials"
        credentials.mkdir()
        (credentials / "identifai.key").write_text(KEY)
        environment = ENVIRONMENT | {"CREDENTIALS_DIRECTORY": str(credentials)}
    daemon = watcher.daemon(place, environment=environment)
    assert "restart it to change the key" in hang_up(daemon)["key"]
    assert daemon.stop() == 0


# Whoever loses the terminal, and a pass


def on_terminal(
    place: Place, *arguments: str, prefix: tuple[str, ...] = ()
) -> tuple[subprocess.Popen[bytes], int]:
    """The program, at a terminal of its own that controls it; and the terminal's other side."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "watcher", "run", *arguments, "--config", str(place.config_path)],
        stdin=its,
        stdout=its,
        stderr=its,
        env=ENVIRONMENT | {"IDENTIFAI_API_KEY": KEY, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(its)
    return process, ours


def at_work(place: Place) -> None:
    def look() -> bool:
        with place.books() as books:
            return books.site.get("last_scan_at") is not None

    wait_until((place.root / "watcher.db").exists, "it has begun")
    wait_until(look, "it is at work")


def test_a_terminal_that_is_closed_stops_the_daemon_at_it(place: Place) -> None:
    """As SIGTERM does: in order, with exit code 0."""
    process, ours = on_terminal(place)
    try:
        at_work(place)
        os.close(ours)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_sighup_is_no_closed_terminal(place: Place) -> None:
    """At a terminal that is still there it means: read again."""
    process, ours = on_terminal(place)
    try:
        at_work(place)
        process.send_signal(signal.SIGHUP)
        said = b""
        while b"configuration.reread" not in said:
            said += os.read(ours, 65536)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_pass_stops_at_sighup_as_at_sigterm(place: Place, watcher: Programs, service: Sandbox) -> None:
    """An upload under way is finished, so that nothing is paid twice."""
    service.latency_seconds = 0.5
    for number in range(24):
        place.drop(f"{number}.wav")
    program = watcher.start("run", "--once", "--config", place.config_path)
    program.wait_for("recording.submitted")
    assert program.end(signal.SIGHUP) in (0, 1)
    states = list(place.states().values())
    assert State.SUBMITTING not in states
    assert State.QUEUED in states
    service.latency_seconds = 0
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == 0
    assert service.charged == 24


def test_a_daemon_that_waits_for_its_folder_outlives_a_sighup(place: Place, watcher: Programs) -> None:
    """As logrotate sends it; what it was told is done once the folder is there."""
    daemon = watcher.daemon(place)
    assert daemon.stop() == 0
    (place.root / "drop").rename(place.root / "away")
    waiting = watcher.start("run", "--config", place.config_path)
    waiting.wait_for("submitting.paused")
    waiting.process.send_signal(signal.SIGHUP)
    (place.root / "away").rename(place.root / "drop")
    waiting.wait_for("daemon.started")
    waiting.wait_for("configuration.reread")
    assert waiting.stop() == 0


def test_a_key_that_was_read_again_by_itself_is_not_told_as_outdated(
    make_place: MakePlace, watcher: Programs
) -> None:
    place = make_place()
    key_file = place.root / "identifai.key"
    key_file.write_text(WRONG_KEY)
    key_file.chmod(0o600)
    daemon = with_key_file(watcher, place)
    place.drop("call.wav")
    daemon.wait_for("submitting.paused")
    key_file.write_text(KEY)
    daemon.wait_for("recording.done")
    assert watcher.ask_json(place, "status")[0]["outdated"] == []
    assert daemon.stop() == 0
