"""Before a canary, ask a question that costs nothing: whether the service is there, and answers properly.

An upload without an answer may have been charged; under `in_doubt = "hold"` each would be one more for a person to
decide. So in an outage questions are sent, and a recording only once one of them has been answered.
"""

import secrets

from watcher.errors import ServiceError
from watcher.identifai.client import Client
from watcher.journey.keys import Keys
from watcher.journey.site import Site
from watcher.journey.submit import pauses
from watcher.journey.submit.windows import Reads


class Probe:
    """Asks for the verdict of a recording that was never sent, within the rate windows for questions."""

    def __init__(self, site: Site, client: Client, keys: Keys) -> None:
        self._site = site
        self._keys = keys
        self._client = client
        self._reads = Reads(site)

    def ask(self) -> float:
        """Return 0 if the service answered properly: a canary may go. Else the seconds until the next question."""
        site = self._site
        if site.store.database.is_shared and (wait := self._begin_trial()):
            return wait
        if wait := self._reads.begin():
            return wait
        self._keys.renew()  # it may have been replaced, and that may be all that was wrong
        error: ServiceError | None = None
        try:
            # Not one of ours: the service may choke on that very one. A new identifier is in nobody's cache.
            self._client.probe(secrets.token_hex(32))
        except ServiceError as caught:
            error = caught
        now = site.clock.now()
        with site.store.writing() as books:
            self._reads.end(books, now)
            return 0.0 if error is None else pauses.fail_probe(books, error, site.config.retry, now)

    def _begin_trial(self) -> float:
        """Return 0 if no other node asks just now, for the same account; else the seconds until this one may."""
        now = self._site.clock.now()
        with self._site.store.writing() as books:
            return pauses.begin_trial(books, self._site.token, now)
