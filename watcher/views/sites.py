"""The sites that work with one account: each as its own node sees it, and all together.

A database on a server has several; an SQLite file has one, which is then all there is.
"""

import heapq
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from watcher.domain import BACKLOG, Pause, PauseKind, State, VerdictState
from watcher.journey.submit.windows import describe, find_windows, seconds_for
from watcher.journey.working import Activity
from watcher.store import Books, Lease
from watcher.text import JsonObject, rfc3339
from watcher.views.context import CommandContext
from watcher.views.recordings import Recording, Row, in_batches
from watcher.views.search import Search, search_rows
from watcher.views.site_names import SiteName, name_sites
from watcher.views.spend import Charge, read_charges
from watcher.views.status import Counts, count

_WEIGHT = {kind: weight for weight, kind in enumerate(PauseKind)}


@dataclass(frozen=True, slots=True)
class SiteState:
    """How one of the sites stands. `lease`: the one that it has, or had last; null for none, as in a file."""

    name: SiteName
    lease: Lease | None
    node: str  # in words: which node works on it
    has_node: bool
    counts: Counts
    pauses: list[Pause]
    submissions: int  # that the backlog will take
    last_scan_at: float | None
    oldest_queued_at: float | None

    def as_json(self) -> JsonObject:
        counts = self.counts
        return {
            "site": self.name.id,
            "folder": self.name.folder or None,
            "own": self.name.is_own,
            "lease": self.lease and self.lease.as_json(),
            **_counts_as_json(counts),
            "pauses": [pause.as_json() for pause in self.pauses],
            "last_scan_at": rfc3339(self.last_scan_at),
            "oldest_queued_at": rfc3339(self.oldest_queued_at),
        }


@dataclass(frozen=True, slots=True)
class Sites:
    """How all of them stand. `charges`, `rate` and `eta_seconds` are those of the account that they share."""

    sites: list[SiteState]
    charges: list[Charge]
    rate: str
    eta_seconds: float

    @property
    def counts(self) -> Counts:
        """The sums."""
        each = [site.counts for site in self.sites]
        return Counts(
            states={state: sum(one.states[state] for one in each) for state in State},
            verdicts={state: sum(one.verdicts[state] for one in each) for state in VerdictState},
            dismissed=sum(one.dismissed for one in each),
            waiting=sum(one.waiting for one in each),
            waiting_blocked=sum(one.waiting_blocked for one in each),
            blocked=sum(one.blocked for one in each),
            stuck=sum(one.stuck for one in each),
        )

    @property
    def pauses(self) -> list[tuple[Pause, list[SiteName]]]:
        """Every pause, most important first, with the sites that it holds up."""
        found: dict[Pause, list[SiteName]] = {}
        for site in self.sites:
            for pause in site.pauses:
                found.setdefault(pause, []).append(site.name)
        return sorted(found.items(), key=lambda one: _WEIGHT[one[0].kind])

    @property
    def without_node(self) -> list[SiteState]:
        return [site for site in self.sites if not site.has_node]

    @property
    def sentence(self) -> str:
        """How they stand in a sentence or two: what a person who cannot see the page hears of it."""
        number, alone = len(self.sites), len(self.without_node)
        counts = self.counts
        needs = sum(counts.needs_person.values()) + counts.blocked
        sites = "1 site." if number == 1 else f"{number:,} sites."
        nodes = f" {alone:,} of them without a node: nothing is done there." if alone else " Each has its node."
        many = "1 recording needs" if needs == 1 else f"{needs:,} recordings need"
        person = f" {many} a person." if needs else " Nothing needs a person."
        return f"{sites}{nodes}{person} {counts.states[State.DONE]:,} done."

    def as_json(self) -> JsonObject:
        pauses = [pause.as_json() | {"sites": [name.id for name in names]} for pause, names in self.pauses]
        scans = [site.last_scan_at for site in self.sites]
        return {
            "sites": [site.as_json() for site in self.sites],
            **_counts_as_json(self.counts),
            "paused": {k: pauses[0][k] for k in ("reason", "since", "until", "by", "sites")} if pauses else None,
            "pauses": pauses,
            "spend": {charge.span: charge.as_json() for charge in self.charges},
            "rate": self.rate,
            "eta_seconds": self.eta_seconds,
            "last_scan_at": None if None in scans or not scans else rfc3339(min(filter(None, scans))),
        }


