"""Power cuts: the stories, on real file systems that lose what was not synced at the moment of the kill.

A cut is written `retry:1:37@xfs`: the second command of that story, the site on xfs, the power cut before its
37th call; `retry:1:37:12@xfs` is the same with another cut before the 12th call of the next start. `load:7@xfs` is
the daemon under load, of the seed 7, with cuts at any moment. The bank lies on no such disk: what it has accepted
must be known after each cut, or be in doubt.
"""

import os
import random
import re
import shutil
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tests.commander import Commander
from tests.crash import audit
from tests.crash.kills import (
    ENVIRONMENT,
    MEMORY,
    NEVER,
    STORIES,
    Harm,
    Mains,
    Play,
    Said,
    Stage,
    Story,
    check_following,
    come_to_rest,
    look_at_wreck,
    play,
)
from tests.crash.powered import POWERED, PoweredDisk, cut_power
from tests.crash.trial import Run, Trial
from tests.people import missing, needs_root
from tests.process.programs import Programs, let_pass
from watcher.audio.synthesis import wav

_AGAIN = 0.1  # of the cuts: the next start has one too
_LONGEST_START = 60  # calls
_LOAD_EVERY = 15  # cuts
_COUNTED = ":0@ext4"  # a story of which only the calls are counted
_COUNTING = 0.2  # of the plays, as long as there are such
_SAMPLE = 100


@dataclass(frozen=True)
class Layout:
    """What lies on which file system."""

    site: str  # the database and the spool
    other: str  # what a story has elsewhere
    is_apart: bool = False  # all three folders are there: no commit's sync makes a rename durable by chance


LAYOUTS = {
    "ext4": Layout("ext4", "xfs"),
    "xfs": Layout("xfs", "ext4"),
    "ext4+xfs": Layout("ext4", "xfs", is_apart=True),
    "xfs+ext4": Layout("xfs", "ext4", is_apart=True),
    "ext4+ext4": Layout("ext4", "ext4", is_apart=True),
}


@contextmanager
def grounds(layout: Layout, story: Story, lying: tuple[str, ...] = ()) -> Iterator[tuple[Path, Path, Mains]]:
    """Two empty folders on disks of this layout; the second on none where the story needs none."""
    with ExitStack() as made:
        points = [Path(made.enter_context(tempfile.TemporaryDirectory(prefix="watcher-cut-"))) for _ in range(2)]
        disks = []
        for kind, point in zip((layout.site, layout.other if story.elsewhere else ""), points, strict=True):
            if kind:
                disks.append(PoweredDisk(kind, point))
                made.callback(disks[-1].close)
        yield points[0], points[1], Mains(disks, lying)


def commander() -> Commander:
    """This process's own: who carries out plays beside it has another."""
    return _commander_of(os.getpid())


@cache
def _commander_of(pid: int) -> Commander:
    return Commander(ENVIRONMENT)


def cut(text: str) -> Play:
    """The cut that is written so was played."""
    told, _, name = text.partition("@")
    words = told.split(":")
    if words[0] == "load":
        return cut_under_load(int(words[1]), LAYOUTS[name])
    act, at, again = (*map(int, words[1:]), 0, 0)[:3]
    return cut_story(STORIES[words[0]], act, Harm(at), LAYOUTS[name], Harm(again) if again else NEVER)


def cut_story(
    story: Story, act: int, harm: Harm, layout: Layout, again: Harm = NEVER, lying: tuple[str, ...] = ()
) -> Play:
    """The power goes at this call of that command. `lying`: the syncs that are not made until then."""
    story = _lay_out(story, layout)
    with grounds(layout, story, lying) as (ground, other, mains):
        return play(story, act, harm, ground, other, commander(), again, mains)


def _lay_out(story: Story, layout: Layout) -> Story:
    return replace(story, elsewhere=audit.FOLDERS) if layout.is_apart else story


# A daemon under load

_CUTS = 4
_LONGEST_SECONDS = 1.5  # from the start of the work to the cut


def _begin(stage: Stage) -> None:
    stage.place.run_once()


LOAD = Story(
    _begin,
    settings={
        "limits": {"writes": [], "in_flight": 4, "max_upload_bytes": 15_000},
        "audio": {"oversize": "split"},
        "arrivals": {"settle_seconds": 0.1, "rescan_seconds": 1, "sidecar": [".xml"]},
    },
)
HOLD = {"identifai": {"in_doubt": "hold"}}


