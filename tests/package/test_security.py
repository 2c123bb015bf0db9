"""SECURITY.md promises nothing that no test holds."""

import ast
import re

import pytest

from tests.package.documents import read
from tests.people import PROJECT

ROW = re.compile(r"^\| (?P<promise>.+) \| `(?P<file>tests/[\w/]+\.py)::(?P<test>test_\w+)` \|$")
SECTIONS = ("Whoever drops files", "Local users", "The network", "The service")


def rows(section: str) -> list[str]:
    """The lines of the section's table, but for its head."""
    text = re.split(rf"^## {section}$", read("SECURITY.md"), flags=re.MULTILINE)[1].partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def test_every_table_is_looked_at() -> None:
    """No promise stands in a table that this file does not know."""
    tables = [line for line in read("SECURITY.md").splitlines() if line == "| promise | test |"]
    assert len(tables) == len(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_each_promise_names_a_test_that_is_there(section: str) -> None:
    """One test each, by its file and name, which stands in that file as a function of pytest's."""
    assert len(rows(section)) > 5
    for row in rows(section):
        found = ROW.match(row)
        assert found, row
        path = PROJECT / found["file"]
        assert path.is_file(), row
        tests = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert found["test"] in tests, row


def test_it_is_named_where_people_look() -> None:
    """In README and CONTRIBUTING, as a link."""
    assert all("(SECURITY.md)" in read(document) for document in ("README.md", "CONTRIBUTING.md"))
