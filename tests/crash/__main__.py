"""Every story, killed at each of its system calls: `make crash`.

Arguments: the stories to play, if not all; or one play, as a find names it: `retry:1:37` is the second command of
that story, killed at its 37th call, and `retry:1:37:12` the same, with the next start killed at its 12th.
"""

import random
import sys
import tempfile
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.commander import Commander
from tests.crash.kills import ENVIRONMENT, MEMORY, NEVER, STORIES, Kill, Play, play
from watcher.clock import SystemClock

_WORKERS = 2
_SLACK = (
    3  # threads do not take the very same turns each time: so many calls more than in the run that was counted
)
_AGAIN = 4  # of each series, plays whose next start is killed as well, anywhere
_LONGEST_START = 60  # calls


@dataclass(frozen=True)
class Killing:
    """One play: which story, which of its commands, at which call, and at which call of the next start."""

    story: str
    act: int
    at: int = 0
    again: int = 0

    @classmethod
    def read(cls, text: str) -> "Killing":
        """The one that is written so."""
        story, *numbers = text.split(":")
        return cls(story, *map(int, numbers))

    def __str__(self) -> str:
        return ":".join(map(str, (self.story, self.act, self.at, *([self.again] if self.again else []))))


@cache
def _commander() -> Commander:
    return Commander(ENVIRONMENT)


def _carry_out(killing: Killing) -> Play:
    with tempfile.TemporaryDirectory(dir=MEMORY) as ground, tempfile.TemporaryDirectory() as other:
        again = Kill(killing.again) if killing.again else NEVER
        try:
            return play(
                killing.story, killing.act, Kill(killing.at), Path(ground), Path(other), _commander(), again
            )
        except Exception:  # noqa: BLE001 — a play that cannot be carried out is a find, and stops no other
            return Play([], is_killed=True, finds=[traceback.format_exc()])


def main(arguments: list[str]) -> int:
    """Everything was played. 0 where nothing was found wrong."""
    began, seed = SystemClock().monotonic(), random.randrange(10_000)
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    kills, wrong = 0, 0
    with ProcessPoolExecutor(_WORKERS) as pool:
        for name in arguments or STORIES:
            killed = 0
            for killing, played in _play_all(pool, name, chance):
                killed += played.is_killed
                wrong += bool(played.finds)
                if played.finds:
                    print(f"{killing}, before {played.calls[-1:]}", *played.finds, sep="\n    ", flush=True)
            kills += killed
            print(f"{name}: {killed} kills ({SystemClock().monotonic() - began:.0f} s)", flush=True)
    print(f"{kills} kills, {wrong} of them with finds")
    return 1 if wrong else 0


def _play_all(pool: ProcessPoolExecutor, name: str, chance: random.Random) -> Iterator[tuple[Killing, Play]]:
    killings = [Killing.read(name)] if ":" in name else list(_series(pool, name, chance))
    under_way = {pool.submit(_carry_out, killing): killing for killing in killings}
    for done in as_completed(under_way):
        yield under_way[done], done.result()


def _series(pool: ProcessPoolExecutor, name: str, chance: random.Random) -> Iterator[Killing]:
    """Each command undisturbed, to count its calls; then killed at each of them; some of the next starts, too."""
    for act in range(len(STORIES[name].acts)):
        undisturbed = Killing(name, act)
        yield undisturbed
        calls = len(pool.submit(_carry_out, undisturbed).result().calls)
        yield from (Killing(name, act, at) for at in range(1, calls + 1 + _SLACK))
        for _ in range(_AGAIN):
            yield Killing(name, act, chance.randint(1, calls), chance.randint(1, _LONGEST_START))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
