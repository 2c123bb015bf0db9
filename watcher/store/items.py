"""The items: what arrived, where each one stands, and how it came there.

The statements are built once: building one costs several times as much as running it (measured).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from watcher.domain import (
    FILED,
    LIVE,
    TRANSITIONS,
    UNDECIDED,
    Alteration,
    Altered,
    Audio,
    Dismissed,
    Fault,
    Fingerprint,
    Item,
    JsonObject,
    State,
    VerdictState,
    rfc3339,
    show_path,
)
from watcher.errors import LateWriter, NoSuchItem, TransitionRefused
from watcher.store.schema import items, obstacles, transitions, verdicts


def _is_one_of(table: FromClause, states: AbstractSet[State]) -> ColumnElement[bool]:
    """The state is one of these. A list in a statement would be taken apart anew each time it runs (measured)."""
    return or_(*(table.c.state == state for state in State if state in states))


_all_items = select(items).order_by(items.c.serial)
_latest_first = select(items).order_by(items.c.serial.desc())
_first = items.alias("first")

_BY_ID = select(items).where(items.c.id == bindparam("id"))
_BY_BEGINNING = select(items).where(items.c.id.between(bindparam("low"), bindparam("high"))).limit(2)
_LATEST_AT = _latest_first.where(
    (items.c.path == bindparam("path")) | (items.c.filed_as == bindparam("path"))
).limit(1)
_LIVE_AT = select(items).where(items.c.path == bindparam("path"), _is_one_of(items, LIVE))
_LIVE_PATHS = select(items.c.path, items.c.fingerprint).where(_is_one_of(items, LIVE))
_LIVE_COMPANIONS = select(items.c.companions).where(_is_one_of(items, LIVE), items.c.companions != b"")
_FILED_AFTER = (
    _all_items.where(items.c.serial > bindparam("serial"), _is_one_of(items, FILED), items.c.filed_as.is_not(None))
).limit(bindparam("limit"))
_BY_IDENTIFIER = _all_items.where(items.c.identifier == bindparam("identifier"))
_COUNTS = select(items.c.state, func.count()).group_by(items.c.state)
_DISMISSED = select(func.count()).where(items.c.state == State.FAILED, items.c.dismissed_at.is_not(None))
_LAST_CHANGE = select(func.coalesce(func.max(transitions.c.serial), 0))
_ACCEPTED_AFTER = (
    _all_items.join(verdicts, verdicts.c.identifier == items.c.identifier)
    .where(verdicts.c.state.in_(bindparam("states", expanding=True)))
    .where(
        exists().where(
            transitions.c.item_id == items.c.id,
            transitions.c.serial > bindparam("serial"),
            transitions.c.before.is_distinct_from(transitions.c.after),
            or_(transitions.c.after == State.FILING, transitions.c.after == State.DONE),
        )
    )
)
_HISTORY = select(transitions).where(transitions.c.item_id == bindparam("id")).order_by(transitions.c.serial)

_WAITS = exists().where(_first.c.id == items.c.duplicate_of, _is_one_of(_first, UNDECIDED))
_FREE = select(items).where(items.c.state == State.QUEUED, ~_WAITS).limit(1)
_BY_ARRIVAL = (items.c.arrived_at, items.c.serial)
_IS_DUE = or_(
    items.c.due_at <= bindparam("now"), items.c.attempted_at > bindparam("now")
)  # the clock was set back
_NEXT_DUE = _FREE.where(_IS_DUE).order_by(*_BY_ARRIVAL)
_NEXT_CANARY = _FREE.order_by(func.coalesce(items.c.attempted_at, 0.0), *_BY_ARRIVAL)
_NEXT_DUE_AT = select(func.min(items.c.due_at)).where(
    items.c.state == State.QUEUED, items.c.due_at > bindparam("now")
)
_IN_STATE = (
    select(items).where(items.c.state == bindparam("state")).order_by(*_BY_ARRIVAL).limit(bindparam("limit"))
)
_PUT_OFF = (
    select(items)
    .where(items.c.state == State.QUEUED, items.c.due_at > bindparam("now"))
    .where(items.c.fault_code == bindparam("code"))
    .order_by(*_BY_ARRIVAL)
)
_IS_BLOCKED = and_(
    items.c.state == State.QUEUED, ~_WAITS, items.c.fault_code.in_(bindparam("codes", expanding=True))
)
_BLOCKED = select(items).where(_IS_BLOCKED).order_by(*_BY_ARRIVAL).limit(bindparam("limit"))
_HOW_MANY_BLOCKED = select(func.count()).select_from(items).where(_IS_BLOCKED)
_HAS_FAILED_SO = and_(
    items.c.fault_code.is_not(None),
    items.c.fault_code.in_(bindparam("codes", expanding=True)),
    func.coalesce(items.c.attempted_at, 0.0) >= bindparam("since"),
)
_OTHERS_QUEUED = select(items.c.id).where(items.c.state == State.QUEUED, ~_WAITS, ~_HAS_FAILED_SO).limit(1)
_IS_OBSTRUCTED = exists().where(
    obstacles.c.item_id == items.c.id,
    obstacles.c.again_at > bindparam("now"),
    obstacles.c.again_at <= bindparam("latest"),  # a later time is of before the clock was set back
)
_TO_MOVE = (
    select(items)
    .where(items.c.state == bindparam("state"), ~_IS_OBSTRUCTED)
    .order_by(*_BY_ARRIVAL)
    .limit(bindparam("limit"))
)
_TO_DONE = _TO_MOVE.where(items.c.outcome == State.DONE)
_TO_FAILED = _TO_MOVE.where(items.c.outcome.is_distinct_from(State.DONE))
_RECEIPT_DUE = _all_items.where(items.c.receipt_due, items.c.state == bindparam("state"), ~_IS_OBSTRUCTED).limit(
    bindparam("limit")
)
_ALTERED = _all_items.where(items.c.altered.is_not(None), _is_one_of(items, FILED)).limit(bindparam("limit"))
_MARK_ALTERED = (
    update(items)
    .where(items.c.id == bindparam("the_id"), items.c.state == bindparam("the_state"))
    .where(
        or_(
            items.c.altered.is_distinct_from(bindparam("new_kind")),
            items.c.altered_size.is_distinct_from(bindparam("new_size")),
        )
    )
    .values(
        altered=bindparam("altered"),
        altered_size=bindparam("altered_size"),
        altered_at=bindparam("altered_at"),
        receipt_due=True,
    )
)
_ALL_RECEIPTS_DUE = _all_items.where(items.c.receipt_due, _is_one_of(items, FILED))

_FIRST_OF = (
    select(items)
    .where(
        items.c.content_key == bindparam("content_key"),
        items.c.id != bindparam("apart_from"),
        or_(items.c.duplicate_of.is_(None), items.c.identifier.is_not(None)),
        or_(
            items.c.identifier.is_not(None),
            _is_one_of(items, UNDECIDED | {State.HELD}),
            and_(items.c.outcome == State.FAILED, items.c.fault_code == "refused"),
        ),
    )
    .order_by(
        case(
            (items.c.identifier.is_not(None), 0),
            (_is_one_of(items, UNDECIDED), 1),
            (items.c.state == State.HELD, 2),
            else_=3,
        ),
        items.c.serial,
    )
    .limit(1)
)
_SAME_CONTENT = select(items).where(items.c.content_key == bindparam("content_key")).order_by(*_BY_ARRIVAL)
_WAITS_FOR_ANOTHER = text("items.duplicate_of IS NOT NULL AND items.state IN ('queued', 'held')")  # as the index
_DUPLICATES_OF = _all_items.where(items.c.duplicate_of == bindparam("id"), _WAITS_FOR_ANOTHER).limit(
    bindparam("limit")
)
_SETTLED_FIRSTS = (
    select(items.c.duplicate_of)
    .where(_WAITS_FOR_ANOTHER, items.c.duplicate_of == _first.c.id)
    .where(
        or_(
            and_(items.c.state == State.QUEUED, ~_is_one_of(_first, UNDECIDED)),
            and_(items.c.state == State.HELD, _first.c.state != State.HELD),
        )
    )
    .distinct()
    .limit(100)
)
_WITHDRAWN_AT = _latest_first.where(items.c.path == bindparam("path"), items.c.state == State.WITHDRAWN)
_FAILED_WITH = _latest_first.where(items.c.sha256 == bindparam("sha256"), items.c.state == State.FAILED)
_BRING_FORWARD = (
    update(items)
    .where(items.c.id.in_(bindparam("ids", expanding=True)), items.c.state == State.QUEUED)
    # Others were accepted between the faults of one with more: they are its own, and so is its back-off.
    .where(items.c.due_at > bindparam("now"), items.c.faults <= 1)
    .values(due_at=bindparam("now"))
)
_NOTE = insert(transitions)


class Items:
    """The items table and its history, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Reading

    def get(self, item_id: str) -> Item | None:
        return self._one(_BY_ID, id=item_id)

    def find(self, text: str, paths: Iterable[bytes]) -> Item:
        """The item that a person named by its id, the first 6 characters of it or more, or a path.

        Of several items that had the path one after the other it is the latest.
        Raises NoSuchItem when there is none, or when the beginning fits several.
        """
        if len(text) >= 6 and all(c in "0123456789abcdef" for c in text):
            found = self._all(_BY_BEGINNING, low=text, high=text + "g")
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
        """The latest item that had this path in the drop folder, or that was filed under it."""
        return self._one(_LATEST_AT, path=path)

    def live_at(self, path: bytes) -> Item | None:
        """The item whose recording lies under this path in the drop folder, or is about to."""
        return self._one(_LIVE_AT, path=path)

    def live_paths(self) -> dict[bytes, int]:
        """Every path in the drop folder that has an item, and the inode that it had when it was queued."""
        rows = self._connection.execute(_LIVE_PATHS)
        return {path: int(fingerprint.split(":")[1]) for path, fingerprint in rows}

    def live_companions(self) -> list[bytes]:
        """Every marker and sidecar in the drop folder whose recording has an item."""
        rows = self._connection.execute(_LIVE_COMPANIONS).scalars()
        return [path for paths in rows for path in paths.split(b"\0")[:-1]]

    def listed(self, states: Sequence[State] = ()) -> Iterator[Item]:
        """All items, or those in these states, in the order they arrived."""
        query = _all_items.where(items.c.state.in_(states)) if states else _all_items
        for row in self._connection.execute(query, execution_options={"yield_per": 1000}):
            yield _item(row)

    def filed_after(self, serial: int, limit: int) -> list[tuple[int, Item]]:
        """Items whose recordings lie in done/ or failed/, behind this number, each with its own."""
        rows = self._connection.execute(_FILED_AFTER, {"serial": serial, "limit": limit})
        return [(row.serial, _item(row)) for row in rows]

    def with_identifier(self, identifier: str) -> list[Item]:
        return self._all(_BY_IDENTIFIER, identifier=identifier)

    def last_change(self) -> int:
        """The number of the latest line in all histories; 0 where there is none."""
        return int(self._connection.execute(_LAST_CHANGE).scalar_one())

    def accepted_after(self, serial: int, states: Sequence[VerdictState]) -> list[Item]:
        """What has come to be filed, or was filed, since this change, by the state of its verdict."""
        return self._all(_ACCEPTED_AFTER, serial=serial, states=states)

    def counts(self) -> dict[State, int]:
        """How many items are in each state, every state named."""
        counted = {State(state): number for state, number in self._connection.execute(_COUNTS)}
        return {state: counted.get(state, 0) for state in State}

    def dismissed(self) -> int:
        """How many failed items a person is done with."""
        number: int = self._connection.execute(_DISMISSED).scalar_one()
        return number

    def ahead_of(self, item: Item) -> int:
        """How many queued items are submitted before this one, as things stand."""
        serial = select(items.c.serial).where(items.c.id == item.id).scalar_subquery()
        same_moment = and_(items.c.arrived_at == item.arrived_at, items.c.serial < serial)
        earlier = or_(items.c.arrived_at < item.arrived_at, same_moment)
        return self._connection.execute(
            select(func.count()).where(items.c.state == State.QUEUED, earlier)
        ).scalar_one()

    def history(self, item_id: str) -> list[JsonObject]:
        """Every change of state, oldest first; `by` is the person who decided it, or null."""
        rows = self._connection.execute(_HISTORY, {"id": item_id})
        return [{"at": rfc3339(r.at), "from": r.before, "to": r.after, "note": r.note, "by": r.by} for r in rows]

    # Finding work

    def next_due(self, now: float, *, canary: bool) -> Item | None:
        """The queued item to submit next: the oldest arrival that is due.

        A canary is another item each time, due or not: the one that was tried least recently. An item whose
        bytes are with another item now waits for that one.
        """
        return self._one(_NEXT_CANARY) if canary else self._one(_NEXT_DUE, now=now)

    def next_due_at(self, now: float) -> float | None:
        """When the next queued item that waits for its back-off is due; null when none waits."""
        due_at: float | None = self._connection.execute(_NEXT_DUE_AT, {"now": now}).scalar_one()
        return due_at

    def put_off(self, code: str, now: float) -> list[Item]:
        """Queued items that are due only later because of this fault, the oldest arrival first."""
        return self._all(_PUT_OFF, code=code, now=now)

    def blocked(self, codes: Sequence[str], limit: int) -> list[Item]:
        """So many of the queued items whose last try met one of these faults, the oldest arrival first."""
        return self._all(_BLOCKED, codes=codes, limit=limit)

    def how_many_blocked(self, codes: Sequence[str]) -> int:
        """How many there are in all."""
        return int(self._connection.execute(_HOW_MANY_BLOCKED, {"codes": codes}).scalar_one())

    def has_others_queued(self, codes: Sequence[str], since: float) -> bool:
        """Whether any item is queued, and waits for no other, that has not met one of these faults since then."""
        found = self._connection.execute(_OTHERS_QUEUED, {"codes": codes, "since": since})
        return found.first() is not None

    def in_state(self, state: State, limit: int = 100) -> list[Item]:
        """The oldest items in this state."""
        return self._all(_IN_STATE, state=state, limit=limit)

    # What to do on the disk. What has an obstacle is left out until its time comes; none is later than `latest`.

    def to_file(self, outcome: State, now: float, latest: float, limit: int) -> list[Item]:
        """The oldest items that are on their way to done/, or to failed/."""
        query = _TO_DONE if outcome is State.DONE else _TO_FAILED
        return self._all(query, state=State.FILING, now=now, latest=latest, limit=limit)

    def to_return(self, now: float, latest: float, limit: int) -> list[Item]:
        """The oldest items that are on their way back to the drop folder."""
        return self._all(_TO_MOVE, state=State.RETURNING, now=now, latest=latest, limit=limit)

    def with_receipt_due(self, state: State, now: float, latest: float, limit: int) -> list[Item]:
        """Items at rest in done/, or in failed/, whose receipts do not tell everything that is known."""
        return self._all(_RECEIPT_DUE, state=state, now=now, latest=latest, limit=limit)

    def with_any_receipt_due(self) -> list[Item]:
        """All such items, whatever stands in their way."""
        return self._all(_ALL_RECEIPTS_DUE)

    def first_of(self, content_key: str, apart_from: str = "") -> Item | None:
        """The item that decides for all with the same bytes, options, base URL and account.

        That is one with an identifier, else one on its way to it, else one that a person must decide on,
        else one that the service refused; an item that was withdrawn decides nothing.
        """
        return self._one(_FIRST_OF, content_key=content_key, apart_from=apart_from)

    def with_content(self, content_key: str) -> list[Item]:
        """All items of the same bytes, options, base URL and account, the oldest arrival first."""
        return self._all(_SAME_CONTENT, content_key=content_key)

    def duplicates_of(self, item_id: str, limit: int = 500) -> list[Item]:
        """Items that wait, queued or held, for what becomes of this one: the first of them."""
        return self._all(_DUPLICATES_OF, id=item_id, limit=limit)

    def settled_firsts(self) -> list[str]:
        """Ids of items that others wait for, and that wait for nothing any more themselves: some of them."""
        return list(self._connection.execute(_SETTLED_FIRSTS).scalars())

    def returnable(self, path: bytes, sha256: str | None, inode: int) -> Item | None:
        """The withdrawn item that came back: the same path with the same bytes, or the same file, never sent."""
        withdrawn = self._all(_WITHDRAWN_AT, path=path)
        same_bytes = (item for item in withdrawn if item.sha256 == sha256)
        same_file = (item for item in withdrawn[:1] if item.attempts == 0 and item.fingerprint.inode == inode)
        return next(same_bytes, None) or next(same_file, None)

    def failed_with(self, sha256: str) -> list[Item]:
        """Failed items of these bytes, the latest first."""
        return self._all(_FAILED_WITH, sha256=sha256)

    # Writing

    def add(self, item: Item, note: str = "") -> None:
        """The item has a row.

        Raises TransitionRefused where no item begins so; StoreContradicted where a live one has its path already.
        """
        _check_transition(item.id, None, item.state)
        self._connection.execute(_ADD, {"id": item.id, **_columns(item)})
        self._note(item.id, item.arrived_at, None, item.state, note)

    def change(
        self, item: Item, after: State, now: float, note: str = "", *, by: str | None = None, **changes: Any
    ) -> None:
        """The item is in the state `after`, if nobody changed it since `item` was read: else LateWriter.

        Raises TransitionRefused where no item ever goes from the one state to the other.
        `changes` are columns; `fault`, `fingerprint`, `audio`, `altered` and `dismissed` are as in the domain.
        What leaves failed/ is not dismissed any more. `by`: the person who decided it.
        """
        _check_transition(item.id, item.state, after)
        if item.dismissed is not None and after is not State.FAILED:
            changes["dismissed"] = None
        values = _flattened(changes) | {"state": after}
        if after != State.SUBMITTING:
            values.setdefault("claim", None)
        expected = {"the_id": item.id, "the_state": item.state, "the_claim": item.claim}
        done = self._connection.execute(_change(tuple(values)), expected | values)
        if done.rowcount != 1:
            msg = f"{item.id} is no longer {item.state}"
            raise LateWriter(msg)
        if after != item.state or note:
            self._note(item.id, now, item.state, after, note, by)

    def bring_forward(self, ids: Sequence[str], now: float) -> None:
        """Those of these items that wait for their back-off are due now, but for one with faults of its own."""
        self._connection.execute(_BRING_FORWARD, {"ids": list(ids), "now": now})

    def mark_receipts_due(self, identifier: str) -> None:
        """Every receipt that names this identifier is written again."""
        self._connection.execute(update(items).where(items.c.identifier == identifier).values(receipt_due=True))

    def mark_altered(self, item: Item) -> None:
        """What was done to it since it was filed stands in its row, and its receipt is written again.

        Not where it left its folder meanwhile, nor where that is known already.
        """
        values = _flattened({"altered": item.altered})
        expected = {"the_id": item.id, "the_state": item.state}
        news = {"new_kind": values["altered"], "new_size": values["altered_size"]}
        self._connection.execute(_MARK_ALTERED, expected | news | values)

    def altered(self, limit: int) -> list[Item]:
        """Items at rest whose recordings were altered since they were filed, in the order they arrived."""
        return self._all(_ALTERED, limit=limit)

    def mark_receipt_written(self, item_id: str) -> None:
        self._connection.execute(update(items).where(items.c.id == item_id).values(receipt_due=False))

    def _note(
        self, item_id: str, at: float, before: State | None, after: State, note: str, by: str | None = None
    ) -> None:
        values = {"item_id": item_id, "at": at, "before": before, "after": after, "note": note, "by": by}
        self._connection.execute(_NOTE, values)

    def _one(self, query: Select[Any], **values: Any) -> Item | None:
        row = self._connection.execute(query, values).one_or_none()
        return None if row is None else _item(row)

    def _all(self, query: Select[Any], **values: Any) -> list[Item]:
        return [_item(row) for row in self._connection.execute(query, values)]


