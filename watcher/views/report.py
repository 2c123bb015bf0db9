"""What was submitted within a period and what came back: sums for a page, and a line for each recording."""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import chain, islice
from operator import itemgetter
from typing import NamedTuple

from watcher.config import Config
from watcher.domain import ARTIFICIAL, AT_REST, HUMAN, Item, State, VerdictState
from watcher.journey.answer import Answer, read_answers
from watcher.journey.joined import OfRecording
from watcher.privacy import hide_names
from watcher.store import Books, Listed, Place
from watcher.store.report_rows import CONFIDENCE_STEPS, DELAYS, QUARTER_SECONDS
from watcher.text import show_path, show_text, to_json
from watcher.views.context import CommandContext
from watcher.views.lines import json_line
from watcher.views.period import Period, days_between
from watcher.views.recordings import Recording, complete_rows, in_batches, read_recordings
from watcher.views.site_names import SiteName

MOST_LINES = 2_000
"""So many recordings a page has at the most."""

_BATCH = 500
_MOST_FOLDERS = 20
_MOST_DAYS = 92  # more are counted by week, and a hundred weeks or more by month
_MOST_WEEKS = 104


class Outcome(StrEnum):
    """What became of a recording, in the words of a report."""

    ARTIFICIAL = "artificial"
    HUMAN = "human"
    INCONCLUSIVE = "inconclusive"  # or the service could not judge it
    AWAITED = "no verdict yet"  # sent and not judged yet, or still to be sent
    FAILED = "failed"
    HELD = "held"
    WITHDRAWN = "withdrawn"


def outcome_of(state: str, verdict_state: str | None, classification: str | None) -> Outcome:
    """Return what became of a recording. An artificial one is that, whatever else became of it."""
    if classification in (ARTIFICIAL, HUMAN):
        return Outcome(classification)
    if verdict_state in (VerdictState.KNOWN, VerdictState.ERRORED):
        return Outcome.INCONCLUSIVE
    if state in AT_REST - {State.DONE}:
        return Outcome(state)
    return Outcome.AWAITED


class Line(NamedTuple):
    """A recording in a report. Names are as a person may see them, so escaped, or hidden."""

    id: str
    path: str | None
    state: str
    verdict: str | None
    confidence: float | None
    verdict_state: str | None
    forced: bool | None
    machine_verdict: str | None
    machine_confidence: float | None
    review: str | None
    review_note: str | None
    review_by: str | None
    review_at: float | None
    error_code: str | None
    error_message: str | None
    error_hint: str | None
    warning: str | None
    dismissed_by: str | None
    identifier: str | None
    duplicate_of: str | None
    size: int
    seconds: float | None
    channels: int | None
    container: str | None
    codec: str | None
    sample_rate: int | None
    arrived_at: float
    submitted_at: float | None
    filed_at: float | None
    verdict_at: float | None
    attempts: int
    filed_as: str | None
    sha256: str | None
    heuristic: str | None
    api_version: str | None
    result_url: str | None
    detail: str | None
    site: str

    @property
    def outcome(self) -> Outcome:
        return outcome_of(self.state, self.verdict_state, self.verdict)

    @property
    def name(self) -> str:
        """Return what the recording is called on a page: its path, or its id where names are hidden."""
        return self.path or self.id


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
        delay, known_at = None, _known_at(answer)
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
                line = _line(row, None, hides=True)  # it stands for all of them, so it names none
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


def answer_in_parts(
    books: Books, config: Config, since: float, until: float
) -> Iterator[tuple[int, Item, Answer]]:
    """Yield what arrived in the period and is not sent as it is: its number, itself, and its joined verdict."""
    rows = books.report.in_parts(since, until)
    while some := list(islice(rows, _BATCH)):
        answers = read_answers(books, [item for _, item in some], config.audio)
        yield from ((serial, item, answer) for (serial, item), answer in zip(some, answers, strict=True))


