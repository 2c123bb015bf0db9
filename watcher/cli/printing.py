"""Standard output, where commands print their data, and readers that leave early."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_far_as_read() -> Iterator[None]:
    """Flush what the block prints. If the reader leaves, as `head` does, end the block without an error.

    For a command whose exit code says more than that it printed everything.
    """
    try:
        yield
        flush()
    except BrokenPipeError:
        silence()


def flush() -> None:
    """Flush what was printed. Raises BrokenPipeError or another OSError."""
    sys.stdout.flush()


def silence() -> None:
    """Send all further output to /dev/null, so that the interpreter does not complain when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
