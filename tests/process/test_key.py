"""The API key: it goes to the service, and nowhere else."""

from pathlib import Path

from tests.places import KEY, Place
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Program, Programs, posts
from watcher.identifai.sandbox import FaultKind, Sandbox


def test_the_key_stands_in_nothing_that_the_program_writes(
    make_place: MakePlace, service: Sandbox, watcher: Programs, tmp_path: Path
) -> None:
    """Neither logs at their most talkative, nor database and receipts have it, even if the service says it."""
    place = make_place(log={"level": "debug"})
    told = {"error": f"The file format is not supported for {KEY}."}
    service.add_fault(FaultKind.STATUS, status=400, body=told, ordinal=2)
    service.add_fault(FaultKind.STATUS, status=401, body={"error": f"Unknown key {KEY}"}, ordinal=3)
    service.add_fault(FaultKind.STATUS, status=500, body=f"<html>X-Api-Key: {KEY}</html>", ordinal=4)
    daemon = watcher.daemon(place)
    for n in range(5):
        place.drop(f"{n}.wav")
    daemon.wait_for("recording.done", 5)
    assert_no_process_shows_it(daemon)
    assert "charged: no" in watcher.ask(place, "show", most_often_sent(place))
    assert daemon.stop() == 0

    assert len(posts(service)) >= 8
    assert list(tmp_path.rglob("*.json"))
    assert list(tmp_path.rglob("watcher.db"))
    shows = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert shows == []


def most_often_sent(place: Place) -> str:
    return max(place.items().values(), key=lambda item: item.attempts).id


def assert_no_process_shows_it(program: Program) -> None:
    """`ps` shows every user the name and the arguments of a process."""
    for name in ("cmdline", "comm"):
        assert KEY.encode() not in Path(f"/proc/{program.pid}/{name}").read_bytes()


def test_a_key_that_is_none_is_not_repeated_in_the_error(place: Place, watcher: Programs) -> None:
    """A key in the wrong place, or of the wrong form, is named by where it stands, never by what it is."""
    secret = "s3cr3t-for-tests"
    attempts = [
        watcher.start(
            *("run", "--once", "--config", place.config_path),
            environment=ENVIRONMENT | {"IDENTIFAI_API_KEY": f"{secret}\nx"},
        )
    ]
    place.configure(identifai={"base_url": place.url, "api_key": secret})
    attempts.append(watcher.start("run", "--once", "--config", place.config_path))

    for program in attempts:
        assert program.end() == 78
        assert secret not in program.err + program.out


def test_a_key_file_that_others_can_read_is_warned_of(place: Place, watcher: Programs) -> None:
    """The warning says how to close it; the work goes on."""
    key_file = place.root / "identifai.key"
    key_file.write_text(KEY)
    key_file.chmod(0o644)

    program = watcher.call("run", "--once", "--config", place.config_path, environment=ENVIRONMENT)

    assert program.process.returncode == 0
    (warning,) = program.events("key.exposed")
    assert "chmod 600" in warning["reason"]
    assert KEY not in program.err


def test_a_key_that_is_too_short_is_warned_of_and_not_named(
    make_place: MakePlace, watcher: Programs, tmp_path: Path
) -> None:
    """It is surely wrong: the warning says so, and where it was found; the log stays readable."""
    secret = "Q7z"
    with Sandbox(secret, writes=(), reads=()) as service:
        place = make_place(identifai={"base_url": service.url})
        place.drop("aa.wav")

        environment = ENVIRONMENT | {"IDENTIFAI_API_KEY": secret}
        program = watcher.call("run", "--once", "--config", place.config_path, environment=environment)

    assert program.process.returncode == 0
    (warning,) = program.events("key.short")
    assert "$IDENTIFAI_API_KEY" in warning["reason"]
    assert [line["path"] for line in program.events("recording.done")] == ["aa.wav"]
    assert secret not in program.err + program.out
    files = [path for path in place.root.rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
