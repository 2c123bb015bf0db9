"""The composition root: build the steps of a site, ready to be driven."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from watcher import __version__, logs, systemd
from watcher.clock import Clock
from watcher.config import Config
from watcher.errors import ConfigError, FolderError, FolderForeign, FolderMissing
from watcher.identifai.client import Client
from watcher.journey.arrive.admit import Admission
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.file import Filing
from watcher.journey.instance import Instance
from watcher.journey.keys import FindKey, Keys
from watcher.journey.loaded_settings import note_loaded
from watcher.journey.loss import find_loss
from watcher.journey.prepare.codec import Codec
from watcher.journey.prepare.cutter import all_makers
from watcher.journey.prepare.makers import Makers
from watcher.journey.prepare.preparation import Preparation
from watcher.journey.recover import recover
from watcher.journey.retain import Retention
from watcher.journey.site import Site
from watcher.journey.submit.submission import Submission
from watcher.journey.submit.windows import restore_rate_events
from watcher.journey.verdict import VerdictPoller
from watcher.key import Key
from watcher.redaction import SHORTEST_SECRET
from watcher.store import Store
from watcher.text import show_path

_log = logs.get_logger(__name__)


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
    stopping: threading.Event


@contextmanager
def opened(
    config: Config, key: Key, clock: Clock, *, once: bool = False, find_key: FindKey | None = None
) -> Iterator[Journey]:
    """Yield the site's steps, ready to run: the site is locked, its database up to date, nothing half done.

    `find_key` reads the key again when it may have been replaced.

    Raises ConfigError (a folder is missing at the first start), FolderForeign, InstanceRunning, StoreError.
    """
    if len(key.reveal()) < SHORTEST_SECRET:
        reason = f"the key in {key.source} has fewer than {SHORTEST_SECRET} characters, so it is certainly wrong"
        _log.warning(
            "key.short", reason=reason, hint="Copy the whole key again. One this short is not redacted in the log."
        )
    with Store(config.store.url) as store:
        site = Site.open(config, store, clock)
        if not os.path.exists(store.database.path):
            check_first_start(site)  # before anything is created for a site that cannot start
        with Instance(site, is_pass=once) as instance:
            site.failures.keep(clock.now, instance.note)
            _bring_up_to_date(site)
            _await_drop_folder(site, instance, once=once)
            recover(site)
            restore_rate_events(site, config.limits)
            note_loaded(site, key)
            client = make_client(config, key, clock)
            try:
                yield _assemble(site, client, Keys(site, client, key, find_key), instance, once=once)
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


def _bring_up_to_date(site: Site) -> None:
    """Create or migrate the database. At the first start all three folders must exist already."""
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
        stopping=stopping,
    )


def _await_drop_folder(site: Site, instance: Instance, *, once: bool) -> None:
    """Recognise and lock the drop folder. A daemon waits for one that is not there."""
    while True:
        try:
            instance.take_drop_folder()
        except FolderError as error:
            if once or isinstance(error, FolderForeign):
                raise
            site.pause_for_folder(error)
            systemd.notify("READY=1")  # waiting for the mount is its work now
            systemd.notify("WATCHDOG=1")
            wait = min(site.config.arrivals.rescan_seconds, (systemd.watchdog_seconds() or 60.0) / 3)
            site.clock.wait(wait, threading.Event())
        else:
            return


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
