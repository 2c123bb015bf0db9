"""What the sandbox's tests share: one without limits, on a clock that stands still."""

from collections.abc import Iterator

import pytest

from tests.sandbox.clock import FalseClock
from tests.sandbox.visits import KEY
from watcher.sandbox import Sandbox


@pytest.fixture
def clock() -> FalseClock:
    return FalseClock()


@pytest.fixture
def sandbox(clock: FalseClock) -> Iterator[Sandbox]:
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=10, clock=clock) as running:
        yield running
