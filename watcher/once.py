"""One pass, for cron: settle, submit and file what is in the drop folder now, then end."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from watcher.clock import SystemClock
from watcher.composition import Journey
from watcher.daemon import tidy
from watcher.domain import BACKLOG, HALF_DONE, UNDER_WAY, Item, PauseKind, State, VerdictState
from watcher.errors import UNSENDABLE, Exit
from watcher.journey.verdict import IDLE
from watcher.loops import Chore
from watcher.report.leaving import DailyReport, StatusPage
from watcher.store import Books, Waiting
from watcher.text import local_time, show_path
from watcher.wishes import Wishing

VERDICT_SECONDS = 600.0
"""How long a pass waits for verdicts by default, once everything else is done."""

_NO_ANSWERS = {PauseKind.ACCOUNT, PauseKind.SERVICE}  # while submissions are refused, no verdicts come either
_CANARIES = 3  # this many failures end the pass
_ASKED_AGAIN = "the daemon, and each pass with --verdicts, asks again in time"
_UNSEEN = "the stop came before it was scanned; the next pass scans it"
_PATIENCE_SECONDS = 60.0  # for files to settle or be given up, on top of their quiet time
_TICK_SECONDS = 1.0
_WALL = SystemClock()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one pass has come."""

    settling: int
    counts: dict[State, int]
    verdicts_awaited: int
    paused: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one pass ended, and the names of what it left behind."""

    exit_code: Exit
    waiting: list[Waiting]
    left: list[str]
    paused: list[str]  # why nothing is submitted, the weightiest reason first


def run_once(
    journey: Journey,
    *,
    verdict_seconds: float | None = None,
    show: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Settle, submit and file, as far as possible, what lies in the drop folder at the first full scan.

    `verdict_seconds`: how long to wait for this pass's verdicts too; None: ask for none. `show` is called after
    each round.
    """
    site, clock, wishing = journey.site, journey.site.clock, Wishing(journey.site)
    began = clock.now()
    arrivals = site.config.arrivals
    quiet = max(arrivals.unclosed_seconds, arrivals.settle_seconds)
    until = (
        clock.monotonic() + _PATIENCE_SECONDS + quiet
    )  # else an endless writer would keep the pass running for ever
    with site.store.reading() as books:
        failed_before = books.items.counts()[State.FAILED]
    answers = _Answers(journey, verdict_seconds)
    show(_look(journey, answers, until))
    threads = len(journey.submissions) + 1
    with _finishing(journey), ThreadPoolExecutor(threads) as pool, _stopping_on_error(journey):
        senders, wait = _Senders(journey, pool), 0.0
        preparer = _Preparer(journey, pool, senders.woken)
        while not journey.stopping.is_set():
            waits = [wishing.step(), journey.arrivals.step(), journey.admission.step()]
            waits += [senders.step(is_news=min(wait, *waits) <= 0), journey.filing.step()]
            waits += [preparer.step(), answers.step()]
            progress = _look(journey, answers, until)
            show(progress)
            wait = min(waits)
            if wait <= 0:
                continue
            is_working = senders.is_sending() or preparer.is_working()
            if not is_working and _is_over(journey, progress, began) and not answers.must_wait(progress):
                break
            if is_working:
                _WALL.wait(min(wait, _TICK_SECONDS), senders.woken)  # it is they who wait for times to come
            else:
                clock.wait(min(wait, _TICK_SECONDS), journey.stopping)
    if not journey.stopping.is_set():
        journey.filing.look_again()
        journey.retention.finish()
        journey.filing.look_again()
        journey.preparation.tidy()
    is_cut_short = journey.stopping.is_set() and journey.arrivals.scanner.last_scan_at is None
    if not is_cut_short:  # else what was published last is more than what was seen
        journey.arrivals.look_at_receipts()
        journey.arrivals.publish(is_last=True)
    tidy(site)
    for page in (Chore("status-page", StatusPage(site).look), Chore("report", DailyReport(site).look)):
        page()
    return _conclude(journey, answers, failed_before, is_cut_short=is_cut_short)


@contextmanager
def _stopping_on_error(journey: Journey) -> Iterator[None]:
    """Stop the senders, in the middle of an upload too, when an error ends the pass."""
    try:
        yield
    except BaseException:
        journey.stopping.set()
        raise