def _share(room: int, wanted: int, others: list[int]) -> int:
    """Return how many places one gets, if each of the others, the smallest first, gets its fair share."""
    for number, other in zip(range(len(others), 0, -1), others, strict=True):
        room -= min(other, room // (number + 1))
    return min(wanted, room)


def read_lines(books: Books, config: Config, serials: Sequence[int]) -> list[Line]:
    """Return the lines of these recordings, in this order."""
    found: dict[int, Line] = {}
    for start in range(0, len(serials), _BATCH):
        rows = books.report.rows_of(serials[start : start + _BATCH])
        found |= dict(zip((row.serial for row in rows), _lines(books, config, rows), strict=True))
    return [found[serial] for serial in serials]


def stream_lines(
    context: CommandContext, period: Period, sites: Sequence[SiteName] | None = None
) -> Iterator[list[Line]]:
    """Yield a line for each recording that arrived in the period, oldest first, in batches.

    No transaction is open between two of them, however long their reader takes. `sites`: null for this one.
    """
    if sites is not None:
        each = [chain.from_iterable(stream_lines(context.at(site.id), period)) for site in sites]
        yield from in_batches(heapq.merge(*each, key=lambda line: line.arrived_at))
        return
    after = Place(period.since, 0)
    while True:
        with context.store.reading() as books:
            rows = books.report.rows_after(after, period.until, _BATCH)
            lines = _lines(books, context.config, rows)
        if not rows:
            return
        yield lines
        after = rows[-1].place


def stream_json(
    context: CommandContext, period: Period, sites: Sequence[SiteName] | None = None
) -> Iterator[list[str]]:
    """Yield what `list --json` has of each recording that arrived in the period, oldest first, in batches."""
    if sites is None:
        yield from (lines for _, lines in _stream_json(context, period))
        return
    each = [
        (
            (row.arrived_at, line)
            for rows, lines in _stream_json(at, period)
            for row, line in zip(rows, lines, strict=True)
        )
        for at in (context.at(site.id) for site in sites)
    ]
    merged = heapq.merge(*each, key=itemgetter(0))
    yield from in_batches(line for _, line in merged)


def _stream_json(context: CommandContext, period: Period) -> Iterator[tuple[list[Listed], list[str]]]:
    config, after = context.config, Place(period.since, 0)
    while True:
        with context.store.reading() as books:
            rows = books.report.rows_after(after, period.until, _BATCH)
            if config.privacy.hides:
                lines = [_nameless_line(one) for one in read_recordings(books, rows, config.audio)]
            else:
                lines = [json_line(row) for row in complete_rows(books, rows, config.audio)]
        if not rows:
            return
        yield rows, lines
        after = rows[-1].place


def _nameless_line(recording: Recording) -> str:
    item = recording.item
    names = (item.path, item.filed_as, *item.companions)
    hidden = _hide_in(recording.as_json(), names, item.id)
    return to_json({**hidden, "path": None, "filed_as": None} if isinstance(hidden, dict) else {})


def _hide_in(value: object, names: tuple[bytes | None, ...], instead: str) -> object:
    if isinstance(value, str):
        return hide_names(value, names, instead)
    if isinstance(value, dict):
        return {key: _hide_in(one, names, instead) for key, one in value.items()}
    return [_hide_in(one, names, instead) for one in value] if isinstance(value, list) else value


def _lines(books: Books, config: Config, rows: Sequence[Listed]) -> list[Line]:
    in_parts = books.listing.items_of([row.serial for row in rows if row.plan_mode is not None])
    answers = dict(zip(in_parts, read_answers(books, list(in_parts.values()), config.audio), strict=True))
    return [_line(row, answers.get(row.serial), hides=config.privacy.hides) for row in rows]


def _line(row: Listed, answer: Answer | None, *, hides: bool) -> Line:
    """Return what a report says of a recording. `answer`: where its verdict is joined."""
    names = (row.path, row.filed_as) if hides else ()

    def told(text: str | None) -> str | None:
        return None if text is None else show_text(hide_names(text, names, row.id) if names else text)

    said = answer.verdict if answer is not None else None
    verdict_state, classification, confidence = row.verdict_state, row.classification, row.confidence
    forced, detail = row.forced, row.detail
    known_at = row.known_at
    if answer is not None:
        known_at = _known_at(answer)
        verdict_state, classification, confidence, forced, detail = None, None, None, None, None
    if said is not None:
        whole = said.whole if isinstance(said, OfRecording) else said
        verdict_state, classification, confidence = said.state, said.classification, said.confidence
        forced, detail = whole.forced, whole.detail
    return Line(
        id=row.id,
        path=None if hides else show_path(row.path),
        state=row.state,
        verdict=classification,
        confidence=confidence,
        verdict_state=verdict_state,
        forced=None if forced is None else bool(forced),
        machine_verdict=row.machine_classification if forced else classification,
        machine_confidence=row.machine_confidence if forced else confidence,
        review=row.review_word,
        review_note=told(row.review_note),
        review_by=row.review_by,
        review_at=row.review_at,
        error_code=row.fault_code,
        error_message=told(row.fault_message),
        error_hint=told(row.fault_hint),
        warning=told(row.warning),
        dismissed_by=row.dismissed_by,
        identifier=row.identifier,
        duplicate_of=row.duplicate_of,
        size=row.size,
        seconds=row.seconds,
        channels=row.channels,
        container=row.container,
        codec=row.codec,
        sample_rate=row.sample_rate,
        arrived_at=row.arrived_at,
        submitted_at=row.submitted_at,
        filed_at=row.filed_at,
        verdict_at=known_at,
        attempts=row.attempts,
        filed_as=None if hides or row.filed_as is None else show_path(row.filed_as),
        sha256=row.sha256,
        heuristic=row.heuristic,
        api_version=row.api_version,
        result_url=told(row.result_url),
        detail=told(detail),
        site=row.site,
    )


def _known_at(answer: Answer) -> float | None:
    """Return when the verdict on a recording in parts was known: when the last part's was."""
    if answer.verdict is None or answer.verdict.state is not VerdictState.KNOWN:
        return None
    return max((one.known_at for one in answer.of_parts.values() if one.known_at is not None), default=None)


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
