"""The ledger: every request ever made, what it cost, and when it counted against a rate limit."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Integer,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from watcher.domain import Attempt, Charged, Item, Part, State
from watcher.errors import StaleItem
from watcher.store.compiled import Compiled
from watcher.store.dialects import add_to, is_of_own_site, shared_time
from watcher.store.schema import attempts, items, leases, rate_events, spent_sums
from watcher.store.scope import is_in_a_file
from watcher.store.tallies import CREDITS, Tallies

_LONGEST_UPLOAD_SECONDS = 3600.0  # so that an index finds those that ended since: it has their beginnings

_BEGIN = Compiled(insert(attempts).returning(attempts.c.number))
_RELEASE = Compiled(
    update(attempts)
    .where(attempts.c.number == bindparam("the_number"), attempts.c.ended_at.is_(None))
    .where(
        exists().where(
            items.c.id == attempts.c.item_id,
            items.c.state == State.SUBMITTING,
            items.c.claim == bindparam("the_claim"),
        )
    )
)
_THIS = attempts.c.number == bindparam("the_number")
_END = Compiled(update(attempts).where(_THIS, attempts.c.ended_at.is_(None)).returning(attempts.c.started_at))
_END_ANEW = Compiled(update(attempts).where(_THIS, attempts.c.ended_at.is_not(None)))
_OF_ITEM = Compiled(select(attempts).where(attempts.c.item_id == bindparam("id")).order_by(attempts.c.number))
_IS_OWN = is_of_own_site(attempts.c.site)  # what does not say so is asked of the whole account
_UNFINISHED = select(attempts).where(attempts.c.ended_at.is_(None), _IS_OWN).order_by(attempts.c.number)
_LATEST = select(attempts).where(_IS_OWN).order_by(attempts.c.number.desc()).limit(bindparam("limit"))
_LATEST_OF_ACCOUNT = select(attempts).order_by(attempts.c.number.desc()).limit(bindparam("limit"))
_LISTED = select(attempts).where(_IS_OWN).order_by(attempts.c.number)
_SPENT = Compiled(
    select(func.count()).where(attempts.c.started_at >= bindparam("since"), attempts.c.charged != Charged.NO)
)
_SPENT_BEFORE = Compiled(
    select(func.coalesce(func.sum(spent_sums.c.charged), 0)).where(spent_sums.c.since >= bindparam("since"))
)
_TO_SUM = select(attempts.c.started_at, attempts.c.charged).where(attempts.c.item_id == bindparam("id"))
_SUM_SECONDS = 900.0  # wherever a day begins, it begins at a quarter of an hour
_ADD_SUM = add_to(spent_sums)
_SUMS = select(
    func.coalesce(func.sum(spent_sums.c.requests), 0), func.coalesce(func.sum(spent_sums.c.charged), 0)
).where(is_of_own_site(spent_sums.c.site))
_ACCEPTED_SINCE = (
    select(attempts.c.number)
    .where(attempts.c.started_at > bindparam("since"), attempts.c.item_id != bindparam("id"))
    .where(attempts.c.outcome == "accepted")
    .limit(1)
)
_WORDS_SINCE = (
    select(attempts.c.outcome)
    .where(attempts.c.started_at > bindparam("since"), attempts.c.item_id != bindparam("id"))
    .where(attempts.c.outcome.in_(["accepted", "unclassified", "not_of_file"]))
    .order_by(attempts.c.ended_at.desc())
    .limit(1)
)
_CANARIES = select(func.count()).where(
    attempts.c.started_at.between(bindparam("since"), bindparam("until")), attempts.c.canary
)
_ITEMS_WITH = (
    select(attempts.c.item_id)
    .where(attempts.c.started_at >= bindparam("since") - _LONGEST_UPLOAD_SECONDS)
    .where(attempts.c.ended_at >= bindparam("since"))
    .where(attempts.c.outcome.in_(bindparam("outcomes", expanding=True)), _IS_OWN)
)
_NOW: ColumnElement[float] = shared_time(bindparam("now", type_=Float))


def _is_left(site: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether nobody works on the site any more. Only on a server, where sites have leases."""
    return exists().where(leases.c.site == site, leases.c.until <= _NOW)


