"""Today: what it has cost, and what the service said of what arrived."""

from dataclasses import dataclass

from watcher.config import Limits
from watcher.domain import ARTIFICIAL, HUMAN, INCONCLUSIVE, State
from watcher.store import Books
from watcher.text import JsonObject
from watcher.views.period import FAR_AWAY
from watcher.views.spend import Charge, read_charges


@dataclass(frozen=True, slots=True)
class Today:
    """Today, in the zone of the limits: what it and this month have cost, and of what arrived, what is done."""

    charges: list[Charge]
    done: int
    judged: dict[str, int]  # by class

    def as_json(self) -> JsonObject:
        return {
            "spend": {charge.span: charge.as_json() for charge in self.charges},
            "today": {"done": self.done, "verdicts": self.judged},
        }


def read_today(books: Books, limits: Limits, now: float) -> Today:
    """Return what today has cost and brought. Of recordings in parts it counts only that they are done."""
    charges = read_charges(books, limits, now)
    done, judged = 0, dict.fromkeys((ARTIFICIAL, HUMAN, INCONCLUSIVE), 0)
    for count in books.report.counts(charges[0].since, FAR_AWAY):
        done += count.number if count.state == State.DONE else 0
        if count.classification in judged:
            judged[count.classification] += count.number
    return Today(charges, done, judged)
