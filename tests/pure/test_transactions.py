"""Nothing touches a disk, speaks, waits or asks the service inside a transaction: the rule, and that it is held.

Every test that runs the product in its own process runs it under `tests.transactions.guarded`, by a fixture of
conftest.py. What no test reaches is read here, in the source.
"""

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

import watcher
from tests.clock import FalseClock
from tests.transactions import breaches
from watcher.store import Store

SOURCE = Path(watcher.__file__).parent

BREACHES = {
    "prints": "print('done')",
    "says": "outlet.say('left: one.wav')",
    "logs": "log.debug('recording.done')",
    "looks": "os.stat('/')",
    "looks whether": "os.path.exists('/')",
    "resolves": "os.path.realpath('/tmp')",
    "lists": "os.scandir('/').close()",
    "opens": "open('/dev/null').close()",
    "writes": "os.write(1, b'')",
    "syncs": "os.fsync(sink)",
    "renames": "os.rename('/dev/null/a', '/dev/null/b')",
    "removes": "os.unlink('/dev/null/a')",
    "waits": "clock.wait(1.0, event)",
    "waits for another thread": "event.wait(0.0)",
    "takes a lock": "lock.acquire()",
    "locks a file": "fcntl.flock(sink, fcntl.LOCK_UN)",
    "opens another transaction": "with store.reading(): pass",
    "asks": "socket.create_connection(('127.0.0.1', 9), timeout=0.01)",
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/watcher.db") as store:
        store.database.migrate()
        yield store


def run_as_ours(
    body: str, store: Store, module: str = "journey/breach.py", clock: FalseClock | None = None
) -> None:
    """The product's own code does this; what the disk says of it is no matter."""
    source = (
        dedent("""
        import fcntl, os, socket, threading
        from watcher import logs, outlet
        event, lock, log = threading.Event(), threading.Lock(), logs.get_logger("watcher.breach")
        sink = os.open("/dev/null", os.O_WRONLY)
        try:
    """)
        + indent(dedent(body), "    ")
        + "\nexcept OSError:\n    pass\nfinally:\n    os.close(sink)\n"
    )
    names: dict[str, Any] = {"store": store, "clock": clock or FalseClock()}
    exec(compile(source, str(SOURCE / module), "exec"), names)


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_noted_by_whom_and_where(store: Store, name: str) -> None:
    """The guard itself: each kind of breach is seen inside a transaction that writes, and nowhere else."""
    act = BREACHES[name]
    run_as_ours(f"{act}\nwith store.writing() as books:\n    books.site.put('a', 1)\n", store)
    assert breaches() == []
    run_as_ours(f"with store.writing() as books:\n    {act}\n", store)
    assert any("breach.py" in breach for breach in breaches())


@pytest.mark.parametrize("module", ["journey/breach.py", "views/explanation.py", "cli/checking/premises.py"])
def test_who_only_reads_is_held_to_it_too(store: Store, module: str) -> None:
    """Whoever asks: a command, or the view that it asks."""
    run_as_ours("with store.reading() as books:\n    os.stat('/')\n", store, module)
    assert len(breaches()) == 1


def test_who_only_reads_may_take_a_lock(store: Store) -> None:
    """It keeps nobody out, whoever has the lock."""
    run_as_ours("with store.reading() as books:\n    lock.acquire()\n", store)
    assert breaches() == []


def test_what_is_said_afterwards_is_said_after_the_commit_and_not_of_what_was_undone(store: Store) -> None:
    """A log never tells of what is not on the disk."""
    said: list[object] = []

    def look() -> None:
        with store.reading() as books:
            said.append(books.site.get("a"))

    with store.writing() as books:
        books.site.put("a", 1)
        books.afterwards(look)
        assert said == []
    assert said == [1]
    with suppress(LookupError), store.writing() as books:
        books.afterwards(look)
        raise LookupError
    assert said == [1]
    with store.reading() as books:
        books.afterwards(look)
        assert said == [1]
    assert said == [1, 1]


# The source


def test_no_line_of_the_source_speaks_within_a_transaction() -> None:
    """Neither where one is open, nor in a function that is given its books; a lambda may, for afterwards."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "books" in [each.arg for each in node.args.args]:
                found += [(path.name, line) for line in _speaking(node.body)]
            if isinstance(node, ast.With) and _opens(node):
                found += [(path.name, line) for line in _speaking(node.body)]
    assert found == []


def _opens(node: ast.With) -> bool:
    """Whether a transaction is open in it."""
    called = [ast.unparse(item.context_expr) for item in node.items]
    return any(call.endswith((".writing()", ".reading()")) for call in called)


def _speaking(body: list[ast.stmt]) -> Iterator[int]:
    """The lines that print or log, but for those in a function that is called later."""
    left: list[ast.AST] = list(body)
    while left:
        node = left.pop()
        if isinstance(node, ast.Lambda | ast.FunctionDef):
            continue
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            if call in ("print", "say", "print_json") or call.startswith("_log."):
                yield node.lineno
        left += ast.iter_child_nodes(node)


def test_no_view_or_command_can_reach_a_folder_within_a_transaction() -> None:
    """There its context gives it configuration and clock only, and is handed on to nobody who has the books."""
    found = []
    for path in sorted([*(SOURCE / "views").rglob("*.py"), *(SOURCE / "cli").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                given = {each.arg for each in node.args.args}
                found += [(path.name, node.lineno)] if {"books", "context"} <= given else []
            if isinstance(node, ast.With) and _opens(node):
                found += [(path.name, line) for statement in node.body for line in _reaching(statement)]
    assert found == []


def _reaching(statement: ast.stmt) -> Iterator[int]:
    """The lines that do more with a context than to ask it for its configuration or its clock."""
    allowed = [
        node.value
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and node.attr in ("config", "clock")
    ]
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and node.id == "context" and node not in allowed:
            yield node.lineno
