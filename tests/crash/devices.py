"""One folder of a site on a disk of its own, which fills, goes or dies under the daemon, and is well again.

A play is written `done:full:17`: whose disk, what befell it, and the seed of all that is left to chance.
"""

import random
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from tests.crash import audit
from tests.crash.audit import Dropped
from tests.crash.long import PART_BYTES, long_recording, parts_of
from tests.crash.powered import cut_power
from tests.crash.trial import Run, Trial
from tests.people import missing, needs_root
from tests.places import KEY, REFUSED, Place
from tests.process.programs import CLOCK, Program, Programs, let_pass
from tests.process.servers import program
from watcher.audio.synthesis import wav
from watcher.errors import Exit
from watcher.sandbox import Sandbox

_MEMORY = "/dev/shm"
_BYTES, _INODES = 64 << 20, 256  # the spool wants 32 MB for a part
_PATIENCE_SECONDS = 90.0  # a step that failed often is tried again within a minute
_MOST_STARTS = 5
_START_AGAIN = "the database was replaced by another file"
_SETTINGS: dict[str, dict[str, Any]] = {
    "limits": {"writes": ["50/second"], "reads": [], "in_flight": 2, "max_upload_bytes": PART_BYTES},
    "arrivals": {"settle_seconds": 0.2, "rescan_seconds": 1},
    "retry": {"first_seconds": 0.1, "max_seconds": 0.5},
    "verdicts": {"first_seconds": 0.05, "max_seconds": 0.5},
    "audio": {"oversize": "split"},
}
ROLES = ("drop", "done", "failed", "spool", "database")


