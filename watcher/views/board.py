"""What whoever drops recordings wants to know now: what is artificial, what needs a person, and how far all is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from watcher.config import Config
from watcher.domain import BACKLOG, HALF_DONE, Item, State
from watcher.identifai.budget import day_of
from watcher.privacy import hide_names
from watcher.store import Books, Waiting
from watcher.text import local_time, show_path, show_text
from watcher.views.context import CommandContext
from watcher.views.interruptions import explain_pauses
from watcher.views.period import FAR_AWAY, Period
from watcher.views.prospects import explain_item
from watcher.views.report_lines import Line, Outcome, answer_in_parts, outcome_of, read_lines
from watcher.views.status import Status, read_status

MOST = 50
"""So many recordings of each kind a board has at the most."""

_ARTIFICIAL_SECONDS = 7 * 86_400.0
_ETA_STEP_SECONDS = 300.0
_MOST_FLYING = 10


@dataclass(frozen=True, slots=True)
class Needing:
    """A recording that needs a person: what it is called, since when, and why and what to do."""

    name: str
    since: float
    said: str


@dataclass(frozen=True, slots=True)
class Board:
    """What the status file tells."""

    period: Period
    hides_names: bool
    artificial: list[Line]
    artificial_total: int  # of the last days
    failed: list[Needing]  # today
    failed_total: int  # that were not dismissed, of whatever day
    held: list[Needing]
    held_total: int
    waiting: list[Needing]  # files that cannot be taken until a person acts
    waiting_total: int
    settling: int  # files that are not taken yet, and will be by themselves
    flying: list[str]  # being prepared or sent just now
    queued: int
    done_today: int
    judged_today: dict[str, int]
    pauses: list[str]
    through_at: float | None  # when the backlog will be done; None where there is none, or nobody knows
    backlog: int
    troubles: list[str]  # what fails, and folders that do not answer

    @property
    def needs_person(self) -> int:
        return len(self.failed) + self.held_total + self.waiting_total


def read_board(context: CommandContext) -> Board:
    """Return what the board says now. The folders of recordings are looked at, as `why` does."""
    config, now = context.config, context.clock.now()
    period = Period(zone=_zone(config.limits.timezone))
    today, _ = day_of(now, period.zone)
    status = read_status(context)
    with context.store.reading() as books:
        since = today - _ARTIFICIAL_SECONDS
        in_parts = list(_judged_in_parts(books, config, since))
        found = [(item.arrived_at, serial) for serial, item, outcome in in_parts if outcome is Outcome.ARTIFICIAL]
        number_artificial = books.report.number_artificial(since, FAR_AWAY) + len(found)
        found = sorted([*found, *books.report.latest_artificial(since, FAR_AWAY, MOST)], reverse=True)[:MOST]
        artificial = read_lines(books, config, [serial for _, serial in found])
        failed = books.report.failed_since(today, MOST)
        held = books.items.in_state(State.HELD, MOST)
        flying = [
            item
            for state in sorted(BACKLOG & HALF_DONE, reverse=True)
            for item in books.items.in_state(state, _MOST_FLYING)
        ]
        done_today, judged = _judged_today(books, today, [(item, outcome) for _, item, outcome in in_parts])
    hides = config.privacy.hides

    def needing(items: list[Item]) -> list[Needing]:
        return [
            Needing(
                item.id if hides else show_path(item.path),
                item.filed_at or item.arrived_at,
                _hidden(explain_item(context, item), (item.path, item.filed_as), item.id, hides=hides),
            )
            for item in items
        ]

    blocked = [file for file in status.waiting if file.is_blocked]
    return Board(
        period,
        hides,
        artificial,
        number_artificial,
        needing(failed),
        status.counts.needs_person["failed"],
        needing(held),
        status.counts.states[State.HELD],
        [_waits(file, hides=hides) for file in blocked[:MOST]],
        status.counts.waiting_blocked,
        status.counts.waiting - status.counts.waiting_blocked,
        [item.id if hides else show_path(item.path) for item in flying],
        status.counts.states[State.QUEUED],
        done_today,
        judged,
        [show_text(said) for said in explain_pauses(status.pauses, now)],
        _through_at(status, now),
        status.counts.backlog,
        _troubles(status),
    )


def board_key(context: CommandContext) -> object:
    """Return what differs whenever the board may have changed; it costs less than the board."""
    now, failing, silent = context.clock.now(), context.failing(), context.silent
    with context.store.reading() as books:
        return (
            books.items.last_change(),
            books.verdicts.counts(),
            [(pause.kind, pause.reason, pause.until) for pause in books.pauses.active()],
            [(file.path, file.reason) for file in books.waiting.listed() if file.is_blocked],
            books.waiting.total(),
            books.items.dismissed(),
            day_of(now, _zone(context.config.limits.timezone)),
            [(failure.step, failure.fault.code) for failure in failing],
            sorted(silent),
        )


def _zone(name: str) -> ZoneInfo | None:
    return ZoneInfo(name) if name else None


def _hidden(said: str, names: tuple[bytes | None, ...], instead: str, *, hides: bool) -> str:
    return show_text(hide_names(said, names, instead) if hides else said)


def _waits(file: Waiting, *, hides: bool) -> Needing:
    name = "a file without an id yet" if hides else show_path(file.path)
    return Needing(name, file.since, _hidden(file.reason, (file.path,), "it", hides=hides))


def _judged_in_parts(books: Books, config: Config, since: float) -> Iterator[tuple[int, Item, Outcome]]:
    for serial, item, answer in answer_in_parts(books, config, since, FAR_AWAY):
        said = answer.verdict
        yield serial, item, outcome_of(item.state, *((said.state, said.classification) if said else (None, None)))


def _judged_today(
    books: Books, today: float, in_parts: Iterable[tuple[Item, Outcome]]
) -> tuple[int, dict[str, int]]:
    """Return how many recordings that arrived today are done, and how many got each verdict."""
    done, judged = 0, dict.fromkeys(map(str, (Outcome.ARTIFICIAL, Outcome.HUMAN, Outcome.INCONCLUSIVE)), 0)
    found = [
        (count.state, outcome_of(count.state, count.verdict_state, count.classification), count.number)
        for count in books.report.counts(today, FAR_AWAY)
    ]
    found += [(item.state, outcome, 1) for item, outcome in in_parts if item.arrived_at >= today]
    for state, outcome, number in found:
        done += number if state == State.DONE else 0
        if outcome in judged:
            judged[outcome] += number
    return done, judged


def _through_at(status: Status, now: float) -> float | None:
    """Return when the backlog will be done, in steps: else it would change all the time."""
    if not status.counts.backlog or status.pauses or status.working.stands_still:
        return None
    return -(-(now + status.eta_seconds) // _ETA_STEP_SECONDS) * _ETA_STEP_SECONDS


def _troubles(status: Status) -> list[str]:
    told = [f"{one.step} fails since {local_time(one.since)}: {one.fault}" for one in status.failing]
    return [show_text(said) for said in [*told, *map(str, status.silent)]]
