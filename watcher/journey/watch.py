"""The kernel's events, as hints where to look sooner. The scan finds whatever they miss.

watchdog's observer may die, go deaf or never have heard: its emitter ends at the first error while the observer
says it is alive (watchdog#452), a watched folder that is removed and made again tells nothing more, nor does one
that something was mounted over since; a network share never did. So it is looked after, and set up again with
back-off, and each time a full scan follows.
"""

import logging
import os
import secrets
import threading
import warnings
from dataclasses import dataclass

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyFullEmitter, InotifyObserver
from watchdog.observers.inotify_c import InotifyConstants, Mask, inotify_add_watch

from watcher import logs
from watcher.domain import show_path
from watcher.errors import FolderError, WatcherError
from watcher.folders.names import draft_name
from watcher.journey.arrive import Arrivals
from watcher.journey.site import Site
from watcher.mounts import MOUNTINFO, Mount, mount_of, mounts_below, read_mounts

_log = logs.get_logger(__name__)

# At every stop it logs as errors what its own threads find of each other. What counts is looked at here.
logging.getLogger("watchdog.observers.inotify").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=RuntimeWarning, module="watchdog")

_PROBE_SECONDS = 2.0
_FIRST_BACK_OFF_SECONDS = 1.0
_MOST_BACK_OFF_SECONDS = 300.0


