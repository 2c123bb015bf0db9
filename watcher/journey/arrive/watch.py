"""The kernel's events, as hints where to look sooner. The scan finds whatever they miss.

watchdog's observer may die, go deaf or never hear anything: its emitter ends at the first error while the observer
claims to be alive (watchdog#452); a watched folder that is removed and created again raises no more events, nor
does one that something was mounted over; a network share never raises any. So the observer is supervised, and
restarted with back-off, each time followed by a full scan.
"""

import os
import secrets
import threading
from dataclasses import dataclass

from watcher import logs
from watcher.clock import Clock
from watcher.errors import FolderError, WatcherError
from watcher.folders.names import draft_name
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.arrive.events import (
    CREATED,
    DELETED,
    MOVED_FROM,
    MOVED_TO,
    OPENED,
    READ,
    WRITTEN,
    Observer,
    listen,
)
from watcher.journey.arrive.openings import Close, Identity, Openings
from watcher.journey.site import Site
from watcher.mounts import MOUNTINFO, Mount, mount_of, mounts_below, read_mounts, resolve
from watcher.text import show_path

_log = logs.get_logger(__name__)

_PROBE_SECONDS = 2.0
_FIRST_BACK_OFF_SECONDS = 1.0
_MOST_BACK_OFF_SECONDS = 300.0
_RENEWAL_SECONDS = 10.0  # between two restarts after lost events, however many are lost


class _Ears:
    """Listens only for the probe: a file that is created to find out whether events come."""

    def __init__(self) -> None:
        self.openings = Openings()
        self.probe = b""
        self.probed = threading.Event()

    def hear(self, path: bytes, mask: int, _cookie: int, /) -> None:
        if mask & CREATED and path == self.probe:
            self.probed.set()

    def hear_of_folder(self, path: bytes, before: bytes | None, *, is_made: bool) -> None:
        """Ignore it."""

    def hear_of_folder_leaving(self, path: bytes) -> None:
        """Ignore it."""

    def miss(self) -> None:
        """Ignore it."""


class _Hints(_Ears):
    """Tracks what is open, and gives hints to arrivals. An exception ends the reading."""

    def __init__(self, arrivals: Arrivals, root: bytes, clock: Clock) -> None:
        super().__init__()
        self.openings = arrivals.openings
        self.has_missed = False
        self._arrivals = arrivals
        self._clock = clock
        self._start = len(os.path.join(root, b""))

    def hear(self, full: bytes, mask: int, cookie: int, /) -> None:
        super().hear(full, mask, cookie)
        path = full[self._start :]
        if mask & OPENED:
            self.openings.opened(path, self._clock.monotonic())
        elif mask & (WRITTEN | READ):
            self._hear_close(full, written=bool(mask & WRITTEN))
        elif mask & CREATED:
            if _has_other_names(full):
                self.openings.linked(path)
            else:
                self.openings.made(path, self._clock.monotonic())
            self._arrivals.hint(path, is_closed=False)
        elif mask & MOVED_FROM:
            self.openings.moved_from(path, cookie, self._arrivals.registry.identity(path))
        elif mask & MOVED_TO:
            identity = _identity(full) if self.openings.has_left else None
            is_closed = self.openings.moved_to(path, cookie, self._clock.monotonic(), identity)
            self._arrivals.hint(path, is_closed=is_closed)
        elif mask & DELETED:
            self.openings.gone(path)

    def _hear_close(self, full: bytes, *, written: bool) -> None:
        path = full[self._start :]
        match self.openings.closed(path, written=written):
            case Close.LAST:  # under this name: opens under its other names are not heard here
                self._arrivals.hint(path, is_closed=not _has_other_names(full))
            case Close.UNPROVEN:
                self._arrivals.hint(path, is_closed=False)
            case Close.READ if self._arrivals.registry.awaits_close(path):
                self._arrivals.hint(path)

    def hear_of_folder_leaving(self, path: bytes) -> None:
        self.openings.folder_leaves(path[self._start :])
        for file, identity in self._arrivals.registry.identities_below(path[self._start :]):
            if not self.openings.is_closed(file):
                self.openings.left(identity)

    def hear_of_folder(self, path: bytes, before: bytes | None, *, is_made: bool) -> None:
        if before is not None:
            self.openings.folder_moved(before[self._start :], path[self._start :])
        else:
            self.openings.folder_came(path[self._start :], is_made=is_made)
        if not is_made:
            self._arrivals.hints.moved_in(path[self._start :], _changed_at(path))
        self._arrivals.hints.scan_soon()  # what is in it already raised no events

    def miss(self) -> None:
        self.has_missed = True
        self._arrivals.hints.doubt()  # first: whoever asks in between must not take what is forgotten for closed
        self.openings.forget()

    def begin_anew(self) -> None:
        """Forget everything: nobody listens now, and what happens meanwhile is not heard."""
        self.miss()
        self.openings.guards_left()  # they went with the observer
        self.openings.attending = lambda _: set()
        self.has_missed = False


