"""The real program, killed at its system calls or by a disk that fails, and the start after it: stories and plays.

A story is what lay there before, and the commands that were then given. It is played with a kill at one call of
one command, or that call fails; what is left is audited, looked at with the commands that only read, and taken up
by the next start.
"""

import json
import os
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

from alembic import command
from alembic.config import Config

from tests.commander import Commander
from tests.crash import audit, tracer
from tests.crash.audit import Dropped
from tests.crash.long import PART_BYTES, long_recording, parts_of
from tests.crash.powered import PoweredDisk
from tests.people import PROJECT, STRANGER, missing
from tests.places import KEY, REFUSED, Place
from watcher.audio.synthesis import wav
from watcher.clock import SystemClock
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.store import Store, revisions

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "LANG": "C.UTF-8",
    "PYTHONPATH": str(PROJECT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "IDENTIFAI_API_KEY": KEY,
}
MEMORY = "/dev/shm"
"""Where the sites lie: a kill is no power cut, so nothing depends on syncs."""

SERVICE = STRANGER.uid if os.geteuid() == 0 and STRANGER.uid is not None else os.geteuid()
"""Whose the site is. Root carries the commands out where root plays: what it leaves must not be its own."""

ONE_PASS = ("run", "--once", "--verdicts")
DAEMON = ("run",)

_QUICK: dict[str, dict[str, Any]] = {
    "limits": {"writes": ["50/second"], "reads": []},
    "arrivals": {"settle_seconds": 0.2, "rescan_seconds": 1},
    "retry": {"first_seconds": 0.1, "max_seconds": 0.2},
    "verdicts": {"first_seconds": 0.02, "max_seconds": 0.1},
}
_PATIENCE_SECONDS = 60.0
_MOST_DECISIONS = 3
_CLOCK = SystemClock()


def check_following(commanding: Commander) -> None:
    """Skips where no program can be followed."""
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        if commanding.call(["--version"], out, err, tracer.Orders(f"{name}/calls", {})):
            told = _read(err).splitlines()[-1:]
            missing(f"no program can be followed here: {told}. Wanted: ptrace, and apt-get install libseccomp2")


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Harm:
    """Before which call the program is killed: the `at`-th (0: none), or the `nth` that this expression finds.

    `error`: that call fails instead, as errno names it; with `seconds`, all do for so long that are about the same
    folder, or the database.
    """

    at: int = 0
    before: str = ""
    nth: int = 1
    error: str = ""
    seconds: float = 0.0


NEVER = Harm()


@dataclass(frozen=True)
class Mains:
    """Where a kill is a power cut as well: the disks that lose what was not synced."""

    disks: Sequence[PoweredDisk] = ()
    lying: tuple[str, ...] = ()  # calls that are said to be made, and are not: syncs that lie

    def sync(self) -> None:
        """All that lies there is durable."""
        for disk in self.disks:
            disk.sync()

    def restore(self) -> None:
        """The power is back, and the journals were replayed."""
        for disk in self.disks:
            disk.restore()


UNFAILING = Mains()


