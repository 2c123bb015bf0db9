"""Which processors the program's threads run on."""

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress

_MINE = 36  # in proc(5)'s stat, after the name: the processor that it ran on last
_given: AbstractSet[int] = frozenset()
_policy: int | None = None


@contextmanager
def kept_to_one() -> Iterator[None]:
    """Keep the calling thread, and all threads that it starts in the block, in turn on one of the processors.

    Python lets one of them run at a time in any case. On several processors each system call of the one wakes
    another, which finds that it may not run yet: that took two fifths of a recording's time (measured on two: 13.1
    and 8.2 ms for 200 KB, and 29 % less until all were filed). On one, whoever is woken displaces who woke it, and
    finds the same; as SCHED_BATCH it waits until that one waits (measured: 67 switches a recording, and 28). Where
    the system does not allow it, all stays.
    """
    global _given, _policy
    _given, _policy = os.sched_getaffinity(0), os.sched_getscheduler(0)
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/thread-self/stat", "rb") as stat:
            mine = int(stat.read().rpartition(b")")[2].split()[_MINE])
        os.sched_setaffinity(0, {mine} & _given or _given)
    _schedule(0, os.SCHED_BATCH)
    try:
        yield
    finally:
        free(0)


def free(pid: int) -> None:
    """Let the process, a child of ours, run on all processors that we were given: it has work of its own."""
    if _given:
        with suppress(OSError):
            os.sched_setaffinity(pid, _given)
    _schedule(pid, os.SCHED_OTHER)


def _schedule(pid: int, policy: int) -> None:
    """Have the kernel schedule it like this, unless whoever started us asked for something else."""
    if _policy == os.SCHED_OTHER:
        with suppress(OSError):
            os.sched_setscheduler(pid, policy, os.sched_param(0))
