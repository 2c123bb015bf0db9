"""Which files are open, as far as the kernel's events tell: every open, and whether its close came. Pure.

The kernel says neither who opens a file nor why, and it merges equal events that have not been read yet: two opens
may look like one, and two closes too. So there are two bounds. At least `least` opens have no close: if it is
above 0, the file is open. At most `most` have none: if it is 0, the file is closed. In between it is unknown.

A guard makes the bounds meet. It is a second watch, on the file itself, beside that on its folder: each open and
close then makes two different events in turn, so no two equal ones follow each other and none is merged
[measured]. It is set as soon as an open has been read, and kept after the close, while there is room. A second
open before it is set cannot be told from the first: that is a tenth of a millisecond, more on a busy machine. In
every other case an error only means waiting longer.

Our own look opens the file too, just after its writer has closed it. If he opens it again at once, as muxers and
whoever appends do, his open and ours are one event, and our close seems to be his [1 time in 7, measured]. So
before looks, `attend` is called: then there are guards, and what the kernel has said until then is heard. Even so,
two opens within the same microsecond, on two processors, are one event [1 time in 100, measured, where both follow
the close at once]: so looks do not follow closes at once, as a rule; see Runner.gather_seconds.

Only opens that were heard count. A file that was there before we listened may have been open all along, by one or
by several: that somebody closed it, or that it was renamed, proves nothing. So we remember which files were heard
from their beginning: created, or moved in, or closed under a copier's own temporary name.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

BELIEVED_SECONDS = 24 * 3600.0
"""How long an open without a close counts: its close may have been lost after all."""

MOST_FILES = 16_384
"""The most open files to remember; with more, all are forgotten."""

MOST_HEARD = 131_072
"""The most files to remember as heard from their beginning; with more, all are forgotten."""

MOST_GUARDS = 1024
"""The most guards to have: each takes one of the watches that a user may have."""

_MOST_MOVING = 256
_MOST_FOLDERS = _MOST_LEFT = 4_096
_OPENED_SECONDS = 1.0  # a new file is opened as it is created; a new link is not opened

_Known = TypeVar("_Known")

Identity = tuple[int, int]
"""A file's device and inode."""


class Close(StrEnum):
    """What a close means for its file."""

    LAST = "last"  # it was written, and nobody has it open any more
    READ = "read"  # every open that was heard has its close, and none of them wrote
    NOT_LAST = "not_last"  # somebody else may have it open
    UNPROVEN = "unproven"  # it was written; somebody who opened it before we listened may still have it open


