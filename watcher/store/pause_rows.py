"""The pauses: a row for each, with at most one of a kind in force.

One for a reason that all sites of the account share is in force for all of them: its row is of no single site.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from watcher.alarms import Alarm
from watcher.domain import Pause, PauseKind
from watcher.store.compiled import Compiled
from watcher.store.condition_rows import Conditions
from watcher.store.dialects import EVERY_SITE
from watcher.store.schema import pauses

_WEIGHT = {kind: weight for weight, kind in enumerate(PauseKind)}

_ACTIVE = Compiled(select(pauses).where(pauses.c.ended_at.is_(None)))
_FROM = Compiled(select(pauses).where(pauses.c.serial >= bindparam("serial")).order_by(pauses.c.serial))
_BEGINNING = select(
    func.coalesce(func.min(pauses.c.serial).filter(pauses.c.ended_at.is_(None)), func.max(pauses.c.serial) + 1, 1)
)


@dataclass(frozen=True, slots=True)
class PauseRow:
    """A pause, in force or over, with its ascending number."""

    serial: int
    pause: Pause
    ended_at: float | None
    ended_by: str | None


class Pauses:
    """The pauses, within one transaction."""

    def __init__(self, connection: Connection, conditions: Conditions) -> None:
        self._connection = connection
        self._conditions = conditions

    def active(self) -> list[Pause]:
        """The pauses in force, most important first."""
        rows = _ACTIVE.rows(self._connection)
        return sorted((_pause(row) for row in rows), key=lambda pause: _WEIGHT[pause.kind])

    def beginning(self) -> int:
        """The number of the oldest pause in force; if there is none, of the next one."""
        serial: int = self._connection.execute(_BEGINNING).scalar_one()
        return serial

    def noted(self, serial: int) -> list[PauseRow]:
        """All pauses from this number on, over or not."""
        rows = _FROM.rows(self._connection, {"serial": serial})
        return [PauseRow(row.serial, _pause(row), row.ended_at, row.ended_by) for row in rows]

    def get(self, kind: PauseKind) -> Pause | None:
        return next((pause for pause in self.active() if pause.kind == kind), None)

    def set(self, pause: Pause) -> bool:
        """Put the pause in force. If one of its kind was, it keeps its beginning. Return whether it is new."""
        values: dict[str, Any] = {
            "code": pause.code,
            "reason": pause.reason,
            "until": pause.until,
            "tries": pause.tries,
        }
        values |= {"by": pause.by}
        kind = pauses.c.kind == pause.kind
        done = self._connection.execute(update(pauses).where(kind, pauses.c.ended_at.is_(None)).values(**values))
        if done.rowcount:
            return False
        if pause.kind.is_of_account:
            values["site"] = EVERY_SITE
        self._connection.execute(insert(pauses).values(kind=pause.kind, since=pause.since, **values))
        if pause.kind is not PauseKind.THROTTLE:  # the service's pace is nothing to be told of
            self._conditions.open(Alarm.PAUSED, pause.kind, pause.since)
        return True

    def end(self, kind: PauseKind, now: float, *, by: str | None = None) -> Pause | None:
        """End the pause of this kind and return it; null for none. `by`: the person who ended it."""
        pause = self.get(kind)
        if pause is not None:
            kind_is = pauses.c.kind == kind
            self._connection.execute(
                update(pauses).where(kind_is, pauses.c.ended_at.is_(None)).values(ended_at=now, ended_by=by)
            )
            self._conditions.close(Alarm.PAUSED, kind, now)
        return pause


def _pause(row: Any) -> Pause:
    return Pause(PauseKind(row.kind), row.code, row.reason, row.since, row.until, row.tries, row.by)
