"""A site whose recordings are queued already, and whose submitting can be followed step by step."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.testing import capture_logs

from tests.places import Place, speech
from watcher.composition import Journey
from watcher.sandbox import LedgerEntry, Sandbox

IDLE = float("inf")


@contextmanager
def queued(place: Place, *names: str, **contents: bytes) -> Iterator[Journey]:
    """An open journey in which these recordings are queued, in this order; `contents` are by name without .wav."""
    with place.opened() as journey:
        add(place, journey, *names, **contents)
        yield journey


def add(place: Place, journey: Journey, *names: str, **contents: bytes) -> None:
    """These recordings are dropped, one after the other, and queued."""
    recordings = {f"{name}.wav": speech(name) for name in names}
    recordings |= {f"{name}.wav": content for name, content in contents.items()}
    for name, content in recordings.items():
        place.drop(name, content)
        journey.arrivals.hints.scan_soon()
        journey.arrivals.step()
        place.clock.wait(2.5, journey.stopping)
        while journey.arrivals.step() <= 0 or journey.admission.step() <= 0:
            pass


def settle(journey: Journey) -> None:
    """Whatever lies in the drop folder is an item, as far as it can be."""
    journey.arrivals.hints.scan_soon()
    journey.arrivals.step()
    journey.site.clock.wait(2.5, journey.stopping)
    while journey.arrivals.step() <= 0 or journey.admission.step() <= 0:
        pass


def drain(journey: Journey, seconds: float = IDLE) -> float:
    """All that can be sent and filed within so many seconds of the clock is. The seconds that took."""
    clock = journey.site.clock
    began = clock.now()
    while True:
        waits = [submission.step() for submission in journey.submissions]
        waits.append(journey.filing.step())
        wait = min(waits)
        if wait <= 0:
            continue
        if wait == IDLE or clock.now() - began + wait > seconds:
            return clock.now() - began
        clock.wait(wait, journey.stopping)


def posts(service: Sandbox) -> list[LedgerEntry]:
    """The submissions that the service saw, whole or not."""
    return [entry for entry in service.ledger if entry.method == "POST"]


Lines = list[dict[str, Any]]


@contextmanager
def listening() -> Iterator[Lines]:
    """The log of the block, as it is written."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    try:
        with capture_logs() as lines:
            yield lines  # type: ignore[misc]
    finally:
        structlog.configure(wrapper_class=before)


def told(lines: Lines, *names: str) -> Lines:
    """The log lines of these events."""
    return [line for line in lines if line["event"] in names]


def pay_table(service: Sandbox) -> dict[str, int]:
    """How often each content was charged."""
    charged: dict[str, int] = {}
    for entry in posts(service):
        if entry.charged and entry.sha256 is not None:
            charged[entry.sha256] = charged.get(entry.sha256, 0) + 1
    return charged
