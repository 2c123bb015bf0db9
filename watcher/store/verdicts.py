"""The verdicts: what the service says about each identifier. Duplicates share one."""

import json
from collections.abc import Collection
from math import inf
from typing import Any
from zlib import compress, decompress

from sqlalchemy import Connection, and_, bindparam, exists, func, literal, or_, select, update

from watcher.domain import Verdict, VerdictState
from watcher.store.compiled import Compiled
from watcher.store.dialects import (
    OF_SCOPE,
    OWN_SITE,
    insert_or_leave,
    insert_or_replace,
    is_of_own_site,
    shared_time,
)
from watcher.store.schema import items, leases, parts, results, verdicts
from watcher.store.scope import is_in_a_file, wide
from watcher.store.tallies import Tallies
from watcher.store.verdict_copies import copy_to_all, sites_with
from watcher.text import JsonObject

_ASKING = (VerdictState.AWAITED, VerdictState.OVERDUE)

_GET = Compiled(select(verdicts).where(verdicts.c.identifier == bindparam("identifier")))
_OF = select(verdicts).where(verdicts.c.identifier.in_(bindparam("identifiers", expanding=True)))
_AFTER = (
    select(verdicts.c.identifier)
    .where(verdicts.c.identifier > bindparam("after"), is_of_own_site(verdicts.c.site))
    .order_by(verdicts.c.identifier)
    .limit(bindparam("limit"))
)
_ADD = Compiled(insert_or_leave(verdicts))
_PUT = Compiled(update(verdicts).where(verdicts.c.identifier == bindparam("the_identifier")))
_IS_OWN = is_of_own_site(verdicts.c.site)  # this site asks for it: others of the account may have it too
_DUE = (
    select(verdicts)
    .where(_IS_OWN, verdicts.c.state.in_(_ASKING), verdicts.c.due_at <= bindparam("now"))
    .order_by(verdicts.c.due_at)
    .limit(bindparam("limit"))
)
# By itself: as a part of the one above it would have SQLite look at all that are due (measured).
_MISDATED = (
    select(verdicts)
    .where(
        _IS_OWN, or_(*(and_(verdicts.c.state == s, verdicts.c.due_at > bindparam(f"{s}_latest")) for s in _ASKING))
    )
    .limit(bindparam("limit"))
)
_NEXT_DUE_AT = select(func.min(verdicts.c.due_at)).where(
    _IS_OWN, verdicts.c.state.in_(_ASKING), verdicts.c.due_at > bindparam("now")
)
_IS_LEFT = and_(
    verdicts.c.site != OWN_SITE,
    verdicts.c.state.in_(_ASKING),
    ~exists().where(leases.c.site == verdicts.c.site, leases.c.until > shared_time(literal(0.0))),
    or_(
        exists().where(items.c.identifier == verdicts.c.identifier),
        exists().where(parts.c.identifier == verdicts.c.identifier),
    ),
)
_LEFT = select(verdicts.c.identifier).where(_IS_LEFT).limit(1)
_TAKE_LEFT = update(verdicts).where(_IS_LEFT).values(site=OWN_SITE)
_OWN_IDENTIFIERS = [select(of.c.identifier).where(of.c.site == OWN_SITE) for of in (items, parts)]
_BRING = [
    insert_or_leave(table).from_select(
        [column.name for column in table.c if column.info != OF_SCOPE],
        select(*(column for column in table.c if column.info != OF_SCOPE)).where(
            table.c.account == bindparam("before"), or_(*(table.c.identifier.in_(own) for own in _OWN_IDENTIFIERS))
        ),
        include_defaults=False,
    )
    for table in (verdicts, results)
]
_LEAVE = (
    update(verdicts).where(verdicts.c.account == bindparam("before"), verdicts.c.site == OWN_SITE).values(site="")
)
_KEEP_RESULT = insert_or_replace(results)
_RESULTS = select(results).where(results.c.identifier.in_(bindparam("identifiers", expanding=True)))
_TOTAL = select(func.count()).select_from(verdicts)
_TOTAL_OF_SITE = _TOTAL.where(_IS_OWN)  # SQLite would look at each of them, whatever the condition (measured)
_COUNTS = (
    select(verdicts.c.state, func.count())
    .where(_IS_OWN, verdicts.c.state.in_([state for state in VerdictState if state is not VerdictState.KNOWN]))
    .group_by(verdicts.c.state)
)


