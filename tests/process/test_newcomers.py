"""What a newcomer starts first: the demo and the sandbox, without a key, a configuration or a network."""

import json
import re
import signal
import urllib.request
from pathlib import Path

from tests.places import speech
from tests.process.conftest import QUICK
from tests.process.programs import CLOCK, ENVIRONMENT, Programs, wait_until
from watcher.cli.demo import FATES
from watcher.errors import Exit

NEWCOMER = {name: text for name, text in ENVIRONMENT.items() if not name.startswith("IDENTIFAI")}


def test_the_demo_shows_every_fate_within_a_minute(watcher: Programs, tmp_path: Path) -> None:
    """It exits with 0, and its table has each file with what became of it; the folders stay to be looked at."""
    folder = tmp_path / "demo"
    began = CLOCK.monotonic()

    program = watcher.call("demo", "--dir", folder, seconds=60, environment=NEWCOMER)

    assert program.process.returncode == Exit.WELL, program.err
    assert CLOCK.monotonic() - began < 60
    rows = {path: line for line in program.out.splitlines() for path in (f.path for f in FATES) if path in line}
    assert rows.keys() == {fate.path for fate in FATES}
    for fate in FATES:
        assert f" {fate.state} " in rows[fate.path]
        if fate.error:
            assert fate.error in rows[fate.path]
        else:
            receipt = json.loads((folder / "done" / f"{fate.path}.json").read_bytes())
            sent = receipt["parts"] or [receipt]
            assert len(sent) == fate.submissions
            assert all(one["identifier"][:16] in rows[fate.path] for one in sent)
            assert receipt["verdict"]["classification"] == fate.verdict
    assert str(folder) in program.out
    again = watcher.call("demo", "--dir", folder, environment=NEWCOMER)
    assert again.process.returncode == Exit.CONFIG
    assert "not empty" in again.err


def test_the_sandbox_says_where_it_listens_and_takes_a_first_recording(watcher: Programs, tmp_path: Path) -> None:
    """Its URL and key, as it prints them, are all that a first configuration needs; SIGTERM ends it with 0."""
    sandbox = watcher.start("sandbox", "--port", "0", "--key", "my-key", environment=NEWCOMER)
    url, *_ = wait_until(
        lambda: re.findall(r"http://127\.0\.0\.1:[1-9]\d+", sandbox.out), told=lambda: sandbox.err
    )
    assert "IDENTIFAI_API_KEY=my-key" in sandbox.out
    site = tmp_path / "site"
    for name in ("drop", "done", "failed"):
        (site / name).mkdir(parents=True)
    settle_seconds = QUICK["arrivals"]["settle_seconds"]
    config = site / "config.toml"
    config.write_text(f'[identifai]\nbase_url = "{url}"\n[arrivals]\nsettle_seconds = {settle_seconds}\n')
    (site / "drop" / "first.wav").write_bytes(speech("first"))

    run = watcher.call(
        *("run", "--once", "--config", config), environment=NEWCOMER | {"IDENTIFAI_API_KEY": "my-key"}
    )

    assert run.process.returncode == Exit.WELL, run.err
    with urllib.request.urlopen(f"{url}/sandbox/ledger", timeout=10) as answer:
        ledger = json.load(answer)
    assert ledger["charged"] == 1
    receipt = json.loads((site / "done" / "first.wav.json").read_bytes())
    assert receipt["identifier"] == ledger["entries"][0]["identifier"]
    assert sandbox.end(signal.SIGTERM) == Exit.WELL
    assert "1 submissions" in sandbox.out
