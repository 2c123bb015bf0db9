"""The composition root: build the steps of a site, ready to be driven."""

import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from watcher import __version__, logs, systemd
from watcher.clock import Clock
from watcher.config import Config
from watcher.errors import (
    ConfigError,
    FolderError,
    FolderForeign,
    FolderMissing,
    LeaseHeld,
    StoreError,
    ToldToEnd,
)
from watcher.folders import LOCK
from watcher.folders.holder import holder_of
from watcher.folders.lock import running
from watcher.identifai.client import Client
from watcher.journey.arrive.admit import Admission
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.file import Filing
from watcher.journey.instance import Instance
from watcher.journey.keys import FindKey, Keys
from watcher.journey.loaded_settings import note_loaded
from watcher.journey.loss import find_loss
from watcher.journey.own_site import settle_own_site
from watcher.journey.prepare.codec import Codec
from watcher.journey.prepare.cutter import all_makers
from watcher.journey.prepare.makers import Makers
from watcher.journey.prepare.preparation import Preparation
from watcher.journey.recover import recover
from watcher.journey.recovery import Found, Left, Rebuilding, check_marks, owners_trusted
from watcher.journey.retain import Retention, sweep_claimed
from watcher.journey.site import Site
from watcher.journey.standby import begin_at_once, stand_by
from watcher.journey.submit import journal
from watcher.journey.submit.submission import Submission
from watcher.journey.submit.windows import restore_rate_events
from watcher.journey.tenure import Tenure, this_node
from watcher.journey.verdict import VerdictPoller
from watcher.key import Key
from watcher.redaction import SHORTEST_SECRET
from watcher.store import Store, load_tables
from watcher.store.local_files import copied_aside
from watcher.text import show_path

_log = logs.get_logger(__name__)
logs.load()  # now: the program's files may be replaced while it runs
load_tables()

_QUICK_SECONDS = 0.5  # for a look at the whole database at a start; what it does not get to, `check` does
_TELLING_SECONDS = 10.0
_LOOK_SECONDS = 2.0  # until it is tried again to upgrade tables that others work with
_START_MICROSECONDS = 60_000_000


@dataclass(frozen=True)
class Journey:
    """The steps of one site, in the order a recording takes them."""

    site: Site
    arrivals: Arrivals
    admission: Admission
    preparation: Preparation
    submissions: tuple[Submission, ...]
    filing: Filing
    verdict_poller: VerdictPoller
    retention: Retention
    keys: Keys
    instance: Instance
    tenure: Tenure | None  # None where the database is a file, which one process uses
    stopping: threading.Event


def nothing(_: Site) -> AbstractContextManager[None]:
    """Return what stands for nothing to enter."""
    return nullcontext()


@contextmanager
def opened(  # noqa: PLR0913 — daemon, pass, demonstration and tests differ in each
    config: Config,
    key: Key,
    clock: Clock,
    *,
    once: bool = False,
    find_key: FindKey | None = None,
    beside: Callable[[Site], AbstractContextManager[None]] = nothing,
    at_work: Callable[[Site], AbstractContextManager[None]] = nothing,
    stopping: threading.Event | None = None,
    ended: threading.Event | None = None,
) -> Iterator[Journey]:
    """Yield the site's steps, ready to run: the site is locked, its database up to date, nothing half done.

    `find_key` reads the key again when it may have been replaced. `beside`: what is entered once the site is
    locked and its database up to date, before its drop folder is waited for, and left at the end; `at_work`: that
    too, but not before this node works on the site. `stopping`: what tells all of it to end; null: one of its own.
    `ended`: set by a signal, if they are heeded already.

    Raises ConfigError (a folder is missing at the first start), FolderForeign, InstanceRunning, StoreError; where
    the database is on a server ToldToEnd and StoreLeaseLost, too.
    """
    if len(key.reveal()) < SHORTEST_SECRET:
        reason = f"the key in {key.source} has fewer than {SHORTEST_SECRET} characters, so it is certainly wrong"
        _log.warning(
            "key.short", reason=reason, hint="Copy the whole key again. One this short is not redacted in the log."
        )
    with Store(config.store.url, config.books, config.notify.noted, account=config.identifai.payer) as store:
        site = Site.open(config, store, clock)
        if store.database.size() is None:
            check_first_start(site)  # before anything is created for a site that cannot start
        with Instance(site, is_pass=once) as instance, ExitStack() as stack:
            site.failures.keep(clock.now, instance.note)
            ended = ended or threading.Event()
            _bring_up_to_date(site, ended, once=once)
            stack.enter_context(beside(site))
            tenure = _begin_tenure(site, instance, stack, ended, once=once)
            stack.enter_context(at_work(site))
            _await_drop_folder(site, instance, tenure, ended, once=once)
            for folder in (site.done, site.failed):  # before anything is paid for: `recover` trusts no bare folder
                with suppress(FolderError):  # the first scan meets it again, and says so
                    site.recognise(folder)
            recover(site)
            sweep_claimed(site)
            restore_rate_events(site, config.limits)
            note_loaded(site, key)
            client = make_client(config, key, clock)
            store.database.tell_outages()
            try:
                yield _assemble(
                    site,
                    client,
                    Keys(site, client, key, find_key),
                    instance,
                    tenure,
                    stopping or threading.Event(),
                    once=once,
                )
            finally:
                client.close()


