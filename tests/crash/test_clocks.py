"""A sample of what the machine's clock does; `make crash` sets it in more ways, and for longer."""

import pytest

from tests.crash.clocks import TRIAL
from tests.crash.trial import Run


@pytest.mark.lengthy
def test_a_clock_that_is_set_back_stops_nothing() -> None:
    """An hour back under the working daemon: recordings are filed, and what is done beside the steps goes on."""
    run = Run(TRIAL.name, seed=1, seconds=0, only=("an hour back/running",))

    TRIAL.run(run)

    assert run.counts["steps"] == 1
    assert run.violations == 0
