"""The one process that has a site: two locks, taken before anything is written.

The database's comes first, since it needs nothing but a folder to lie in: whoever does not get it has upgraded,
marked and paused nothing. The drop folder's lies in the folder, so it is taken once that is recognised: nothing is
made on a bare mount point. It tells two databases with one drop folder, which the mark alone tells too late where
one is a copy of the other, or both begin at once.
"""

import os
from types import TracebackType
from typing import Self

from watcher.domain import JsonObject
from watcher.errors import FolderError, StoreError, StoreUnavailable
from watcher.folders import LOCK, Lock, lock
from watcher.journey.recognition import Past, owners_of
from watcher.journey.site import Site, tell_displaced
from watcher.store import Database
from watcher.store.faults import PASSING_ERRORS
from watcher.store.files import check_folder


def lock_database(database: Database) -> Lock:
    """Nobody else changes the database's version, or begins one in its place, until the lock is closed.

    Raises InstanceRunning, naming who has it; StoreError where no database could lie there either.
    """
    check_folder(database.path.parent)
    try:
        return lock(os.fsencode(f"{database.path}.instance"))
    except FolderError as error:
        cause = error.__cause__
        is_passing = isinstance(cause, OSError) and cause.errno in PASSING_ERRORS
        kind = StoreUnavailable if is_passing else StoreError
        raise kind(error.message, hint=error.hint) from error


class Instance:
    """This process has the site's database from the beginning, and its drop folder since `take_drop_folder`."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._path = os.path.join(site.drop.root, LOCK)
        # Two drop folders with one database would take each other's items for lost.
        self._database_lock = lock_database(site.store.database)
        self._lock: Lock | None = None

    def take_drop_folder(self) -> None:
        """The drop folder is recognised, ours alone, and bears our mark.

        Raises what Site.recognise does, before anything is made there, and InstanceRunning.
        """
        self._take(self._site.judge(self._site.drop)[0])

    def note(self, facts: JsonObject) -> None:
        """Whoever asks who has the database reads these. OSError where they cannot be written."""
        self._database_lock.note(facts)

    def keep(self) -> None:
        """A drop folder that was made again is ours as well. InstanceRunning when another was quicker."""
        if self._lock is not None and self._lock.is_held_at(self._path):
            return
        try:
            past, _ = self._site.judge(self._site.drop)
        except FolderError:
            return  # it is away: nobody can have it
        if self._lock is not None:
            self._lock.close()
        self._take(past)

    def _take(self, past: Past) -> None:
        owner = next(iter(owners_of(self._site.store.database.path)), None)
        self._lock = lock(self._path, past.owners, owner=owner)
        tell_displaced(self._path, self._lock.displaced)
        self._site.recognise(self._site.drop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()
        self._database_lock.close()