def _identity(path: bytes) -> Identity | None:
    """Return the file's device and inode; None where it is gone."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _has_other_names(path: bytes) -> bool:
    try:
        return os.lstat(path).st_nlink > 1
    except OSError:
        return False  # it is gone again


def _changed_at(folder: bytes) -> int:
    """Return when, in ns, the folder was moved here; 0 where it is gone again."""
    try:
        return os.lstat(folder).st_ctime_ns
    except OSError:
        return 0


class Watch:
    """Keeps the observer of the drop folder alive. One thread calls `tend` again and again."""

    def __init__(self, site: Site, arrivals: Arrivals) -> None:
        self._site = site
        self._arrivals = arrivals
        self._root = site.config.folders.drop
        self._hints = _Hints(arrivals, self._root, site.clock)
        self._observer: Observer | None = None
        self._watched: tuple[int, int] | None = None  # the folder that is watched, by device and inode
        self._is_away = False
        self._mounts: list[Mount] = []  # at the folder and below it, when it was set up
        self._table = b""  # the kernel's whole mount table, as of the last look
        self._said = ""
        self._try_at = 0.0
        self._back_off = _FIRST_BACK_OFF_SECONDS
        self._renew_at = 0.0

    def tend(self) -> float:
        """Have events delivered where possible, else scan more often. Return the seconds to sleep."""
        monotonic = self._site.clock.monotonic()
        if self._is_well() or not self._is_there() or monotonic < self._try_at:
            return _FIRST_BACK_OFF_SECONDS
        self.stop()
        self._mounts = mounts_at(self._root)
        chosen, why = choose_watch(self._root, self._site.config.arrivals.watch)
        if chosen == "events" and (failure := self._start()):
            self._try_at = monotonic + self._back_off
            self._back_off = min(2 * self._back_off, _MOST_BACK_OFF_SECONDS)
            chosen, why = "polling", without_events(failure)
        elif chosen == "polling":
            self._try_at = monotonic + _MOST_BACK_OFF_SECONDS
        self._arrivals.scanner.polls = chosen == "polling"
        self._arrivals.hints.scan_soon()  # what came while nobody listened
        if (said := f"{chosen}: {why}") != self._said:
            _log.info("watch.chosen", watch=chosen, reason=why)
            self._said = said
        return _FIRST_BACK_OFF_SECONDS

    def stop(self) -> None:
        """Stop the events; what was heard until now no longer proves anything."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.end()
            self._hints.begin_anew()

    def _is_well(self) -> bool:
        observer = self._observer
        if observer is None or not observer.hears(self._root):
            return False
        if self._hints.has_missed and self._site.clock.monotonic() >= self._renew_at:
            self._renew_at = self._site.clock.monotonic() + _RENEWAL_SECONDS
            _log.warning(
                "watch.overflowed", reason="the kernel's event queue overflowed; everything is scanned anew"
            )
            return False
        return self._site.drop.identity() == self._watched and not self._is_mounted_over()

    def _is_there(self) -> bool:
        """Return whether the drop folder is there. While it is away, nothing is watched, or created there."""
        try:
            self._site.recognise(self._site.drop)
        except WatcherError as error:
            self.stop()
            if not self._is_away and isinstance(error, FolderError):
                self._site.pause_for_folder(error)
            self._is_away = True
            return False
        if self._is_away:
            self._is_away, self._try_at = False, 0.0  # it is back: try at once
        return True

    def _is_mounted_over(self) -> bool:
        """Return whether something was mounted or unmounted here or below: then the events come from elsewhere."""
        try:
            with open(MOUNTINFO, "rb") as file:
                table = file.read()
        except OSError:
            return False
        before, self._table = self._table, table
        return table != before and mounts_at(self._root) != self._mounts

    def _start(self) -> str:
        """Start the observer and probe it. Return why it does not work; "" if it does."""
        self._watched = self._site.drop.identity()
        observer = listen(self._hints, self._root, recursive=True)
        if isinstance(observer, str):
            return observer
        self._observer = observer
        if self._site.config.arrivals.watch == "auto" and not _is_heard(self._root, self._hints):
            self.stop()
            return _UNHEARD
        self._back_off = _FIRST_BACK_OFF_SECONDS
        return ""


