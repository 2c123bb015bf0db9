"""How a command comes to its configuration, its site and its output."""

import argparse
import codecs
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from watcher import logs
from watcher.clock import SystemClock
from watcher.config import Config, find_config, load
from watcher.text import to_json
from watcher.views.context import CommandContext, open_to_read


def read_config(options: argparse.Namespace) -> Config:
    """The configuration the command was told, or found."""
    return load(find_config(options.config, os.environ))


@contextmanager
def open_as_it_stands(options: argparse.Namespace) -> Iterator[CommandContext]:
    """A configured site, its database lost perhaps. StoreError when that is older or newer than this version."""
    config = read_config(options)
    logs.configure(config.log.format, config.log.level, None)
    with open_to_read(config, SystemClock()) as context:
        yield context


@contextmanager
def open_context(options: argparse.Namespace) -> Iterator[CommandContext]:
    """A configured site whose database is of this version, or still to be made. StoreError where it is lost."""
    with open_as_it_stands(options) as context:
        if loss := context.loss():
            raise loss
        yield context


@contextmanager
def open_to_decide(options: argparse.Namespace) -> Iterator[CommandContext]:
    """The same, and there is a database: a decision is written down even before the site's first start."""
    with open_context(options) as context:
        context.make_database()
        yield context


def print_json(value: object) -> None:
    """The value as JSON on a line: in UTF-8, or in ASCII where stdout is of another encoding."""
    is_utf_8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    print(to_json(value) if is_utf_8 else json.dumps(value))


class _Console(Console):
    """rich's, but for who is told that the reader has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def wide_console() -> Console:
    """Stdout for tables: as wide as the terminal, or wide enough for a line a row where there is none."""
    return _Console(
        width=None if sys.stdout.isatty() else 200,
        soft_wrap=True,
        markup=False,
        highlight=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",  # rich alone would leave the bold type
    )
