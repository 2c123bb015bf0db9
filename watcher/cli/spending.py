"""`spend`: what was charged, against the caps, and by day, folder or user."""

import argparse

from watcher.cli.columns import Column, lay_out, terminal_width
from watcher.cli.opening import open_context
from watcher.errors import Exit
from watcher.text import local_time
from watcher.views.context import CommandContext
from watcher.views.period import Period, read_period
from watcher.views.spend import Charge, Row, read_spend, this_month

_NUMBERS = (
    Column("requests", is_number=True),
    Column("charged", is_number=True),
    Column("perhaps", is_number=True),
)


def spend(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        found = read_spend(context, _period(context, options), options.by)
    is_terminal = terminal_width() is not None
    if is_terminal:
        for charge in found.now:
            print(f"{_NAMES[charge.span]:<13}{charge_in_words(charge)}")
        print()
    rows = [*found.rows, *([found.total] if is_terminal and len(found.rows) > 1 else [])]
    columns = (Column(found.by, is_cut=True), *_NUMBERS)
    for lines in lay_out(columns, [[_cells(row, is_terminal=is_terminal) for row in rows]]):
        print("\n".join(lines))
    return Exit.WELL


def _period(context: CommandContext, options: argparse.Namespace) -> Period:
    now, zone = context.clock.now(), context.config.limits.timezone
    if options.since is None and options.until is None:
        return this_month(context.config.limits, now)
    return read_period(options.since, options.until, now, zone)


def _cells(row: Row, *, is_terminal: bool) -> list[str]:
    form = "{:,}" if is_terminal else "{}"
    return [row.key, *(form.format(number) for number in row[1:])]


_NAMES = {"day": "today", "month": "this month"}


def charge_in_words(charge: Charge) -> str:
    """What was charged, and how much of the cap that is."""
    if not charge.cap:
        return f"{charge.charged:,} charged; no cap"
    left = max(charge.cap - charge.charged, 0)
    until = f", until {local_time(charge.until)[:-3]}"
    return f"{charge.charged:,} of {charge.cap:,} charged, {left:,} left{until}"
