"""The conditions that somebody is told of, and the messages about them: the outbox.

What opens or closes is noted in the transaction in which it does, and what is told of it in the transaction that
makes the message: so a crash loses nothing of it.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, bindparam, delete, func, insert, or_, select, update

from watcher.alarms import Alarm, Condition, Noted, Told
from watcher.store.dialects import insert_or_leave
from watcher.store.schema import conditions, messages
from watcher.text import JsonObject

_THIS = (conditions.c.kind == bindparam("the_kind")) & (conditions.c.subject == bindparam("the_subject"))
_ADD = insert_or_leave(conditions)
_REOPEN = (
    update(conditions)
    .where(_THIS, conditions.c.closed_at.is_not(None))
    .values(
        opened_3=conditions.c.opened_2,
        opened_2=conditions.c.opened_1,
        opened_1=conditions.c.opened_at,
        opened_at=bindparam("at"),
        closed_at=None,
        look_at=bindparam("at"),
    )
)
_CLOSE = (
    update(conditions)
    .where(_THIS, conditions.c.closed_at.is_(None))
    .values(closed_at=bindparam("at"), look_at=bindparam("at"))
)
_ALL_OPEN = select(conditions.c.subject).where(
    conditions.c.kind == bindparam("the_kind"), conditions.c.closed_at.is_(None)
)
_IS_OPEN = select(conditions.c.kind).where(_THIS, conditions.c.closed_at.is_(None))
_WAITING = (
    select(conditions.c.kind, func.min(conditions.c.look_at))
    .where(conditions.c.look_at.is_not(None))
    .group_by(conditions.c.kind)
)
_KINDS: BindParameter[Any] = bindparam("kinds", expanding=True)
_TO_LOOK_AT = (
    select(conditions)
    .where(
        conditions.c.kind.in_(_KINDS),
        or_(conditions.c.look_at <= bindparam("now"), conditions.c.look_at > bindparam("latest")),
    )
    .order_by(conditions.c.opened_at)
    .limit(bindparam("limit"))
)
_SETTLE = (
    update(conditions)
    .where(_THIS)
    .values(
        told=bindparam("the_told"),
        told_at=bindparam("the_told_at"),
        told_opening=bindparam("the_opening"),
        look_at=bindparam("the_look"),
    )
)
_SETTLE_UNTOLD = update(conditions).where(_THIS).values(look_at=bindparam("the_look"))
_FORGET = delete(conditions).where(_THIS)
_FORGET_SUBJECT = delete(conditions).where(conditions.c.subject == bindparam("subject"))
_FORGET_KINDS = delete(conditions).where(conditions.c.kind.not_in(_KINDS))
_TOLD_OPEN = (conditions.c.closed_at.is_(None), conditions.c.told.is_not(None), conditions.c.kind.in_(_KINDS))
_LONGEST_TOLD = select(func.min(conditions.c.told_at)).where(*_TOLD_OPEN)
_HOW_MANY = select(conditions.c.kind, func.count()).where(*_TOLD_OPEN).group_by(conditions.c.kind)
_FIRST_OF = (
    select(conditions.c.subject)
    .where(
        conditions.c.kind == bindparam("the_kind"),
        conditions.c.closed_at.is_(None),
        conditions.c.told.is_not(None),
    )
    .order_by(conditions.c.opened_at)
    .limit(bindparam("limit"))
)

_MAKE = insert(messages).returning(messages.c.serial)
_LAST_MADE = select(func.max(messages.c.made_at))
_UNSENT = select(messages).where(messages.c.ended_at.is_(None)).order_by(messages.c.serial)
_SENT = (
    update(messages)
    .where(messages.c.serial == bindparam("the_serial"))
    .values(sent_to=messages.c.sent_to.concat(bindparam("mark")))
)
_END = (
    update(messages)
    .where(messages.c.serial == bindparam("the_serial"))
    .values(ended_at=bindparam("now"), content="")
)
_FORGET_ENDED = delete(messages).where(
    messages.c.ended_at < bindparam("before"),
    messages.c.serial < select(func.max(messages.c.serial)).scalar_subquery(),  # its number is never given again
)


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be told, and to which addresses it was sent, by their marks.

    `serial`: its key against repeats.
    """

    serial: int
    made_at: float
    content: JsonObject
    sent_to: frozenset[str]


