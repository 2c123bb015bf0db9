"""The composition root: what is built from what, who drives it, and how it ends."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor as SchedulerPool
from apscheduler.schedulers.background import BackgroundScheduler

from watcher import __version__, logs
from watcher.clock import Clock
from watcher.config import Config, Key
from watcher.domain import PauseKind, State, VerdictState, show_path
from watcher.errors import ConfigError, Exit, FolderMissing
from watcher.folders import lock
from watcher.identifai.client import Client
from watcher.journey.arrive import Arrivals, Watch
from watcher.journey.file import Filing
from watcher.journey.recover import recover
from watcher.journey.site import Site
from watcher.journey.submit import Submission
from watcher.journey.verdict import Asking
from watcher.journey.vet import Vetting
from watcher.store import Store, Waiting

_log = logs.get_logger(__name__)

_TICK_SECONDS = 1.0  # the longest a step sleeps: commands beside the daemon write to the database without a word
_MOST_BACK_OFF_SECONDS = 60.0
_LOG_BYTES = 4_000_000  # of the write-ahead log, before it is put into the database
_CANARIES = 3  # so many that fail end `run --once`
_PATIENCE_SECONDS = 60.0  # `run --once` waits so long for files that settle or are given up by themselves


@dataclass(frozen=True)
class Journey:
    """The steps of one site, in the order a recording takes them."""

    site: Site
    arrivals: Arrivals
    vetting: Vetting
    submissions: tuple[Submission, ...]
    filing: Filing
    asking: Asking
    stopping: threading.Event


@contextmanager
def opened(config: Config, key: Key, clock: Clock, *, once: bool = False) -> Iterator[Journey]:
    """The site is ours alone, its database up to date, nothing is left half done: its steps, ready to run.

    Raises ConfigError (a folder is missing at the first start), InstanceRunning, StoreError.
    """
    with Store(config.store.url) as store:
        site = Site.open(config, store, clock)
        check_first_start(site)
        with lock(os.path.join(config.folders.drop, b".watcher")):
            before, after = store.database.migrate()
            if before != after:
                _log.info("database.migrated", before=before, after=after, path=str(store.database.path))
            recover(site)
            service = config.identifai
            client = Client(
                base_url=service.base_url,
                key=key,
                connect_timeout_seconds=service.connect_timeout_seconds,
                read_timeout_seconds=service.read_timeout_seconds,
                deadline_seconds=service.deadline_seconds,
                version=__version__,
                clock=clock,
            )
            try:
                yield _assemble(site, client, once=once)
            finally:
                client.close()


def _assemble(site: Site, client: Client, *, once: bool) -> Journey:
    stopping = threading.Event()
    arrivals = Arrivals(site, scans_once=once)
    workers = range(site.config.limits.in_flight)
    return Journey(
        site=site,
        arrivals=arrivals,
        vetting=Vetting(site, arrivals),
        submissions=tuple(Submission(site, client, arrivals, stopping) for _ in workers),
        filing=Filing(site, arrivals),
        asking=Asking(site, client),
        stopping=stopping,
    )


def check_first_start(site: Site) -> None:
    """All three folders are there. Raises ConfigError that names each one that is not."""
    missing = []
    for folder in (site.drop, site.done, site.failed):
        try:
            with folder.opened():
                pass
        except FolderMissing:
            missing.append(f"folders.{folder.name}: {show_path(folder.root)} does not exist")
    if missing:
        paths = " ".join(line.partition(": ")[2].removesuffix(" does not exist") for line in missing)
        raise ConfigError(
            f"{site.config.path}: " + "; ".join(missing),
            hint=f"Create what is missing (mkdir -p {paths}), or correct the configuration.",
        )


# The daemon


@dataclass
class Runner:
    """One step, run by the scheduler whenever it is due or woken, never twice at a time."""

    name: str
    step: Callable[[], float]
    scheduler: BackgroundScheduler
    clock: Clock
    stopping: threading.Event
    wakes: list["Runner"] = field(default_factory=list)
    done_at: float = 0.0  # monotonic: when a step last came to its end
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _runs: bool = False
    _again: bool = False
    _troubles: int = 0

    def wake(self) -> None:
        """The step runs now, or once more if it is running."""
        with self._lock:
            self._again = True
            if not self._runs:
                self._schedule(0.0)

    def run(self) -> None:
        """The step is repeated until it has nothing to do now; then the scheduler has its next time."""
        with self._lock:
            if self._runs:
                return
            self._runs = True
        wait = 0.0
        while not self.stopping.is_set():
            with self._lock:
                self._again = False
            wait = self._step()
            if wait <= 0:
                for runner in self.wakes:
                    runner.wake()
                continue
            with self._lock:
                if not self._again:
                    break
        with self._lock:
            self._runs = False
            if not self.stopping.is_set():
                self._schedule(min(wait, _TICK_SECONDS))

    def _step(self) -> float:
        try:
            wait = self.step()
        except Exception:  # noqa: BLE001 — the one catch-all: a step that fails is recorded, and tried again
            self._troubles += 1
            wait = min(2.0**self._troubles, _MOST_BACK_OFF_SECONDS)
            _log.exception("step.failed", step=self.name, again_in_seconds=wait)
            self.clock.wait(wait, self.stopping)
            return wait
        self._troubles = 0
        self.done_at = self.clock.monotonic()
        return wait

    def _schedule(self, seconds: float) -> None:
        self.scheduler.add_job(
            self.run,
            "date",
            run_date=datetime.fromtimestamp(self.clock.now() + seconds, UTC),
            id=self.name,
            replace_existing=True,
            misfire_grace_time=None,  # the default of one second drops what comes late, with only a warning
            coalesce=True,
            max_instances=2,  # the second finds the first at work, and leaves it to it
        )


def run(journey: Journey) -> Exit:
    """The daemon ran until SIGTERM or SIGINT, and everything that was in its hands is at rest or recoverable."""
    site, stopping = journey.site, journey.stopping
    steps: list[tuple[str, Callable[[], float]]] = [
        ("arrive", journey.arrivals.step),
        ("vet", journey.vetting.step),
        *((f"submit-{n}", submission.step) for n, submission in enumerate(journey.submissions, 1)),
        ("file", journey.filing.step),
        ("tidy", lambda: tidy(site)),
    ]
    if site.config.verdicts.fetch:
        steps.append(("verdict", journey.asking.step))
    scheduler = BackgroundScheduler(
        executors={"default": SchedulerPool(len(steps) + 2)}, timezone=UTC, daemon=True
    )
    runners = {name: Runner(name, step, scheduler, site.clock, stopping) for name, step in steps}
    submitters = [runner for name, runner in runners.items() if name.startswith("submit")]
    for name, runner in runners.items():
        runner.wakes = [r for other, r in runners.items() if other in _FOLLOWERS.get(name.partition("-")[0], ())]
        if name in ("vet", "file"):
            runner.wakes += submitters
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    watch = Watch(journey.arrivals, site.config.folders.drop, runners["arrive"].wake)
    if site.config.arrivals.watch != "polling":
        watch.start()
    scheduler.start()
    for runner in runners.values():
        runner.wake()
    _log.info(
        "daemon.started",
        version=__version__,
        drop=site.drop.root,
        service=site.config.identifai.base_url,
        pid=os.getpid(),
    )
    notify("READY=1")
    _tend(runners, site.clock, stopping)
    notify("STOPPING=1")
    watch.stop()
    scheduler.shutdown(wait=True)
    site.store.database.checkpoint()
    _log.info("daemon.stopped")
    return Exit.WELL


_FOLLOWERS = {
    "arrive": ("vet",),
    "vet": ("file",),
    "submit": ("file", "verdict"),
    "verdict": ("file",),
}
"""Who is woken when a step has done something. A wake-up saves time; the tick finds the work without one."""


def _tend(runners: dict[str, Runner], clock: Clock, stopping: threading.Event) -> None:
    """Wait for the end, and tell systemd meanwhile that there is progress, as long as there is."""
    interval = watchdog_seconds()
    while not stopping.is_set():
        clock.wait(interval / 3 if interval else 3600.0, stopping)
        oldest = min(runner.done_at for runner in runners.values())
        if interval is not None and clock.monotonic() - oldest < _MOST_BACK_OFF_SECONDS * 2 + 600:
            notify("WATCHDOG=1")


def tidy(site: Site) -> float:
    """The write-ahead log is short. Seconds until that is to be looked at again."""
    if site.store.database.log_size() > _LOG_BYTES:
        windows = [*site.config.limits.writes, *site.config.limits.reads]
        longest = max((window.seconds for window in windows), default=0.0)
        site.store.tidy(hits_before=site.clock.now() - 2 * longest - 3600)
    return 5.0


def notify(message: str) -> None:
    """systemd knows, if it started us and wants to."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        try:
            door.connect("\0" + address[1:] if address.startswith("@") else address)
            door.send(message.encode())
        except OSError as error:
            _log.warning("systemd.unreachable", reason=str(error))


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear of progress; null when it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC")
    if not microseconds or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000


