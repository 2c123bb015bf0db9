"""Where things are: what an import contract cannot say."""

import ast
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
