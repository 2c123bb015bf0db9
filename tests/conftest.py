"""What all tests share."""

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from tests.clock import FalseClock
from tests.databases import compiled_once, made_at_once
from tests.places import Place, sandbox
from tests.transactions import breaches, guarded
from tests.transitions import observed, strangers
from watcher.sandbox import Sandbox

# Who runs the tests in the background may have Ctrl-C ignored: the programs that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes is the machine's affair: a test that judges it fails by chance under load.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> Iterator[None]:
    """No store compiles what another one has compiled."""
    with compiled_once():
        yield


@pytest.fixture(scope="module", autouse=True)
def new_databases() -> Iterator[None]:
    """A new database is made at once. Who tests the revisions has a fixture of this name that does nothing."""
    with made_at_once():
        yield


@pytest.fixture(autouse=True)
def _transactions() -> Iterator[None]:
    """Nothing touches a disk, speaks or waits inside a transaction, whatever the test is about."""
    with guarded():
        yield
    assert breaches() == []


@pytest.fixture(autouse=True)
def _transitions() -> Iterator[None]:
    """No state changes but by whom the table of transitions gives it to."""
    with observed():
        yield
    assert strangers() == []


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """What a command sets up for the log ends with its test."""
    root, ours = logging.getLogger(), logging.getLogger("watcher")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    before = structlog.get_config()
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    structlog.configure(**before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the lengthy ones: the workers then end together."""
    items.sort(key=lambda item: item.get_closest_marker("lengthy") is None)


@pytest.fixture
def clock() -> FalseClock:
    return FalseClock()


@pytest.fixture
def service(clock: FalseClock) -> Iterator[Sandbox]:
    """The sandbox at the service's own limits, on the false clock."""
    with sandbox(clock) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, service: Sandbox, clock: FalseClock) -> Place:
    """A site with the default configuration, on the false clock."""
    return Place(tmp_path, service.url, clock)


MakePlace = Callable[..., Place]


@pytest.fixture
def make_place(tmp_path: Path, service: Sandbox, clock: FalseClock) -> MakePlace:
    """A site with a configuration of one's own: make_place(limits={"in_flight": 2})."""

    def make(**settings: dict[str, Any]) -> Place:
        return Place(tmp_path, service.url, clock, **settings)

    return make
