"""What was submitted within a period and what came back: its sums, and the recordings that come first."""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from watcher.config import Config
from watcher.domain import ARTIFICIAL, Item, State
from watcher.journey.answer import Answer
from watcher.journey.joined import OfRecording
from watcher.store import Books, Listed
from watcher.store.report_rows import CONFIDENCE_STEPS, DELAYS, QUARTER_SECONDS
from watcher.text import show_path
from watcher.views.context import CommandContext
from watcher.views.period import Period, days_between
from watcher.views.report_lines import Line, Outcome, answer_in_parts, line_of, outcome_of, read_lines, when_known
from watcher.views.site_names import SiteName

MOST_LINES = 2_000
"""So many recordings a page has at the most."""

_MOST_FOLDERS = 20
_MOST_DAYS = 92  # more are counted by week, and a hundred weeks or more by month
_MOST_WEEKS = 104


@dataclass(slots=True)
class Span:
    """A day, a week or a month of the report, with what arrived in it and what was sent in it."""

    first: date
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    requests: int = 0
    charged: int = 0
    unsure: int = 0

    @property
    def recordings(self) -> int:
        return self.outcomes.total()


class Failure(NamedTuple):
    """How many failed for one reason, and what one of them was told."""

    code: str
    number: int
    message: str
    hint: str


class Channel(NamedTuple):
    """The verdicts on one channel, of recordings whose channels were sent apart."""

    name: str
    outcomes: Counter[Outcome]


class InFolder(NamedTuple):
    """What came into one subfolder of the drop folder, or to one site."""

    name: str
    recordings: int
    artificial: int
    failed: int
    held: int


@dataclass
class Report:
    """The sums of a period, and the recordings that come first on a page."""

    period: Period
    made_at: float
    hides_names: bool
    unit: str = "day"
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    dismissed: int = 0
    spans: list[Span] = field(default_factory=list)
    confidence: dict[Outcome, list[int]] = field(
        default_factory=lambda: {o: [0] * CONFIDENCE_STEPS for o in (Outcome.ARTIFICIAL, Outcome.HUMAN)}
    )
    delays: list[int] = field(default_factory=lambda: [0] * (len(DELAYS) + 1))
    failures: list[Failure] = field(default_factory=list)
    sites: list[InFolder] = field(default_factory=list)  # where it is of several
    site_names: dict[str, str] = field(default_factory=dict)  # by their ids
    folders: list[InFolder] = field(default_factory=list)
    more_folders: int = 0
    channels: list[Channel] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    limit_a_day: float | None = None  # submissions that rate and caps allow; None: no limit
    cap_a_day: int = 0

    @property
    def recordings(self) -> int:
        return self.outcomes.total()

    @property
    def left_out(self) -> int:
        return self.recordings - len(self.lines)

    @property
    def submissions(self) -> int:
        return sum(span.requests for span in self.spans)

    @property
    def charged(self) -> int:
        return sum(span.charged for span in self.spans)

    @property
    def unsure(self) -> int:
        return sum(span.unsure for span in self.spans)


def read_report(
    context: CommandContext,
    period: Period,
    *,
    most_lines: int = MOST_LINES,
    sites: Sequence[SiteName] | None = None,
) -> Report:
    """Return the sums of the period and its first lines: artificial, failed and held ones before all others.

    `sites`: of which it is; null: of this one. Of several, each has its share of the lines.
    """
    config = context.config
    found = Report(period, context.clock.now(), config.privacy.hides)
    found.limit_a_day, found.cap_a_day = _limit_a_day(config), config.limits.per_day
    with context.store.reading() as books:
        tally = _Tally(found, books, config)
        if sites is None:
            tally.count(most_lines)
        else:
            tally.count_sites(sites, most_lines)
    return found


