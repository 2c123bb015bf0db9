"""The commands that count: `reconcile` proves the books, `estimate` says what a folder would cost."""

import argparse
import os

from watcher.cli.opening import open_context, print_json
from watcher.cli.printing import as_far_as_read
from watcher.cli.progress import show_progress
from watcher.cli.state import duration_in_words
from watcher.domain import Mode
from watcher.errors import Exit, UsageError
from watcher.text import show_path
from watcher.views.estimate import Estimate, estimate_folder
from watcher.views.reconciliation import reconcile_books


def reconcile(options: argparse.Namespace) -> int:
    with open_context(options) as context, show_progress() as show:
        found = reconcile_books(context, show, hashes=options.hashes)
    with as_far_as_read():
        for name, number in found.accounted.items():
            print(f"{name:<10}{number:>9,}")
        print(f"{'seen':<10}{found.seen:>9,}")
        for line in found.wrong:
            print(f"wrong: {line}")
        for line in found.notes:
            print(f"note: {line}")
        if (hashes := found.hashes) is not None:
            unknown = f"; {hashes.unknown:,} have no known hash" if hashes.unknown else ""
            print(
                f"hashes: {hashes.compared:,} recordings were read, {found.differing:,} are not as filed{unknown}"
            )
        if not found.wrong:
            print("The books add up: folders, items and ledger agree.")
    return Exit.INCOMPLETE if found.wrong else Exit.WELL


_WAYS = {
    Mode.REMUX: "put into another container",
    Mode.CUT: "cut",
    Mode.COPY: "cut at packets",
    Mode.FLAC: "encoded as FLAC",
}


def estimate(options: argparse.Namespace) -> int:
    if not os.path.isdir(options.path):
        raise UsageError(
            f"estimate: {show_path(os.fsencode(options.path))} is not a folder",
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
    least = f"{found.fewest_submissions:,} to " if found.fewest_submissions < found.submissions else ""
    known = f"{found.known:,} duplicates or known already, which cost nothing"
    print(f"submissions   {least}{found.submissions:,}; {known}")
    if found.modes:
        print(
            f"prepared      {', '.join(f'{count:,} {_WAYS[Mode(mode)]}' for mode, count in found.modes.items())}"
        )
    print(f"not accepted  {found.refused:,} (too long, cut short, empty, or not audio)")
    if found.foreign:
        print(f"left alone    {found.foreign:,} (recordings neither by name nor by content)")
    if found.unreadable:
        print(f"unreadable    {found.unreadable:,}")
    print(f"takes         {_time_in_words(found)}")
    return Exit.WELL


def _time_in_words(found: Estimate) -> str:
    """How long the submissions will take at the least."""
    if not found.submissions:
        return "no time: there is nothing to submit"
    if not found.seconds_to_submit:
        return "as long as the uploads take: there is no rate limit"
    return f"{duration_in_words(max(found.seconds_to_submit, 1.0))} at {found.rate}"
