"""Statements that each recording takes: compiled once, and then handed to the driver as they are.

SQLAlchemy looks a statement up in its cache each time, makes a context of its execution and a result of its own:
that costs three times what SQLite needs for most of them (measured). Here the text is kept, with the order of its
parameters, and the rows are tuples with names. It runs on the same driver's connection, in the same transaction,
and the types convert the values, as ever; what fails is told as SQLAlchemy tells it. Nothing is prepared at a
server.

A statement with a list, whose text depends on its length, cannot be one of these.
"""

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import SelectBase

_Convert = Callable[[Any], Any]
_row_class: Any = namedtuple  # noqa: PYI024 — its fields are those of a statement


class Compiled:
    """A statement, for as many kinds of databases and sets of values as it is asked with."""

    def __init__(self, statement: SelectBase | UpdateBase) -> None:
        self._statement = statement
        self._texts: dict[tuple[str, bool, tuple[str, ...]], _Text] = {}

    def rows(self, connection: Connection, values: Mapping[str, Any] | None = None) -> list[Any]:
        """Return all rows, each a tuple whose fields have the names of the columns."""
        return self._run(connection, values or {})[0]

    def row(self, connection: Connection, values: Mapping[str, Any] | None = None) -> Any:
        """Return the only row; null for none."""
        rows = self.rows(connection, values)
        if len(rows) > 1:
            raise ValueError(f"{len(rows)} rows where there is one at most: {self._statement}")
        return rows[0] if rows else None

    def value(self, connection: Connection, values: Mapping[str, Any] | None = None) -> Any:
        """Return the first column of the first row; null for none."""
        rows = self.rows(connection, values)
        return rows[0][0] if rows else None

    def change(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Return how many rows were changed."""
        return self._run(connection, values)[1]

    def change_each(self, connection: Connection, many: Sequence[Mapping[str, Any]]) -> int:
        """The same for each of these values, which have the same names; there is at least one."""
        text = self._text(connection.dialect, many[0], is_many=True)
        parameters = [text.parameters(values) for values in many]
        return _run(connection, text.sql, parameters, is_many=True).rowcount  # type: ignore[no-any-return]

    def _run(self, connection: Connection, values: Mapping[str, Any]) -> tuple[list[Any], int]:
        text = self._text(connection.dialect, values)
        cursor = _run(connection, text.sql, text.parameters(values))
        return text.rows(cursor), cursor.rowcount

    def _text(self, dialect: Dialect, values: Mapping[str, Any], *, is_many: bool = False) -> "_Text":
        key = dialect.name, is_many, tuple(values)
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = _Text(self._statement, dialect, values, is_many=is_many)
        return found


class _Text:
    """A statement as one kind of database reads it, with values for these names."""

    def __init__(
        self, statement: SelectBase | UpdateBase, dialect: Dialect, names: Collection[str], *, is_many: bool
    ) -> None:
        compiled = dialect.statement_compiler(dialect, statement, column_keys=list(names), for_executemany=is_many)
        if compiled.prefetch or any(bind.expanding or bind.literal_execute for bind in compiled.binds.values()):
            raise TypeError(f"not the same text each time: {compiled}")
        self.sql = str(compiled)
        self._dialect = dialect
        self._columns = list(statement.exported_columns)
        self._make: Callable[[Any], Any] | None = None
        self._read: list[tuple[int, _Convert]] = []
        self._names = None if compiled.positional else tuple(compiled.binds)
        self._parameters: list[tuple[str | None, _Convert | None, Any]] = []
        for name in compiled.positiontup or () if compiled.positional else compiled.binds:
            bind = compiled.binds[name]
            write = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if name in names:
                self._parameters.append((name, write, None))
            elif bind.required:
                raise TypeError(f"no value for {name}: {compiled}")
            else:
                value = bind.effective_value
                self._parameters.append((None, None, value if write is None else write(value)))

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """Return these values, and those that stand in the statement, as the driver takes them."""
        found = [
            fixed if name is None else values[name] if write is None else write(values[name])
            for name, write, fixed in self._parameters
        ]
        return found if self._names is None else dict(zip(self._names, found, strict=True))

    def rows(self, cursor: Any) -> list[Any]:
        """Return what the cursor has found."""
        if cursor.description is None:
            return []
        make = self._make or self._describe(cursor.description)
        if not self._read:
            return [make(row) for row in cursor.fetchall()]
        return [make(self._converted(row)) for row in cursor.fetchall()]

    def _converted(self, row: Iterable[Any]) -> list[Any]:
        values = list(row)
        for place, read in self._read:
            values[place] = read(values[place])
        return values

    def _describe(self, description: Sequence[Any]) -> Callable[[Any], Any]:
        """Find out, from the first result, how its values are to be read."""
        found: list[tuple[int, _Convert]] = []
        if self._columns:  # else they are what SQLAlchemy asks for on its own account
            for place, (column, told) in enumerate(zip(self._columns, description, strict=True)):
                read = column.type.dialect_impl(self._dialect).result_processor(self._dialect, told[1])
                if read is not None:
                    found.append((place, read))
        make: Callable[[Any], Any] = _row_class("Row", [told[0] for told in description], rename=True)._make
        self._read, self._make = found, make  # in this order: another thread may be here, too
        return make


def _run(connection: Connection, sql: str, parameters: Any, *, is_many: bool = False) -> Any:
    """Run it in the connection's transaction, which begins here at the latest. Return the driver's cursor."""
    if not connection.in_transaction():
        connection.begin()
    cursor = connection.connection.cursor()
    try:
        if is_many:
            cursor.executemany(sql, parameters)
        else:
            cursor.execute(sql, parameters)
    except connection.dialect.loaded_dbapi.Error as error:
        # It tells the pool of a connection that is lost, and raises the error in SQLAlchemy's own class.
        connection._handle_dbapi_exception(error, sql, parameters, cursor, None)  # noqa: SLF001
    return cursor
