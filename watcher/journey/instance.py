"""The one process that works on a site: two locks, taken before anything is written.

The database's lock comes first, since it needs only a folder to lie in: a process that does not get it has
migrated, marked and paused nothing. The drop folder's lock lies in the folder, so it is taken once the folder is
recognised: nothing is created on a bare mount point. It detects two databases with one drop folder; the mark alone
would be too late where one is a copy of the other, or both start at once. Nodes that share a database on a server
share this lock, too: there the lease says who works, and one that has lost it may not have noticed yet.
"""

import os
import signal
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import Self

from watcher import logs
from watcher.clock import SystemClock
from watcher.errors import PASSING_ERRORS, FolderError, InstanceRunning, StoreError, StoreUnavailable
from watcher.folders import LOCK, Lock, lock
from watcher.folders.holder import BEAT_SECONDS, Holder, read_note_at
from watcher.folders.identity import Past
from watcher.folders.lock import SHARED_BY, running
from watcher.journey.site import Site, owners_of, tell_displaced
from watcher.journey.working import ONCE, SINCE, WAITING
from watcher.mounts import part_of
from watcher.store import Database
from watcher.text import JsonObject

_log = logs.get_logger(__name__)

_OWN_REST_SECONDS = 120.0  # longer than the 90 s that an NFS server grants a client it has lost
_BEATS_WAITED = 4  # silent for so many beats, the process in the note is dead
_WALL = SystemClock()  # the heartbeat is for other machines: it is real whatever the site's clock is


def lock_database(database: Database) -> Lock:
    """Lock the database: until this is closed, nobody else migrates it or creates one in its place.

    Raises InstanceRunning, naming the holder; StoreError where a database could not lie there either.
    """
    database.check_place()
    try:
        return lock(os.fsencode(f"{database.path}.instance"))
    except FolderError as error:
        cause = error.__cause__
        is_passing = isinstance(cause, OSError) and cause.errno in PASSING_ERRORS
        kind = StoreUnavailable if is_passing else StoreError
        raise kind(error.message, hint=error.hint) from error


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that ends with the process, with all signals blocked."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # inherited
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread


