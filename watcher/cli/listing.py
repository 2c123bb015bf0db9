"""`list`: the recordings, or the files that are not taken yet. Each line is printed as its row is read."""

import argparse
import gc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from watcher.cli.columns import Column, Red, lay_out, terminal_width, wrap
from watcher.cli.opening import is_utf_8, open_context, print_json
from watcher.cli.state import JUST_SEEN
from watcher.domain import ARTIFICIAL, BACKLOG, PartState
from watcher.errors import Exit, UsageError
from watcher.journey.answer import Answer
from watcher.outlet import say
from watcher.text import local_time, moment, name_once, rfc3339, show_path, show_text
from watcher.views.context import CommandContext
from watcher.views.lines import json_line
from watcher.views.period import Period, read_period
from watcher.views.recordings import Recording, Row, WaitingList, list_waiting
from watcher.views.search import Search, find_folder, read_search, search_rows
from watcher.views.site_names import SiteName, at_each
from watcher.views.sites import search_sites

_ON_TERMINAL = (
    Column("id"),
    Column("arrived", rank=1),
    Column("state"),
    Column("name", is_cut=True),
    Column("verdict or error"),
)
_IN_PIPE = (
    Column("id"),
    Column("arrived"),
    Column("state"),
    Column("path"),
    Column("identifier"),
    Column("error"),
    Column("confidence"),
    Column("verdict"),
    Column("review"),
)
_SEEN_INDENT = 21


