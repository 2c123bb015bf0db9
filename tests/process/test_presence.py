"""Whether a daemon works: said first by `status`, and the same by whoever else is asked."""

import os
import signal
from pathlib import Path

import pytest

from tests.places import Place
from tests.process.conftest import MakePlace
from tests.process.programs import Programs, wait_until
from watcher.errors import Exit
from watcher.sandbox import FaultKind, Sandbox
from watcher.text import JsonObject


def daemon_of(watcher: Programs, place: Place) -> JsonObject:
    (facts,) = watcher.ask_json(place, "status")
    told: JsonObject = facts["daemon"]
    first = watcher.ask(place, "status").splitlines()[0]
    assert first.startswith(f"daemon       {told['state']}"), (first, told)
    return told


def test_the_first_line_of_status_says_whether_it_runs_and_since_when(place: Place, watcher: Programs) -> None:
    """Before the first start, at work, stopped by a signal, going on, ended well, and killed."""
    told = daemon_of(watcher, place)
    assert (told["state"], told["running"], told["since"]) == ("not running", False, None)
    assert "never" in told["reason"]
    daemon = watcher.daemon(place)
    told = daemon_of(watcher, place)
    assert (told["state"], told["running"], told["pid"], told["once"]) == ("running", True, daemon.pid, False)
    assert told["since"] == daemon_of(watcher, place)["since"] is not None
    began = told["since"]

    daemon.process.send_signal(signal.SIGSTOP)
    told = wait_until(lambda: (one := daemon_of(watcher, place))["state"] == "hung" and one, "it hangs")
    assert isinstance(told, dict)
    assert (told["running"], told["pid"], told["since"]) == (False, daemon.pid, began)
    assert "SIGSTOP" in told["reason"]
    line = watcher.ask(place, "status").splitlines()[0]
    assert f"process {daemon.pid}" in line
    check = watcher.call("check", "--config", place.config_path)
    assert check.process.returncode == Exit.INCOMPLETE
    assert "and hangs: it was stopped" in check.out
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: daemon_of(watcher, place)["state"] == "running", "it goes on")

    assert daemon.stop() == Exit.WELL
    told = daemon_of(watcher, place)
    assert (told["state"], told["pid"]) == ("not running", None)
    assert told["since"] > began
    ended = told["since"]
    again = watcher.daemon(place)
    assert daemon_of(watcher, place)["since"] > ended
    again.kill()
    told = daemon_of(watcher, place)
    assert told["state"] == "not running"
    assert told["since"] > ended


def test_why_says_that_the_daemon_hangs(place: Place, service: Sandbox, watcher: Programs) -> None:
    """A recording that is being sent by a process that stands still is not just being sent."""
    service.add_fault(FaultKind.SLOW_BEFORE, times=1, seconds=30)
    daemon = watcher.daemon(place)
    place.drop("one.wav")
    wait_until(lambda: "is being sent now." in watcher.ask(place, "why", "one.wav"), "it is being sent")
    daemon.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: "But the daemon hangs" in watcher.ask(place, "why", "one.wav"), "why tells")
    daemon.process.send_signal(signal.SIGCONT)


def test_a_pass_is_no_daemon(make_place: MakePlace, service: Sandbox, watcher: Programs) -> None:
    """`run --once` is told as what it is while it works."""
    place = make_place(arrivals={"settle_seconds": 60, "unclosed_seconds": 60, "proof": False})
    place.drop("one.wav")
    program = watcher.start("run", "--once", "--config", place.config_path)

    def is_under_way() -> bool:
        (facts,) = watcher.ask_json(place, "status")
        told = facts["daemon"]
        return bool(told["once"] and told["pid"] == program.pid)

    wait_until(is_under_way, "the pass is told", told=lambda: program.err)
    assert watcher.ask(place, "status").startswith(
        "daemon       not running; a pass (`watcher run --once`) is under"
    )
    program.kill()


@pytest.mark.parametrize("command", [("pause",), ("resume",)])
def test_a_backlog_is_never_none_while_something_is_queued(
    command: tuple[str, ...], make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Without rate windows, under a pause and after it: its number, and what it waits for."""
    place = make_place(limits={"writes": [], "reads": []})
    for name in ("one.wav", "two.wav"):
        place.drop(name)
    watcher.ask(place, "pause")
    watcher.call("run", "--once", "--config", place.config_path)
    watcher.ask(place, *command)

    (facts,) = watcher.ask_json(place, "status")
    (line,) = (one for one in watcher.ask(place, "status").splitlines() if one.startswith("backlog"))

    assert facts["backlog"] == 2
    assert line.startswith("backlog      2 recordings, as fast as the service answers")
    assert ("once submitting resumes" in line) == (command == ("pause",))


def test_less_than_a_second_is_not_nothing(make_place: MakePlace, watcher: Programs) -> None:
    """One recording at ten a second."""
    place = make_place(limits={"writes": ["10/second"]})
    place.drop("one.wav")
    watcher.ask(place, "pause")
    watcher.call("run", "--once", "--config", place.config_path)
    assert "backlog      about 1 s, once submitting resumes" in watcher.ask(place, "status")


def test_who_may_not_look_is_told_so(place: Place, watcher: Programs, tmp_path: Path) -> None:
    """A lock that cannot be read says neither that it runs nor that it does not."""
    watcher.daemon(place)
    lock = place.root / "watcher.db.instance"
    aside = tmp_path / "aside"
    os.rename(lock, aside)
    lock.symlink_to(aside)  # never followed

    assert daemon_of(watcher, place)["state"] == "unknown"

    lock.unlink()
    os.rename(aside, lock)
    assert daemon_of(watcher, place)["state"] == "running"