def cut_under_load(seed: int, layout: Layout, lying: tuple[str, ...] = ()) -> Play:
    """People drop all the time, each file synced, and the power goes again and again while the daemon works."""
    chance = random.Random(seed)
    story = replace(LOAD, settings=LOAD.settings | (HOLD if chance.random() < 0.5 else {}))
    story = _lay_out(story, layout)
    finds: list[str] = []
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as notes,
        grounds(layout, story, lying) as (ground, other, mains),
        story.stage(ground, other, commander(), mains) as stage,
    ):
        programs = Programs(Path(notes))
        stage.bank.latency_seconds = 0.02
        try:
            for _ in range(_CUTS):
                daemon = programs.daemon(stage.place)
                for _ in range(chance.randint(1, 4)):
                    drop_some(stage, chance)
                    let_pass(chance.uniform(0, _LONGEST_SECONDS / 4))
                daemon.process.send_signal(signal.SIGKILL)
                cut_power([str(disk.point) for disk in mains.disks])
                daemon.end()
                stage.settle()
                mains.restore()
                finds += look_at_wreck(stage)
        finally:
            programs.close()
        finds += come_to_rest(stage)
    return Play([], Said(0, "", ""), finds)


def drop_some(stage: Stage, chance: random.Random) -> None:
    """Some more recordings of every fate, companions, and what is sent in parts."""
    for _ in range(chance.randint(1, 8)):
        number = len(stage.dropped)
        path = f"{chance.choice(['', 'a/', 'b/c/'])}{number}.wav"
        fate = "failed" if (kind := chance.randrange(8)) < 2 else "done"
        stage.drop(f"{path[:-4]}.xml", fate, f"<call {number}/>".encode(), companion=True)
        match kind:
            case 0:
                stage.refuse(content := _content(number))
                stage.drop(path, fate, content)
            case 1:
                stage.drop(path, fate, f"note {number}".encode())
            case 2:
                stage.drop_long(path)
            case 3:
                stage.drop(path, content=_content(-1))
            case _:
                stage.drop(path, content=_content(number))


def _content(number: int) -> bytes:
    return wav(0.5, seed=number + 1000, note=str(number).encode())


# The trial


def needs_power(*kinds: str) -> None:
    """Skips where no such disks can be made and mounted."""
    needs_root()
    for kind in kinds:
        if shutil.which(f"mkfs.{kind}") is None:
            missing(f"no mkfs.{kind} here. Wanted: apt-get install e2fsprogs xfsprogs")
        with tempfile.TemporaryDirectory(prefix="watcher-cut-") as point:
            try:
                PoweredDisk(kind, Path(point)).close()
            except OSError as error:
                missing(f"no {kind} can be mounted here: {error}")


def _carry_out(text: str) -> Play:
    try:
        return cut(text)
    except Exception:  # noqa: BLE001 — a play that cannot be carried out is a find, and stops no other
        return Play([], Said(0, "", ""), [traceback.format_exc()])


def _run(run: Run) -> None:
    with closing(Commander(ENVIRONMENT)) as commanding:
        check_following(commanding)
    needs_power(*POWERED)
    chosen = _Cuts(run.chance, run.only)
    for text, played in run.carry_out(_carry_out, iter(chosen)):
        if text.endswith(_COUNTED):
            chosen.add(text.removesuffix(_COUNTED), played.calls)
        else:
            run.counts["cuts"] += _CUTS if text.startswith("load") else played.is_killed
        run.judge(text, [f"before {played.calls[-1:]}", *played.finds] if played.finds else [])


class _Cuts:
    """Every call of every story on every layout, those of a kind first that was met least; and days of load.

    A story whose calls are not known is played to its end first. `only`: these, and nothing else.
    """

    def __init__(self, chance: random.Random, only: Sequence[str]) -> None:
        self._chance = chance
        self._stories = (
            [] if only else [f"{name}:{act}" for name in STORIES for act in range(len(STORIES[name].acts))]
        )
        chance.shuffle(self._stories)
        self._uncounted = len(self._stories)
        self._is_loaded = not only
        self._cuts = [("", text) for text in only]
        self._met: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str | None]:
        turn = 0
        while self._cuts or self._uncounted:
            turn += 1
            if self._is_loaded and turn % _LOAD_EVERY == 1:
                yield f"load:{self._chance.randrange(10_000)}@{self._chance.choice(list(LAYOUTS))}"
            elif self._stories and (not self._cuts or self._chance.random() < _COUNTING):
                yield self._stories.pop() + _COUNTED
            elif self._cuts:
                yield self._take()
            else:
                yield None

    def add(self, story: str, calls: list[str]) -> None:
        """These are its calls."""
        self._uncounted -= 1
        for at, call in enumerate(calls, start=1):
            kind = re.sub(r"[0-9a-f]{12,}", "*", call)  # but for names that are made up
            for layout in LAYOUTS:
                again = f":{self._chance.randint(1, _LONGEST_START)}" if self._chance.random() < _AGAIN else ""
                self._cuts.append((f"{kind} {layout}", f"{story}:{at}{again}@{layout}"))

    def _take(self) -> str:
        sample = self._chance.sample(self._cuts, min(len(self._cuts), _SAMPLE))
        taken = min(sample, key=lambda each: self._met[each[0]])
        self._met[taken[0]] += 1
        self._cuts.remove(taken)
        return taken[1]


TRIAL = Trial(
    "power",
    "the power goes, on real ext4 and xfs: before each kind of system call, and at any moment under load",
    minutes=7,
    run=_run,
)