def list_items(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        now, zone = context.clock.now(), context.config.limits.timezone
        period = read_period(options.since, options.until, now, zone)
        search = read_search(
            states=options.state or (),
            verdicts=options.verdict or (),
            name=options.name or "",
            folder=find_folder(context, options.folder or ""),
            period=period,
            sort=options.sort or "arrived",
        )
        sites = at_each(context) if options.all_sites else None
        if options.waiting:
            return _list_waiting(context, options, search, period, sites)
        names = None if sites is None else {name.id: str(name) for name, _ in sites}
        found = search_rows(context, search) if sites is None else search_sites([one for _, one in sites], search)
        # A batch makes many rows at once and no cycles: to look for those took a twentieth of a list (measured).
        gc.set_threshold(50_000)
        with closing(found) as batches:
            for lines in _as_json(batches) if options.json else _as_table(batches, now, names):
                print("\n".join(lines), flush=True)
    return Exit.WELL


def _as_json(batches: Iterable[Sequence[Row]]) -> Iterator[list[str]]:
    is_plain_ascii = not is_utf_8()
    for rows in batches:
        lines = [json_line(row) for row in rows]
        yield [json.dumps(json.loads(line)) for line in lines] if is_plain_ascii else lines


def _as_table(
    batches: Iterable[Sequence[Row]], now: float, names: Mapping[str, str] | None
) -> Iterator[list[str]]:
    """Yield the lines of the table: for a person what says most, for a program all of it, unabridged.

    `names`: of the sites, where those of several are listed.
    """
    site = (Column("site", is_cut=True),) if names is not None else ()
    if terminal_width() is None:
        whole = ([(*_whole_cells(row), *_site_of(row, names)) for row in rows] for rows in batches)
        return lay_out((*_IN_PIPE, *site), whole)
    this_year = local_time(now)[:5]
    cells = ([(*_site_of(row, names), *_cells(row, this_year)) for row in rows] for rows in batches)
    return lay_out((*site, *_ON_TERMINAL), cells)


def _site_of(row: Row, names: Mapping[str, str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    site = row.item.site if isinstance(row, Recording) else row.site
    return (names.get(site, site),)


def _whole_cells(row: Row) -> Sequence[str]:
    if isinstance(row, Recording):
        item, said, verdict = row.item, *_verdict_of(row)
        review = _review_in_words(item.review.word, item.review.by) if item.review else ""
        code = item.fault.code if item.fault else ""
        parts = item.identifier or _parts_in_words(row.answer)
        arrived = rfc3339(item.arrived_at) or ""
        return item.id, arrived, _state_of(row), show_path(item.path), parts, code, verdict, said, review
    return (
        row.id,
        rfc3339(row.arrived_at) or "",
        _state_of(row),
        show_path(row.path),
        row.identifier or "",
        row.fault_code or "",
        "" if row.confidence is None else f"{row.confidence:g}",
        row.classification or row.verdict_state or "",
        _review_in_words(row.review_word, row.review_by),
    )


def _cells(row: Row, this_year: str) -> Sequence[str]:
    """The cells of a line on a terminal. The last has the verdict, with a person's word, or what went wrong."""
    if isinstance(row, Recording):
        item, (said, _) = row.item, _verdict_of(row)
        review = _review_in_words(item.review.word, item.review.by) if item.review else ""
        told = said or (item.fault.code if item.fault else _parts_in_words(row.answer))
        key, at, path = item.id, item.arrived_at, item.path
    else:
        said = row.classification or row.verdict_state or ""
        review = _review_in_words(row.review_word, row.review_by)
        told = said or row.fault_code or ""
        key, at, path = row.id, row.arrived_at, row.path
    if said == ARTIFICIAL:  # it stands out, even without colours
        told = Red(f"{told} <--" + (f"; {review}" if review else ""))
    else:
        told = "; ".join(filter(None, (told, review)))
    arrived = local_time(at)[:-3]
    arrived = arrived.removeprefix(this_year) if arrived.startswith(this_year) else arrived[:10]
    return key[:6], arrived, _state_of(row), show_path(path), told


def _state_of(row: Row) -> str:
    """The state, and what else became of it."""
    if not isinstance(row, Recording):
        return f"{row.state}, dismissed" if row.dismissed_at is not None else row.state
    item = row.item
    progress = row.answer.progress() if item.state in BACKLOG else ""
    altered = item.altered.kind if item.altered else ""
    return ", ".join(filter(None, [item.state, progress, altered, "dismissed" if item.dismissed else ""]))


def _verdict_of(recording: Recording) -> tuple[str, str]:
    """The verdict in a word, and its confidence."""
    verdict = recording.verdict
    if verdict is None:
        return "", ""
    confidence = "" if verdict.confidence is None else f"{verdict.confidence:g}"
    return verdict.classification or str(verdict.state), confidence


def _review_in_words(word: str | None, by: str | None) -> str:
    """A person's word on it, and who said so; "" for none."""
    return f"{word} by {show_text(by or '')}" if word else ""


def _parts_in_words(answer: Answer) -> str:
    """How many parts were accepted of a recording that was sent in several; "" for any other."""
    accepted = sum(part.state is PartState.ACCEPTED for part in answer.parts or ())
    return f"{accepted:,} part{'' if accepted == 1 else 's'}" if accepted else ""


def _list_waiting(
    context: CommandContext,
    options: argparse.Namespace,
    search: Search,
    period: Period,
    sites: list[tuple[SiteName, CommandContext]] | None,
) -> int:
    """Print the files that are not taken yet: blocked ones first, then by how long they wait."""
    if options.verdict or options.sort:
        raise UsageError(
            "list: what waits has no verdict, and an order of its own",
            hint="--waiting can be limited by --name, --folder, --since and --until.",
        )
    if not options.json and terminal_width() is None:
        print("\t".join(["since", "size", "blocked", "path", "it", *(["site"] if sites is not None else [])]))
    for name, at in [(None, context)] if sites is None else sites:
        found = list_waiting(at)
        _tell_age(context, options, found, name)
        wanted = [file for file in found.files if search.finds(file.path) and period.has(file.since)]
        _print_waiting(replace(found, files=wanted), options, context.clock.now(), name)
        if found.total > len(found.files):
            say(f"watcher: {found.total - len(found.files):,} more are waiting{_at(name)} and not listed")
    return Exit.WELL


def _at(name: SiteName | None) -> str:
    return "" if name is None else f" at {name}"


def _tell_age(
    context: CommandContext, options: argparse.Namespace, found: WaitingList, name: SiteName | None
) -> None:
    """Say where newer files are missing from the list, since nobody looks."""
    if options.json or (name is not None and not name.is_own) or context.is_running():
        return
    at = found.seen_at
    seen = (
        "the drop folder was never scanned"
        if at is None
        else f"this list is from {moment(at, context.clock.now())}"
    )
    say(f"watcher: no daemon is running: {seen}")


def _print_waiting(found: WaitingList, options: argparse.Namespace, now: float, name: SiteName | None) -> None:
    """Print these files. `name`: of the site, where those of several are listed."""
    for file in found.files:
        blocked = "blocked" if file.is_blocked else ""
        if options.json:
            print_json(file.as_json() | ({} if name is None else {"site": name.id}))
        elif terminal_width() is None:
            told = (rfc3339(file.since) or "", str(file.size), blocked, show_path(file.path))
            site = [] if name is None else [str(name)]
            print("\t".join([*told, file.reason or JUST_SEEN, *site]))
        else:  # each ends with the command to run
            label = ", ".join(filter(None, [blocked, moment(file.since, now), str(name or "")]))
            print(wrap(f"{label}  ", name_once(file.path, file.reason or JUST_SEEN), _SEEN_INDENT))
