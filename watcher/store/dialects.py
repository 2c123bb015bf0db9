"""SQL that SQLite and PostgreSQL both understand and that SQLAlchemy does not offer itself."""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    LargeBinary,
    String,
    Table,
    Text,
    TextClause,
    literal,
    literal_column,
)
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.dialects.sqlite.dml import OnConflictDoNothing, OnConflictDoUpdate
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.expression import ClauseElement, FunctionElement


class _EmptyBytes(ClauseElement):
    inherit_cache = True


EMPTY_BYTES: Any = _EmptyBytes()
"""No bytes at all, as a column's default."""


@compiles(_EmptyBytes)
def _empty_bytes(*_: Any, **__: Any) -> str:
    return "''::bytea"


@compiles(_EmptyBytes, "sqlite")
def _empty_bytes_of_sqlite(*_: Any, **__: Any) -> str:
    return "x''"


class Word(String):
    """The type of a column with one of a few words, which partial indexes go by.

    A word of the program's own that it is compared with stands in the statement as it is: to see whether a partial
    index holds a bound one, SQLite prepares the statement anew for each value that is bound (measured: 200 µs
    instead of 20).
    """

    class Comparator(String.Comparator[str]):
        def operate(self, op: Any, *other: Any, **more: Any) -> Any:
            return super().operate(op, *map(_as_it_is, other), **more)

    comparator_factory = Comparator


