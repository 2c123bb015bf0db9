"""The command that tries whether somebody can be told."""

import argparse
import socket
import threading

from watcher.cli.opening import read_config
from watcher.cli.printing import as_far_as_read
from watcher.clock import SystemClock
from watcher.errors import ConfigError, Exit
from watcher.notify.addresses import Address, read_addresses, send
from watcher.notify.telling import DEADLINE_SECONDS
from watcher.outlet import say
from watcher.text import show_path


def notify(options: argparse.Namespace) -> int:
    """Send a test message to every address at once, and say of each whether it took it."""
    config, clock = read_config(options), SystemClock()
    if config.notify.urls_file is None:
        raise ConfigError(
            f"{config.path}: notify.urls_file is not set, so nobody is told",
            hint="Name a file with one Apprise address a line, mode 600.",
        )
    book = read_addresses(config.notify.urls_file)
    if book.exposed:
        say(f"watcher: {book.exposed}")
    host = socket.gethostname()
    title = f"watcher on {host}: a test message"
    body = f"Nothing has happened. This address is told of {', '.join(config.notify.on) or 'nothing'}.\n"
    body += f"Drop folder: {show_path(config.folders.drop)} on {host}."
    said: dict[Address, str] = {}
    news = threading.Condition()

    def try_one(address: Address) -> None:
        reason = send(address, title, body)
        with news:
            said[address] = reason
            news.notify_all()

    for address in book.addresses:
        threading.Thread(target=try_one, args=(address,), daemon=True).start()
    give_up_at = clock.monotonic() + DEADLINE_SECONDS
    with news:
        while len(said) < len(book.addresses) and (left := give_up_at - clock.monotonic()) > 0:
            news.wait(left)
        found = dict(said)
    with as_far_as_read():
        for address in book.addresses:
            reason = found.get(address, f"it did not take the message within {DEADLINE_SECONDS:g} seconds")
            print(f"line {address.line} ({address.kind}): {f'failed: {reason}' if reason else 'sent'}")
    return Exit.WELL if all(found.get(address) == "" for address in book.addresses) else Exit.INCOMPLETE
