"""What needs a person: held and failed recordings, and files that cannot be taken, each with what to do."""

from dataclasses import dataclass

from watcher.domain import State
from watcher.privacy import hide_names
from watcher.store.page_rows import Count
from watcher.text import show_path, show_text
from watcher.views.context import CommandContext
from watcher.views.period import FAR_AWAY, LONG_AGO
from watcher.views.report_lines import Line, read_lines
from watcher.views.status import blocked_items, count_blocked

MOST = 20
"""So many of each kind are shown at once."""


@dataclass(frozen=True, slots=True)
class BlockedLine:
    """A file that is not taken or sent until a person acts. `id`: "" for a file that has no item yet."""

    id: str
    name: str
    since: float
    said: str


@dataclass(frozen=True, slots=True)
class Needs:
    """What needs a person. Every text in it may be shown as it is."""

    held: list[Line]
    held_total: Count
    failed: list[Line]
    failed_total: Count  # that were not dismissed
    blocked: list[BlockedLine]
    blocked_total: Count
    seen: int  # the number of the last change in all histories when this was read

    @property
    def is_empty(self) -> bool:
        return not (self.held_total or self.failed_total or self.blocked_total)


def read_needs(context: CommandContext) -> Needs:
    """Return what needs a person now: the latest of each kind."""
    config = context.config
    hides = config.privacy.hides
    with context.store.reading() as books:
        held = read_lines(books, config, books.report.latest(LONG_AGO, FAR_AWAY, MOST, State.HELD))
        failed = read_lines(books, config, books.page.latest_to_see(MOST))
        files = [file for file in books.waiting.listed() if file.is_blocked]
        items = blocked_items(books, MOST)
        blocked_total = count_blocked(books)
        held_total, failed_total = books.page.counts()[State.HELD], books.page.failed_to_see()
        seen = books.items.last_change()

    def told(said: str, path: bytes, instead: str) -> str:
        return show_text(hide_names(said, (path,), instead) if hides else said)

    blocked = [
        BlockedLine(
            "",
            "a file without an id yet" if hides else show_path(file.path),
            file.since,
            told(file.reason, file.path, "it"),
        )
        for file in files
    ]
    blocked += [
        BlockedLine(
            one.id or "",
            (one.id or "") if hides else show_path(one.path),
            one.since,
            told(str(one.fault), one.path, one.id or "it"),
        )
        for one in items
    ]
    return Needs(
        held,
        Count(held_total),
        failed,
        Count(failed_total),
        sorted(blocked, key=lambda one: one.since)[:MOST],
        Count(blocked_total),
        seen,
    )
