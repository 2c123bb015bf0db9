"""Which processors the program's threads run on."""

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress

_MINE = 36  # in proc(5)'s stat, after the name: the processor that it ran on last
_given: AbstractSet[int] = frozenset()


@contextmanager
def kept_to_one() -> Iterator[None]:
    """Keep the calling thread, and all threads that it starts in the block, on one of the processors.

    Python lets one of them run at a time in any case. On several processors each system call of the one wakes
    another, which finds that it may not run yet: that took two fifths of a recording's time (measured on two: 13.1
    and 8.2 ms for 200 KB, and 29 % less until all were filed). Where the system does not allow it, all stays.
    """
    global _given  # noqa: PLW0603 — of the process
    _given = os.sched_getaffinity(0)
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/thread-self/stat", "rb") as stat:
            mine = int(stat.read().rpartition(b")")[2].split()[_MINE])
        os.sched_setaffinity(0, {mine} & _given or _given)
    try:
        yield
    finally:
        free(0)


def free(pid: int) -> None:
    """Let the process, a child of ours, run on all processors that we were given: it has work of its own."""
    if _given:
        with suppress(OSError):
            os.sched_setaffinity(pid, _given)