def choose_watch(root: bytes, setting: str = "auto") -> tuple[str, str]:
    """Return "events" or "polling" for this folder and every mount below it, and why, in words."""
    if setting != "auto":
        return setting, "arrivals.watch says so"
    found = mounts_at(root)
    remote = [mount for mount in found if mount.is_network]
    kinds = ", ".join(f"{show_path(mount.point)} is {mount}" for mount in remote or found)
    if remote:
        return "polling", f"{kinds}: other machines' changes raise no events here"
    return "events", kinds or "the mount is unknown"


@dataclass(frozen=True, slots=True)
class Choice:
    """Events or polling in one place, the drop folder or a mount point below it, and why."""

    path: bytes
    watch: str
    why: str


def list_choices(root: bytes, setting: str) -> list[Choice]:
    """Return what `choose_watch` chooses, with the reason for the folder and for each mount below it."""
    chosen, _ = choose_watch(root, setting)
    mounts, real = read_mounts(), resolve(root)
    here, below = mount_of(real, mounts), mounts_below(real, mounts)
    remote = next((mount for mount in (here, *below) if mount is not None and mount.is_network), None)

    def choice(path: bytes, mount: Mount | None) -> Choice:
        kind = str(mount or "an unknown file system")
        if setting != "auto":
            why = f"{kind}; arrivals.watch says so"
        elif mount is not None and mount.is_network:
            why = f"{kind}: other machines' changes raise no events here"
        elif remote is not None:
            why = f"{kind}; {show_path(remote.point)} raises no events, and a scan covers everything"
        else:
            why = f"{kind}, on this machine"
        return Choice(path, chosen, why)

    return [choice(root, here), *(choice(mount.point, mount) for mount in below)]


def try_events(root: bytes) -> str:
    """Return why this folder raises no events; "" if it does. Nothing of the trial is left behind.

    Tries this folder alone, not what is below it: a daemon may need the remaining watches.
    """
    probe = _Ears()
    observer = listen(probe, root, recursive=False)
    if isinstance(observer, str):
        return observer
    try:
        return "" if _is_heard(root, probe) else _UNHEARD
    finally:
        observer.end()


def without_events(failure: str) -> str:
    """Return why there is polling after all, and what may help."""
    return f"no events can be had ({failure}); it may help to raise fs.inotify.max_user_watches or _instances"


_UNHEARD = "a probe file raised no event"


def _is_heard(root: bytes, listener: _Ears) -> bool:
    """Return whether a file that is created here raises an event; true where we may not create one."""
    # Nobody can have put anything under this name. If we are killed now, the next start removes it.
    name = draft_name(f"probe-{secrets.token_hex(8)}")
    probe = os.path.join(root, name)
    listener.probed.clear()
    listener.probe = probe
    try:
        os.close(os.open(probe, _NEW, 0o600))
        os.unlink(probe)
    except OSError:
        return True
    return listener.probed.wait(_PROBE_SECONDS)


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def mounts_at(root: bytes) -> list[Mount]:
    """Return the mount that this folder is on, and every one below it."""
    mounts, real = read_mounts(), resolve(root)
    here = mount_of(real, mounts)
    return [mount for mount in (here, *mounts_below(real, mounts)) if mount is not None]
