"""The rate windows, kept in the database: shared by all uploads and questions, and kept across restarts."""

from dataclasses import dataclass, replace

from watcher import logs
from watcher.config import Limits, Window
from watcher.errors import Throttled
from watcher.identifai import budget
from watcher.journey.site import Site
from watcher.store import Books

_log = logs.get_logger(__name__)

_LEAD_SECONDS = 5.0
"""How long an upload may hold back its last part while it waits for room in the windows.

Far below the 20 seconds after which the strictest common web servers give up on a body.
"""
_MOST_TRAVEL_SECONDS = 120.0
_FACT = "limits.writes.lowered"


_MARGIN_SECONDS = 0.05
"""What may lie between a grant and its use, where other nodes are granted theirs meanwhile."""

_PATIENCE_SECONDS = 2.0
"""How often an upload that waits for other nodes asks again: one of them may have given up, or died."""


@dataclass(frozen=True, slots=True)
class Room:
    """When the windows have room for one more request, by the clock that all nodes share, and what that shows now.

    `unended`: the requests that have no answer yet.
    """

    at: float
    now: float
    unended: int = 0

    @property
    def wait(self) -> float:
        """Seconds until then."""
        return max(self.at - self.now, 0.0)

    @property
    def is_there(self) -> bool:
        return self.at <= self.now


class Windows:
    """When uploads may begin and end. Without configured limits it reads and writes nothing."""

    def __init__(self, site: Site) -> None:
        self._clock = site.clock
        self._site = site
        self._seconds_per_byte = 0.0  # of the latest upload

    @property
    def _configured(self) -> tuple[Window, ...]:
        return self._site.config.limits.writes

    def starts_in(self, books: Books, now: float, size: int) -> float:
        """Return the seconds after which to begin an upload of this size: its last part is not held back for long.

        Slow uploads send their bodies side by side; only their ends keep to the windows.
        """
        if not self._configured:
            return 0.0
        ahead = books.ledger.under_way(unreleased=True)
        travels = min(size * self._seconds_per_byte, _MOST_TRAVEL_SECONDS)
        return self._room(books, now, ahead).wait - _LEAD_SECONDS - travels

    def room(self, books: Books, now: float, place: int | None) -> Room:
        """Return when an upload may end; a lower bound, while another upload has no answer yet.

        `place`: in the queue of all nodes, if it has one.
        """
        if not self._configured:
            return Room(now, now)
        if not books.is_shared:
            return self._room(books, now)
        found = self._room(books, now, books.ledger.waiting_before(place, now))
        if found.unended and not found.is_there:
            books.ledger.end_lapsed_rate_events("write", now)
        return found if found.is_there else replace(found, at=min(found.at, found.now + _PATIENCE_SECONDS))

    def wait(self, books: Books, place: int | None, room: Room) -> int | None:
        """Take a place in the queue of all nodes, or keep it, until then. In a file one waits at a time."""
        return books.ledger.wait_for_room(place, room.at, room.now) if books.is_shared else None

    def count(self, books: Books, place: int | None, at: float) -> int | None:
        """An upload is let go, and counts from then on. The number of its rate event."""
        if not self._configured:
            return None
        if place is None:
            return books.ledger.add_rate_event("write", at)
        books.ledger.let_go(place, "write", at)
        return place

    def end(self, books: Books, rate_event: int, now: float) -> None:
        """The upload was answered, or is lost."""
        books.ledger.end_rate_event(rate_event, now)
        self._site.write_pace.ended(rate_event, self._clock.monotonic(), self._configured)

    def travelled(self, size: int, seconds: float) -> None:
        """Learn from an upload of this size how long it took until its last part was due."""
        # The time of a short upload says nothing about the line.
        self._seconds_per_byte = max(seconds - 1.0, 0.0) / max(size, 1)

    def learn(self, books: Books, error: Throttled, now: float) -> tuple[Window, ...] | None:
        """Narrow the window that a 429 is about, for an hour. Return the windows where that is new."""
        known = budget.read_lessons(books.account.get(_FACT))
        lessons = budget.lower(self._configured, known, error.limit, now)
        books.account.put(_FACT, budget.write_lessons(lessons))
        is_news = any(name not in known or known[name].until <= now for name in lessons)
        return budget.lowered(self._configured, lessons, now) if is_news else None

    def is_stale(self, books: Books, now: float) -> bool:
        """Return whether the database holds what `refresh` would correct."""
        if not self._configured:
            return False
        lessons = budget.read_lessons(books.account.get(_FACT))
        is_any_over = any(lesson.until <= now for lesson in lessons.values())
        return is_any_over or books.ledger.has_rate_events_to_come("write", now)

    def refresh(self, books: Books, now: float) -> None:
        """Forget expired lessons; after the clock was set back, move ends in the future to now."""
        books.ledger.pull_back_rate_events("write", now)
        lessons = budget.read_lessons(books.account.get(_FACT))
        lasting = {name: lesson for name, lesson in lessons.items() if lesson.until > now}
        if lasting != lessons:
            books.account.put(_FACT, budget.write_lessons(lasting))
            rate = describe(budget.lowered(self._configured, lasting, now))
            books.afterwards(lambda: _log.info("rate.restored", rate=rate))

    def _room(self, books: Books, now: float, ahead: int = 0) -> Room:
        windows = budget.lowered(self._configured, budget.read_lessons(books.account.get(_FACT)), now)
        found = _room_by_books(books, "write", windows, now, ahead)
        monotonic, pace = self._clock.monotonic(), self._site.write_pace
        by_pace = budget.room_at(windows, pace.nth_last_end, monotonic, unended=found.unended, ahead=ahead)
        return replace(found, at=max(found.at, found.now + (by_pace - monotonic)))


