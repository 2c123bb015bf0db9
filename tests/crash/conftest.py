"""What the crash tests share: a database to start from, and a second file system."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commander import Commander
from tests.crash.kills import ENVIRONMENT, check_following
from watcher.store import Store

_MEMORY = "/dev/shm"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of this program's version: making one takes longer than a recording's whole journey."""
    path = tmp_path_factory.mktemp("template") / "watcher.db"
    with Store(f"sqlite:///{path}") as store:
        store.database.migrate()
    return path


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Path]:
    """Where the sites lie: in memory, where that can be. A crash is no power cut: nothing depends on syncs."""
    if not os.access(_MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY) as made:
        yield Path(made)


@pytest.fixture
def other(ground: Path, tmp_path: Path) -> Path | None:
    """A folder on another file system than the sites; null where the machine has none to offer."""
    return None if ground.stat().st_dev == tmp_path.stat().st_dev else tmp_path


@pytest.fixture
def away(other: Path | None, tmp_path: Path) -> Path:
    """A folder on another file system than the site's, where there is one."""
    return other or tmp_path


@pytest.fixture(scope="module")
def commanding() -> Iterator[Commander]:
    """Who carries out commands, where processes can be followed."""
    commander = Commander(ENVIRONMENT)
    check_following(commander)
    yield commander
    commander.close()
