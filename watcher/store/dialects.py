"""SQL that SQLite and PostgreSQL both understand and that SQLAlchemy does not offer itself."""

from typing import Any

from sqlalchemy import Boolean, ColumnElement, LargeBinary, Table, TextClause
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
    clause.constraint_target = None
    return str(compiler.visit_on_conflict_do_update(clause, **more))


def insert_or_leave(table: Table) -> Insert:
    """A statement that inserts a row unless its key exists."""
    return insert(table).on_conflict_do_nothing()


def insert_or_replace(table: Table) -> Insert:
    """A statement that inserts a row, or updates the one that has its key."""
    adding, key = insert(table), [column.name for column in table.primary_key]
    given = {column.name: adding.excluded[column.name] for column in table.c if column.name not in key}
    return adding.on_conflict_do_update(index_elements=key, set_=given)


def add_to(table: Table) -> Insert:
    """A statement that inserts a row, or adds its numbers to those of the one that has its key."""
    adding, key = insert(table), [column.name for column in table.primary_key]
    sums = {c.name: c + adding.excluded[c.name] for c in table.c if c.name not in key}
    return adding.on_conflict_do_update(index_elements=key, set_=sums)


class first_folder(FunctionElement[bytes]):  # noqa: N801 — used as a function, like those of SQLAlchemy
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
