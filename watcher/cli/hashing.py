"""The command that makes the hash of the page's password."""

import argparse
import getpass
import sys

from watcher.errors import Exit, UsageError
from watcher.web.password import PasswordHash


def password(_: argparse.Namespace) -> int:
    """Ask for the password twice on a terminal, else read it as one line, and print its hash."""
    if sys.stdin.isatty():
        given = getpass.getpass("The page's password: ")
        if given != getpass.getpass("Once more: "):
            raise UsageError("password: the two differ", hint="Nothing was printed. Repeat the command.")
    else:
        given = sys.stdin.readline().removesuffix("\n")
    if not given:
        raise UsageError("password: nothing was given", hint="Type it, or send it as one line to standard input.")
    print(PasswordHash.of(given))
    return Exit.WELL