class Watch:
    """The observer of the drop folder, kept alive. `tend` is to be called again and again, by one thread."""

    def __init__(self, site: Site, arrivals: Arrivals) -> None:
        self._site = site
        self._arrivals = arrivals
        self._root = site.config.folders.drop
        self._handler = _Hints(arrivals, self._root)
        self._observer: _Observer | None = None
        self._watched: tuple[int, int] | None = None  # the folder that is watched, by device and inode
        self._is_away = False
        self._mounts: list[Mount] = []  # at the folder and below it, when it was set up
        self._table = b""  # the kernel's whole table of mounts, as it was looked at last
        self._said = ""
        self._try_at = 0.0
        self._back_off = _FIRST_BACK_OFF_SECONDS

    def tend(self) -> float:
        """Events are delivered, if the machine can give them; else the scan comes more often. Seconds to sleep."""
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
        self._arrivals.polls = chosen == "polling"
        self._arrivals.scan_soon()  # what came while nobody listened
        if (said := f"{chosen}: {why}") != self._said:
            _log.info("watch.chosen", watch=chosen, reason=why)
            self._said = said
        return _FIRST_BACK_OFF_SECONDS

    def stop(self) -> None:
        """No event is delivered any more."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.end()

    def _is_well(self) -> bool:
        observer = self._observer
        if observer is None or not observer.hears(self._root):
            return False
        return self._site.drop.identity() == self._watched and not self._is_mounted_over()

    def _is_there(self) -> bool:
        """Whether the drop folder is there. While it is away nothing is listened to, or made in its place."""
        try:
            self._site.recognise(self._site.drop)
        except WatcherError as error:
            self.stop()
            if not self._is_away and isinstance(error, FolderError):
                self._site.pause_for_folder(error)
            self._is_away = True
            return False
        if self._is_away:
            self._is_away, self._try_at = False, 0.0  # it is back: not to be waited for
        return True

    def _is_mounted_over(self) -> bool:
        """Whether something was mounted or unmounted here or below: the events come from what was there."""
        try:
            with open(MOUNTINFO, "rb") as file:
                table = file.read()
        except OSError:
            return False
        before, self._table = self._table, table
        return table != before and mounts_at(self._root) != self._mounts

    def _start(self) -> str:
        """The observer runs, and an event of a probe came through; else why not."""
        self._watched = self._site.drop.identity()
        observer = _listen(self._handler, self._root, recursive=True)
        if isinstance(observer, str):
            return observer
        self._observer = observer
        if self._site.config.arrivals.watch == "auto" and not _is_heard(self._root, self._handler):
            self.stop()
            return _UNHEARD
        self._back_off = _FIRST_BACK_OFF_SECONDS
        return ""


def choose_watch(root: bytes, setting: str = "auto") -> tuple[str, str]:
    """Events or polling for this folder and every mount below it, and why, in words for the log."""
    if setting != "auto":
        return setting, "arrivals.watch says so"
    found = mounts_at(root)
    remote = [mount for mount in found if mount.is_network]
    kinds = ", ".join(f"{show_path(mount.point)} is {mount}" for mount in remote or found)
    if remote:
        return "polling", f"{kinds}: other machines' changes make no events here"
    return "events", kinds or "the mount is unknown"


@dataclass(frozen=True, slots=True)
class Choice:
    """Events or polling at one place, the drop folder or a mount point below it, and why."""

    path: bytes
    watch: str
    why: str


def list_choices(root: bytes, setting: str) -> list[Choice]:
    """What `choose_watch` comes to for the folder and for each mount below it: the same for all of them."""
    chosen, _ = choose_watch(root, setting)
    mounts, real = read_mounts(), os.path.realpath(root)
    here, below = mount_of(real, mounts), mounts_below(real, mounts)
    remote = next((mount for mount in (here, *below) if mount is not None and mount.is_network), None)

    def choice(path: bytes, mount: Mount | None) -> Choice:
        kind = str(mount or "an unknown file system")
        if setting != "auto":
            why = f"{kind}; arrivals.watch says so"
        elif mount is not None and mount.is_network:
            why = f"{kind}: other machines' changes make no events here"
        elif remote is not None:
            why = f"{kind}; {show_path(remote.point)} makes no events, and one look goes through everything"
        else:
            why = f"{kind}, on this machine"
        return Choice(path, chosen, why)

    return [choice(root, here), *(choice(mount.point, mount) for mount in below)]


def try_events(root: bytes) -> str:
    """Why no events can be had of this folder; "" where they can. Nothing of the trial is left.

    For this folder alone, not for what is below it: a daemon may need the rest of the watches there are.
    """
    probe = _Probe()
    observer = _listen(probe, root, recursive=False)
    if isinstance(observer, str):
        return observer
    try:
        return "" if _is_heard(root, probe) else _UNHEARD
    finally:
        observer.end()


def without_events(failure: str) -> str:
    """Why it is polling after all, and what may help."""
    return f"no events can be had ({failure}); it may help to raise fs.inotify.max_user_watches or _instances"


_UNHEARD = "a file written to try it was not heard of"


def _is_heard(root: bytes, listener: "_Probe | _Hints") -> bool:
    """Whether a file that is written here is heard of. A folder we can not write to can not be probed."""
    # A name that nobody can have put anything under. If we are killed now, the next start removes it.
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
    """The mount that this folder lies on, and every one below it."""
    mounts, real = read_mounts(), os.path.realpath(root)
    here = mount_of(real, mounts)
    return [mount for mount in (here, *mounts_below(real, mounts)) if mount is not None]


class _Probe(FileSystemEventHandler):
    """Hears of the file that is written to try it, and of nothing else."""

    def __init__(self) -> None:
        self.probed = threading.Event()
        self.probe = b""

    def dispatch(self, event: FileSystemEvent) -> None:
        if os.fsencode(event.src_path) == self.probe:
            self.probed.set()


class _Hints(FileSystemEventHandler):
    """Puts paths where the arrivals step will look, and does nothing else: an exception here kills dispatch."""

    def __init__(self, arrivals: Arrivals, root: bytes) -> None:
        self.probed = threading.Event()
        self.probe = b""
        self._arrivals = arrivals
        self._prefix = os.path.join(root, b"")

    def dispatch(self, event: FileSystemEvent) -> None:
        if event.is_directory:
            if event.event_type in ("created", "moved"):
                self._arrivals.scan_soon()  # what lies in a folder that was moved in makes no events
            return
        if event.event_type not in ("closed", "created", "moved"):
            return
        path = os.fsencode(event.dest_path or event.src_path)
        if not path.startswith(self._prefix):
            return
        if path == self.probe:
            self.probed.set()
            return
        path = path[len(self._prefix) :]
        self._arrivals.hint(path, is_closed=event.event_type != "created")


class _Emitter(InotifyFullEmitter):
    """Tells a file that was moved in from one that was begun, and asks for no event that nobody here reads.

    Above all not for moves out: watchdog holds everything that follows one for half a second, waiting for its
    other half [measured], and filing moves files out all the time.
    """

    def get_event_mask_from_filter(self) -> Mask:
        wanted = InotifyConstants
        return Mask(wanted.IN_CREATE | wanted.IN_CLOSE_WRITE | wanted.IN_MOVED_TO | wanted.IN_DELETE_SELF)

    def watches(self, root: bytes) -> bool:
        """Whether the kernel still watches what lies there: asked once more for a watch, it names the same one."""
        group = self._inotify
        if group is None:
            return False
        before = group._active_callbacks_by_path.get(root)  # noqa: SLF001
        descriptor = self._inotify_fd
        with descriptor._lock:  # noqa: SLF001 — it is closed under this lock
            if descriptor._closed:  # noqa: SLF001
                return False
            return inotify_add_watch(descriptor._inotify_fd, root, group.event_mask) == before  # noqa: SLF001


class _Observer(InotifyObserver):
    """Three threads: one reads what the kernel says, one makes events of it, one delivers them."""

    def __init__(self) -> None:
        super().__init__()
        self._emitter_class = _Emitter

    def hears(self, root: bytes) -> bool:
        """Whether what happens in the folder that lies there now is heard.

        Each thread must be alive: any of them dies at the first error, and the others do not mind. And the kernel
        must still watch this very folder: its watch dies with the folder, though a new one may have its inode.
        """
        return all(thread.is_alive() for thread in (self, self._inotify_fd, *self.emitters)) and all(
            emitter.watches(root) for emitter in self.emitters if isinstance(emitter, _Emitter)
        )

    def end(self) -> None:
        """No thread of it runs any more, nor holds anything, whether it was started or not."""
        self.stop()
        if self.ident is not None:
            self.join()


def _listen(handler: FileSystemEventHandler, root: bytes, *, recursive: bool) -> _Observer | str:
    """An observer whose handler hears what happens in the folder; else why there can be none."""
    observer: _Observer | None = None
    try:
        observer = _Observer()
        observer.schedule(handler, os.fsdecode(root), recursive=recursive)
        observer.start()
    except (OSError, RecursionError) as error:  # the latter of folders nested a thousand deep, on Python 3.11
        if observer is not None:
            observer.end()  # else each try would keep one of the few that a user may have
        return getattr(error, "strerror", None) or str(error)
    return observer
