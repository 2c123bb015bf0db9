"""The page of a node that stands by: it is well, it says who works, and what is decided there is carried out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import LONG, Nodes
from tests.postgresql import Server, postgresql  # noqa: F401 — a fixture
from tests.process.programs import Program, Programs, wait_until
from tests.web.asking import FORM, OURS, ask, port_of
from watcher.domain import PauseKind, State
from watcher.errors import Exit
from watcher.sandbox import Sandbox


@pytest.fixture
def nodes(tmp_path: Path, postgresql: Server, service: Sandbox, watcher: Programs) -> Iterator[Nodes]:  # noqa: F811
    made = Nodes(tmp_path, postgresql, service, watcher)
    yield made
    watcher.close()
    postgresql.drop(made.name)


def start(nodes: Nodes, watcher: Programs, name: str) -> tuple[Program, int]:
    """Start a node that serves its page; return the page's port, too."""
    config = nodes.place(name, LONG).config_path
    config.write_text(f'{config.read_text()}[web]\nlisten = "127.0.0.1:0"\n')
    node = watcher.start("run", "--config", config)
    return node, port_of(node)


def test_a_node_that_stands_by_is_well_and_says_who_works(nodes: Nodes, watcher: Programs) -> None:
    first, _ = start(nodes, watcher, "one")
    nodes.shared.drop("call.wav")
    nodes.wait_for_state("call.wav", State.DONE, first)
    second, port = start(nodes, watcher, "two")
    second.wait_for("node.standing_by")
    assert (ask(port, "/healthz").status, ask(port, "/healthz").text) == (200, "ok\n")
    assert watcher.ask(nodes.place("two", LONG), "status", "--healthy") == "work succeeds\n"
    told = ask(port, "/metrics").text
    assert "watcher_node_holds_lease 0.0" in told
    assert "watcher_sites_without_node 0.0" in told
    assert "watcher_items" not in told
    page = ask(port, "/").text
    assert "This node stands by." in page
    assert f"one (process {first.pid}" in page
    assert "call.wav" in page
    assert f"<bdi>{nodes.shared.root}/drop</bdi>" in ask(port, "/sites").text
    assert ask(port, "/pause", OURS, FORM, method="POST", body=b"reason=moving").status == 303
    with nodes.books() as books:
        assert [pause.kind for pause in books.pauses.active()] == [PauseKind.PERSON]
    assert ask(port, "/resume", OURS, FORM, method="POST", body=b"").status == 303
    assert first.stop() == Exit.WELL
    wait_until(lambda: "watcher_node_holds_lease 1.0" in ask(port, "/metrics").text, "it took over")
    assert "watcher_items" in ask(port, "/metrics").text
    assert "This node stands by." not in ask(port, "/").text
    assert second.stop() == Exit.WELL
