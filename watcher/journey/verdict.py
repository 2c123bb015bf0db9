"""Fifth: the service's answers are fetched, kept, and written into the receipts."""

from dataclasses import replace
from functools import partial

from watcher import logs
from watcher.domain import ARTIFICIAL, Item, Verdict, VerdictState
from watcher.errors import ServiceError, Throttled
from watcher.identifai.budget import room_at
from watcher.identifai.client import IDENTIFIERS_A_CALL, Client
from watcher.identifai.reading import Reading
from watcher.journey import policy
from watcher.journey.site import Site
from watcher.store import Books

_log = logs.get_logger(__name__)

_OVERDUE_SECONDS = 3600.0  # between two questions about a verdict that is overdue
IDLE = float("inf")


class Asking:
    """The step that asks, one request of the list form at a time."""

    def __init__(self, site: Site, client: Client) -> None:
        self._site = site
        self._client = client
        self._quiet_until = 0.0  # monotonic
        self._hit: int | None = None  # of the request under way
        self._troubles = 0

    def step(self) -> float:
        """The verdicts that were due have been asked for once. Seconds until the next ones are."""
        site = self._site
        now = site.clock.now()
        monotonic = site.clock.monotonic()
        if monotonic < self._quiet_until:
            return self._quiet_until - monotonic
        with site.store.reading() as books:  # most times nothing is due: then nobody who writes is hindered
            if not self._due(books, now):
                due_at = books.verdicts.next_due_at()
                return IDLE if due_at is None else max(due_at - now, 0.001)
        with site.store.writing() as books:
            if self._hit is not None:
                books.ledger.hit_ended(self._hit, now)  # its answer could not be recorded
                self._hit = None
            books.ledger.pull_back_hits("read", now)  # the clock may have been set back
            due = self._due(books, now)  # no other step changes verdicts that are known
            ledger = books.ledger
            room = room_at(
                site.config.limits.reads,
                lambda n: ledger.nth_last_end("read", n),
                now,
                unended=ledger.unended_hits("read"),
            )
            if room > now:
                return room - now
            hit = self._hit = ledger.hit("read", now)
        try:
            readings = self._client.verdicts([verdict.identifier for verdict in due])
        except ServiceError as error:
            return self._put_off(hit, error)
        self._record(hit, due, readings)
        return 0.0

    def _due(self, books: Books, now: float) -> list[Verdict]:
        longest = self._site.config.verdicts.max_seconds
        return books.verdicts.due(
            now,
            IDENTIFIERS_A_CALL,
            awaited_seconds=longest,
            overdue_seconds=max(longest, _OVERDUE_SECONDS),
        )

    def _record(self, hit: int, due: list[Verdict], readings: dict[str, Reading]) -> None:
        site = self._site
        now = site.clock.now()
        if self._troubles:
            _log.info("verdicts.resumed", tries=self._troubles)
        self._troubles = 0
        with site.store.writing() as books:
            books.ledger.hit_ended(hit, now)
            self._hit = None
            for verdict in due:
                answered = self._answered(verdict, readings.get(verdict.identifier), now)
                books.verdicts.put(answered)
                if answered.state is not verdict.state:
                    books.items.mark_receipts_due(verdict.identifier)
                    first = next(iter(books.items.with_identifier(verdict.identifier)), None)
                    books.afterwards(partial(_tell, answered, first))

    def _answered(self, verdict: Verdict, reading: Reading | None, now: float) -> Verdict:
        """The verdict as it stands after this answer; null: not visible yet, as soon after the submission."""
        settings = self._site.config.verdicts
        asked = verdict.asked + 1
        if reading is None or reading.state is VerdictState.AWAITED:
            is_overdue = now - verdict.since > settings.give_up_hours * 3600
            pause = min(settings.first_seconds * 2.0 ** min(asked, 60), settings.max_seconds)
            return replace(
                verdict,
                state=VerdictState.OVERDUE if is_overdue else VerdictState.AWAITED,
                asked=asked,
                asked_at=now,
                due_at=now + (max(settings.max_seconds, _OVERDUE_SECONDS) if is_overdue else pause),
            )
        return Verdict(
            identifier=verdict.identifier,
            state=reading.state,
            asked_at=now,
            due_at=now,
            since=verdict.since,
            classification=reading.classification,
            confidence=reading.confidence,
            heuristic=reading.heuristic,
            api_version=reading.api_version,
            models=reading.models,
            forced=reading.forced,
            detail=reading.detail,
            asked=asked,
        )

    def _put_off(self, hit: int, error: ServiceError) -> float:
        """Nothing is known: ask again later. A verdict is never an item's failure."""
        site = self._site
        now = site.clock.now()
        with site.store.writing() as books:
            books.ledger.hit_ended(hit, now)
        self._hit = None
        wait = policy.back_off(self._troubles, site.config.retry)
        if isinstance(error, Throttled) or error.retry_after is not None:
            wait = max(error.retry_after or 0.0, 1.0)
        if self._troubles == 0:
            _log.warning("verdicts.postponed", reason=error.message, hint=error.hint)
        self._troubles += 1
        self._quiet_until = site.clock.monotonic() + wait
        return wait


def _tell(verdict: Verdict, item: Item | None) -> None:
    """A name of its own tells an artificial one from a hundred others; its level raises no alarm."""
    _log.info(
        "verdict.artificial" if verdict.classification == ARTIFICIAL else f"verdict.{verdict.state}",
        item=item.id if item else None,
        path=item.path if item else None,
        identifier=verdict.identifier,
        classification=verdict.classification,
        confidence=verdict.confidence,
    )
