"""What is known about the site as a whole: facts by name."""

import json
from typing import Any

from sqlalchemy import Connection, bindparam, select

from watcher.store.dialects import insert_or_replace
from watcher.store.schema import site

_GET = select(site.c.value).where(site.c.name == bindparam("name"))
_PUT = insert_or_replace(site)


class SiteFacts:
    """The site's facts, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Any:
        """The fact of this name, as parsed JSON; null if it is not known."""
        value = self._connection.execute(_GET, {"name": name}).scalar()
        return None if value is None else json.loads(value)

    def put(self, name: str, value: Any) -> None:
        self._connection.execute(_PUT, {"name": name, "value": json.dumps(value)})