def make_client(config: Config, key: Key, clock: Clock) -> Client:
    """Return the client of the configured service, with this key."""
    service = config.identifai
    return Client(
        base_url=service.base_url,
        key=key,
        connect_timeout_seconds=service.connect_timeout_seconds,
        read_timeout_seconds=service.read_timeout_seconds,
        deadline_seconds=service.deadline_seconds,
        version=__version__,
        clock=clock,
    )


def _bring_up_to_date(site: Site, ended: threading.Event, *, once: bool) -> None:
    """Create or migrate the database. At the first start all three folders must exist already.

    A daemon waits while older nodes work with the older tables.
    """
    database = site.store.database
    if database.exists():
        database.check_damage(_QUICK_SECONDS)
    settle_own_site(site.store, site.drop)
    if loss := find_loss(site.store, site.drop, (site.done, site.failed)):
        raise loss
    with site.store.reading() as books:
        is_known = books.site.get("id") is not None
    if not is_known:
        check_first_start(site)
    before, after = _migrate(site, ended, once=once)
    if before != after:
        _log.info("database.migrated", before=before, after=after, database=database.name)


def _migrate(site: Site, ended: threading.Event, *, once: bool) -> tuple[str | None, str | None]:
    told = ""
    while True:
        try:
            return site.store.database.migrate(_Upgrade(site.clock))
        except LeaseHeld as error:
            if once:
                raise
            if error.message != told:
                told = error.message
                _log.warning("database.upgrade_waits", reason=error.message, hint=error.hint)
        _be_patient(site.clock, _LOOK_SECONDS, ended)


def _be_patient(clock: Clock, seconds: float, ended: threading.Event) -> None:
    """Wait, as a daemon that is not at work yet. Raises ToldToEnd."""
    systemd.notify("READY=1")  # waiting is its work now
    systemd.notify("WATCHDOG=1")
    if clock.wait(seconds, ended):
        raise ToldToEnd("told to end before it was at work")


def _begin_tenure(
    site: Site, instance: Instance, stack: ExitStack, ended: threading.Event, *, once: bool
) -> Tenure | None:
    """Begin to work on the site, where several nodes may. Those who find another at work wait, but for a pass."""
    terms = site.store.database.terms
    if terms is None:
        return None
    tenure = stack.enter_context(Tenure(site, terms, this_node(site.config)))
    if once:
        begin_at_once(site, tenure, instance)
    else:
        stand_by(site, tenure, instance, ended)
    return tenure


