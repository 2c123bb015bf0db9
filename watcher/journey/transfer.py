"""Move a site into another database: its rows, and what lies beside the database on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from watcher.clock import Clock
from watcher.config import Config
from watcher.errors import FolderError, FolderForeign, StoreError, UsageError
from watcher.journey.instance import lock_database
from watcher.journey.own_site import find_own_site
from watcher.journey.site import Site
from watcher.journey.submit import journal
from watcher.outlet import Show
from watcher.store import Store
from watcher.store.local_files import copied_aside
from watcher.store.site_copy import Copied, copy_site, refuse_rows

_SETTING = "--from"


@dataclass(frozen=True, slots=True)
class Transferred:
    """What was copied, from which database into which."""

    source: str
    target: str
    tables: list[Copied]


def transfer(config: Config, before: Config, clock: Clock, show: Show) -> Transferred:
    """The configuration's database has the site that the one before has, and the next start goes on with it there.

    `before`: the same with the database that the site has had so far, the source. That is only read, and stays as
    it is. A crash leaves the target without the site, and the same again is the remedy. Raises UsageError where
    there is no source, InstanceRunning where a process works with either, FolderForeign where the drop folder is
    another site's, StoreError.
    """
    if before.store.url == config.store.url:
        raise UsageError(
            f"migrate: {_SETTING} names the database that store.url names",
            hint=f"Name the new database in store.url, and in {_SETTING} the one that has the rows so far.",
        )
    account = config.identifai.payer
    with Store(before.store.url, before.books, account=account) as original:
        find_own_site(original, Site.open(before, original, clock).drop)
        is_away = before.store.file is not None and not before.store.file.exists()
        if is_away or not original.database.exists():
            raise UsageError(
                f"migrate: {_SETTING}: {original.database.name} is no database of ours",
                hint="Name the database that the site has had so far, as store.url did.",
            )
        with (
            lock_database(original.database),
            _of_this_version(original, show) as read,
            Store(config.store.url, config.books, account=account) as store,
            lock_database(store.database),
        ):
            store.database.migrate(show)
            refuse_rows(store.database)
            store.database.belong_to(_site_in(config, read, clock))
            try:
                journal.carry(original.database.path, store.database.path)
            except OSError as error:
                raise StoreError(
                    f"{store.database.path}: what lies beside the database cannot be copied: {error.strerror}",
                    hint="Nothing was copied. Make room there, or let the user that runs this write there.",
                ) from error
            tables = copy_site(read.database, store.database, show)
        return Transferred(original.database.name, store.database.name, tables)


def _site_in(config: Config, source: Store, clock: Clock) -> str:
    """Return the id of the site that the source has; it must be the site of the configured drop folder."""
    with source.reading() as books:
        site_id: str | None = books.site.get("id")
    if site_id is None:
        raise UsageError(
            f"migrate: {_SETTING}: no site has ever been started with {source.database.name}",
            hint="There is nothing to copy: start the daemon with the new store.url.",
        )
    site = Site.open(config, source, clock)
    try:
        site.judge(site.drop)
    except FolderForeign:
        raise
    except FolderError:
        pass  # it is away: the next start waits for it
    return site_id


@contextmanager
def _of_this_version(original: Store, show: Show) -> Iterator[Store]:
    """Yield the store, or, where it has an older version, one of an upgraded copy that is gone after the block."""
    original.database.check_damage(float("inf"))
    if not original.database.is_older():
        original.database.check_version()
        yield original
        return
    with copied_aside(original.database.path) as copy, Store(f"sqlite:///{copy}") as upgraded:
        upgraded.database.migrate(show)
        yield upgraded
