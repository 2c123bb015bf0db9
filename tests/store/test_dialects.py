"""The tables and the revisions in the words of either kind of database."""

import io
from importlib import util
from typing import Any

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Dialect, Index, literal, select
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.schema import CreateIndex, CreateTable

from watcher.store import revisions
from watcher.store.dialects import begins_with, insert_or_leave, insert_or_replace, path_has, path_has_digits
from watcher.store.schema import items, metadata, site, verdicts

INDEXES = sorted(
    (index for table in metadata.tables.values() for index in table.indexes), key=lambda i: str(i.name)
)
DIALECTS: list[Dialect] = [SQLiteDialect(), PGDialect()]  # type: ignore[no-untyped-call]
NO_BYTES = {"sqlite": "DEFAULT (x'')", "postgresql": "DEFAULT ''::bytea"}


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: index.name)
def test_an_index_holds_the_same_rows_on_either(index: Index) -> None:
    """A condition that one of them does not know would make an index of all rows, and a unique one refuse them."""
    conditions = [str(CreateIndex(index).compile(dialect=d)).partition(" WHERE ")[2] for d in DIALECTS]
    assert bool(conditions[0]) == bool(conditions[1])
    assert conditions[0].replace("= 1", "= true") == conditions[1]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_default_of_no_bytes_is_said_in_the_database_s_own_words(dialect: Dialect) -> None:
    """x'' is a string of bits to PostgreSQL, '' a text to SQLite."""
    said = str(CreateTable(items).compile(dialect=dialect))
    assert NO_BYTES[dialect.name] in said
    assert NO_BYTES[dialect.name] in _upgrade(dialect.name)


def test_the_revisions_make_the_same_indexes_on_either() -> None:
    """Every partial index of SQLite is one of PostgreSQL too."""
    said = {dialect.name: _upgrade(dialect.name) for dialect in DIALECTS}
    made = {name: [line for line in text.splitlines() if "INDEX" in line] for name, text in said.items()}
    assert [line.replace("= 1", "= true") for line in made["sqlite"]] == made["postgresql"]
    assert sum(" WHERE " in line for line in made["postgresql"]) > 5


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_row_that_is_there_is_left_or_replaced_by_the_same_words(dialect: Dialect) -> None:
    assert str(insert_or_leave(verdicts).compile(dialect=dialect)).endswith("ON CONFLICT DO NOTHING")
    replaced = str(insert_or_replace(site).compile(dialect=dialect))
    key = {"sqlite": "(name)", "postgresql": "ON CONSTRAINT site_pkey"}[dialect.name]
    assert replaced.endswith(f"ON CONFLICT {key} DO UPDATE SET value = excluded.value")


def test_what_is_looked_for_in_a_path_is_said_in_the_database_s_own_words() -> None:
    """A path is bytes to both: to PostgreSQL each is a character, as SQLite has it by itself."""
    path, digits = items.c.path, literal("4930")
    said = {
        dialect.name: str(
            select(path_has(path, path), path_has_digits(path, digits), begins_with(path, path)).compile(
                dialect=dialect
            )
        )
        for dialect in DIALECTS
    }
    assert "instr(lower(CAST(items.path AS TEXT)), lower(CAST(items.path AS TEXT))) > 0" in said["sqlite"]
    folded = "lower(convert_from(items.path, 'LATIN1') COLLATE \"C\")"
    assert f"position({folded} IN {folded}) > 0" in said["postgresql"]
    assert "translate(convert_from(items.path, 'LATIN1'), ' -._()+', '')" in said["postgresql"]
    assert "substring(items.path FROM 1 FOR length(items.path)) = items.path" in said["postgresql"]


def _upgrade(name: str) -> str:
    """What the revisions say to a database of this kind, from the first to the last."""
    said = io.StringIO()
    context = MigrationContext.configure(dialect_name=name, opts={"as_sql": True, "output_buffer": said})
    with Operations.context(context):
        for path in sorted((revisions.folder() / "versions").glob("[0-9]*.py")):
            spec = util.spec_from_file_location(path.stem, path)
            assert spec is not None
            assert spec.loader is not None
            module: Any = util.module_from_spec(spec)
            spec.loader.exec_module(module)
            module.upgrade()
    return said.getvalue()
