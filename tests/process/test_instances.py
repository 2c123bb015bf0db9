"""Two want to work on one site: who comes second changes nothing, not even a version, a mark or a pause."""

import os

import pytest

from tests.places import Place
from tests.process.programs import Programs
from watcher.errors import Exit
from watcher.folders import lock

COMMANDS = pytest.mark.parametrize("words", [("run", "--once"), ("run",), ("migrate",)], ids=" ".join)


def lock_of(place: Place) -> bytes:
    """What a process locks that works with the place's database, of whatever version that is."""
    return os.fsencode(place.root / "watcher.db.instance")


def snapshot(place: Place) -> dict[str, bytes]:
    """All that lies there, but what SQLite and the locks keep for themselves."""
    passing = ("-shm", "-wal", ".lock", ".instance")
    return {
        str(path.relative_to(place.root)): path.read_bytes()
        for path in place.root.rglob("*")
        if path.is_file() and not path.name.endswith(passing)
    }


@COMMANDS
def test_a_newer_program_upgrades_nothing_under_a_daemon(
    words: tuple[str, ...], old: Place, watcher: Programs
) -> None:
    """An older version's daemon has the database: the newer program says who, exits with 75, touches nothing."""
    with lock(lock_of(old)):
        before = snapshot(old)
        program = watcher.call(*words, "--config", old.config_path)

        assert program.process.returncode == Exit.RUNNING, program.err
        assert f"process {os.getpid()}" in program.err
        assert program.out == ""
        assert snapshot(old) == before


@COMMANDS
def test_a_first_start_beside_another_makes_nothing(
    words: tuple[str, ...], place: Place, watcher: Programs
) -> None:
    """While another one makes the database, nothing is made, and no folder gets a mark."""
    with lock(lock_of(place)):
        before = snapshot(place)
        assert watcher.call(*words, "--config", place.config_path).process.returncode == Exit.RUNNING
        assert watcher.call("pause", "--config", place.config_path).process.returncode == Exit.RUNNING
        assert snapshot(place) == before


def test_migrate_beside_a_daemon_says_that_there_is_nothing_to_do(place: Place, watcher: Programs) -> None:
    """Where no upgrade is needed, a running daemon is no hindrance."""
    watcher.daemon(place)
    assert "already has this version" in watcher.ask(place, "migrate")


def test_an_old_database_is_upgraded_once_its_daemon_has_ended(old: Place, watcher: Programs) -> None:
    """A lock that a killed process left behind is no hindrance; the copy of what was lies beside it."""
    lock(lock_of(old)).close()
    old.drop("one.wav")
    program = watcher.call("run", "--once", "--config", old.config_path)
    assert program.process.returncode == Exit.WELL, program.err
    assert program.events("database.migrated")
    assert (old.root / "watcher.db.before-0001.bak").exists()
