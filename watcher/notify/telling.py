"""The thread that tells: it makes messages of what opened and what is over, and sends them.

A message is made in one transaction with what it tells being noted as told, and noted as sent to an address after
that took it. So whatever is killed in between, each message reaches each address at least once; its number shows
what came twice. Each address has threads of its own: one that hangs holds nobody, and is left behind at the end.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from zoneinfo import ZoneInfo

from watcher import logs
from watcher.alarms import Alarm
from watcher.config import Config
from watcher.journey.site import Site
from watcher.notify import rules
from watcher.notify.addresses import Address, AddressBook, read_addresses, send
from watcher.notify.letter import NAMED, STILL, write
from watcher.store import Books, Message
from watcher.text import JsonObject
from watcher.working_hours import is_working, working_seconds

_log = logs.get_logger(__name__)

DEADLINE_SECONDS = 30.0
"""So long an address may take for a message. What it takes after that is still noted."""

_TICK_SECONDS = 2.0
_STOP_SECONDS = 2.0  # for what is being sent: otherwise it may be sent again after the next start
_FINISH_SECONDS = DEADLINE_SECONDS + 5.0
_MOST_HANGING = 3  # attempts at one address
_FIRST_BACK_OFF, _MOST_BACK_OFF = 30.0, 1800.0
_KEPT_SECONDS = 3 * 86_400.0  # then a message is sent nowhere any more
_MOST_LOOKED_AT = 100_000
_DAILY_LOOK_SECONDS = 60.0
_SILENCE_LOOK_SECONDS = 10.0
_AT_WORK_SECONDS = 120.0  # after a start: what lay in the drop folder has arrived by then
_LISTED = "notify.listed_at"
_SINCE = "notify.since"


@contextmanager
def telling(site: Site, *, pass_ended: threading.Event | None) -> Iterator[None]:
    """Tell somebody, in a thread of its own, until the end of the block; nobody if notify.urls_file is not set.

    `pass_ended`: given where this is one pass, which tells at the end of the block instead, without waiting for
    company; set once that is to end soon. Raises ConfigError where the file of the addresses cannot be used.
    """
    path = site.config.notify.urls_file
    if path is None:
        yield
        return
    book = read_addresses(path)
    if book.exposed:
        _log.warning("notify.exposed", reason=book.exposed)
    teller = Teller(site, book)
    if pass_ended is not None:
        yield
        teller.finish(pass_ended)
        return
    thread = threading.Thread(target=teller.run, name="notify", daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # inherited
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield
    finally:
        teller.stop()
        thread.join(_STOP_SECONDS + 3)


@dataclass(eq=False)
class _Attempt:
    """One try to send messages to an address, in a thread of its own."""

    address: Address
    messages: list[Message]
    began: float  # monotonic
    news: threading.Event
    is_late: bool = False
    reason: str | None = None  # "": sent; None: it has not ended

    def run(self, title: str, body: str) -> None:
        self.reason = send(self.address, title, body)
        self.news.set()


@dataclass
class _Line:
    """What is known of one address since the start."""

    address: Address
    attempts: list[_Attempt] = field(default_factory=list)
    failures: int = 0
    again_at: float = -inf  # monotonic

    @property
    def is_busy(self) -> bool:
        waits = any(not attempt.is_late for attempt in self.attempts)
        return waits or len(self.attempts) >= _MOST_HANGING


class Teller:
    """Makes the messages of a site and sends them."""

    def __init__(self, site: Site, book: AddressBook) -> None:
        self._site = site
        self._lines = [_Line(address) for address in book.addresses]
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._began = site.clock.now()
        self._next_daily = self._next_silence = -inf  # monotonic
        self._trouble = ""
        self._host = socket.gethostname()
        with site.store.writing() as books:
            books.conditions.keep_only(site.config.notify.noted.kinds)
            if books.site.get(_SINCE) is None:
                books.site.put(_SINCE, self._began)

    def run(self) -> None:
        """Work until `stop`, for the whole life of the thread."""
        clock = self._site.clock
        while not self._stopping.is_set():
            self._news.clear()
            self._try(self.step)
            if not self._stopping.is_set():
                clock.wait(_TICK_SECONDS, self._news)
        give_up_at = clock.monotonic() + _STOP_SECONDS
        while self._is_sending() and clock.monotonic() < give_up_at:
            clock.wait(0.05, threading.Event())
        self._try(self._collect)

    def stop(self) -> None:
        """Let the thread end soon, whatever is being sent."""
        self._stopping.set()
        self._news.set()

    def finish(self, ended: threading.Event) -> None:
        """Tell what there is to tell now, and wait until it is sent, for as long as an address may take.

        Once `ended` is set, a stop's time is left for it: what was not sent is sent by the next start.
        """
        clock = self._site.clock
        self._try(lambda: self.step(company_seconds=0.0, is_pass=True))
        give_up_at, is_ending = clock.monotonic() + _FINISH_SECONDS, False
        while self._is_sending() and clock.monotonic() < give_up_at:
            if ended.is_set() and not is_ending:
                give_up_at, is_ending = min(give_up_at, clock.monotonic() + _STOP_SECONDS), True
            self._news.clear()
            self._try(self._collect)
            if self._is_sending():
                clock.wait(0.5, self._news)
        self._try(self._collect)

    def step(self, company_seconds: float = rules.COMPANY_SECONDS, *, is_pass: bool = False) -> None:
        """Make the message that is due, if any, and begin to send what is to be sent. Waits for nobody."""
        self._collect()
        self._note_pauses_ended_elsewhere()
        self._note_silence(is_pass=is_pass)
        self._make(company_seconds)
        self._send()

    def _is_sending(self) -> bool:
        return any(not attempt.is_late for line in self._lines for attempt in line.attempts)

    def _try(self, deed: Callable[[], None]) -> None:
        """Do it. A failure is logged once, and tried again at the next turn: nothing else depends on it."""
        try:
            deed()
        except Exception as error:  # noqa: BLE001 — as a step's
            if repr(error) != self._trouble:
                _log.exception("notify.stumbled")
            self._trouble = repr(error)
        else:
            self._trouble = ""

    # What is told

    def _make(self, company_seconds: float) -> None:
        """Make a message of all that there is to tell, if it is time."""
        site, now, monotonic = self._site, self._site.clock.now(), self._site.clock.monotonic()
        settings = site.config.notify
        with site.store.reading() as books:
            waiting = books.conditions.waiting()
            looks_for_list = monotonic >= self._next_daily
            if not waiting and not looks_for_list:
                return
            kinds = settings.noted.kinds - rules.find_inhibited([pause.kind for pause in books.pauses.active()])
            due_at = rules.find_due(
                {kind: at for kind, at in waiting.items() if kind in kinds},
                books.messages.last_made_at(),
                now,
                settings.digest_minutes * 60,
                company_seconds,
            )
            is_due = due_at is not None and now >= due_at
            is_list = False
            if looks_for_list or is_due:
                is_list = rules.is_list_due(books.conditions.longest_told(kinds), books.site.get(_LISTED), now)
                self._next_daily = monotonic + _DAILY_LOOK_SECONDS
        if is_due or is_list:
            with site.store.writing() as books:
                made = _make_message(books, kinds, now, is_list=is_list)
            if made is not None:
                _log.info("notify.made", message=made)

    def _note_pauses_ended_elsewhere(self) -> None:
        """Note that a pause of the account is over which another node has ended: it notes that of its own site."""
        if not self._site.store.database.is_shared:
            return
        with self._site.store.reading() as books:
            if not books.conditions.subjects(Alarm.PAUSED) - _paused(books):
                return
        with self._site.store.writing() as books:
            for kind in books.conditions.subjects(Alarm.PAUSED) - _paused(books):
                books.conditions.close(Alarm.PAUSED, kind, self._site.clock.now())

    def _note_silence(self, *, is_pass: bool) -> None:
        """Note whether nothing has arrived for too long, in the hours in which people work."""
        config, clock = self._site.config, self._site.clock
        now, monotonic = clock.now(), clock.monotonic()
        if Alarm.SILENCE not in config.notify.noted.kinds or monotonic < self._next_silence:
            return
        self._next_silence = monotonic + _SILENCE_LOOK_SECONDS
        if not is_pass and 0 <= now - self._began < _AT_WORK_SECONDS:
            return
        with self._site.store.reading() as books:
            since = max(books.items.latest_arrival() or 0.0, books.site.get(_SINCE) or 0.0)
            was_silent = books.conditions.is_open(Alarm.SILENCE, "")
        is_silent = is_too_silent(config, since, now)
        if is_silent is None or is_silent == was_silent:
            return
        with self._site.store.writing() as books:
            note = books.conditions.open if is_silent else books.conditions.close
            note(Alarm.SILENCE, "", now)

    # How it is sent

    def _send(self) -> None:
        """Begin to send to each address what it has not, unless it is busy or failed a short while ago."""
        site = self._site
        with site.store.reading() as books:
            unsent = books.messages.unsent()
        if not unsent:
            return
        unsent = self._end_old(unsent)
        for line in self._lines:
            monotonic = site.clock.monotonic()
            messages = [message for message in unsent if line.address.mark not in message.sent_to]
            if not messages or line.is_busy or monotonic < line.again_at:
                continue
            with site.store.reading() as books:
                title, body = write(books, site.config, self._host, messages)
            attempt = _Attempt(line.address, messages, monotonic, self._news)
            line.attempts.append(attempt)
            threading.Thread(target=attempt.run, args=(title, body), name="notify-address", daemon=True).start()

    def _end_old(self, unsent: list[Message]) -> list[Message]:
        """End what was sent to all addresses that there are, and what is too old. Return the others."""
        now = self._site.clock.now()
        marks = {line.address.mark for line in self._lines}
        old = [
            message
            for message in unsent
            if abs(now - message.made_at) > _KEPT_SECONDS and self._was_refused(message)
        ]
        over = [message for message in unsent if marks <= message.sent_to or message in old]
        if over:
            with self._site.store.writing() as books:
                for message in over:
                    books.messages.end(message.serial, now)
                books.messages.forget(now - _KEPT_SECONDS)
        for message in old:
            _log.error(
                "notify.given_up",
                message=message.serial,
                reason="it could not be sent to every address for three days",
                hint="Try the addresses: watcher notify --test",
            )
        return [message for message in unsent if message not in over]

    def _was_refused(self, message: Message) -> bool:
        """Return whether each address that has not got it has failed since the start.

        Otherwise a machine that was off for long, or whose clock was put right, would give up what it never tried.
        """
        return all(line.failures for line in self._lines if line.address.mark not in message.sent_to)

    def _collect(self) -> None:
        """Note what was sent, and what was not."""
        for line in self._lines:
            for attempt in list(line.attempts):
                if attempt.reason is not None:
                    self._note(
                        line, attempt
                    )  # before it is forgotten: on a full disk it would be sent again and again
                    line.attempts.remove(attempt)
                elif not attempt.is_late and self._site.clock.monotonic() - attempt.began > DEADLINE_SECONDS:
                    attempt.is_late = True
                    self._note_failure(line, f"it did not take the message within {DEADLINE_SECONDS:g} seconds")

    def _note(self, line: _Line, attempt: _Attempt) -> None:
        if attempt.reason:
            if not attempt.is_late:
                self._note_failure(line, attempt.reason)
            return
        marks = {each.address.mark for each in self._lines}
        now = self._site.clock.now()
        with self._site.store.writing() as books:
            known = {message.serial: message for message in books.messages.unsent()}
            for message in attempt.messages:
                if (there := known.get(message.serial)) is None:
                    continue
                books.messages.note_sent(there.serial, line.address.mark)
                if marks <= {*there.sent_to, line.address.mark}:
                    books.messages.end(there.serial, now)
        if line.failures:
            _log.info("notify.answers", address=str(line.address))
        line.failures, line.again_at = 0, -inf

    def _note_failure(self, line: _Line, reason: str) -> None:
        wait = min(_FIRST_BACK_OFF * 2.0 ** min(line.failures, 10), _MOST_BACK_OFF)
        line.failures += 1
        line.again_at = self._site.clock.monotonic() + wait
        if line.failures == 1:
            _log.warning(
                "notify.failed",
                address=str(line.address),
                reason=reason,
                hint="It is tried again, later and later, for three days. Try it by hand: watcher notify --test",
            )


def is_too_silent(config: Config, since: float, now: float) -> bool | None:
    """Return whether nothing has arrived for too long since then; None: people do not work now, so who knows."""
    zone = ZoneInfo(config.limits.timezone) if config.limits.timezone else None
    hours, enough = config.notify.hours, config.notify.silence
    if working_seconds(hours, since, now, zone, enough) < enough:
        return False
    return True if is_working(hours, now, zone) else None


def _paused(books: Books) -> set[str]:
    return {str(pause.kind) for pause in books.pauses.active()}


def _make_message(books: Books, kinds: frozenset[Alarm], now: float, *, is_list: bool) -> int | None:
    """Make a message of what there is to tell of these kinds, and note it as told.

    Return its number; None where there is nothing to tell.
    """
    told: dict[str, dict[str, tuple[int, list[str]]]] = {}
    settled, postponed, forgotten = [], [], []
    latest = now + rules.CALM_SECONDS
    for condition in books.conditions.to_look_at(kinds, now, latest, _MOST_LOOKED_AT):
        found = rules.settle(condition, now)
        if found.edge is not None:
            number, named = told.setdefault(found.edge, {}).get(condition.kind, (0, []))
            named = [*named, condition.subject] if len(named) < NAMED else named
            told[found.edge][condition.kind] = number + 1, named
        if found.is_forgotten:
            forgotten.append(condition)
        elif found.edge is not None:
            settled.append((condition, found.told, found.look_at))
        else:
            postponed.append((condition, found.look_at))
    content: JsonObject = dict(told)
    if is_list and (still := books.conditions.told_open(kinds, NAMED)):
        content[STILL] = still
    books.conditions.settle(settled, now)
    books.conditions.postpone(postponed)
    books.conditions.drop(forgotten)
    if is_list:
        books.site.put(_LISTED, now)
    return books.messages.make(content, now) if content else None
