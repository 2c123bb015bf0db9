"""What the configuration says is to be removed now: found in small steps, so that nobody waits for it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from watcher.config import RetentionConfig
from watcher.domain import Item, State
from watcher.folders import Folder
from watcher.journey.filed import find_alteration, lies_there
from watcher.journey.site import Site
from watcher.store import Books
from watcher.store.removal_rows import Reached

_DAY = 86_400.0
_BATCH = 200


class Stage(StrEnum):
    """What is looked for, in this order: a receipt never goes before its recording, nor a row before either."""

    RECORDINGS = "recordings"
    RECEIPTS = "receipts"
    ROWS = "rows"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Found:
    """Some items that are due, and where the look goes on; None: there are no more."""

    items: list[Item]
    collected: list[Item]  # their recordings were taken away by people: only that is to be recorded
    after: Reached | None


def stages(settings: RetentionConfig, now: float) -> Iterator[tuple[Stage, float]]:
    """Yield what is to be looked for, with the time since which it must have been at rest."""
    recordings, receipts, history = settings.recordings_days, settings.receipts_days, settings.history_days
    first = min((days for days in (recordings, receipts, history) if days), default=0.0)
    if first:
        yield Stage.RECORDINGS, now - first * _DAY
    if receipts:
        yield Stage.RECEIPTS, now - receipts * _DAY
    if history:
        yield Stage.ROWS, now - history * _DAY
        yield Stage.WITHDRAWN, now - history * _DAY


def find(site: Site, stage: Stage, before: float, after: Reached, limit: int) -> Found:
    """Return the next items of this stage that are due. Raises FolderError.

    A recording must lie where it was filed: one that somebody has collected is not ours to remove.
    """
    settings = site.config.retention
    with site.store.reading() as books:
        rows = _query(books, stage, settings, foresees=False)(before, after, limit)
    place = rows[-1][0] if len(rows) == limit else None
    items = [item for _, item in rows]
    if stage is not Stage.RECORDINGS:
        return Found(items, [], place)
    there = [item for item in items if _is_there(site, item)]
    absent = [item for item in items if item not in there and _may_be_collected(item)]
    return Found(there if settings.recordings_days else [], absent, place)


def foresee(site: Site, now: float) -> Iterator[tuple[Stage, Item]]:
    """Yield everything that would be removed now, stage by stage. Changes nothing. Raises FolderError."""
    for stage, before in stages(site.config.retention, now):
        place: Reached | None = Reached()
        while place is not None:
            with site.store.reading() as books:
                rows = _query(books, stage, site.config.retention, foresees=True)(before, place, _BATCH)
            place = rows[-1][0] if len(rows) == _BATCH else None
            yield from ((stage, item) for _, item in rows if _goes(site, stage, item, now))


def find_altered(site: Site, now: float) -> Iterator[Item]:
    """Yield what stays although its time is over, as it was altered after it was filed."""
    days = site.config.retention.recordings_days
    for is_known in (True, False) if days else ():
        place: Reached | None = Reached()
        while place is not None:
            with site.store.reading() as books:
                query = books.removals.due_altered if is_known else books.removals.due_recordings
                rows = query(now - days * _DAY, place, _BATCH)
            place = rows[-1][0] if len(rows) == _BATCH else None
            for _, item in rows:
                altered = item.altered or find_alteration(_folder(site, item), item, now)
                if altered is not None:
                    yield replace(item, altered=altered)


def _goes(site: Site, stage: Stage, item: Item, now: float) -> bool:
    """Return whether this stage would find the item, once the stages before it have done their work."""
    if stage is Stage.WITHDRAWN or item.removed is not None or item.filed_as is None:
        return True
    if _is_there(site, item):
        is_altered = item.altered is not None or find_alteration(_folder(site, item), item, now) is not None
        return not is_altered and site.config.retention.recordings_days > 0
    return stage is not Stage.RECORDINGS and _may_be_collected(item)


def _query(
    books: Books, stage: Stage, settings: RetentionConfig, *, foresees: bool
) -> Callable[[float, Reached, int], list[tuple[Reached, Item]]]:
    match stage:
        case Stage.RECORDINGS:
            return books.removals.due_recordings
        case Stage.RECEIPTS:
            return partial(books.removals.due_receipts, foresees=foresees)
        case Stage.ROWS:
            keeps = not settings.receipts_days
            return partial(books.removals.due_rows, keeps_receipts=keeps, foresees=foresees)
        case Stage.WITHDRAWN:
            return books.removals.due_withdrawn


def _is_there(site: Site, item: Item) -> bool:
    folder = _folder(site, item)
    return folder.occupied(item.filed_as or item.path) and lies_there(folder, item)


def _folder(site: Site, item: Item) -> Folder:
    return site.done if item.state is State.DONE else site.failed


def _may_be_collected(item: Item) -> bool:
    """Return whether people may take it away: what was accepted, or dismissed. Else its absence is a fault."""
    return item.state is State.DONE or item.dismissed is not None