# One pass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one pass is."""

    settling: int
    counts: dict[State, int]
    verdicts_awaited: int
    paused: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one pass ended, and what it left behind, named."""

    exit_code: Exit
    waiting: list[Waiting]
    left: list[str]


def run_once(
    journey: Journey, *, verdicts: bool = False, show: Callable[[Progress], None] = lambda _: None
) -> Outcome:
    """What lay in the drop folder at the first full scan is settled, submitted and filed, as far as can be.

    `verdicts`: the verdicts are waited for too. `show` is called after each round.
    """
    site, clock = journey.site, journey.site.clock
    with site.store.reading() as books:
        failed_before = books.items.counts()[State.FAILED]
    with ThreadPoolExecutor(len(journey.submissions)) as pool:
        while not journey.stopping.is_set():
            waits = [journey.arrivals.step(), journey.vetting.step()]
            waits += pool.map(lambda submission: submission.step(), journey.submissions)
            waits.append(journey.filing.step())
            if verdicts:
                waits.append(journey.asking.step())
            progress = _look(journey)
            show(progress)
            wait = min(waits)
            if wait <= 0:
                continue
            if _is_over(journey, progress, verdicts=verdicts):
                break
            tidy(site)
            clock.wait(min(wait, _TICK_SECONDS), journey.stopping)
    return _conclude(journey, failed_before)


def _look(journey: Journey) -> Progress:
    with journey.site.store.reading() as books:
        counts = books.items.counts()
        verdicts = books.verdicts.counts()
        pauses = books.pauses.active()
    return Progress(
        settling=journey.arrivals.pending(_PATIENCE_SECONDS) + len(journey.arrivals.settled),
        counts=counts,
        verdicts_awaited=verdicts[VerdictState.AWAITED],
        paused=pauses[0].reason if pauses else None,
    )


def _is_over(journey: Journey, progress: Progress, *, verdicts: bool) -> bool:
    if progress.settling:
        return False
    counts = progress.counts
    with journey.site.store.reading() as books:
        pauses = books.pauses.active()
    if any(pause.kind is PauseKind.FOLDER for pause in pauses):
        return True
    moving = counts[State.FILING] + counts[State.RETURNING] + counts[State.SUBMITTING]
    if moving:
        return False
    if counts[State.QUEUED]:
        return _stands(journey)
    return not (verdicts and progress.verdicts_awaited)


def _stands(journey: Journey) -> bool:
    """Whether submitting stands still, and will for longer than one pass should wait."""
    with journey.site.store.reading() as books:
        pauses = books.pauses.active()
    return any(
        pause.kind in (PauseKind.PERSON, PauseKind.CAP)
        or (pause.kind in (PauseKind.ACCOUNT, PauseKind.SERVICE) and pause.tries >= _CANARIES)
        for pause in pauses
    )


def _conclude(journey: Journey, failed_before: int) -> Outcome:
    with journey.site.store.reading() as books:
        counts = books.items.counts()
        unfinished = [s for s in State if s not in (State.DONE, State.FAILED, State.WITHDRAWN)]
        left = [f"{show_path(item.path)}: {item.state}" for item in books.items.listed(unfinished)]
    waiting = journey.arrivals.waiting()
    if counts[State.QUEUED] and _stands(journey):
        exit_code = Exit.UNAVAILABLE
    elif left or waiting or counts[State.FAILED] > failed_before:
        exit_code = Exit.INCOMPLETE
    else:
        exit_code = Exit.WELL
    return Outcome(exit_code, waiting, left)
