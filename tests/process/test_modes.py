"""Who may read what the program makes: recordings hold what people said, and so does what is beside them."""

import os
import stat
from pathlib import Path

import pytest

from tests.places import REFUSED, speech
from tests.process.conftest import MakePlace
from tests.process.programs import Programs
from watcher.errors import Exit
from watcher.sandbox import Sandbox


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_what_it_makes_is_closed_to_others_whatever_the_umask(
    make_place: MakePlace, service: Sandbox, watcher: Programs, umask: int
) -> None:
    """Database and its copies, receipts, tombstones, keys, locks, markers, the spool, a copy of a recording."""
    place = make_place(
        folders={"own": True, "status": True}, limits={"max_upload_bytes": 300_000}, audio={"oversize": "split"}
    )
    service.add_fault(**REFUSED, times=1)
    place.drop("refused.wav")
    place.drop("folder/call.wav")
    place.drop("long.wav", speech("long", seconds=40.0))
    service.latency_seconds = 0.05
    for folder in ("drop", "done", "failed"):
        (place.root / folder).chmod(0o750)
    before = {path for path in place.root.rglob("*") if "drop" in path.parts}
    config = ("--config", place.config_path)
    for words in (["run", "--once", "--verdicts"], ["erase", "folder/call.wav"]):
        program = watcher.start(*words, *config, umask=umask)
        assert program.end() in (Exit.WELL, Exit.INCOMPLETE), program.err  # one was refused
    made = {path for path in place.root.rglob("*") if path.is_file()} - before - {place.config_path}
    names = {path.name for path in made}
    assert {"watcher.db", ".watcher", ".watcher.lock", ".watcher-key", "long.wav", "refused.wav.json"} <= names
    assert {path for path in made if mode_of(path) & stat.S_IRWXO} == set()
    assert mode_of(place.root / "spool") & 0o077 == 0


def mode_of(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)