_UNDER_WAY = select(func.count()).where(attempts.c.ended_at.is_(None))
_UNRELEASED = _UNDER_WAY.where(attempts.c.released_at.is_(None))
_UNDER_WAY_ELSEWHERE = _UNDER_WAY.where(~_is_left(attempts.c.site))
_UNRELEASED_ELSEWHERE = _UNRELEASED.where(~_is_left(attempts.c.site))
_ADD_RATE_EVENT = Compiled(insert(rate_events).returning(rate_events.c.serial))
_END_RATE_EVENT = Compiled(
    update(rate_events)
    .where(rate_events.c.serial == bindparam("the_serial"), rate_events.c.ended_at.is_(None))
    .values(ended_at=_NOW)
)
_DEFER_RATE_EVENT = (
    update(rate_events).where(rate_events.c.serial == bindparam("the_serial")).values(ended_at=_NOW)
)
_END_LAPSED = (
    update(rate_events)
    .where(rate_events.c.kind == bindparam("the_kind"), rate_events.c.ended_at.is_(None))
    .where(or_(rate_events.c.released_at < _NOW - _LONGEST_UPLOAD_SECONDS, _is_left(rate_events.c.site)))
    .values(ended_at=_NOW)
)
_WAITING = "waiting"
_WAIT = insert(rate_events).values(kind=_WAITING, released_at=_NOW).returning(rate_events.c.serial)
_WAIT_ON = update(rate_events).where(rate_events.c.serial == bindparam("the_serial"))
_LATE_SECONDS = 1.0
_WAITS_STILL = (
    rate_events.c.kind == _WAITING,
    rate_events.c.ended_at > _NOW - _LATE_SECONDS,
)
_BEFORE = select(func.count()).where(*_WAITS_STILL, rate_events.c.serial < bindparam("serial"))
_LET_GO = (
    update(rate_events)
    .where(rate_events.c.serial == bindparam("the_serial"))
    .values(kind=bindparam("the_kind"), ended_at=None)
)
_UNENDED = select(func.count()).where(rate_events.c.kind == bindparam("kind"), rate_events.c.ended_at.is_(None))
_NTH_LAST = (
    select(rate_events.c.ended_at)
    .where(rate_events.c.kind == bindparam("kind"), rate_events.c.ended_at.is_not(None))
    .order_by(rate_events.c.ended_at.desc())
    .limit(1)
)
_END_ALL_RATE_EVENTS = (
    update(rate_events)
    .where(rate_events.c.ended_at.is_(None), is_of_own_site(rate_events.c.site))
    .values(ended_at=_NOW)
)


@cache
def _log_of(number: int) -> Compiled:
    """Ask for the unended rate events, and for so many ends at once, each the n-th last of all, unended or not."""
    unended = _UNENDED.scalar_subquery()
    skipped = [bindparam(f"skipped_{i}", type_=Integer) for i in range(number)]
    ends = [_NTH_LAST.offset(case((n > unended, n - unended), else_=0)).scalar_subquery() for n in skipped]
    return Compiled(select(_NOW, unended, *ends))


_IS_COUNTED = exists().where(rate_events.c.kind == "write", rate_events.c.released_at == attempts.c.released_at)
_RESTORE_RATE_EVENTS = insert(rate_events).from_select(
    ["kind", "released_at", "ended_at"],
    select(literal("write"), attempts.c.released_at, func.coalesce(attempts.c.ended_at, bindparam("now")))
    .where(attempts.c.started_at >= bindparam("begun"), attempts.c.released_at >= bindparam("since"))
    .where(~_IS_COUNTED, _IS_OWN),
)
_IN_THE_FUTURE = (rate_events.c.kind == bindparam("the_kind"), rate_events.c.ended_at > _NOW)
_ANY_IN_THE_FUTURE = select(exists().where(*_IN_THE_FUTURE))
_PULL_BACK = update(rate_events).where(*_IN_THE_FUTURE).values(ended_at=_NOW)
_FORGET_RATE_EVENTS = delete(rate_events).where(rate_events.c.ended_at < _NOW - bindparam("seconds", type_=Float))


class Log(NamedTuple):
    """The rate events of one kind, by the clock that all nodes share; in a file, by the node's own.

    `unended`: how many have not ended. `ends`: by n, when the n-th last of those that have did.
    """

    now: float
    unended: int
    ends: dict[int, float | None]


