"""Check who is told: the file of the addresses, and what is in it. Nothing is sent."""

import os
from collections.abc import Iterator

from watcher.cli.checking.finding import Finding, warning, well
from watcher.config import Config
from watcher.errors import ConfigError
from watcher.text import show_path


def check_notices(config: Config) -> Iterator[Finding]:
    """Check that the file can be read, by nobody else, and that each line is an address."""
    path = config.notify.urls_file
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
    number = len(book.addresses)
    found = f"{show_path(os.fsencode(path))} has {number} address{'' if number == 1 else 'es'}"
    if not config.notify.on:
        yield warning("notify", f"{found}, but notify.on is empty, so they are told of nothing", "Set notify.on.")
    elif not book.exposed:
        yield well("notify", f"{found}; `watcher notify --test` tries whether they work")