class Stage:
    """One site and its bank, which no kill reaches."""

    def __init__(
        self, place: Place, bank: Sandbox, story: "Story", commanding: Commander, mains: Mains, notes: Path
    ) -> None:
        self.place = place
        self.bank = bank
        self.dropped: list[Dropped] = []
        self.story = story
        self.mains = mains
        self.taken_away: set[str] = set()  # what is not where the database says, since people took it
        self._commander = commanding
        self._notes = notes

    # What was there before

    def drop(
        self, path: str, fate: str = "done", content: bytes | None = None, *, companion: bool = False
    ) -> bytes:
        """Somebody dropped a file whose bytes are to end in done/ or in failed/."""
        content = wav(0.5, seed=len(self.dropped) + 1, note=path.encode()) if content is None else content
        self._put(path, content)
        self.dropped.append(Dropped(content, fate, companion, is_charged=fate == "done"))
        return content

    def drop_long(self, path: str) -> bytes:
        """Somebody dropped a recording that goes out in parts, and is to end in done/."""
        content = long_recording(path)
        self._put(path, content)
        self.dropped.append(Dropped(content, "done", parts=parts_of(content)))
        return content

    def _put(self, path: str, content: bytes) -> None:
        """It is durable before anybody sees it: what a dropper did not sync is no affair of the program's."""
        target = self.place.root / "drop" / path
        hidden = target.with_name(f".{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        with hidden.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(target)
        for folder in (target.parent, *target.parent.parents):
            opened = os.open(folder, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)
            if folder.name == "drop":
                break

    def refuse(self, content: bytes, times: int = 0) -> None:
        """The service refuses these bytes, so many times; 0: always."""
        self.bank.add_fault(**REFUSED, times=times, sha256=sha256(content).hexdigest())

    def fail_before(self, path: str) -> None:
        """A recording that will be accepted the next time lies in failed/."""
        self.refuse(self.drop(path), times=1)
        self.place.run_once()

    # What is done with it

    def call(self, *arguments: str) -> Said:
        """The command was carried out."""
        if self.story.denied:
            return self.trace(arguments, NEVER)[0]
        return self._carry_out(arguments, None, lambda: None)

    def trace(self, arguments: tuple[str, ...], harm: Harm) -> tuple[Said, list[str]]:
        """The command ran, to its end or its kill. What it said, and the calls that it made until then.

        A daemon is ended as soon as all is filed, or can be expected to be.
        """
        log = self._notes / "calls"
        root = self.place.root
        below = {os.path.realpath(root): "", **{os.path.realpath(root / n): n for n in self.story.elsewhere}}
        orders = tracer.Orders(
            str(log),
            below,
            **asdict(harm),
            denied=self.story.denied,
            lying=self.mains.lying if harm != NEVER else (),
            cut=[str(disk.point) for disk in self.mains.disks],
        )

        told: list[int] = []  # a second signal would end it at once
        until = _CLOCK.monotonic() + _PATIENCE_SECONDS

        def end_daemon() -> None:
            with suppress(OSError):  # it has ended, or its disk has
                if not told and (self.is_filed() or _CLOCK.monotonic() > until):
                    told.append(int(_read(log).splitlines()[0]))
                    os.kill(told[0], signal.SIGTERM)

        said = self._carry_out(arguments, orders, end_daemon if arguments == DAEMON else lambda: None)
        return said, _read(log).splitlines()[1:]

    def _carry_out(
        self, arguments: tuple[str, ...], followed: tracer.Orders | None, meanwhile: Callable[[], None]
    ) -> Said:
        out, err = self._notes / "out", self._notes / "err"
        given = (*arguments, "--config", str(self.place.config_path))
        code = self._commander.call(given, out, err, followed, meanwhile)
        return Said(code, _read(out), _read(err))

    def settle(self) -> None:
        """The bank has decided on everything that reached it."""
        until = _CLOCK.monotonic() + _PATIENCE_SECONDS
        while self.bank._peers:
            assert _CLOCK.monotonic() < until, "the bank is still busy"
            _CLOCK.wait(0.002, Event())

    def is_filed(self) -> bool:
        """Whether each recording has its receipt, and nothing lies in the drop folder any more."""
        filed = [path for name in ("done", "failed") for path in (self.place.root / name).rglob("*.json")]
        lying = [path for path in (self.place.root / "drop").rglob("*") if path.is_file() and path.name[0] != "."]
        return not lying and len(filed) == sum(not each.is_companion for each in self.dropped)


@dataclass(frozen=True)
class Story:
    """What lay there before, and the commands that were then given."""

    before: Callable[[Stage], None]
    acts: tuple[tuple[str, ...], ...] = (ONE_PASS,)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()  # folders on another file system
    denied: tuple[str, ...] = ()  # calls that the folders' file system does not know, and how it says so

    @property
    def holds(self) -> bool:
        return self.settings.get("identifai", {}).get("in_doubt") == "hold"

    @property
    def releases(self) -> bool:
        return any("release" in act for act in self.acts)

    @contextmanager
    def stage(self, ground: Path, other: Path, commanding: Commander, mains: Mains = UNFAILING) -> Iterator[Stage]:
        """It is set. Both are empty folders, on two file systems."""
        root = ground / "site"
        root.mkdir()
        for above in (ground, other):
            above.chmod(0o755)  # the service, whose user it is not, goes through them
        for name in self.elsewhere:
            (other / name).mkdir()
            (root / name).symlink_to(other / name)
        with (
            Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0.0) as bank,
            tempfile.TemporaryDirectory(dir=MEMORY) as notes,
        ):
            tables = {name: _QUICK.get(name, {}) | self.settings.get(name, {}) for name in _QUICK | self.settings}
            place = Place(root, bank.url, _CLOCK, **tables)
            stage = Stage(place, bank, self, commanding, mains, Path(notes))
            for folder in (root, *(root / name for name in audit.FOLDERS)):
                os.chown(folder, SERVICE, -1)
            self.before(stage)
            stage.taken_away = set(audit.audit_places(root))
            mains.sync()
            yield stage


