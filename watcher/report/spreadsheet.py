"""CSV for spreadsheets (RFC 4180): a line for each recording, numbers as they are, and no text that would run."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import get_args, get_type_hints

from watcher.text import rfc3339
from watcher.views.context import CommandContext
from watcher.views.period import Period
from watcher.views.report_lines import Line, stream_lines
from watcher.views.site_names import SiteName

BOM = b"\xef\xbb\xbf"
"""By which Excel knows that it is UTF-8."""

_TIMES = ("arrived_at", "submitted_at", "filed_at", "verdict_at", "review_at")
_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last: full width

COLUMNS = Line._fields


def _is_text(name: str) -> bool:
    kind = get_type_hints(Line)[name]
    return str in (get_args(kind) or (kind,))


_TEXTS = tuple(place for place, name in enumerate(COLUMNS) if _is_text(name))
_MOMENTS = tuple(COLUMNS.index(name) for name in _TIMES)
_FORCED = COLUMNS.index("forced")


def write_csv(
    context: CommandContext, period: Period, separator: str, sites: Sequence[SiteName] | None = None
) -> Iterator[bytes]:
    """Yield the file in pieces: a byte order mark, the names of the columns, then the recordings, oldest first."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    yield BOM + text.getvalue().encode()
    for lines in stream_lines(context, period, sites):
        text.seek(0)
        text.truncate()
        writer.writerows(map(_row, lines))
        yield text.getvalue().encode("utf-8", "replace")


def _row(line: Line) -> list[object]:
    """Return the values of the columns. By the column's type: numbers stay numbers, whatever sign they have."""
    values: list[object] = list(line)
    for place in _MOMENTS:
        values[place] = rfc3339(values[place])  # type: ignore[arg-type]
    for place in _TEXTS:
        values[place] = as_text(values[place])
    if values[_FORCED] is not None:
        values[_FORCED] = "true" if values[_FORCED] else "false"
    return values


def as_text(value: object) -> object:
    """Return the text with an apostrophe before it where a spreadsheet would take it for a formula and run it."""
    if isinstance(value, str) and value.lstrip().startswith(_RUNS):
        return f"'{value}"
    return value