@contextmanager
def _finishing(journey: Journey) -> Iterator[None]:
    """Record each sender's last answer, however the pass ends, if the database takes it."""
    try:
        yield
    finally:
        for submission in journey.submissions:
            submission.finish()


class _Answers:
    """The verdicts of what was accepted in this pass: asked for with all others that are due, and waited for.

    Older ones are not waited for: the service may have forgotten them. A duplicate has its original's verdict,
    however old.
    """

    def __init__(self, journey: Journey, seconds: float | None) -> None:
        self._journey = journey
        self._clock = journey.site.clock
        self._seconds = seconds
        self._until: float | None = None  # monotonic; None: there is still something else to do
        with journey.site.store.reading() as books:
            self._last_change = books.items.last_change()  # not a time: the clock may be set back meanwhile

    def step(self) -> float:
        """Ask once for those that are due, if there is time left. Return the seconds until the next ones are."""
        left = self._seconds_left()
        return self._journey.verdict_poller.step(left) if left > 0 else IDLE

    def missing(self, books: Books, *states: VerdictState) -> list[Item]:
        """Return what was accepted in this pass and has a verdict in one of these states."""
        if self._seconds is None:
            return []
        return books.items.accepted_after(self._last_change, states)

    def must_wait(self, progress: Progress) -> bool:
        """Return, once all else is done, whether verdicts are still to come and there is time left for them."""
        if not progress.verdicts_awaited or self._seconds is None:
            return False
        with self._journey.site.store.reading() as books:
            kinds = {pause.kind for pause in books.pauses.active()}
        if PauseKind.FOLDER in kinds or (progress.counts[State.QUEUED] and kinds & _NO_ANSWERS):
            return False
        if self._until is None:
            self._until = self._clock.monotonic() + self._seconds
        return self._seconds_left() > 0

    def _seconds_left(self) -> float:
        if self._seconds is None or self._until is None:
            return self._seconds or 0.0
        return max(self._until - self._clock.monotonic(), 0.0)


class _Senders:
    """The senders, each in a loop of its own as in the daemon: none waits for another, or for what is filed.

    A sender with nothing to send comes to rest until something has changed or is due. So when the pass is over,
    none of them is about to send.
    """

    def __init__(self, journey: Journey, pool: ThreadPoolExecutor) -> None:
        self._clock = journey.site.clock
        self._stopping = journey.stopping
        self._steps = [submission.step for submission in journey.submissions]
        self._pool = pool
        self._under_way: dict[int, Future[float]] = {}
        self._look_at = dict.fromkeys(range(len(self._steps)), 0.0)  # monotonic
        self._sent = threading.Event()  # something, since the last step
        self.woken = threading.Event()
        """One of them has sent something, or has come to rest."""

    def step(self, *, is_news: bool) -> float:
        """Start each resting sender that is due; all, if there `is_news`. Return the seconds until one is due."""
        self.woken.clear()
        if self._sent.is_set():
            self._sent.clear()
            is_news = True
        now = self._clock.monotonic()
        for number in [number for number, future in self._under_way.items() if future.done()]:
            self._look_at[number] = now + min(self._under_way.pop(number).result(), _TICK_SECONDS)
        for number in self._at_rest():
            if is_news or self._look_at[number] <= now:
                self._under_way[number] = self._pool.submit(self._send, self._steps[number])
                self._under_way[number].add_done_callback(lambda _: self.woken.set())
        return min((self._look_at[number] - now for number in self._at_rest()), default=_TICK_SECONDS)

    def _at_rest(self) -> list[int]:
        return [number for number in self._look_at if number not in self._under_way]

    def is_sending(self) -> bool:
        """Return whether any of them is not at rest, or its result has not been read yet."""
        return bool(self._under_way)

    def _send(self, step: Callable[[], float]) -> float:
        while not self._stopping.is_set():
            if (wait := step()) > 0:
                return wait
            self._sent.set()
            self.woken.set()
        return _TICK_SECONDS


class _Preparer:
    """The step that prepares, in a thread of its own: whatever needs no preparation does not wait for it."""

    def __init__(self, journey: Journey, pool: ThreadPoolExecutor, woken: threading.Event) -> None:
        self._preparation = journey.preparation
        self._pool = pool
        self._woken = woken
        self._under_way: Future[float] | None = None

    def step(self) -> float:
        """Start preparing the next recording, if there is one. Return 0 when one has come to its end."""
        if self._under_way is not None:
            if not self._under_way.done():
                return _TICK_SECONDS
            self._under_way.result()
            self._under_way = None
            return 0.0
        if not self._preparation.is_due():
            return IDLE
        self._under_way = self._pool.submit(self._preparation.step)
        self._under_way.add_done_callback(lambda _: self._woken.set())
        return _TICK_SECONDS

    def is_working(self) -> bool:
        """Return whether a recording is being prepared."""
        return self._under_way is not None


