"""`where`: what became of a recording, for whoever dropped it. It needs no configuration and no database."""

import argparse
import os

from watcher.cli.columns import wrap
from watcher.clock import SystemClock
from watcher.config import find_config, load
from watcher.errors import ConfigError, Exit, NoSuchItem
from watcher.views.lookup import read_path
from watcher.views.whereabouts import Folders, find_folders, tell_whereabouts


def where(options: argparse.Namespace) -> int:
    typed = read_path(options.name)
    for said in tell_whereabouts(_find(options, typed), typed, SystemClock().now()):
        print(wrap("", said, 0))
    return Exit.WELL


def _find(options: argparse.Namespace, typed: bytes) -> Folders:
    """The folders of the site: those of the configuration if it may be read, else where the name or we are.

    Raises NoSuchItem where neither tells.
    """
    above: list[bytes] = []
    try:
        path = find_config(options.config, os.environ)
        above = [os.fsencode(path.parent)]
        folders = load(path).folders
        configured = Folders(folders.drop, (folders.done, folders.failed))
    except (ConfigError, OSError):
        configured = None
    starts = [os.path.dirname(os.path.abspath(typed)), os.getcwdb()]
    found = (
        configured if options.config and configured else find_folders(starts) or configured or find_folders(above)
    )
    if found is None:
        raise NoSuchItem(
            "this is not the drop folder of a watcher, nor a folder in it",
            hint="Change to the drop folder, or name the recording with its whole path.",
        )
    return found
