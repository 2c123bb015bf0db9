"""Where things are: what an import contract cannot say."""

import ast
from collections import Counter
from pathlib import Path

import watcher

HOUSE = Path(watcher.__file__).parent


def test_no_command_asks_the_books_itself() -> None:
    """A query is a view's, and a change the journey's: a command opens the transaction at the most."""
    modules = list((HOUSE / "cli").rglob("*.py"))
    queries = [
        f"{module.relative_to(HOUSE)}:{node.lineno}"
        for module in modules
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "books"
    ]
    assert len(modules) > 10
    assert queries == []


def test_no_two_modules_have_one_name() -> None:
    """So that a name in a traceback, in a talk or in an editor's tab says which one is meant."""
    named = Counter(module.name for module in HOUSE.rglob("*.py") if not module.name.startswith("__"))
    assert len(named) > 100
    assert {name for name, times in named.items() if times > 1} == set()
