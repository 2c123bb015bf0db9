"""What systemd expects of a service with Type=notify. Without systemd nothing is sent."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from watcher import logs
from watcher.clock import SystemClock

_log = logs.get_logger(__name__)

_PATIENCE_SECONDS = 1.0  # a systemd that hangs must not hold up the caller


def notify(message: str) -> None:
    """Send the message to systemd, if it started us and wants it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        door.settimeout(_PATIENCE_SECONDS)
        try:
            door.connect("\0" + address[1:] if address.startswith("@") else address)
            door.send(message.encode())
        except OSError as error:
            _log.warning("systemd.unreachable", reason=str(error))


def watchdog_seconds() -> float | None:
    """Return how often systemd wants to hear of progress; None if it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC")
    if not microseconds or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000


@contextmanager
def soothed_watchdog() -> Iterator[None]:
    """In the block the watchdog hears that all is well: what takes long there is bounded by itself."""
    interval, over = watchdog_seconds(), threading.Event()

    def soothe(seconds: float) -> None:
        while not SystemClock().wait(seconds, over):
            notify("WATCHDOG=1")

    if interval is not None:
        threading.Thread(target=soothe, args=(interval / 3,), name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        over.set()