class Ledger:
    """The attempts and the rate events, within one transaction."""

    def __init__(self, connection: Connection, tallies: Tallies) -> None:
        self._connection = connection
        self._tallies = tallies

    # Attempts

    def begin(self, item: Item, now: float, *, no_cache: bool, canary: bool, part: Part | None = None) -> int:
        """Record the intent to submit, and its cost. Return the attempt's number."""
        values = {
            "item_id": item.id,
            "part": None if part is None else part.index,
            "started_at": now,
            "size": item.size if part is None else part.size,
            "outcome": "unanswered",
            "charged": Charged.UNKNOWN,  # reserved against the caps until more is known
            "no_cache": no_cache,
            "canary": canary,
        }
        number: int = _BEGIN.value(self._connection, values)
        return number

    def release(self, number: int, item: Item, now: float) -> None:
        """Record that from here on the request may be complete at the service.

        Raises StaleItem unless the item is still submitting with this claim, and the attempt has no end yet.
        """
        values = {"the_number": number, "the_claim": item.claim, "released_at": now}
        if _RELEASE.change(self._connection, values) != 1:
            raise StaleItem(f"{item.id} is no longer being sent by this upload")

    def end(
        self,
        number: int,
        now: float,
        *,
        outcome: str,
        charged: Charged,
        decision: str,
        was_cut_off: bool = False,
        **more: Any,
    ) -> None:
        """Record the outcome of the attempt and count it. `more`: further columns (status, detail, identifier).

        `was_cut_off`: it ended with its process, nobody knows when.
        """
        values = {"ended_at": now, "outcome": outcome, "charged": charged, "decision": decision, **more}
        values["the_number"] = number
        started_at = _END.value(self._connection, values)
        if started_at is None:  # it was counted when it ended first
            _END_ANEW.change(self._connection, values)
            return
        seconds = None if was_cut_off else now - started_at
        self._tallies.count_attempt(outcome, charged, more.get("status"), seconds)

    def of_item(self, item_id: str) -> list[Attempt]:
        """Every request made for this item, oldest first."""
        return [_attempt(row) for row in _OF_ITEM.rows(self._connection, {"id": item_id})]

    def unfinished(self) -> list[Attempt]:
        """Attempts without an end: in flight, or cut off by a crash."""
        return [_attempt(row) for row in self._connection.execute(_UNFINISHED)]

    def latest(self, limit: int) -> list[Attempt]:
        """The last attempts, latest first."""
        return [_attempt(row) for row in self._connection.execute(_LATEST, {"limit": limit})]

    def latest_of_account(self, limit: int) -> list[Attempt]:
        """The last attempts at any of the account's sites, latest first."""
        return [_attempt(row) for row in self._connection.execute(_LATEST_OF_ACCOUNT, {"limit": limit})]

    def listed(self) -> Iterator[Attempt]:
        """Every request that is not only in the sums, oldest first."""
        with self._connection.execute(_LISTED, execution_options={"yield_per": 1000}) as rows:
            yield from map(_attempt, rows)

    def spent_since(self, since: float) -> int:
        """How many requests since then were charged, may have been, or still may be."""
        spent: int = _SPENT.value(self._connection, {"since": since})
        summed: int = _SPENT_BEFORE.value(self._connection, {"since": since})
        return spent + summed

    def charged_for(self, item_id: str) -> int:
        """How many requests for this item were charged, or may have been."""
        return sum(row.charged != Charged.NO for row in self._connection.execute(_TO_SUM, {"id": item_id}))

    def sum_up(self, item_id: str) -> None:
        """Add the requests made for this item to the sums: its lines are to be deleted."""
        for row in self._connection.execute(_TO_SUM, {"id": item_id}).all():
            since = row.started_at // _SUM_SECONDS * _SUM_SECONDS
            is_charged = int(row.charged != Charged.NO)
            self._connection.execute(_ADD_SUM, {"since": since, "requests": 1, "charged": is_charged})

    def add_sum(self, at: float, charged: int) -> None:
        """Add so many charged requests of that time to the sums: their lines are lost."""
        if charged:
            since = at // _SUM_SECONDS * _SUM_SECONDS
            self._connection.execute(_ADD_SUM, {"since": since, "requests": charged, "charged": charged})
            self._tallies.add(CREDITS, number=charged)

    def sums(self) -> tuple[int, int]:
        """Return how many requests are only in the sums, and how many of them were charged, or may have been."""
        row = self._connection.execute(_SUMS).one()
        return int(row[0]), int(row[1])

    def accepted_since(self, since: float, apart_from: str) -> bool:
        """Whether a request that began after that moment had an item other than this one accepted."""
        return self._connection.execute(_ACCEPTED_SINCE, {"since": since, "id": apart_from}).first() is not None

    def last_word_was_yes(self, since: float, apart_from: str) -> bool:
        """Whether the latest answer since then about an item other than this one was an acceptance."""
        return self._connection.execute(_WORDS_SINCE, {"since": since, "id": apart_from}).scalar() == "accepted"

    def canaries(self, since: float, until: float) -> int:
        """How many canaries were sent between the two moments."""
        sent: int = self._connection.execute(_CANARIES, {"since": since, "until": until}).scalar_one()
        return sent

    def items_with(self, outcomes: Sequence[str], since: float) -> list[str]:
        """The ids of items that had an attempt with one of these outcomes end at that moment or later."""
        values = {"outcomes": list(outcomes), "since": since}
        return sorted(set(self._connection.execute(_ITEMS_WITH, values).scalars()))

    def under_way(self, *, unreleased: bool = False) -> int:
        """How many uploads of the account have no end yet; `unreleased`: nor sent their last part.

        An upload of a site on which nobody works any more is not one.
        """
        if is_in_a_file(self._connection):
            query = _UNRELEASED if unreleased else _UNDER_WAY
        else:
            query = _UNRELEASED_ELSEWHERE if unreleased else _UNDER_WAY_ELSEWHERE
        number: int = self._connection.execute(query).scalar_one()
        return number

    # Rate events: what counts against a rate limit, and when. Their times are those of the clock that all nodes
    # share, which each statement reads by itself; `now` is the node's own, for a file.

    def add_rate_event(self, kind: str, at: float) -> int:
        """A request may reach the service's throttle from then on, by the shared clock. Its number."""
        serial: int = _ADD_RATE_EVENT.value(self._connection, {"kind": kind, "released_at": at})
        return serial

    def end_rate_event(self, serial: int, now: float) -> None:
        """Record that the request was answered or is lost: it counts now, or never will. Idempotent."""
        _END_RATE_EVENT.change(self._connection, {"the_serial": serial, "now": now})

    def defer_rate_event(self, serial: int, now: float) -> None:
        """Let a rate event that had ended early end now."""
        self._connection.execute(_DEFER_RATE_EVENT, {"the_serial": serial, "now": now})

    def end_all_rate_events(self, now: float) -> None:
        """All rate events whose process died have ended: those of this site, on which nobody works now."""
        self._connection.execute(_END_ALL_RATE_EVENTS, {"now": now})

    def end_lapsed_rate_events(self, kind: str, now: float) -> None:
        """The rate events of sites that no node works on have ended: those of a dead node are spent."""
        self._connection.execute(_END_LAPSED, {"the_kind": kind, "now": now})

    def log(self, kind: str, numbers: Sequence[int], now: float) -> Log:
        """The rate events of this kind, as far as windows with these numbers ask.

        `numbers`: n from 1, the unended ones counted as the last; what is left of each goes into the result.
        """
        values = {f"skipped_{i}": n - 1 for i, n in enumerate(numbers)}
        asked = {"kind": kind, "now": now, **values}
        at, unended, *ends = _log_of(len(numbers)).row(self._connection, asked)
        return Log(at, unended, {n - unended: end for n, end in zip(numbers, ends, strict=True)})

    def restore_rate_events(self, since: float, now: float) -> None:
        """Every upload let go since then counts as a rate event, as it did or would have; one under way ends now.

        For windows that are longer than those kept to before, whose rate events were forgotten, or that are new.
        """
        values = {"since": since, "begun": since - _LONGEST_UPLOAD_SECONDS, "now": now}
        self._connection.execute(_RESTORE_RATE_EVENTS, values)

    def has_rate_events_to_come(self, kind: str, now: float) -> bool:
        """Whether any rate event ended in the future: the clock was set back."""
        return bool(self._connection.execute(_ANY_IN_THE_FUTURE, {"the_kind": kind, "now": now}).scalar_one())

    def pull_back_rate_events(self, kind: str, now: float) -> None:
        """Rate events that ended in the future, as they do when the clock was set back, have ended now."""
        self._connection.execute(_PULL_BACK, {"the_kind": kind, "now": now})

    def forget_rate_events(self, seconds: float, now: float) -> None:
        """Rate events that ended longer ago than that are gone."""
        self._connection.execute(_FORGET_RATE_EVENTS, {"seconds": seconds, "now": now})

    # The queue before the rate windows, on a server: whichever node asks first is let go first. A place is a row
    # that becomes the rate event; who does not come back to it when it promised to has lost it.

    def wait_for_room(self, place: int | None, until: float, now: float) -> int:
        """Take a place, or keep it, and promise to come back then. The place's number."""
        if place is None:
            place = int(self._connection.execute(_WAIT, {"ended_at": until, "now": now}).scalar_one())
        else:
            self._connection.execute(_WAIT_ON, {"the_serial": place, "ended_at": until})
        return place

    def waiting_before(self, place: int | None, now: float) -> int:
        """How many wait in places before this one; null: behind all."""
        asked = {"serial": (1 << 62) if place is None else place, "now": now}
        number: int = self._connection.execute(_BEFORE, asked).scalar_one()
        return number

    def let_go(self, place: int, kind: str, at: float) -> None:
        """Whoever waits there is let go, from then on, by the shared clock: see add_rate_event."""
        self._connection.execute(_LET_GO, {"the_serial": place, "the_kind": kind, "released_at": at})


def _attempt(row: Any) -> Attempt:
    return Attempt(
        number=row.number,
        item_id=row.item_id,
        started_at=row.started_at,
        size=row.size,
        released_at=row.released_at,
        ended_at=row.ended_at,
        status=row.status,
        outcome=row.outcome,
        charged=Charged(row.charged),
        decision=row.decision,
        detail=row.detail,
        identifier=row.identifier,
        no_cache=row.no_cache,
        part=row.part,
    )
