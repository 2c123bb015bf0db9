"""`watcher run --once`, as cron runs it and as a person does: what it says, and how it exits."""

import json
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.places import KEY, Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Program, Programs, on_terminal, posts, wait_until, waiting
from watcher.clock import SystemClock
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import FaultKind, Sandbox
from watcher.store import Store


def once(watcher: Programs, place: Place, *more: str) -> Program:
    return watcher.call("run", "--once", "--config", place.config_path, *more)


def test_a_pass_in_which_all_goes_well_exits_with_0_and_leaves_nothing(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """What was there is done, with its verdict; stdout stays empty and stderr is JSON. A second pass is free."""
    place.drop("a/one.wav")
    place.drop("two.wav")

    first = once(watcher, place, "--verdicts")
    second = once(watcher, place)

    assert (first.process.returncode, second.process.returncode) == (Exit.WELL, Exit.WELL)
    assert (first.out, second.out) == ("", "")
    assert [line["path"] for line in first.events("recording.done")] == ["a/one.wav", "two.wav"]
    assert place.receipt("done/two.wav.json")["verdict"]["classification"] == "human"
    assert second.log == []
    assert service.charged == len(posts(service)) == 2


def test_a_pass_that_leaves_something_names_it_and_exits_with_1(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """What failed and what still waits stands on stderr, with the reason; the others are done all the same."""
    place.drop("good.wav")
    place.drop("notes.wav", b"Call back on Monday.\n")
    place.drop("odd/refused.wav", speech("refused", note=b"sandbox:unsupported"))
    place.drop("empty.wav", b"")

    program = once(watcher, place)

    assert program.process.returncode == Exit.INCOMPLETE
    assert program.out == ""
    assert all(path in program.err for path in ("notes.wav", "odd/refused.wav", "not supported"))
    assert "left: empty.wav: is empty" in program.err.splitlines()[-1]
    assert (place.root / "done" / "good.wav.json").exists()
    assert service.charged == 1


STUCK_OR_LOST = [FaultKind.STUCK, FaultKind.LEAVE_OUT]


@pytest.mark.parametrize("fault", STUCK_OR_LOST, ids=str)
def test_a_pass_waits_for_its_own_verdicts_alone(
    fault: FaultKind, place: Place, service: Sandbox, watcher: Programs
) -> None:
    """What the service says of older ones, or that it has forgotten them, keeps no later pass."""
    place.drop("old.wav")
    assert once(watcher, place).process.returncode == Exit.WELL
    service.add_fault(fault, identifier=place.item("old.wav").identifier)
    place.drop("new.wav")

    program = once(watcher, place, "--verdicts")

    assert program.process.returncode == Exit.WELL, program.err
    assert place.receipt("done/new.wav.json")["verdict"]["classification"] == "human"
    assert place.receipt("done/old.wav.json")["verdict"]["state"] == "awaited"
    assert "old.wav" not in program.err


def test_a_pass_that_has_accepted_nothing_asks_for_older_verdicts_and_waits_for_none(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """Cron alone brings them in the end: each pass asks for those that are due."""
    place.drop("old.wav")
    assert once(watcher, place).process.returncode == Exit.WELL
    service.add_fault(FaultKind.STUCK)
    assert once(watcher, place, "--verdicts").process.returncode == Exit.WELL
    assert place.receipt("done/old.wav.json")["verdict"]["state"] == "awaited"
    service.clear_faults()

    def is_known() -> bool:
        assert once(watcher, place, "--verdicts").process.returncode == Exit.WELL
        return bool(place.receipt("done/old.wav.json")["verdict"]["state"] == "known")

    wait_until(is_known)


def test_a_duplicate_waits_for_the_verdict_of_its_first_one_however_old(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """It was taken up in this pass, and has no other verdict than that."""
    place.drop("old.wav")
    assert once(watcher, place).process.returncode == Exit.WELL
    service.add_fault(FaultKind.STUCK)
    place.drop("again.wav", speech("old.wav"))

    program = watcher.start("run", "--once", "--verdicts", "--config", place.config_path)
    program.wait_for("recording.done")
    asked = len(service.ledger)
    wait_until(lambda: len(service.ledger) > asked + 3)
    service.clear_faults()

    assert program.end() == Exit.WELL, program.err
    assert place.receipt("done/again.wav.json")["verdict"]["classification"] == "human"


@pytest.mark.parametrize(
    "fault",
    [{"kind": kind} for kind in STUCK_OR_LOST] + [{"kind": "slow_after", "method": "GET", "seconds": 600}],
    ids=lambda fault: str(fault["kind"]),
)
def test_a_pass_waits_for_verdicts_as_long_as_it_was_told_and_names_what_is_missing(
    fault: dict[str, Any], place: Place, service: Sandbox, watcher: Programs
) -> None:
    """Be it that the service does not know yet, or gives no answer at all. A lock is not held for ever."""
    service.add_fault(**{"times": 0, **fault})
    place.drop("one.wav")

    program = once(watcher, place, "--verdicts-for", "1.5")

    assert program.process.returncode == Exit.INCOMPLETE
    (left,) = [line for line in program.err.splitlines() if line.startswith("left: ")]
    assert left.startswith("left: one.wav: done, its verdict is awaited since 20")
    assert service.charged == 1


def test_a_pass_that_is_stopped_while_it_waits_for_verdicts_names_them(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """All is filed, and nothing was lost; yet not all that was asked for is there."""
    service.add_fault(FaultKind.STUCK)
    place.drop("one.wav")
    program = watcher.start("run", "--once", "--verdicts", "--config", place.config_path)
    program.wait_for("recording.done")

    assert program.stop() == Exit.INCOMPLETE

    assert "left: one.wav: done, its verdict is awaited since" in program.err


def test_what_a_cap_leaves_keeps_no_verdict_from_being_waited_for(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """What was accepted before the cap was met has its verdict; the rest is named, exit 69."""
    place = make_place(limits={"per_day": 1})
    for name in ("one.wav", "two.wav"):
        place.drop(name)

    program = once(watcher, place, "--verdicts")

    assert program.process.returncode == Exit.UNAVAILABLE
    (done,) = (place.root / "done").glob("*.json")
    assert place.receipt(f"done/{done.name}")["verdict"]["state"] == "known"


def test_an_upload_that_is_slow_holds_no_other_back(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Four at a time is four all the time: while one waits for its answer, the other three do all the rest."""
    place = make_place(limits={"in_flight": 4})
    paths = [f"{n:02}.wav" for n in range(14)]
    for path in paths:
        place.drop(path)
    service.add_fault(FaultKind.SLOW_AFTER, times=1, seconds=600)

    program = watcher.start("run", "--once", "--config", place.config_path)

    done = {line["path"] for line in program.wait_for("recording.done", len(paths) - 1)}
    (slow,) = set(paths) - done
    assert place.states()[slow] is State.SUBMITTING
    program.kill()


def test_a_pass_that_sends_several_at_a_time_ends_when_all_is_done(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Uploads of different length, duplicates that wait for them, and one that fails: each once, then it exits."""
    place = make_place(limits={"in_flight": 4})
    service.add_fault(FaultKind.SLOW_AFTER, times=2, seconds=1.5)
    for n in range(8):
        place.drop(f"{n}.wav")
        place.drop(f"{n} again.wav", speech(f"{n}.wav"))
    place.drop("refused.wav", speech("refused", note=b"sandbox:unsupported"))

    program = once(watcher, place, "--verdicts")

    assert program.process.returncode == Exit.INCOMPLETE
    assert {line["path"] for line in program.events("recording.done")} == {
        f"{n}{again}.wav" for n in range(8) for again in ("", " again")
    }
    assert (service.charged, len(posts(service))) == (8, 9)
    assert not [line for line in program.err.splitlines() if line.startswith("left: ")]


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_wrong_key_exits_with_69_after_three_tries_and_burns_nothing(
    make_place: MakePlace, service: Sandbox, watcher: Programs, in_flight: int
) -> None:
    """401 is no recording's fault: uploads are refused, then three questions, and the pass is given up."""
    service.key = "another key"
    place = make_place(limits={"in_flight": in_flight}, retry={"first_seconds": 0.1, "max_seconds": 0.2})
    paths = [f"{n}.wav" for n in range(5)]
    for path in paths:
        place.drop(path)

    program = once(watcher, place)

    assert program.process.returncode == Exit.UNAVAILABLE
    assert {entry.status for entry in posts(service)} - {None} == {401}  # others are cut off before their end
    assert len(posts(service)) <= in_flight
    assert [entry.status for entry in service.ledger if entry.method == "GET"] == [401] * 3
    assert place.files() == {f"drop/{path}" for path in paths}
    pause, *_ = program.events("submitting.paused")
    assert "API key" in pause["reason"]
    assert "Put the right API key" in watcher.ask_json(place, "status")[0]["paused"]["reason"]
    service.key = KEY
    assert once(watcher, place).process.returncode == Exit.WELL
    assert service.charged == 5


def test_a_pass_after_one_that_was_given_up_tries_anew(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Three tries of the pass itself decide, not those before: with the right key, the next pass is well."""
    service.key = "another key"
    place = make_place(retry={"first_seconds": 1, "max_seconds": 3})
    for n in range(5):
        place.drop(f"{n}.wav")
    assert once(watcher, place).process.returncode == Exit.UNAVAILABLE
    with place.books() as books:  # as after hours of passes
        (pause,) = books.pauses.active()
        books.pauses.set(replace(pause, until=SystemClock().now() + 600, tries=9))
    before = len(service.ledger)

    assert once(watcher, place).process.returncode == Exit.UNAVAILABLE
    assert [entry.method for entry in service.ledger[before:]] == ["GET"] * 3
    service.key = KEY

    assert once(watcher, place).process.returncode == Exit.WELL
    assert service.charged == 5


def test_a_persons_pause_exits_with_69(place: Place, service: Sandbox, watcher: Programs) -> None:
    """A pause holds for cron's passes too, and its reason is told."""
    watcher.ask(place, "migrate")
    watcher.ask(place, "pause", "--reason", "the contract is not signed")
    place.drop("one.wav")

    program = once(watcher, place)

    assert program.process.returncode == Exit.UNAVAILABLE
    assert len(service.ledger) == 0
    (status,) = watcher.ask_json(place, "status")
    assert status["paused"]["reason"] == "the contract is not signed"
    assert status["paused"]["until"] is None
    assert status["states"]["queued"] == 1


def test_a_second_instance_exits_with_75_and_touches_nothing(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """Beside a running daemon another one, and a pass, say who has the folder and leave it alone."""
    daemon = watcher.daemon(place)

    for program in (once(watcher, place), watcher.call("run", "--config", place.config_path)):
        assert program.process.returncode == Exit.RUNNING
        assert str(daemon.pid) in program.err
        assert program.out == ""
        assert len(program.err.splitlines()) == 2
    place.drop("one.wav")
    daemon.wait_for("recording.done")


def test_after_a_pass_nothing_is_said_to_wait_that_does_not(tmp_path: Path, service: Sandbox) -> None:
    """However short the pass was, `status` and `why` speak of its end, not of its beginning."""
    place = Place(tmp_path, service.url, FalseClock(), arrivals={"settle_seconds": 0.25, "proof": False})
    place.drop("one.wav")

    assert place.run_once().exit_code == Exit.WELL

    assert waiting(place) == {}


def test_a_pass_that_is_stopped_names_what_it_left_and_exits_with_1(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """SIGTERM or Ctrl-C while it waits for the rate windows ends it promptly; the next pass does the rest."""
    place = make_place(limits={"writes": ["1/minute"]})
    for n in range(2):
        place.drop(f"{n}.wav")
    program = watcher.start("run", "--once", "--config", place.config_path)
    program.wait_for("recording.done")

    assert program.end(signal.SIGINT, seconds=3) == Exit.INCOMPLETE

    assert program.err.splitlines()[-1] == "left: 1.wav: queued"
    assert service.charged == 1


def remove_done(place: Place) -> None:
    (place.root / "done").rmdir()


def misspell(place: Place) -> None:
    place.configure(limits={"wirtes": []})


def spoil(place: Place) -> None:
    place.config_path.write_text("[limits\n")


def remove_config(place: Place) -> None:
    place.config_path.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (remove_done, ["done", "mkdir"]),
        (misspell, ["config.toml", "limits.wirtes", "did you mean writes?"]),
        (spoil, ["config.toml", "TOML"]),
        (remove_config, ["config.toml", "does not exist"]),
    ],
)
def test_a_wrong_configuration_exits_with_78_and_says_what_to_do(
    damage: Callable[[Place], None], said: list[str], place: Place, watcher: Programs
) -> None:
    """One short error, without a traceback, which names the place and the remedy; nothing was made."""
    damage(place)

    program = once(watcher, place)

    assert program.process.returncode == Exit.CONFIG
    assert all(word in program.err for word in said), program.err
    assert len(program.err.splitlines()) <= 3
    assert program.out == ""
    assert not (place.root / "watcher.db").exists()


def test_without_a_key_it_exits_with_78_and_says_where_it_looked(place: Place, watcher: Programs) -> None:
    """Neither variable, credential nor file: all three are named. The file alone is enough."""
    place.drop("one.wav")
    arguments = ("run", "--once", "--config", place.config_path)

    program = watcher.call(*arguments, environment=ENVIRONMENT)

    assert program.process.returncode == Exit.CONFIG
    assert all(word in program.err for word in ("IDENTIFAI_API_KEY", "credential", "identifai.key"))
    key_file = place.root / "identifai.key"
    key_file.write_text(KEY + "\n")
    key_file.chmod(0o600)
    program = watcher.call(*arguments, environment=ENVIRONMENT)
    assert program.process.returncode == Exit.WELL
    assert not program.events("key.exposed")


def test_a_lost_answer_is_asked_for_again_within_the_pass(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """The pause after it is waited out, and the second answer comes from the service's cache, unpaid."""
    service.add_fault(FaultKind.LOSE_ANSWER)
    place.drop("one.wav")

    program = once(watcher, place)

    assert program.process.returncode == Exit.WELL, program.err
    assert [(entry.charged, entry.cached) for entry in posts(service)] == [(True, False), (False, True)]
    attempts = place.receipt("done/one.wav.json")["attempts"]
    assert [attempt["charged"] for attempt in attempts] == ["unknown", "yes"]


def test_on_a_terminal_a_bar_shows_the_progress_and_the_log_is_for_people(place: Place, service: Sandbox) -> None:
    """There are a bar that counts what is filed, and console lines, and no JSON."""
    for n in range(6):
        place.drop(f"{n}.wav")
    service.latency_seconds = 0.2

    code, said = on_terminal("run", "--once", "--config", str(place.config_path))

    assert code == Exit.WELL
    assert "6/6" in said
    assert "recording.done" in said
    assert '"event"' not in said
    assert re.search("[━╸]", said)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("why", ""),
        ("show", ""),
        ("retry", ""),
        ("release", "one.wav", ""),
        ("estimate", ""),
        ("status", "--config", ""),
        ("run", "--verdicts"),
        ("run", "--verdicts-for", "60"),
        ("run", "--once", "--verdicts-for", "-1"),
        ("run", "--once", "--verdicts-for", "nan"),
        ("run", "--once", "--verdicts-for", "soon"),
        ("list", "--state", "lost"),
        ("retry",),
        ("show", "nothing.wav"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], place: Place, watcher: Programs) -> None:
    """It says on stderr what is wrong, and nothing on stdout."""
    with Store(place.config.store.url) as store:
        store.database.migrate()
    program = watcher.call(*arguments, environment=ENVIRONMENT | {"WATCHER_CONFIG": str(place.config_path)})

    assert program.process.returncode == Exit.USAGE
    assert program.out == ""
    assert "watcher" in program.err
    assert "Traceback" not in program.err


def test_the_configuration_is_found_where_it_is_said_to_be(place: Place, watcher: Programs) -> None:
    """Without --config it is $WATCHER_CONFIG, else config.toml in the working folder."""
    for more in ({"cwd": place.root}, {"environment": ENVIRONMENT | {"WATCHER_CONFIG": str(place.config_path)}}):
        program = watcher.call("status", "--json", **more)
        assert (program.process.returncode, program.err) == (Exit.WELL, "")
        assert json.loads(program.out)["last_scan_at"] is None
