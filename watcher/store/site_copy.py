"""Copy a site from one database into another, whatever kinds of database they are.

All rows are read from one view and written in one transaction, a batch at a time: a crash leaves nothing half.
Each batch is read back in that transaction, and what was read and what was found again are summed up and compared.

What other sites' rows have taken cannot be had again. So all numbers that give an order are moved up by the same
distance, a table at a time, and what refers to them with them: their order and the gaps between them stay. What
the sites of an account share, and another one has brought along already, is left as it is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, delete, func, insert, or_, select, tuple_
from sqlalchemy.exc import DataError

from watcher.domain import PauseKind, VerdictState
from watcher.errors import StoreError
from watcher.outlet import Show
from watcher.store.database import Database
from watcher.store.dialects import (
    EVERY_SITE,
    OF_SCOPE,
    OWN_ACCOUNT,
    OWN_SITE,
    insert_or_replace,
    is_of_own_site,
    reserved_numbers,
)
from watcher.store.facts import ACCOUNT_FACTS, AccountFacts
from watcher.store.lease_rows import Leases
from watcher.store.listed_rows import FIRST, LAST
from watcher.store.schema import items, leases, metadata, parts, pauses, results, site, tallies, verdicts
from watcher.store.tombstone_rows import Tombstones
from watcher.store.verdict_copies import copy_to_all

_BATCH = 1_000
_SHARED = (verdicts, results, pauses, site)
"""The tables in which a row can clash with another site's of the account."""

_TABLES = (*(table for table in metadata.sorted_tables if table not in (*_SHARED, leases)), *_SHARED)
_REFERENCES = {"wishes": {"seen": "transitions", "reached": "items"}}
"""By table: its columns that hold another table's numbers."""

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Copied:
    """How many rows of this table were copied; how many were there already, for another site of the account."""

    table: str
    rows: int
    known: int


class _Sum:
    """A checksum over rows that does not depend on their order, which differs between kinds of database."""

    def __init__(self) -> None:
        self.rows = 0
        self.sum = 0

    def add(self, values: Values) -> None:
        digest = blake2b(repr(sorted(values.items())).encode("utf-8", "backslashreplace"), digest_size=16).digest()
        self.sum = (self.sum + int.from_bytes(digest, "big")) % (1 << 128)
        self.rows += 1


class Transfer:
    """The rows of one site, on their way from one view into one transaction."""

    def __init__(self, source: Connection, target: Connection, distances: Mapping[str, int], show: Show) -> None:
        self._source, self._target, self._distances, self._show = source, target, distances, show
        self._site, self._account, self._every_site = target.execute(
            select(OWN_SITE, OWN_ACCOUNT, EVERY_SITE)
        ).one()

    def copy(self, table: Table) -> Copied:
        """Copy the rows of this table. Raises StoreError where what was written is not what was read."""
        total, read, found, known = _count(self._source, table), _Sum(), _Sum(), 0
        self._show(table.name, 0, total)
        for rows in self._batches(table):
            new = self._without_known(table, rows) if table in _SHARED else rows
            known += len(rows) - len(new)
            self._write(table, new)
            for values in new:
                read.add(values)
            there = self._find(table, new)
            for values in new:
                if (row := there.get(_key(table, values))) is not None:
                    found.add(row._asdict())
            self._show(table.name, read.rows + known, total)
        if (read.rows + known, read.rows, read.sum) != (total, found.rows, found.sum):
            raise StoreError(
                f"{table.name}: of {total:,} rows {read.rows + known:,} were read and {found.rows:,} found again, "
                f"with the checksums {read.sum:032x} and {found.sum:032x}",
                hint="Nothing was copied. Please report this.",
            )
        return Copied(table.name, found.rows, known)

    def _batches(self, table: Table) -> Iterator[list[Values]]:
        """Yield the table's rows as the target is to have them."""
        number = table.autoincrement_column
        moves = {} if number is None else {number.name: self._distances[table.name]}
        moves |= {column: self._distances[other] for column, other in _REFERENCES.get(table.name, {}).items()}
        query = select(table).where(_is_own(table)).order_by(*table.primary_key)
        with self._source.execute(query.execution_options(yield_per=_BATCH)) as found:
            for rows in found.partitions():
                yield [self._moved(table, row, moves) for row in rows]

    def _moved(self, table: Table, row: Row[Any], moves: Mapping[str, int]) -> Values:
        values = row._asdict()
        for name, distance in moves.items():
            if FIRST.serial < values[name] < LAST.serial:
                values[name] += distance
        is_shared = _is_of_account(table, values)
        values["site"] = self._every_site if is_shared else self._site
        if (account := table.c.get("account")) is not None and account.info == OF_SCOPE:
            values["account"] = self._account if is_shared or table is not site else ""
        return values

    def _write(self, table: Table, rows: Sequence[Values]) -> None:
        if not rows:
            return
        try:
            self._target.execute(insert(table), rows)
        except DataError as error:
            raise StoreError(
                f"{table.name}: a row of it cannot be kept there ({' '.join(str(error.orig).split())})",
                hint="Nothing was copied. Please report this.",
            ) from error

    def _find(self, table: Table, rows: Sequence[Values]) -> dict[tuple[Any, ...], Row[Any]]:
        """Return what the target has under the keys of these rows, by them."""
        if not rows:
            return {}
        key = [column for column in table.primary_key if column.info != OF_SCOPE]
        if len(key) == 1:
            has_key = key[0].in_([values[key[0].name] for values in rows])
        else:
            has_key = tuple_(*key).in_([[values[column.name] for column in key] for values in rows])
        return {_key(table, row._asdict()): row for row in self._target.execute(select(table).where(has_key))}

    def _without_known(self, table: Table, rows: Sequence[Values]) -> list[Values]:
        """Return those that the account does not have yet. It keeps the others, but for a verdict awaited."""
        if table is pauses:
            active = self._target.execute(_ACTIVE).scalars().all()
            return [row for row in rows if row["ended_at"] is not None or row["kind"] not in active]
        there = self._find(table, rows)
        for row in rows if table is verdicts else ():
            if (known := there.get(_key(table, row))) is not None:
                if row["state"] == VerdictState.KNOWN != known.state:
                    self._target.execute(insert_or_replace(verdicts), row)
                copy_to_all(self._target, row["identifier"])
        return [row for row in rows if _key(table, row) not in there]


