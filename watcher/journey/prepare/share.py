"""How far ahead recordings are prepared: which parts of the next one are made now, and which wait for room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from watcher.domain import UNSETTLED, Item, Mode, Part, PartState, Planned, State
from watcher.journey.site import Site

_HEADER_BYTES = 4096  # more than a part has beside its sound


@dataclass(frozen=True, slots=True)
class Job:
    """A recording whose turn it is. `parts`: those that are written down, where it was prepared before."""

    item: Item
    plan: Planned
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Share:
    """What is to be made now: parts by their indices, None for all; and how many bytes of them are kept."""

    indices: tuple[int, ...] | None
    keep_bytes: int | None


@dataclass(frozen=True, slots=True)
class _Room:
    """How many bytes of parts may be made now."""

    free: int
    is_empty: bool  # nothing lies there that makes room by being sent
    there: frozenset[str]  # the names of all parts
    needless: dict[str, int]  # those whose answer is known, and their sizes


def find_share(site: Site, job: Job) -> Share | None:
    """Return which parts are to be made now; None while there is no room. Parts that nobody needs any more go.

    Raises FolderError, of the spool.
    """
    room, limit = _find_room(site), site.config.limits.max_upload_bytes
    if job.parts:
        missing = [p for p in job.parts if p.state is PartState.QUEUED and p.name not in room.there]
        sizes = {p.index: 0 if p.in_doubt else p.size or limit for p in missing}
        indices = _fitting(sizes, room.free, at_least_one=room.is_empty)
        share = Share(indices, None) if indices or not missing else None
        wanted = sum(sizes[index] for index in indices)
    else:
        expected = _expected(job, limit)
        wanted = min(expected, max(room.free, 0))
        share = Share(None, None) if expected <= room.free else None
        if expected > site.config.audio.spool_bytes and (room.is_empty or room.free >= limit):
            share = Share(None, wanted)  # part by part: it would never fit as a whole
    if share is None or share.indices == ():
        return share
    if wanted > room.free - sum(room.needless.values()):
        site.spool.remove(room.needless)
    site.spool.check_takes(min(wanted, limit), beside=site.store.database.path)
    return share


def _find_room(site: Site) -> _Room:
    """Return the room for what is to be sent.

    What a person must decide on takes none, nor what is in doubt: all others would wait as long as that.
    """
    sizes = site.spool.sizes()
    with site.store.reading() as books:
        parts = {part.name: part for part in books.parts.of_live()}
        states = books.parts.states_of({part.item_id for part in parts.values()})
    taken, needless = 0, {}
    for name, size in sizes.items():
        part = parts.get(name)
        if part is None or part.in_doubt or states.get(part.item_id) is State.HELD:
            continue
        if part.state in UNSETTLED:
            taken += size
        else:
            needless[name] = size
    return _Room(site.config.audio.spool_bytes - taken, taken == 0, frozenset(sizes), needless)


def _fitting(sizes: Mapping[int, int], free: int, *, at_least_one: bool) -> tuple[int, ...]:
    """Return the first of the parts, as many as fit."""
    chosen: list[int] = []
    for index, size in sizes.items():
        if size > free and not (at_least_one and not chosen):
            break
        chosen.append(index)
        free -= size
    return tuple(chosen)


def _expected(job: Job, limit: int) -> int:
    """Return how many bytes all its parts may have."""
    whole = max(job.plan.most, 1) * limit
    return whole if job.plan.mode is Mode.FLAC else min(whole, job.item.size + job.plan.most * _HEADER_BYTES)
