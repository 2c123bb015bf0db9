"""The daemon: run the steps in their loops, and the chores beside them, until it is told to stop."""

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from functools import partial

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor as SchedulerPool
from apscheduler.schedulers.background import BackgroundScheduler

from watcher import __version__, heap, logs, systemd
from watcher.clock import Clock
from watcher.composition import Journey
from watcher.errors import Exit, InstanceRunning, StoreError
from watcher.folders import Folder
from watcher.journey.arrive.watch import Watch
from watcher.journey.site import Site
from watcher.journey.working import note_stalled
from watcher.loops import Chore, Runner
from watcher.reload import reload
from watcher.report.leaving import DailyReport, StatusPage
from watcher.shutdown import await_end, cut_off, find_silent_folders
from watcher.signals import Signals
from watcher.text import JsonObject
from watcher.wishes import Wishing

_log = logs.get_logger(__name__)

_TIDY_SECONDS = 600.0
_HEAP_SECONDS = 60.0
_LISTENING_SECONDS = 15.0
_STATUS_SECONDS = 5.0
_REPORT_SECONDS = 60.0
_BEGIN_SECONDS = 10.0
_LOOK_SECONDS = 2.0
_STEADY_SECONDS = 4.0  # after which a server that answers again is back
_GATHER_SECONDS = 0.003  # from an event to the look: whoever closes a file may open it again at once
_AWAITED = ("watch", "instance", "tidy")  # the chores that a stop waits for
_STALLED_SECONDS = 300.0  # a step that takes longer is reported, and may still end
_PREPARING_SECONDS = 3600.0  # likewise, where a recording is decoded
_STUCK_SECONDS = 900.0  # a step that takes longer than this and an upload's deadline makes no progress


def run(journey: Journey, signals: Signals) -> Exit | None:
    """Run until SIGTERM or SIGINT; afterwards everything it was working on is at rest or recoverable.

    None: this node has lost its lease, and is to stand by again.
    """
    heap.give_back_large_blocks()
    site, stopping, over = journey.site, journey.stopping, signals.over
    signals.heed()
    if journey.tenure is not None:
        journey.tenure.when_lost(over.set)
    reloading = _start_reloading(journey, signals.hang_up)
    runners = _runners(journey)
    journey.arrivals.hints.wake = runners["arrive"].wake
    watch = Watch(site, journey.arrivals)
    journey.instance.look_for_stalled = partial(_find_stalled, site, runners)
    chores = _chores(journey, watch, runners)
    scheduler_pool = SchedulerPool(len(runners) + len(chores))
    deaths: list[BaseException] = []
    scheduler = _schedule(scheduler_pool, runners, chores, site.clock, stopping)
    scheduler.add_listener(lambda event: _job_died(event, over, deaths), EVENT_JOB_ERROR)
    scheduler.start()
    _log.info(
        "daemon.started",
        version=__version__,
        drop=site.drop.root,
        service=site.config.identifai.base_url,
        pid=os.getpid(),
    )
    systemd.notify("READY=1")
    over.wait()
    is_lost = journey.tenure is not None and journey.tenure.is_lost
    systemd.notify("WATCHDOG=1" if is_lost else "STOPPING=1")
    stopping.set()
    for runner in runners.values():
        runner.wake()
    with systemd.soothed_watchdog():
        finished = _end(journey, scheduler, scheduler_pool, runners, chores, watch)
        if is_lost:
            finished = _await_server(journey, signals.ended, finished=finished)
    if deaths:
        return Exit.RUNNING if isinstance(deaths[0], InstanceRunning) else Exit.INCOMPLETE
    if is_lost and not signals.ended.is_set():
        signals.hang_up.set()  # else the thread would wait for the next one
        reloading.join()
        signals.hang_up.clear()
        return None
    _log.info("daemon.stopped")
    return Exit.WELL if finished else Exit.INCOMPLETE


def _end(
    journey: Journey,
    scheduler: BackgroundScheduler,
    pool: SchedulerPool,
    runners: dict[str, Runner],
    chores: Iterable[Chore],
    watch: Watch,
) -> bool:
    """End every loop and chore. Return whether all answers are recorded."""
    site = journey.site
    _await_begin(scheduler, [*runners, *(chore.name for chore in chores)], site.clock)
    scheduler.shutdown(wait=False)
    if held := await_end(site, runners, [chore for chore in chores if chore.name in _AWAITED]):
        cut_off(site, held)
    pool.shutdown(wait=True)
    watch.stop()
    is_finished = _finish(journey)
    Chore("checkpoint", site.store.database.checkpoint)()
    return is_finished


