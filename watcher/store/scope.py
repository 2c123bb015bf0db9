"""Whose rows a transaction sees.

A database on a server has the rows of several sites and accounts. What opens a transaction there says for which of
them it is, and the policies of the tables (revision 0019) let it see and write no others: no statement has to say
so, and none can forget it. A table of an account (attempts, rate events, verdicts) shows those of all its sites;
what is asked of one site alone there says `is_of_own_site`. A file has one site, and none of this.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

_WIDER = text("SELECT set_config('watcher.wide', 'on', true)")
_AS_BEFORE = text("SELECT set_config('watcher.wide', '', true)")
_OWN = text("SELECT current_setting('watcher.site')")
_AS_OF = text("SELECT set_config('watcher.site', :site, true)")


def is_in_a_file(connection: Connection) -> bool:
    """Return whether the database is a file, which has one site."""
    return connection.dialect.name == "sqlite"


@contextmanager
def wide(connection: Connection) -> Iterator[None]:
    """Let the statements of the block see and change the rows of all sites and accounts. Not to be nested."""
    if is_in_a_file(connection):
        yield
        return
    connection.execute(_WIDER)
    with ending_with(lambda: connection.execute(_AS_BEFORE)):
        yield


def see_as(connection: Connection, site: str) -> None:
    """Let the rest of the transaction see and change the rows of this site, as a node of it does."""
    if not is_in_a_file(connection):
        connection.execute(_AS_OF, {"site": site})


@contextmanager
def seen_as(connection: Connection, site: str) -> Iterator[None]:
    """The same within the block alone."""
    if is_in_a_file(connection):
        yield
        return
    own = connection.execute(_OWN).scalar_one()
    see_as(connection, site)
    with ending_with(lambda: see_as(connection, own)):
        yield


@contextmanager
def ending_with(restore: Callable[[], object]) -> Iterator[None]:
    """Call `restore` after the block, whatever became of it."""
    try:
        yield
    except BaseException:
        with suppress(DBAPIError):  # after a statement that failed, no other works, nor need it
            restore()
        raise
    restore()