def _check_transition(item_id: str, before: State | None, after: State) -> None:
    if after not in TRANSITIONS[before]:
        raise TransitionRefused(
            f"{item_id}: no item goes from {before or 'nothing'} to {after}",
            hint="Nothing was written. This is a fault of the program: please report it.",
        )


@cache
def _change(names: tuple[str, ...]) -> Update:
    """The compare-and-set that writes these columns."""
    return (
        update(items)
        .where(
            items.c.id == bindparam("the_id"),
            items.c.state == bindparam("the_state"),
            items.c.claim.is_not_distinct_from(bindparam("the_claim")),
        )
        .values({name: bindparam(name) for name in names})
    )


def _item(row: Row[Any]) -> Item:
    fault = None if row.fault_code is None else Fault(row.fault_code, row.fault_message, row.fault_hint)
    return Item(
        id=row.id,
        path=row.path,
        state=State(row.state),
        size=row.size,
        arrived_at=row.arrived_at,
        fingerprint=_fingerprint(row.fingerprint),
        sha256=row.sha256,
        media_type=row.media_type,
        extension=row.extension,
        audio=_audio(row),
        content_key=row.content_key,
        due_at=row.due_at,
        claim=row.claim,
        identifier=row.identifier,
        fault=fault,
        warning=row.warning,
        duplicate_of=row.duplicate_of,
        attempts=row.attempts,
        attempted_at=row.attempted_at,
        faults=row.faults,
        faulted_at=row.faulted_at,
        in_doubt=row.in_doubt,
        suspected_at=row.suspected_at,
        fresh=row.fresh,
        retried=row.retried,
        outcome=None if row.outcome is None else State(row.outcome),
        filed_as=row.filed_as,
        submitted_at=row.submitted_at,
        filed_at=row.filed_at,
        companions=tuple(row.companions.split(b"\0")[:-1]),
        altered=None
        if row.altered is None
        else Altered(Alteration(row.altered), row.altered_size, row.altered_at),
        dismissed=None if row.dismissed_at is None else Dismissed(row.dismissed_at, row.dismissed_by),
    )