class Verdicts:
    """The verdicts, within one transaction."""

    def __init__(self, connection: Connection, tallies: Tallies) -> None:
        self._connection = connection
        self._tallies = tallies

    def get(self, identifier: str | None) -> Verdict | None:
        if identifier is None:
            return None
        row = _GET.row(self._connection, {"identifier": identifier})
        return None if row is None else _verdict(row)

    def of(self, identifiers: Collection[str]) -> dict[str, Verdict]:
        """Return the verdicts on these, by identifier; one that is not asked for is left out."""
        if not identifiers:
            return {}
        rows = self._connection.execute(_OF, {"identifiers": sorted(set(identifiers))})
        return {row.identifier: _verdict(row) for row in rows}

    def identifiers_after(self, identifier: str, limit: int) -> list[str]:
        """Return the first identifiers behind this one, in their order."""
        rows = self._connection.execute(_AFTER, {"after": identifier, "limit": limit})
        return [str(row.identifier) for row in rows]

    def add(self, verdict: Verdict) -> None:
        """Ask for this verdict from now on; one that is known already stays unchanged."""
        if _ADD.change(self._connection, _columns(verdict)) == 1:
            self._tallies.count_verdict(None, verdict)
        copy_to_all(self._connection, verdict.identifier)

    def put(self, verdict: Verdict) -> None:
        """Replace the row of this identifier."""
        self._tallies.count_verdict(self.get(verdict.identifier), verdict)
        _PUT.change(self._connection, {"the_identifier": verdict.identifier, **_columns(verdict)})
        copy_to_all(self._connection, verdict.identifier)

    def sites_with(self, identifier: str) -> list[str]:
        """The other sites of the account that have recordings with this identifier, which one site asks for."""
        return sites_with(self._connection, identifier)

    def copy(self, identifier: str) -> None:
        """Let this site's items have what is known of the identifier."""
        copy_to_all(self._connection, identifier)

    def has_left(self) -> bool:
        """Whether this site has recordings whose verdicts nobody asks for: the site that did is left."""
        return not is_in_a_file(self._connection) and self._connection.execute(_LEFT).first() is not None

    def take_left(self) -> None:
        """Ask for those from now on."""
        self._connection.execute(_TAKE_LEFT)

    def bring_from(self, account: str) -> None:
        """Have under this account what is known under the site's former one. Only on a server.

        Whoever stays with that, and has recordings with the same identifiers, asks for what is not known yet.
        """
        with wide(self._connection):
            for table in _BRING:
                self._connection.execute(table, {"before": account})
            self._connection.execute(_LEAVE, {"before": account})

    def keep_result(self, identifier: str, result: JsonObject, now: float) -> None:
        """Keep what the service says of this identifier, whole, in place of what it said before."""
        content = compress(json.dumps(result, separators=(",", ":")).encode())
        self._connection.execute(_KEEP_RESULT, {"identifier": identifier, "fetched_at": now, "content": content})

    def results_of(self, identifiers: Collection[str]) -> dict[str, JsonObject]:
        """Return what the service said of these, whole, by identifier; what was never kept is left out."""
        if not identifiers:
            return {}
        rows = self._connection.execute(_RESULTS, {"identifiers": sorted(set(identifiers))})
        found = {row.identifier: json.loads(decompress(row.content)) for row in rows}
        return {identifier: result for identifier, result in found.items() if isinstance(result, dict)}

    def due(
        self, now: float, limit: int = 100, *, awaited_seconds: float = inf, overdue_seconds: float = inf
    ) -> list[Verdict]:
        """The verdicts to ask for now, longest due first.

        None waits for longer than so many seconds: a later time is of before the clock was set back.
        """
        due = [_verdict(row) for row in self._connection.execute(_DUE, {"now": now, "limit": limit})]
        latest = {
            f"{VerdictState.AWAITED}_latest": now + awaited_seconds,
            f"{VerdictState.OVERDUE}_latest": now + overdue_seconds,
        }
        rows = self._connection.execute(_MISDATED, latest | {"limit": limit - len(due)})
        return due + [_verdict(row) for row in rows]

    def next_due_at(self, now: float) -> float | None:
        """When the next of those not yet due is due; null if there is none."""
        due_at: float | None = self._connection.execute(_NEXT_DUE_AT, {"now": now}).scalar_one()
        return due_at

    def counts_of_unknown(self) -> dict[VerdictState, int]:
        """How many verdicts are in each state but known, where there are any."""
        return {VerdictState(state): number for state, number in self._connection.execute(_COUNTS)}

    def counts(self) -> dict[VerdictState, int]:
        """How many verdicts are in each state; every state is included."""
        # Most are known: see Items.counts.
        counted = self.counts_of_unknown()
        query = _TOTAL if is_in_a_file(self._connection) else _TOTAL_OF_SITE
        total: int = self._connection.execute(query).scalar_one()
        counted[VerdictState.KNOWN] = total - sum(counted.values())
        return {state: counted.get(state, 0) for state in VerdictState}


def _columns(verdict: Verdict) -> dict[str, Any]:
    names = Verdict.__dataclass_fields__
    return {name: getattr(verdict, name) for name in names} | {"models": json.dumps(verdict.models)}


def _verdict(row: Any) -> Verdict:
    return Verdict(
        identifier=row.identifier,
        state=VerdictState(row.state),
        asked_at=row.asked_at,
        due_at=row.due_at,
        since=row.since,
        classification=row.classification,
        confidence=row.confidence,
        heuristic=row.heuristic,
        api_version=row.api_version,
        models=tuple(json.loads(row.models)),
        forced=row.forced,
        detail=row.detail,
        asked=row.asked,
        machine_classification=row.machine_classification,
        machine_confidence=row.machine_confidence,
        result_url=row.result_url,
        known_at=row.known_at,
    )
