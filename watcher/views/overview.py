"""How things stand, for the first page: what needs a person, the counts, the latest recordings and events."""

from dataclasses import dataclass

from watcher.domain import ARTIFICIAL, BACKLOG, UNDER_WAY, Deed, Pause, PauseKind, State, VerdictState
from watcher.journey.submit.windows import describe, find_windows, seconds_for
from watcher.privacy import hide_names
from watcher.store import LAST, Books, Sought, Wish
from watcher.store.page_rows import Count, EventRow
from watcher.text import show_path, show_text
from watcher.views.context import CommandContext
from watcher.views.health import find_own_troubles, read_vitals
from watcher.views.interruptions import explain_pauses
from watcher.views.report_lines import Line, read_lines
from watcher.views.status import count_blocked

_LATEST = 15
_EVENTS = 12
_WISHES = 5
NEWEST = 1 << 62
"""The number before which all events are."""

_DEEDS = {
    Deed.RETRY: ("Retry", "retried", "sent back to the drop folder"),
    Deed.RELEASE: ("Release", "released", "queued again"),
    Deed.FAIL: ("Give up", "given up", "filed without being sent again"),
    Deed.DISMISS: ("Dismiss", "dismissed", "marked as dealt with"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the histories. Every text in it may be shown as it is."""

    serial: int
    at: float
    id: str
    name: str
    what: str
    note: str
    by: str | None


@dataclass(frozen=True, slots=True)
class WishLine:
    """A wish, and in words how far it has come."""

    wish: Wish
    said: str


@dataclass(frozen=True, slots=True)
class Overview:
    """How things stand. Every text in it may be shown as it is."""

    now: float
    pauses: list[tuple[Pause, str]]
    troubles: list[str]
    elsewhere: str  # the node that works on the site, where this one stands by; else ""
    states: dict[State, Count]
    verdicts: dict[VerdictState, Count]
    classes: dict[str, Count]  # of the verdicts that are known
    failed: Count  # that were not dismissed
    held: Count
    blocked: Count  # that are not taken or sent until a person acts
    waiting: Count  # files that are not taken yet
    rate: str
    backlog_seconds: float | None
    last_scan_at: float | None
    latest: list[Line]
    events: list[Event]
    wishes: list[WishLine]

    @property
    def needs_person(self) -> Count:
        return Count(self.failed.number + self.held.number + self.blocked.number)

    @property
    def is_paused_by_person(self) -> bool:
        return self.paused_by_person_since is not None

    @property
    def paused_by_person_since(self) -> float | None:
        """By this a person's pause is known from one that came later; null where no person has paused."""
        return next((pause.since for pause, _ in self.pauses if pause.kind is PauseKind.PERSON), None)

    @property
    def sentence(self) -> str:
        """How things stand in a sentence or two: what a person who cannot see the page hears of it."""
        number = self.needs_person
        needs = "1 recording needs a person." if number.number == 1 else f"{number} recordings need a person."
        needs = needs if number else "Nothing needs a person."
        under_way = Count(sum(self.states[state].number for state in UNDER_WAY))
        paused = "Submitting is paused. " if self.pauses else ""
        trouble = "Something does not work. " if self.troubles else ""
        stands_by = "This node stands by. " if self.elsewhere else ""
        going = f"{under_way or 'None'} under way, {self.states[State.DONE]} done"
        artificial = self.classes[ARTIFICIAL]
        return f"{trouble}{stands_by}{paused}{needs} {going}{f', {artificial} artificial' if artificial else ''}."


def read_overview(context: CommandContext) -> Overview:
    """Return how things stand now. No count takes longer because there are more of a kind than CAP."""
    config, now = context.config, context.clock.now()
    troubles, elsewhere = _find_troubles(context), context.working().elsewhere
    with context.store.reading() as books:
        states = {state: Count(number) for state, number in books.page.counts().items()}
        verdicts = {state: Count(number) for state, number in books.page.asked().items()}
        failed = Count(books.page.failed_to_see())
        classes = {name: Count(number) for name, number in books.page.classes().items()}
        blocked, waiting = Count(count_blocked(books)), Count(books.waiting.total())
        pauses, windows = books.pauses.active(), find_windows(books, config.limits.writes, now)
        latest = [row.serial for row in books.sought.page(Sought(), LAST, _LATEST, newest_first=True)]
        lines = read_lines(books, config, latest)
        events = read_events(books, NEWEST, _EVENTS, hides=config.privacy.hides)
        wishes = read_wishes(books)
        last_scan_at = books.site.get("last_scan_at")
    backlog = [states[state] for state in BACKLOG]
    known = None if pauses or any(one.is_capped for one in backlog) else sum(one.number for one in backlog)
    told = list(zip(pauses, map(show_text, explain_pauses(pauses, now)), strict=True))
    return Overview(
        now=now,
        pauses=told,
        troubles=troubles,
        elsewhere=show_text(elsewhere),
        states=states,
        verdicts=verdicts,
        classes=classes,
        failed=failed,
        held=states[State.HELD],
        blocked=blocked,
        waiting=waiting,
        rate=describe(windows),
        backlog_seconds=seconds_for(known, windows) if known else None,
        last_scan_at=last_scan_at,
        latest=lines,
        events=events,
        wishes=wishes,
    )


def read_events(books: Books, before: int, limit: int, *, hides: bool) -> list[Event]:
    """Return the latest events before this one, the latest first."""
    return [_event(row, hides=hides) for row in books.page.events(before, limit)]


def _event(row: EventRow, *, hides: bool) -> Event:
    note = hide_names(row.note, (row.path, row.filed_as), row.id) if hides else row.note
    return Event(
        row.serial,
        row.at,
        row.id,
        row.id if hides else show_path(row.path),
        row.after if row.before != row.after else "noted",
        show_text(note),
        show_text(row.by) if row.by else None,
    )


def read_wishes(books: Books) -> list[WishLine]:
    """Return the latest wishes, each with how far it has come."""
    return [WishLine(wish, wish_in_words(wish)) for wish in books.wishes.latest(_WISHES)]


def wish_in_words(wish: Wish) -> str:
    """Return what was wished for, and how far it has been carried out."""
    _, done, _ = _DEEDS[wish.deed]
    said = f"{wish.done:,} of {wish.number:,} {done}"
    if wish.ended_at is None:
        return f"{said}, as {show_text(wish.by)} asked. It goes on."
    said += f", as {show_text(wish.by)} asked."
    if wish.hindered:
        said += f" {wish.hindered:,} could not be: {show_text(wish.hindrance)}"
    if wish.left:
        many = "1 was" if wish.left == 1 else f"{wish.left:,} were"
        said += f" {many} meanwhile decided on by somebody else, or had changed, and left as they are."
    return said


def deed_in_words(deed: Deed) -> tuple[str, str, str]:
    """Return what a button for it says, what was done then, and what that means."""
    return _DEEDS[deed]


def _find_troubles(context: CommandContext) -> list[str]:
    """Return what does not work, as /healthz judges it. Pauses are told apart from it."""
    config = context.config
    said = find_own_troubles(read_vitals(context), context.clock.now(), config.arrivals.rescan_seconds)
    return [config.veil.hide_in(one, ()) for one in said] if config.veil else said
