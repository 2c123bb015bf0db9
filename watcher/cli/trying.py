"""The commands that need no service: demo, sandbox."""

import argparse
from pathlib import Path

from watcher.cli.demo import show_demo
from watcher.errors import UsageError
from watcher.sandbox import serve


def demo(options: argparse.Namespace) -> int:
    return show_demo(Path(options.dir) if options.dir else None)


def sandbox(options: argparse.Namespace) -> int:
    if not 0 <= options.port <= 65_535:
        raise UsageError(f"sandbox: {options.port} is not a port", hint="Use 1 to 65535, or 0 for any free one.")
    return serve(port=options.port, key=options.key)