class Conditions:
    """The conditions, within one transaction."""

    def __init__(self, connection: Connection, noted: Noted) -> None:
        self._connection = connection
        self._noted = noted

    @property
    def noted(self) -> Noted:
        return self._noted

    def open(self, kind: Alarm, subject: str, at: float) -> None:
        """Note that this is the case from now on, if somebody is told of such; it may be known already."""
        if kind not in self._noted.kinds:
            return
        values = {"kind": kind, "subject": subject, "opened_at": at, "look_at": at}
        if not self._connection.execute(_ADD, values).rowcount:
            self._connection.execute(_REOPEN, {"the_kind": kind, "the_subject": subject, "at": at})

    def close(self, kind: Alarm, subject: str, at: float) -> None:
        """Note that this is the case no more, if it was noted that it is."""
        self._connection.execute(_CLOSE, {"the_kind": kind, "the_subject": subject, "at": at})

    def forget(self, subject: str) -> None:
        """Nothing was ever noted of it."""
        self._connection.execute(_FORGET_SUBJECT, {"subject": subject})

    def keep_only(self, kinds: Collection[Alarm]) -> None:
        """Forget all other kinds."""
        self._connection.execute(_FORGET_KINDS, {"kinds": list(kinds)})

    def is_open(self, kind: Alarm, subject: str) -> bool:
        """Return whether it was noted that this is the case."""
        return self._connection.execute(_IS_OPEN, {"the_kind": kind, "the_subject": subject}).scalar() is not None

    def subjects(self, kind: Alarm) -> set[str]:
        """Of what it was noted that this is the case."""
        return set(self._connection.execute(_ALL_OPEN, {"the_kind": kind}).scalars())

    def waiting(self) -> dict[Alarm, float]:
        """Since when, or from when on, there is something to look at, by kind."""
        return {Alarm(kind): at for kind, at in self._connection.execute(_WAITING)}

    def to_look_at(self, kinds: Collection[Alarm], now: float, latest: float, limit: int) -> list[Condition]:
        """Return what is to be looked at of these kinds, the longest open first.

        A time after `latest` is wrong: it is looked at now.
        """
        given = {"kinds": list(kinds), "now": now, "latest": latest, "limit": limit}
        return [_condition(row) for row in self._connection.execute(_TO_LOOK_AT, given)]

    def settle(self, rows: Collection[tuple[Condition, Told | None, float | None]], now: float) -> None:
        """Note what is told of these now, and when each is to be looked at next."""
        given = [
            {
                "the_kind": one.kind,
                "the_subject": one.subject,
                "the_told": told,
                "the_told_at": None if told is None else now,
                "the_opening": None if told is None else one.opened_at,
                "the_look": look_at,
            }
            for one, told, look_at in rows
        ]
        if given:
            self._connection.execute(_SETTLE, given)

    def postpone(self, rows: Collection[tuple[Condition, float | None]]) -> None:
        """Note when each is to be looked at next: nothing is told of it now."""
        given = [{"the_kind": one.kind, "the_subject": one.subject, "the_look": look_at} for one, look_at in rows]
        if given:
            self._connection.execute(_SETTLE_UNTOLD, given)

    def drop(self, rows: Collection[Condition]) -> None:
        """Delete these rows."""
        if rows:
            self._connection.execute(_FORGET, [{"the_kind": one.kind, "the_subject": one.subject} for one in rows])

    def longest_told(self, kinds: Collection[Alarm]) -> float | None:
        """Return when that was told which has been told and open for longest; None if nothing is."""
        at: float | None = self._connection.execute(_LONGEST_TOLD, {"kinds": list(kinds)}).scalar_one()
        return at

    def told_open(self, kinds: Collection[Alarm], most: int) -> dict[Alarm, tuple[int, list[str]]]:
        """Return what was told and is still open: by kind how many, and the first of them."""
        counts = {
            Alarm(kind): number for kind, number in self._connection.execute(_HOW_MANY, {"kinds": list(kinds)})
        }
        return {
            kind: (number, list(self._connection.execute(_FIRST_OF, {"the_kind": kind, "limit": most}).scalars()))
            for kind, number in counts.items()
        }


class Messages:
    """The messages, within one transaction. What has ended is deleted soon."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def make(self, content: JsonObject, now: float) -> int:
        """Add a message, and return its number."""
        return int(self._connection.execute(_MAKE, {"content": json.dumps(content), "made_at": now}).scalar_one())

    def last_made_at(self) -> float | None:
        """Return when the latest was made; None if there was none for long."""
        at: float | None = self._connection.execute(_LAST_MADE).scalar_one()
        return at

    def unsent(self) -> list[Message]:
        """Return what is still to be sent to some address, the oldest first."""
        return [
            Message(row.serial, row.made_at, json.loads(row.content), frozenset(row.sent_to.split()))
            for row in self._connection.execute(_UNSENT)
        ]

    def note_sent(self, serial: int, mark: str) -> None:
        """Note that it was sent to the address with this mark."""
        self._connection.execute(_SENT, {"the_serial": serial, "mark": f"{mark} "})

    def end(self, serial: int, now: float) -> None:
        """Note that it is sent nowhere any more: it was sent to all, or is too old."""
        self._connection.execute(_END, {"the_serial": serial, "now": now})

    def forget(self, before: float) -> None:
        """Delete those that ended before then."""
        self._connection.execute(_FORGET_ENDED, {"before": before})


def _condition(row: Row[Any]) -> Condition:
    return Condition(
        Alarm(row.kind),
        row.subject,
        row.opened_at,
        row.closed_at,
        row.opened_3,
        None if row.told is None else Told(row.told),
        row.told_opening,
    )
