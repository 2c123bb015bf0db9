"""On how many processors the program runs: a daemon's threads on one, what it starts on all that it was given."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.people import missing
from tests.process.conftest import MakePlace
from tests.process.programs import Programs
from watcher import processor
from watcher.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _several() -> None:
    if len(os.sched_getaffinity(0)) == 1:
        missing("this machine has one processor")


def test_its_threads_keep_to_one_and_its_children_do_not() -> None:
    given, seen = os.sched_getaffinity(0), list[set[int]]()
    with processor.kept_to_one():
        thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        processor.free(child.pid)
        seen.append(os.sched_getaffinity(child.pid))
        child.communicate(b"\n")
    assert seen[0] < given
    assert len(seen[0]) == 1
    assert seen[1] == os.sched_getaffinity(0) == given


def test_a_daemon_keeps_to_one(make_place: MakePlace, service: Sandbox, watcher: Programs) -> None:
    place = make_place()
    daemon = watcher.daemon(place)
    on = {
        line.split()[1]
        for status in Path(f"/proc/{daemon.pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("Cpus_allowed_list:")
    }
    assert len(on) == 1
    assert next(iter(on)).isdigit()