def _await_server(journey: Journey, ended: threading.Event, *, finished: bool) -> bool:
    """Wait until the database's server is there, and all answers are recorded, unless `ended` is set before.

    The lease may be lost because it was away. Returns whether all answers are recorded.
    """
    store, clock = journey.site.store, journey.site.clock
    is_there, was_away = False, False
    while not (is_there and finished) and not ended.is_set():
        try:
            with store.reading() as books:
                books.leases.listed()
            is_there = True
        except StoreError:
            is_there, was_away = False, True
            clock.wait(_LOOK_SECONDS, ended)
        else:
            finished = finished or _finish(journey)
    if was_away and not clock.wait(_STEADY_SECONDS, ended):
        with suppress(StoreError), store.reading() as books:
            books.leases.listed()  # which notes, and tells, that it is back
    return finished


def _finish(journey: Journey) -> bool:
    """Record each sender's last answer. Return whether the database took all."""
    finished = [submission.finish() for submission in journey.submissions]
    return all(finished)


def _chores(journey: Journey, watch: Watch, runners: dict[str, Runner]) -> dict[Chore, float]:
    """Return what is done beside the steps, each with its interval in seconds."""
    site, failures = journey.site, journey.site.failures
    chores = {
        Chore("watch", watch.tend, failures=failures): 1.0,
        Chore("instance", journey.instance.keep, failures=failures): 5.0,
        Chore("silence", _Listening(site).look, failures=failures): _LISTENING_SECONDS,
        Chore("tidy", tidy, (site,), failures): _TIDY_SECONDS,
        Chore("heap", heap.give_back_small_blocks, failures=failures): _HEAP_SECONDS,
        Chore("status-page", StatusPage(site).look, failures=failures): _STATUS_SECONDS,
        Chore("report", DailyReport(site).look, failures=failures): _REPORT_SECONDS,
    }
    if (interval := systemd.watchdog_seconds()) is not None:
        patience = site.config.identifai.deadline_seconds + _STUCK_SECONDS
        chores[Chore("watchdog", _tell_systemd, (runners, site.clock, patience))] = interval / 3
    return chores


def _schedule(
    pool: SchedulerPool,
    runners: dict[str, Runner],
    chores: dict[Chore, float],
    clock: Clock,
    stopping: threading.Event,
) -> BackgroundScheduler:
    """Return a scheduler that begins every loop and the watch at once, and each other chore after its interval.

    It only begins them: what it would repeat, it would at times of the wall clock, and not at all for as long as
    that was set back.
    """
    logs.hear_errors_alone("apscheduler.scheduler")
    scheduler = BackgroundScheduler(
        executors={"default": pool},
        # The defaults would drop a run that is a second late, with only a warning (measured).
        job_defaults={"misfire_grace_time": None},
        timezone=UTC,
    )
    for runner in runners.values():
        scheduler.add_job(runner.run, id=runner.name)
    for chore, seconds in chores.items():
        first = 0.0 if chore.name == "watch" else seconds
        scheduler.add_job(chore.repeat, args=(first, seconds, clock, stopping), id=chore.name)
    return scheduler


def _await_begin(scheduler: BackgroundScheduler, names: list[str], clock: Clock) -> None:
    """Wait until the scheduler has begun every loop and chore.

    A stop in the middle would end its thread with an error (it looks up the job that it has just begun, in a
    stopped scheduler), and we would wait in vain for a loop that never began.
    """
    give_up_at = clock.monotonic() + _BEGIN_SECONDS
    while any(scheduler.get_job(name) for name in names) and clock.monotonic() < give_up_at:
        clock.wait(0.05, threading.Event())


@dataclass
class _Listening:
    """Logs, once, that a folder does not answer, and that it answers again: the steps that wait for it cannot."""

    site: Site
    silent: list[Folder] = field(default_factory=list)

    def look(self) -> None:
        before, self.silent = self.silent, find_silent_folders(self.site)
        for folder in self.silent:
            if folder not in before:
                error = folder.silence()
                _log.warning("folder.silent", folder=folder.name, reason=error.message, hint=error.hint)
        for folder in before:
            if folder not in self.silent:
                _log.info("folder.answers", folder=folder.name, path=folder.root)


