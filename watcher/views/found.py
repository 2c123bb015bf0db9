"""Recordings that a person searches for at a page: a page at a time, the newest first, in a bounded time."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from watcher.config import Config
from watcher.domain import State
from watcher.errors import UsageError
from watcher.store import LAST, Books, Place, Sought
from watcher.store.page_rows import CAP, Count
from watcher.views import search
from watcher.views.context import CommandContext
from watcher.views.period import read_period
from watcher.views.recordings import Recording, Row, complete_rows
from watcher.views.report_lines import Line, read_lines
from watcher.views.search import keep_judged, read_page, read_search
from watcher.views.site_names import at_each

MOST = 50
"""So many recordings a page has at the most."""

_WINDOW = 20_000  # so many recordings are looked through in one transaction
_SECONDS = 2.0
_PLACE = re.compile(r"(-?[0-9]{1,12}(?:\.[0-9]{1,9})?)_([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for, as the page's address has it: texts as they were typed."""

    name: str = ""
    states: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    folder: str = ""
    since: str = ""
    until: str = ""
    to_see: bool = False  # of the failed ones, those that nobody has dealt with
    all_sites: bool = False  # of every site of the account

    @property
    def is_all(self) -> bool:
        return replace(self, all_sites=False) == Asked()

    def address(self, **more: str) -> str:
        """Return the query of the address that asks for the same."""
        pairs = [("name", self.name), ("folder", self.folder), ("since", self.since), ("until", self.until)]
        pairs += [("state", state) for state in self.states] + [("verdict", said) for said in self.verdicts]
        pairs += [("to_see", "1" if self.to_see else ""), ("sites", "all" if self.all_sites else "")]
        pairs += more.items()
        return urlencode([(name, value) for name, value in pairs if value])

    def to_sought(self, context: CommandContext) -> Sought:
        """Return what to look for in the books. Raises UsageError for what cannot be meant.

        Where names are hidden nobody can look for one: what is found would tell them.
        """
        for state in self.states:
            if state not in set(State):
                raise UsageError(f"there is no state {state!r}", hint=f"Choose from: {', '.join(State)}.")
        config, hides = context.config, context.config.privacy.hides
        period = read_period(self.since or None, self.until or None, context.clock.now(), config.limits.timezone)
        found = read_search(
            states=self.states,
            verdicts=self.verdicts,
            name="" if hides else self.name,
            folder="" if hides else self.folder,
            period=period,
        ).sought
        return replace(found, to_see=self.to_see)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what was found. Every text in it may be shown as it is."""

    lines: list[Line]
    called: list[Line]  # those whose id or identifier was typed as a name
    next: str  # the place where the next page begins; "" at the end
    looked_back_to: float | None  # the search took too long, and came so far; None: it did not
    sites: Mapping[str, str] = field(default_factory=dict)  # what the sites are called, where it is of several


def read_found(context: CommandContext, asked: Asked, sought: Sought, place: Place) -> Found:
    """Return the page that begins at this place. No transaction is open for longer than one window takes."""
    config, clock, is_first = context.config, context.clock, place == LAST
    until, lines, called = clock.monotonic() + _SECONDS, list[Line](), list[Line]()
    if asked.name and is_first:
        with context.store.reading() as books:
            called = read_lines(books, config, books.page.called(asked.name.strip()))
    is_told = any(asked.name.strip() in (line.id, line.identifier) for line in called)
    if is_told or (config.privacy.hides and asked.name):
        return Found(lines, called, "", None)
    if (places := _find_few(context, sought)) is not None:
        return replace(_read_few(context, sought, sorted(one for one in places if one < place)), called=called)
    while True:
        with context.store.reading() as books:
            bound = _find_bound(books, sought, place)
            rows, following = read_page(
                books,
                config.audio,
                sought if bound is None else _since(sought, bound.arrived_at),
                place,
                MOST - len(lines),
                newest_first=True,
            )
            lines += _read_rows(config, books, rows)
        reached = following if following is not None else bound
        if reached is None or (sought.since is not None and reached.arrived_at < sought.since):
            return Found(lines, called, "", None)
        place = reached
        if len(lines) >= MOST:
            return Found(lines, called, _write_place(place), None)
        if following is None and clock.monotonic() >= until:
            return Found(lines, called, _write_place(place), place.arrived_at)


def read_found_at_sites(context: CommandContext, asked: Asked, sought: Sought, place: Place) -> Found:
    """Return the page that begins at this place, of all sites of the account.

    Numbers are given by the server, so a place is the same at every site. A site may have been looked through less
    far back than another: what is older than the nearest of these places stands on the next page.
    """
    sites = at_each(context)
    found = [read_found(at, asked, sought, place) for _, at in sites]
    reached = max((read_place(one.next) for one in found if one.next), default=None)
    lines = [
        line for one in found for line in one.lines if reached is None or line.arrived_at >= reached.arrived_at
    ]
    looked_back = [one.looked_back_to for one in found if one.looked_back_to is not None]
    return Found(
        sorted(lines, key=lambda line: line.arrived_at, reverse=True),
        [line for one in found for line in one.called],
        "" if reached is None else _write_place(reached),
        max(looked_back, default=None),
        {name.id: str(name) for name, _ in sites},
    )


def read_place(text: str) -> Place:
    """Return the place that an address names; LAST for none. Raises UsageError for what is no place."""
    if not text:
        return LAST
    if (found := _PLACE.fullmatch(text)) is None or int(found[2]) >= 1 << 63:  # more than a database's integer
        raise UsageError("this address is damaged", hint="Begin with the first page.")
    return Place(float(found[1]), int(found[2]))


def count_found(context: CommandContext, sought: Sought) -> Count:
    """Return how many are found, no further than the pages count."""
    with context.store.reading() as books:
        if sought.verdicts:  # of those in parts only who reads them knows
            return Count(search.count_found(books, context.config.audio, sought, CAP + 1))
        return Count(books.sought.count(sought, CAP + 1))


def _find_bound(books: Books, sought: Sought, place: Place) -> Place | None:
    """Return how far to look in one transaction; None: to the end, as an index finds all that is looked for."""
    if not (sought.names or sought.digits or sought.folder or sought.verdicts or sought.to_see):
        return None
    return books.page.behind(place, _WINDOW)


def _since(sought: Sought, at: float) -> Sought:
    return replace(sought, since=at if sought.since is None else max(at, sought.since))


def _find_few(context: CommandContext, sought: Sought) -> list[Place] | None:
    """Return the places of the few among which all that is looked for must be; null where an index knows none."""
    with context.store.reading() as books:
        if len(sought.verdicts) == 1 and (found := books.page.few_with_verdict(*sought.verdicts)) is not None:
            return found
        return books.page.few_in_folder(sought.folder) if sought.folder else None


def _read_few(context: CommandContext, sought: Sought, places: list[Place]) -> Found:
    """Return the page of what is found at these places, of which the last comes first."""
    audio, lines, last = context.config.audio, list[Line](), LAST
    while places and len(lines) < MOST:
        some = [places.pop() for _ in range(min(MOST - len(lines), len(places)))]
        with context.store.reading() as books:
            rows = books.sought.among(sought, [one.serial for one in some])
            found = keep_judged(complete_rows(books, rows, audio), sought)
            lines += _read_rows(context.config, books, found)
        last = some[-1]
    return Found(lines, [], _write_place(last) if places else "", None)


def _read_rows(config: Config, books: Books, rows: Sequence[Row]) -> list[Line]:
    serials = [books.page.serial_of(row.item.id) if isinstance(row, Recording) else row.serial for row in rows]
    return read_lines(books, config, [serial for serial in serials if serial is not None])


def _write_place(place: Place) -> str:
    return f"{place.arrived_at!r}_{place.serial}"
