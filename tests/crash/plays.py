"""Every story, killed at each of its system calls, and with each of them failing.

A play is written `retry:1:37`: the second command of that story, killed at its 37th call; `retry:1:37:12` is the
same with the next start killed at its 12th. `retry:1:37:EIO` has that call fail, and `retry:1:37:EIO:1.5` all
calls for so long that are about the same folder, or the database. `retry` alone: every play of that story.
"""

import random
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests.commander import Commander
from tests.crash.kills import ENVIRONMENT, MEMORY, NEVER, STORIES, Harm, Play, Said, check_following, play
from tests.crash.tracer import can_fail
from tests.crash.trial import Run, Trial
from tests.people import missing

_SLACK = (
    3  # threads do not take the very same turns each time: so many calls more than in the run that was counted
)
_AGAIN = 4  # of each series, plays whose next start is killed as well, anywhere
_LONGEST_START = 60  # calls
_COUNTING = 0.2  # of the plays, those in which the calls of one more command are counted
_ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES")
_BROKEN_SECONDS = 1.5  # most of a pass; a daemon lives on after it


@dataclass(frozen=True)
class Playing:
    """One play: which story, which of its commands, what befalls that, and what the next start."""

    story: str
    act: int
    harm: Harm = NEVER
    again: Harm = NEVER

    @classmethod
    def read(cls, text: str) -> "Playing":
        """The one that is written so."""
        story, act, at, *more = text.split(":")
        if more and not more[0].isdecimal():
            return cls(story, int(act), Harm(int(at), error=more[0], seconds=float(more[1]) if more[1:] else 0.0))
        return cls(story, int(act), Harm(int(at)), Harm(int(more[0])) if more else NEVER)

    def __str__(self) -> str:
        more = [self.harm.error] if self.harm.error else [str(self.again.at)] if self.again.at else []
        more += [str(self.harm.seconds)] if self.harm.seconds else []
        return ":".join([self.story, str(self.act), str(self.harm.at), *more])


Plan = Callable[[Playing, int, random.Random], Iterator[Playing]]


@cache
def _commander() -> Commander:
    """This process's own: they who carry out the plays have one each."""
    return Commander(ENVIRONMENT)


def _carry_out(playing: Playing) -> Play:
    with tempfile.TemporaryDirectory(dir=MEMORY) as ground, tempfile.TemporaryDirectory() as other:
        grounds = Path(ground), Path(other)
        try:
            return play(STORIES[playing.story], playing.act, playing.harm, *grounds, _commander(), playing.again)
        except Exception:  # noqa: BLE001 — a play that cannot be carried out is a find, and stops no other
            return Play([], Said(0, "", ""), finds=[traceback.format_exc()])


def _run(run: Run, counted: Harm, plan: Plan, told: str) -> None:
    """`counted`: what befalls nobody, where only the calls are counted; `told`: what a play is, in README."""
    with closing(Commander(ENVIRONMENT)) as commanding:
        check_following(commanding)
    if counted.error and not can_fail():
        missing("calls can be made to fail on x86-64 alone")
    names = [text for text in run.only if ":" not in text] or ([] if run.only else list(STORIES))
    series = [Playing(name, act, counted) for name in names for act in range(len(STORIES[name].acts))]
    playings = [Playing.read(text) for text in run.only if ":" in text]
    run.chance.shuffle(series)
    uncounted = len(series)

    def choose() -> Iterator[Playing | None]:
        """In no order, so that some of each story are played where the time does not suffice."""
        while series or playings or uncounted:
            if series and (not playings or run.chance.random() < _COUNTING):
                yield series.pop()
            elif playings:
                yield playings.pop(run.chance.randrange(len(playings)))
            else:
                yield None

    for playing, played in run.carry_out(_carry_out, choose()):
        if playing.harm == counted:
            uncounted -= 1
            playings += plan(playing, len(played.calls), run.chance)
        else:
            is_met = len(played.calls) >= playing.harm.at
            run.counts[told] += is_met if playing.harm.error else played.is_killed
        at = playing.harm.at or len(played.calls)
        run.judge(playing, [f"at {played.calls[at - 1 : at]}", *played.finds] if played.finds else [])


def _plan_kills(of: Playing, calls: int, chance: random.Random) -> Iterator[Playing]:
    """At each of its calls; and some whose next start is killed as well."""
    yield from (Playing(of.story, of.act, Harm(at)) for at in range(1, calls + 1 + _SLACK))
    for _ in range(_AGAIN):
        again = Harm(chance.randint(1, _LONGEST_START))
        yield Playing(of.story, of.act, Harm(chance.randint(1, max(calls, 1))), again)


def _plan_faults(of: Playing, calls: int, chance: random.Random) -> Iterator[Playing]:
    """Each of its calls fails in each way, alone and with all that follow for a while."""
    for at in range(1, calls + 1):
        for error in _ERRORS:
            for seconds in (0.0, _BROKEN_SECONDS):
                yield Playing(of.story, of.act, Harm(at, error=error, seconds=seconds))


TRIALS = (
    Trial(
        "kills",
        "the real program is killed at each of its system calls that changes something",
        minutes=8,
        run=partial(_run, counted=NEVER, plan=_plan_kills, told="kills"),
    ),
    Trial(
        "faults",
        "a write, sync, rename, link, removal or open of the real program fails with "
        "ENOSPC, EIO, EDQUOT, EROFS or EACCES, once or for a while",
        minutes=6,
        run=partial(_run, counted=Harm(error="EIO"), plan=_plan_faults, told="faults"),
    ),
)
