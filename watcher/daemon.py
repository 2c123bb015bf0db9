"""The composition root: what is built from what, who drives it, and how it ends."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor as SchedulerPool
from apscheduler.schedulers.background import BackgroundScheduler

from watcher import __version__, logs, systemd
from watcher.clock import Clock
from watcher.config import Config
from watcher.domain import show_path
from watcher.errors import (
    ConfigError,
    Exit,
    FolderError,
    FolderForeign,
    FolderMissing,
    InstanceRunning,
    WatcherError,
)
from watcher.folders import Folder
from watcher.identifai.client import Client
from watcher.journey.arrive import Arrivals
from watcher.journey.failures import Failures
from watcher.journey.file import Filing
from watcher.journey.instance import Instance
from watcher.journey.keys import FindKey, Keys
from watcher.journey.loss import find_loss
from watcher.journey.reading import note_reading
from watcher.journey.recover import recover
from watcher.journey.site import Site
from watcher.journey.submit import Submission, Turns
from watcher.journey.verdict import Asking
from watcher.journey.vet import Vetting
from watcher.journey.watch import Watch
from watcher.journey.windows import restore_hits
from watcher.key import Key
from watcher.redaction import SHORTEST_SECRET
from watcher.reload import reload
from watcher.silence import find_silent
from watcher.store import Store

_log = logs.get_logger(__name__)

_TICK_SECONDS = 1.0  # the longest a step sleeps: commands beside the daemon write to the database without a word
_MOST_BACK_OFF_SECONDS = 60.0
_TIDY_SECONDS = 600.0
_LISTENING_SECONDS = 15.0
_STOP_SECONDS = 20.0  # for what asks the disk: longer, and it waits for a share that does not answer
_BEGIN_SECONDS = 10.0
_STUCK_SECONDS = 900.0  # a step that takes longer, beside an upload's deadline, makes no progress


@dataclass(frozen=True)
class Journey:
    """The steps of one site, in the order a recording takes them."""

    site: Site
    arrivals: Arrivals
    vetting: Vetting
    submissions: tuple[Submission, ...]
    filing: Filing
    asking: Asking
    keys: Keys
    instance: Instance
    stopping: threading.Event


@contextmanager
def opened(
    config: Config, key: Key, clock: Clock, *, once: bool = False, find_key: FindKey | None = None
) -> Iterator[Journey]:
    """The site is ours alone, its database up to date, nothing is left half done: its steps, ready to run.

    `find_key` reads the key again, where it may have been replaced.

    Raises ConfigError (a folder is missing at the first start), FolderForeign, InstanceRunning, StoreError.
    """
    if len(key.reveal()) < SHORTEST_SECRET:
        reason = f"the key in {key.source} has fewer than {SHORTEST_SECRET} characters, so it is surely wrong"
        _log.warning(
            "key.short", reason=reason, hint="Copy it again, whole. One so short is not kept out of texts."
        )
    with Store(config.store.url) as store:
        site = Site.open(config, store, clock)
        if not os.path.exists(store.database.path):
            check_first_start(site)  # before anything is made for a site that can not start
        with Instance(site) as instance:
            site.failures.keep(clock.now, instance.note)
            _bring_up_to_date(site)
            _await_drop_folder(site, instance, once=once)
            recover(site)
            restore_hits(site, config.limits)
            note_reading(site, key)
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
                yield _assemble(site, client, Keys(site, client, key, find_key), instance, once=once)
            finally:
                client.close()


def _bring_up_to_date(site: Site) -> None:
    """The database is there and of this version. At the first start all three folders must exist before."""
    database = site.store.database
    if loss := find_loss(database.path, site.drop, (site.done, site.failed)):
        raise loss
    with site.store.reading() as books:
        is_known = books.site.get("id") is not None
    if not is_known:
        check_first_start(site)
    before, after = database.migrate()
    if before != after:
        _log.info("database.migrated", before=before, after=after, path=str(database.path))


def _assemble(site: Site, client: Client, keys: Keys, instance: Instance, *, once: bool) -> Journey:
    stopping = threading.Event()
    arrivals = Arrivals(site, scans_once=once)
    turns = Turns()
    workers = range(site.config.limits.in_flight)
    return Journey(
        site=site,
        arrivals=arrivals,
        vetting=Vetting(site, arrivals),
        submissions=tuple(Submission(site, client, keys, arrivals, stopping, turns) for _ in workers),
        filing=Filing(site, arrivals),
        asking=Asking(site, client, keys),
        keys=keys,
        instance=instance,
        stopping=stopping,
    )


def _await_drop_folder(site: Site, instance: Instance, *, once: bool) -> None:
    """The drop folder is there, recognised and ours. A daemon waits for one that is not there."""
    while True:
        try:
            instance.take_drop_folder()
        except FolderError as error:
            if once or isinstance(error, FolderForeign):
                raise
            site.pause_for_folder(error)
            systemd.notify("READY=1")  # waiting for a mount is what it does now, and well
            systemd.notify("WATCHDOG=1")
            wait = min(site.config.arrivals.rescan_seconds, (systemd.watchdog_seconds() or 60.0) / 3)
            site.clock.wait(wait, threading.Event())
        else:
            return


def check_first_start(site: Site) -> None:
    """All three folders are there. Raises ConfigError that names each one that is not."""
    away = []
    for folder in (site.drop, site.done, site.failed):
        try:
            with folder.opened():
                pass
        except FolderMissing:
            away.append(folder)
    if away:
        missing = [f"folders.{folder.name}: {show_path(folder.root)} does not exist" for folder in away]
        paths = " ".join(folder.quoted() for folder in away)
        raise ConfigError(
            f"{site.config.path}: " + "; ".join(missing),
            hint=f"Create what is missing (mkdir -p {paths}), or correct the configuration.",
        )


# The daemon


@dataclass
class Runner:
    """One step, repeated until the end: at once while it has something to do, else when it is due or woken."""

    name: str
    step: Callable[[], float]
    clock: Clock
    stopping: threading.Event
    done_at: float  # monotonic: when the step last came to its end
    wakes: list["Runner"] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    succeeded_at: float | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    _woken: threading.Event = field(default_factory=threading.Event)

    def wake(self) -> None:
        """The step runs now, or once more if it is running."""
        self._woken.set()

    def run(self) -> None:
        """The loop, for the whole life of the daemon."""
        try:
            self._loop()
        finally:
            self.ended.set()

    def _loop(self) -> None:
        troubles = 0
        while not self.stopping.is_set():
            self._woken.clear()  # before the step looks: a wake-up during it is not lost
            try:
                wait = self.step()
            except Exception as error:  # noqa: BLE001 — the one catch-all: what fails is recorded, and tried again
                troubles += 1
                wait = min(2.0**troubles, _MOST_BACK_OFF_SECONDS)
                self._tell(error, wait)
                self.failures.failed(self.name, error, self.succeeded_at)
                self.clock.wait(wait, self.stopping)
                continue
            if troubles:
                troubles = 0
                self.failures.succeeded(self.name)
            self.succeeded_at = self.clock.now()
            self.done_at = self.clock.monotonic()
            if wait > 0:
                self.clock.wait(min(wait, _TICK_SECONDS), self._woken)
                continue
            for runner in self.wakes:
                runner.wake()

    def _tell(self, error: Exception, wait: float) -> None:
        """What is known, such as a full disk, is told in words; what nobody foresaw, with where it came from."""
        told = {"step": self.name, "again_in_seconds": wait}
        if isinstance(error, WatcherError):
            _log.error("step.failed", reason=error.message, hint=error.hint, **told)
        else:
            _log.exception("step.failed", **told)


@dataclass
class Chore:
    """What is done again and again beside the steps. What fails is tried again by the next turn, and ends nobody.

    The same trouble is told once, until a turn went well.
    """

    name: str
    function: Callable[..., object]
    arguments: tuple[object, ...] = ()
    failures: Failures = field(default_factory=Failures)
    ended: threading.Event = field(default_factory=threading.Event)  # the last turn, or none has begun
    _told: str = ""

    def __post_init__(self) -> None:
        self.ended.set()

    def __call__(self) -> None:
        """Raises InstanceRunning alone: then another one has the folder, and we must go."""
        self.ended.clear()
        try:
            self.function(*self.arguments)
            self._told = ""
            self.failures.succeeded(self.name)
        except InstanceRunning:
            raise
        except WatcherError as error:
            self.failures.failed(self.name, error)
            if self._is_news(error):
                _log.warning("daemon.troubled", chore=self.name, reason=error.message, hint=error.hint)
        except Exception as error:  # noqa: BLE001 — as a step's
            self.failures.failed(self.name, error)
            if self._is_news(error):
                _log.exception("daemon.troubled", chore=self.name)
        finally:
            self.ended.set()

    def _is_news(self, error: Exception) -> bool:
        before, self._told = self._told, repr(error)
        return self._told != before


def run(journey: Journey) -> Exit:
    """The daemon ran until SIGTERM or SIGINT, and everything that was in its hands is at rest or recoverable."""
    site, stopping = journey.site, journey.stopping
    ended = threading.Event()
    hang_up = threading.Event()
    heed_signals(ended, hang_up)
    threading.Thread(target=_reload_when_told, args=(journey, hang_up), name="reload", daemon=True).start()
    runners = _runners(journey)
    journey.arrivals.wake = runners["arrive"].wake
    watch = Watch(site, journey.arrivals)
    logs.hear_errors_alone("apscheduler.scheduler")  # else a line each second while a share holds a chore up
    scheduler_pool = SchedulerPool(len(runners) + 5)
    scheduler = BackgroundScheduler(
        executors={"default": scheduler_pool},
        # The defaults would drop a run that is a second late, with only a warning (measured).
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        timezone=UTC,
    )
    deaths: list[BaseException] = []
    scheduler.add_listener(lambda event: _job_died(event, ended, deaths), EVENT_JOB_ERROR)
    for runner in runners.values():
        scheduler.add_job(runner.run, id=runner.name)
    failures = site.failures
    tending = Chore("watch", watch.tend, failures=failures)
    keeping = Chore("instance", journey.instance.keep, failures=failures)
    tidying = Chore("tidy", tidy, (site,), failures)
    scheduler.add_job(tending, "interval", seconds=1, id="watch", next_run_time=datetime.now(UTC))  # noqa: TID251
    scheduler.add_job(keeping, "interval", seconds=5, id="instance")
    listening = Chore("silence", _Listening(site).look, failures=failures)
    scheduler.add_job(listening, "interval", seconds=_LISTENING_SECONDS, id="silence")
    scheduler.add_job(tidying, "interval", seconds=_TIDY_SECONDS, id="tidy")
    if (interval := systemd.watchdog_seconds()) is not None:
        patience = site.config.identifai.deadline_seconds + _STUCK_SECONDS
        telling = Chore("watchdog", _tell_systemd, (runners, site.clock, patience))
        scheduler.add_job(telling, "interval", seconds=interval / 3, id="watchdog")
    scheduler.start()
    _log.info(
        "daemon.started",
        version=__version__,
        drop=site.drop.root,
        service=site.config.identifai.base_url,
        pid=os.getpid(),
    )
    systemd.notify("READY=1")
    ended.wait()
    systemd.notify("STOPPING=1")
    stopping.set()
    for runner in runners.values():
        runner.wake()
    _await_begin(scheduler, runners, site.clock)
    scheduler.shutdown(wait=False)
    if held := _await_end(site, runners, (tending, keeping, tidying)):
        _cut_off(site, held)
    scheduler_pool.shutdown(wait=True)
    watch.stop()
    Chore("checkpoint", site.store.database.checkpoint)()
    _log.info("daemon.stopped")
    if deaths:
        return Exit.RUNNING if isinstance(deaths[0], InstanceRunning) else Exit.INCOMPLETE
    return Exit.WELL


def _await_begin(scheduler: BackgroundScheduler, runners: dict[str, Runner], clock: Clock) -> None:
    """The scheduler has begun every loop, and is through with doing so.

    A stop in the middle of that would end its thread with an error (it looks for a job that it has just begun
    among those of a stopped scheduler), and a loop that it had not come to would be waited for in vain.
    """
    give_up_at = clock.monotonic() + _BEGIN_SECONDS
    while any(scheduler.get_job(name) for name in runners) and clock.monotonic() < give_up_at:
        clock.wait(0.05, threading.Event())


def _await_end(site: Site, runners: dict[str, Runner], chores: Iterable[Chore]) -> list[str]:
    """All has come to its end; the names of what has not, within its bound.

    An upload has the time that it would have had anyway. Where a folder does not answer, no longer than the
    service may take to answer: what is still to be read is not to be had.
    """
    began, clock, service = site.clock.monotonic(), site.clock, site.config.identifai

    def await_each(each: Iterable[Runner | Chore], seconds: float) -> list[str]:
        left = []
        for one in each:
            rest = began + seconds - clock.monotonic()
            if not (clock.wait(rest, one.ended) if rest > 0 else one.ended.is_set()):
                left.append(one.name)
        return left

    senders = [runner for runner in runners.values() if runner.name.startswith(("submit-", "verdict"))]
    others = [runner for runner in runners.values() if runner not in senders]
    held = await_each([*others, *chores], _STOP_SECONDS)
    patience = service.read_timeout_seconds if held and _find_silent(site) else service.deadline_seconds
    return held + await_each(senders, max(patience, _STOP_SECONDS) + 10)


@dataclass
class _Listening:
    """Tells of a folder that does not answer, once, and of its answering again: the steps that wait cannot."""

    site: Site
    silent: list[Folder] = field(default_factory=list)

    def look(self) -> None:
        before, self.silent = self.silent, _find_silent(self.site)
        for folder in self.silent:
            if folder not in before:
                error = folder.silence()
                _log.warning("folder.silent", folder=folder.name, reason=error.message, hint=error.hint)
        for folder in before:
            if folder not in self.silent:
                _log.info("folder.answers", folder=folder.name, path=folder.root)


def _find_silent(site: Site) -> list[Folder]:
    folders = [site.drop, site.done, site.failed]
    silent = find_silent([folder.root for folder in folders])
    return [folder for folder in folders if folder.root in silent]


def bound_stop(journey: Journey) -> None:
    """A pass that was told to stop ends, though what it asked the disk may never be answered."""
    site = journey.site

    def end() -> None:
        journey.stopping.wait()
        site.clock.wait(_STOP_SECONDS, threading.Event())
        service = site.config.identifai
        seconds = service.read_timeout_seconds if _find_silent(site) else service.deadline_seconds
        site.clock.wait(seconds + 10, threading.Event())
        _cut_off(site, ["the pass"])

    threading.Thread(target=end, name="bound", daemon=True).start()


def _cut_off(site: Site, held: list[str]) -> NoReturn:
    """The process ends though some steps do not; what they left half done is recovered at the next start."""
    reason = "; ".join(folder.silence().message for folder in _find_silent(site))
    _log.critical(
        "daemon.cut_off",
        steps=held,
        reason=reason or "these steps did not come to their end",
        hint="The next start takes up what they left. The kernel may keep the process until the share answers.",
    )
    logs.close()
    os._exit(Exit.INCOMPLETE)


def _reload_when_told(journey: Journey, hang_up: threading.Event) -> None:
    """For the life of the process, in a thread of its own: the configuration may lie where nothing answers."""
    reloading = Chore("reload", reload, (journey.site, journey.keys))
    while True:
        hang_up.wait()
        hang_up.clear()  # before it reads: a signal during that is not lost
        reloading()


def hold_hang_ups() -> None:
    """SIGHUP waits for `heed_signals`, where it means no lost terminal: a start may wait long for its folder."""
    if not _terminals():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _terminals() -> list[int]:
    return [descriptor for descriptor in range(3) if os.isatty(descriptor)]


def heed_signals(ended: threading.Event, hang_up: threading.Event | None = None) -> None:
    """SIGTERM or SIGINT sets the event; a second one ends the process at once. Call it before threads begin.

    SIGHUP sets `hang_up`, for what can be read again. It ends, like SIGTERM, who has nothing of the kind, and who
    lost the terminal that it was started at; not who was told to ignore it, as by nohup.

    A thread waits for them, since a handler runs between two steps of the main thread: setting an event which
    that thread waits on could wait for itself.
    """
    numbers, terminals = {signal.SIGTERM, signal.SIGINT}, _terminals()
    is_immune = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    if hang_up is not None or not is_immune:
        numbers.add(signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # inherited by every thread that begins from here on

    def heed() -> None:
        while True:
            number = signal.sigwait(numbers)
            if number == signal.SIGHUP and hang_up is not None and (is_immune or _terminals() == terminals):
                hang_up.set()
            elif not ended.is_set():
                ended.set()
            elif number != signal.SIGHUP:  # of which a terminal that closes sends several
                os._exit(128 + number)  # whatever that cuts off is recovered at the next start

    threading.Thread(target=heed, name="signals", daemon=True).start()


def _runners(journey: Journey) -> dict[str, Runner]:
    """The loops by their names, each with those that it wakes when it has done something.

    A wake-up only saves time: the tick finds the work without one.
    """
    steps: dict[str, Callable[[], float]] = {"arrive": journey.arrivals.step, "vet": journey.vetting.step}
    submitters = [f"submit-{n}" for n in range(1, len(journey.submissions) + 1)]
    steps |= {name: s.step for name, s in zip(submitters, journey.submissions, strict=True)}
    steps["file"] = journey.filing.step
    followers = {"arrive": ["vet"], "vet": [*submitters, "file"], "file": submitters}
    followers |= {name: ["file", "verdict"] for name in submitters}
    if journey.site.config.verdicts.fetch:
        steps["verdict"] = journey.asking.step
        followers["verdict"] = ["file"]
    clock, stopping, failures = journey.site.clock, journey.stopping, journey.site.failures
    began = clock.monotonic()
    runners = {name: Runner(name, step, clock, stopping, began, failures=failures) for name, step in steps.items()}
    for name, names in followers.items():
        runners[name].wakes = [runners[other] for other in names if other in runners]
    return runners


def _job_died(event: JobExecutionEvent, ended: threading.Event, deaths: list[BaseException]) -> None:
    """A loop that ended is no daemon any more: better none at all, which its supervisor starts anew."""
    _log.critical("daemon.broken", job=event.job_id, reason=repr(event.exception))
    deaths.append(event.exception)
    ended.set()


def _tell_systemd(runners: dict[str, Runner], clock: Clock, patience: float) -> None:
    """systemd hears of progress, not of life: nothing when a step has not come to its end for too long."""
    oldest = min(runners.values(), key=lambda runner: runner.done_at)
    stuck_for = clock.monotonic() - oldest.done_at
    if stuck_for > patience:
        _log.error("daemon.stuck", step=oldest.name, seconds=round(stuck_for))
        return
    systemd.notify("WATCHDOG=1")


def tidy(site: Site) -> None:
    """The write-ahead log is in the database file, and hits that count no more are gone."""
    windows = [*site.config.limits.writes, *site.config.limits.reads]
    longest = max((window.seconds for window in windows), default=0.0)
    site.store.tidy(hits_before=site.clock.now() - 2 * longest - 3600)
