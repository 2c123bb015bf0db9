"""The items: what arrived, the state of each, and its history."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from watcher.alarms import Alarm
from watcher.domain import FILED, LIVE, MOVING, TRANSITIONS, Item, State, VerdictState
from watcher.errors import NoSuchItem, StaleItem, TransitionRefused
from watcher.store.compiled import Compiled
from watcher.store.condition_rows import Conditions
from watcher.store.dialects import unindexed
from watcher.store.rows import columns_of, flattened, item_of
from watcher.store.schema import items, parts, transitions, verdicts
from watcher.store.statements import ALL_ITEMS, BY_ARRIVAL, LATEST_FIRST, all_of, has_identifier, is_one_of, one
from watcher.store.tallies import ITEMS, Tallies
from watcher.store.verdict_copies import copied_from, copy_to_item
from watcher.text import JsonObject, rfc3339, show_path

_BY_ID = Compiled(select(items).where(items.c.id == bindparam("id")))
_BY_BEGINNING = select(items).where(items.c.id.between(bindparam("low"), bindparam("high"))).limit(2)
_LATEST_AT = LATEST_FIRST.where(
    (items.c.path == bindparam("path")) | (items.c.filed_as == bindparam("path"))
).limit(1)
_LIVE_AT = Compiled(select(items).where(items.c.path == bindparam("path"), is_one_of(items, LIVE)))
_LIVE_PATHS = select(items.c.path, items.c.fingerprint).where(is_one_of(items, LIVE))
_LIVE_COMPANIONS = select(items.c.companions).where(is_one_of(items, LIVE), items.c.companions != b"")
_OF_STEM = ALL_ITEMS.where(
    items.c.path.between(bindparam("low"), bindparam("high")),
    items.c.companions != b"",
    items.c.state != State.WITHDRAWN,
)
_FILED_BESIDE = ALL_ITEMS.where(
    items.c.filed_as.between(bindparam("low"), bindparam("high")), items.c.companions != b""
)
_MOVES_ON = and_(items.c.state == State.DONE, items.c.moves_to.is_not(None))  # few: they have their own index
_MOVES_BESIDE = ALL_ITEMS.where(
    _MOVES_ON, items.c.moves_to.between(bindparam("low"), bindparam("high")), items.c.companions != b""
)
_WITH_COMPANIONS = ALL_ITEMS.where(
    items.c.serial > bindparam("after"), items.c.serial <= bindparam("until"), items.c.companions != b""
)
_LAST = select(func.max(items.c.serial))
_PATHS: BindParameter[Any] = bindparam("paths", expanding=True)
# Without a condition on the state: for many paths SQLite would use its index, and look at all that is done.
_AMONG = select(items.c.path, items.c.state).where(items.c.path.in_(_PATHS))
_NAMED = ALL_ITEMS.where(items.c.path.in_(_PATHS) | items.c.filed_as.in_(_PATHS))
_TO_BE_NAMED = ALL_ITEMS.where(
    is_one_of(items, FILED | MOVING), items.c.moves_to.is_not(None), items.c.moves_to.in_(_PATHS)
)
_FILED_AMONG = select(items.c.filed_as, items.c.state).where(items.c.filed_as.in_(_PATHS))
_MOVING_AMONG = select(items.c.path, items.c.filed_as).where(items.c.path.in_(_PATHS), is_one_of(items, MOVING))
_MOVES_ON_AMONG = select(items.c.moves_to).where(_MOVES_ON, items.c.moves_to.in_(_PATHS))
_BY_IDENTIFIER = ALL_ITEMS.where(has_identifier(bindparam("identifier")))
_ANY_IDENTIFIER = select(items.c.identifier).where(items.c.identifier.is_not(None)).limit(1)
_LATEST_ARRIVAL = select(func.max(items.c.arrived_at))
_OLDEST_ARRIVAL = select(func.min(items.c.arrived_at)).where(items.c.state == bindparam("state"))
_TOTAL = select(func.count()).select_from(items)
_COUNTS = (
    select(items.c.state, func.count()).where(is_one_of(items, set(State) - {State.DONE})).group_by(items.c.state)
)
_DISMISSED = select(func.count()).where(items.c.state == State.FAILED, items.c.dismissed_at.is_not(None))
_LAST_CHANGE = select(func.coalesce(func.max(transitions.c.serial), 0))
_OF_VERDICTS = select(verdicts.c.identifier).where(verdicts.c.state.in_(bindparam("states", expanding=True)))
_ACCEPTED_AFTER = ALL_ITEMS.where(
    or_(
        items.c.identifier.in_(_OF_VERDICTS),
        items.c.id.in_(select(parts.c.item_id).where(parts.c.identifier.in_(_OF_VERDICTS))),
    ),
    exists().where(
        transitions.c.item_id == items.c.id,
        transitions.c.serial > bindparam("serial"),
        transitions.c.before.is_distinct_from(transitions.c.after),
        or_(transitions.c.after == State.FILING, transitions.c.after == State.DONE),
    ),
)
_LEFT_SINCE = Compiled(
    select(
        exists().where(
            items.c.path == bindparam("path"),
            ~is_one_of(items, LIVE),
            transitions.c.item_id == items.c.id,
            transitions.c.serial > bindparam("serial"),
        )
    )
)
_HISTORY = select(transitions).where(transitions.c.item_id == bindparam("id")).order_by(transitions.c.serial)
_WITHDRAWN_AT = Compiled(LATEST_FIRST.where(items.c.path == bindparam("path"), items.c.state == State.WITHDRAWN))
_FAILED_WITH = Compiled(LATEST_FIRST.where(items.c.sha256 == bindparam("sha256"), items.c.state == State.FAILED))
_WITH_SHA256 = LATEST_FIRST.where(items.c.sha256 == bindparam("sha256"))
_NOTE = Compiled(insert(transitions))
_ALARMS = {State.FAILED: Alarm.FAILED, State.HELD: Alarm.HELD}
"""The states in which a person is to be told of an item."""
_ADD = Compiled(insert(items))


class Items:
    """The items and their histories, within one transaction."""

    def __init__(self, connection: Connection, conditions: Conditions, tallies: Tallies) -> None:
        self._connection = connection
        self._tallies = tallies
        self._conditions = conditions

    def get(self, item_id: str) -> Item | None:
        return one(self._connection, _BY_ID, id=item_id)

    def find(self, text: str, paths: Iterable[bytes]) -> Item:
        """The item that a person named by its id, the first 6 characters of it or more, or a path.

        Of several items that had the path one after the other it is the latest.
        Raises NoSuchItem when there is none, or when the beginning fits several.
        """
        if len(text) >= 6 and all(c in "0123456789abcdef" for c in text):
            found = all_of(self._connection, _BY_BEGINNING, low=text, high=text + "g")
            if len(found) == 1:
                return found[0]
            if found:
                msg = f"{show_path(os.fsencode(text))}: more than one item's id begins with this"
                raise NoSuchItem(msg, hint="Give more characters of the id.")
        for path in paths:
            if (item := self.latest_at(path)) is not None:
                return item
        raise NoSuchItem(
            f"{show_path(os.fsencode(text))}: no item has this id or path",
            hint="`watcher list` shows them all; `watcher why PATH` explains a file that is no item yet.",
        )

    def latest_at(self, path: bytes) -> Item | None:
        """The latest item that had this path in the drop folder or was filed under it."""
        return one(self._connection, _LATEST_AT, path=path)

    def live_at(self, path: bytes) -> Item | None:
        """The item whose recording is at this path in the drop folder, or is being moved there."""
        return one(self._connection, _LIVE_AT, path=path)

    def live_paths(self) -> dict[bytes, int]:
        """Every path in the drop folder that has an item, and the inode that it had when it was queued."""
        rows = self._connection.execute(_LIVE_PATHS)
        return {path: int(fingerprint.split(":")[1]) for path, fingerprint in rows}

    def live_companions(self) -> list[bytes]:
        """All markers and sidecars in the drop folder whose recordings have items."""
        rows = self._connection.execute(_LIVE_COMPANIONS).scalars()
        return [path for paths in rows for path in paths.split(b"\0")[:-1]]

    def accompanied(self, stem: bytes) -> list[Item]:
        """The items of recordings with this stem and any extension that had a marker or sidecars."""
        return all_of(self._connection, _OF_STEM, low=stem + b".", high=stem + b"/")

    def filed_beside(self, stem: bytes) -> list[Item]:
        """The items filed under this stem and any extension, or moving on there, that had a marker or sidecars."""
        names = {"low": stem + b".", "high": stem + b"/"}
        filed = all_of(self._connection, _FILED_BESIDE, **names)
        return filed + all_of(self._connection, _MOVES_BESIDE, **names)

    def named(self, paths: Collection[bytes]) -> list[Item]:
        """The items that had one of these paths in the drop folder, or are filed under it or about to be.

        The oldest arrival comes first.
        """
        if not paths:
            return []
        given = {"paths": list(paths)}
        found = all_of(self._connection, _NAMED, **given) + all_of(self._connection, _TO_BE_NAMED, **given)
        return sorted({item.id: item for item in found}.values(), key=lambda item: item.arrived_at)

    def last_serial(self) -> int:
        """The number of the latest item; 0 if there is none."""
        return int(self._connection.execute(_LAST).scalar_one() or 0)

    def with_companions(self, after: int) -> tuple[int, list[Item]]:
        """Of the next 10,000 numbers after this one, the last, and the items that had a marker or sidecars."""
        until = after + 10_000
        return until, all_of(self._connection, _WITH_COMPANIONS, after=after, until=until)

    def live_among(self, paths: Collection[bytes]) -> set[bytes]:
        """Those of these paths in the drop folder that have an item."""
        rows = self._connection.execute(_AMONG, {"paths": list(paths)}) if paths else ()
        return {path for path, state in rows if state in LIVE}

    def filed_among(self, paths: Collection[bytes], state: State) -> set[bytes]:
        """Those of these paths under which a recording was filed so, or is about to be filed, moved on or back."""
        if not paths:
            return set()
        given: dict[str, Any] = {"paths": list(paths)}
        rows = self._connection.execute(_FILED_AMONG, given)
        filed = (filed_as for filed_as, its_state in rows if its_state == state or its_state in MOVING)
        # Not by a condition: through its index, each item that was never filed would be looked at (measured).
        moving = self._connection.execute(_MOVING_AMONG, given)
        moves_on = self._connection.execute(_MOVES_ON_AMONG, given).scalars() if state is State.DONE else ()
        return {*filed, *moves_on, *(row.path for row in moving if row.filed_as is None)}

    def listed(self, states: Sequence[State] = ()) -> Iterator[Item]:
        """All items, or those in these states, oldest arrival first."""
        query = ALL_ITEMS.where(items.c.state.in_(states)) if states else ALL_ITEMS
        with self._connection.execute(query, execution_options={"yield_per": 1000}) as rows:
            for row in rows:
                yield item_of(row)

    def with_identifier(self, identifier: str) -> list[Item]:
        return all_of(self._connection, _BY_IDENTIFIER, identifier=identifier)

    def any_identifier(self) -> str | None:
        """Any that the service has given; null for none."""
        identifier: str | None = self._connection.execute(_ANY_IDENTIFIER).scalar()
        return identifier

    def last_change(self) -> int:
        """The number of the latest line in all histories; 0 if there is none."""
        return int(self._connection.execute(_LAST_CHANGE).scalar_one())

    def has_left(self, path: bytes, serial: int) -> bool:
        """Return whether an item has given up this path in the drop folder since this change."""
        return bool(_LEFT_SINCE.value(self._connection, {"path": path, "serial": serial}))

    def accepted_after(self, serial: int, states: Sequence[VerdictState]) -> list[Item]:
        """What has come to be filed, or was filed, since this change, by the state of its verdict."""
        return all_of(self._connection, _ACCEPTED_AFTER, serial=serial, states=states)

    def counts(self, total: int | None = None) -> dict[State, int]:
        """How many items are in each state; every state is included. `total`: of how many, if that is known."""
        # Most are done: so many as the others leave of all, whose number takes no look at any of them.
        counted = {State(state): number for state, number in self._connection.execute(_COUNTS)}
        if total is None:
            total = self._connection.execute(_TOTAL).scalar_one()
        counted[State.DONE] = total - sum(counted.values())
        return {state: counted.get(state, 0) for state in State}

    def oldest_arrival(self, states: AbstractSet[State]) -> float | None:
        """When the first of those arrived that are in one of these states; None if there are none."""
        found = (self._connection.execute(_OLDEST_ARRIVAL, {"state": state}).scalar_one() for state in states)
        return min((at for at in found if at is not None), default=None)

    def latest_arrival(self) -> float | None:
        """When the latest recording arrived; None if there is none."""
        at: float | None = self._connection.execute(_LATEST_ARRIVAL).scalar_one()
        return at

    def dismissed(self) -> int:
        """How many failed items were dismissed."""
        number: int = self._connection.execute(_DISMISSED).scalar_one()
        return number

    def history(self, item_id: str) -> list[JsonObject]:
        """Every change of state, oldest first. `by`: the person who decided it, or null."""
        rows = self._connection.execute(_HISTORY, {"id": item_id})
        return [{"at": rfc3339(r.at), "from": r.before, "to": r.after, "note": r.note, "by": r.by} for r in rows]

    def in_state(self, state: State, limit: int = 100) -> list[Item]:
        """The oldest items in this state."""
        return all_of(self._connection, _in_state(state), limit=limit)

    def returnable(self, path: bytes, sha256: str | None, inode: int) -> Item | None:
        """The withdrawn, never sent item that came back: the same path with the same bytes, or the same file."""
        withdrawn = all_of(self._connection, _WITHDRAWN_AT, path=path)
        same_bytes = (item for item in withdrawn if item.sha256 == sha256)
        same_file = (item for item in withdrawn[:1] if item.attempts == 0 and item.fingerprint.inode == inode)
        return next(same_bytes, None) or next(same_file, None)

    def with_sha256(self, sha256: str) -> list[Item]:
        """All items of these bytes, whatever was asked about them, the latest first."""
        return all_of(self._connection, _WITH_SHA256, sha256=sha256)

    def failed_with(self, sha256: str) -> list[Item]:
        """Failed items of these bytes, the latest first."""
        return all_of(self._connection, _FAILED_WITH, sha256=sha256)

    def add(self, item: Item, note: str = "", *, serial: int | None = None) -> None:
        """Insert the item, as the latest arrival or under this number.

        Raises TransitionRefused where no item begins so; StoreContradicted where a live one has its path already.
        """
        _check_transition(item.id, None, item.state)
        values = columns_of(item)
        if not item.site:
            del values["site"]  # the transaction's own
        if serial is not None:
            values["serial"] = serial
        _ADD.change(self._connection, values)
        self._tallies.add(ITEMS)
        is_seen = item.state is State.FAILED and (item.dismissed is not None or item.review is not None)
        if (alarm := _ALARMS.get(item.state)) is not None and not is_seen:
            self._conditions.open(alarm, item.id, item.arrived_at)
        if item.identifier is not None:
            copy_to_item(self._connection, item.id)
        self._note(item.id, item.arrived_at, None, item.state, note)

    def change(
        self, item: Item, after: State, now: float, note: str = "", *, by: str | None = None, **changes: Any
    ) -> None:
        """Change the item's state to `after`. Raises StaleItem if it was changed since `item` was read.

        Raises TransitionRefused where no item ever goes from the one state to the other.
        `changes` are columns; those that `rows.KEPT` names are as in the domain.
        What leaves failed/ is not dismissed any more. `by`: the person who decided it.
        """
        _check_transition(item.id, item.state, after)
        if item.dismissed is not None and after is not State.FAILED:
            changes["dismissed"] = None
        values = flattened(changes) | {"state": after}
        if after != State.SUBMITTING:
            values.setdefault("claim", None)
        expected = {"the_id": item.id, "the_state": item.state, "the_claim": item.claim}
        if "identifier" in values:
            expected["the_identifier"] = values["identifier"]
        if _change(tuple(values)).change(self._connection, expected | values) != 1:
            msg = f"{item.id} is no longer {item.state}"
            raise StaleItem(msg)
        if item.state is State.FILING and after in FILED:
            self._tallies.count_filed(after, now - item.arrived_at)
        if after != item.state or note:
            self._note(item.id, now, item.state, after, note, by)
        self._note_conditions(item, after, now, changes)

    def _note_conditions(self, item: Item, after: State, now: float, changes: Mapping[str, Any]) -> None:
        """Note what opens with this change of the item, and what closes."""
        before, opened = _ALARMS.get(item.state), _ALARMS.get(after)
        closed = set() if before is None or before is opened else {before}
        if item.state is State.FAILED and changes.get("dismissed") is not None:
            closed.add(Alarm.FAILED)
        if changes.get("review") is not None:
            closed |= {Alarm.FAILED, Alarm.ARTIFICIAL, Alarm.GROWN}
        if after is State.RETURNING:
            closed |= {Alarm.ARTIFICIAL, Alarm.GROWN, Alarm.OVERDUE}
        for alarm in closed:
            self._conditions.close(alarm, item.id, now)
        if opened is not None and opened is not before:
            self._conditions.open(opened, item.id, now)

    def note(self, item: Item, now: float, note: str) -> None:
        """Add to the history what became known of the item; its row stays as it is."""
        self._note(item.id, now, item.state, item.state, note)

    def _note(
        self, item_id: str, at: float, before: State | None, after: State, note: str, by: str | None = None
    ) -> None:
        values = {"item_id": item_id, "at": at, "before": before, "after": after, "note": note, "by": by}
        _NOTE.change(self._connection, values)


def _check_transition(item_id: str, before: State | None, after: State) -> None:
    if after not in TRANSITIONS[before]:
        raise TransitionRefused(
            f"{item_id}: no item goes from {before or 'nothing'} to {after}",
            hint="Nothing was written. This is a fault of the program: please report it.",
        )


@cache
def _in_state(state: State) -> Compiled:
    return Compiled(select(items).where(items.c.state == state).order_by(*BY_ARRIVAL).limit(bindparam("limit")))


@cache
def _change(names: tuple[str, ...]) -> Compiled:
    """The compare-and-set that writes these columns; with the identifier, what is known of its verdict."""
    copied = copied_from(bindparam("the_identifier")) if "identifier" in names else {}
    return Compiled(
        update(items)
        .where(
            items.c.id == bindparam("the_id"),
            unindexed(items.c.state) == bindparam("the_state"),
            items.c.claim.is_not_distinct_from(bindparam("the_claim")),
        )
        .values({name: bindparam(name) for name in names} | copied)
    )
