"""One run of `check`, in the test's own process or as a program, and what it found."""

import json
import os
from pathlib import Path

import pytest

from tests.places import KEY, Place
from tests.process.programs import Program
from watcher.cli import main
from watcher.errors import Exit
from watcher.text import JsonObject


@pytest.fixture(autouse=True)
def with_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a key, as far as a test does not take it away."""
    monkeypatch.setenv("IDENTIFAI_API_KEY", KEY)


class Checked:
    """One `check --json` of a place, which must have left everything as it was."""

    def __init__(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        before = everything(place.root)
        capsys.readouterr()
        self.code = main(["check", "--config", str(place.config_path), "--json"])
        self.out = capsys.readouterr().out
        facts = json.loads(self.out)
        self.watch: list[JsonObject] = facts["watch"]
        self.found: list[JsonObject] = facts["checks"]
        self.checks: dict[str, JsonObject] = {}
        for check in self.found:
            self.checks.setdefault(check["name"], check)
        left = everything(place.root) - before
        if self.checks["database"]["state"] != "well":  # SQLite's own, of whoever reads and may not write
            left = {(path, inode) for path, inode in left if not path.endswith(("-wal", "-shm"))}
        assert left == set()
        assert before <= everything(place.root)
        assert facts["well"] == (self.code == Exit.WELL)
        assert all(check["hint"] for check in self.checks.values() if check["state"] != "well"), self.checks

    def but(self, *names: str) -> None:
        """All is well, but for these."""
        assert {n for n, check in self.checks.items() if check["state"] != "well"} == set(names), self.checks

    def is_now(self, name: str, state: str, *words: str) -> None:
        """This check came to this, and what it says has these words."""
        check = self.checks[name]
        assert check["state"] == state, check
        said = f"{check['found']}\n{check['hint']}"
        assert all(word in said for word in words), said


def everything(root: Path) -> set[tuple[str, int]]:
    """Every name below the place, hidden ones too, with its inode."""
    return {(str(path), os.lstat(path).st_ino) for path in root.rglob("*")}


def checks_of(program: Program, code: int = Exit.WELL) -> dict[str, JsonObject]:
    """What it found, by name; it ended with this exit code and said nothing else."""
    assert program.process.returncode == code, program.out + program.err
    assert program.err == ""
    return {check["name"]: check for check in json.loads(program.out)["checks"]}
