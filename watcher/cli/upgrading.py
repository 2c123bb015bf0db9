"""`migrate`: the database of this version, or copied from another one."""

import argparse

from watcher import logs
from watcher.cli.opening import read_config
from watcher.cli.progress import show_progress
from watcher.clock import SystemClock
from watcher.config import Config, with_store
from watcher.errors import Exit, UsageError
from watcher.journey.instance import lock_database
from watcher.journey.transfer import transfer
from watcher.views.context import open_site


def migrate(options: argparse.Namespace) -> int:
    config = read_config(options)
    logs.configure(config.log.format, config.log.level, None, veil=config.veil)
    if options.source is not None:
        return _migrate_from(options.source, config)
    with open_site(config, SystemClock()) as context:
        database = context.store.database
        if database.is_of_this_version():
            print(f"{database.name} already has this version ({database.version()}).")
            return Exit.WELL
        if loss := context.loss():
            raise loss
        with lock_database(database), show_progress() as show:  # no daemon may run while the schema changes
            before, after = database.migrate(show)
    how = f"was upgraded from version {before} to {after}." if before else f"was created with version {after}."
    print(f"{database.name} {how}")
    return Exit.WELL


def _migrate_from(url: str, config: Config) -> int:
    try:
        before = with_store(config, url)
    except ValueError as error:
        hint = "Name the database that the site has had so far, as store.url did."
        raise UsageError(f"migrate: --from: expected {error}", hint=hint) from None
    with show_progress() as show:
        found = transfer(config, before, SystemClock(), show)
    for one in sorted(found.tables, key=lambda one: one.table):
        known = f", {one.known:,} that the account has already" if one.known else ""
        print(f"{one.table:<12} {one.rows:>11,} copied{known}")
    print(f"{found.target} has what {found.source} has: every row was read back and compared.")
    print("Start the daemon. Keep the old database as long as you like, but let no daemon work with it again.")
    return Exit.WELL
