"""A day of writers of every kind, against a daemon that is stopped and killed in the middle of it.

Compressed: what takes a day takes half a minute. WATCHER_DAY_CALLS=300 makes a longer one of it, and
WATCHER_DAY_SEED another.
"""

import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.audio_files import recording
from tests.people import CREW, SOMEBODY, Person, StrangersPython
from tests.places import Place, speech
from tests.process import recorders
from tests.process.programs import Programs, let_pass, posts, wait_until
from tests.process.test_open_writers import quick
from tests.process.test_strangers import daemon_of
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox

CALLS = int(os.environ.get("WATCHER_DAY_CALLS", "160"))
SEED = int(os.environ.get("WATCHER_DAY_SEED", "7"))
DAY_SECONDS = CALLS / 8
LONGEST_SILENCE = 5.0
WRITERS = [Person(f"writer {n}", uid=SOMEBODY + 2 * n, gid=CREW) for n in range(2)]
IN_FOLDERS = {recorders.moves_it_down_while_it_is_open, recorders.begins_in_a_new_folder}
ARRIVALS = {"unclosed_seconds": 20.0}
"""The rest are defaults. Four times the longest silence: nobody hears what is closed while no daemon runs."""


def plan_calls(
    sources: Path,
    day: random.Random,
    first: int,
    number: int,
    recorders_there: Sequence[Callable[[recorders.Take], None]] = recorders.RECORDERS,
) -> list[dict[str, Any]]:
    """So many calls, and what each is to be lies in `sources`."""
    sources.mkdir()
    ways = [recorders_there[n % len(recorders_there)] for n in range(first, first + number)]
    calls: list[dict[str, Any]] = []
    for n, way in enumerate(ways, first):
        is_mp3 = recorders.name_of(way).endswith(".mp3")
        name = f"call-{n:03}.{'mp3' if is_mp3 else 'wav'}"
        content = recording("mp3.bare", 10) + name.encode() if is_mp3 else speech(name, seconds=day.uniform(2, 6))
        (sources / name).write_bytes(content)
        call = {"way": way.__name__, "name": name, "folder": f"line-{n:03}" if way in IN_FOLDERS else ""}
        calls.append(call | {"after": day.uniform(0, DAY_SECONDS), "silence": day.uniform(0, LONGEST_SILENCE)})
    (sources / "go").touch()
    (sources / "plan.json").write_text(json.dumps(calls))
    return calls


def begin(sources: Path, drop: Path, person: Person, python: StrangersPython) -> "subprocess.Popen[bytes]":
    """This person is at work on what was planned; what he tells is in the file "told" beside it."""
    for name in ("recorders.py", "working_day.py"):
        shutil.copy(Path(__file__).with_name(name), sources)
    for path in sources.iterdir():
        path.chmod(0o644)
    with (sources / "told").open("wb") as told:
        return subprocess.Popen(
            [python.executable, sources / "working_day.py", sources / "plan.json", drop],
            env=python.environment,
            stdout=told,
            **person.spawning(),
        )


@pytest.mark.lengthy
def test_a_day_leaves_nothing_half_sent_nothing_unsent_and_nothing_paid_twice(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """Each call is accepted once, as it was in the end, after its close; the books add up, and nothing is left."""
    site.configure(**quick(site, arrivals=ARRIVALS))
    day = random.Random(SEED)
    daemon = daemon_of(watcher, python, site)
    daemon.wait_for("watch.chosen")
    contents: dict[str, bytes] = {}
    ways: dict[str, str] = {}
    writing: list[subprocess.Popen[bytes]] = []
    try:
        for n, person in enumerate(WRITERS):
            sources = site.root / f"sources-{n}"
            calls = plan_calls(sources, day, n * (CALLS // 2), CALLS // 2)
            ways |= {call["name"]: call["way"] for call in calls}
            contents |= {call["name"]: (sources / call["name"]).read_bytes() for call in calls}
            writing.append(begin(sources, site.root / "drop", person, python))
        for n in range(4):
            let_pass(DAY_SECONDS / 5 * day.uniform(0.6, 1.0))
            if n % 2:
                daemon.kill()
            else:
                assert daemon.stop() == 0
            let_pass(day.uniform(0, 1))
            daemon = daemon_of(watcher, python, site)
        for writer in writing:
            assert writer.wait(DAY_SECONDS + 120) == 0
    finally:
        for writer in writing:
            writer.kill()
            writer.wait()
    wait_until(
        lambda: Counter(site.states().values()) == {State.DONE: len(contents)},
        "all are filed",
        seconds=ARRIVALS["unclosed_seconds"] + 90,
        told=lambda: watcher.ask(site, "status"),
    )
    wait_until(lambda: not list((site.root / "drop").rglob("*.wav")), "all are moved")
    assert daemon.stop() == 0

    lines = [line for n in (0, 1) for line in (site.root / f"sources-{n}" / "told").read_text().splitlines()]
    told = {one["name"]: one for one in map(json.loads, lines)}
    assert sorted(told) == sorted(contents)
    names = {sha256(content).hexdigest(): name for name, content in contents.items()}
    whole = [entry for entry in posts(service) if entry.is_whole]
    assert {entry.sha256 for entry in whole} == set(names)
    assert Counter(entry.sha256 for entry in whole if entry.charged) == dict.fromkeys(names, 1)
    early = {name for entry in whole if entry.time < told[name := names[entry.sha256 or ""]]["closed_at"]}
    # rsync may be through before its line stalls: when it closed what it wrote, nobody tells.
    assert {name: ways[name] for name in early if not ways[name].startswith("rsync")} == {}
    for name, one in told.items():
        assert (site.root / "done" / one["path"]).read_bytes() == contents[name]
    left = {path for path in site.files() if path.startswith(("drop/", "failed/"))}
    assert left == set()
    reconcile = watcher.call("reconcile", "--config", site.config_path)
    assert reconcile.process.returncode == Exit.WELL, reconcile.out


def test_what_is_opened_again_at_once_is_sent_as_it_is_in_the_end(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """By the very moment at which the close is looked at: of two opens, the kernel may tell one."""
    site.configure(**quick(site))
    daemon = daemon_of(watcher, python, site)
    daemon.wait_for("watch.chosen")
    sources = site.root / "sources"
    ways = [recorders.opens_for_each_piece, recorders.reopens_it, recorders.mends_through_another_descriptor]
    calls = plan_calls(sources, random.Random(SEED), 0, 120, ways)
    for call in calls:
        call["silence"] = LONGEST_SILENCE
    names = {sha256((sources / call["name"]).read_bytes()).hexdigest(): call["name"] for call in calls}
    writer = begin(sources, site.root / "drop", WRITERS[0], python)
    assert writer.wait(DAY_SECONDS + 60) == 0
    wait_until(
        lambda: Counter(site.states().values()) == {State.DONE: len(names)},
        "all are filed",
        seconds=60,
        told=lambda: watcher.ask(site, "status"),
    )
    assert daemon.stop() == 0
    assert Counter(names.get(entry.sha256 or "") for entry in posts(service)) == dict.fromkeys(names.values(), 1)
