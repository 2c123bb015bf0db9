"""Whoever reads the output may leave: what was decided stays, and the exit code says what it always says."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from tests.places import Place
from tests.process.programs import ENVIRONMENT, PATIENCE_SECONDS
from tests.store.recordings import item
from tests.transitions import any_transition
from watcher.domain import State
from watcher.errors import Exit
from watcher.store import Store

MANY = 400
"""Recordings: more lines than are written at once."""


def fill(place: Place, state: State) -> list[str]:
    """So many recordings are in this state; their ids."""
    facts = {"state": state} if state is State.HELD else {"state": state, "outcome": state}
    items = [item(n, **facts) for n in range(MANY)]
    items = [replace(one, filed_as=one.path if "outcome" in facts else None) for one in items]
    with Store(place.config.store.url) as store:
        store.database.migrate()
        with any_transition(), store.writing() as books:
            for one in items:
                books.items.add(one)
    if (
        state is State.FAILED
    ):  # `retry` looks whether they are there, and by their receipts whether they are theirs
        for one in items:
            path = place.root / "failed" / os.fsdecode(one.path)
            path.write_bytes(b"failed")
            path.with_name(path.name + ".json").write_text(json.dumps({"format": 1, "id": one.id}))
    return [one.id for one in items]


def call(place: Place, *words: str, is_read: bool) -> "subprocess.CompletedProcess[bytes]":
    """The command was carried out, its output read to the end, or its reader gone before the first line."""
    command = [sys.executable, "-m", "watcher", *words]
    command += [] if words[-1] == "--help" else ["--config", str(place.config_path)]
    reading, writing = os.pipe()
    with open(reading, "rb") as reader:
        if not is_read:
            reader.close()
        process = subprocess.Popen(
            command, stdout=writing, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=place.root
        )
        os.close(writing)
        out = b"" if reader.closed else reader.read()
        _, said = process.communicate(timeout=PATIENCE_SECONDS * 3)
    return subprocess.CompletedProcess(command, process.returncode, out, said)


@pytest.mark.parametrize(
    ("words", "before", "after"),
    [
        (["retry", "--failed"], State.FAILED, State.RETURNING),
        (["release"], State.HELD, State.QUEUED),
        (["fail"], State.HELD, State.FILING),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_was_decided_stays_though_nobody_reads_it(
    place: Place, words: list[str], before: State, after: State
) -> None:
    """`watcher retry --failed | head -1` sends them all again: what is printed is printed after the commit."""
    ids = fill(place, before)
    called = call(place, *words, *([] if "--failed" in words else ids), is_read=False)
    assert (called.returncode, called.stderr) == (Exit.WELL, b"")
    assert Counter(place.states().values()) == {after: MANY}


def test_a_pause_holds_and_ends_though_nobody_reads_it(place: Place) -> None:
    """The shortest outputs are met when they are flushed, at the very end."""
    fill(place, State.FAILED)
    for words, number in ((["pause", "--reason", "audit"], 1), (["resume"], 0)):
        called = call(place, *words, is_read=False)
        assert (called.returncode, called.stderr) == (Exit.WELL, b"")
        assert len(place.pauses()) == number


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "--json"],
        ["status"],
        ["status", "--json"],
        ["show", "0.wav"],
        ["why", "0.wav"],
        ["check"],
        ["check", "--json"],
        ["reconcile"],
        ["estimate", "drop"],
        ["migrate"],
        ["--help"],
        ["list", "--help"],
    ],
    ids=" ".join,
)
def test_a_reader_that_leaves_changes_no_exit_code(place: Place, words: list[str]) -> None:
    """As `watcher list | head -1`: nothing is said on standard error, and a failure stays one."""
    fill(place, State.FAILED)
    whole = call(place, *words, is_read=True)
    left = call(place, *words, is_read=False)
    assert whole.stdout
    assert (left.returncode, left.stderr) == (whole.returncode, whole.stderr)
    assert whole.returncode in (
        (Exit.INCOMPLETE, Exit.CONFIG) if words[0] in ("check", "reconcile") else (Exit.WELL,)
    )


@pytest.mark.parametrize("closed", [[1], [2], [0, 1, 2]], ids=str)
def test_a_program_without_its_streams_writes_into_no_other_file(place: Place, closed: list[int]) -> None:
    """Started with standard output or error closed, the database is not what takes its lines."""
    fill(place, State.FAILED)
    before = (place.root / "watcher.db").read_bytes()

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    for words in (["list"], ["show", "nothing.wav"]):
        command = [sys.executable, "-m", "watcher", *words, "--config", str(place.config_path)]
        done = subprocess.run(command, env=ENVIRONMENT, preexec_fn=close, check=False, timeout=PATIENCE_SECONDS)
        assert done.returncode == (Exit.WELL if words == ["list"] else Exit.USAGE)
    assert (place.root / "watcher.db").read_bytes() == before