_KINDS_OF_ACCOUNT = frozenset(kind for kind in PauseKind if kind.is_of_account)
_ACTIVE = select(pauses.c.kind).where(pauses.c.ended_at.is_(None))


def _is_of_account(table: Table, row: Mapping[str, Any]) -> bool:
    """Whether the row is all sites' of the account, which no column tells in a file."""
    if table is pauses:
        return row["kind"] in _KINDS_OF_ACCOUNT
    return table is site and row["name"] in ACCOUNT_FACTS


def _key(table: Table, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what no two rows of an account have in common. One verdict is for all its sites."""
    key = [row[column.name] for column in table.primary_key]
    return tuple(key if table in (verdicts, results) else [*key, row["site"]])


def copy_site(source: Database, target: Database, show: Show) -> list[Copied]:
    """The target has all rows of the source's site, or is as it was. Return what was copied, a table each.

    Both have this program's version, and the target belongs to the site. Raises LeaseHeld where a node works on
    it, StoreError where the target has rows of it already, where either cannot be used, or where what was written
    is not what was read.
    """
    with source.reading() as read:
        _refuse_held(read, source)
        with target.writing() as written:
            _refuse_held(written, target)
            _refuse_rows(written, target.name)
            distances = _reserve(read, written)
        with target.filling() as written:
            _refuse_rows(written, target.name)
            transfer = Transfer(read, written, distances, show)
            copied = [transfer.copy(table) for table in _TABLES if table not in _SHARED]
            target.lock(written)
            copied += [transfer.copy(table) for table in _SHARED]
            for key in Tombstones(read, AccountFacts(read)).known_keys():
                Tombstones(written, AccountFacts(written)).add_key(key)
            return copied


def _refuse_held(connection: Connection, database: Database) -> None:
    """Raise LeaseHeld where a node works on the site."""
    if database.is_shared:
        lease = Leases(connection).of(connection.execute(select(OWN_SITE)).scalar_one())
        if lease is not None and not lease.is_over:
            raise lease.held()


def refuse_rows(target: Database) -> None:
    """Raise StoreError where the target has rows of the site that it belongs to."""
    with target.writing() as connection:
        _refuse_rows(connection, target.name)


def _refuse_rows(connection: Connection, name: str) -> None:
    connection.execute(delete(tallies).where(tallies.c.number == 0))  # which the revisions begin with
    numbers = {
        table.name: connection.execute(
            select(func.count()).select_from(table).where(is_of_own_site(table.c.site))
        ).scalar_one()
        for table in _TABLES
    }
    if found := [f"{number:,} {table}" for table, number in numbers.items() if number]:
        raise StoreError(
            f"{name} has rows of this site already: {', '.join(found)}",
            hint="Rows are only copied where there are none. Name an empty database in store.url.",
        )


def _is_own(table: Table) -> ColumnElement[bool]:
    """Whether the row is to be copied with its site. Verdicts are noted for the first site that asked for them."""
    is_own = is_of_own_site(table.c.site)
    if table in (verdicts, results):
        identifiers = [select(of.c.identifier).where(of.c.identifier.is_not(None)) for of in (items, parts)]
        return or_(is_own, *(table.c.identifier.in_(found) for found in identifiers))
    return or_(is_own, table.c.site == EVERY_SITE) if table in (pauses, site) else is_own


def _count(connection: Connection, table: Table) -> int:
    number: int = connection.execute(select(func.count()).select_from(table).where(_is_own(table))).scalar_one()
    return number


def _reserve(source: Connection, target: Connection) -> dict[str, int]:
    """Reserve as many numbers in the target as the source has used. Return by how much they move, by table."""
    distances = {}
    for table in _TABLES:
        if (number := table.autoincrement_column) is not None:
            span = source.execute(select(func.coalesce(func.max(number), 0))).scalar_one()
            distances[table.name] = target.execute(select(reserved_numbers(table, span))).scalar_one() - span
    return distances