class Device:
    """A small ext4 on a loop device, in memory; `inside` of it is mounted at `point`."""

    def __init__(self, home: Path, point: Path) -> None:
        self._home = home
        self.point = point
        self._numbers = count()
        self._mounted: list[Path] = []
        self._image = home / "image"
        with self._image.open("wb") as file:
            file.truncate(_BYTES)
        subprocess.run(
            [program("mkfs.ext4"), "-q", "-F", "-m", "0", "-N", str(_INODES), "-J", "size=1", self._image],
            check=True,
        )
        self._top = self._attach()
        (self._top / "inside").mkdir()
        self.sync()
        self._bind()

    def fill(self) -> None:
        """Not one byte more can be written."""
        with (self._top / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            for size in (1 << 20, 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def use_up_inodes(self) -> None:
        """Not one file more can be made."""
        with suppress(OSError):
            for number in count():
                (self._top / f"ballast-{number}").touch()

    def clear(self) -> None:
        """What fills it is gone."""
        for path in self._top.glob("ballast*"):
            path.unlink()

    def go(self) -> None:
        """It is away, as a share or a disk that is pulled out; who has files open there keeps them."""
        self._unmount(self.point)

    def come_back(self) -> None:
        self._bind()

    def die(self) -> None:
        """What was not synced is gone, and every call fails from here on."""
        cut_power([str(self._top)])

    def replace(self) -> None:
        """It was plugged in again: another device, with what was durable; the old one stays dead."""
        self._unmount(self.point)
        self._unmount(self._top)
        image = self._home / f"image-{next(self._numbers)}"
        subprocess.run(["cp", "--sparse=always", self._image, image], check=True)
        self._image = image
        self._top = self._attach()
        self._bind()

    def sync(self) -> None:
        """All that was written to it until now is durable."""
        subprocess.run(["sync", "--file-system", self._top], check=True)

    def close(self) -> None:
        for point in reversed(self._mounted.copy()):
            self._unmount(point)

    def _attach(self) -> Path:
        top = self._home / f"top-{next(self._numbers)}"
        top.mkdir()
        self._mount("-t", "ext4", "-o", "loop,commit=300", self._image, top)
        return top

    def _bind(self) -> None:
        self._mount("--bind", self._top / "inside", self.point)

    def _mount(self, *words: str | Path) -> None:
        subprocess.run(["mount", *words], check=True, capture_output=True)
        self._mounted.append(Path(words[-1]))

    def _unmount(self, point: Path) -> None:
        subprocess.run(["umount", "--lazy", point], check=True)
        self._mounted.remove(point)


_HARM: dict[str, tuple[Callable[[Device], None], Callable[[Device], None]]] = {
    "full": (Device.fill, Device.clear),
    "inodes": (Device.use_up_inodes, Device.clear),
    "away": (Device.go, Device.come_back),
    "dead": (Device.die, Device.replace),
}
"""What befalls a disk, and how that ends."""


@dataclass(frozen=True)
class Blow:
    """One play: whose disk, what befalls it, and the seed of the rest."""

    role: str
    harm: str
    seed: int

    @classmethod
    def read(cls, text: str) -> "Blow":
        role, harm, seed = text.split(":")
        return cls(role, harm, int(seed))

    def __str__(self) -> str:
        return f"{self.role}:{self.harm}:{self.seed}"


class Site:
    """A site with one folder on that device, its daemon, and its bank."""

    def __init__(self, ground: Path, role: str, bank: Sandbox, programs: Programs) -> None:
        self.root = ground / "site"
        self.root.mkdir()
        self.bank = bank
        self.dropped: list[Dropped] = []
        self._programs = programs
        (ground / "device").mkdir()
        if role == "database":
            self.device = Device(ground / "device", self.root)
            for name in audit.FOLDERS:
                (ground / name).mkdir()
                (self.root / name).symlink_to(ground / name)
        else:
            (self.root / role).mkdir()
            self.device = Device(ground / "device", self.root / role)
        folders = {name: str(self.root / name) for name in audit.FOLDERS}
        store = {"url": f"sqlite:///{self.root}/watcher.db"}
        place = Place(self.root, bank.url, CLOCK, **_SETTINGS, folders=folders, store=store)
        # No disk that dies takes it along: without one the default service would be asked, which is the real one.
        self._config = Path(shutil.move(place.config_path, ground))
        self._drop = self.root.joinpath("drop").resolve()
        self._numbers = count()

    def drop(self, chance: random.Random) -> None:
        """One more recording lies there: one that is refused, one that goes out in parts, or an ordinary one."""
        number = next(self._numbers)
        kind = chance.choice(["plain", "plain", "refused", "long"])
        if kind == "long":
            content = long_recording(f"{number}")
            dropped = Dropped(content, "done", parts=parts_of(content))
        else:
            content = wav(0.5, seed=number, note=bytes(chance.randint(0, 4000)))
            fate = "failed" if kind == "refused" else "done"
            if kind == "refused":
                self.bank.add_fault(**REFUSED, times=0, sha256=sha256(content).hexdigest())
            dropped = Dropped(content, fate, is_charged=fate == "done")
        (self._drop / f"{number}.wav").write_bytes(content)
        self.dropped.append(dropped)

    def start(self) -> Program:
        return self._programs.start("run", "--config", self._config)

    def is_filed(self) -> bool:
        """Whether each has its receipt, and nothing lies in the drop folder or the spool any more."""
        with suppress(OSError):
            filed = [path for name in ("done", "failed") for path in (self.root / name).rglob("*.json")]
            lying = [path for name in ("drop", "spool") for path in (self.root / name).rglob("*.wav*")]
            return not lying and len(filed) == len(self.dropped)
        return False

    def audit(self) -> Iterator[str]:
        """What is wrong after one more start, which has nothing to do but to tidy up."""
        said = self._programs.call("run", "--once", "--verdicts", "--config", self._config)
        if said.process.returncode not in (Exit.WELL, Exit.INCOMPLETE):
            yield f"the next start: {said.process.returncode} {said.err}"
        yield from audit.audit_wreck(self.root, self.dropped)
        yield from audit.audit_rest(self.root, self.dropped)
        yield from audit.audit_money(self.dropped, self.bank.ledger)
        yield from audit.audit_identifiers(self.root, self.bank.ledger)
        said = self._programs.call("reconcile", "--config", self._config)
        if said.process.returncode != Exit.WELL:
            yield f"reconcile: {said.process.returncode} {said.out} {said.err}"


def _carry_out(blow: Blow) -> list[str]:
    with tempfile.TemporaryDirectory(dir=_MEMORY) as ground, ExitStack() as over:
        bank = over.enter_context(Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0.0))
        programs = Programs(Path(ground, "programs"))
        try:
            site = Site(Path(ground), blow.role, bank, programs)
            over.callback(site.device.close)
            over.callback(programs.close)
            return list(_play(blow, site))
        except Exception:  # noqa: BLE001 — a play that cannot be carried out is a find, and stops no other
            return [traceback.format_exc()]


def _play(blow: Blow, site: Site) -> Iterator[str]:
    chance = random.Random(blow.seed)
    strike, heal = _HARM[blow.harm]
    daemon = site.start()
    daemon.wait_for("daemon.started")
    for _ in range(3):
        site.drop(chance)
    let_pass(chance.uniform(0, 1.2))
    if blow.role == "drop":  # what was dropped there just now is nobody's but the dropper's
        site.device.sync()
    strike(site.device)
    for _ in range(2):
        if blow.role != "drop":
            with suppress(OSError):  # the way there may be away
                site.drop(chance)
        let_pass(chance.uniform(0.2, 1.5))
    heal(site.device)
    site.drop(chance)
    yield from _await_rest(site, daemon)
    yield from site.audit()
    site.device.go()
    yield from (f"on the bare mount point: {path}" for path in site.device.point.rglob("*"))
    site.device.come_back()


def _await_rest(site: Site, daemon: Program) -> Iterator[str]:
    """All is filed: by the daemon itself, or by those that a supervisor starts after it has ended and said why.

    A database on another device may be an older one: there a person is told to start it again, and does so here.
    """
    starts, until = 1, CLOCK.monotonic() + _PATIENCE_SECONDS
    while not site.is_filed() and CLOCK.monotonic() < until:
        if _START_AGAIN in daemon.err:
            daemon.stop()
            daemon, starts = site.start(), starts + 1
        if (code := daemon.process.poll()) is not None:
            is_told = code in set(Exit) and daemon.err.strip() and "Traceback" not in daemon.err
            if not is_told or starts == _MOST_STARTS:
                yield f"it ended with {code}, the {starts}. time: {daemon.err[-4000:]}"
                return
            let_pass(1.0)
            daemon, starts = site.start(), starts + 1
        let_pass(0.05)
    if not site.is_filed():
        yield f"it did not go on by itself: {daemon.err[-6000:]}"
    if code := daemon.stop():
        yield f"it stopped with {code}: {daemon.err[-4000:]}"
    if "Traceback" in daemon.err:
        yield f"not foreseen: {daemon.err[-6000:]}"


def _run(run: Run) -> None:
    needs_root()
    if not Path("/dev/loop-control").exists():
        missing("there are no loop devices here")
    for blow, finds in run.carry_out(_carry_out, map(Blow.read, run.only) if run.only else _plan(run)):
        run.counts["disks"] += 1
        run.judge(blow, finds)


def _plan(run: Run) -> Iterator[Blow]:
    """Everybody's disk meets everything, again and again."""
    while True:
        blows = [Blow(role, harm, run.chance.randrange(10_000)) for role in ROLES for harm in _HARM]
        run.chance.shuffle(blows)
        yield from blows


TRIAL = Trial(
    "devices",
    "the disk of drop, done, failed, the spool or the database fills up, has no inodes left, is away, or dies and "
    "is plugged in again, under the working daemon",
    minutes=4,
    run=_run,
)