def _audio(row: Row[Any]) -> Audio | None:
    if row.container is None:
        return None
    return Audio(row.container, row.codec, row.seconds, row.channels, row.sample_rate)


def _columns(item: Item) -> dict[str, Any]:
    names = Item.__dataclass_fields__
    return _flattened({name: getattr(item, name) for name in names if name != "id"})


def _flattened(values: dict[str, Any]) -> dict[str, Any]:
    flat = dict(values)
    if "fault" in flat:
        fault: Fault | None = flat.pop("fault")
        flat["fault_code"] = fault.code if fault else None
        flat["fault_message"] = fault.message if fault else None
        flat["fault_hint"] = fault.hint if fault else None
    if "fingerprint" in flat:
        mark: Fingerprint = flat["fingerprint"]
        parts = (mark.device, mark.inode, mark.size, mark.mtime_ns, mark.ctime_ns)
        flat["fingerprint"] = ":".join(map(str, parts))
    if "audio" in flat:
        audio: Audio | None = flat.pop("audio")
        flat |= dict.fromkeys(_AUDIO) if audio is None else {name: getattr(audio, name) for name in _AUDIO}
    if "altered" in flat:
        altered: Altered | None = flat["altered"]
        flat["altered"] = altered.kind if altered else None
        flat["altered_size"] = altered.size if altered else None
        flat["altered_at"] = altered.at if altered else None
    if "dismissed" in flat:
        dismissed: Dismissed | None = flat.pop("dismissed")
        flat["dismissed_at"] = dismissed.at if dismissed else None
        flat["dismissed_by"] = dismissed.by if dismissed else None
    if "companions" in flat:
        flat["companions"] = b"".join(path + b"\0" for path in flat["companions"])
    return flat


_ADD = insert(items)
_AUDIO = tuple(Audio.__dataclass_fields__)


def _fingerprint(text: str) -> Fingerprint:
    device, inode, size, mtime_ns, ctime_ns = map(int, text.split(":"))
    return Fingerprint(device, inode, size, mtime_ns, ctime_ns)
