"""Who has a file open, as the kernel's events tell it: driven by a model of the kernel, merging included."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher.journey.arrive.openings import BELIEVED_SECONDS, MOST_FILES, MOST_GUARDS, MOST_HEARD, Close, Openings

FILE = b"a.wav"


def opened(*, guarded: bool = True, times: int = 1) -> Openings:
    """So many opens of the file were heard, one after the other."""
    it = Openings()
    it.made(FILE, 0.0)
    for _ in range(times):
        it.opened(FILE, 0.0)
        if guarded:
            guard(it)
    return it


def guard(it: Openings) -> None:
    """All that should have a guard have it now."""
    for number, path in enumerate(it.unguarded()):
        it.guarded(path, number)


def test_it_is_open_from_the_open_to_the_close() -> None:
    it = opened()
    assert it.is_open(FILE, 1.0) is True
    assert it.closed(FILE, written=True) is Close.LAST
    assert it.is_open(FILE, 1.0) is False
    assert len(it) == 0


def test_a_close_whose_open_was_never_heard_tells_nothing_of_others() -> None:
    """Of how many had it open before anybody listened, one has closed it; what only read says nothing at all."""
    it = Openings()
    assert it.closed(FILE, written=True) is Close.UNPROVEN
    assert it.closed(FILE, written=False) is Close.READ
    assert it.closed(FILE, written=True) is Close.UNPROVEN
    assert not it.is_closed(FILE)


def test_of_several_who_have_it_open_the_last_close_counts() -> None:
    """Whoever it is of: that the writer is through is known once nobody has it open any more."""
    it = opened()
    it.opened(FILE, 0.0)
    assert it.closed(FILE, written=True) is Close.NOT_LAST
    it.confirmed(FILE)
    assert it.is_open(FILE, 1.0) is True
    assert it.closed(FILE, written=False) is Close.LAST


def test_without_a_guard_a_close_may_have_been_several() -> None:
    """Then nobody knows, until the next close says that it was the last one at the latest."""
    it = opened(guarded=False, times=2)
    assert it.closed(FILE, written=True) is Close.NOT_LAST
    assert it.is_open(FILE, 1.0) is None
    it.opened(FILE, 1.0)
    assert it.is_open(FILE, 1.0) is True


def test_an_open_is_believed_for_a_day() -> None:
    it = opened()
    assert it.is_open(FILE, BELIEVED_SECONDS - 1) is True
    assert it.is_open(FILE, BELIEVED_SECONDS) is None


def test_a_file_takes_along_who_has_it_open() -> None:
    """Moved within what is watched, by itself or with its folder; what came under the name is another one."""
    it = opened()
    it.moved_from(FILE, 7)
    it.made(FILE, 1.0)
    it.opened(FILE, 1.0)
    it.moved_to(b"day/b.wav", 7, 1.0)
    it.folder_moved(b"day", b"week/day")
    assert it.is_open(b"week/day/b.wav", 1.0) is True
    assert it.closed(FILE, written=True) is Close.LAST
    it.moved_to(b"week/day/b.wav", 8, 1.0)
    assert it.is_open(b"week/day/b.wav", 1.0) is False


@pytest.mark.parametrize("forget", [lambda it: it.gone(FILE), Openings.forget], ids=["replaced", "forgotten"])
def test_what_is_replaced_or_forgotten_is_not_open(forget: Callable[[Openings], None]) -> None:
    """And its guard is no longer needed."""
    it = opened()
    forget(it)
    assert it.is_open(FILE, 1.0) is False
    assert it.guards_left() == [0]


def test_a_guard_stays_with_the_file_until_it_goes() -> None:
    """Closed or not: opens that follow each other are told apart for as long as it lies there."""
    it = opened()
    it.closed(FILE, written=True)
    assert it.guard_of(FILE) == 0
    it.moved_from(FILE, 7)
    assert (it.guard_of(FILE), it.guards_left()) == (None, [0])


def test_of_too_many_guards_those_of_closed_files_go() -> None:
    """Those of open files stay: nobody would set them again."""
    it = Openings()
    for n in range(MOST_GUARDS):
        it.opened(b"%d" % n, 0.0)
        it.guarded(b"%d" % n, n)
    for n in (7, 700):
        it.closed(b"%d" % n, written=True)
    assert it.make_room(3) == 2
    assert it.guards_left() == [7, 700]


@pytest.mark.parametrize("open_one", [FILE, b"b.wav"])
def test_of_two_files_that_changed_places_either_may_be_open(open_one: bytes) -> None:
    """RENAME_EXCHANGE is told as a move there and one back: which of the two is written, nobody can tell."""
    it = Openings()
    for path in (FILE, b"b.wav"):
        it.made(path, 0.0)
        it.opened(path, 0.0)
        if path != open_one:
            it.closed(path, written=True)
    it.moved_from(FILE, 1)
    it.moved_to(b"b.wav", 1, 1.0)
    it.moved_from(b"b.wav", 2)
    it.moved_to(FILE, 2, 1.0)
    assert it.is_open(FILE, 2.0) is not False
    assert it.is_open(b"b.wav", 2.0) is not False
    assert it.closed(FILE, written=True) is Close.LAST


BEFORE = b"before.wav"  # lay there before anybody listened
OTHER = b"other.wav"


def touch(it: Openings, path: bytes) -> Close:
    """Somebody opens and closes it."""
    it.opened(path, 0.0)
    return it.closed(path, written=True)


def rename(it: Openings, path: bytes, after: bytes) -> bool:
    it.moved_from(path, 9)
    return it.moved_to(after, 9, 0.0)


def make(it: Openings, path: bytes) -> None:
    it.made(path, 0.0)
    it.opened(path, 0.0)


def test_what_others_do_with_a_file_from_before_proves_nothing() -> None:
    """Whoever opened it before anybody listened may still write it: opened and closed by others, called otherwise,
    by itself or with its folder, or read.
    """
    it = Openings()
    assert touch(it, BEFORE) is Close.UNPROVEN
    assert not rename(it, BEFORE, OTHER)
    assert touch(it, OTHER) is Close.UNPROVEN
    it.folder_moved(b"day", b"week")
    assert not it.is_closed(b"week/a.wav")
    assert touch(it, b"week/a.wav") is Close.UNPROVEN
    it.opened(OTHER, 0.0)
    assert it.closed(OTHER, written=False) is Close.READ
    assert touch(it, OTHER) is Close.UNPROVEN


def test_after_a_close_without_an_open_it_is_a_file_from_before_as_it_was() -> None:
    """Whatever else is heard of it: opened and closed, renamed, by itself or with its folder."""
    it = Openings()
    assert it.closed(BEFORE, written=True) is Close.UNPROVEN
    assert touch(it, BEFORE) is Close.UNPROVEN
    assert not rename(it, BEFORE, OTHER)
    assert touch(it, OTHER) is Close.UNPROVEN


def test_what_came_closed_and_is_closed_by_somebody_nobody_heard_was_open_after_all() -> None:
    """Moved in, alone or with its folder, or in a folder that was just made."""
    it = Openings()
    assert it.moved_to(FILE, 1, 0.0)
    it.folder_came(b"day", is_made=False)
    assert it.came_closed(b"day/a.wav", (1, 1))
    it.folder_came(b"new", is_made=True)
    for path in (FILE, b"day/a.wav", b"new/a.wav"):
        assert it.closed(path, written=True) is Close.UNPROVEN
        assert not it.is_closed(path)


def test_a_copier_closes_what_it_wrote_under_a_name_of_its_own() -> None:
    """Nobody else opens that: renamed afterwards, it is closed. Not so where it was renamed before."""
    it = Openings(lambda path: path.startswith(b"."))
    assert it.closed(b".a.wav.X1", written=True) is Close.LAST
    assert rename(it, b".a.wav.X1", FILE)
    assert not rename(it, b".b.wav.X1", OTHER)
    assert it.closed(OTHER, written=True) is Close.UNPROVEN


def test_what_was_heard_from_its_beginning_stays_so_under_other_names() -> None:
    it = Openings()
    make(it, FILE)
    assert not rename(it, FILE, b"day/a.wav"), "it is open"
    it.folder_moved(b"day", b"week")
    assert it.closed(b"week/a.wav", written=True) is Close.LAST
    assert it.is_closed(b"week/a.wav")
    assert rename(it, b"week/a.wav", OTHER)
    assert touch(it, OTHER) is Close.LAST
    it.forget()
    assert touch(it, OTHER) is Close.UNPROVEN, "opens may have been lost"


def test_a_name_takes_nothing_over_from_what_lay_there() -> None:
    """A file from before that is moved onto one that is known, and what is made where one from before lay."""
    it = Openings()
    make(it, FILE)
    it.closed(FILE, written=True)
    assert not rename(it, BEFORE, FILE)
    assert touch(it, FILE) is Close.UNPROVEN
    it.gone(FILE)
    make(it, FILE)
    assert it.closed(FILE, written=True) is Close.LAST


def test_another_name_of_a_file_is_heard_under_that_name_alone() -> None:
    """Whether it is seen to have several, or is made and not opened: what had no name before."""
    it = Openings()
    it.linked(FILE)
    assert touch(it, FILE) is Close.UNPROVEN
    it.made(OTHER, 0.0)
    it.opened(OTHER, 2.0)
    assert it.closed(OTHER, written=True) is Close.UNPROVEN


def test_what_is_moved_in_is_closed_unless_it_left_while_it_may_have_been_open() -> None:
    """By itself or with its folder; what was heard to be closed before it left comes back closed."""
    it = Openings()
    assert it.moved_to(FILE, 1, 0.0, identity=(1, 1))
    assert touch(it, FILE) is Close.LAST
    it.moved_from(FILE, 2, identity=(1, 1))
    it.moved_from(BEFORE, 3, identity=(1, 2))
    it.left((1, 3))
    assert it.moved_to(FILE, 4, 0.0, identity=(1, 1))
    assert not it.moved_to(BEFORE, 5, 0.0, identity=(1, 2))
    assert touch(it, BEFORE) is Close.UNPROVEN
    it.folder_came(b"day", is_made=False)
    assert not it.came_closed(b"day/3.wav", (1, 3))
    assert touch(it, b"day/3.wav") is Close.UNPROVEN
    assert it.came_closed(b"day/4.wav", (1, 4))
    assert touch(it, b"day/4.wav") is Close.LAST
    assert rename(it, b"day/4.wav", OTHER)
    assert not rename(it, b"b/5.wav", b"day/5.wav"), "the folder came closed, and this one into it later"
    assert touch(it, b"day/5.wav") is Close.UNPROVEN


def test_in_a_folder_that_was_just_made_a_rename_from_a_temporary_name_tells() -> None:
    """A copier may be through with the first files before the folder is listened to. A recorder may just as well
    have opened its own by then: what others open and close proves nothing of that.
    """
    it = Openings(lambda path: b"/." in path)
    it.folder_came(b"day", is_made=True)
    assert rename(it, b"day/.a.wav.X1", b"day/a.wav")
    assert not rename(it, b"day/b.wav", b"day/c.wav")
    assert touch(it, b"day/d.wav") is Close.UNPROVEN
    it.folder_moved(b"day", b"week")
    assert rename(it, b"week/.e.wav.X1", b"week/e.wav")
    assert not rename(it, b".f.wav.X1", b"f.wav"), "it lay there before"


def test_of_two_files_that_changed_places_neither_is_known_if_one_was_not() -> None:
    it = Openings()
    make(it, FILE)
    it.closed(FILE, written=True)
    it.moved_from(BEFORE, 1)
    it.moved_to(FILE, 1, 1.0)
    it.moved_from(FILE, 2)
    assert not it.moved_to(BEFORE, 2, 1.0)
    assert touch(it, FILE) is Close.UNPROVEN
    assert touch(it, BEFORE) is Close.UNPROVEN


def test_of_ever_more_files_it_is_forgotten_that_they_were_heard() -> None:
    """It costs no more memory, and patience alone."""
    it = Openings()
    it.folder_came(b"day", is_made=False)
    for n in range(MOST_HEARD + 1):
        make(it, b"%d.wav" % n)
        it.closed(b"%d.wav" % n, written=True)
    for n in range(5_000):
        it.folder_came(b"week/%d" % n, is_made=False)
    assert len(it._heard) <= MOST_HEARD
    assert len(it._folders) <= 4_096
    assert touch(it, b"0.wav") is Close.UNPROVEN
    assert touch(it, b"day/a.wav") is Close.UNPROVEN
    make(it, FILE)
    assert it.closed(FILE, written=True) is Close.LAST


def test_only_so_many_are_kept_in_mind() -> None:
    """Beyond, nothing is: that is said, and costs no more memory."""
    it = Openings()
    for n in range(MOST_FILES + 10):
        it.opened(b"%d.wav" % n, 0.0)
        it.moved_from(b"%d.wav" % n, n) if n % 2 else None
    assert len(it) <= MOST_FILES
    assert len(it._moving) <= 256
    for n in range(MOST_FILES + 10):
        it.opened(b"%d.ogg" % n, 0.0)
    assert it.is_overrun
    it.forget()
    assert not it.is_overrun


# Against the kernel


@dataclass
class Kernel:
    """inotify(7), of one file: what happens is queued, and equal events that follow each other are one."""

    queue: list[tuple[str, str]] = field(default_factory=list)  # whose watch, and what
    has_guard: bool = False
    descriptors: list[bool] = field(default_factory=list)  # of who has it open: whether it can write

    def open(self, *, writes: bool) -> None:
        self.descriptors.append(writes)
        self._tell("open")

    def close(self, index: int) -> None:
        self._tell("written" if self.descriptors.pop(index % len(self.descriptors)) else "read")

    def _tell(self, what: str) -> None:
        for watch in ("folder", "guard") if self.has_guard else ("folder",):
            if not self.queue or self.queue[-1] != (watch, what):
                self.queue.append((watch, what))


@dataclass
class Hearer:
    """Reads what the kernel has queued, as the events' thread does."""

    kernel: Kernel
    openings: Openings = field(default_factory=Openings)
    last: Close | None = None

    def read(self) -> None:
        events, self.kernel.queue = self.kernel.queue, []
        for watch, what in events:
            if watch == "guard":
                if what != "open":
                    self.openings.confirmed(FILE)
            elif what == "open":
                self.openings.opened(FILE, 0.0)
            else:
                self.last = self.openings.closed(FILE, written=what == "written")
        for path in self.openings.unguarded():
            self.guard(path)

    def guard(self, path: bytes) -> None:
        self.kernel.has_guard = True
        self.openings.guarded(path, 1)

    def look(self) -> None:
        """As a look does: it opens the file itself where nobody is known to have it open."""
        if self.openings.guard_of(FILE) is None:
            self.guard(FILE)
        self.read()
        if self.openings.is_open(FILE, 1.0) is False:
            self.kernel.open(writes=False)
            self.kernel.close(-1)


