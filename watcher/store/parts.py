"""The parts that recordings are sent in: their boundaries, what was made of them, and what became of each."""

import json
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Update,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from watcher.domain import BACKLOG, IN_DROP, PART_TRANSITIONS, SENT, Fault, Item, Part, PartState, State
from watcher.errors import StaleItem, TransitionRefused
from watcher.store.compiled import Compiled
from watcher.store.dialects import OWN_ACCOUNT
from watcher.store.schema import attempts, items, obstacles, parts
from watcher.store.scope import is_in_a_file, wide
from watcher.store.statements import BY_ARRIVAL, WAITS, all_of, is_one_of, one

_FAULT = ("fault_code", "fault_message", "fault_hint")
_PLAIN = tuple(name for name in Part.__dataclass_fields__ if name not in ("fault", "proof", "state"))

_OF = select(parts).where(parts.c.item_id == bindparam("id")).order_by(parts.c.index)
_OF_ITEMS = (
    select(parts)
    .where(parts.c.item_id.in_(bindparam("ids", expanding=True)))
    .order_by(parts.c.item_id, parts.c.index)
)
_WITH_CONTENT = Compiled(
    select(parts).where(parts.c.content_key == bindparam("content_key")).order_by(parts.c.item_id, parts.c.index)
)
_WITH_IDENTIFIER = (
    select(parts).where(parts.c.identifier == bindparam("identifier")).order_by(parts.c.item_id, parts.c.index)
)
_ACCEPTED = select(parts).where(parts.c.identifier.is_not(None)).order_by(parts.c.item_id, parts.c.index)
_OF_LIVE = (
    select(parts)
    .join(items, items.c.id == parts.c.item_id)
    .where(items.c.plan_mode.is_not(None), is_one_of(items, IN_DROP))
    .order_by(*BY_ARRIVAL, parts.c.index)
)
_STATES = select(items.c.id, items.c.state).where(items.c.id.in_(bindparam("ids", expanding=True)))
_begun = parts.alias("begun")
HAS_BEGUN = exists().where(
    _begun.c.item_id == items.c.id, or_(_begun.c.in_doubt, *(_begun.c.state == state for state in SENT))
)
"""Whether any part of the item was sent, so that the caps keep room for the others."""
_RESERVED = (
    select(func.count())
    .select_from(parts)
    .join(items, items.c.id == parts.c.item_id)
    .where(items.c.plan_mode.is_not(None), is_one_of(items, BACKLOG), parts.c.state == PartState.QUEUED, HAS_BEGUN)
)
_RESERVED_OF_ACCOUNT = _RESERVED.where(
    exists().where(attempts.c.item_id == items.c.id, attempts.c.account == OWN_ACCOUNT)
)
_ANY_OF_ITEM = exists().where(parts.c.item_id == items.c.id)
_UNSENT_OF_ITEM = (
    select(func.count())
    .where(parts.c.item_id == items.c.id, parts.c.state.in_([PartState.QUEUED, PartState.SUBMITTING]))
    .scalar_subquery()
)
_LEFT_TO_SEND = select(
    func.count(), func.coalesce(func.sum(case((_ANY_OF_ITEM, _UNSENT_OF_ITEM), else_=items.c.parts_most)), 0)
).where(items.c.plan_mode.is_not(None), is_one_of(items, BACKLOG), ~WAITS)
_IN_PARTS = (
    select(items)
    .where(items.c.plan_mode.is_not(None), is_one_of(items, BACKLOG), HAS_BEGUN)
    .order_by(*BY_ARRIVAL)
    .limit(bindparam("limit"))
)
_IS_OBSTRUCTED = exists().where(
    obstacles.c.item_id == items.c.id,
    obstacles.c.again_at > bindparam("now"),
    obstacles.c.again_at <= bindparam("latest"),  # a later time is of before the clock was set back
)
_HAS_ONE_TO_SEND = exists().where(
    parts.c.item_id == items.c.id, parts.c.state == PartState.QUEUED, parts.c.name.is_not(None)
)
IS_SENDABLE = or_(items.c.plan_mode.is_(None), _HAS_ONE_TO_SEND)
"""Whether there is a file that can be sent for the item: its recording as it is, or a part that was made."""
_PLANNED = select(items).where(items.c.plan_mode.is_not(None), ~_IS_OBSTRUCTED).order_by(*BY_ARRIVAL).limit(1)
_PREPARING = _PLANNED.where(items.c.state == State.PREPARING)
_QUEUED_WITHOUT = _PLANNED.where(items.c.state == State.QUEUED, ~WAITS, ~_HAS_ONE_TO_SEND)
_ADD = insert(parts)
_INDEX = list(parts.c).index(parts.c.index)  # a row is a tuple, which has a method of that name
_FORGET = delete(parts).where(parts.c.item_id == bindparam("id"))


