"""What a report says of each recording: what became of it, and its line."""

import heapq
from collections.abc import Iterator, Sequence
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
from watcher.text import show_path, show_text, to_json
from watcher.views.context import CommandContext
from watcher.views.lines import json_line
from watcher.views.period import Period
from watcher.views.recordings import Recording, complete_rows, in_batches, read_recordings
from watcher.views.site_names import SiteName

_BATCH = 500


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


def answer_in_parts(
    books: Books, config: Config, since: float, until: float
) -> Iterator[tuple[int, Item, Answer]]:
    """Yield what arrived in the period and is not sent as it is: its number, itself, and its joined verdict."""
    rows = books.report.in_parts(since, until)
    while some := list(islice(rows, _BATCH)):
        answers = read_answers(books, [item for _, item in some], config.audio)
        yield from ((serial, item, answer) for (serial, item), answer in zip(some, answers, strict=True))


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
    return [line_of(row, answers.get(row.serial), hides=config.privacy.hides) for row in rows]


def line_of(row: Listed, answer: Answer | None, *, hides: bool) -> Line:
    """Return what a report says of a recording. `answer`: where its verdict is joined."""
    names = (row.path, row.filed_as) if hides else ()

    def told(text: str | None) -> str | None:
        return None if text is None else show_text(hide_names(text, names, row.id) if names else text)

    said = answer.verdict if answer is not None else None
    verdict_state, classification, confidence = row.verdict_state, row.classification, row.confidence
    forced, detail = row.forced, row.detail
    known_at = row.known_at
    if answer is not None:
        known_at = when_known(answer)
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


def when_known(answer: Answer) -> float | None:
    """Return when the verdict on a recording in parts was known: when the last part's was."""
    if answer.verdict is None or answer.verdict.state is not VerdictState.KNOWN:
        return None
    return max((one.known_at for one in answer.of_parts.values() if one.known_at is not None), default=None)
