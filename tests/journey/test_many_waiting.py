"""A drop folder in which very many files wait: what a second costs must not depend on how many. Counted, not timed."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.places import Place
from watcher.composition import Journey
from watcher.errors import RecordingUnreachable
from watcher.journey.arrive.look import Look
from watcher.sandbox import Sandbox

FEW, MANY = 1_500, 4_500


def calls_of(act: Callable[[], object]) -> int:
    """How many functions and generators this thread enters meanwhile."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def wait(place: Place, journey: Journey, number: int, content: bytes = b"") -> None:
    """So many files more lie there, were looked at, and wait."""
    before = len(journey.arrivals.registry.settler)
    for n in range(number):
        place.drop(f"day-{n % 10}/{before + n}.wav", content)
    journey.arrivals.hints.scan_soon()
    while journey.arrivals.step() <= 0:
        pass
    place.clock.wait(2.5, journey.stopping)
    while journey.arrivals.step() <= 0:
        pass


def second(place: Place, journey: Journey, newcomer: str) -> int:
    """What one second's step costs in which one file comes."""
    place.clock.wait(1.0, journey.stopping)
    place.drop(newcomer, b"")
    journey.arrivals.hint(newcomer.encode(), is_closed=True)
    return calls_of(journey.arrivals.step)


@pytest.mark.parametrize("is_blocked", [False, True], ids=["waiting", "blocked"])
def test_a_second_costs_as_much_with_many_waiting_files_as_with_few(
    is_blocked: bool, place: Place, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of those that wait already is sorted, counted or even touched, blocked ones or others."""

    def refuse(*_: Any) -> None:
        raise RecordingUnreachable("it cannot be read", hint="Let it be.")

    if is_blocked:
        monkeypatch.setattr(Look, "_look_into", refuse)
    with place.opened() as journey:
        wait(place, journey, FEW)
        with_few = max(second(place, journey, f"few-{n}.wav") for n in range(3))
        wait(place, journey, MANY - FEW)
        with_many = max(second(place, journey, f"many-{n}.wav") for n in range(3))
    assert with_many < with_few + 1_000
