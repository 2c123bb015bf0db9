"""What a monitor draws and counts. It costs the same however many recordings are done."""

from collections.abc import Mapping
from dataclasses import dataclass

from watcher.config import Config
from watcher.domain import ARTIFICIAL, BACKLOG, HUMAN, INCONCLUSIVE, PauseKind, State, VerdictState
from watcher.journey.failures import Failures
from watcher.journey.submit.policy import Cause
from watcher.store import Books, tallies
from watcher.views.context import CommandContext
from watcher.views.health import find_troubles, read_vitals
from watcher.views.site_names import name_sites

OTHER = "other"
STEPS = ("arrive", "admit", "prepare", "submit", "file", "verdict", "retain")
OUTCOMES = ("accepted", *map(str, Cause), "cut_off")
CLASSIFICATIONS = (HUMAN, ARTIFICIAL, INCONCLUSIVE)
STATUSES = ("200", "201", "400", "401", "403", "404", "413", "429", "500", "502", "503", "504", tallies.NO_STATUS)
ENDPOINTS = ("submit", "verdict")
UNKNOWN_STATES = tuple(state for state in VerdictState if state is not VerdictState.KNOWN)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often something took how long: the number up to each bound, and the seconds of all."""

    up_to: list[tuple[float, float]]
    seconds: float


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """Who works on the sites of an account, where a database has several. `holds_lease`: we do, on this one."""

    holds_lease: bool
    remaining_seconds: float  # of this site's lease, whoever has it; 0: nobody
    sites: int
    without_node: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Every label that there can be has a number, from the first time on: what is absent cannot alert."""

    items: dict[str, float]
    needs_person: dict[str, float]
    waiting: float
    blocked: float
    stuck: float
    submissions: dict[str, float]
    requests: dict[tuple[str, str], float]
    credits: float
    verdicts: dict[str, float]
    verdicts_unknown: dict[str, float]
    uploads: Distribution
    filed: dict[str, Distribution]
    paused: dict[str, float]
    failing: dict[str, float]
    succeeded_at: dict[str, float]
    last_scan_at: float
    oldest_waiting_since: float
    is_healthy: bool
    nodes: NodeFigures | None  # null where the database is a file

    @property
    def is_standing_by(self) -> bool:
        """Whether another node works on the site, or none, and all else is for that one to tell."""
        return self.nodes is not None and not self.nodes.holds_lease


def read_figures(context: CommandContext, failures: Failures) -> Figures:
    """Read the figures now, in one transaction. `failures`: of the process that works here."""
    config = context.config
    vitals, terms = read_vitals(context), context.store.database.terms
    with context.store.reading() as books:
        sums = books.tallies.all()
        states = books.items.counts(total=round(sums.get(tallies.ITEMS, {}).get("", 0)))
        dismissed, unknown = books.items.dismissed(), books.verdicts.counts_of_unknown()
        waiting, blocked, stuck = books.waiting.total(), books.waiting.blocked(), books.obstacles.total()
        oldest, dropped = books.items.oldest_arrival(BACKLOG), books.waiting.listed()
        nodes = _read_nodes(books, config, terms.owner) if terms is not None else None
    since = [oldest] if oldest is not None else []
    since += [file.since for file in dropped]
    troubles = find_troubles(vitals, context.clock.now(), config.arrivals.rescan_seconds)
    steps = [step for step in STEPS if step != "verdict" or config.verdicts.fetch]
    return Figures(
        items={str(state): number for state, number in states.items()},
        needs_person={"failed": states[State.FAILED] - dismissed, "held": states[State.HELD]},
        waiting=waiting,
        blocked=blocked,
        stuck=stuck,
        submissions=_by_label(sums.get(tallies.SUBMISSIONS, {}), OUTCOMES),
        requests=_by_request(sums.get(tallies.REQUESTS, {})),
        credits=sums.get(tallies.CREDITS, {}).get("", 0.0),
        verdicts=_by_label(sums.get(tallies.VERDICTS, {}), CLASSIFICATIONS),
        verdicts_unknown={str(state): unknown.get(state, 0) for state in UNKNOWN_STATES},
        uploads=_distribution(sums.get(tallies.UPLOADS, {}), "", tallies.UPLOAD_BOUNDS),
        filed={
            outcome: _distribution(sums.get(tallies.FILED, {}), f"{outcome} ", tallies.FILED_BOUNDS)
            for outcome in (str(State.DONE), str(State.FAILED))
        },
        paused=dict.fromkeys(map(str, PauseKind), 0.0) | {str(pause.kind): 1.0 for pause in vitals.pauses},
        failing=_by_label({failure.step: 1.0 for failure in vitals.failing}, steps),
        succeeded_at=dict.fromkeys(steps, 0.0) | _those_of(failures.successes(), steps),
        last_scan_at=vitals.last_scan_at or 0.0,
        oldest_waiting_since=min(since, default=0.0),
        is_healthy=not troubles,
        nodes=nodes,
    )


def _read_nodes(books: Books, config: Config, owner: str | None) -> NodeFigures:
    live = {lease.site: lease for lease in books.leases.listed() if not lease.is_over}
    sites, lease = name_sites(books, config), live.get(books.site.own())
    return NodeFigures(
        lease is not None and lease.owner == owner,
        0.0 if lease is None else lease.left,
        len(sites),
        sum(name.id not in live for name in sites),
    )


def _those_of(numbers: Mapping[str, float], labels: list[str]) -> dict[str, float]:
    return {label: number for label, number in numbers.items() if label in labels}


def _by_label(numbers: Mapping[str, float], labels: tuple[str, ...] | list[str]) -> dict[str, float]:
    """Return a number for each label, and the sum of all that has none under OTHER: labels never become more."""
    found = dict.fromkeys((*labels, OTHER), 0.0)
    for label, number in numbers.items():
        found[label if label in labels else OTHER] += number
    return found


def _by_request(numbers: Mapping[str, float]) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for endpoint in ENDPOINTS:
        own = {label.partition(" ")[2]: n for label, n in numbers.items() if label.startswith(f"{endpoint} ")}
        found |= {(endpoint, status): number for status, number in _by_label(own, STATUSES).items()}
    return found


def _distribution(numbers: Mapping[str, float], prefix: str, bounds: tuple[float, ...]) -> Distribution:
    total, up_to = 0.0, []
    for bound in bounds:
        total += numbers.get(f"{prefix}{bound:g}", 0.0)
        up_to.append((bound, total))
    return Distribution(up_to, numbers.get(f"{prefix}{tallies.SUM}", 0.0))