def _room_by_books(books: Books, kind: str, windows: tuple[Window, ...], now: float, ahead: int = 0) -> Room:
    """Return when these windows have room for one more request of this kind, of whatever site.

    The time is read after the lock, if the transaction writes: then what is granted is granted once.
    """
    log = books.ledger.log(kind, [budget.n_in(window, ahead) for window in windows], now)
    margin = _MARGIN_SECONDS if books.is_shared else 0.0
    at = budget.room_at(windows, log.ends.get, log.now, unended=log.unended, ahead=ahead, margin=margin)
    return Room(at, log.now, log.unended)


class Reads:
    """The rate windows for questions, asked one at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._rate_event: int | None = None  # of the latest question

    def begin(self) -> float:
        """Count a question from now until its `end`, and return 0; or return the seconds until there is room."""
        site = self._site
        now = site.clock.now()
        with site.store.writing() as books:
            self.end(books, now)  # where that could not be recorded before
            books.ledger.pull_back_rate_events("read", now)  # the clock may have been set back
            limits = site.config.limits.reads
            room = room_for_read(books, limits, now)
            if books.is_shared and room.unended and not room.is_there:
                books.ledger.end_lapsed_rate_events("read", now)
            monotonic = site.clock.monotonic()
            wait = max(room.wait, budget.room_at(limits, site.read_pace.nth_last_end, monotonic) - monotonic)
            if wait > 0:
                return wait
            rate_event = books.ledger.add_rate_event("read", room.now)
            if books.is_shared:  # the commit may be done though it fails: then the next question ends it
                self._rate_event = rate_event
        self._rate_event = rate_event
        return 0.0

    def end(self, books: Books, now: float) -> None:
        """Record that the question was answered, or is lost; calling this twice does no harm."""
        if self._rate_event is not None:
            books.ledger.end_rate_event(self._rate_event, now)
            site = self._site
            site.read_pace.ended(self._rate_event, site.clock.monotonic(), site.config.limits.reads)


def room_for_read(books: Books, windows: tuple[Window, ...], now: float) -> Room:
    """Return when these windows have room for one more question."""
    return _room_by_books(books, "read", windows, now)


def count_read(books: Books, at: float) -> int:
    """Count a question that has begun and ended then. The number of its rate event."""
    number = books.ledger.add_rate_event("read", at)
    books.ledger.end_rate_event(number, at)
    return number


def restore_rate_events(site: Site, limits: Limits) -> None:
    """Count earlier uploads against windows that are longer than those in force until now."""
    longest = max((window.seconds for window in limits.writes), default=0.0)
    now = site.clock.now()
    if longest:
        with site.store.writing() as books:
            books.ledger.restore_rate_events(now - longest, now)


def find_windows(books: Books, configured: tuple[Window, ...], now: float) -> tuple[Window, ...]:
    """Return the windows for submissions in force now: as configured, or narrower after a 429."""
    return budget.lowered(configured, budget.read_lessons(books.account.get(_FACT)), now)


def seconds_for(submissions: int, windows: tuple[Window, ...]) -> float:
    """Return the least time, in seconds, that so many submissions take in these windows."""
    return max((window.seconds * submissions / window.limit for window in windows), default=0.0)


def describe(windows: tuple[Window, ...]) -> str:
    """Return the rate in words."""
    return " and ".join(f"{window.limit} in {window.seconds:.4g} s" for window in windows) or "no limit"
