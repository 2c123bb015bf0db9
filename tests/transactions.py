"""The rule that nothing touches a disk, speaks, waits or asks the service inside a transaction, and who breaks it.

A transaction that writes keeps all others out; one that reads keeps the write-ahead log from being put away. And
where the reader of the output has gone, what was printed inside one takes it along.
"""

import builtins
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from structlog._config import BoundLoggerLazyProxy

from tests.clock import FalseClock
from watcher import outlet
from watcher.clock import SystemClock
from watcher.outlet import Outlet
from watcher.store import Books, Store

_PROJECT = str(Path(__file__).parent.parent / "watcher")
_AUDITED = ("open", "os.", "shutil.", "socket.", "subprocess.", "tempfile.", "glob.", "fcntl.")
_UNAUDITED = (
    *("access", "fdatasync", "fstat", "fstatvfs", "fsync", "lstat", "pread", "pwrite", "read", "readlink", "stat"),
    *("statvfs", "write"),
)
_REAL_LOCK = threading.Lock
_inside = threading.local()
_breaches: list[str] = []
_is_installed = False


def breaches() -> list[str]:
    """What was done inside a transaction since the last call, and by whom."""
    found = _breaches[:]
    _breaches.clear()
    return found


@contextmanager
def guarded() -> Iterator[None]:
    """In the block, whatever the product does inside a transaction of its own is noted as a breach."""
    _install_hook()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "writing", _marking(Store.writing, writes=True))
        patch.setattr(Store, "reading", _marking(Store.reading, writes=False))
        for name in _UNAUDITED:
            patch.setattr(os, name, _noting(f"os.{name}", getattr(os, name)))
        patch.setattr(builtins, "print", _noting("print", print))
        patch.setattr(outlet, "standard_error", _noting("a line", outlet.standard_error))
        patch.setattr(Outlet, "write", _noting("a line", Outlet.write))
        patch.setattr(logging.Logger, "handle", _noting("a log line", logging.Logger.handle))
        patch.setattr(BoundLoggerLazyProxy, "bind", _noting("a log line", BoundLoggerLazyProxy.bind))
        for clock in (FalseClock, SystemClock):
            patch.setattr(clock, "wait", _noting("a wait", clock.wait))
        patch.setattr(threading.Event, "wait", _noting("a wait", threading.Event.wait))
        patch.setattr(threading.Thread, "join", _noting("a wait", threading.Thread.join))
        patch.setattr(threading, "Lock", _make_lock)
        yield


def _marking(
    opened: Callable[..., AbstractContextManager[Books]], *, writes: bool
) -> Callable[..., AbstractContextManager[Books]]:
    """The same transaction, known to be open while the product's own code is in it."""

    @contextmanager
    def marked(store: Store, **how: Any) -> Iterator[Books]:
        opener = sys._getframe(2)  # beyond the context manager's
        if _is_ours(opener):
            _note("another transaction", ())
        with opened(store, **how) as books:
            is_held_to_it = _is_ours(opener)
            before = getattr(_inside, "depth", 0), getattr(_inside, "is_writing", False)
            _inside.depth, _inside.is_writing = before[0] + is_held_to_it, before[1] or (is_held_to_it and writes)
            try:
                yield books
            finally:
                _inside.depth, _inside.is_writing = before

    return marked


class _Lock:
    """A lock of the product's: whoever takes it in a transaction that writes has all others wait for its owner."""

    def __init__(self) -> None:
        self._lock = _REAL_LOCK()
        self.release = self._lock.release
        self.locked = self._lock.locked

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if getattr(_inside, "is_writing", False):
            _note("a lock", ())
        return self._lock.acquire(blocking, timeout)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _make_lock() -> Any:
    return _Lock() if _is_ours(sys._getframe(1)) else _REAL_LOCK()


def _noting(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def noting(*args: Any, **kwargs: Any) -> Any:
        _note(what, args)
        return call(*args, **kwargs)

    return noting


def _note(what: str, args: tuple[Any, ...]) -> None:
    if not getattr(_inside, "depth", 0):
        return
    depth, _inside.depth = _inside.depth, 0  # what is needed to tell it is no breach
    try:
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(_PROJECT)]
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames[-3:]))
        _breaches.append(f"{what}{args[:2]!r} in {where}")
    finally:
        _inside.depth = depth


def _install_hook() -> None:
    """Once: a hook stays for as long as the interpreter."""
    global _is_installed  # noqa: PLW0603
    if not _is_installed:
        _is_installed = True
        sys.addaudithook(_hear)


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if getattr(_inside, "depth", 0) and event.startswith(_AUDITED) and not _is_import():
        _note(event, args)


def _is_import() -> bool:
    """Whether a module is being loaded: once in a life, and no matter of the transaction's."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PROJECT)
