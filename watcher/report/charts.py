"""Charts as numbers: where each bar stands. The templates draw them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor, log10

from watcher.store.report_rows import CONFIDENCE_STEPS, DELAYS
from watcher.views.report import Report, Span
from watcher.views.report_lines import Outcome

WIDTH, HEIGHT = 720, 220
_LEFT, _TOP, _BOTTOM, _RIGHT = 62, 14, 30, 8
_MOST_LABELS = 6
_LIMIT_SHOWN = 4  # a limit further above the highest bar than so many times would flatten all of them

JUDGED = {
    "artificial": (Outcome.ARTIFICIAL,),
    "human": (Outcome.HUMAN,),
    "inconclusive": (Outcome.INCONCLUSIVE,),
    "no verdict yet": (Outcome.AWAITED,),
    "not judged": (Outcome.FAILED, Outcome.HELD, Outcome.WITHDRAWN),
}
"""The series of verdicts over time, and what counts as each."""

_DELAY_WORDS = ("10 s", "30 s", "1 min", "2 min", "5 min", "10 min", "30 min", "1 h", "4 h", "1 day")


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle. `series`: the index of what it stands for."""

    x: float
    y: float
    width: float
    height: float
    series: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A label at an axis, with its place on it."""

    at: float
    text: str


@dataclass
class Chart:
    """A chart of stacked bars, with the numbers that it shows."""

    name: str  # unique on its page
    title: str
    description: str
    axis: str  # what the labels of the bars are, at the head of the table
    series: tuple[tuple[str, str], ...]  # the name of each, and its style
    labels: list[str]
    values: Sequence[tuple[int, ...]]  # for each label, one of each series
    bars: list[Bar] = field(default_factory=list)
    levels: list[Mark] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    limit: Mark | None = None
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    bottom: float = HEIGHT - _BOTTOM

    @property
    def is_empty(self) -> bool:
        return not any(any(values) for values in self.values)

    @property
    def total(self) -> int:
        return sum(sum(values) for values in self.values)


def draw(chart: Chart, limit: float | None = None, limit_words: str = "") -> Chart:
    """Place bars, levels and labels; and a limit as a line, where it would not flatten all bars."""
    highest = max((sum(values) for values in chart.values), default=0)
    shows_limit = limit is not None and 0 < limit <= max(highest, 1) * _LIMIT_SHOWN
    top = _round_up(max(highest, limit or 0) if shows_limit else highest)
    room, tall = chart.right - chart.left, chart.bottom - _TOP
    step = room / max(len(chart.values), 1)
    gap = min(step * 0.2, 6)
    for place, values in enumerate(chart.values):
        below = chart.bottom
        width = min(step - gap, 60)
        for number, value in enumerate(values):
            if value:
                height = max(value / top * tall, 1.0)  # even one of a million can be seen
                below -= height
                x = chart.left + step * place + (step - width) / 2
                chart.bars.append(Bar(round(x, 2), round(below, 2), round(width, 2), round(height, 2), number))
    steps = next(steps for steps in (4, 5, 2, 1) if top % steps == 0)  # at the axis stand whole numbers
    chart.levels = [
        Mark(round(chart.bottom - tall * part / steps, 2), _short(top * part / steps)) for part in range(steps + 1)
    ]
    every = -(-len(chart.labels) // _MOST_LABELS) or 1
    chart.marks = [
        Mark(round(chart.left + step * (place + 0.5), 2), label)
        for place, label in enumerate(chart.labels)
        if place % every == 0
    ]
    if shows_limit and limit is not None:
        chart.limit = Mark(round(chart.bottom - limit / top * tall, 2), limit_words)
    return chart


def charts_of(report: Report) -> list[Chart]:
    """Return the charts of a report, those without any number left out."""
    drawn = [
        _verdicts(report),
        _confidence(report),
        _delays(report),
        _failures(report),
        _volume(report),
        _spend(report),
    ]
    return [chart for chart in drawn if not chart.is_empty]


def _verdicts(report: Report) -> Chart:
    styles = ("artificial", "human", "inconclusive", "awaited", "none")
    artificial = report.outcomes[Outcome.ARTIFICIAL]
    return draw(
        Chart(
            "verdicts",
            "Verdicts over time",
            f"What became of the recordings that arrived in each {report.unit}. "
            f"{artificial:,} of {report.recordings:,} are artificial.",
            report.unit,
            tuple(zip(JUDGED, styles, strict=True)),
            [_label(span, report.unit) for span in report.spans],
            [tuple(sum(span.outcomes[o] for o in kinds) for kinds in JUDGED.values()) for span in report.spans],
        )
    )


def _confidence(report: Report) -> Chart:
    steps = zip(report.confidence[Outcome.ARTIFICIAL], report.confidence[Outcome.HUMAN], strict=True)
    values = list(steps)
    first = next((place for place, pair in enumerate(values) if any(pair)), 0)
    first = min(first, CONFIDENCE_STEPS // 2)
    return draw(
        Chart(
            "confidence",
            "Distribution of confidence",
            "How sure the service is of the class that it names, which is not the probability of artificial.",
            "confidence, from",
            (("artificial", "artificial"), ("human", "human")),
            [f"{step / CONFIDENCE_STEPS:.2f}" for step in range(first, CONFIDENCE_STEPS)],
            values[first:],
        )
    )


def _delays(report: Report) -> Chart:
    assert len(_DELAY_WORDS) == len(DELAYS)  # noqa: S101 — both are constants
    return draw(
        Chart(
            "delays",
            "Time from drop to verdict",
            "How long it took from the arrival of a recording to its verdict: each bar has what took less than it "
            "says, and no less than the one before it.",
            "time",
            (("recordings", "plain"),),
            [*(f"< {words}" for words in _DELAY_WORDS), "longer"],
            [(number,) for number in report.delays],
        )
    )


def _failures(report: Report) -> Chart:
    most = report.failures[:10]
    others = sum(failure.number for failure in report.failures[10:])
    return draw(
        Chart(
            "failures",
            "Failures by reason",
            "Why recordings failed. The table of reasons says what to do about each.",
            "reason",
            (("recordings", "failed"),),
            [failure.code for failure in most] + (["others"] if others else []),
            [(failure.number,) for failure in most] + ([(others,)] if others else []),
        )
    )


def _volume(report: Report) -> Chart:
    limit = report.limit_a_day if report.unit == "day" else None
    words = f"limit {limit:,.0f} a day" if limit is not None else ""
    busiest = max((span.requests for span in report.spans), default=0)
    share = f" The busiest day used {_share(busiest / limit)} of the limit of {limit:,.0f} a day." if limit else ""
    return draw(
        Chart(
            "volume",
            "Volume against the limit",
            f"Requests to the service in each {report.unit}.{share}",
            report.unit,
            (("requests", "plain"),),
            [_label(span, report.unit) for span in report.spans],
            [(span.requests,) for span in report.spans],
        ),
        limit,
        words,
    )


def _spend(report: Report) -> Chart:
    cap = report.cap_a_day if report.unit == "day" else 0
    return draw(
        Chart(
            "spend",
            f"Spend by {report.unit}",
            f"Requests that were charged, or may have been since their answers were lost: {report.charged:,} and "
            f"{report.unsure:,}.",
            report.unit,
            (("charged", "plain"), ("may have been charged", "inconclusive")),
            [_label(span, report.unit) for span in report.spans],
            [(span.charged, span.unsure) for span in report.spans],
        ),
        float(cap) if cap else None,
        f"cap {cap:,} a day",
    )


def _share(share: float) -> str:
    return f"{share:.1%}" if not 0 < share < 0.001 else "less than 0.1%"


def _label(span: Span, unit: str) -> str:
    return f"{span.first:%Y-%m}" if unit == "month" else f"{span.first.day} {span.first:%b}"


def _round_up(number: float) -> float:
    """Return the next number above of the kind that axes end with."""
    if number <= 1:
        return 1.0
    power = 10.0 ** floor(log10(number))
    return next(one * power for one in (1, 2, 4, 5, 8, 10) if one * power >= number)


def _short(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"