def _counts_as_json(counts: Counts) -> JsonObject:
    return {
        "states": {str(state): number for state, number in counts.states.items()},
        "needs_person": counts.needs_person,
        "verdicts": {str(state): number for state, number in counts.verdicts.items()},
        "backlog": counts.backlog,
        "waiting_total": counts.waiting,
        "waiting_blocked": counts.waiting_blocked,
        "blocked_total": counts.blocked,
        "stuck_total": counts.stuck,
    }


def read_sites(context: CommandContext) -> Sites:
    """Return how all sites of the account stand at one moment."""
    config, now = context.config, context.clock.now()
    working = None if context.store.database.is_shared else _working_here(context)
    with context.store.reading() as books:
        leases = {lease.site: lease for lease in books.leases.listed()}
        sites = []
        for name in name_sites(books, config):
            lease = leases.get(name.id)
            node, has_node = _node_of(lease) if working is None else working
            with books.at(name.id):
                sites.append(_look_at(books, name, lease, node, has_node=has_node))
        windows = find_windows(books, config.limits.writes, now)
        charges = read_charges(books, config.limits, now)
    eta = seconds_for(sum(site.submissions for site in sites), windows)
    return Sites(sites, charges, describe(windows), eta)


def _node_of(lease: Lease | None) -> tuple[str, bool]:
    """Return in words which node works on a site, and whether one does."""
    if lease is None:
        return "no node has worked on it yet", False
    if lease.is_over:
        return f"none; the last was {lease}", False
    return f"{lease}; its lease lasts for {lease.left:.0f} s more", True


def _working_here(context: CommandContext) -> tuple[str, bool]:
    """The same of a file, which the process that has its lock works with."""
    found = context.working()
    return found.describe(context.clock.now()), found.activity is Activity.RUNNING


def _look_at(books: Books, name: SiteName, lease: Lease | None, node: str, *, has_node: bool) -> SiteState:
    counts = count(books)
    in_parts, submissions = books.parts.left_to_send()
    oldest = books.items.oldest_arrival(BACKLOG)
    return SiteState(
        name,
        lease,
        node,
        has_node,
        counts,
        books.pauses.active(),
        counts.backlog - in_parts + submissions,
        books.site.get("last_scan_at"),
        oldest,
    )


def search_sites(contexts: Iterable[CommandContext], search: Search) -> Generator[list[Row], None, None]:
    """Yield what is found at these sites, in one order; see search_rows."""
    found = [chain.from_iterable(search_rows(context, search)) for context in contexts]
    value = _VALUES[search.sort]

    def place(row: Row) -> tuple[bool, Any]:
        known = value(row)
        return (known is None) is not search.reverse, 0 if known is None else known

    yield from in_batches(heapq.merge(*found, key=place, reverse=search.reverse))


def _of_item(name: str) -> Callable[[Row], Any]:
    return lambda row: getattr(row.item if isinstance(row, Recording) else row, name)


def _seconds(row: Row) -> float | None:
    if not isinstance(row, Recording):
        return row.seconds
    return row.item.audio.seconds if row.item.audio else None


def _confidence(row: Row) -> float | None:
    """As the database sorts by it: of several parts it knows none."""
    if not isinstance(row, Recording):
        return row.confidence
    return row.verdict.confidence if row.verdict is not None and row.item.identifier else None


_VALUES: dict[str, Callable[[Row], Any]] = {
    "arrived": _of_item("arrived_at"),
    "submitted": _of_item("submitted_at"),
    "filed": _of_item("filed_at"),
    "name": _of_item("path"),
    "state": lambda row: str(_of_item("state")(row)),
    "size": _of_item("size"),
    "seconds": _seconds,
    "confidence": _confidence,
}
"""What the rows are sorted by, by the names of SORTS; null, which comes last either way, where it is not known."""
