"""The course of a drill: recordings are dropped, the program is killed and started again, and all is audited."""

import os
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from watcher.clock import Clock
from watcher.config import Config
from watcher.drill import auditor
from watcher.drill.auditor import Scene
from watcher.drill.droppings import PART_BYTES, Dropped, Droppings, bytes_of
from watcher.drill.ground import Ground, laid_out
from watcher.drill.subject import Subject, check_told
from watcher.drill.terrain import Terrain, survey
from watcher.errors import Exit
from watcher.sandbox import Sandbox

Tell = Callable[[str], object]

_LATENCIES = (0.0, 0.0, 0.02, 0.1)  # of the service's answers, in seconds: a kill shall meet some of them
_STARTING = 0.2  # of the kills, so many fall into the start
_BEYOND = 1.3  # the others fall into this many times the time that an undisturbed round takes
_LONGER, _SHORTER = 1.1, 0.6
_AT_LEAST_SECONDS = 0.3
_PATIENCE_SECONDS = 120.0  # without anything that can be seen to happen
_LOOK_SECONDS = 0.02
_PASSES = 2
_VERDICTS_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a drill has shown. `found`: the promises that were broken, what and where; none where all held."""

    kills: int
    amid: int  # kills that met work under way
    recordings: int
    paid: int
    seconds: float
    terrain: Terrain
    found: list[str] = field(default_factory=list)
    kept: Path | None = None  # where the evidence lies


def carry_out(config: Config, kills: int, seed: int, clock: Clock, ended: Event, tell: Tell) -> Outcome:
    """Kill the program so often at moments spread by the seed, on the site's disks, and audit what comes of it.

    Nothing is left afterwards but, where a promise was broken, the evidence. Raises KeyboardInterrupt once `ended`
    is set; InstanceRunning, FolderError and WatcherError where the drill cannot be carried out.
    """
    key = secrets.token_hex(16)
    service = Sandbox(
        key, writes=(), reads=(), verdict_after_seconds=0.05, max_upload_bytes=PART_BYTES, clock=clock
    )
    with service, laid_out(config, service.url, clock) as ground:
        ground.check_room(bytes_of(kills))
        terrain = survey(ground.places)
        course = _Course(config, ground, service, Subject(ground, key, clock, ended), seed, clock, ended)
        began = clock.monotonic()
        try:
            found = course.run(kills, tell)
        finally:
            course.subject.kill()
        kept = None
        if found:
            tell("a promise is broken; keeping the evidence")
            kept = ground.keep(seed, found, service.ledger.as_json())
        return Outcome(
            course.kills,
            course.amid,
            len(course.dropped),
            service.charged,
            clock.monotonic() - began,
            terrain,
            found,
            kept,
        )


class _Course:
    """One drill under way."""

    def __init__(
        self,
        config: Config,
        ground: Ground,
        service: Sandbox,
        subject: Subject,
        seed: int,
        clock: Clock,
        ended: Event,
    ) -> None:
        self._config = config
        self._ground = ground
        self._service = service
        self.subject = subject
        self._clock = clock
        self._ended = ended
        self._chance = random.Random(seed)  # noqa: S311 — the same moments again, no secret
        self._droppings = Droppings(seed, parts=config.audio.prepare)
        self.dropped: list[Dropped] = []
        self.kills = self.amid = 0
        self._start_seconds = self._round_seconds = 0.0

    def run(self, kills: int, tell: Tell) -> list[str]:
        """Return the promises that were broken, after the first look that finds any."""
        tell("one round undisturbed")
        self._measure()
        while self.kills < kills:
            self._kill_once()
            if found := self._look():
                return found
            scene = self._scene()
            tell(f"kill {self.kills} of {kills}: {len(self.dropped)} dropped, {scene.count_filed()} filed")
        tell("the last start: everything is to come to rest")
        if found := self._come_to_rest():
            return found
        return self._reconcile()

    def _measure(self) -> None:
        """A round without a kill: it works here at all, and how long it takes."""
        self._drop(self._droppings.next_round())
        began = self._clock.monotonic()
        self.subject.start("run")
        self._wait_for(self.subject.is_at_work)
        self._start_seconds = self._clock.monotonic() - began
        self._wait_for(lambda: self._scene().count_filed() == len(self.dropped))
        self._round_seconds = self._clock.monotonic() - began - self._start_seconds
        self.subject.kill()

    def _kill_once(self) -> None:
        self._service.latency_seconds = self._chance.choice(_LATENCIES)
        last, *others = reversed(self._droppings.next_round())
        self._drop(others)
        is_early = self._chance.random() < _STARTING
        share = self._chance.random()
        self.subject.start("run")
        if is_early:
            self.subject.wait(share * self._start_seconds)
        else:
            self._wait_for(self.subject.is_at_work)
            self._drop([last])
            self.subject.wait(share * max(self._round_seconds * _BEYOND, _AT_LEAST_SECONDS))
        self.subject.check_runs()
        self.subject.kill()
        self.kills += 1
        is_amid = self._scene().count_filed() < len(self.dropped)
        self.amid += is_amid
        if not is_early:  # a kill after all is filed proves little: the machine may have become faster
            self._round_seconds *= _LONGER if is_amid else _SHORTER
        if is_early:
            self._drop([last])

    def _come_to_rest(self) -> list[str]:
        """Everything is filed by passes that nobody disturbs. Return what is not as it must be then."""
        self._service.latency_seconds = 0.0
        if self._config.identifai.in_doubt == "hold":
            if found := list(auditor.audit_accepted(self.dropped, list(self._service.ledger))):
                return found
            self._pass()  # which finds what is in doubt, and holds it
            if found := list(auditor.audit_accepted(self.dropped, list(self._service.ledger))):
                return found
            self._call("release", "--all")
        found = []
        for _ in range(_PASSES):
            self._pass()
            scene = self._scene()
            if found := [*self._look(), *auditor.audit_rest(scene, self.dropped)]:
                continue
            return list(auditor.audit_bill(scene, self.dropped, list(self._service.ledger)))
        self._ground.check_room(0)  # what has no room waits, as it should
        return found

    def _pass(self) -> None:
        verdicts = ["--verdicts-for", str(_VERDICTS_SECONDS)] if self._config.verdicts.fetch else []
        self._call("run", "--once", *verdicts)

    def _call(self, command: str, *options: str) -> int:
        """Carry out the command to its end. Return 0 or 1; raises WatcherError for any other end."""
        self.subject.start(command, *options)
        seen, code = self._traces(), self.subject.wait(_PATIENCE_SECONDS)
        while code is None:
            if (now := self._traces()) == seen:
                raise self.subject.hangs(_PATIENCE_SECONDS)
            seen, code = now, self.subject.wait(_PATIENCE_SECONDS)
        if code not in (Exit.WELL, Exit.INCOMPLETE):
            raise self.subject.told_by(code)
        return code

    def _reconcile(self) -> list[str]:
        """What the program says itself: its books agree with the folders."""
        if self._call("reconcile") == Exit.WELL:
            return []
        lines = [line for line in self.subject.said().splitlines() if line.startswith("wrong: ")]
        return [f"the books do not add up: {line.removeprefix('wrong: ')}" for line in lines] or [
            "the books do not add up (`watcher reconcile`)"
        ]

    # What can be seen

    def _scene(self) -> Scene:
        return Scene(self._ground.roots)

    def _look(self) -> list[str]:
        """Return what is not as it must be at any moment."""
        ledger = list(self._service.ledger)
        return [*auditor.audit_wreck(self._scene(), self.dropped), *auditor.audit_money(self.dropped, ledger)]

    def _traces(self) -> tuple[int, int, int]:
        return len(self._service.ledger), self._scene().count_filed(), len(self.subject.said())

    def _wait_for(self, look: Callable[[], bool]) -> None:
        """Wait until it can be seen, while the program runs. WatcherError if that ends, or nothing happens."""
        seen, until = self._traces(), self._clock.monotonic() + _PATIENCE_SECONDS
        while not look():
            self.subject.check_runs()
            self.subject.wait(_LOOK_SECONDS)
            if self._clock.monotonic() > until:
                if (now := self._traces()) == seen:
                    raise self.subject.hangs(_PATIENCE_SECONDS)
                seen, until = now, self._clock.monotonic() + _PATIENCE_SECONDS

    def _drop(self, recordings: list[Dropped]) -> None:
        """Somebody drops them: written in place, or under another name first."""
        root = self._ground.roots["drop"]
        for one in recordings:
            check_told(self._ended)
            path = os.path.join(root, one.path)
            with self._ground.places[0].root.taking(os.fsencode(one.path)):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                written = f"{path}.part" if self._chance.random() < 0.5 else path
                with open(written, "wb") as file:
                    file.write(one.content)
                if written != path:
                    os.rename(written, path)
            self.dropped.append(one)
