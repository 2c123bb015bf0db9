"""Write log lines and messages to standard error in order, without ever blocking the caller.

Standard error may block: a full pipe, a stopped terminal, a disk that hangs. That must not stop the work or keep
the program from ending. So callers only append to a bounded queue, and one thread writes. Lines that do not fit
are dropped and counted; a line in their place says how many are missing.

A kill loses at most what the queue holds. No line bypasses the queue, however grave: it could hang like any other,
and would be out of order. Every other end of the program waits for the queue, for LAST_SECONDS at the most.
"""

import io
import os
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO, cast

Show = Callable[[str, int, int | None], object]
"""Called again and again with what is being done, how much of it is, and of how much; None: that is not known."""

LAST_SECONDS = 2.0
MOST_CHARACTERS = 4_000_000
"""Characters in the queue, some ten thousand lines; a single line may be longer."""

_latest: "Outlet | None" = None


def standard_error() -> TextIO | None:
    """Return the stream for lines meant for people, in order with the log's; None where there is none."""
    return cast("TextIO", _latest) if _latest is not None and _latest.stream is sys.stderr else sys.stderr


def say(line: str) -> None:
    """Write the line to standard error, for a person, after everything logged before it."""
    stream = standard_error()
    if stream is not None:
        stream.write(f"{line}\n")


class Outlet(io.TextIOBase):
    """A text file that any thread can write to without blocking; `flush` does not wait.

    `describe_loss` returns the line that says how many lines were dropped. A stream that is closed, full or broken
    takes nothing, which is no reason to stop; None stands for such a stream.
    """

    def __init__(self, stream: TextIO | None, describe_loss: Callable[[int], str]) -> None:
        global _latest  # noqa: PLW0603  there is one standard error
        self.stream = stream
        self._describe_loss = describe_loss
        self._descriptor = _descriptor_of(stream)
        known = getattr(stream, "errors", None)
        self._errors = known if known and known != "strict" else "backslashreplace"
        self._changed = threading.Condition()
        self._queue: deque[str | int] = deque()  # text, or how many lines were dropped at this point
        self._size = 0
        self._dropped = 0  # lines dropped since the last text was queued
        self._lost = 0  # lines dropped and not yet reported
        self._is_torn = False  # the last line written lacks its end
        self._is_busy = False
        self._is_over = False
        self._writer: threading.Thread | None = None
        _latest = self

    # What files have

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.stream, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Do nothing: the writer thread writes by itself."""

    def isatty(self) -> bool:
        try:
            return self.stream is not None and self.stream.isatty()
        except ValueError:  # closed meanwhile
            return False

    def write(self, text: str) -> int:
        with self._changed:
            # After a drop, wait until half of the queue is free again: one gap is better than many.
            room = MOST_CHARACTERS // 2 if self._dropped else MOST_CHARACTERS
            if self._is_over or (self._queue and self._size + len(text) > room):
                self._dropped += text.count("\n")
            else:
                if self._dropped:
                    self._queue.append(self._dropped)
                    self._dropped = 0
                self._queue.append(text)
                self._size += len(text)
                self._writer = self._writer or self._start()
                self._changed.notify_all()
        return len(text)

    def drain(self, seconds: float) -> bool:
        """Wait until all that was queued is written or given up. Return whether that took at most `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._queue or self._dropped or self._is_busy), seconds)

    def close(self) -> None:
        """Take nothing more, and wait for what was taken, up to LAST_SECONDS."""
        if self._is_over:
            return
        went_out = self._writer is None or self.drain(LAST_SECONDS)
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        if self._descriptor is not None and went_out:  # else a write hangs in it: leave closing to the system
            os.close(self._descriptor)

    # The writer

    def _start(self) -> threading.Thread | None:
        # Block signals in it: they are for the thread that waits for them, which may not have started yet.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            writer = threading.Thread(target=self._write_all, name="outlet", daemon=True)
            writer.start()
        except RuntimeError:  # no more threads, or the program ends: the next line tries again
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return writer

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._queue or self._dropped or self._is_over)
                if self._is_over:
                    return
                if self._queue:
                    said = self._queue.popleft()
                else:
                    said, self._dropped = self._dropped, 0
                self._size -= len(said) if isinstance(said, str) else 0
                self._is_busy = True
            self._lost += said if isinstance(said, int) else 0
            if self._lost and self._goes_out(self._describe_loss(self._lost)):
                self._lost = 0
            if isinstance(said, str) and (self._lost or not self._goes_out(said)):
                self._lost += said.count("\n")

    def _goes_out(self, text: str) -> bool:
        try:
            if self._descriptor is not None:
                self._write(self._descriptor, text)
            elif self.stream is not None:
                self.stream.write(text)
                self.stream.flush()
        except (OSError, ValueError):  # the reader is gone, the disk is full, or it was closed
            return False
        return True

    def _write(self, descriptor: int, text: str) -> None:
        data = text.encode(self.encoding, errors=self._errors)
        rest = memoryview(b"\n" + data if self._is_torn else data)
        while rest:
            try:
                written = os.write(descriptor, rest)
            except BlockingIOError:  # somebody who shares the descriptor set O_NONBLOCK
                poll = select.poll()
                poll.register(descriptor, select.POLLOUT)
                poll.poll()
                continue
            rest = rest[written:]
            self._is_torn = bool(rest)


def _descriptor_of(stream: TextIO | None) -> int | None:
    """Duplicate the stream's descriptor, so that no line ends up in a file opened after the stream was closed."""
    if stream is None:
        return None
    with suppress(OSError, ValueError, AttributeError):  # an in-memory stream, or a closed one
        return os.dup(stream.fileno())
    return None
