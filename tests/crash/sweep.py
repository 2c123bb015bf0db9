"""A scene played again and again, the process ending a crossing later each time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.doors import Doors
from tests.crash.scenes import Scene

_MOST = 300  # crossings in one run: more would mean that it never comes to rest


def sweep(scene: Scene, ground: Path, template: Path, other: Path | None, doors: Callable[[int], Doors]) -> int:
    """Whatever crossing the process ends at, nothing is lost, nor is it after the next start. The crossings.

    `doors` makes those of the run that ends at the k-th crossing. The last run is the one that ends by itself.
    What a start does before its first look at the drop folder is the same in every scene: where the first start
    is not the point, the crashes begin after that.
    """
    (whole,) = play(scene, "whole", ground, template, other, [doors(_MOST)])
    swept = [number for number, name in enumerate(whole.crossed, start=1) if name.endswith(" sweep")]
    first = 1 if scene.is_first_start or not swept else swept[-1]
    for k in range(first, _MOST, scene.stride):
        if not play(scene, f"crash-{k}", ground, template, other, [doors(k)])[0].is_dead:
            return k - first
    pytest.fail("the run never came to its end")


def play(
    scene: Scene, name: str, ground: Path, template: Path, other: Path | None, starts: list[Doors]
) -> list[Doors]:
    """The scene with these starts, one after the other, and then one that nothing happens to."""
    if scene.elsewhere and other is None:
        pytest.skip("there is no second file system here")
    for folder in filter(None, (ground, other)):
        (folder / name).mkdir()
    with scene.world(ground / name, template, other and other / name) as world:
        try:
            for doors in starts:
                world.run(doors)
                world.check_wreck()
            if any(doors.is_dead for doors in starts):
                world.run()
            world.check()
        except BaseException as error:
            error.add_note("; then ".join(f"{name}: the last crossings were {d.crossed[-3:]}" for d in starts))
            raise
    return starts