@dataclass(frozen=True)
class Play:
    """How it went: the calls made, what the harmed command said, and all that was found wrong."""

    calls: list[str]
    said: Said
    finds: list[str]

    @property
    def is_killed(self) -> bool:
        return self.said.code == 128 + signal.SIGKILL


def play(
    story: "Story",
    act: int,
    harm: Harm,
    ground: Path,
    other: Path,
    commanding: Commander,
    again: Harm = NEVER,
    mains: Mains = UNFAILING,
) -> Play:
    """The story up to this command, which is harmed; then the rest of it, and the audit.

    `again`: a kill of the start after that. Both grounds are empty folders, on two file systems.
    """
    with story.stage(ground, other, commanding, mains) as stage:
        acts = story.acts
        finds: list[str] = []
        for arguments in acts[:act]:
            finds += check(stage.call(*arguments), arguments)
        said, calls = stage.trace(acts[act], harm)
        is_cut_off = said.code == 128 + signal.SIGKILL or (harm.error != "" and said.code != Exit.WELL)
        stage.settle()
        if harm.error:
            finds += check_harmed(stage, said, acts[act])
        if is_cut_off:
            finds += look(stage)
            if again != NEVER and stage.trace(ONE_PASS, again)[0].code == 128 + signal.SIGKILL:
                finds += look(stage)
        elif not harm.error:
            finds += check(said, acts[act])
        rest = acts[act:] if is_cut_off and "run" not in acts[act] else acts[act + 1 :]
        for arguments in rest:
            finds += check(stage.call(*arguments), arguments)
        finds += come_to_rest(stage, has_failed=harm.error != "")
        return Play(calls, said, finds)


def look(stage: Stage) -> Iterator[str]:
    """What a kill leaves, to somebody who looks before the next start."""
    stage.settle()
    stage.mains.restore()
    yield from look_at_wreck(stage)
    if not stage.story.denied:  # without links no file can be made before it has its name
        yield from audit.audit_owners(stage.place.root, SERVICE)
    for arguments in (("status", "--json"), ("list",), ("why", "call.wav")):
        said = stage.call(*arguments)
        is_told_why = said.code == Exit.CONFIG and "the database is of an older version" in said.err
        if (said.code != Exit.WELL or said.err) and not is_told_why:
            yield f"{' '.join(arguments)} after the kill: {said.code} {said.err}"


def look_at_wreck(stage: Stage) -> Iterator[str]:
    """What must be true before the next start, by the folders, the database and the bank's own books."""
    yield from audit.audit_wreck(stage.place.root, stage.dropped)
    yield from audit.audit_database(stage.place.root / "watcher.db")
    yield from (find for find in audit.audit_places(stage.place.root) if find not in stage.taken_away)
    yield from audit.audit_marks(stage.place.root, stage.bank.ledger)


def check_harmed(stage: Stage, said: Said, arguments: tuple[str, ...]) -> Iterator[str]:
    """What a disk failed for a while goes on by itself, or ends with an exit code of ours and says why."""
    if "Traceback" in said.err or said.code not in set(Exit):
        yield f"{' '.join(arguments)} did not foresee it: {said.code} {said.err}"
    elif said.code != Exit.WELL and not (said.err or said.out).strip():
        yield f"{' '.join(arguments)} ended with {said.code}, and did not say why"
    elif said.code == Exit.WELL and arguments == DAEMON and not stage.is_filed():
        yield f"it did not go on by itself: {said.err}"


