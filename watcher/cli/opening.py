"""How a command comes to its configuration, its database and its clock."""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from watcher import logs
from watcher.clock import Clock, SystemClock
from watcher.config import Config, find_config, load
from watcher.folders import Folder
from watcher.journey.site import Site
from watcher.store import Store

_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class Desk:
    """What a command that reads or decides works with. It needs no key."""

    config: Config
    store: Store
    clock: Clock

    @property
    def drop(self) -> Folder:
        return Folder(self.config.folders.drop, "drop")

    @property
    def done(self) -> Folder:
        return Folder(self.config.folders.done, "done")

    @property
    def failed(self) -> Folder:
        return Folder(self.config.folders.failed, "failed")

    def content_key(self, digest: str) -> str:
        """See Site.content_key."""
        return Site.open(self.config, self.store, self.clock).content_key(digest)

    def paths(self, text: str) -> list[bytes]:
        """What a person's path may mean: relative to one of the folders, or a path of this machine in one.

        `\\xNN` is taken as `list` prints it: the byte of that number.
        """
        raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(text))
        found = [] if os.path.isabs(raw) else [os.path.normpath(raw)]
        whole = os.path.abspath(raw)
        folders = self.config.folders
        for root in (folders.drop, folders.done, folders.failed):
            for base in {root, os.path.realpath(root)}:
                if whole.startswith(base + b"/"):
                    found.insert(0, whole[len(base) + 1 :])
        return found


def read_config(options: argparse.Namespace) -> Config:
    """The configuration the command was told, or found."""
    return load(find_config(options.config, os.environ))


@contextmanager
def open_desk(options: argparse.Namespace, *, decides: bool = False) -> Iterator[Desk]:
    """A configured site's database, of this version. StoreError when it is older or newer.

    Before a site's first start there is nothing to read; who `decides` something has it written down all the same.
    """
    config = read_config(options)
    logs.configure(config.log.format, config.log.level, None)
    with Store(config.store.url) as store:
        if store.database.exists():
            store.database.check_version()
        elif decides:
            store.database.migrate()
        yield Desk(config, store, SystemClock())


def wide_console() -> Console:
    """Stdout for tables: as wide as the terminal, or wide enough for a line a row where there is none."""
    return Console(width=None if sys.stdout.isatty() else 200, soft_wrap=True, markup=False, highlight=False)
