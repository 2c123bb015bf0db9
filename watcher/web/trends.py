"""How it has gone lately, as charts: throughput by hour and day, verdicts, and how long a verdict takes."""

from collections import Counter

from watcher.report.charts import Chart, charts_of, draw
from watcher.store.report_rows import QUARTER_SECONDS
from watcher.views.context import CommandContext
from watcher.views.period import FAR_AWAY, Period, read_period
from watcher.views.report import read_report

PERIODS = (7, 30)
"""The days that can be looked back on."""

_HOUR = 3_600.0
_CHARTS = ("verdicts", "delays", "volume")


def read_trends(context: CommandContext, days: int) -> list[Chart]:
    """Return the charts of the last days, those without any number left out."""
    period = read_period(f"{days}d", None, context.clock.now(), context.config.limits.timezone)
    report = read_report(context, period, most_lines=0)
    charts = [chart for chart in charts_of(report) if chart.name in _CHARTS]
    return [chart for chart in [_hours(context, period), *charts] if not chart.is_empty]


def _hours(context: CommandContext, period: Period) -> Chart:
    """Requests in each of the last 24 hours."""
    last = int(context.clock.now() // _HOUR)
    hours = range(last - 23, last + 1)
    requests: Counter[int] = Counter()
    with context.store.reading() as books:
        for spent in books.report.spent(hours[0] * _HOUR, FAR_AWAY):
            requests[int(spent.quarter * QUARTER_SECONDS // _HOUR)] += spent.requests
    total = sum(requests[hour] for hour in hours)
    return draw(
        Chart(
            "hours",
            "Throughput in the last 24 hours",
            f"Requests to the service in each hour, {total:,} in all.",
            "hour, from",
            (("requests", "plain"),),
            [f"{period.local(hour * _HOUR):%H:%M}" for hour in hours],
            [(requests[hour],) for hour in hours],
        )
    )