def _look(journey: Journey, answers: _Answers, until: float) -> Progress:
    with journey.site.store.reading() as books:
        counts = books.items.counts()
        awaited = answers.missing(books, VerdictState.AWAITED)
        pauses = books.pauses.active()
    return Progress(
        settling=journey.arrivals.pending(until) + len(journey.arrivals.settled),
        counts=counts,
        verdicts_awaited=len({item.identifier or item.id for item in awaited}),
        paused=pauses[0].reason if pauses else None,
    )


def _is_over(journey: Journey, progress: Progress, began: float) -> bool:
    """Return whether everything is done that a pass can do, apart from verdicts."""
    if progress.settling:
        return False
    counts = progress.counts
    with journey.site.store.reading() as books:
        pauses = books.pauses.active()
        stuck = books.obstacles.waiting(journey.site.clock.now())
    if any(pause.kind is PauseKind.FOLDER for pause in pauses):
        return True
    moving = sum(counts[state] for state in HALF_DONE - {State.PREPARING})
    if moving > stuck or journey.preparation.is_due():
        return False
    if counts[State.QUEUED]:
        return _is_blocked(journey) or _are_postponed(journey, began) or (not pauses and _waits_long(journey))
    return True


def _are_postponed(journey: Journey, since: float) -> bool:
    """Return whether all that is queued was tried since then and cannot be opened, or has no room in done/."""
    with journey.site.store.reading() as books:
        return not books.queue.has_others_queued(UNSENDABLE, since)


def _waits_long(journey: Journey) -> bool:
    """Return whether all that is queued is due only later than one pass should wait."""
    now = journey.site.clock.now()
    with journey.site.store.reading() as books:
        due_at = books.queue.next_due_at(now)
        return books.queue.next_due(now, canary=False) is None and (due_at or now) > now + _PATIENCE_SECONDS


def _is_blocked(journey: Journey) -> bool:
    """Return whether submitting is paused for longer than one pass should wait."""
    with journey.site.store.reading() as books:
        pauses = books.pauses.active()
    return any(
        pause.kind in (PauseKind.PERSON, PauseKind.CAP)
        or (pause.kind in (PauseKind.ACCOUNT, PauseKind.SERVICE) and pause.tries >= _CANARIES)
        for pause in pauses
    )


def _describe(books: Books, item: Item) -> str:
    fault = books.obstacles.fault_of(item.id) or item.fault
    why = f" ({fault})" if fault is not None else ""
    return f"{show_path(item.path)}: {item.state}{why}"


def _describe_missing(books: Books, item: Item) -> str:
    verdict = books.verdicts.get(item.identifier)
    since = f" since {local_time(verdict.since)}" if verdict else ""
    return f"{show_path(item.path)}: {item.state}, its verdict is awaited{since} ({_ASKED_AGAIN})"


def _conclude(journey: Journey, answers: _Answers, failed_before: int, *, is_cut_short: bool) -> Outcome:
    """`is_cut_short`: a stop came before the drop folder was scanned."""
    with journey.site.store.reading() as books:
        counts = books.items.counts()
        paused = [pause.reason for pause in books.pauses.active()]
        unfinished = [s for s in State if s in UNDER_WAY | {State.HELD}]
        left = [_describe(books, item) for item in books.items.listed(unfinished)]
        missing = answers.missing(books, VerdictState.AWAITED, VerdictState.OVERDUE)
        left += [_describe_missing(books, item) for item in missing if item.state is State.DONE]
    if is_cut_short:
        left.append(f"{show_path(journey.site.drop.root)}: {_UNSEEN}")
    waiting = journey.arrivals.waiting()
    if sum(counts[state] for state in BACKLOG) and _is_blocked(journey):
        exit_code = Exit.UNAVAILABLE
    elif left or waiting or counts[State.FAILED] > failed_before:
        exit_code = Exit.INCOMPLETE
    else:
        exit_code = Exit.WELL
    return Outcome(exit_code, waiting, left, paused)
