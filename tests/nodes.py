"""Several nodes on one site, each a program of its own: the same three folders, and one database on a server."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.places import Place
from tests.postgresql import Server
from tests.process.conftest import QUICK
from tests.process.programs import CLOCK, Program, Programs, wait_until
from watcher.domain import Item, State
from watcher.sandbox import Sandbox
from watcher.store import Books, Lease, Store

LEASE_SECONDS = 3
LONG = 3600
"""Of leases that nobody waits for the end of."""

PATIENT = {"in_doubt": "hold", "read_timeout_seconds": 600, "deadline_seconds": 600}
"""Of a busy machine; and nothing may be paid for twice."""


class Nodes:
    """A site whose folders several nodes see, each with a configuration of its own."""

    def __init__(self, root: Path, server: Server, service: Sandbox, programs: Programs) -> None:
        self.server, self.name = server, server.database()
        self._root, self._service, self._programs = root, service, programs
        self._places: dict[str, Place] = {}
        self.shared = self.place("shared")

    def place(self, name: str, lease_seconds: float = LEASE_SECONDS) -> Place:
        """The node of this name."""
        root = self._root / name
        root.mkdir(exist_ok=True)
        folders = {folder: str(self._root / "shared" / folder) for folder in ("drop", "done", "failed")}
        store = {"url": self.server.url(self.name), "node": name, "lease_seconds": lease_seconds}
        tables: dict[str, dict[str, Any]] = {
            **QUICK,
            "folders": folders,
            "store": store,
            "identifai": dict(PATIENT),
        }
        self._places[name] = Place(root, self._service.url, CLOCK, **tables)
        return self._places[name]

    def start(self, name: str, lease_seconds: float = LEASE_SECONDS) -> Program:
        """The node's daemon is under way."""
        return self._programs.start("run", "--config", self.place(name, lease_seconds).config_path)

    def work(self, name: str, lease_seconds: float = LEASE_SECONDS) -> Program:
        """The node works on the site."""
        node = self.start(name, lease_seconds)
        node.wait_for("daemon.started")
        return node

    def stand_by(self, name: str, lease_seconds: float = LEASE_SECONDS) -> Program:
        """The node stands by."""
        node = self.start(name, lease_seconds)
        node.wait_for("node.standing_by")
        return node

    @contextmanager
    def books(self) -> Iterator[Books]:
        """The site's books, which is the one that the drop folder's mark names; of none before that is there."""
        config, mark = self.shared.config, self._root / "shared/drop/.watcher"
        with Store(config.store.url, self._root / "no.node", account=config.identifai.payer) as store:
            if mark.exists():
                store.database.belong_to(json.loads(mark.read_bytes() or "{}").get("site", ""), keeping=False)
            with store.reading() as books:
                yield books

    def items(self) -> dict[str, Item]:
        with self.books() as books:
            return {os.fsdecode(item.path): item for item in books.items.listed()}

    def lease(self) -> Lease:
        with self.books() as books:
            (lease,) = books.leases.listed()
        return lease

    def wait_for_state(self, path: str, state: State, *told: Program) -> Item:
        """The recording has come so far."""

        def look() -> Item | None:
            item = self.items().get(path)
            return item if item is not None and item.state is state else None

        found = wait_until(look, f"{path} is {state}", told=lambda: "\n".join(node.err for node in told))
        assert found is not None
        return found

    def cut(self, node: Program) -> None:
        """The server has ended every connection of this node's."""
        self.server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'watcher {node.pid}'"
        )