def come_to_rest(stage: Stage, *, has_failed: bool = False) -> Iterator[str]:
    """The next start brings everything to its end; a person decides where it was told to ask one."""
    story = stage.story
    yield from check(stage.call(*ONE_PASS), ONE_PASS)
    yield from audit.audit_wreck(stage.place.root, stage.dropped)
    if story.holds:
        yield from audit.audit_money(stage.dropped, stage.bank.ledger, is_held_back=not story.releases)
        for _ in range(_MOST_DECISIONS):
            held = [
                json.loads(line)["id"] for line in stage.call("list", "--json", "--state", "held").out.splitlines()
            ]
            if not held:
                break
            yield from check(stage.call("release", *held), ("release",))
            yield from check(stage.call(*ONE_PASS), ONE_PASS)
    yield from audit.audit_rest(stage.place.root, stage.dropped, may_stay=has_failed)
    yield from audit.audit_money(stage.dropped, stage.bank.ledger)
    yield from audit.audit_identifiers(stage.place.root, stage.bank.ledger)
    yield from audit.audit_places(stage.place.root)
    yield from audit.audit_marks(stage.place.root, stage.bank.ledger)
    said = stage.call("reconcile")
    if said.code != Exit.WELL:
        yield f"reconcile: {said.code} {said.out} {said.err}"


def check(said: Said, arguments: tuple[str, ...]) -> Iterator[str]:
    """A run ends with 0, or 1 where something failed; a command with 0, or 2 where it was done before the kill."""
    fine = {Exit.WELL, Exit.INCOMPLETE} if "run" in arguments else {Exit.WELL, Exit.USAGE}
    if said.code not in fine or "Traceback" in said.err:
        yield f"{' '.join(arguments)}: {said.code} {said.err}"


def _read(path: Path) -> str:
    return path.read_text(errors="backslashreplace") if path.exists() else ""


# The stories


def _first_start(stage: Stage) -> None:
    stage.drop("call.wav")


def _ordinary_day(stage: Stage) -> None:
    """One is accepted, one refused, one is no recording, one there already."""
    stage.place.run_once()
    content = stage.drop("call.wav")
    stage.refuse(stage.drop("odd.wav", "failed"))
    stage.drop("notes.wav", "failed", b"Call back on Monday.\n")
    stage.drop("a/twice.wav", content=content)


def _accompanied(stage: Stage) -> None:
    stage.place.run_once()
    stage.drop("a/call.xml", content=b"<call/>", companion=True)
    stage.drop("a/call.wav.done", content=b"ready", companion=True)
    stage.drop("a/call.wav")


def _both_fates(stage: Stage) -> None:
    stage.place.run_once()
    stage.drop("a/call.wav")
    stage.refuse(stage.drop("odd.wav", "failed"))


def _failed(stage: Stage) -> None:
    stage.fail_before("a/call.wav")


def _dragged_back(stage: Stage) -> None:
    stage.fail_before("call.wav")
    os.rename(stage.place.root / "failed/call.wav", stage.place.root / "drop/call.wav")


def _taken_name(stage: Stage) -> None:
    stage.drop("call.wav")
    stage.place.run_once()
    stage.drop("call.wav", content=wav(0.5, seed=99))


def _lost_answer(stage: Stage) -> None:
    stage.place.run_once()
    stage.bank.add_fault("lose_answer", times=1)
    stage.drop("call.wav")


def _service_down(stage: Stage) -> None:
    _both_fates(stage)
    stage.bank.add_fault("status", status=503, times=2)


def _throttled(stage: Stage) -> None:
    _both_fates(stage)
    stage.bank.add_fault("status", status=429, retry_after=0, times=2)


def _back_again(stage: Stage) -> None:
    """It was taken out before it was sent, and has been put back."""
    stage.drop("call.wav")
    outside = (stage.place.root / "drop").resolve().parent / "outside.wav"
    stage.bank.add_fault("close_before_reading", times=0)
    stage.place.run_once()
    os.rename(stage.place.root / "drop/call.wav", outside)
    stage.place.run_once()
    os.rename(outside, stage.place.root / "drop/call.wav")
    stage.bank.clear_faults()


def _held(stage: Stage) -> None:
    _lost_answer(stage)
    stage.place.run_once()


def _given_up(stage: Stage) -> None:
    _held(stage)
    stage.dropped = [replace(each, fate="failed") for each in stage.dropped]


