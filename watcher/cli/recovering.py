"""The command that rebuilds a lost database: recover."""

import argparse
import pwd

from watcher import logs
from watcher.cli.opening import read_config
from watcher.cli.progress import show_progress
from watcher.clock import SystemClock
from watcher.composition import recover_books
from watcher.errors import Exit, UsageError
from watcher.journey.recovery import Found
from watcher.outlet import say


def recover(options: argparse.Namespace) -> int:
    config = read_config(options)
    logs.configure(config.log.format, config.log.level, None, veil=config.veil)
    trusted = [_uid(name) for name in options.trust_owner or ()]
    with show_progress() as show:
        found = recover_books(
            config,
            SystemClock(),
            trusted=trusted,
            hashes=options.verify,
            is_trial=options.dry_run,
            tell=lambda left: say(f"left: {left}"),
            show=lambda number: show("receipts", number, None),
        )
    _print(found, is_trial=options.dry_run)
    return Exit.INCOMPLETE if found.left or (found.doubtful and found.holds) else Exit.WELL


def _print(found: Found, *, is_trial: bool) -> None:
    adopted = found.adopted
    print(f"receipts     {found.receipts:>9,} read, {found.left:,} left as they are")
    print(f"recordings   {adopted.items:>9,} added, {adopted.completed:,} completed")
    print(f"parts        {adopted.parts:>9,} of them were accepted, unknown to the database")
    print(f"requests     {adopted.requests:>9,} added to the ledger")
    print(f"verdicts     {adopted.verdicts:>9,} added")
    if found.buried:
        print(f"erased       {found.buried:>9,} tombstones read, {adopted.tombstones:,} added")
    if found.unlisted:
        print(f"note: {found.unlisted:,} requests are in no receipt: it lists the first and the last of many.")
    if found.doubtful:
        then = (
            'will be held for a person\'s decision (identifai.in_doubt = "hold"): `watcher release`, or `fail`'
            if found.holds
            else 'will be sent again, never with no_cache (identifai.in_doubt = "resubmit")'
        )
        print(
            f"note: {found.doubtful:,} recordings that wait in the drop folder may have been sent before the "
            f"database was lost; no trace tells. They {then}."
        )
    if not found.is_changed:
        print("The database has everything that the receipts know; nothing was changed.")
    elif is_trial:
        print("This was a dry run: nothing was changed.")
    else:
        print(
            "The database is complete again, as far as this is known. Start the daemon, or `watcher run --once`."
        )


def _uid(name: str) -> int:
    """Return the user's number. Raises UsageError where there is no such user."""
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise UsageError(f"recover: there is no user {name}", hint="Name a user, or give its number.") from None
