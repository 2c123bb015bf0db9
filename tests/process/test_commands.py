"""Commands beside the running daemon: what a person asks and decides, and what the daemon makes of it."""

import json
import os
import re
import subprocess
import sys
from hashlib import sha256

import pytest

from tests.places import REFUSED, Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Programs, last_scan_at, posts, wait_until
from watcher.cli import main
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import FaultKind, Sandbox
from watcher.store import Store

OPTIONS: dict[str, list[str]] = {
    "run": ["--config", "--once", "--verdicts", "--verdicts-for", "exit codes"],
    "demo": ["--dir"],
    "sandbox": ["--port", "--key"],
    "check": ["--config", "--json", "exit codes"],
    "status": ["--config", "--json"],
    "list": ["--config", "--json", "--state", "queued", "held"],
    "show": ["--config", "--json", "ITEM"],
    "why": ["--config", "PATH"],
    "retry": ["--config", "--failed", "ITEM"],
    "release": ["--config", "ITEM"],
    "fail": ["--config", "ITEM"],
    "dismiss": ["--config", "ITEM"],
    "pause": ["--config", "--reason"],
    "resume": ["--config"],
    "migrate": ["--config"],
    "report": ["--config", "--since", "--until", "--format", "--output", "--separator", "html"],
    "reconcile": ["--config", "--hashes", "ledger"],
    "drill": ["--config", "--kills", "--seed", "sandbox", "exit codes"],
}


def test_every_command_explains_itself(watcher: Programs) -> None:
    """`--help` exits with 0, names every option and says what the command does; the first help names them all."""
    whole = watcher.start("--help", environment=ENVIRONMENT)
    helps = {command: watcher.start(command, "--help", environment=ENVIRONMENT) for command in OPTIONS}

    assert whole.end() == 0
    assert all(re.search(rf"^ +{command}\b", whole.out, re.MULTILINE) for command in OPTIONS), whole.out
    for command, program in helps.items():
        assert program.end() == 0, program.err
        assert program.err == ""
        assert all(word in program.out for word in OPTIONS[command]), program.out
        assert len(program.out.splitlines()) > 4