def _older_database(stage: Stage) -> None:
    """The site has worked for a while, with the first version of all."""
    stage.drop("a/before.wav")
    stage.refuse(stage.drop("odd.wav", "failed"))
    stage.place.run_once(verdicts=True)
    _make_first_version(stage.place.config.books)
    stage.drop("call.wav")


def _make_first_version(path: Path) -> None:
    """The database has the first version's tables, and in them what those can hold of what it had."""
    older = path.with_name("older.db")
    older.touch()
    with Store(f"sqlite:///{older}") as store, store.database.writing() as connection:
        config = Config()
        config.set_main_option("script_location", str(revisions.folder()))
        config.attributes["connection"] = connection
        command.upgrade(config, revisions.known()[0])
    with closing(sqlite3.connect(older)) as copy, copy:
        copy.execute("ATTACH ? AS newer", (str(path),))
        for (table,) in copy.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
            held = [
                {row[1] for row in copy.execute(f"PRAGMA {of}.table_info({table})")} for of in ("main", "newer")
            ]
            if table != "alembic_version":
                columns = ", ".join(held[0] & held[1])
                copy.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}")
    os.chown(older, path.stat().st_uid, -1)
    older.replace(path)
    older.with_name("older.db.lock").unlink()


def _in_parts(stage: Stage) -> None:
    stage.place.run_once()
    stage.drop_long("a/long.wav")
    stage.drop("call.wav")


def _in_parts_lost_answer(stage: Stage) -> None:
    stage.place.run_once()
    stage.bank.add_fault("lose_answer", ordinal=3)
    stage.drop_long("long.wav")


def _in_parts_incomplete(stage: Stage) -> None:
    """One of its parts was refused: it is done as far as it was accepted."""
    stage.refuse(parts_of(stage.drop_long("long.wav"))[1], times=1)
    stage.place.run_once()


_HOLD: dict[str, dict[str, Any]] = {"identifai": {"in_doubt": "hold"}}
_PARTS: dict[str, dict[str, Any]] = {
    "limits": {"max_upload_bytes": PART_BYTES},
    "audio": {"oversize": "split", "spool_bytes": 2 * PART_BYTES},
}

STORIES: dict[str, Story] = {
    "first_start": Story(_first_start),
    "first_command": Story(_first_start, (("pause",), ("resume",), ("check", "--as", "root"))),
    "ordinary_day": Story(_ordinary_day),
    "accompanied": Story(_accompanied, settings={"arrivals": {"sidecar": [".xml"], "marker": ".done"}}),
    "taken_name": Story(_taken_name),
    "daemon": Story(_ordinary_day, (DAEMON,), {"limits": {"in_flight": 2}}),
    "other_disk": Story(_both_fates, elsewhere=("done", "failed")),
    "simple_disk": Story(_both_fates, denied=("renameat2=EINVAL",)),
    "simplest_disk": Story(_both_fates, denied=("renameat2=EINVAL", "linkat=EPERM")),
    "retry": Story(_failed, (("retry", "--failed"), ONE_PASS)),
    "retry_from_other_disk": Story(_failed, (("retry", "--failed"), ONE_PASS), elsewhere=("failed",)),
    "dragged_back": Story(_dragged_back),
    "upgrade": Story(_older_database),
    "migrate": Story(_older_database, (("migrate",),)),
    "resubmitted": Story(_lost_answer),
    "service_down": Story(_service_down),
    "throttled": Story(_throttled),
    "back_again": Story(_back_again),
    "held": Story(_lost_answer, settings=_HOLD),
    "released": Story(_held, (("release", "call.wav"), ONE_PASS), settings=_HOLD),
    "given_up": Story(_given_up, (("fail", "call.wav"), ONE_PASS), settings=_HOLD),
    "parts": Story(_in_parts, settings=_PARTS),
    "parts_daemon": Story(_in_parts, (DAEMON,), settings=_PARTS),
    "parts_held": Story(_in_parts_lost_answer, settings=_PARTS | _HOLD),
    "parts_retried": Story(_in_parts_incomplete, (("retry", "long.wav"), ONE_PASS), settings=_PARTS),
    "commands": Story(_both_fates, (("check", "--as", "root"), ("pause",), ("resume",))),
}
