"""The kernel's events in a folder and all below it, each passed on at the moment it is read.

watchdog's observer keeps the watches, one for each folder. Its processing of events is bypassed: after a move out
of the folder it holds back all further events for half a second, waiting for the other half [measured], and filing
moves files out all the time; its queues have no bounds; and it does not report lost events.
"""

import logging
import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from watchdog.events import FileSystemEventHandler
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter, InotifyObserver, InotifyWatchGroup
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
)

from watcher.journey.arrive.openings import Openings

# At every stop it logs errors about its own threads. Whether it works is checked here.
logging.getLogger("watchdog.observers.inotify").setLevel(logging.CRITICAL)
logging.getLogger("watchdog.observers.inotify_c").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=RuntimeWarning, module="watchdog")

CREATED = InotifyConstants.IN_CREATE
OPENED = InotifyConstants.IN_OPEN
WRITTEN = InotifyConstants.IN_CLOSE_WRITE
READ = InotifyConstants.IN_CLOSE_NOWRITE
MOVED_FROM = InotifyConstants.IN_MOVED_FROM
MOVED_TO = InotifyConstants.IN_MOVED_TO
DELETED = InotifyConstants.IN_DELETE

_IS_FOLDER = InotifyConstants.IN_ISDIR
_LOOKED_AT = OPENED | READ
# Not for unlinked files: a writer of one would be taken for a writer of its successor.
_OF_FOLDERS = Mask(
    (CREATED | OPENED | WRITTEN | READ | MOVED_FROM | MOVED_TO | DELETED)
    | (InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_EXCL_UNLINK)
)
# Added, not set: should a watched folder have taken the name meanwhile, it keeps its own mask.
_OF_FILES = Mask(OPENED | WRITTEN | READ | InotifyConstants.IN_DONT_FOLLOW | InotifyConstants.IN_MASK_ADD)

_MOST_MOVING = 256
_CATCH_UP_SECONDS = 1.0


class Listener(Protocol):
    """Receives the events. An exception ends the reading for good; paths are absolute."""

    openings: Openings

    def hear(self, path: bytes, mask: int, cookie: int, /) -> None:
        """Something happened to this file, or to anything else that is not a folder."""

    def hear_of_folder_leaving(self, path: bytes) -> None:
        """A folder is being moved away from here; it is not known where to."""

    def hear_of_folder(self, path: bytes, before: bytes | None, *, is_made: bool) -> None:
        """A folder was created there, or moved there, from `before` if that was watched."""

    def miss(self) -> None:
        """Events were lost."""


