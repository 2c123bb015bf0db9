"""What a command that only reads leaves alone: importing takes most of the time until it answers."""

import os
import subprocess
import sys

import pytest

from tests.places import KEY, Place
from watcher.domain import State

_HEAVY = {
    *("alembic", "apscheduler", "av", "h11", "jinja2", "mako", "requests", "starlette", "structlog", "urllib3"),
    *("uvicorn", "watchdog", "sqlalchemy.dialects.postgresql", "watcher.composition", "watcher.sandbox"),
}
_WORK = {
    *("watcher.audio", "watcher.journey.arrive.arrivals", "watcher.journey.prepare.preparation"),
    *("watcher.journey.submit.submission", "watcher.journey.file", "watcher.journey.recovery", "watcher.report"),
}
_SELDOM = {  # what few sites need
    *(
        "watcher.folders.tombstone_files",
        "watcher.journey.filed",
        "watcher.journey.joined",
        "watcher.journey.receipt",
    ),
    *("watcher.store.lease_rows", "watcher.store.server_facts", "watcher.tombstone"),
}
_RICH = {"rich.console", "rich.table", "rich.text", "rich.traceback"}
_TABLES = {  # each has its statements built when its module is loaded
    f"watcher.store.{name}"
    for name in (
        *("audit", "copies", "located_rows", "page_rows", "rebuilt_rows", "removal_rows"),
        *("tombstone_rows", "wish_rows"),
    )
}
_PROGRAM = """
import sys
from watcher.cli import main
code = main(sys.argv[1:])
print("imported", *sys.modules)  # not among what is said on stderr, by a thread of its own
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["status"], _HEAVY | _RICH | _WORK | _TABLES | _SELDOM),
        (["status", "--json"], _HEAVY | _RICH | _WORK | _TABLES | _SELDOM),
        (["list"], _HEAVY | _RICH | _WORK | _TABLES),
        (["list", "--json"], _HEAVY | _RICH | _WORK | _TABLES),
        (["list", "--waiting"], _HEAVY | _RICH),
        (["why", "call.wav"], _HEAVY),
        (["show", "call.wav"], _HEAVY),
        (["reconcile"], _HEAVY),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_command_that_reads_imports_what_it_needs(place: Place, words: list[str], unneeded: set[str]) -> None:
    """Not what the daemon, its pages and upgrades of the database need; nor rich, where it prints no table."""
    place.drop("call.wav")
    place.run_once()
    command = [sys.executable, "-c", _PROGRAM, *words, "--config", str(place.config_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = next(line for line in done.stdout.splitlines() if line.startswith("imported ")).split()
    assert "sqlalchemy" in imported
    assert unneeded & set(imported) == set()


_OF_A_SERVER = {"watcher.store.server_facts"}
_OF_A_FEATURE = {
    *("alembic", "apprise", "av", "h11", "jinja2", "mako", "psycopg", "rich.progress", "starlette", "uvicorn"),
    *("sqlalchemy.dialects.postgresql", "watcher.cli.demo", "watcher.journey.transfer", "watcher.notify.telling"),
    *("watcher.sandbox", "watcher.store.postgresql", "watcher.store.site_copy", "watcher.web"),
}


def test_a_daemon_keeps_nothing_in_memory_that_it_will_not_use() -> None:
    """What is on by the configuration alone comes later, at its start; what other commands need never comes."""
    program = "import sys, watcher.cli.running; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert {"watcher.daemon", *_SELDOM - _OF_A_SERVER} <= imported  # else it would load them when it is upgraded
    assert _OF_A_FEATURE & imported == set()


_DAEMON = """
import sys
import watcher.composition
from watcher.cli import main
known, recover = set(), watcher.composition.recover
def note_and_recover(site):
    known.update(sys.modules)
    recover(site)
watcher.composition.recover = note_and_recover  # the first that a start does with its books
main(["run", "--once", "--verdicts", *sys.argv[1:]])
print("imported", *sorted(name for name in set(sys.modules) - known if name.startswith("watcher.store")))
"""


def test_a_daemon_has_all_that_writes_its_books_from_the_start(place: Place) -> None:
    """While it runs the program's files may be replaced: what is loaded late would be of another version."""
    place.drop("call.wav")
    command = [sys.executable, "-c", _DAEMON, "--config", str(place.config_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"IDENTIFAI_API_KEY": KEY}
    )
    assert place.states() == {"call.wav": State.DONE}
    assert done.stdout.splitlines()[-1] == "imported"
