"""The wishes: what a person decided for many recordings at once, and how far each has been carried out."""

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from watcher.domain import Deed, State
from watcher.store.listed_rows import FIRST, Place
from watcher.store.schema import wishes
from watcher.store.sought_rows import Sought
from watcher.text import path_to_text, text_to_path


@dataclass(frozen=True, slots=True)
class Wish:
    """A decision on all recordings that were found when it was made. The daemon carries it out in batches.

    Only what has not changed since counts: what somebody has decided on meanwhile, or what came later, stays.
    """

    deed: Deed
    sought: Sought
    number: int  # of the recordings that were found
    seen: int  # the number of the last change in all histories by then
    asked_at: float
    by: str
    serial: int = 0
    reached: Place = field(default=FIRST)
    done: int = 0
    hindered: int = 0  # could not be done, and why the last of them could not
    hindrance: str = ""
    ended_at: float | None = None

    @property
    def left(self) -> int:
        """How many are still to be done; once it has ended, how many somebody else had decided on by then."""
        return max(0, self.number - self.done - self.hindered)


_ASK = insert(wishes).returning(wishes.c.serial)
_NEXT = select(wishes).where(wishes.c.ended_at.is_(None)).order_by(wishes.c.serial).limit(1)
_LATEST = select(wishes).order_by(wishes.c.serial.desc()).limit(bindparam("limit"))
_PUT = update(wishes).where(wishes.c.serial == bindparam("the_serial"))
_FORGET = delete(wishes).where(
    wishes.c.ended_at < bindparam("before"),
    wishes.c.serial < select(func.max(wishes.c.serial)).scalar_subquery(),  # its number is never given again
)


class Wishes:
    """The wishes, within one transaction. There are few: what has ended is deleted soon."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, wish: Wish) -> int:
        """Add the wish, and return its number."""
        values = _columns(wish) | {
            "deed": wish.deed,
            "number": wish.number,
            "seen": wish.seen,
            "asked_at": wish.asked_at,
            "by": wish.by,
        }
        return int(self._connection.execute(_ASK, values).scalar_one())

    def next(self) -> Wish | None:
        """Return the oldest that has not ended; null for none."""
        row = self._connection.execute(_NEXT).one_or_none()
        return None if row is None else _wish(row)

    def latest(self, limit: int) -> list[Wish]:
        """Return the latest ones, ended or not, the latest first."""
        return [_wish(row) for row in self._connection.execute(_LATEST, {"limit": limit})]

    def put(self, wish: Wish) -> None:
        """Record how far it has been carried out. Of one that has ended nobody knows what was looked for."""
        self._connection.execute(_PUT.values(**_columns(wish)), {"the_serial": wish.serial})

    def forget(self, before: float) -> None:
        """Delete those that ended before then."""
        self._connection.execute(_FORGET, {"before": before})


def _columns(wish: Wish) -> dict[str, Any]:
    return {
        "sought": "" if wish.ended_at is not None else _to_text(wish.sought),
        "reached_at": wish.reached.arrived_at,
        "reached": wish.reached.serial,
        "done": wish.done,
        "hindered": wish.hindered,
        "hindrance": wish.hindrance,
        "ended_at": wish.ended_at,
    }


def _wish(row: Row[Any]) -> Wish:
    return Wish(
        Deed(row.deed),
        _of_text(row.sought),
        row.number,
        row.seen,
        row.asked_at,
        row.by,
        row.serial,
        Place(row.reached_at, row.reached),
        row.done,
        row.hindered,
        row.hindrance,
        row.ended_at,
    )


def _to_text(sought: Sought) -> str:
    names, folder = [path_to_text(name) for name in sought.names], path_to_text(sought.folder)
    states, verdicts = sorted(sought.states), sorted(sought.verdicts)
    return json.dumps([states, verdicts, names, sought.digits, folder, sought.since, sought.until, sought.to_see])


def _of_text(text: str) -> Sought:
    if not text:
        return Sought()
    states, verdicts, names, digits, folder, since, until, to_see = json.loads(text)
    return Sought(
        frozenset(map(State, states)),
        frozenset(verdicts),
        tuple(map(text_to_path, names)),
        digits,
        text_to_path(folder),
        since,
        until,
        to_see,
    )
