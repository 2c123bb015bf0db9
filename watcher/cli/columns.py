"""Tables: as wide as the terminal for people, and for programs whole, with a tab between two columns."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

_GAP = 2
_LEAST = 24  # of a column that is cut
_NARROWEST = 40
_ELLIPSIS = "…"


class Column(NamedTuple):
    """A column. `is_cut`: it takes what room there is, and what is too long is cut in its middle.

    `rank`: on a narrow terminal those of the highest rank are left out first; 0: never.
    """

    head: str
    is_cut: bool = False
    rank: int = 0
    is_number: bool = False


class Red(str):
    """A cell that stands out on a terminal with colours."""

    __slots__ = ()


def cell_len(text: str) -> int:
    """Return how many cells of a terminal the text takes: some letters take two, and some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len as measure  # noqa: PLC0415 — most tables need no library for it

    return measure(text)


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is; None where it is none."""
    return max(shutil.get_terminal_size().columns, _NARROWEST) if sys.stdout.isatty() else None


def is_coloured() -> bool:
    """Whether standard output is a terminal that shows colours, and they are wanted."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def lay_out(columns: Sequence[Column], batches: Iterable[Sequence[Sequence[str]]]) -> Iterator[list[str]]:
    """Yield the lines of the table, those of a batch at a time: nobody knows the rows to come.

    On a terminal a column is as wide as its widest cell so far, and no line is longer than the terminal is wide.
    """
    width, heads = terminal_width(), [column.head for column in columns]
    if width is None:
        lines = ["\t".join(heads)]
        for rows in batches:
            yield [*lines, *("\t".join(row) for row in rows)]
            lines = []
        if lines:
            yield lines
        return
    table = _Table(columns, width)
    lines = []
    for number, rows in enumerate(batches):
        table.widen(rows)
        yield [*([] if number else [table.line(heads)]), *map(table.line, rows)]
        lines = [""]
    if not lines:
        yield [table.line(heads)]


class _Table:
    def __init__(self, columns: Sequence[Column], width: int) -> None:
        self._columns = columns
        self._width = width
        self._widths = [cell_len(column.head) for column in columns]
        self._is_coloured = is_coloured()

    def widen(self, rows: Sequence[Sequence[str]]) -> None:
        for place, cells in enumerate(zip(*rows, strict=True)):
            self._widths[place] = max(self._widths[place], *map(cell_len, cells))

    def line(self, cells: Sequence[str]) -> str:
        shown = self._shown()
        return "".join(
            self._cell(cells[place], width, place, is_last=place == shown[-1][0]) for place, width in shown
        ).rstrip()

    def _shown(self) -> list[tuple[int, int]]:
        """The places of the columns that there is room for, and their widths."""
        places = list(range(len(self._columns)))
        while (over := self._over(places)) > 0:
            ranked = [place for place in places if self._columns[place].rank]
            if not ranked:
                break
            places.remove(max(ranked, key=lambda place: self._columns[place].rank))
        widths = {place: self._widths[place] for place in places}
        for place in places:
            if self._columns[place].is_cut:
                over = self._whole(widths) - self._width
                widths[place] = max(_LEAST, widths[place] - over) if over > 0 else widths[place]
        last = places[-1]
        if (over := self._whole(widths) - self._width) > 0:
            widths[last] = max(widths[last] - over, 1)
        return list(widths.items())

    def _over(self, places: list[int]) -> int:
        """How much too wide these are, even with what can be cut as narrow as it gets."""
        least = (
            min(self._widths[place], _LEAST) if self._columns[place].is_cut else self._widths[place]
            for place in places
        )
        return sum(least) + _GAP * (len(places) - 1) - self._width

    def _whole(self, widths: dict[int, int]) -> int:
        return sum(widths.values()) + _GAP * (len(widths) - 1)

    def _cell(self, cell: str, width: int, place: int, *, is_last: bool) -> str:
        column = self._columns[place]
        said = cut_middle(cell, width) if column.is_cut else cut_end(cell, width)
        space = " " * (width - cell_len(said))
        if self._is_coloured and isinstance(cell, Red):
            said = f"\x1b[31m{said}\x1b[0m"
        padded = f"{space}{said}" if column.is_number else f"{said}{space}"
        return padded if is_last else padded + " " * _GAP


def cut_middle(text: str, width: int) -> str:
    """Return the text in at most so many cells. What is cut is its middle: names differ at both ends."""
    if cell_len(text) <= width:
        return text
    left = (width - 1) // 2
    return _first(text, left) + _ELLIPSIS + _first(text[::-1], width - 1 - left)[::-1]


def cut_end(text: str, width: int) -> str:
    """Return the text in at most so many cells."""
    return text if cell_len(text) <= width else _first(text, width - 1) + _ELLIPSIS


def _first(text: str, width: int) -> str:
    """The beginning of the text that fits into so many cells."""
    taken = 0
    for place, character in enumerate(text):
        taken += cell_len(character)
        if taken > width:
            return text[:place]
    return text


def wrap(label: str, said: str, indent: int) -> str:
    """Return what is said after its label: on a terminal in lines that fit, with the later ones indented.

    No word is broken: a path or a command stays whole, to be copied.
    """
    width = terminal_width()
    if width is None or cell_len(said) + indent <= width:
        return f"{label:<{indent}}{said}".rstrip()
    lines = textwrap.wrap(
        said, max(width - indent, _LEAST), break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
    return f"{label:<{indent}}" + f"\n{' ' * indent}".join(lines)
