"""Ask the service once more for verdicts that may be at rest, as a person wishes. Requests for verdicts are free.

It may run beside a daemon: each request counts in the rate windows that both share, and what is stored is
compared, within its transaction, with what is known by then.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from watcher import logs
from watcher.domain import VerdictState
from watcher.errors import NeverSent, ServiceError, Throttled
from watcher.identifai.client import Client
from watcher.identifai.reading import Reading
from watcher.journey.judged import put_verdict, take_over
from watcher.journey.site import Site
from watcher.journey.submit.windows import count_read, room_for_read
from watcher.journey.verdict_news import Changed

_log = logs.get_logger(__name__)

_MOST_THROTTLED = 5  # in a row
_MOST_WAIT_SECONDS = 60.0


@dataclass(slots=True)
class Refreshed:
    """What became of the verdicts that were asked for again."""

    answered: int = 0
    changed: int = 0
    awaited: list[str] = field(
        default_factory=list
    )  # the service has no verdict yet, or does not show it any more
    unanswered: list[str] = field(default_factory=list)  # it gives an error whenever it is asked for one of these
    stopped: ServiceError | None = None  # why no more of them were asked for


class Refresh:
    """Asks for up to IDENTIFIERS_A_CALL verdicts at a time. Each answer is stored before the next request."""

    def __init__(self, site: Site, client: Client) -> None:
        self._site = site
        self._client = client
        self.found = Refreshed()

    def ask(self, identifiers: Sequence[str]) -> None:
        """Ask for these. A list that is answered with an error is halved, until the one that causes it is found.

        Raises ServiceError where the service does not answer at all.
        """
        try:
            readings = self._ask(identifiers)
        except ServiceError as error:
            is_of_one = error.status is not None and error.status not in (401, 403, 429)
            is_of_one = is_of_one and not isinstance(error, NeverSent)
            if not is_of_one or (len(identifiers) == 1 and not self.found.answered):
                raise
            if len(identifiers) == 1:
                self.found.unanswered.append(identifiers[0])
                return
            middle = len(identifiers) // 2
            self.ask(identifiers[:middle])
            self.ask(identifiers[middle:])
            return
        self._record(identifiers, readings)

    def _ask(self, identifiers: Sequence[str]) -> dict[str, Reading]:
        tries = 0
        while True:
            number, tries = self._wait_for_room(), tries + 1
            status: int | None = None
            try:
                readings = self._client.verdicts(identifiers)
                status = HTTPStatus.OK
            except ServiceError as error:
                status = error.status
                if not isinstance(error, Throttled) or tries == _MOST_THROTTLED:
                    raise
                wait = min(max(error.retry_after or 1.0, 1.0), _MOST_WAIT_SECONDS)
            else:
                return readings
            finally:
                self._count(number, status)
            self._site.clock.wait(wait, threading.Event())

    def _wait_for_room(self) -> int | None:
        """Wait until limits.reads allow a request, and count it. Return the number of its rate event.

        It has ended at once for the books: so one that a kill leaves behind hinders nobody.
        """
        site = self._site
        if not site.config.limits.reads:
            return None
        while True:
            with site.store.writing() as books:
                now = site.clock.now()
                books.ledger.pull_back_rate_events("read", now)  # the clock may have been set back
                room = room_for_read(books, site.config.limits.reads, now)
                if room.is_there:
                    return count_read(books, room.now)
            site.clock.wait(room.wait, threading.Event())

    def _count(self, number: int | None, status: int | None) -> None:
        """The request was answered, or is lost: it is now that the service has counted it."""
        with self._site.store.writing() as books:
            books.tallies.count_question(status)
            if number is not None:
                books.ledger.defer_rate_event(number, self._site.clock.now())

    def _record(self, identifiers: Sequence[str], readings: dict[str, Reading]) -> None:
        found, site = self.found, self._site
        with site.store.writing() as books:
            now = site.clock.now()
            known = books.verdicts.of(identifiers)
            news = []
            for identifier, before in known.items():
                reading = readings.get(identifier)
                is_lost = reading is not None and reading.state is VerdictState.ERRORED
                if reading is None or reading.state is VerdictState.AWAITED:
                    found.awaited.append(identifier)  # what was known before stands
                elif is_lost and before.state is VerdictState.KNOWN:
                    found.unanswered.append(identifier)  # likewise: it was paid for, and nothing contradicts it
                else:
                    told = put_verdict(
                        books, before, take_over(before, reading, now), reading, now, site.config.audio
                    )
                    found.changed += any(isinstance(one, Changed) for one in told)
                    news += told
            found.answered += len(known)
        for one in news:
            one.tell()
