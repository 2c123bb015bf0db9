"""What is known about the site as a whole, and about its account: facts by name."""

import json
from typing import Any

from sqlalchemy import Connection, bindparam, select

from watcher.store.compiled import Compiled
from watcher.store.dialects import (
    EVERY_SITE,
    OWN_ACCOUNT,
    OWN_SITE,
    insert_or_replace,
    is_of_a_site,
    is_of_own_account,
)
from watcher.store.schema import site
from watcher.store.scope import is_in_a_file, wide

_OWN = select(OWN_SITE)
_BY_NAME = select(site.c.value).where(site.c.name == bindparam("name"))
_GET = Compiled(_BY_NAME.where(is_of_a_site(site.c.site)))
_PUT = insert_or_replace(site)
ACCOUNT = "account"
"""The name of the fact that says whose credit a site works with."""
_WITH_ACCOUNT = (
    select(site.c.site)
    .where(site.c.name == ACCOUNT, site.c.value == bindparam("value"), is_of_a_site(site.c.site))
    .order_by(site.c.site)
)
_GET_OF_ACCOUNT = Compiled(_BY_NAME.where(is_of_own_account(site.c.site, site.c.account)))
_PUT_OF_ACCOUNT = _PUT.values(
    site=EVERY_SITE, account=OWN_ACCOUNT, name=bindparam("name"), value=bindparam("value")
)

ACCOUNT_FACTS = frozenset(
    {"tombstone.key", "limits.writes.lowered", "pauses.probes", "pauses.tried_at_once", "pauses.trial"}
)
"""The names of all facts that are the account's: a site that joins it brings them along."""


class SiteFacts:
    """The site's facts, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Any:
        """The fact of this name, as parsed JSON; null if it is not known."""
        return _parsed(_GET.value(self._connection, {"name": name}))

    def put(self, name: str, value: Any) -> None:
        self._connection.execute(_PUT, {"name": name, "value": json.dumps(value)})

    def own(self) -> str:
        """The id of the site whose facts these are; "" in a file, which has one."""
        return str(self._connection.execute(_OWN).scalar_one())

    def join(self, account: str) -> str | None:
        """Note whose credit this site works with: by that its sites are known. A file has one site.

        Return whose it was, where that is another's.
        """
        if is_in_a_file(self._connection) or (before := self.get(ACCOUNT)) == account:
            return None
        self.put(ACCOUNT, account)
        return None if before is None else str(before)

    def joined(self, account: str) -> list[str]:
        """The ids of the sites that work with this account."""
        if is_in_a_file(self._connection):
            return []
        with wide(self._connection):
            found = self._connection.execute(_WITH_ACCOUNT, {"value": json.dumps(account)}).scalars().all()
        return list(found)


class AccountFacts:
    """The account's facts, within one transaction: all its sites share them. In a file they are the site's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Any:
        """The fact of this name, as parsed JSON; null if it is not known."""
        _check_name(name)
        return _parsed(_GET_OF_ACCOUNT.value(self._connection, {"name": name}))

    def put(self, name: str, value: Any) -> None:
        _check_name(name)
        self._connection.execute(_PUT_OF_ACCOUNT, {"name": name, "value": json.dumps(value)})


def _check_name(name: str) -> None:
    if name not in ACCOUNT_FACTS:
        raise KeyError(name)


def _parsed(value: str | None) -> Any:
    return None if value is None else json.loads(value)
