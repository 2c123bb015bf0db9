"""A move within done/ (folders.by_verdict) that was cut off, or is not in the books: one recording, two places.

The recording counts, wherever a receipt lies as well. The step that files then ends the move: it takes along what
was left at the other place, and moves the recording on to where its verdict has it.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from watcher.domain import Fingerprint, Item, State
from watcher.errors import FolderError, RecordingError
from watcher.folders import Folder
from watcher.journey.file.verdict_folder import is_one_move
from watcher.journey.filed import lies_there
from watcher.journey.recovery.evidence import Evidence
from watcher.journey.site import Site


@dataclass(frozen=True, slots=True)
class _Move:
    """From where, and to where the recording lies; and its fingerprint there."""

    left: bytes
    lies: bytes
    fingerprint: Fingerprint


def unite(site: Site, found: Iterable[Evidence]) -> int:
    """Have each of these recordings that the books have elsewhere in done/ in one place. Return how many."""
    told = [one for one in found if one.item.outcome is State.DONE and one.item.filed_as is not None]
    if not told:
        return 0
    with site.store.reading() as books:
        places = books.rebuilt.places([one.item.id for one in told])
    elsewhere = [one for one in told if one.item.filed_as not in places.get(one.item.id, (one.item.filed_as,))]
    return sum(_unite_one(site, one) for one in elsewhere)


def _unite_one(site: Site, evidence: Evidence) -> bool:
    with site.store.reading() as books:
        item = books.items.get(evidence.item.id)
    move = None if item is None else _find_move(site.done, item, evidence)
    if item is None or move is None:
        return False
    with site.store.writing() as books:
        if books.items.get(item.id) != item:
            return False
        facts: dict[str, Any] = {"filed_as": move.left, "moves_to": move.lies, "fingerprint": move.fingerprint}
        books.items.change(item, State.DONE, site.clock.now(), **facts)
    return True


def _find_move(done: Folder, item: Item, evidence: Evidence) -> _Move | None:
    """Return the move between the item's place and that of the receipt; None where there was none."""
    told, known = evidence.item.filed_as, item.filed_as
    if item.state is not State.DONE or told is None or known is None or told in (known, item.moves_to):
        return None
    if not is_one_move(item, known, told):
        return None
    with suppress(FolderError, RecordingError):  # unknown: as the books have it
        places = [place for place in (known, item.moves_to) if place is not None]
        is_known_place = any(lies_there(done, replace(item, filed_as=place)) for place in places)
        if evidence.is_beside and not is_known_place:
            was_seen = item.fingerprint.inode != 0  # else the row is from the other receipt
            return _Move(known, told, item.fingerprint if was_seen else evidence.item.fingerprint)
        if not evidence.is_beside and item.moves_to is None and is_known_place:
            return _Move(told, known, item.fingerprint)
    return None
