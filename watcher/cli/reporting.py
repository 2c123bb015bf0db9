"""The command `report`: what was submitted and what came back, for spreadsheets, programs and people."""

import argparse
import os
from collections.abc import Iterator, Sequence

from watcher.cli.opening import open_context
from watcher.errors import Exit, UsageError
from watcher.report.output import print_bytes, write_file
from watcher.report.spreadsheet import write_csv
from watcher.text import show_text
from watcher.views.context import CommandContext
from watcher.views.period import Period, read_period
from watcher.views.report import read_report
from watcher.views.report_lines import stream_json
from watcher.views.site_names import SiteName, at_each

_SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";"}
_BY_ENDING = {".html": "html", ".htm": "html", ".csv": "csv", ".json": "json", ".jsonl": "json"}


def report(options: argparse.Namespace) -> int:
    """Write the report. Its rows are read as they are written, so that any number of them fits into memory."""
    separator = _read_separator(options.separator)
    with open_context(options) as context:
        period = read_period(options.since, options.until, context.clock.now(), context.config.limits.timezone)
        sites = [name for name, _ in at_each(context)] if options.all_sites else None
        pieces = _compose(context, period, _choose_format(options), separator, sites)
        if options.output is None or options.output == "-":
            print_bytes(pieces)
        else:
            write_file(os.fsencode(options.output), pieces, context.config.folders.drop)
    return Exit.WELL


def _choose_format(options: argparse.Namespace) -> str:
    """Return the format that was asked for, else that of the file's name, else CSV."""
    ending = os.path.splitext(options.output or "")[1].lower()
    return options.format or _BY_ENDING.get(ending, "csv")


def _compose(
    context: CommandContext, period: Period, form: str, separator: str, sites: Sequence[SiteName] | None
) -> Iterator[bytes]:
    if form == "csv":
        yield from write_csv(context, period, separator, sites)
    elif form == "json":
        for lines in stream_json(context, period, sites):
            yield "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    else:
        from watcher.report.page import write_report  # noqa: PLC0415 — the templates' library takes a while

        yield from write_report(read_report(context, period, sites=sites))


def _read_separator(said: str) -> str:
    separator = _SEPARATORS.get(said, said)
    if len(separator) != 1 or separator in '"\r\n' or separator.isalnum():
        raise UsageError(
            f"--separator {show_text(said)} cannot separate columns",
            hint='Give one character, such as ";", or comma, semicolon or tab.',
        )
    return separator
