"""The loop around each step: what it does when the step cannot."""

import threading
from collections.abc import Callable

import pytest

from tests.clock import FalseClock
from tests.queues import listening
from watcher.errors import InstanceRunning, StoreError
from watcher.loops import Chore, Runner


def troubled(clock: FalseClock, *troubles: Exception) -> list[dict[str, object]]:
    """What the log says of a step that meets these, one after the other, and is stopped when it succeeds."""
    stopping = threading.Event()
    left = list(troubles)

    def step() -> float:
        if left:
            raise left.pop(0)
        stopping.set()
        return 1.0

    with listening() as log:
        Runner("file", step, clock, stopping, done_at=clock.monotonic()).run()
    return log


def test_a_trouble_that_is_known_is_told_in_words(clock: FalseClock) -> None:
    """A full disk under the database, say: no trace of the program, but what to do. The step is tried again."""
    full = StoreError("the disk of the database is full", hint="Free some space.")
    first, second = troubled(clock, full, full)
    assert (first["event"], first["reason"], first["hint"]) == ("step.failed", full.message, full.hint)
    assert "exc_info" not in first
    assert (first["again_in_seconds"], second["again_in_seconds"]) == (2.0, 4.0)


def test_what_nobody_foresaw_is_told_with_where_it_came_from(clock: FalseClock) -> None:
    (line,) = troubled(clock, ZeroDivisionError("division by zero"))
    assert (line["event"], line["step"]) == ("step.failed", "file")
    assert line["exc_info"]


def test_what_is_done_beside_the_steps_ends_nobody_and_is_told_once() -> None:
    """The same trouble each second is one line, until a turn went well. Only who lost the folder has to go."""
    full = StoreError("the disk of the database is full", hint="Free some space.")
    turns: list[Exception | None] = [full, full, None, full, RuntimeError("can't start new thread")]
    ahead = iter(turns)

    def turn() -> None:
        if (error := next(ahead)) is not None:
            raise error

    chore = Chore("watch", turn)
    with listening() as log:
        for _ in turns:
            chore()
    assert [(line["chore"], line.get("reason")) for line in log] == [("watch", full.message)] * 2 + [
        ("watch", None)
    ]
    assert log[-1]["exc_info"]
    running = InstanceRunning("another one has it", hint="Stop it.")
    ahead = iter([running])
    with pytest.raises(InstanceRunning):
        chore()


class _Books:
    """A database that counts what is committed to it."""

    def __init__(self) -> None:
        self.commits: int | None = 1

    def changes(self) -> int | None:
        return self.commits


def looks(clock: FalseClock, books: _Books, wait: float, number: int, act: Callable[[int], None]) -> list[float]:
    """When a step looks that says each time to look again after so many seconds, from the first look on."""
    stopping, began, times = threading.Event(), clock.monotonic(), list[float]()

    def step() -> float:
        times.append(clock.monotonic() - began)
        act(len(times))
        if len(times) == number:
            stopping.set()
        return wait

    runner = Runner("file", step, clock, stopping, done_at=clock.monotonic(), changes=books.changes)
    runner.run()
    return times


def test_a_step_rests_while_nothing_is_committed(clock: FalseClock) -> None:
    """Twelve that looked each second took half a hundredth of a core in which nothing happened."""
    assert looks(clock, _Books(), 600.0, 3, lambda _: None) == [0.0, 5.0, 10.0]


def test_a_step_that_rests_looks_when_it_is_due(clock: FalseClock) -> None:
    assert looks(clock, _Books(), 2.5, 3, lambda _: None) == [0.0, 2.5, 5.0]


def test_a_step_looks_within_a_second_of_what_was_committed_while_it_looked(clock: FalseClock) -> None:
    books = _Books()

    def commit_once(look: int) -> None:
        if look == 1:
            books.commits = 2

    assert looks(clock, books, 600.0, 3, commit_once) == [0.0, 1.0, 6.0]


def test_a_step_looks_each_second_where_nobody_can_tell_of_commits(clock: FalseClock) -> None:
    """A database on a server, or one that cannot be read just now."""
    books = _Books()
    books.commits = None
    assert looks(clock, books, 600.0, 3, lambda _: None) == [0.0, 1.0, 2.0]


def test_a_step_that_rests_looks_once_the_books_cannot_be_asked(clock: FalseClock) -> None:
    books = _Books()

    def lose(_: int) -> None:
        books.commits = None

    assert looks(clock, books, 600.0, 3, lose) == [0.0, 1.0, 2.0]
