"""`drill`: the crash proof on the site's own folders and disks. It pays nothing and leaves nothing behind."""

import argparse
import os
import secrets
from contextlib import suppress
from pathlib import Path
from threading import Event

from watcher.cli.checking.child import become
from watcher.cli.checking.user import find_user, name_user
from watcher.cli.opening import read_config
from watcher.cli.printing import as_far_as_read
from watcher.clock import SystemClock
from watcher.config import Config
from watcher.drill import Outcome, carry_out
from watcher.errors import Exit, StoreError, UsageError
from watcher.outlet import say
from watcher.signals import heed_signals
from watcher.text import show_path
from watcher.views.context import open_site

_SEEDS = 1_000_000


def drill(options: argparse.Namespace) -> int:
    if options.kills < 1:
        raise UsageError(f"drill: --kills {options.kills} proves nothing", hint="Name at least one.")
    config = read_config(options)
    whose = _become_the_service(config)
    seed = secrets.randbelow(_SEEDS) if options.seed is None else options.seed
    say(f"drill: {options.kills} kills at moments from seed {seed}, as {whose}")
    ended = Event()
    heed_signals(ended)
    try:
        outcome = carry_out(config, options.kills, seed, SystemClock(), ended, lambda line: say(f"drill: {line}"))
    except KeyboardInterrupt:
        say("drill: told to end; what it made was removed")
        raise
    with as_far_as_read():
        _print(config, outcome, seed)
    return Exit.INCOMPLETE if outcome.found else Exit.WELL


def _become_the_service(config: Config) -> str:
    """Give up root's rights for those of the daemon's user, where that is known. Return who we are now."""
    user = None
    with open_site(config, SystemClock()) as context:
        for folder in context.folders:
            with folder.opened():
                pass  # it is there, and answers
        if os.geteuid() == 0:
            with suppress(StoreError):
                user = find_user(context, None)
    if user is not None and user.uid != os.geteuid():
        become(user)
        return f"{user} ({user.source})"
    return name_user(os.geteuid())


def _print(config: Config, outcome: Outcome, seed: int) -> None:
    if outcome.found:
        print(f"Broken, after {_count(outcome)} (seed {seed}):")
        for line in outcome.found:
            print(f"  - {line}")
        if outcome.kept is None:
            print("What lay there could not be kept: there is no room beside the database.")
        else:
            print(f"What lay there, the program's log and the service's ledger are in {_shown(outcome.kept)}")
    else:
        print(f"Proven by {_count(outcome)} (seed {seed}):")
        print("  - each recording lies in done/ or failed/, whole, with its receipt; none is lost or half there")
        print(f"  - each content was paid for once in the sandbox's books ({outcome.paid} in all), and no other")
        print("  - the books agree with the folders (`watcher reconcile`)")
    print("On:")
    for stretch in outcome.terrain.stretches:
        print(f"  {stretch}")
    print("Not proven, and what these file systems cannot promise:")
    for line in outcome.terrain.limits():
        print(f"  - {line}")
    if config.store.file is None:
        print(f"  - the database's server was not tried: the drill's was a file in {_shown(config.books.parent)}")
    if not outcome.found:
        print("Nothing was paid, and nothing was left behind.")


def _shown(path: Path) -> str:
    return show_path(os.fsencode(path))


def _count(outcome: Outcome) -> str:
    kills = "1 kill" if outcome.kills == 1 else f"{outcome.kills} kills"
    amid = f"{outcome.amid} amid work"
    return f"{kills} ({amid}), {outcome.recordings} recordings, {outcome.seconds:.0f} s"
