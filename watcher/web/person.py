"""Who decides at the page, for the history: as far as anybody can know it."""

import base64
import binascii
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from watcher.accounts import user_name
from watcher.text import show_text

_LONGEST = 64
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def name_caller(scope: MutableMapping[str, Any]) -> str:
    """Return who sent this request: the user name that came with it, and the machine it came from.

    From this machine it is the user whose program has the connection. The kernel knows that, so it is said also
    where another name came with the request: that one is only a claim, and behind a proxy the proxy's.
    """
    client, server = scope.get("client"), scope.get("server")
    given = _given_name(scope.get("headers") or ())
    if client is None:
        return given or "somebody at the page"
    host, port = str(client[0]), int(client[1])
    owner = None
    with suppress(ValueError, OSError):
        if ip_address(host).is_loopback and server is not None:
            owner = _owner_of(port, int(server[1]))
    if owner is None:
        return f"{given or 'somebody'} (at the page, from {host})"
    return f"{given} (at the page, through {owner})" if given and given != owner else f"{owner} (at the page)"


def _given_name(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the user name beside a password; "" for none. It is only a claim, as everybody has the password."""
    for name, value in headers:
        if name == b"authorization" and value[:6].lower() == b"basic ":
            with suppress(binascii.Error, ValueError):
                user = base64.b64decode(value[6:], validate=True).partition(b":")[0]
                return show_text(user.decode("utf-8", "replace")).strip()[:_LONGEST]
    return ""


def _owner_of(port: int, to: int) -> str | None:
    """Return the user of this machine who has connected this port to that one; null if that cannot be known."""
    ours = f":{port:04X}"
    for table in _TABLES:
        with suppress(OSError), open(table, encoding="ascii") as lines:
            for line in lines:
                fields = line.split()
                if fields[1].endswith(ours) and fields[2].endswith(f":{to:04X}"):
                    return user_name(int(fields[7]))
    return None