ACTS = st.lists(
    st.tuples(st.sampled_from(["open", "read", "close", "look"]), st.booleans(), st.integers(0, 9)), max_size=40
)


@settings(max_examples=500, deadline=None)
@given(acts=ACTS)
def test_read_at_every_turn_it_is_never_wrong(acts: list[tuple[str, bool, int]]) -> None:
    """Where each event is read before the next one happens, what is said is so, and there is always an answer."""
    hearer = Hearer(kernel := Kernel())
    for act, _, index in acts:
        step(hearer, act, index)
        hearer.read()
        assert hearer.openings.is_open(FILE, 1.0) is bool(kernel.descriptors)


@settings(max_examples=1000, deadline=None)
@given(acts=ACTS)
def test_however_seldom_it_is_read_it_is_never_called_open_without_end(acts: list[tuple[str, bool, int]]) -> None:
    """Once all have closed it, it is closed or unknown. And it is called closed too early only where a second open
    came before the first one had been read, and neither was a look's.
    """
    hearer = Hearer(kernel := Kernel())
    was_merged = False
    for act, is_read, index in acts:
        if act in ("open", "read") and kernel.queue and kernel.queue[-1] == ("folder", "open"):
            was_merged = True
        step(hearer, act, index)
        if is_read:
            hearer.read()
            if kernel.descriptors and not was_merged:
                assert hearer.openings.is_open(FILE, 1.0) is not False
    while kernel.descriptors:
        kernel.close(0)
    hearer.read()
    assert hearer.openings.is_open(FILE, 1.0) is not True


def step(hearer: Hearer, act: str, index: int) -> None:
    kernel = hearer.kernel
    if act == "look":
        hearer.look()
    elif act != "close":
        kernel.open(writes=act == "open")
    elif kernel.descriptors:
        kernel.close(index)