class Instance:
    """Holds the site's database from the start, and its drop folder from `take_drop_folder` on.

    It writes a heartbeat into the drop folder's lock, for machines that the lock does not reach; when somebody
    else's note appears there instead, `keep` raises InstanceRunning. Another heartbeat, and more, is written into
    the database's lock from the start, for commands on this machine. `is_pass`: it is a pass, not a daemon.
    """

    def __init__(self, site: Site, *, is_pass: bool = False) -> None:
        self._site = site
        self.look_for_stalled: Callable[[], JsonObject] = dict
        """Returns what `working` reads about a step that does not end; called at each beat."""
        self._facts: JsonObject = {SINCE: _WALL.now(), ONCE: is_pass}
        self._noted: JsonObject = {}
        self._noting = threading.Lock()
        self._path = os.path.join(site.drop.root, LOCK)
        self._shared_by: str | None = None
        # Two drop folders with one database would each believe the other's items lost.
        self._database_lock = lock_database(site.store.database)
        self._lock: Lock | None = None
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None
        self._rival: Holder | None = None
        self._in_the_way_since: float | None = None  # monotonic; while nobody is named who holds the lock
        self._say_that_we_live()
        self._saying = start_thread(self._live, "presence")

    def take_drop_folder(self) -> None:
        """Recognise, lock and mark the drop folder.

        Raises what Site.recognise does, before anything is created there, and InstanceRunning.
        """
        if (terms := self._site.store.database.terms) is not None:
            self._shared_by = terms.database()
        self._take(self._site.judge(self._site.drop)[0])
        self._beating = start_thread(self._beat, "heartbeat")

    def alone_in_drop_folder(self) -> Lock:
        """Lock the drop folder even for nodes that share it, until the lock is closed.

        Raises what Site.recognise does, and InstanceRunning.
        """
        past, _ = self._site.judge(self._site.drop)
        owner = next(iter(owners_of(self._site.store.database.path)), None)
        return lock(self._path, past.owners, owner=owner, tells=False)

    def note(self, facts: JsonObject) -> None:
        """Add these facts to the note in the database's lock, in place of those before. Raises OSError."""
        with self._noting:
            self._noted = facts
            self._write_note()

    def tell_waiting(self, reason: str) -> None:
        """Note what is waited for before any work begins; "" once it is there."""
        self._facts = {**self._facts, WAITING: reason}
        self._say_that_we_live()

    def _say_that_we_live(self) -> None:
        with self._noting, suppress(OSError):
            self._write_note()

    def _write_note(self) -> None:
        told = {"at": _WALL.now(), **self._facts, **self.look_for_stalled(), **self._noted}
        self._database_lock.note(told)

    def _live(self) -> None:
        """Until the end, write the heartbeat into the database's lock, whatever happens to the shares."""
        while not _WALL.wait(BEAT_SECONDS, self._ended):
            self._say_that_we_live()

    def keep(self) -> None:
        """Lock a drop folder that was made again. Raises InstanceRunning when another instance was first."""
        if self._rival is not None:
            raise running(self._path, self._rival)
        if self._lock is not None and self._lock.is_held_at(self._path):
            return
        try:
            past, _ = self._site.judge(self._site.drop)
        except FolderError:
            self._in_the_way_since = None
            return  # it is away: nobody else can have it
        try:
            self._take(past)
        except InstanceRunning:
            if not self._is_in_our_own_way(past.owners):
                raise
        else:
            self._in_the_way_since = None

    def _is_in_our_own_way(self, owners: Collection[int]) -> bool:
        """Return whether the lock that could not be taken may be the one that we have just closed.

        After a share was unmounted and mounted again its server may still hold that one for a while (measured: NFS
        4.2, now and then). Our note is cleared by then, and anybody else who took the lock would be named in it.
        """
        with suppress(OSError):
            named = read_note_at(self._path, owners)
            if named is not None and not named.is_same(Holder.ourselves()):
                return False
        now = _WALL.monotonic()
        if self._in_the_way_since is None:
            self._in_the_way_since = now
            _log.info(
                "instance.waiting", reason="the lock of the drop folder is not free yet; nobody is named in it"
            )
        return now - self._in_the_way_since < _OWN_REST_SECONDS

    def _take(self, past: Past) -> None:
        if self._lock is not None:  # of a folder that is gone, or from an attempt that failed
            self._lock.close()
        owner = next(iter(owners_of(self._site.store.database.path)), None)
        taken = lock(self._path, past.owners, owner=owner, tells=False, shared_by=self._shared_by)
        try:
            with self._site.drop.taking(LOCK):
                if taken.found is not None:
                    self._await_end_of(taken.found, taken.owners())
                taken.tell(_WALL.now())
        except BaseException:
            taken.abandon()  # the note may be another's
            raise
        self._lock = taken
        tell_displaced(self._path, self._lock.displaced)
        self._site.recognise(self._site.drop)

    def _await_end_of(self, found: Holder, owners: Collection[int]) -> None:
        """Make sure that the process in the note is dead; the lock alone cannot tell. Else raise InstanceRunning.

        A process on this machine is looked up. One on another machine is dead if no heartbeat comes while we wait;
        the times in its notes do not matter, so the clocks need not agree.
        """
        if found.is_same(Holder.ourselves()) or found.lives is False or self._shares_with(found):
            return
        if found.lives:
            raise running(self._path, found)
        if not self._is_reached_from_elsewhere(found):
            return
        _log.info("instance.waiting", reason=f"the lock names a process{found}; waiting for a sign of life")
        for _ in range(_BEATS_WAITED):
            _WALL.wait(BEAT_SECONDS, self._ended)
            now = read_note_at(self._path, owners)
            if now is not None and now != found and not self._shares_with(now):
                raise running(self._path, now)

    def _shares_with(self, other: Holder) -> bool:
        """Return whether it works with the same database, which lets one of us work at a time."""
        return self._shared_by is not None and other.note.get(SHARED_BY) == self._shared_by

    def _is_reached_from_elsewhere(self, found: Holder) -> bool:
        """Return whether processes that this machine's kernel does not know can be at work there."""
        ours = Holder.ourselves()
        is_stranger = found.host != ours.host and found.boot_id != ours.boot_id
        return is_stranger or bool(part_of(self._site.drop.root, LOCK).elsewhere)

    def _beat(self) -> None:
        """Until the end, write the heartbeat into the drop folder's lock, in a thread that a share may block."""
        while not _WALL.wait(BEAT_SECONDS, self._ended):
            with suppress(OSError):  # it is away: nobody else can have it
                held = self._lock
                told = read_note_at(self._path, held.owners() if held is not None else ())
                if told is not None and not told.is_same(Holder.ourselves()) and not self._shares_with(told):
                    self._rival = told
                elif held is not None:
                    held.tell(_WALL.now())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._saying.join(BEAT_SECONDS)
        if self._beating is not None:
            self._beating.join(BEAT_SECONDS)  # a beat after the note is cleared would name a dead process
        if self._lock is not None:
            self._lock.close()
        self._database_lock.close()
