"""What systemd wants to hear from a service of Type=notify. Without systemd nothing is said to anybody."""

import os
import socket

from watcher import logs

_log = logs.get_logger(__name__)

_PATIENCE_SECONDS = 1.0  # a systemd that stands still holds up nobody


def notify(message: str) -> None:
    """systemd knows, if it started us and wants to."""
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
    """How often systemd wants to hear of progress; null when it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC")
    if not microseconds or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000
