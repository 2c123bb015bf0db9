"""`completion`: a script for the shell, made from the parser itself."""

import argparse

import shtab

from watcher.cli.arguments import build_parser
from watcher.errors import Exit


def completion(options: argparse.Namespace) -> int:
    print(shtab.complete(build_parser(), options.shell))
    return Exit.WELL
