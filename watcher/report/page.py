"""Pages of HTML: one file that needs nothing but itself, no script, and everything a stranger named escaped."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from watcher import __version__
from watcher.report.charts import HEIGHT, WIDTH, charts_of
from watcher.views.board import Board
from watcher.views.period import Period
from watcher.views.report import Report
from watcher.views.report_lines import Line, Outcome

_FIRST = (Outcome.ARTIFICIAL, Outcome.FAILED, Outcome.HELD)
_PIECES = 200  # of a template, written at once


def write_report(report: Report) -> Iterator[bytes]:
    """Yield the page of a report in pieces."""
    groups: dict[str, list[Line]] = {outcome: [] for outcome in _FIRST}
    others: list[Line] = []
    for line in report.lines:
        groups.get(line.outcome, others).append(line)
    return render(
        "report.html",
        report.period,
        report=report,
        charts=charts_of(report),
        groups=groups,
        others=others,
        Outcome=Outcome,
        width=WIDTH,
        height=HEIGHT,
    )


def write_board(board: Board, now: float) -> Iterator[bytes]:
    """Yield the status file in pieces."""
    return render("status.html", board.period, board=board, now=now)


def render(name: str, period: Period, **values: Any) -> Iterator[bytes]:
    """Yield the template in pieces. Times are those of the period's zone."""
    environment = make_environment(PackageLoader("watcher.report"), period)
    stream = environment.get_template(name).stream(version=__version__, **values)
    stream.enable_buffering(_PIECES)
    for piece in stream:
        yield piece.encode("utf-8", "replace")


def make_environment(loader: BaseLoader, period: Period) -> Environment:
    """Return what makes pages of these templates: all is escaped, and times are those of the period's zone."""
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def when(at: float) -> str:
        return f"{period.local(at):%Y-%m-%d %H:%M:%S}"

    def machine_time(at: float) -> str:
        return period.local(at).isoformat(timespec="seconds")

    def zone_name(at: float) -> str:
        return period.zone.key if period.zone else _system_zone(period.local(at))

    environment.filters |= {
        "clock": lambda at: f"{period.local(at):%H:%M}",
        "number": lambda number: f"{number:,}",
        "when": when,
        "machine_time": machine_time,
        "zone_name": zone_name,
        "length": _length,
        "told": _told,
        "size": lambda number: f"{number:,}",
    }
    return environment


def _told(said: str) -> Markup:
    """Return what a person is told, as HTML. What stands between backticks, most often a command, is code."""
    pieces = said.split("`")
    if len(pieces) % 2 == 0:
        return escape(said)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece)
        for place, piece in enumerate(pieces)
    )


def _system_zone(local: datetime) -> str:
    name, offset = local.tzname(), f"{local:%z}"
    return "UTC" if name == "UTC" else f"{name} (UTC{offset[:3]}:{offset[3:]})"


def _length(seconds: float) -> str:
    """Return how long a recording is, as players show it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