def _start_reloading(journey: Journey, hang_up: threading.Event) -> threading.Thread:
    """Reload at each SIGHUP, in a thread of its own: the configuration may lie on a share that does not answer."""
    reloading = Chore("reload", reload, (journey.site, journey.keys))

    def reload_when_told() -> None:
        while hang_up.wait() and not journey.stopping.is_set():
            hang_up.clear()  # before reading: a signal meanwhile is not lost
            reloading()

    thread = threading.Thread(target=reload_when_told, name="reload", daemon=True)
    thread.start()
    return thread


def _runners(journey: Journey) -> dict[str, Runner]:
    """Return the loops by name, each with those that it wakes when it has done something.

    A wake-up only saves time: each loop looks again after its tick anyway.
    """
    steps: dict[str, Callable[[], float]] = {"arrive": journey.arrivals.step, "admit": journey.admission.step}
    submitters = [f"submit-{n}" for n in range(1, len(journey.submissions) + 1)]
    steps |= {name: s.step for name, s in zip(submitters, journey.submissions, strict=True)}
    steps["wish"] = Wishing(journey.site).step
    steps |= {"prepare": journey.preparation.step, "file": journey.filing.step, "retain": journey.retention.step}
    followers = {"arrive": ["admit"], "admit": ["prepare", *submitters, "file"], "prepare": [*submitters, "file"]}
    followers |= {name: ["file", "verdict"] for name in submitters}
    followers["wish"] = ["file", *submitters]
    followers["file"] = submitters
    followers["retain"] = ["file"]  # receipts say what was removed
    if journey.site.config.verdicts.fetch:
        steps["verdict"] = journey.verdict_poller.step
        followers["verdict"] = ["file"]
    clock, stopping, failures = journey.site.clock, journey.stopping, journey.site.failures
    began = clock.monotonic()
    runners = {name: Runner(name, step, clock, stopping, began, failures=failures) for name, step in steps.items()}
    for name in ("prepare", *submitters, "file", "retain", "verdict"):
        if name in runners:
            runners[name].changes = journey.site.store.database.changes
    runners["arrive"].gather_seconds = _GATHER_SECONDS
    for name, names in followers.items():
        runners[name].wakes = [runners[other].wake for other in names if other in runners]

    def tell_of_room() -> None:
        if journey.preparation.may_have_work():
            runners["prepare"].wake()

    for name in ("file", *submitters):
        runners[name].wakes.append(tell_of_room)
    return runners


def _job_died(event: JobExecutionEvent, over: threading.Event, deaths: list[BaseException]) -> None:
    """End the daemon when a loop has died: without it the daemon is useless, and its supervisor restarts it."""
    _log.critical("daemon.broken", job=event.job_id, reason=repr(event.exception))
    deaths.append(event.exception)
    over.set()


def _find_stalled(site: Site, runners: dict[str, Runner]) -> JsonObject:
    """Return, for the note in the lock, the step that has been running for longer than any should; {} for none."""
    monotonic, service = site.clock.monotonic(), site.config.identifai
    bounds = dict.fromkeys(runners, _STALLED_SECONDS)
    bounds["prepare"] = _PREPARING_SECONDS
    bounds |= {name: service.deadline_seconds + 60 for name in runners if name.startswith(("submit-", "verdict"))}
    lasts = {name: monotonic - (runner.begun_at or monotonic) for name, runner in runners.items()}
    stalled = max((name for name in runners if lasts[name] > bounds[name]), key=lasts.__getitem__, default=None)
    return {} if stalled is None else note_stalled(stalled, site.clock.now() - lasts[stalled])


def _tell_systemd(runners: dict[str, Runner], clock: Clock, patience: float) -> None:
    """Notify the watchdog, unless a step has not ended for too long: systemd wants progress, not mere life."""
    for name, runner in runners.items():
        stuck_for = clock.monotonic() - runner.done_at
        if stuck_for > patience + (_PREPARING_SECONDS if name == "prepare" else 0.0):
            _log.error("daemon.stuck", step=name, seconds=round(stuck_for))
            return
    systemd.notify("WATCHDOG=1")


def tidy(site: Site) -> None:
    """Write the write-ahead log into the database file, and delete rate events that no longer count."""
    windows = [*site.config.limits.writes, *site.config.limits.reads]
    longest = max((window.seconds for window in windows), default=0.0)
    site.store.tidy(site.clock.now(), rate_events_for=2 * longest + 3600)