class _Tally:
    """Counts one report within one transaction."""

    def __init__(self, report: Report, books: Books, config: Config) -> None:
        self._report = report
        self._books = books
        self._config = config
        self._days: dict[date, Span] = {}
        self._codes: Counter[str] = Counter()
        self._examples: dict[str, Listed] = {}
        self._artificial_in: Counter[bytes] = Counter()
        self._first: list[tuple[float, int]] = []  # the latest artificial ones: arrival and number
        self._channels: dict[str, Counter[Outcome]] = {}

    def count(self, most_lines: int) -> None:
        """Count the site that the books are at now."""
        self._count_all(most_lines)
        self._count_folders(self._bounds)
        self._conclude()

    def count_sites(self, sites: Sequence[SiteName], most_lines: int) -> None:
        """Count each of these sites. Subfolders are not: those of two sites may have one name."""
        report = self._report
        for site in sites:
            before = report.outcomes.copy()
            with self._books.at(site.id):
                self._count_all(most_lines // len(sites))
            own = report.outcomes - before
            kinds = (own[outcome] for outcome in (Outcome.ARTIFICIAL, Outcome.FAILED, Outcome.HELD))
            report.sites.append(InFolder(str(site), own.total(), *kinds))
            report.site_names[site.id] = str(site)
        rank = {outcome: place for place, outcome in enumerate((Outcome.ARTIFICIAL, Outcome.FAILED, Outcome.HELD))}
        report.lines.sort(key=lambda line: (rank.get(line.outcome, len(rank)), -line.arrived_at))
        self._conclude()

    @property
    def _bounds(self) -> tuple[float, float]:
        return self._report.period.since, self._report.period.until

    def _conclude(self) -> None:
        report = self._report
        report.spans, report.unit = _in_spans(self._days)
        report.failures = self._failures()
        report.channels = [Channel(name, outcomes) for name, outcomes in sorted(self._channels.items())]

    def _count_all(self, most_lines: int) -> None:
        rows, bounds = self._books.report, self._bounds
        self._first.clear()
        for count in rows.counts(*bounds):
            outcome = outcome_of(count.state, count.verdict_state, count.classification)
            self._add(count.quarter, outcome, count.state, count.fault_code, count.number)
        for judged in rows.judged(*bounds):
            self._note(judged.classification, judged.confidence_step, judged.delay_step, judged.number)
        for place in rows.latest_artificial(*bounds, most_lines):
            self._keep(place, most_lines)
        for serial, item, answer in answer_in_parts(self._books, self._config, *bounds):
            self._count_in_parts(serial, item, answer, most_lines)
        for spent in rows.spent(*bounds):
            span = self._day(spent.quarter)
            span.requests += spent.requests
            span.charged += spent.charged
            span.unsure += spent.unsure
        self._examples = rows.failed_examples(*bounds) | self._examples
        self._report.dismissed += rows.dismissed(*bounds)
        self._report.lines += read_lines(self._books, self._config, self._choose(bounds, most_lines))

    def _day(self, quarter: int) -> Span:
        day = self._report.period.day(quarter * QUARTER_SECONDS)
        return self._days.setdefault(day, Span(day))

    def _add(self, quarter: int, outcome: Outcome, state: str, code: str | None, number: int) -> None:
        self._day(quarter).outcomes[outcome] += number
        self._report.outcomes[outcome] += number
        if state == State.FAILED:
            self._codes[code or "unknown"] += number

    def _note(self, classification: str | None, confidence: int | None, delay: int | None, number: int) -> None:
        steps = self._report.confidence.get(outcome_of(State.DONE, None, classification))
        if confidence is not None and steps is not None:
            steps[max(0, min(confidence, CONFIDENCE_STEPS - 1))] += number
        if delay is not None:
            self._report.delays[delay] += number

    def _keep(self, place: tuple[float, int], most: int) -> None:
        """Keep the latest of the artificial ones."""
        (heapq.heappush if len(self._first) < most else heapq.heappushpop)(self._first, place)

    def _count_in_parts(self, serial: int, item: Item, answer: Answer, most_lines: int) -> None:
        """Count one whose verdict is joined, so that no statement can."""
        verdict = answer.verdict
        outcome = outcome_of(item.state, *((verdict.state, verdict.classification) if verdict else (None, None)))
        code = item.fault.code if item.fault else None
        self._add(int(item.arrived_at // QUARTER_SECONDS), outcome, item.state, code, 1)
        confidence = verdict.confidence if verdict else None
        delay, known_at = None, when_known(answer)
        if known_at is not None:
            delay = sum(known_at - item.arrived_at >= step for step in DELAYS)
        step = None if confidence is None else int(confidence * CONFIDENCE_STEPS)
        self._note(verdict.classification if verdict else None, step, delay, 1)
        if outcome is Outcome.ARTIFICIAL:
            self._artificial_in[_first_folder(item.path)] += 1
            self._keep((item.arrived_at, serial), most_lines)
        for one in verdict.channels if isinstance(verdict, OfRecording) else ():
            name = one.name or f"channel {one.channel + 1}"
            said = one.verdict
            judged = outcome_of(item.state, said.state, said.classification) if said else Outcome.INCONCLUSIVE
            self._channels.setdefault(name, Counter())[judged] += 1

    def _count_folders(self, bounds: tuple[float, float]) -> None:
        if self._report.hides_names:
            return
        states: dict[bytes, Counter[str]] = {}
        for count in self._books.report.folders(*bounds):
            states.setdefault(count.folder, Counter())[count.state] += count.number
            if count.classification == ARTIFICIAL:
                self._artificial_in[count.folder] += count.number
        largest = heapq.nlargest(_MOST_FOLDERS, states, key=lambda name: (states[name].total(), name))
        self._report.folders = [
            InFolder(
                show_path(name.rstrip(b"/")) or "(the drop folder itself)",
                states[name].total(),
                self._artificial_in[name],
                states[name][State.FAILED],
                states[name][State.HELD],
            )
            for name in largest
        ]
        self._report.more_folders = len(states) - len(largest)

    def _failures(self) -> list[Failure]:
        failures = []
        for code, number in self._codes.most_common():
            message, hint = "", ""
            if (row := self._examples.get(code)) is not None:
                line = line_of(row, None, hides=True)  # it stands for all of them, so it names none
                message, hint = line.error_message or "", line.error_hint or ""
            failures.append(Failure(code, number, message, hint))
        return failures

    def _choose(self, bounds: tuple[float, float], most: int) -> list[int]:
        """Return the numbers of those that come first, each kind with its latest first, then all others.

        Of a kind that would leave the next ones no room there are fewer.
        """
        rows = self._books.report
        kinds = [[serial for _, serial in sorted(self._first, reverse=True)]]
        kinds.append(rows.latest(*bounds, most, State.FAILED))
        kinds.append(rows.latest(*bounds, most, State.HELD))
        chosen: dict[int, None] = {}
        for place, kind in enumerate(kinds):
            after = sorted(map(len, kinds[place + 1 :]))
            chosen |= dict.fromkeys(kind[: _share(most - len(chosen), len(kind), after)])
        chosen |= dict.fromkeys(rows.latest(*bounds, most))
        return list(chosen)[:most]


def _share(room: int, wanted: int, others: list[int]) -> int:
    """Return how many places one gets, if each of the others, the smallest first, gets its fair share."""
    for number, other in zip(range(len(others), 0, -1), others, strict=True):
        room -= min(other, room // (number + 1))
    return min(wanted, room)


def _first_folder(path: bytes) -> bytes:
    name, slash, _ = path.partition(b"/")
    return name + slash if slash else b""


def _in_spans(days: dict[date, Span]) -> tuple[list[Span], str]:
    """Return the days in their order, those without anything too; or weeks or months, if there are very many."""
    if not days:
        return [], "day"
    first, last = min(days), max(days)
    total = (last - first).days + 1
    if total <= _MOST_DAYS:
        return [days.get(day, Span(day)) for day in days_between(first, last)], "day"
    unit = "week" if total <= _MOST_WEEKS * 7 else "month"
    spans: dict[date, Span] = {}
    for day in days_between(first, last):
        start = date.fromordinal(day.toordinal() - day.weekday()) if unit == "week" else day.replace(day=1)
        into = spans.setdefault(start, Span(start))
        if (one := days.get(day)) is not None:
            into.outcomes += one.outcomes
            into.requests += one.requests
            into.charged += one.charged
            into.unsure += one.unsure
    return list(spans.values()), unit


def _limit_a_day(config: Config) -> float | None:
    """Return how many submissions rate and cap allow on a day; None where there is no limit."""
    limits = [window.limit * 86_400 / window.seconds for window in config.limits.writes]
    if config.limits.per_day:
        limits.append(config.limits.per_day)
    return min(limits, default=None)
