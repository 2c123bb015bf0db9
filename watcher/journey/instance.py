"""The one process that has a site: two locks, taken before anything is written.

The database's comes first, since it needs nothing but a folder to lie in: whoever does not get it has upgraded,
marked and paused nothing. The drop folder's lies in the folder, so it is taken once that is recognised: nothing is
made on a bare mount point. It tells two databases with one drop folder, which the mark alone tells too late where
one is a copy of the other, or both begin at once.
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
from watcher.errors import PASSING_ERRORS, FolderError, StoreError, StoreUnavailable
from watcher.folders import LOCK, Lock, lock
from watcher.folders.holder import BEAT_SECONDS, Holder, read_note_at
from watcher.folders.identity import Past
from watcher.folders.lock import running
from watcher.journey.site import Site, owners_of, tell_displaced
from watcher.journey.working import ONCE, SINCE
from watcher.mounts import part_of
from watcher.store import Database
from watcher.text import JsonObject

_log = logs.get_logger(__name__)

_BEATS_WAITED = 4  # without a word: then whoever the note names is dead
_WALL = SystemClock()  # the beat is for other machines: it is real whatever the site's clock is


def lock_database(database: Database) -> Lock:
    """Nobody else changes the database's version, or begins one in its place, until the lock is closed.

    Raises InstanceRunning, naming who has it; StoreError where no database could lie there either.
    """
    database.check_place()
    try:
        return lock(os.fsencode(f"{database.path}.instance"))
    except FolderError as error:
        cause = error.__cause__
        is_passing = isinstance(cause, OSError) and cause.errno in PASSING_ERRORS
        kind = StoreUnavailable if is_passing else StoreError
        raise kind(error.message, hint=error.hint) from error


def _start(target: Callable[[], None], name: str) -> threading.Thread:
    """A thread that ends with the process, and to which no signal comes."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # inherited
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread


class Instance:
    """This process has the site's database from the beginning, and its drop folder since `take_drop_folder`.

    From then on it says in the lock, again and again, that it lives, for those whom the lock does not reach. Where
    somebody else's word stands there instead, `keep` raises InstanceRunning. The database's lock says so from the
    beginning, and more, for whoever asks on this machine. `is_pass`: it is no daemon.
    """

    def __init__(self, site: Site, *, is_pass: bool = False) -> None:
        self._site = site
        self.look_for_stalled: Callable[[], JsonObject] = dict
        """What `working` reads of a step that does not come to its end, asked at each beat."""
        self._facts: JsonObject = {SINCE: _WALL.now(), ONCE: is_pass}
        self._noted: JsonObject = {}
        self._noting = threading.Lock()
        self._path = os.path.join(site.drop.root, LOCK)
        # Two drop folders with one database would take each other's items for lost.
        self._database_lock = lock_database(site.store.database)
        self._lock: Lock | None = None
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None
        self._rival: Holder | None = None
        self._say_that_we_live()
        self._saying = _start(self._live, "presence")

    def take_drop_folder(self) -> None:
        """The drop folder is recognised, ours alone, and bears our mark.

        Raises what Site.recognise does, before anything is made there, and InstanceRunning.
        """
        self._take(self._site.judge(self._site.drop)[0])
        self._beating = _start(self._beat, "heartbeat")

    def note(self, facts: JsonObject) -> None:
        """Whoever asks who has the database reads these, until others are noted. OSError: they cannot be."""
        with self._noting:
            self._noted = facts
            self._write_note()

    def _say_that_we_live(self) -> None:
        with self._noting, suppress(OSError):
            self._write_note()

    def _write_note(self) -> None:
        told = {"at": _WALL.now(), **self._facts, **self.look_for_stalled(), **self._noted}
        self._database_lock.note(told)

    def _live(self) -> None:
        """To the end: every few seconds the database's lock says that we live, whatever the shares do."""
        while not _WALL.wait(BEAT_SECONDS, self._ended):
            self._say_that_we_live()

    def keep(self) -> None:
        """A drop folder that was made again is ours as well. InstanceRunning when another was quicker."""
        if self._rival is not None:
            raise running(self._path, self._rival)
        if self._lock is not None and self._lock.is_held_at(self._path):
            return
        try:
            past, _ = self._site.judge(self._site.drop)
        except FolderError:
            return  # it is away: nobody can have it
        self._take(past)

    def _take(self, past: Past) -> None:
        if self._lock is not None:  # of a folder that is no more, or an attempt that went no further
            self._lock.close()
        owner = next(iter(owners_of(self._site.store.database.path)), None)
        taken = lock(self._path, past.owners, owner=owner, tells=False)
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
        """Whoever the note names does not live, or InstanceRunning is raised. The lock alone need not tell it.

        A process of this machine is looked up. For another machine's its next word is waited for: what time it
        told does not matter, so that no two clocks need agree.
        """
        if found.is_same(Holder.ourselves()) or found.lives is False:
            return
        if found.lives:
            raise running(self._path, found)
        if not self._is_reached_from_elsewhere(found):
            return
        _log.info("instance.waiting", reason=f"the lock names a process{found}: whether it lives is waited for")
        for _ in range(_BEATS_WAITED):
            _WALL.wait(BEAT_SECONDS, self._ended)
            now = read_note_at(self._path, owners)
            if now is not None and now != found:
                raise running(self._path, now)

    def _is_reached_from_elsewhere(self, found: Holder) -> bool:
        """Whether a process may be at work there that this machine's kernel knows nothing of."""
        ours = Holder.ourselves()
        is_stranger = found.host != ours.host and found.boot_id != ours.boot_id
        return is_stranger or bool(part_of(self._site.drop.root, LOCK).elsewhere)

    def _beat(self) -> None:
        """To the end: every few seconds the note says that we live. Alone in a thread, which a share may hold."""
        while not _WALL.wait(BEAT_SECONDS, self._ended):
            with suppress(OSError):  # it is away: nobody can have it
                held = self._lock
                told = read_note_at(self._path, held.owners() if held is not None else ())
                if told is not None and not told.is_same(Holder.ourselves()):
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
            self._beating.join(BEAT_SECONDS)  # a beat after the note is cleared would name the dead
        if self._lock is not None:
            self._lock.close()
        self._database_lock.close()
