"""Check who is told: the file of the addresses, and what is in it. Nothing is sent."""

import os
from collections.abc import Iterator

from watcher.cli.checking.finding import Finding, warning, well
from watcher.errors import ConfigError
from watcher.text import rfc3339, show_path
from watcher.views.context import CommandContext
from watcher.views.knowledge import Known

_WAITED_SECONDS = 900.0


def check_notices(context: CommandContext, known: Known) -> Iterator[Finding]:
    """Check that the file can be read, by nobody else, that each line is an address, and that messages arrive."""
    config, path = context.config, context.config.notify.urls_file
    if path is None:
        return
    from watcher.notify.addresses import read_addresses  # noqa: PLC0415 — an extra, which takes a while to load

    try:
        book = read_addresses(path)
    except ConfigError as error:
        yield Finding.of("notify", error)
        return
    if book.exposed:
        reason, _, remedy = book.exposed.partition("; ")
        yield warning("notify", reason, f"The addresses hold secrets; {remedy}")
    if known.unsent_since is not None and abs(context.clock.now() - known.unsent_since) > _WAITED_SECONDS:
        many = "a message waits" if known.unsent == 1 else f"{known.unsent:,} messages wait"
        found = f"{many} for an address that does not take it, since {rfc3339(known.unsent_since)}"
        yield warning("notify", found, "`watcher notify --test` says which address it is, and why.")
    number = len(book.addresses)
    found = f"{show_path(os.fsencode(path))} has {number} address{'' if number == 1 else 'es'}"
    if not config.notify.on:
        yield warning("notify", f"{found}, but notify.on is empty, so they are told of nothing", "Set notify.on.")
    elif not book.exposed:
        yield well("notify", f"{found}; `watcher notify --test` tries whether they work")
