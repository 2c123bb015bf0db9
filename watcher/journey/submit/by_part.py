"""What comes of one part of a recording, and with that of the recording: for answers, and after crashes."""

from dataclasses import replace
from typing import Any, BinaryIO

from watcher.domain import Item, Part, PartState, State
from watcher.folders import hash_of
from watcher.journey.conclusion import settle
from watcher.journey.duplicates import complete_duplicates, follow_original
from watcher.journey.site import Site
from watcher.journey.submit.doubt import after_lost_answer
from watcher.journey.verdict_news import tell_if_known
from watcher.store import Books

AFRESH: dict[str, Any] = {"fault": None, "faults": 0, "faulted_at": None, "suspected_at": None}
"""What a recording's row reads when its next part begins: what the one before met says nothing of this one."""

_SHARED_SECONDS = 1.0  # until the same bytes, that are sent as another part just now, are looked at again


def next_part(books: Books, item: Item) -> Part | None:
    """Return the part of the item to send next; None where it has none, or is sent as it is."""
    if item.plan is None:
        return None
    parts = books.parts.of(item.id)
    return next((one for one in parts if one.state is PartState.QUEUED and one.name is not None), None)


def open_part(site: Site, part: Part) -> BinaryIO | None:
    """Open the part's file; None where it is not there, or not of exactly the bytes that are committed.

    Raises FolderError, of the spool.
    """
    file = site.spool.open(part.name or "")
    if file is None:
        return None
    if hash_of(file) != part.sha256:
        file.close()
        return None
    file.seek(0)
    return file


def move_part(
    books: Books,
    item: Item,
    part: Part,
    after: PartState,
    now: float,
    note: str,
    *,
    of_part: dict[str, Any],
    of_item: dict[str, Any],
) -> Item:
    """Put the part in the state `after`, and the item where that leaves it. Return the item as it is then.

    See `settle` for that. `of_part`, `of_item`: what else changes. Raises StaleItem.
    """
    books.parts.change(part, after, **of_part)
    facts = settle(item, books.parts.of(item.id), of_item)
    changes = dict(facts)
    books.items.change(item, State(str(changes.pop("state"))), now, note, **changes)
    moved = replace(item, **facts)
    if moved.state is not State.QUEUED:
        follow_original(books, moved, now)
        complete_duplicates(books, moved, now)
    return moved


def accept_part(
    books: Books, item: Item, part: Part, identifier: str, now: float, *, filed_as: bytes | None, note: str = ""
) -> Item:
    """Give the part its identifier. Return the item as it is then. Raises StaleItem."""
    accepted = {"identifier": identifier, "submitted_at": now, "in_doubt": False, "fault": None}
    return move_part(
        books,
        item,
        part,
        PartState.ACCEPTED,
        now,
        note or f"part {part.index} was accepted",
        of_part=accepted,
        of_item=AFRESH | {"due_at": now, "filed_as": filed_as},
    )


def lose_answer(
    books: Books, item: Item, part: Part, now: float, note: str, *, holds: bool, of_another: bool = False
) -> Item:
    """Leave the part in doubt: to be sent again as the very same bytes, or held where `holds`. Raises StaleItem.

    `of_another`: the answer about another part of the same bytes was lost.
    """
    facts = after_lost_answer(item, holds=holds, of_another=of_another)
    fault = facts.get("fault", item.fault)
    return move_part(
        books,
        item,
        part,
        PartState.HELD if holds else PartState.QUEUED,
        now,
        fault.message if holds and fault else note,
        of_part={"in_doubt": True, "fault": fault if holds else None},
        of_item={"fault": fault, "due_at": now},
    )


def resolve_same_bytes(site: Site, books: Books, item: Item, part: Part, now: float) -> bool:
    """Settle a part whose bytes another one has, or had; False: send it.

    It shares the identifier that they have. While they are on the wire it waits; where their answer was lost it is
    in doubt with them.
    """
    key = site.content_key(part.sha256 or "")
    own = part.item_id, part.index
    with books.wide():
        found = books.parts.with_content(key)
    others = [one for one in found if (one.item_id, one.index) != own]
    whole = [copy for copy in books.copies.with_content(key) if copy.id != item.id and copy.plan is None]
    same: list[Part | Item] = [*others, *whole]
    identifiers = [one.identifier for one in same if one.identifier is not None]
    if identifiers:
        note = f"part {part.index} has the same bytes as another recording's"
        moved = accept_part(books, item, part, identifiers[0], now, filed_as=None, note=note)
        # The verdicts on its parts may be known, and nothing be asked.
        tell_if_known(books, moved, site.config.audio, now)
        return True
    on_the_wire = [one for one in others if one.state is PartState.SUBMITTING]
    if on_the_wire or any(copy.state is State.SUBMITTING for copy in whole):
        books.items.change(item, State.QUEUED, now, due_at=now + _SHARED_SECONDS)
        return True
    if part.in_doubt or not any(one.in_doubt for one in same):
        return False
    holds = site.config.identifai.holds_in_doubt
    note = f"part {part.index}: the same bytes were sent before, and no answer came"
    lose_answer(books, item, part, now, note, holds=holds, of_another=True)
    return True