class Parts:
    """The parts, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, item_id: str) -> list[Part]:
        """Return all parts of the item, in their order; none where it is not prepared, or is sent as it is."""
        return self._all(_OF, id=item_id)

    def of_items(self, item_ids: Collection[str]) -> dict[str, list[Part]]:
        """Return the parts of each of these items, in their order; an item without any is left out."""
        found: dict[str, list[Part]] = {}
        if item_ids:
            for part in self._all(_OF_ITEMS, ids=sorted(item_ids)):
                found.setdefault(part.item_id, []).append(part)
        return found

    def with_content(self, content_key: str) -> list[Part]:
        """Return every part of exactly these bytes, options, base URL and account, of whatever recording."""
        return [_part(row) for row in _WITH_CONTENT.rows(self._connection, {"content_key": content_key})]

    def with_identifier(self, identifier: str) -> list[Part]:
        """Return every part that has this identifier: more than one where they share it."""
        return self._all(_WITH_IDENTIFIER, identifier=identifier)

    def accepted(self) -> Iterator[Part]:
        """Yield every part that has its identifier."""
        with self._connection.execute(_ACCEPTED, execution_options={"yield_per": 1000}) as rows:
            yield from map(_part, rows)

    def of_live(self) -> list[Part]:
        """Return every part of the recordings that lie in the drop folder, the oldest arrival's first."""
        return self._all(_OF_LIVE)

    def reserved(self) -> int:
        """Return how many parts are to be sent of recordings of which some were, at all sites of the account."""
        if is_in_a_file(self._connection):
            return int(self._connection.execute(_RESERVED).scalar_one())
        with wide(self._connection):
            return int(self._connection.execute(_RESERVED_OF_ACCOUNT).scalar_one())

    def left_to_send(self) -> tuple[int, int]:
        """Return how many recordings are to be sent in parts, and the submissions that takes at the most."""
        row = self._connection.execute(_LEFT_TO_SEND).one()
        return int(row[0]), int(row[1])

    def begun(self, limit: int) -> list[Item]:
        """Return the oldest recordings of which some parts were sent, and others are still to be."""
        return all_of(self._connection, _IN_PARTS, limit=limit)

    def add(self, new: Iterable[Part]) -> None:
        """Add the parts of one item."""
        rows = []
        for part in new:
            _check(part, None, part.state)
            rows.append(_columns({name: getattr(part, name) for name in Part.__dataclass_fields__}))
        if rows:
            self._connection.execute(_ADD, rows)

    def change(self, part: Part, after: PartState, **changes: Any) -> None:
        """Put the part in the state `after`, if nobody changed its state since it was read: else StaleItem.

        Raises TransitionRefused where no part ever goes from the one state to the other. Same to same: something
        else of it changes. `changes` are columns; `fault` and `proof` are as in the domain.
        """
        if after is not part.state:
            _check(part, part.state, after)
        values = _columns(changes) | {"state": after}
        expected = {"the_id": part.item_id, "the_index": part.index, "the_state": part.state}
        if self._connection.execute(_change(tuple(values)), expected | values).rowcount != 1:
            raise StaleItem(f"part {part.index} of {part.item_id} is no longer {part.state}")

    def forget(self, item_id: str) -> None:
        """Delete the parts of the item: its bytes are others by now, or none of its parts was ever sent."""
        self._connection.execute(_FORGET, {"id": item_id})

    # For the step that makes them

    def next_to_prepare(self, now: float, latest: float) -> Item | None:
        """Return the oldest item that has no file to be sent, though it is sent in parts, and no obstacle now.

        What waits for another recording of the same bytes is not one. `latest`: no obstacle ends later.
        """
        asked = {
            "now": now,
            "latest": latest,
        }  # two questions: as one, each queued item would be looked at (measured)
        found = [
            one(self._connection, _PREPARING, **asked),
            one(self._connection, _QUEUED_WITHOUT, **asked),
        ]
        return min((item for item in found if item is not None), key=lambda item: item.arrived_at, default=None)

    def states_of(self, item_ids: Collection[str]) -> dict[str, State]:
        """Return the states of these items; an id that no item has is left out."""
        if not item_ids:
            return {}
        rows = self._connection.execute(_STATES, {"ids": sorted(item_ids)})
        return {row.id: State(row.state) for row in rows}

    def _all(self, query: Select[Any], **values: Any) -> list[Part]:
        return [_part(row) for row in self._connection.execute(query, values)]


def _check(part: Part, before: PartState | None, after: PartState) -> None:
    if after not in PART_TRANSITIONS[before]:
        raise TransitionRefused(
            f"{part.item_id}, part {part.index}: none goes from {before or 'nothing'} to {after}",
            hint="Nothing was written. This is a fault of the program: please report it.",
        )


def _part(row: Any) -> Part:
    fault = None if row.fault_code is None else Fault(row.fault_code, row.fault_message, row.fault_hint)
    proof = None if row.proof is None else json.loads(row.proof)
    plain = {name: getattr(row, name) for name in _PLAIN}
    plain["index"] = row[_INDEX]
    return Part(**plain, fault=fault, proof=proof, state=PartState(row.state))


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    flat = dict(fields)
    if "fault" in flat:
        fault: Fault | None = flat.pop("fault")
        values = (None,) * 3 if fault is None else (fault.code, fault.message, fault.hint)
        flat |= zip(_FAULT, values, strict=True)
    if "proof" in flat:
        flat["proof"] = None if flat["proof"] is None else json.dumps(flat["proof"])
    return flat


@cache
def _change(names: tuple[str, ...]) -> Update:
    """The compare-and-set that writes these columns."""
    return (
        update(parts)
        .where(
            parts.c.item_id == bindparam("the_id"),
            parts.c.index == bindparam("the_index"),
            parts.c.state == bindparam("the_state"),
        )
        .values({name: bindparam(name) for name in names})
    )
