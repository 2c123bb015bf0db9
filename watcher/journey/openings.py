"""Who still has a file open, as far as the kernel's events tell: every open, and whether its close came. Pure.

The kernel says neither who opens nor for what, and makes one event of several equal ones that nobody has read in
between: two opens may look like one, two closes too. So it is counted between bounds. `least` opens have no close
for certain: while there is one, the file is open. `most` may have none: where it is 0, it is closed. In between
nobody knows.

A guard makes the bounds meet. It is a watch on the file itself, beside that on its folder: each open and close
then makes two events in turn, so that no two equal ones follow each other and none is merged [measured]. It is set
as soon as an open has been read; what came before it (a second open in the same tenth of a millisecond) can not
be told from one open. Errors are on the side of patience but for that one.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

BELIEVED_SECONDS = 24 * 3600.0
"""For so long an open without a close is believed: a close may have been lost after all."""

MOST_FILES = 16_384
"""More are not kept in mind: then nothing is."""

_MOST_MOVING = 256


class Close(StrEnum):
    """What a close that was heard means for its file."""

    LAST = "last"  # it was written, and nobody has it open any more
    READ = "read"  # nobody who was heard to open it has it open any more, and none of them wrote
    NOT_LAST = "not_last"  # somebody else may have it open


@dataclass(slots=True, eq=False)
class Opening:
    """A file that was opened, and is not known to be closed."""

    since: float  # monotonic
    least: int = 0
    most: int = 0
    is_written: bool = False
    guard: int | None = None  # the number of the kernel's watch
    is_guard_wanted: bool = True
    _before: int = 0  # `least`, before the last close that was heard

    def opened(self) -> None:
        self.least += 1
        self.most += 1

    def closed(self, *, written: bool) -> None:
        """At least one of them was closed; how many, only its guard can tell."""
        self.is_written |= written
        self._before = self.least
        self.least = 0
        self.most -= 1

    def confirmed(self) -> None:
        """Its guard heard of that close: it was one, and no more."""
        self.least = max(self.least, self._before - 1)
        self._before = 0


class Openings:
    """The files that are open, by their paths. Events come from one thread, questions from any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[bytes, Opening] = {}
        self._moving: OrderedDict[int, tuple[bytes, Opening | None]] = (
            OrderedDict()
        )  # by cookie: from where, and what
        self._last_move: tuple[bytes, bytes, bool] | None = None  # from where, to where, onto what was open
        self._unguarded: dict[bytes, Opening] = {}
        self._guards_left: list[int] = []
        self.is_overrun = False  # more files were open than are kept in mind

    def __len__(self) -> int:
        return len(self._open)

    # What was heard

    def opened(self, path: bytes, now: float) -> None:
        with self._lock:
            opening = self._open.get(path)
            if opening is None:
                if len(self._open) >= MOST_FILES:
                    self._forget()
                    self.is_overrun = True
                opening = self._open[path] = self._unguarded[path] = Opening(now)
            opening.opened()

    def closed(self, path: bytes, *, written: bool) -> Close:
        """`written`: the close was of a descriptor that could write."""
        with self._lock:
            opening = self._open.get(path)
            if opening is not None:
                opening.closed(written=written)
                if opening.most > 0:
                    return Close.NOT_LAST
                written = opening.is_written
                self._drop(path)
            return Close.LAST if written else Close.READ

    def confirmed(self, opening: Opening) -> None:
        """The guard of this one heard of the close that was told last."""
        with self._lock:
            opening.confirmed()

    def replaced(self, path: bytes) -> None:
        """What lay there is gone, or another file begins there: nobody has that one open yet."""
        with self._lock:
            self._drop(path)

    def moved_from(self, path: bytes, cookie: int) -> None:
        """Who has it open still has: it is only called otherwise, once the other half of the move is heard."""
        with self._lock:
            self._unguarded.pop(path, None)
            self._moving[cookie] = path, self._open.pop(path, None)
            if len(self._moving) > _MOST_MOVING:
                _, opening = self._moving.popitem(last=False)[1]
                if opening is not None:
                    self._release(opening)

    def moved_to(self, path: bytes, cookie: int, now: float) -> None:
        """What came from elsewhere is open or not: nobody knows, and nothing is kept in mind.

        Two files that changed places (RENAME_EXCHANGE) are told as one move there and one back, like a file that
        was renamed twice: then either of the two may be open, if one was.
        """
        with self._lock:
            was_open = path in self._open
            self._drop(path)
            source, opening = self._moving.pop(cookie, (None, None))
            before, self._last_move = self._last_move, None if source is None else (source, path, was_open)
            if before is not None and before[:2] == (path, source) and (before[2] or opening is not None):
                self._last_move = None
                if opening is not None:
                    self._release(opening)
                for either in before[:2]:
                    self._open[either] = Opening(now, most=1, is_written=True, is_guard_wanted=False)
                return
            if opening is None:
                return
            self._open[path] = opening
            if opening.guard is None and opening.is_guard_wanted:
                self._unguarded[path] = opening

    def folder_moved(self, before: bytes, after: bytes) -> None:
        """All that lies in the folder is called otherwise."""
        with self._lock:
            for files in (self._open, self._unguarded):
                for path in [path for path in files if path.startswith(before + b"/")]:
                    files[after + path[len(before) :]] = files.pop(path)

    def forget(self) -> None:
        """Events were lost: nothing that was heard counts any more."""
        with self._lock:
            self._forget()
            self.is_overrun = False

    # What it comes to

    def is_open(self, path: bytes, now: float) -> bool | None:
        """Whether somebody who was heard to open it still has it open; null: perhaps."""
        with self._lock:
            opening = self._open.get(path)
            if opening is None:
                return False
            return True if opening.least > 0 and now < opening.since + BELIEVED_SECONDS else None

    # Guards

    def unguarded(self) -> Iterator[tuple[bytes, Opening]]:
        """Files that are open and should have a guard; each is asked for once."""
        with self._lock:
            wanted, self._unguarded = self._unguarded, {}
        for path, opening in wanted.items():
            opening.is_guard_wanted = False
            yield path, opening

    def guards_left(self) -> list[int]:
        """Guards that nobody needs any more; each is told once."""
        with self._lock:
            left, self._guards_left = self._guards_left, []
        return left

    # Within, under the lock

    def _drop(self, path: bytes) -> None:
        self._unguarded.pop(path, None)
        opening = self._open.pop(path, None)
        if opening is not None:
            self._release(opening)

    def _release(self, opening: Opening) -> None:
        if opening.guard is not None:
            self._guards_left.append(opening.guard)
            opening.guard = None

    def _forget(self) -> None:
        for opening in (*self._open.values(), *(moving for _, moving in self._moving.values())):
            if opening is not None:
                self._release(opening)
        self._open, self._unguarded = {}, {}
        self._moving.clear()
        self._last_move = None
