"""How a command opens its configuration and its site, and how it prints JSON."""

import argparse
import codecs
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from watcher import logs
from watcher.clock import SystemClock
from watcher.config import Config, find_config, load
from watcher.text import to_json
from watcher.views.context import CommandContext, open_to_read


def read_config(options: argparse.Namespace) -> Config:
    """The configuration that was named, or found in the usual places."""
    return load(find_config(options.config, os.environ))


@contextmanager
def open_as_it_stands(options: argparse.Namespace) -> Iterator[CommandContext]:
    """Open the configured site; its database may be lost. Raises StoreError if it has another version."""
    config = read_config(options)
    logs.configure(config.log.format, config.log.level, None, veil=config.veil)
    with open_to_read(config, SystemClock()) as context:
        yield context


@contextmanager
def open_context(options: argparse.Namespace) -> Iterator[CommandContext]:
    """Open the configured site. Raises StoreError if its database is lost or has another version.

    Before the site's first start there is no database, and nothing to read.
    """
    with open_as_it_stands(options) as context:
        if loss := context.loss():
            raise loss
        yield context


@contextmanager
def open_to_decide(options: argparse.Namespace) -> Iterator[CommandContext]:
    """Like open_context, but create the database if needed: a decision is recorded even before the first start."""
    with open_context(options) as context:
        context.make_database()
        yield context


def is_utf_8() -> bool:
    """Whether standard output takes any character."""
    return codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"


def print_json(value: object) -> None:
    """Print the value as a line of JSON: in UTF-8, or in ASCII if stdout has another encoding."""
    print(to_json(value) if is_utf_8() else json.dumps(value))
