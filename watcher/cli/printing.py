"""Standard output, where commands print their data: as far as anybody reads it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_far_as_read() -> Iterator[None]:
    """What the block prints has gone out. A reader that leaves, as `head` does, ends the block, and quietly.

    For a command whose exit code says more than that it printed everything.
    """
    try:
        yield
        flush()
    except BrokenPipeError:
        silence()


def flush() -> None:
    """What was printed has gone out. BrokenPipeError, OSError."""
    sys.stdout.flush()


def silence() -> None:
    """Nobody hears what is printed from here on; nor does the interpreter complain about that when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
