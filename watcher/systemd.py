"""What systemd expects of a service with Type=notify. Without systemd nothing is sent."""

import os
import socket

from watcher import logs

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
