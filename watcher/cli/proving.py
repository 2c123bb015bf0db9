"""What counts: `reconcile` proves the books against the folders, `estimate` says what a folder would come to."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from watcher.cli.looking import duration_in_words
from watcher.cli.opening import open_context, print_json
from watcher.cli.printing import as_far_as_read
from watcher.errors import Exit, UsageError
from watcher.outlet import standard_error
from watcher.text import show_path
from watcher.views.estimate import estimate_folder
from watcher.views.reconciliation import reconcile_books


def reconcile(options: argparse.Namespace) -> int:
    with open_context(options) as context, _progress() if options.hashes else nullcontext() as show:
        found = reconcile_books(context, show)
    with as_far_as_read():
        for name, number in found.accounted.items():
            print(f"{name:<10}{number:>9,}")
        print(f"{'seen':<10}{found.seen:>9,}")
        for line in found.wrong:
            print(f"wrong: {line}")
        for line in found.notes:
            print(f"note: {line}")
        if (hashes := found.hashes) is not None:
            unknown = f"; {hashes.unknown:,} were never read, and have none" if hashes.unknown else ""
            print(
                f"hashes: {hashes.compared:,} recordings were read, {found.differing:,} are not as filed{unknown}"
            )
        if not found.wrong:
            print("The books add up: folders, items and ledger agree.")
    return Exit.INCOMPLETE if found.wrong else Exit.WELL


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, on standard error, from the first that is read; nothing elsewhere."""
    console = Console(file=standard_error(), stderr=True)
    if not console.is_terminal:
        yield _show_nothing
        return
    columns = (TextColumn("read"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("read", total=None, visible=False)
        yield lambda number, total: bar.update(task, completed=number, total=total, visible=True)


def _show_nothing(number: int, total: int) -> None:
    pass


def estimate(options: argparse.Namespace) -> int:
    if not os.path.isdir(options.path):
        raise UsageError(
            f"estimate: {show_path(os.fsencode(options.path))} is no folder",
            hint="Name a folder with recordings in it.",
        )
    with open_context(options) as context:
        found = estimate_folder(context, os.path.abspath(os.fsencode(options.path)))
    if options.json:
        print_json(found.as_json())
        return Exit.WELL
    unknown = f" ({found.of_unknown_length} of unknown length)" if found.of_unknown_length else ""
    print(f"recordings    {found.recordings:,}, {found.bytes:,} bytes")
    print(f"audio         {found.seconds_of_audio / 60:,.1f} minutes{unknown}")
    print(
        f"submissions   {found.submissions:,}; {found.known:,} more are known or lie there twice, and cost nothing"
    )
    print(f"not accepted  {found.refused:,} (too large, cut short, empty, or no audio)")
    if found.foreign:
        print(f"left alone    {found.foreign:,} that are no recordings, by name or by content")
    if found.unreadable:
        print(f"unreadable    {found.unreadable:,}")
    print(f"takes         {duration_in_words(found.seconds_to_submit)} at {found.rate}")
    return Exit.WELL