class _Upgrade:
    """Logs how far the database's upgrade has come: each thing that is done, and again every ten seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told = ("", -inf)

    def __call__(self, what: str, number: int, total: int | None) -> None:
        now, (before, at) = self._clock.monotonic(), self._told
        if what == before and now - at < _TELLING_SECONDS:
            return
        self._told = what, now
        _log.info("database.upgrading", doing=what, number=number, of=total)
        systemd.notify(f"EXTEND_TIMEOUT_USEC={_START_MICROSECONDS}")  # else systemd would end it in the middle


def _assemble(
    site: Site,
    client: Client,
    keys: Keys,
    instance: Instance,
    tenure: Tenure | None,
    stopping: threading.Event,
    *,
    once: bool,
) -> Journey:
    if tenure is not None:
        tenure.when_lost(stopping.set)
    arrivals = Arrivals(site, stopping, scans_once=once)
    beginning, ending = threading.Lock(), threading.Lock()
    workers = range(site.config.limits.in_flight)
    return Journey(
        site=site,
        arrivals=arrivals,
        admission=Admission(site, arrivals, stopping),
        preparation=Preparation(site, arrivals, Makers(all_makers(Codec(stopping=stopping))), stopping),
        submissions=tuple(
            Submission(site, client, keys, arrivals, stopping, beginning=beginning, ending=ending) for _ in workers
        ),
        filing=Filing(site, arrivals, stopping),
        verdict_poller=VerdictPoller(site, client, keys),
        retention=Retention(site, stopping),
        keys=keys,
        instance=instance,
        tenure=tenure,
        stopping=stopping,
    )


def _await_drop_folder(
    site: Site, instance: Instance, tenure: Tenure | None, ended: threading.Event, *, once: bool
) -> None:
    """Recognise and lock the drop folder. A daemon waits for one that is not there."""
    while True:
        if tenure is not None:
            tenure.check()
        try:
            instance.take_drop_folder()
        except FolderError as error:
            if once or isinstance(error, FolderForeign):
                raise
            site.pause_for_folder(error)
            wait = min(site.config.arrivals.rescan_seconds, (systemd.watchdog_seconds() or 60.0) / 3)
            _be_patient(site.clock, wait, ended)
        else:
            return


def recover_books(
    config: Config,
    clock: Clock,
    *,
    trusted: Collection[int],
    hashes: bool,
    is_trial: bool,
    tell: Callable[[Left], object],
    show: Callable[[int], object],
) -> Found:
    """Rebuild the site's database from its receipts, or complete it, while no daemon runs: see Rebuilding.

    `trusted`: whose receipts count beside the service's user's. `is_trial`: only say what would come of it, from a
    scratch copy of the database; nothing is changed. Raises InstanceRunning, ConfigError, FolderError, StoreError.
    """
    with Store(config.store.url, config.books, account=config.identifai.payer) as store:
        site = Site.open(config, store, clock)
        path = store.database.path
        check_first_start(site)
        owners = owners_trusted(os.fsencode(path)) | set(trusted)
        options: dict[str, Any] = {"hashes": hashes, "tell": tell, "show": show}
        if is_trial:
            with _scratch(site) as trial:
                return _rebuild(site, trial, owners, is_trial=True, **options)
        with Instance(site, is_pass=True) as instance:
            return _rebuild(site, site, owners, instance=instance, **options)


def _rebuild(
    site: Site, working: Site, owners: Collection[int], *, instance: Instance | None = None, **options: Any
) -> Found:
    """Rebuild the books of `working`: the site itself, or its folders with a scratch copy of its database."""
    database = working.store.database
    settle_own_site(working.store, site.drop)
    is_lost = not database.size()
    if not is_lost:
        database.check_damage(_QUICK_SECONDS)
        is_lost = find_loss(working.store, site.drop, (site.done, site.failed)) is not None
    if is_lost:
        check_marks(site, owners)
    kept = journal.read(site, owners)  # beside the site's own database
    database.migrate()
    with ExitStack() as stack:
        if instance is None:
            for folder in (site.drop, site.done, site.failed):
                working.judge(folder)
        else:
            _begin_tenure(site, instance, stack, threading.Event(), once=True)
            instance.take_drop_folder()
            for folder in (site.done, site.failed):
                site.recognise(folder)
        return Rebuilding(working, owners, kept=kept, **options).run(is_lost=is_lost)


@contextmanager
def _scratch(site: Site) -> Iterator[Site]:
    """Yield the site with a copy of its database, which is gone after the block. Nobody works on the site."""
    path = site.store.database.path
    if site.store.database.is_shared:
        raise StoreError(
            f"{site.store.database.name}: recover --dry-run works on a copy of the database, and none can be "
            "made of one on a server",
            hint="`watcher reconcile` tells what the books lack; recover itself only adds what receipts know.",
        )
    for lock in (f"{path}.instance", os.path.join(os.fsdecode(site.drop.root), os.fsdecode(LOCK))):
        if (holder := holder_of(os.fsencode(lock))) is not None:
            raise running(os.fsencode(lock), holder)
    with copied_aside(path) as copy:
        try:
            with Store(f"sqlite:///{copy}") as store:
                yield replace(site, store=store)
        except StoreError as error:  # it names the copy, which nobody can look at
            message, hint = (words.replace(f"{copy}", f"{path}") for words in (error.message, error.hint))
            raise type(error)(message, hint=hint) from error


def check_first_start(site: Site) -> None:
    """Check that all three folders exist. Raises ConfigError that names each missing one."""
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
