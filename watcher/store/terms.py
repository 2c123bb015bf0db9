"""The term for which this node may work on its site: what its writes carry, and how it is made longer."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, Update, text

from watcher.store.lease_rows import GIVE_UP, RENEW

_WHICH = text("""
    SELECT system_identifier || '/' || oid FROM pg_control_system(), pg_database
    WHERE datname = current_database()
""")


class Terms:
    """The lease of this process, if it has one, as its connections need it."""

    def __init__(self, connecting: Callable[[], AbstractContextManager[Connection]]) -> None:
        """`connecting`: a transaction on a connection that serves nothing else, so that nobody makes it wait."""
        self._connecting = connecting
        self._fence: tuple[str, str, int] | None = None
        self.on_lost: Callable[[], object] = lambda: None
        """Called when a write is refused, since another node has the site; by any thread."""

    @property
    def owner(self) -> str | None:
        """The lease's owner, if this process took one; see Node.owner."""
        return None if self._fence is None else self._fence[1]

    def fence(self, site: str, owner: str, epoch: int) -> None:
        """From now on no write is taken unless this is still the site's epoch."""
        self._fence = site, owner, epoch

    def database(self) -> str:
        """Return what tells this database from every other, by whatever name nodes know its server."""
        with self._connecting() as connection:
            return str(connection.execute(_WHICH).scalar_one())

    def check(self, *, late: bool = False) -> str:
        """The statement that refuses a write of a former holder; "" for one that nothing refuses."""
        if self._fence is None or late:
            return ""
        site, _, epoch = self._fence
        quoted = site.replace("'", "''")
        return f";SELECT watcher_check_term('{quoted}', {epoch})"

    def renew(self, seconds: float) -> bool:
        """Make the lease last for so long from now. Return whether it is still ours. Raises StoreError."""
        return self._tell(RENEW, seconds=seconds)

    def give_up(self) -> None:
        """Let another node take the lease at once. Raises StoreError."""
        self._tell(GIVE_UP)

    def _tell(self, statement: Update, **more: float) -> bool:
        if self._fence is None:
            return False
        site, owner, epoch = self._fence
        with self._connecting() as connection:
            done = connection.execute(
                statement, {"the_site": site, "the_owner": owner, "the_epoch": epoch, **more}
            )
        return done.rowcount == 1
