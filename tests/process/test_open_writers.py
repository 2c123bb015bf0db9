"""Nothing that somebody still writes is sent, and what is closed is sent within seconds.

As an unattended server is run: the files are another user's, no lease is to be had, and all settings are defaults.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.audio_files import recording
from tests.people import CREW, SOMEBODY, StrangersPython
from tests.people import place as open_folder
from tests.places import Place, speech
from tests.process import recorders
from tests.process.programs import Programs, let_pass, posts, wait_until
from tests.process.test_strangers import daemon_of, python, site
from watcher.identifai.sandbox import Sandbox

__all__ = ["open_folder", "python", "site"]  # fixtures

DEFAULTS = {"settle_seconds": 2.0, "unclosed_seconds": 60.0, "rescan_seconds": 30.0}
SILENCE = 5.0
SECONDS_AFTER = 8.0  # the settle time, and what a busy machine takes

Closings = dict[str, tuple[str, float]]
"""By the names of the recorders: where the file lies in the end, and just before when it was closed."""


@pytest.fixture
def sources(open_folder: Path) -> Path:
    """What is to be recorded, by the recorders' names."""
    folder = open_folder / "sources"
    folder.mkdir()
    for way in recorders.RECORDERS:
        name = recorders.name_of(way)
        content = recording("mp3.bare", 10) if name.endswith(".mp3") else speech(name, seconds=10)
        (folder / name).write_bytes(content + (name.encode() if name.endswith(".mp3") else b""))
    return folder


@contextmanager
def recording_by_somebody(sources: Path, drop: Path, python: StrangersPython) -> Iterator[Closings]:
    """They are at work while the block runs, and have closed their files at its end."""
    script = sources.parent / "recorders.py"
    shutil.copy(recorders.__file__, script)
    script.chmod(0o644)
    writers = subprocess.Popen(
        [python.executable, str(script), str(sources), str(drop), str(SILENCE)],
        env=python.environment,
        stdout=subprocess.PIPE,
        text=True,
        user=SOMEBODY,
        group=CREW,
        extra_groups=[],
    )
    closed: Closings = {}

    def listen() -> None:
        assert writers.stdout is not None
        for line in writers.stdout:
            told = json.loads(line)
            closed[told["name"]] = (told["path"], told["closed_at"])

    listener = threading.Thread(target=listen)
    listener.start()
    with writers:
        try:
            yield closed
            assert writers.wait(60) == 0
        finally:
            writers.kill()
            listener.join()


@pytest.mark.parametrize("starts_amid", [False, True], ids=["before", "amid"])
def test_nobody_s_recording_is_sent_before_it_is_closed(
    starts_amid: bool,
    site: Place,
    service: Sandbox,
    watcher: Programs,
    python: StrangersPython,
    sources: Path,
) -> None:
    """Whether the daemon runs before anybody writes, or starts in the middle of it all."""
    site.configure(**quick(site, arrivals=DEFAULTS))
    if not starts_amid:
        daemon_of(watcher, python, site).wait_for("watch.chosen")
    with recording_by_somebody(sources, site.root / "drop", python) as closed:
        if starts_amid:
            let_pass(1.5)
            daemon_of(watcher, python, site).wait_for("watch.chosen")
            let_pass(SILENCE / 2)
        (sources / "go").touch()
        wait_until(lambda: len(closed) == len(recorders.RECORDERS), "all are closed", seconds=60)
    wait_until(
        lambda: len(posts(service)) >= len(closed),
        "all are sent",
        seconds=SECONDS_AFTER + 5,
        told=lambda: watcher.ask(site, "status"),
    )
    assert_sent_once_closed(closed, sources, service)
    wait_until(lambda: len(site.states()) == len(closed), "all are filed")
    for name, (path, _) in closed.items():
        wait_until((site.root / "done" / path).exists, f"{path} is filed")
        assert (site.root / "done" / path).read_bytes() == (sources / name).read_bytes()


def quick(site: Place, **settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The configuration of the site, with these sections changed."""
    tables: dict[str, dict[str, Any]] = {
        "store": {"url": site.config.store.url},
        "limits": {"writes": [], "reads": []},
        "verdicts": {"first_seconds": 0.1},
    }
    return tables | settings


def assert_sent_once_closed(closed: Closings, sources: Path, service: Sandbox) -> None:
    """Each was sent whole, once, after its close and soon; and nothing else was."""
    names = {sha256((sources / name).read_bytes()).hexdigest(): name for name in closed}
    sent = {names.get(entry.sha256 or "", f"{entry.size} bytes of nobody's"): entry for entry in posts(service)}
    assert sorted(sent) == sorted(closed)
    assert len(posts(service)) == len(closed)
    delays = {name: sent[name].time - sent[name].seconds - at for name, (_, at) in closed.items()}
    assert {name: delay for name, delay in delays.items() if not 0 <= delay <= SECONDS_AFTER} == {}