def test_a_command_works_where_the_folder_it_is_called_in_is_gone(place: Place) -> None:
    """As in a terminal whose folder was removed meanwhile: it says so, and goes on from /."""
    place.drop("one.wav")
    gone = place.root / "gone"
    removed = (
        "import os, sys; os.rmdir(os.getcwd()); "
        "os.execv(sys.executable, [sys.executable, '-m', 'watcher', *sys.argv[1:]])"
    )
    for command, word in (("status", "recordings"), ("why", "one.wav")):
        gone.mkdir()
        arguments = [command, "--config", str(place.config_path), *(["one.wav"] if command == "why" else [])]
        ended = subprocess.run(
            [sys.executable, "-c", removed, *arguments],
            check=False,
            cwd=gone,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        assert word in ended.stdout
        assert "continuing in /" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_nothing_is_submitted_during_a_pause_and_everything_else_goes_on(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """Arrivals are queued, refusals filed, and `status` and `why` tell the reason; `resume` lets all go."""
    daemon = watcher.daemon(place)
    watcher.ask(place, "pause", "--reason", "holidays")
    replaced = watcher.ask(place, "pause", "--reason", "budget review")
    assert re.search(r"^It replaces the pause of .+: holidays$", replaced, re.MULTILINE)
    place.drop("one.wav")
    place.drop("notes.wav", b"no recording\n")
    daemon.wait_for("recording.queued")
    daemon.wait_for("recording.failed")

    (status,) = watcher.ask_json(place, "status")

    assert status["paused"]["reason"] == "budget review"
    assert status["paused"].keys() >= {"reason", "since", "until"}
    assert (status["states"]["queued"], status["states"]["failed"]) == (1, 1)
    assert status["eta_seconds"] == 0
    assert status["last_scan_at"].endswith("Z")
    assert "budget review" in watcher.ask(place, "why", "one.wav")
    seen = last_scan_at(place)
    wait_until(lambda: last_scan_at(place) != seen, "it goes on looking")
    assert len(posts(service)) == 0
    watcher.ask(place, "resume")
    daemon.wait_for("recording.done")
    assert watcher.ask_json(place, "status")[0]["paused"] is None


def test_a_failed_recording_is_sent_again_when_a_person_asks_and_keeps_its_history(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """`retry` takes the item by its path or its id, `--failed` all; the receipt then tells both attempts."""
    contents = {path: speech(path) for path in ("a/one.wav", "two.wav", "three.wav")}
    refusal = {"error": "The uploaded file format is not supported."}
    for content in contents.values():
        service.add_fault(FaultKind.STATUS, sha256=sha256(content).hexdigest(), status=400, body=refusal)
    daemon = watcher.daemon(place)
    for path, content in contents.items():
        place.drop(path, content)
    daemon.wait_for("recording.failed", 3)
    failed = {item["path"]: item for item in watcher.ask_json(place, "list", "--state", "failed")}
    assert failed.keys() == contents.keys()
    assert all(item["error"].keys() == {"code", "message", "hint"} for item in failed.values())

    said = watcher.ask(place, "retry", failed["two.wav"]["id"][:6], place.root / "failed" / "a" / "one.wav")

    assert len(said.splitlines()) == 2
    daemon.wait_for("recording.done", 2)
    watcher.ask(place, "retry", "--failed")
    daemon.wait_for("recording.done", 3)
    assert service.charged == 3
    assert place.files() == {f"done/{path}{ending}" for path in contents for ending in ("", ".json")}
    for path in contents:
        attempts = place.receipt(f"done/{path}.json")["attempts"]
        assert [attempt["charged"] for attempt in attempts] == ["no", "yes"]
    (shown,) = watcher.ask_json(place, "show", "a/one.wav")
    assert shown["id"] == failed["a/one.wav"]["id"]
    assert shown["attempts"] == 2
    states = [change["to"] for change in shown["history"]]
    after = iter(states)
    assert all(state in after for state in ("queued", "failed", "returning", "queued", "filing", "done")), states


def test_a_lost_answer_is_held_where_a_person_wants_to_decide(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Under in_doubt = "hold" nothing is sent twice unasked: `release` sends it, `fail` files it in failed/."""
    place = make_place(identifai={"in_doubt": "hold", "base_url": service.url})
    service.add_fault(FaultKind.LOSE_ANSWER, times=2)
    daemon = watcher.daemon(place)
    place.drop("one.wav")
    place.drop("two.wav")
    wait_until(lambda: list(place.states().values()) == [State.HELD] * 2, told=lambda: daemon.err)
    held = [item["path"] for item in watcher.ask_json(place, "list", "--state", "held")]
    assert sorted(held) == ["one.wav", "two.wav"]
    assert "watcher release" in watcher.ask(place, "why", "one.wav")
    assert len(posts(service)) == 2

    watcher.ask(place, "fail", "two.wav")
    watcher.ask(place, "release", "one.wav")

    daemon.wait_for("recording.done")
    daemon.wait_for("recording.failed")
    assert place.receipt("failed/two.wav.json")["error"]["code"] == "in_doubt"
    assert [(entry.charged, entry.cached) for entry in posts(service)] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    refused = watcher.call("release", "--config", place.config_path, "one.wav")
    assert refused.process.returncode == Exit.USAGE
    assert "is done, not held" in refused.err


def test_migrate_makes_a_database_and_leaves_one_of_this_version_alone(place: Place, watcher: Programs) -> None:
    """The first time it is made, with nothing in it; the second time it says so, even beside the daemon."""
    assert "created" in watcher.ask(place, "migrate")
    assert watcher.ask_json(place, "list") == []
    watcher.daemon(place)
    assert "already" in watcher.ask(place, "migrate")


def test_what_only_reads_works_before_the_first_start_and_makes_nothing(place: Place, watcher: Programs) -> None:
    """There is nothing to tell yet, and that is told, with exit code 0 and without a key."""
    assert "none yet" in watcher.ask(place, "status")
    assert watcher.ask_json(place, "list") == []

    assert {path.name for path in place.root.iterdir()} == {"drop", "done", "failed", "config.toml"}


def test_the_time_the_backlog_takes_follows_the_rate(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """`eta_seconds` is what the tightest window allows: five recordings at ten a minute take half a minute."""
    place = make_place(limits={"writes": ["1/second", "10/minute"]})
    with Store(place.config.store.url) as store:
        store.database.migrate()
    watcher.ask(place, "pause")
    for n in range(5):
        place.drop(f"{n}.wav")
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == Exit.UNAVAILABLE

    (status,) = watcher.ask_json(place, "status")

    assert 24 <= status["eta_seconds"] <= 60
    assert status["states"]["queued"] == 5
    assert "10 in 60 s" in status["rate"]


@pytest.mark.lengthy
def test_the_books_add_up_at_any_moment_beside_a_busy_daemon(
    place: Place, service: Sandbox, watcher: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is on its way from one folder to another, or was just dropped, is no false alarm."""
    refused = [speech(f"refused {n}") for n in range(10)]
    for content in refused:
        service.add_fault(**REFUSED, times=0, sha256=sha256(content).hexdigest())
    daemon = watcher.daemon(place)
    for n in range(90):
        place.drop(f"{n % 7}/{n}.wav", refused[n // 9] if n % 9 == 0 else None)
    proofs = 0
    while proofs < 3 or len(daemon.events("recording.done")) < 80 or len(daemon.events("recording.failed")) < 10:
        # Here, since a program of its own would look only a few times in so many seconds.
        code = main(["reconcile", "--config", str(place.config_path)])
        told = capsys.readouterr().out
        assert (code, "note" in told) == (Exit.WELL, False), told
        proofs += 1

    assert re.search("done +80\nfailed +10\n", watcher.ask(place, "reconcile"))


def test_a_full_disk_under_the_output_is_told_in_a_line(place: Place, watcher: Programs) -> None:
    """Half a list must not pass for a whole one, nor a trace of the program for an explanation."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "watcher", "status", "--json", "--config", str(place.config_path)],
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "watcher: the output could not be written: No space left on device\n"


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_lost_database_is_told_and_no_new_one_is_begun(
    place: Place, service: Sandbox, watcher: Programs, is_emptied: bool
) -> None:
    """A new one would pay again for what comes again. Every command says so; a restored copy is taken as it is."""
    assert "has not run yet" in watcher.ask(place, "status")
    place.drop("one.wav", speech("one"))
    assert place.run_once().exit_code == Exit.WELL
    kept = (place.root / "watcher.db").read_bytes()
    for path in place.root.glob("watcher.db*"):
        path.unlink()
    if is_emptied:
        (place.root / "watcher.db").touch()
    place.drop("again.wav", speech("one"))
    code, event = (Exit.CONFIG, "is empty") if is_emptied else (Exit.UNAVAILABLE, "is gone")

    said = watcher.ask(place, "status")
    assert "has not run yet" not in said
    assert event in said
    assert "restore a copy of it" in said
    assert event in json.loads(watcher.ask(place, "status", "--json"))["lost"]["message"]
    for words in (["run", "--once"], ["run"], ["list"], ["why", "again.wav"], ["pause"], ["migrate"]):
        program = watcher.call(*words, "--config", place.config_path)
        assert program.process.returncode == code, words
        assert event in program.err, words
    checked = watcher.call("check", "--config", place.config_path)
    assert checked.process.returncode == Exit.CONFIG
    assert event in checked.out
    assert len(posts(service)) == 1

    (place.root / "watcher.db").write_bytes(kept)
    assert place.run_once().exit_code == Exit.WELL
    assert len(posts(service)) == 1


def test_a_site_is_begun_anew_where_its_marks_were_removed(place: Place, watcher: Programs) -> None:
    """The way out that the message names."""
    place.drop("one.wav")
    assert place.run_once().exit_code == Exit.WELL
    for path in place.root.glob("watcher.db*"):
        path.unlink()
    refused = watcher.call("run", "--once", "--config", place.config_path).err
    for folder in ("drop", "done", "failed"):
        mark = place.root / folder / ".watcher"
        assert str(mark) in refused
        mark.unlink()
    assert place.run_once().exit_code == Exit.WELL


@pytest.mark.parametrize("name", ["identifai.key", "config.toml"])
def test_a_pipe_in_the_place_of_a_file_of_ours_is_not_waited_for(
    place: Place, watcher: Programs, name: str
) -> None:
    """Nobody would ever write into it: it is named, and the command ends."""
    (place.root / name).unlink(missing_ok=True)
    os.mkfifo(place.root / name)
    for words in (["check"], ["run", "--once"]):
        program = watcher.call(*words, "--config", place.config_path, environment=ENVIRONMENT)
        assert program.process.returncode == Exit.CONFIG
        assert "it is no file, but a pipe or a device" in program.out + program.err
