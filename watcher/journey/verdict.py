"""Fifth: the service's answers are fetched, kept, and written into the receipts."""

from dataclasses import dataclass, replace
from http import HTTPStatus
from math import inf

from watcher import logs
from watcher.domain import Charged, Verdict, VerdictState
from watcher.errors import (
    Forbidden,
    NeverSent,
    ServiceError,
    ServiceFault,
    Throttled,
    Unauthorized,
    is_of_the_store,
)
from watcher.identifai.client import IDENTIFIERS_A_CALL, Client
from watcher.identifai.reading import Reading
from watcher.journey.judged import AT_REST, put_verdict, take_over
from watcher.journey.keys import Keys
from watcher.journey.site import Site
from watcher.journey.submit import pauses, policy
from watcher.journey.submit.windows import Reads
from watcher.journey.verdict_news import Changed, News
from watcher.store import Books

_log = logs.get_logger(__name__)

_OVERDUE_SECONDS = 3600.0  # between two questions about a verdict that is overdue
_LEFT_SECONDS = 30.0  # between two looks for verdicts that another site has left
_TIMES_TOLD = 5  # errors about one alone, though no other was there to be answered
_FAILING = "verdict-questions"  # of the step verdict: its loop has its own account
IDLE = inf


@dataclass(frozen=True, slots=True)
class _Alone:
    """An identifier that the service gave an error for when it was asked for nothing else."""

    times: int
    answered: int  # how many questions had been answered when it did so last
    is_told: bool