@dataclass(slots=True, eq=False)
class Opening:
    """A file that was opened and is not known to be closed."""

    since: float  # monotonic
    least: int = 0
    most: int = 0
    is_written: bool = False
    _before: int = 0  # `least`, before the last close that was heard

    def opened(self) -> None:
        self.least += 1
        self.most += 1

    def closed(self, *, written: bool) -> None:
        """Count a close: at least one of the opens; how many, only the guard can tell."""
        self.is_written |= written
        self._before = self.least
        self.least = 0
        self.most -= 1

    def confirmed(self) -> None:
        """The guard saw that close: it was exactly one."""
        self.least = max(self.least, self._before - 1)
        self._before = 0


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A file for which the first half of a move was heard."""

    path: bytes
    opening: Opening | None
    is_heard: bool
    identity: Identity | None  # of a file that may be open; None where it is closed, or unknown


class Openings:
    """The open files, by path. Events come from one thread, questions from any."""

    def __init__(self, is_temporary: Callable[[bytes], bool] = lambda _: False) -> None:
        """`is_temporary`: whether files have this path only until they are whole."""
        self._is_temporary = is_temporary
        self._lock = threading.Lock()
        self._open: dict[bytes, Opening] = {}
        self._heard: dict[bytes, bool] = {}  # from its beginning; false only to overrule its folder
        self._made: OrderedDict[bytes, float] = OrderedDict()  # created, and not opened yet
        self._folders: dict[bytes, bool | None] = {}
        # Folders that were moved in (true: what is in them is closed), created (false: their first files were not
        # heard), or moved within one of these (None: what is in them was there before).
        self._moving: OrderedDict[int, _Leaving] = OrderedDict()  # by cookie
        self._left: OrderedDict[Identity, None] = OrderedDict()  # files that were moved away and may be open
        self._last_move: tuple[bytes, bytes, bool, bool] | None = (
            None  # from, to; whether the target was open, and whether it was heard from its beginning
        )
        self._guards: dict[bytes, int] = {}  # the number of the kernel's watch on the file itself
        self._unguarded: dict[bytes, None] = {}  # open, and to be guarded
        self._guards_left: list[int] = []
        self.attending: Callable[[Sequence[bytes]], set[bytes]] = set  # see `attend`; set by whoever listens
        self.is_overrun = False  # more files were open than MOST_FILES

    def __len__(self) -> int:
        return len(self._open)

    # What was heard

    def made(self, path: bytes, now: float) -> None:
        """A new file was created there, or a new link: if an open follows at once, it was a file."""
        with self._lock:
            self._drop(path)
            self._note(path, is_heard=False)
            self._made[path] = now
            if len(self._made) > _MOST_MOVING:
                self._made.popitem(last=False)

    def opened(self, path: bytes, now: float) -> None:
        with self._lock:
            made_at = self._made.pop(path, None)
            if made_at is not None and now - made_at <= _OPENED_SECONDS:
                self._note(path, is_heard=True)
            opening = self._open.get(path)
            if opening is None:
                if len(self._open) >= MOST_FILES:
                    self._forget()
                    self.is_overrun = True
                opening = self._open[path] = Opening(now)
                if path not in self._guards:
                    self._unguarded[path] = None
            opening.opened()

    def closed(self, path: bytes, *, written: bool) -> Close:
        """`written`: the closed descriptor was open for writing."""
        with self._lock:
            opening = self._open.get(path)
            if opening is None:
                if not written:
                    return Close.READ
                # One of those who had opened it before we listened; nobody knows how many there were.
                is_whole = self._is_temporary(path)  # a copier's own name for it, which nobody else opens
                self._note(path, is_heard=is_whole)
                return Close.LAST if is_whole else Close.UNPROVEN
            opening.closed(written=written)
            if opening.most > 0:
                return Close.NOT_LAST
            self._open.pop(path)
            self._unguarded.pop(path, None)
            if not opening.is_written:
                return Close.READ
            return Close.LAST if self._is_heard(path) else Close.UNPROVEN

    def confirmed(self, path: bytes) -> None:
        """The file's guard saw the latest close."""
        with self._lock:
            if (opening := self._open.get(path)) is not None:
                opening.confirmed()

    def linked(self, path: bytes) -> None:
        """A new link to some file: opens under its other names are not heard here."""
        with self._lock:
            self._drop(path)
            self._note(path, is_heard=False)

    def gone(self, path: bytes) -> None:
        """The file is gone: nobody has its successor open."""
        with self._lock:
            self._drop(path)
            self._heard.pop(path, None)

    def moved_from(self, path: bytes, cookie: int, identity: Identity | None = None) -> None:
        """The file is being renamed: it stays as open as it was, once the other half of the move is heard."""
        with self._lock:
            self._release(path)
            self._made.pop(path, None)
            opening, is_heard = self._open.pop(path, None), self._is_heard(path)
            may_be_open = opening is not None or not is_heard
            self._moving[cookie] = _Leaving(path, opening, is_heard, identity if may_be_open else None)
            self._heard.pop(path, None)
            if identity is not None and may_be_open:
                self._leave(identity)
            if len(self._moving) > _MOST_MOVING:
                self._moving.popitem(last=False)

    def left(self, identity: Identity) -> None:
        """A file that may be open is moved away with its folder."""
        with self._lock:
            self._leave(identity)

    def moved_to(self, path: bytes, cookie: int, now: float, identity: Identity | None = None) -> bool:
        """Return whether the file is known to be closed. What was known under its old name still holds.

        A file from elsewhere is closed, unless it is one that left while it may have been open (`identity`).

        Two files that change places (RENAME_EXCHANGE) appear as one move there and one back, like a file that is
        renamed twice: then either of them may be open, if one was.
        """
        with self._lock:
            was_open, was_heard = path in self._open, self._is_heard(path)
            self._drop(path)
            leaving = self._moving.pop(cookie, None)
            before, self._last_move = self._last_move, None
            if leaving is None:
                is_heard = identity is None or self._left.pop(identity, self) is self
                self._note(path, is_heard=is_heard)
                return is_heard
            if leaving.identity is not None:
                self._left.pop(leaving.identity, None)
            source, opening = leaving.path, leaving.opening
            is_heard = leaving.is_heard or self._came_closed(source)
            self._last_move = source, path, was_open, was_heard
            if before is not None and before[:2] == (path, source):
                is_heard = is_heard and before[3]
                self._note(source, is_heard=is_heard)
                if before[2] or opening is not None:
                    self._last_move = None
                    self._note(path, is_heard=is_heard)
                    for either in before[:2]:
                        self._open[either] = Opening(now, most=1, is_written=True)
                    return False
            self._note(path, is_heard=is_heard)
            if opening is None:
                return is_heard
            self._open[path] = opening
            self._unguarded[path] = None
            return False

    def _came_closed(self, source: bytes) -> bool:
        """Return whether a file whose beginning was not heard was closed before it was renamed.

        In a new folder a copier may be done with a file before we listen to the folder; then we only hear the
        rename from its temporary name.
        """
        return self._heard_of_folder(source) is False and self._is_temporary(source)

    def folder_came(self, path: bytes, *, is_made: bool) -> None:
        """A folder was created, or moved in from elsewhere; then its files are closed, as a moved file is."""
        with self._lock:
            self._keep_folder(path, not is_made)

    def folder_leaves(self, path: bytes) -> None:
        """A folder is being moved away: its files are guarded no longer under their old names."""
        with self._lock:
            for file in [file for file in self._guards if file.startswith(path + b"/")]:
                self._release(file)

    def folder_moved(self, before: bytes, after: bytes) -> None:
        """A folder was renamed, and with it all that is in it."""
        with self._lock:
            came = self._heard_of_folder(before + b"/")
            _rename_below(self._unguarded, before, after)
            self._unguarded |= dict.fromkeys(_rename_below(self._open, before, after))
            _rename_below(self._made, before, after)
            _rename_below(self._heard, before, after)
            _rename_below(self._folders, before, after)
            self._folders.pop(before, None)
            if came is not None or self._heard_of_folder(after) is not None:
                self._keep_folder(after, came)

    def forget(self) -> None:
        """Forget everything: events were lost."""
        with self._lock:
            self._forget()
            self.is_overrun = False

    # What it comes to

    def is_open(self, path: bytes, now: float) -> bool | None:
        """Return whether somebody who was heard to open it still has it open; None: perhaps."""
        with self._lock:
            opening = self._open.get(path)
            if opening is None:
                return False
            return True if opening.least > 0 and now < opening.since + BELIEVED_SECONDS else None

    def opened_of(self, paths: Iterable[bytes]) -> set[bytes]:
        """Return those of these that were opened and are not known to be closed."""
        with self._lock:
            return self._open.keys() & paths if self._open else set()

    def attend(self, paths: Sequence[bytes]) -> set[bytes]:
        """Return those of which every open until now is heard, and each from now on will be, by itself.

        Waits for the thread that reads the events. Where that takes more than a second, or events were lost
        meanwhile, there are none.
        """
        return self.attending(paths)

    def is_closed(self, path: bytes) -> bool:
        """Return whether it was heard from its beginning, and every open has its close."""
        with self._lock:
            return path not in self._open and self._is_heard(path)

    def came_closed(self, path: bytes, identity: Identity) -> bool:
        """Return whether a file in a moved folder is closed: not if it left while it may have been open."""
        with self._lock:
            if identity in self._left and path not in self._heard:
                del self._left[identity]
                self._note(path, is_heard=False)
            return path not in self._open and self._is_heard(path)

    @property
    def has_left(self) -> bool:
        """Whether a file that may be open was moved away, and may come back."""
        return bool(self._left)

    # Guards

    def guard_of(self, path: bytes) -> int | None:
        """Return the number of its guard, which no later guard has; None without."""
        return self._guards.get(path)

    def guarded(self, path: bytes, number: int) -> None:
        """The file has this guard now."""
        with self._lock:
            self._guards[path] = number
            self._unguarded.pop(path, None)

    def unguarded(self) -> list[bytes]:
        """Return the files that should have a guard, each once."""
        with self._lock:
            wanted, self._unguarded = self._unguarded, {}
            return [path for path in wanted if path not in self._guards]

    def make_room(self, number: int) -> int:
        """Make room for so many guards more, by the oldest of closed files. Return how much there is."""
        with self._lock:
            if (excess := len(self._guards) + number - MOST_GUARDS) > 0:
                for path in [path for path in self._guards if path not in self._open][:excess]:
                    self._release(path)
            return MOST_GUARDS - len(self._guards)

    def guards_left(self) -> list[int]:
        """Return the guards that are no longer needed, each once."""
        with self._lock:
            left, self._guards_left = self._guards_left, []
        return left

    # Within, under the lock

    def _leave(self, identity: Identity) -> None:
        self._left[identity] = None
        if len(self._left) > _MOST_LEFT:
            self._left.popitem(last=False)

    def _is_heard(self, path: bytes) -> bool:
        found = self._heard.get(path)
        return self._heard_of_folder(path) is True if found is None else found

    def _heard_of_folder(self, path: bytes) -> bool | None:
        """Return what `_folders` has for the nearest folder above; None where none came since we listen."""
        while self._folders and path:
            path = path.rpartition(b"/")[0]
            if path in self._folders:
                return self._folders[path]
        return None

    def _note(self, path: bytes, *, is_heard: bool) -> None:
        if not is_heard and self._heard_of_folder(path) is not True:
            self._heard.pop(path, None)
            return
        self._heard[path] = is_heard
        if len(self._heard) > MOST_HEARD:
            self._heard, self._folders = {}, {}

    def _keep_folder(self, path: bytes, came: bool | None) -> None:
        self._folders[path] = came
        if len(self._folders) > _MOST_FOLDERS:
            self._heard = {path: True for path, is_heard in self._heard.items() if is_heard}
            self._folders = {}

    def _drop(self, path: bytes) -> None:
        self._open.pop(path, None)
        self._release(path)

    def _release(self, path: bytes) -> None:
        self._unguarded.pop(path, None)
        if (guard := self._guards.pop(path, None)) is not None:
            self._guards_left.append(guard)

    def _forget(self) -> None:
        self._guards_left += self._guards.values()
        self._guards, self._unguarded = {}, {}
        self._open, self._heard, self._folders = {}, {}, {}
        self._made.clear()
        self._moving.clear()
        self._last_move = None


def _rename_below(known: MutableMapping[bytes, _Known], before: bytes, after: bytes) -> list[bytes]:
    """Return the new paths."""
    renamed = {path: after + path[len(before) :] for path in known if path.startswith(before + b"/")}
    for was, path in renamed.items():
        known[path] = known.pop(was)
    return list(renamed.values())
