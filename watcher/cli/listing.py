"""`list`: the recordings, or the files that are not taken yet. Each line is printed as its row is read."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from rich.cells import cell_len

from watcher.cli.opening import is_utf_8, open_context, print_json, wide_console
from watcher.cli.state import JUST_SEEN
from watcher.domain import ARTIFICIAL, BACKLOG, PartState, State
from watcher.errors import Exit
from watcher.journey.answer import Answer
from watcher.outlet import say
from watcher.text import name_once, rfc3339, show_path, show_text
from watcher.views.lines import json_line
from watcher.views.recordings import Recording, Row, list_rows, list_waiting

_HEADS = ("id", "state", "path", "identifier or error", "verdict")
_GAP = "  "


def list_items(options: argparse.Namespace) -> int:
    if options.waiting:
        return _list_waiting(options)
    states = [State(state) for state in options.state or ()]
    with open_context(options) as context, closing(list_rows(context, states)) as batches:
        for lines in _as_json(batches) if options.json else _as_table(batches):
            print("\n".join(lines), flush=True)
    return Exit.WELL


def _as_json(batches: Iterable[Sequence[Row]]) -> Iterator[list[str]]:
    is_plain_ascii = not is_utf_8()
    for rows in batches:
        lines = [json_line(row) for row in rows]
        yield [json.dumps(json.loads(line)) for line in lines] if is_plain_ascii else lines


def _as_table(batches: Iterable[Sequence[Row]]) -> Iterator[list[str]]:
    """Yield the lines of the table. A column is as wide as its widest cell so far: nobody knows those to come."""
    console = wide_console() if sys.stdout.isatty() else None
    is_coloured = console is not None and console.color_system is not None
    widths = [len(head) for head in _HEADS[:-1]]
    lines = [_line(_HEADS, widths)]
    for rows in batches:
        cells = [_cells(row) for row in rows]
        widths = [
            max(width, *map(cell_len, column))
            for width, column in zip(widths, zip(*cells, strict=True), strict=False)
        ]
        for *row, verdict, review in cells:
            said = verdict
            if verdict == ARTIFICIAL and console is not None:  # it stands out, even without colours
                said = f"\x1b[31m{verdict} <--\x1b[0m" if is_coloured else f"{verdict} <--"
            lines.append(_line((*row, "; ".join(filter(None, (said, review)))), widths))
        yield lines
        lines = []
    if lines:
        yield lines


def _cells(row: Row) -> tuple[str, ...]:
    """The cells of a line. The last are the verdict, in a word, and a person's word, which share a column."""
    if isinstance(row, Recording):
        return _cells_of(row)
    state = f"{row.state}, dismissed" if row.dismissed_at is not None else row.state
    told = row.identifier[:12] if row.identifier else row.fault_code or ""
    verdict = row.classification or row.verdict_state or ""
    return row.id[:6], state, show_path(row.path), told, verdict, _review_in_words(row.review_word, row.review_by)


def _cells_of(recording: Recording) -> tuple[str, ...]:
    item, verdict, review = recording.item, recording.verdict, recording.item.review
    told = item.identifier[:12] if item.identifier else item.fault.code if item.fault else ""
    progress = recording.answer.progress() if item.state in BACKLOG else ""
    altered = item.altered.kind if item.altered else ""
    state = ", ".join(filter(None, [item.state, progress, altered, "dismissed" if item.dismissed else ""]))
    said = "" if verdict is None else verdict.classification or str(verdict.state)
    told = told or _parts_in_words(recording.answer)
    by = _review_in_words(review.word, review.by) if review else ""
    return item.id[:6], state, show_path(item.path), told, said, by


def _review_in_words(word: str | None, by: str | None) -> str:
    """A person's word on it, and who said so; "" for none."""
    return f"{word} by {show_text(by or '')}" if word else ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if cell.isascii() else cell + " " * (width - cell_len(cell))
        for cell, width in zip(cells, widths, strict=False)
    ]
    return _GAP.join([*padded, cells[-1]]).rstrip()


def _parts_in_words(answer: Answer) -> str:
    """How many parts were accepted of a recording that was sent in several; "" for any other."""
    accepted = sum(part.state is PartState.ACCEPTED for part in answer.parts or ())
    return f"{accepted:,} part{'' if accepted == 1 else 's'}" if accepted else ""


def _list_waiting(options: argparse.Namespace) -> int:
    """Print the files that are not taken yet: blocked ones first, then by how long they wait."""
    with open_context(options) as context:
        found, is_running = list_waiting(context), context.is_running()
    if not is_running and not options.json:  # newer files are missing from the list
        seen_at = rfc3339(found.seen_at)
        seen = f"this list is from {seen_at}" if seen_at is not None else "the drop folder was never scanned"
        say(f"watcher: no daemon is running: {seen}")
    if options.json:
        for file in found.files:
            print_json(file.as_json())
    else:
        # One line per file, however long: it ends with the command to run.
        print(f"{'since':<24}  {'size':>13}  path: why it is not taken yet")
        for file in found.files:
            why = f"{'blocked: ' if file.is_blocked else ''}{name_once(file.path, file.reason or JUST_SEEN)}"
            print(f"{rfc3339(file.since):<24}  {file.size:>13,}  {why}")
    if found.total > len(found.files):
        say(f"watcher: {found.total - len(found.files):,} more are waiting and not listed")
    return Exit.WELL
