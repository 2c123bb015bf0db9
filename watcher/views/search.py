"""Recordings that a person looks for: by state, verdict, any part of the name, folder and time of arrival."""

import os
import re
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from unicodedata import normalize

from watcher.config import AudioConfig
from watcher.domain import SORTS, VERDICT_WORDS, State
from watcher.errors import UsageError
from watcher.mounts import resolve
from watcher.store import FIRST, LAST, Books, Place, Sought
from watcher.text import show_text
from watcher.views.context import CommandContext
from watcher.views.lookup import read_path
from watcher.views.period import ALWAYS, Period
from watcher.views.recordings import Recording, Row, complete_rows

VERDICTS = VERDICT_WORDS

_FIRST_BATCH = 50  # a screen: it is there at once
_BATCH = 500  # rows in memory at a time: more do not fit into the cache of a processor (measured)
_NUMBER = re.compile(r"[0-9 ()+./_-]+")
_FEWEST_DIGITS = 4
_BETWEEN_DIGITS = b" -._()+"


@dataclass(frozen=True, slots=True)
class Search:
    """What a person looks for, and in what order. `sort`: one of SORTS."""

    sought: Sought = field(default_factory=Sought)
    sort: str = SORTS[0]
    reverse: bool = False

    @property
    def is_all(self) -> bool:
        """Whether everything is found."""
        return self.sought.is_all

    def finds(self, path: bytes) -> bool:
        """Return whether the name and the folder fit this path, of what has no row. As the database finds rows."""
        sought = self.sought
        if not path.startswith(sought.folder):
            return False
        if not sought.names and not sought.digits:
            return True
        folded = path.lower()
        bare = path.translate(None, _BETWEEN_DIGITS)
        is_named = any(name.lower() in folded for name in sought.names)
        return is_named or (sought.digits != "" and sought.digits.encode() in bare)


def read_search(
    *,
    states: Iterable[str] = (),
    verdicts: Iterable[str] = (),
    name: str = "",
    folder: str = "",
    period: Period = ALWAYS,
    sort: str = SORTS[0],
) -> Search:
    """Return the search that a person typed. Raises UsageError for what cannot be meant.

    `name`: any part of the path, in any case and Unicode form; a number also where others separate its digits.
    `folder`: below the drop folder. `period`: of the arrival. `sort`: one of SORTS, "-" before it for the reverse.
    """
    key = sort.removeprefix("-")
    if key not in SORTS:
        raise UsageError(f"nothing is sorted by {show_text(sort)}", hint=f"Choose one of: {', '.join(SORTS)}.")
    for verdict in verdicts:
        if verdict not in VERDICT_WORDS:
            raise UsageError(
                f"{show_text(verdict)} is no verdict", hint=f"Choose from: {', '.join(VERDICT_WORDS)}."
            )
    sought = Sought(
        frozenset(map(State, states)),
        frozenset(verdicts),
        _spellings(name),
        _digits(name),
        _folder(folder),
        period.since if period.begins else None,
        period.until if period.ends else None,
    )
    return Search(sought, key, sort.startswith("-"))


def _spellings(name: str) -> tuple[bytes, ...]:
    """Return the forms in which a path may have what was typed. The case of ASCII letters never matters."""
    if not name:
        return ()
    if name.isascii():
        return (read_path(name),)
    cased = (name, name.lower(), name.upper(), name.title())
    forms = (read_path(normalize(form, said)) for said in cased for form in ("NFC", "NFD"))
    return tuple(dict.fromkeys((read_path(name), *forms)))


def _digits(name: str) -> str:
    """Return the digits of what may be a telephone number or a date, without what stands for "abroad"; else ""."""
    digits = re.sub(r"[^0-9]", "", name)
    if not _NUMBER.fullmatch(name) or len(digits) < _FEWEST_DIGITS:
        return ""
    bare = digits.lstrip("0")
    return bare if len(bare) >= _FEWEST_DIGITS else digits


def find_folder(context: CommandContext, typed: str) -> str:
    """Return the folder as it is called below the drop folder, where its path on this machine was typed.

    Who stands in the drop folder types it from there on in any case.
    """
    raw, here = read_path(typed), os.getcwdb() + b"/"
    whole = os.path.abspath(raw)
    for base in {context.drop.root, resolve(context.drop.root)}:
        is_outside = os.path.isabs(raw) or not here.startswith(base + b"/")
        if raw and is_outside and (whole + b"/").startswith(base + b"/"):
            return os.fsdecode(whole[len(base) :])
    return typed


def _folder(typed: str) -> bytes:
    """Return the folder with one slash at its end; none for the drop folder itself."""
    names = [part for part in read_path(typed).split(b"/") if part not in (b"", b".")]
    return b"/".join([*names, b""]) if names else b""


def search_rows(context: CommandContext, search: Search) -> Generator[list[Row], None, None]:
    """Yield what is found, in batches. Rows are read as they are needed; no transaction is open between two.

    In the order of arrival memory is constant; in any other, eight bytes a recording are kept.
    """
    if search.sort != SORTS[0]:
        yield from _sorted_rows(context, search)
        return
    place, limit = LAST if search.reverse else FIRST, _FIRST_BATCH
    while True:
        with context.store.reading() as books:
            found, last = read_page(
                books, context.config.audio, search.sought, place, limit, newest_first=search.reverse
            )
        if found:
            yield found
        if last is None:
            return
        place, limit = last, _BATCH


def read_page(
    books: Books,
    audio: AudioConfig,
    sought: Sought,
    place: Place,
    limit: int,
    *,
    newest_first: bool = False,
) -> tuple[list[Row], Place | None]:
    """Return what is found among the next rows after this place, and where to go on; None at the end.

    There may be fewer than `limit`, or none, though there are more: recordings in parts are looked at one by one.
    FIRST and LAST are the places before the oldest and after the newest.
    """
    if sought.is_all and not newest_first:
        rows = books.listing.after(place, limit)
    else:
        rows = books.sought.page(sought, place, limit, newest_first=newest_first)
    found = keep_judged(complete_rows(books, rows, audio), sought)
    return found, rows[-1].place if len(rows) == limit else None


def count_found(books: Books, audio: AudioConfig, sought: Sought, most: int) -> int:
    """Return how many are found, counting no further than `most`."""
    number, place = 0, FIRST
    while number < most:
        found, last = read_page(books, audio, sought, place, min(_BATCH, most))
        number += len(found)
        if last is None:
            break
        place = last
    return min(number, most)


def _sorted_rows(context: CommandContext, search: Search) -> Generator[list[Row], None, None]:
    with context.store.reading() as books:
        serials = books.sought.sorted(search.sought, search.sort, reverse=search.reverse)
    for first in range(0, len(serials), _BATCH):
        with context.store.reading() as books:
            rows = books.sought.rows_of(serials[first : first + _BATCH])
            found = keep_judged(complete_rows(books, rows, context.config.audio), search.sought)
        if found:
            yield found


def keep_judged(rows: Sequence[Row], sought: Sought) -> list[Row]:
    """Return those of the rows that have one of the verdicts: a recording in parts, the joined one."""
    if not sought.verdicts:
        return list(rows)
    return [row for row in rows if not isinstance(row, Recording) or _is_judged(row, sought.verdicts)]


def _is_judged(recording: Recording, said: Iterable[str]) -> bool:
    verdict = recording.verdict
    return verdict is not None and not {verdict.classification, str(verdict.state)}.isdisjoint(said)
