"""What the process tests share: the real program, on a real clock, against a sandbox without limits."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.people import STRANGER, StrangersPython, python_for_strangers, shared_folder
from tests.people import place as open_folder
from tests.places import KEY, Place
from tests.process.programs import CLOCK, Programs
from watcher.sandbox import Sandbox
from watcher.store import Store, revisions

__all__ = ["open_folder"]  # a fixture

QUICK: dict[str, dict[str, Any]] = {
    "limits": {"writes": [], "reads": []},
    "arrivals": {"settle_seconds": 0.3, "unclosed_seconds": 3, "rescan_seconds": 1},
    "retry": {"first_seconds": 0.2, "max_seconds": 0.5},
    "verdicts": {"first_seconds": 0.1, "max_seconds": 0.5},
}
"""No limits, and little patience."""

MakePlace = Callable[..., Place]


@pytest.fixture
def service() -> Iterator[Sandbox]:
    """The service, without rate limits."""
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0.1) as running:
        yield running


@pytest.fixture
def make_place(tmp_path: Path, service: Sandbox) -> MakePlace:
    """A quick site with more settings, in a folder of its own: make_place(limits={"in_flight": 2})."""

    def make(root: Path | None = None, **settings: dict[str, Any]) -> Place:
        tables = {name: QUICK.get(name, {}) | settings.get(name, {}) for name in QUICK | settings}
        root = root or tmp_path / "site"
        root.mkdir(exist_ok=True)
        return Place(root, service.url, CLOCK, **tables)

    return make


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    return make_place()


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Programs]:
    """Starts the real program; nothing that it started outlives the test."""
    programs = Programs(tmp_path / "programs")
    yield programs
    programs.close()


@pytest.fixture
def python() -> StrangersPython:
    return python_for_strangers()


@pytest.fixture
def site(open_folder: Path, make_place: MakePlace, python: StrangersPython) -> Place:
    """Three folders of root's that the crew shares, and the stranger's own folder for the database."""
    for name in ("drop", "done", "failed"):
        shared_folder(open_folder / name)
    state = open_folder / "state"
    state.mkdir()
    os.chown(state, STRANGER.uid or 0, STRANGER.gid)
    return make_place(open_folder, store={"url": f"sqlite:///{state}/watcher.db"})


@pytest.fixture
def old(place: Place, tmp_path: Path) -> Place:
    """A place whose database is of the first version of all, as an older program's daemon left it."""
    first = tmp_path / "first"
    shutil.copytree(revisions.folder(), first, ignore=shutil.ignore_patterns("__pycache__"))
    for path in sorted((first / "versions").glob("*.py"))[1:]:
        path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisions, "folder", lambda: first)
        with Store(place.config.store.url) as store:
            store.database.migrate()
    return place
