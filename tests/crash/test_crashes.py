"""A process may end anywhere: the next start brings every recording to its end, and pays for nothing twice."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.doors import Doors, Moment
from tests.crash.scenes import EVERY_CROSSING, SCENES
from tests.crash.sweep import play, sweep

Told = Callable[[str, object], None]

_FILED_OUT_OF_THE_WAY = (
    "first_start",
    "strange_name",
    "taken_name",
    "accompanied",
    "retried",
    "owned",
    "owned_retried",
    "by_verdict",
    "other_disk",
    "retried_from_other_disk",
    "parts_one_by_one",
)

_AGAIN = 12  # plays of each seed

# What a process does between two effects is gone with it: just before one is, nearly always, just after another.
MOMENTS = list(Moment) if EVERY_CROSSING else [Moment.AFTER]


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name.lower())
@pytest.mark.parametrize("name", [name for name in SCENES if name != "plain"])  # the first start is plain as well
def test_a_crash_at_any_crossing_loses_nothing_and_costs_nothing(
    name: str, moment: Moment, ground: Path, template: Path, other: Path | None, record_property: Told
) -> None:
    """Killed before or after any effect, the next start files each recording once and pays once."""
    crossings = sweep(SCENES[name], ground, template, other, lambda k: Doors(k, [moment]))

    record_property("crossings", crossings)
    assert crossings > 10


@pytest.mark.parametrize("name", _FILED_OUT_OF_THE_WAY)
def test_a_crash_within_an_operation_of_a_folder_leaves_nothing_half_done(
    name: str, ground: Path, template: Path, other: Path | None, record_property: Told
) -> None:
    """Killed between any two calls to the system, no draft, no half receipt and no second copy stays."""
    crossings = sweep(
        SCENES[name], ground, template, other, lambda k: Doors(k, [Moment.AFTER], counts_syscalls=True)
    )

    record_property("crossings", crossings)
    assert crossings > 5


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_during_recovery_is_no_worse(
    seed: int, ground: Path, template: Path, other: Path | None, record_property: Told
) -> None:
    """Killed once more, or twice, while it recovers, it still loses nothing and pays once."""
    chance = random.Random(seed)
    names = [name for name, scene in SCENES.items() if other or not scene.elsewhere]
    for number in range(_AGAIN):
        starts = [Doors(chance.randint(1, 60))]
        starts += [Doors(chance.randint(1, 30)) for _ in range(chance.randint(1, 2))]
        name = chance.choice(names)
        play(SCENES[name], f"{number}-{name}", ground, template, other, starts)
    record_property("crashes during recovery", _AGAIN)
