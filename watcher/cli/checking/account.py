"""Check the key, the service and the limits, with one request for a verdict, which costs nothing."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from watcher import __version__
from watcher.cli.checking.finding import Condition, Finding, unavailable, warning, well
from watcher.config import Config
from watcher.errors import ConfigError, Rejected, ServiceError, StoreError, Throttled
from watcher.identifai.client import Client
from watcher.journey.submit.policy import NEEDS_CANARY
from watcher.journey.submit.windows import count_read, describe, find_windows, room_for_read
from watcher.key import Key, read_key
from watcher.views.context import CommandContext
from watcher.views.interruptions import ending, is_barred
from watcher.views.knowledge import Known

_NOBODYS = "0" * 64  # an identifier that the service never gave
_MOST_BYTES = 15_000_000  # the service's documented limit
_PATIENCE_SECONDS = 30.0
_WAIT_SECONDS = 10.0  # for room among the reads


def find_key(config: Config, handed: Key | ConfigError | None, *, is_running: bool) -> tuple[Key | None, Finding]:
    """The key, if there is one, and where it comes from. `is_running`: a daemon here has its key already.

    `handed`: the key that systemd passes to the daemon, or what is wrong with it; without one, the key is read as
    usual.
    """
    try:
        if isinstance(handed, ConfigError):
            raise handed
        key = handed or read_key(config, os.environ)
    except ConfigError as error:
        if is_running and isinstance(error.__cause__, PermissionError):
            hint = (
                "The daemon has its key already. To check it, run this as a user who can read it (sudo watcher"
                " check), or set $IDENTIFAI_API_KEY."
            )
            return None, warning("key", error.message, hint)
        return None, Finding.of("key", error)
    if key.warning:
        return key, warning("key", f"from {key.source}", key.warning)
    return key, well("key", f"from {key.source}")


def check_service(context: CommandContext, known: Known, key: Key | None) -> Finding:
    """Whether the service is reachable and accepts the key: ask it for one verdict.

    The request counts against the daemon's rate limit for reads, if there is a database.
    """
    name, config = "service", context.config
    url = config.identifai.base_url
    if key is None:
        return warning(name, f"{url} was not asked: there is no key", "Give this user the key (see above).")
    count = _counting(context) if known.is_open else lambda: None
    try:
        if known.is_open and (busy := _wait_for_room(context)):
            why = f"limits.reads allows no request for {busy:.0f} s"
            return warning(name, f"{url} was not asked: {why}", "Run `watcher check` again later.")
        count()  # committed before the request, so the daemon leaves room for it and a kill blocks nobody
    except StoreError as error:
        return warning(name, f"{url} was not asked: {error.message}", error.hint)
    client = Client(
        base_url=url,
        key=key,
        connect_timeout_seconds=min(config.identifai.connect_timeout_seconds, _PATIENCE_SECONDS),
        read_timeout_seconds=min(config.identifai.read_timeout_seconds, _PATIENCE_SECONDS),
        deadline_seconds=min(config.identifai.deadline_seconds, _PATIENCE_SECONDS),
        version=__version__,
        clock=context.clock,
    )
    try:
        client.verdicts([known.identifier or _NOBODYS])
    except Throttled:
        return warning(
            name, f"{url} accepts the key, but gets more requests than it allows", "Lower limits.reads."
        )
    except Rejected:
        pass  # it accepts the key and does not know the identifier
    except ServiceError as error:
        return unavailable(name, f"{url}: {error.message}", error.hint)
    finally:
        client.close()
        with suppress(StoreError):
            count()  # and after it: this is when the service has counted it
    if urlsplit(url).scheme == "http" and not _is_this_machine(url):
        hint = "The key and the recordings are sent unencrypted: use https://."
        return warning(name, f"{url} accepts the key", hint)
    return well(name, f"{url} accepts the key; it does not tell how much credit is left")


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _wait_for_room(context: CommandContext) -> float:
    """Wait until limits.reads allow a request. Return 0, or the seconds still to wait where that is too long."""
    until = context.clock.monotonic() + _WAIT_SECONDS
    while True:
        now = context.clock.now()
        with context.store.reading() as books:
            room = room_for_read(books, context.config.limits.reads, now)
        if room.is_there:
            return 0.0
        if context.clock.monotonic() + room.wait > until:
            return room.wait
        context.clock.wait(room.wait, threading.Event())


def _counting(context: CommandContext) -> Callable[[], None]:
    def count() -> None:
        if context.config.limits.reads:
            with context.store.writing() as books:
                count_read(books, context.clock.now())

    return count


def check_pauses(context: CommandContext, known: Known) -> list[Finding]:
    """The pauses in force."""
    findings = []
    for pause in known.pauses:
        condition = Condition.UNAVAILABLE if pause.kind in NEEDS_CANARY else Condition.WARNING
        hint = ending(pause, context.clock.now(), is_barred=is_barred(known.pauses))
        findings.append(Finding("submitting", condition, f"is paused: {pause.reason}", hint))
    return findings


def check_limits(context: CommandContext, known: Known) -> Finding:
    """Compare limits.* with what the service documents."""
    name, limits = "limits", context.config.limits
    found = f"{describe(limits.writes)}; recordings of at most {limits.max_upload_bytes:,} bytes"
    if known.is_open:
        with context.store.reading() as books:
            lowered = find_windows(books, limits.writes, context.clock.now())
        if lowered != limits.writes:
            hint = "Set limits.writes to what the service grants this account; each refused upload is wasted."
            found = f"{describe(limits.writes)}; lowered to {describe(lowered)} after a refusal"
            return warning(name, found, hint)
    if limits.max_upload_bytes > _MOST_BYTES:
        hint = f"The service documents {_MOST_BYTES:,}: larger ones may be refused after they were sent."
        return warning(name, found, hint)
    if not limits.writes and not _is_this_machine(context.config.identifai.base_url):
        hint = 'Set limits.writes: the service allows ["1/second", "30/minute"] unless it has granted you more.'
        return warning(name, found, hint)
    return well(name, found)