class VerdictPoller:
    """The step that asks, one request of the list form at a time.

    A list that is answered with an error is halved, until the one that the service chokes on is found: that is
    asked for by itself from then on, less and less often, and stops no other. Where no part of it is answered, it
    is the service.
    """

    def __init__(self, site: Site, client: Client, keys: Keys) -> None:
        self._site = site
        self._keys = keys
        self._is_barred = False  # the service does not take the key
        self._client = client
        self._reads = Reads(site)
        self._quiet_until = 0.0  # monotonic
        self._left_at = -inf  # monotonic
        self._wish: float | None = None  # the latest for a try at once that was fulfilled
        self._most = IDENTIFIERS_A_CALL  # to ask for at once
        self._troubles = 0  # errors in a row
        self._bearable = 0  # so many of them say nothing of the service
        self._is_told = False  # that all of them wait
        self._alone: dict[str, _Alone] = {}  # by identifier
        self._answered = 0  # questions
        self._uncounted: list[int | None] = []  # the status of the last answer, until it is in the sums

    def step(self, most_seconds: float = inf) -> float:
        """The verdicts that were due have been asked for once. Seconds until the next ones are.

        `most_seconds`: an answer is not waited for any longer.
        """
        site = self._site
        now = site.clock.now()
        monotonic = site.clock.monotonic()
        if site.store.database.is_shared and monotonic >= self._left_at:
            self._left_at = monotonic + _LEFT_SECONDS
            self._take_left()
        with site.store.reading() as books:  # most times nothing is due: then nobody who writes is hindered
            wish = pauses.last_wish(books)
            if wish != self._wish:
                self._wish, self._quiet_until = wish, monotonic
            if monotonic < self._quiet_until:
                return self._quiet_until - monotonic
            asked = self._choose(books, now)  # no other step changes verdicts that are known
            if not asked:
                due_at = books.verdicts.next_due_at(now)
                return IDLE if due_at is None else max(due_at - now, 0.001)
        if wait := self._reads.begin():
            return wait
        if self._is_barred:
            self._keys.renew()  # it may have been replaced
        self._uncounted = [None]
        try:
            readings = self._client.verdicts([one.identifier for one in asked], most_seconds)
            self._uncounted = [HTTPStatus.OK]
        except ServiceError as error:
            self._uncounted = [error.status]
            self._is_barred = isinstance(error, Unauthorized | Forbidden)
            if len(asked) > 1 or not isinstance(error, ServiceFault) or error.status != 404:
                return self._postpone(asked, error)
            readings = {}  # how the service says of one that it is not visible yet
        except Exception as error:  # noqa: BLE001 — nobody foresaw it: it is halved as any other, and so one's in the end
            _log.exception("verdicts.stumbled", identifiers=len(asked))
            return self._postpone(
                asked, ServiceFault(f"The answer ended in {type(error).__name__}", charged=Charged.NO)
            )
        self._is_barred = False
        self._record(asked, readings)
        return 0.0

    def _take_left(self) -> None:
        """Ask from now on for what a site asked for on which no node works any more, where this one has it too."""
        with self._site.store.reading() as books:
            has_left = books.verdicts.has_left()
        if has_left:
            with self._site.store.writing() as books:
                books.verdicts.take_left()

    def _choose(self, books: Books, now: float) -> list[Verdict]:
        """Whose verdicts to ask for in one request. Of those that are asked for alone, the one with least trouble.

        In an outage these come last: one of them would not show that it is over.
        """
        longest = self._site.config.verdicts.max_seconds
        due = books.verdicts.due(
            now,
            IDENTIFIERS_A_CALL,
            awaited_seconds=longest,
            overdue_seconds=max(longest, _OVERDUE_SECONDS),
        )
        apart = [verdict for verdict in due if verdict.identifier in self._alone]
        apart.sort(key=lambda verdict: self._alone[verdict.identifier].times)
        others = [verdict for verdict in due if verdict.identifier not in self._alone]
        return others[: self._most] if others and (self._is_told or not apart) else apart[:1]

    def _record(self, asked: list[Verdict], readings: dict[str, Reading]) -> None:
        """What was answered is in the books; where that meets an error about one of them, of each other one."""
        try:
            self._record_together(asked, readings)
        except Exception as error:
            if is_of_the_store(error):
                raise  # the database's own trouble
            if len(asked) > 1:
                for one in asked:
                    self._record([one], readings)
                return
            _log.exception("verdict.stumbled", identifier=asked[0].identifier)
            self._set_apart(asked[0], ServiceFault(f"What was answered ended in {type(error).__name__}"))

    def _record_together(self, asked: list[Verdict], readings: dict[str, Reading]) -> None:
        now = self._site.clock.now()
        with self._site.store.writing() as books:
            self._end_question(books, now)
            known = books.verdicts.of([one.identifier for one in asked])
            news = [
                told
                for before in known.values()
                if before.state not in AT_REST  # a person may have had it asked for meanwhile
                for told in self._put(books, before, readings.get(before.identifier), now)
            ]
        if self._is_told:
            _log.info("verdicts.resumed", tries=self._troubles)
            self._site.failures.succeeded(_FAILING)
        self._is_told = False
        self._troubles = 0
        self._answered += 1
        self._most = min(self._most * 2, IDENTIFIERS_A_CALL)
        for verdict in asked:
            self._alone.pop(verdict.identifier, None)
        for one in news:
            one.tell()

    def _end_question(self, books: Books, now: float) -> None:
        """The question counts in the rate windows, and once in the sums."""
        self._reads.end(books, now)
        for status in self._uncounted:
            books.tallies.count_question(status)
        books.afterwards(self._uncounted.clear)

    def _put(self, books: Books, before: Verdict, reading: Reading | None, now: float) -> list[News | Changed]:
        """Store the verdict as it stands after this answer; null: it is not visible yet."""
        if reading is None or reading.state is VerdictState.AWAITED:
            after = self._postponed(before, before.asked + 1, now)
        else:
            after = take_over(before, reading, now)
        return put_verdict(books, before, after, reading, now, self._site.config.audio)

    def _postponed(self, verdict: Verdict, times: int, now: float) -> Verdict:
        """The verdict, still unknown, after it was asked for so many times: later and later."""
        settings = self._site.config.verdicts
        is_overdue = now - verdict.since > settings.give_up_hours * 3600
        pause = min(settings.first_seconds * 2.0 ** min(times, 60), settings.max_seconds)
        return replace(
            verdict,
            state=VerdictState.OVERDUE if is_overdue else VerdictState.AWAITED,
            asked=verdict.asked + 1,
            asked_at=now,
            due_at=now + (max(settings.max_seconds, _OVERDUE_SECONDS) if is_overdue else pause),
        )

    def _postpone(self, asked: list[Verdict], error: ServiceError) -> float:
        """Nothing is known: ask for less at once, or again later. A verdict is never an item's failure."""
        site = self._site
        may_be_ones = not isinstance(error, NeverSent | Unauthorized | Forbidden | Throttled)
        is_known_for_it = asked[0].identifier in self._alone
        if may_be_ones and len(asked) == 1:
            self._set_apart(asked[0], error)
        else:
            with site.store.writing() as books:
                self._end_question(books, site.clock.now())
        if may_be_ones and is_known_for_it and not self._is_told:
            return 0.0  # it says nothing of the others
        if not self._troubles:
            self._bearable = len(asked).bit_length() + 1 if may_be_ones else 0
        self._troubles += 1
        if may_be_ones and len(asked) > 1:
            self._most = len(asked) // 2
        if self._troubles <= self._bearable and error.retry_after is None:
            return 0.0
        wait = self._find_wait(error)
        if not self._is_told:
            _log.warning("verdicts.postponed", reason=error.message, hint=error.hint)
        self._is_told = True
        site.failures.failed(_FAILING, error)
        self._quiet_until = site.clock.monotonic() + wait
        return wait

    def _find_wait(self, error: ServiceError) -> float:
        """Seconds until the next question: what the service asks for, as far as it is believed.

        Without a word of it our own back-off, and never less than that when it comes again.
        """
        asked = policy.asked_seconds(error)
        times = max(self._troubles - self._bearable - 1, 0)
        if error.retry_after is not None and not times:
            return max(asked, 1.0)
        return max(asked, policy.back_off(times, self._site.config.retry))

    def _set_apart(self, verdict: Verdict, error: ServiceError) -> None:
        """The service gave an error for this one alone: it is asked for by itself now, and no other waits for it.

        That is told once it did so again, others being answered in between: until then it may be the service.
        """
        site = self._site
        now = site.clock.now()
        known = self._alone.get(verdict.identifier, _Alone(0, self._answered, is_told=False))
        times = known.times + 1
        postponed = self._postponed(verdict, times, now)
        with site.store.writing() as books:
            self._end_question(books, now)
            before = books.verdicts.get(verdict.identifier)
            is_asked_for = before is not None and before.state not in AT_REST
            audio = site.config.audio
            news = put_verdict(books, verdict, postponed, None, now, audio) if is_asked_for else []
        for one in news:
            one.tell()
        is_news = not known.is_told and (known.answered < self._answered or times >= _TIMES_TOLD)
        self._alone[verdict.identifier] = _Alone(times, self._answered, known.is_told or is_news)
        if is_news:
            _log.warning(
                "verdict.unanswered",
                identifier=verdict.identifier,
                reason=error.message,
                hint="It is asked for again, by itself. Should it last, ask identifAI's support.",
                again_in_seconds=round(postponed.due_at - now),
            )
