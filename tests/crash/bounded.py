"""A plugin: pytest for a time. What has not begun by then is skipped, and a seed gives the order."""

import random

import pytest

from watcher.clock import SystemClock

OVER = "the time was over"
_CLOCK = SystemClock()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--begin-until", type=float, required=True, help="on the machine's monotonic clock")
    parser.addoption("--shuffled", default="", help="the order's seed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The same order in each of several processes."""
    if seed := config.getoption("--shuffled"):
        random.Random(seed).shuffle(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """It is the only one of its kind that is skipped so."""
    if _CLOCK.monotonic() > item.config.getoption("--begin-until"):
        pytest.skip(OVER)
