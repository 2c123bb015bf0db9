"""The API key: it goes to the service, and nowhere else."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.people import CREW, ROOT, STRANGER, Person, missing, needs_root
from tests.people import place as open_folder
from tests.places import KEY, Place
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Program, Programs, posts
from watcher.config import load
from watcher.errors import Exit
from watcher.key import read_key
from watcher.sandbox import FaultKind, Sandbox

__all__ = ["open_folder"]  # a fixture


def test_the_key_stands_in_nothing_that_the_program_writes(
    make_place: MakePlace, service: Sandbox, watcher: Programs, tmp_path: Path
) -> None:
    """Neither logs at their most talkative, nor database and receipts have it, even if the service says it."""
    place = make_place(log={"level": "debug"})
    told = {"error": f"The file format is not supported for {KEY}."}
    service.add_fault(FaultKind.STATUS, status=400, body=told, ordinal=2)
    service.add_fault(FaultKind.STATUS, status=401, body={"error": f"Unknown key {KEY}"}, ordinal=3)
    service.add_fault(FaultKind.STATUS, status=500, body=f"<html>X-Api-Key: {KEY}</html>", ordinal=4)
    daemon = watcher.daemon(place, anew=True)
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


def test_a_credential_that_is_none_is_put_right_where_systemd_reads_it(
    place: Place, watcher: Programs, tmp_path: Path
) -> None:
    """What lies in $CREDENTIALS_DIRECTORY is a copy that nobody can change: the remedy names the unit's file."""
    (tmp_path / "identifai.key").touch()
    environment = ENVIRONMENT | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    run = watcher.call("run", "--config", place.config_path, environment=environment)
    assert run.process.returncode == Exit.CONFIG
    assert "is empty" in run.err
    assert "LoadCredential=identifai.key: of the unit names" in run.err
    assert f"into {tmp_path}" not in run.err


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
    """It is certainly wrong: the warning says so, and where it was found; the log stays readable."""
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


# Who else can read it, and what can be done about it


@pytest.fixture
def key_file(open_folder: Path) -> Path:
    """A key in a folder that every user can reach, named as people name them."""
    path = open_folder / "the service's.key"
    path.write_text(KEY)
    return path


def warning_of(key_file: Path) -> str:
    """What the program says of the key's place, as whoever asks."""
    config = key_file.parent / "config.toml"
    return read_key(load(config), {}).warning


def configured(key_file: Path) -> Path:
    (key_file.parent / "config.toml").write_text(f"[identifai]\napi_key_file = {json.dumps(str(key_file))}\n")
    return key_file


def test_the_remedy_for_an_exposed_key_of_another_user_keeps_it_readable(key_file: Path) -> None:
    """After a plain chmod 600 its user could not read it any more, and would not start."""
    needs_root()
    key_file.chmod(0o644)
    warning = STRANGER.does(warning_of, configured(key_file))
    assert "is open to others (mode 0644); run: sudo chown 65534 " in warning
    command = warning.partition("run: ")[2].replace("sudo ", "")
    subprocess.run(command, shell=True, check=True)
    assert STRANGER.does(warning_of, key_file) == ""


def test_a_key_that_its_owner_lends_to_a_group_is_well_kept(key_file: Path) -> None:
    """root's file, readable by the service's group: nobody else can read it, and it cannot be changed."""
    needs_root()
    os.chown(key_file, 0, CREW)
    key_file.chmod(0o640)
    assert STRANGER.does(warning_of, configured(key_file)) == ""
    key_file.chmod(0o660)
    assert "mode 0660" in STRANGER.does(warning_of, key_file)


@pytest.mark.parametrize("person", [ROOT, STRANGER], ids=lambda person: person.name)
def test_a_key_on_a_read_only_file_system_is_not_told_to_be_changed(key_file: Path, person: Person) -> None:
    """As a container or a cluster mounts it: what can be done is a copy elsewhere, or systemd's credential."""
    needs_root()
    key_file.chmod(0o444)
    configured(key_file)
    copy = key_file.parent / "copy.key"
    if subprocess.run(["mount", "--bind", key_file, key_file], check=False).returncode:
        missing("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", key_file], check=True)
        warning = person.does(warning_of, key_file)
    finally:
        subprocess.run(["umount", key_file], check=True)
    assert "chmod" not in warning
    assert (
        "lies on a read-only file system, so its mode cannot be changed; put a copy elsewhere (install" in warning
    )
    assert f"LoadCredential=identifai.key:{key_file}" in warning
    command = warning[warning.index("install") : warning.index(" KEYFILE")]
    subprocess.run(f"{command} {shlex.quote(str(copy))}", shell=True, check=True)
    assert copy.read_text() == KEY
    assert warning_of(configured(copy)) == ""


def test_the_remedy_for_an_exposed_key_can_be_pasted(key_file: Path) -> None:
    """Whatever its path is."""
    key_file.chmod(0o644)
    command = warning_of(configured(key_file)).partition("run: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert warning_of(key_file) == ""