def _as_it_is(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return literal_column(f"'{value}'", Text())
    return [_as_it_is(one) for one in value] if isinstance(value, list | tuple) else value


class unindexed(FunctionElement[str]):  # noqa: N801 — used as a function, like those of SQLAlchemy
    """A column of words that is compared with a bound one, where an index on it is not wanted: see Word."""

    inherit_cache = True
    type = Text()


@compiles(unindexed)
def _unindexed(element: Any, compiler: Any, **more: Any) -> str:
    return str(compiler.process(element.clauses, **more))


@compiles(unindexed, "sqlite")
def _unindexed_of_sqlite(element: Any, compiler: Any, **more: Any) -> str:
    return f"+{compiler.process(element.clauses, **more)}"


class _Said(ColumnElement[str]):
    """What the transaction was told at its opening: see scope.py. A file has one site, called ""."""

    inherit_cache = True
    type = Text()


class _OwnSite(_Said):
    inherit_cache = True


class _OwnAccount(_Said):
    inherit_cache = True


class _EverySite(_Said):
    inherit_cache = True


OWN_SITE = _OwnSite()
"""The site that the transaction works on."""
OWN_ACCOUNT = _OwnAccount()
"""The account that the transaction works with."""
EVERY_SITE = _EverySite()
"""What stands in place of a site where a row is of the account."""


@compiles(_OwnSite)
def _own_site(*_: Any, **__: Any) -> str:
    return "current_setting('watcher.site')"


@compiles(_OwnAccount)
def _own_account(*_: Any, **__: Any) -> str:
    return "current_setting('watcher.account')"


@compiles(_EverySite)
def _every_site(*_: Any, **__: Any) -> str:
    return "'*'"


@compiles(_OwnSite, "sqlite")
@compiles(_OwnAccount, "sqlite")
@compiles(_EverySite, "sqlite")
def _in_a_file(*_: Any, **__: Any) -> str:
    return "''"


class is_of_own_site(FunctionElement[bool]):  # noqa: N801 — used as a function, like those of SQLAlchemy
    """Whether a row of this `site` is of the site that the transaction works on, or of any while it is wide."""

    inherit_cache = True
    type = Boolean()


@compiles(is_of_own_site)
def _is_of_own_site(element: Any, compiler: Any, **more: Any) -> str:
    site = compiler.process(element.clauses, **more)
    return f"({site} = current_setting('watcher.site') OR current_setting('watcher.wide', true) = 'on')"


class is_of_a_site(FunctionElement[bool]):  # noqa: N801
    """Whether a row of this `site` is of a site, and not of its account as a whole.

    In a file all are: no column is named, so that the facts of one of an older version can be read.
    """

    inherit_cache = True
    type = Boolean()


class is_of_own_account(FunctionElement[bool]):  # noqa: N801
    """Whether a row of this `site` and `account` is of the transaction's account as a whole. In a file all are."""

    inherit_cache = True
    type = Boolean()


@compiles(is_of_a_site)
def _is_of_a_site(element: Any, compiler: Any, **more: Any) -> str:
    return f"{compiler.process(element.clauses, **more)} <> '*'"


@compiles(is_of_own_account)
def _is_of_own_account(element: Any, compiler: Any, **more: Any) -> str:
    site, account = (compiler.process(clause, **more) for clause in element.clauses)
    return f"{site} = '*' AND {account} = current_setting('watcher.account')"


class in_a_file_or_not(FunctionElement[bool]):  # noqa: N801
    """The first of two conditions in a file, the second on a server."""

    inherit_cache = True
    type = Boolean()


@compiles(in_a_file_or_not)
def _not_in_a_file(element: Any, compiler: Any, **more: Any) -> str:
    _, other = element.clauses
    return f"({compiler.process(other, **more)})"


@compiles(in_a_file_or_not, "sqlite")
def _in_a_file_alone(element: Any, compiler: Any, **more: Any) -> str:
    first, _ = element.clauses
    return str(compiler.process(first, **more))


class state_anywhere(FunctionElement[str]):  # noqa: N801
    """The state of the item with this id, at whatever site. Only on a server (revision 0021)."""

    inherit_cache = True
    type = String()


@compiles(state_anywhere)
def _state_anywhere(element: Any, compiler: Any, **more: Any) -> str:
    return f"watcher_state_of({compiler.process(element.clauses, **more)})"


SERVER_TIME = "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
"""The clock of the database's server, as it is when this is reached. now() is when the transaction began."""


class shared_time(FunctionElement[float]):  # noqa: N801
    """The time by which all nodes go: the clock of the database's server, as it is when that row is reached.

    In a file the given time, the only node's own. Never now(): a transaction that waited began long before.
    """

    inherit_cache = True
    type = Float()


@compiles(shared_time)
def _shared_time(*_: Any, **__: Any) -> str:
    return SERVER_TIME


@compiles(shared_time, "sqlite")
def _time_of_a_file(element: Any, compiler: Any, **more: Any) -> str:
    return str(compiler.process(element.clauses, **more))


@compiles(is_of_own_account, "sqlite")
@compiles(is_of_a_site, "sqlite")
@compiles(is_of_own_site, "sqlite")
def _all_in_a_file(*_: Any, **__: Any) -> str:
    return "1"


# SQLAlchemy's PostgreSQL takes long to import. It has SQLite's words for these: they are said to SQLite alone, and
# handed on when a statement is compiled for PostgreSQL.
def where(condition: ColumnElement[bool] | TextClause) -> dict[str, Any]:
    """The arguments that make an Index partial: it has only the rows that meet the condition."""
    return {"sqlite_where": condition}


@compiles(CreateIndex, "postgresql")
def _create_index(clause: Any, compiler: Any, **more: Any) -> str:
    options = clause.element.dialect_options
    condition = options["sqlite"]["where"]
    if condition is not None:
        options["postgresql"]["where"] = condition
    return str(compiler.visit_create_index(clause, **more))


@compiles(OnConflictDoNothing, "postgresql")
def _do_nothing(clause: Any, compiler: Any, **more: Any) -> str:
    clause.constraint_target = None  # which SQLite's lack
    return str(compiler.visit_on_conflict_do_nothing(clause, **more))


@compiles(OnConflictDoUpdate, "postgresql")
def _do_update(clause: Any, compiler: Any, **more: Any) -> str:
    # Its key may have the site or the account beside what the statement names.
    clause.constraint_target = f"{compiler.stack[-1]['selectable'].table.name}_pkey"
    return str(compiler.visit_on_conflict_do_update(clause, **more))


def insert_or_leave(table: Table) -> Insert:
    """A statement that inserts a row unless its key exists."""
    return insert(table).on_conflict_do_nothing()


OF_SCOPE = {"scope": True}
"""The info of a column that tells whose a row is: no statement sets it, its default does."""


def _values(table: Table) -> list[str]:
    """Return the names of the columns beside the key that statements set."""
    return [c.name for c in table.c if not c.primary_key and c.info != OF_SCOPE]


def insert_or_replace(table: Table) -> Insert:
    """A statement that inserts a row, or updates the one that has its key."""
    adding, key = insert(table), [column.name for column in table.primary_key]
    given = {name: adding.excluded[name] for name in _values(table)}
    return adding.on_conflict_do_update(index_elements=key, set_=given)


def add_to(table: Table) -> Insert:
    """A statement that inserts a row, or adds its numbers to those of the one that has its key."""
    adding, key = insert(table), [column.name for column in table.primary_key]
    sums = {name: table.c[name] + adding.excluded[name] for name in _values(table)}
    return adding.on_conflict_do_update(index_elements=key, set_=sums)


class first_folder(FunctionElement[bytes]):  # noqa: N801
    """The first folder of a path in bytes, with its slash; no bytes where it has none."""

    inherit_cache = True
    type = LargeBinary()


@compiles(first_folder)
def _first_folder(element: Any, compiler: Any, **more: Any) -> str:
    path = compiler.process(element.clauses, **more)
    return f"substring({path} FROM 1 FOR position('\\x2f'::bytea IN {path}))"


@compiles(first_folder, "sqlite")
def _first_folder_of_sqlite(element: Any, compiler: Any, **more: Any) -> str:
    path = compiler.process(element.clauses, **more)
    return f"substr({path}, 1, instr({path}, x'2f'))"


class path_has(FunctionElement[bool]):  # noqa: N801
    """Whether a path in bytes contains others, whatever the case of their ASCII letters."""

    inherit_cache = True
    type = Boolean()


@compiles(path_has)
def _path_has(element: Any, compiler: Any, **more: Any) -> str:
    path, part = (compiler.process(clause, **more) for clause in element.clauses)
    folded = "lower(convert_from({}, 'LATIN1') COLLATE \"C\")"  # any byte is a character of it
    return f"position({folded.format(part)} IN {folded.format(path)}) > 0"


@compiles(path_has, "sqlite")
def _path_has_of_sqlite(element: Any, compiler: Any, **more: Any) -> str:
    path, part = (compiler.process(clause, **more) for clause in element.clauses)
    return f"instr(lower(CAST({path} AS TEXT)), lower(CAST({part} AS TEXT))) > 0"


class path_has_digits(FunctionElement[bool]):  # noqa: N801
    """Whether a path has these digits one after the other, but for what people set between those of a number."""

    inherit_cache = True
    type = Boolean()


_BETWEEN_DIGITS = " -._()+"


@compiles(path_has_digits)
def _path_has_digits(element: Any, compiler: Any, **more: Any) -> str:
    path, digits = (compiler.process(clause, **more) for clause in element.clauses)
    return f"position({digits} IN translate(convert_from({path}, 'LATIN1'), '{_BETWEEN_DIGITS}', '')) > 0"


@compiles(path_has_digits, "sqlite")
def _path_has_digits_of_sqlite(element: Any, compiler: Any, **more: Any) -> str:
    path, digits = (compiler.process(clause, **more) for clause in element.clauses)
    bare = f"CAST({path} AS TEXT)"
    for between in _BETWEEN_DIGITS:
        bare = f"replace({bare}, '{between}', '')"
    return f"instr({bare}, {digits}) > 0"


class begins_with(FunctionElement[bool]):  # noqa: N801
    """Whether bytes begin with others. No index is used: what is listed in its order is read in its order."""

    inherit_cache = True
    type = Boolean()


@compiles(begins_with)
def _begins_with(element: Any, compiler: Any, **more: Any) -> str:
    whole, beginning = (compiler.process(clause, **more) for clause in element.clauses)
    return f"substring({whole} FROM 1 FOR length({beginning})) = {beginning}"


@compiles(begins_with, "sqlite")
def _begins_with_of_sqlite(element: Any, compiler: Any, **more: Any) -> str:
    whole, beginning = (compiler.process(clause, **more) for clause in element.clauses)
    return f"substr({whole}, 1, length({beginning})) = {beginning}"


class _Reserved(FunctionElement[int]):
    inherit_cache = False
    type = BigInteger()

    def __init__(self, table: Table, number: int) -> None:
        self.table = table
        super().__init__(literal(number))


def reserved_numbers(table: Table, number: int) -> ColumnElement[int]:
    """The last of so many numbers, one after the other, that no other row of the table has or will be given."""
    return _Reserved(table, number)


@compiles(_Reserved)
def _reserved(element: Any, compiler: Any, **more: Any) -> str:
    number = compiler.process(element.clauses, **more)
    sequence = f"pg_get_serial_sequence('{element.table.name}', '{element.table.autoincrement_column.name}')"
    return f"setval({sequence}, nextval({sequence}) + greatest({number}, 1) - 1)"


@compiles(_Reserved, "sqlite")
def _reserved_of_sqlite(element: Any, compiler: Any, **more: Any) -> str:
    number = compiler.process(element.clauses, **more)
    key = element.table.autoincrement_column.name
    return f"(SELECT coalesce(max({key}), 0) + {number} FROM {element.table.name})"  # noqa: S608 — names of the schema