class _Reader(InotifyFD):
    """One thread reads what the kernel says."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_ended: Callable[[], None] = lambda: None

    def catch_up(self) -> bool:
        """Wait until all that the kernel has said by now is passed on. Return whether it was, within a second."""
        mark = _Mark()
        with self._lock:  # it is closed under this lock
            if self._closed:
                return False
            # The end of a watch is an event as well, and comes after whatever was said before it. What is watched,
            # for a moment, is the reader's own pipe.
            pipe = b"/proc/self/fd/%d" % self._kill_r
            try:
                wd = self._add_callback(pipe, Mask(InotifyConstants.IN_DELETE_SELF), mark, CallbackId(id(mark)))
            except OSError:
                return False  # no watches are left
            inotify_rm_watch(self._inotify_fd, wd)
        return mark.passed.wait(_CATCH_UP_SECONDS) and not self._closed  # at its end all marks are let go

    def run(self) -> None:
        while self.should_keep_running():
            for event in self.read_events():
                self.handle_event(event)
            self.batch_ended()

    def read_events(self, *, event_buffer_size: int = 1 << 16) -> list[InotifyEvent]:
        """Return the new events, except those of folders that were only read: our own scans do that."""
        return [
            InotifyEvent(wd, mask, cookie, name)
            for wd, mask, cookie, name in self._parse_event_buffer(self._read_event_buffer(event_buffer_size))
            if not (mask & _IS_FOLDER and mask & _LOOKED_AT)
            and (wd != -1 or mask & InotifyConstants.IN_Q_OVERFLOW)
        ]


class _Mark:
    """A place among the events."""

    def __init__(self) -> None:
        self.passed = threading.Event()

    def on_event(self, event: InotifyEvent) -> None:
        """Nothing happens to it."""

    def on_watch_deleted(self, _wd: int, /) -> None:
        self.passed.set()

    def on_queue_overflow(self) -> None:
        """Nothing to do: the group is told too."""


class _Guard:
    """A watch on a file, so that no two of its opens or closes are merged; see Openings."""

    def __init__(self, openings: Openings, path: bytes) -> None:
        self._openings = openings
        self._path = path

    def on_event(self, event: InotifyEvent) -> None:
        if event.mask & (WRITTEN | READ):
            self._openings.confirmed(self._path)

    def on_watch_deleted(self, wd: int) -> None:
        """Nothing to do: the file is gone."""

    def on_queue_overflow(self) -> None:
        """Nothing to do: the group is told too."""


@dataclass(frozen=True, slots=True)
class _Move:
    """A folder that was moved from where it was watched."""

    path: bytes
    watches: list[WatchDescriptor]  # of it and all below
    batch: int


class _Group(InotifyWatchGroup):
    """The watches on a folder and all below it, and the guards of files there."""

    def __init__(self, reader: _Reader, root: bytes, listener: Listener, *, is_recursive: bool) -> None:
        self._reader = reader
        self._listener = listener
        self._guards: dict[WatchDescriptor, CallbackId] = {}
        self._moving: OrderedDict[int, _Move] = OrderedDict()  # by cookie
        self._batch = 0
        super().__init__(reader, root, event_mask=_OF_FOLDERS, is_recursive=is_recursive)
        reader.batch_ended = self._end_batch
        listener.openings.attending = self._attend

    def on_event(self, event: InotifyEvent) -> None:
        with self._lock:
            path = self._build_event_source_path(event) if self.is_active else None
            if path is None:
                return
            if event.is_directory:
                if self.is_recursive:
                    self._follow(event, path)
                return
            self._listener.hear(path, event.mask, event.cookie)

    def on_queue_overflow(self) -> None:
        """Report the loss: folders created meanwhile have no watches, so the listener must start over."""
        with self._lock:
            if self.is_active:
                self._listener.miss()

    def _follow(self, event: InotifyEvent, path: bytes) -> None:
        """Watch what was created or moved in, and stop watching what was moved out."""
        mask = event.mask
        if mask & CREATED:
            self._add_all_callbacks(path)
            self._listener.hear_of_folder(path, None, is_made=True)
        elif mask & MOVED_FROM:
            self._listener.hear_of_folder_leaving(path)
            watches = self._active_callbacks_by_path.items()
            below = [wd for folder, wd in watches if folder == path or folder.startswith(path + b"/")]
            self._moving[event.cookie] = _Move(path, below, self._batch)
            if len(self._moving) > _MOST_MOVING:
                self._let_go(self._moving.popitem(last=False)[1])
        elif mask & MOVED_TO:
            move = self._moving.pop(event.cookie, None)
            if move is None or not self._move_watches(move.path, path):
                self._add_all_callbacks(path)
                self._keep_watches(path)
            self._listener.hear_of_folder(path, move.path if move else None, is_made=False)

    def _keep_watches(self, path: bytes) -> None:
        """Keep the watches of a folder that was moved away and has come back."""
        paths, watches = self._active_callbacks_by_path, self._active_callbacks_by_watch
        here = {wd for folder, wd in paths.items() if folder == path or folder.startswith(path + b"/")}
        for move in self._moving.values():
            for wd in here.intersection(move.watches):
                move.watches.remove(wd)
        for folder in [folder for folder, wd in paths.items() if wd in here and watches[wd] != folder]:
            del paths[folder]

    def _let_go(self, move: _Move) -> None:
        """Stop watching a folder that was moved away: its events would come under its old path."""
        self._remove_callbacks([wd for wd in move.watches if wd in self._active_callbacks_by_watch])

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        # The library's own method fails where another folder has the path by now.
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]

    def _end_batch(self) -> None:
        """After a batch of events, guard the files that were opened in it."""
        openings = self._listener.openings
        if openings.is_overrun:
            self.on_queue_overflow()
        with self._lock:
            if not self.is_active:
                return
            self._guard(openings.unguarded())
            # The two halves of a move follow each other: what has not come with the next batch never will.
            for cookie in [cookie for cookie, move in self._moving.items() if move.batch < self._batch]:
                self._let_go(self._moving.pop(cookie))
            self._batch += 1

    def _attend(self, paths: Sequence[bytes]) -> set[bytes]:
        """See Openings.attend."""
        openings = self._listener.openings
        with self._lock:
            if not self.is_active:
                return set()
            unreadable = self._guard([path for path in paths if openings.guard_of(path) is None])
        guards = {path: openings.guard_of(path) for path in paths}
        if not self._reader.catch_up():
            return set()
        # A guard that went meanwhile was another file's, or went with all others when events were lost.
        stayed = {path for path, guard in guards.items() if guard is not None and openings.guard_of(path) == guard}
        return stayed | unreadable

    def _guard(self, paths: list[bytes]) -> set[bytes]:
        """Guard as many of these files as possible, and let go of guards that nothing needs any more.

        Return those that we may not read: no look of ours can open them.
        """
        openings, unreadable = self._listener.openings, set()
        room = openings.make_room(len(paths))
        for wd in openings.guards_left():
            watch = WatchDescriptor(wd)
            if (left := self._guards.pop(watch, None)) is not None:
                self._reader.remove_callbacks([(watch, left)])
        for path in paths[:room]:
            guard = _Guard(openings, path)
            name = CallbackId(id(guard))
            try:
                wd = self._reader.add_callback(os.path.join(self.path, path), _OF_FILES, guard, name)
            except PermissionError:
                unreadable.add(path)
                continue
            except OSError:
                continue  # it is gone, or no watches are left: its bounds stay apart
            if wd == -1 or wd in self._guards or wd in self._active_callbacks_by_watch:
                self._reader.remove_callbacks([(wd, name)])  # not ours to read, or watched already
                continue
            self._guards[wd] = name
            openings.guarded(path, wd)
        return unreadable


class _Emitter(InotifyEmitter):
    """Sets the watches; the events bypass it."""

    _inotify: _Group | None

    def __init__(self, *arguments: Any, inotify_fd: _Reader, listener: Listener, **options: Any) -> None:
        super().__init__(*arguments, inotify_fd=inotify_fd, **options)
        self._reader = inotify_fd
        self._listener = listener

    def on_thread_start(self) -> None:
        root = os.fsencode(self.watch.path)
        self._inotify = _Group(self._reader, root, self._listener, is_recursive=self.watch.is_recursive)

    def watches(self, root: bytes) -> bool:
        """Return whether the kernel still watches this folder: asked for it again, it names the same watch."""
        group, reader = self._inotify, self._reader
        if group is None:
            return False
        before = group._active_callbacks_by_path.get(root)  # noqa: SLF001
        with reader._lock:  # noqa: SLF001 — it is closed under this lock
            if reader._closed:  # noqa: SLF001
                return False
            return inotify_add_watch(reader._inotify_fd, root, group.event_mask) == before  # noqa: SLF001


class Observer(InotifyObserver):
    """watchdog's observer with a reader of our own. Its threads live until its end, or an error."""

    def __init__(self, listener: Listener) -> None:
        self._inotify_fd = _Reader()
        self._inotify_fd.start()
        BaseObserver.__init__(self, _Emitter, inotify_fd=self._inotify_fd, listener=listener)

    def hears(self, root: bytes) -> bool:
        """Return whether events come from the folder that is there now.

        Every thread must be alive: each dies at its first error, and the others carry on. And the kernel must
        still watch this very folder: the watch dies with its folder, though a new one may have the same inode.
        """
        return all(thread.is_alive() for thread in (self, self._inotify_fd, *self.emitters)) and all(
            emitter.watches(root) for emitter in self.emitters if isinstance(emitter, _Emitter)
        )

    def end(self) -> None:
        """End its threads and release what they hold, whether it was started or not."""
        self.stop()
        if self.ident is not None:
            self.join()


def listen(listener: Listener, root: bytes, *, recursive: bool) -> Observer | str:
    """Return a running observer of the folder; or why there can be none."""
    observer: Observer | None = None
    try:
        observer = Observer(listener)
        observer.schedule(FileSystemEventHandler(), os.fsdecode(root), recursive=recursive)
        observer.start()
    except (OSError, RecursionError) as error:  # the latter for folders nested a thousand deep, on Python 3.11
        if observer is not None:
            observer.end()  # else each try would use up one of the few instances that a user may have
        return getattr(error, "strerror", None) or str(error)
    return observer
