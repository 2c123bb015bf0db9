"""Wait for this node's turn to work on the site, and begin when it comes."""

import threading
from contextlib import suppress

from watcher import logs, systemd
from watcher.clock import SystemClock
from watcher.errors import (
    FolderError,
    FolderForeign,
    InstanceRunning,
    LeaseHeld,
    StoreError,
    StoreUnavailable,
    ToldToEnd,
)
from watcher.journey.instance import Instance
from watcher.journey.own_site import settle_own_site
from watcher.journey.recover import record_kept
from watcher.journey.site import Site
from watcher.journey.tenure import Tenure

_log = logs.get_logger(__name__)

_TRIES = 5  # another node that starts is done within one
_LOOK_SECONDS = 2.0  # between two looks at the lease: a few small statements
_WALL = SystemClock()


def begin_at_once(site: Site, tenure: Tenure, instance: Instance) -> None:
    """Begin to work on the site, or raise LeaseHeld, as a pass does. Raises FolderError and StoreError, too."""
    _agree_on_site(site, instance)
    if (lease := tenure.holder()) is None:
        _see_folders(site)
    else:
        raise lease.held()
    tenure.begin()


def stand_by(site: Site, tenure: Tenure, instance: Instance, ended: threading.Event) -> None:
    """Begin to work on the site once no other node does and this one sees its folders.

    What is waited for is logged once, and noted for commands on this machine. Raises ToldToEnd once `ended` is
    set; FolderForeign; StoreError, but not while the server is away.
    """
    told, wait = None, min(_LOOK_SECONDS, (systemd.watchdog_seconds() or 60.0) / 3)
    while (reason := _try_to_begin(site, tenure, instance)) is not None:
        if reason != told:
            told = reason
            hint = "This node begins by itself once that is over. `watcher nodes` shows who works where."
            _log.info("node.standing_by", reason=reason, hint=hint)
            instance.tell_waiting(reason)
            with suppress(StoreError):
                record_kept(site)
        systemd.notify("READY=1")  # standing by is its work now
        systemd.notify("WATCHDOG=1")
        if _WALL.wait(wait, ended):
            raise ToldToEnd("told to end while another node worked on the site")
    instance.tell_waiting("")


def _try_to_begin(site: Site, tenure: Tenure, instance: Instance) -> str | None:
    """Begin if that is possible now: None. Else return what stands in the way."""
    try:
        _agree_on_site(site, instance)
        if (lease := tenure.holder()) is not None:
            return f"{lease} works on this site"
        _see_folders(site)
        tenure.begin()
    except LeaseHeld as error:  # somebody was quicker
        return error.message
    except FolderForeign:
        raise
    except FolderError as error:
        with suppress(StoreError):
            site.pause_for_folder(error)  # for people: nobody works on the site who might know better
        return error.message
    except StoreUnavailable as error:
        return error.message
    return None


def _agree_on_site(site: Site, instance: Instance) -> None:
    """At a first start, give the site the id that all its nodes will know it by, and mark the drop folder with it.

    Each node has thought of one; of several that start at once, the others take that of the first. Raises
    FolderError, StoreError, and InstanceRunning where the folder is not theirs at all.
    """
    for tries in range(_TRIES):
        with site.store.reading() as books:
            if books.site.get("id") is not None:
                return
        try:
            held = instance.alone_in_drop_folder()
        except InstanceRunning:
            if tries == _TRIES - 1:
                raise
            _WALL.wait(_LOOK_SECONDS, threading.Event())
            settle_own_site(site.store, site.drop)
            continue
        with held:
            settle_own_site(site.store, site.drop)
            site.recognise(site.drop)


def _see_folders(site: Site) -> None:
    """Raise FolderError unless these are the very folders that the site's other nodes work on."""
    for folder in (site.drop, site.done, site.failed):
        site.judge(folder)
