"""Uploads against the service's fixed windows, simulated event by event: hours of them in a moment.

The client's side is `budget.room_at`, the service's side is the sandbox's throttle; in between there is only time.
"""

import heapq
import itertools
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from watcher.config import Window
from watcher.identifai.budget import room_at
from watcher.sandbox import Refused, Throttle

Latency = Callable[[int], tuple[float, float]]
"""Of the n-th upload: seconds from its last byte's departure to its count, and from there to its answer."""


@dataclass
class Log:
    """The sliding log, in memory: what the ledger is in the database."""

    ends: list[float] = field(default_factory=list)
    unended: int = 0

    def nth_last_end(self, n: int) -> float | None:
        return self.ends[-n] if n <= len(self.ends) else None


@dataclass
class Run:
    """What became of it: when each upload was counted, and how many were refused."""

    counted: list[float] = field(default_factory=list)
    refused: int = 0

    def within(self, seconds: float) -> int:
        """How many were counted in so many seconds from the first one on."""
        return sum(1 for at in self.counted if at < self.counted[0] + seconds)


def simulate(
    limits: Sequence[str],
    latency: Latency,
    *,
    in_flight: int = 1,
    count: int,
    rests: Mapping[int, float] = MappingProxyType({}),
    travel_seconds: float = 0.0,
) -> Run:
    """`count` uploads, each begun as soon as one of `in_flight` workers is free.

    `rests`: before the n-th upload there is nothing to send for so long; so the windows are met in every phase.
    """
    return _Simulation(limits, latency, count, dict(rests), travel_seconds).run(in_flight)


class _Simulation:
    def __init__(
        self, limits: Sequence[str], latency: Latency, count: int, rests: dict[int, float], travel_seconds: float
    ) -> None:
        self._windows, self._throttle = [Window.parse(text) for text in limits], Throttle(limits)
        self._latency, self._count, self._rests, self._travel_seconds = latency, count, rests, travel_seconds
        self._log, self._run = Log(), Run()
        self._begun, self._quiet_until = 0, 0.0
        self._events: list[tuple[float, int, Callable[[float, int], None], int]] = []
        self._order = itertools.count()

    def run(self, in_flight: int) -> Run:
        for _ in range(in_flight):
            self._at(0.0, self._begin)
        while self._events:
            now, _, happen, number = heapq.heappop(self._events)
            happen(now, number)
        return self._run

    def _at(self, time: float, happen: Callable[[float, int], None], number: int = -1) -> None:
        heapq.heappush(self._events, (time, next(self._order), happen, number))

    def _begin(self, now: float, _: int) -> None:
        self._quiet_until = max(self._quiet_until, now + self._rests.pop(self._begun, 0.0))
        if now < self._quiet_until:
            self._at(self._quiet_until, self._begin)
        elif self._begun < self._count:
            self._at(now + self._travel_seconds, self._release, self._begun)
            self._begun += 1

    def _release(self, now: float, number: int) -> None:
        room = room_at(self._windows, self._log.nth_last_end, now, unended=self._log.unended)
        if room > now:
            self._at(room, self._release, number)
            return
        self._log.unended += 1
        self._at(now + self._latency(number)[0], self._arrive, number)

    def _arrive(self, now: float, number: int) -> None:
        if isinstance(self._throttle.hit(now), Refused):
            self._run.refused += 1
        else:
            self._run.counted.append(now)
        self._at(now + self._latency(number)[1], self._answer, number)

    def _answer(self, now: float, _: int) -> None:
        self._log.unended -= 1
        insort(self._log.ends, now)
        self._at(now, self._begin)
