"""A pair of nodes with one site, and what befalls the one that works.

At random it is killed, stopped for longer than its lease, ended, or cut off from the server; or the server is
killed. Recordings are dropped all the time, and what may have been paid for is held. In the end each is filed, or
held for a person, and none was accepted twice.
"""

import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from tests.crash.audit import Dropped, audit_wreck
from tests.crash.trial import Run, Trial
from tests.nodes import LEASE_SECONDS, Nodes
from tests.places import KEY, speech
from tests.postgresql import running_server
from tests.process.programs import CLOCK, Program, Programs, let_pass, wait_until
from watcher.domain import State
from watcher.sandbox import Sandbox
from watcher.store import Lease

_NAMES = ("one", "two")
_DEEDS = ("kill", "stop", "stop", "end", "cut", "cut", "kill the server")
_AT_REST = {State.DONE, State.HELD}


class Pair:
    """The two nodes, each of which runs or is stopped, and what was dropped."""

    def __init__(self, nodes: Nodes, chance: random.Random) -> None:
        self.dropped: list[Dropped] = []
        self.takeovers: list[float] = []
        self._nodes = nodes
        self._chance = chance
        self._running: dict[str, Program] = {name: nodes.start(name) for name in _NAMES}
        self.programs = list(self._running.values())

    def drop(self) -> None:
        """Some more recordings lie there, or one that takes a while to send."""
        for _ in range(self._chance.randint(1, 4)):
            name = f"{len(self.dropped)}.wav"
            content = speech(name, note=bytes(self._chance.choice([0, 0, 0, 3_000_000])))
            self._nodes.shared.drop(name, content)
            self.dropped.append(Dropped(content, "done"))

    def holder(self) -> tuple[str, Lease]:
        """The node that works."""

        def look() -> Lease | None:
            self._supervise()
            lease = self._nodes.lease()
            found = self._running.get(lease.node)
            return lease if found is not None and found.pid == lease.pid and not lease.is_over else None

        lease = wait_until(look, "a node works", told=self.said)
        assert lease is not None
        return lease.node, lease

    def befall(self, deed: str) -> None:
        """This happens to the node that works, and both are up again."""
        name, lease = self.holder()
        program = self._running[name]
        match deed:
            case "kill":
                program.kill()
                self._await_another(lease)
                self._start(name)
            case "end":
                program.stop()
                self._start(name)
            case "stop":
                program.process.send_signal(signal.SIGSTOP)
                self._await_another(lease)
                let_pass(self._chance.uniform(0, 1))
                program.process.send_signal(signal.SIGCONT)
            case "cut":
                self._nodes.cut(program)
            case "kill the server":
                self._nodes.server.stop()
                let_pass(self._chance.uniform(0, 2 * LEASE_SECONDS))
                self._nodes.server.start()

    def rest(self) -> None:
        """All that was dropped is filed, or waits for a person."""

        def is_done() -> bool:
            self._supervise()
            states = [item.state for item in self._nodes.items().values()]
            return len(states) == len(self.dropped) and set(states) <= _AT_REST

        wait_until(is_done, "all is at rest", seconds=600, told=self.said)

    def said(self) -> str:
        """What the programs said last."""
        return "\n".join(program.err[-4000:] for program in self.programs[-4:])

    def _supervise(self) -> None:
        """Start a node that has ended, as systemd would: it began while the server was away."""
        for name, program in list(self._running.items()):
            if program.process.poll() is not None:
                self._start(name)

    def _start(self, name: str) -> None:
        self._running[name] = self._nodes.start(name)
        self.programs.append(self._running[name])

    def _await_another(self, before: Lease) -> None:
        began = CLOCK.monotonic()
        wait_until(lambda: self._nodes.lease().epoch > before.epoch, "another node takes over", told=self.said)
        self.takeovers.append(CLOCK.monotonic() - began)


def find_faults(pair: Pair, nodes: Nodes, service: Sandbox) -> Iterator[str]:
    """What is wrong in the end, each in a sentence."""
    yield from audit_wreck(nodes.shared.root, pair.dropped)
    accepted = Counter(entry.sha256 for entry in service.ledger if entry.method == "POST" and entry.status == 200)
    yield from (f"accepted {times} times: {digest}" for digest, times in accepted.items() if times > 1)
    given = {entry.sha256: entry.identifier for entry in service.ledger if entry.status == 200}
    for path, item in nodes.items().items():
        if item.state is State.DONE and item.identifier != given[item.sha256]:
            yield f"{path} has another identifier than the service gave"
    digests = {sha256(each.content).hexdigest() for each in pair.dropped}
    yield from (f"nobody dropped what was sent: {digest}" for digest in set(accepted) - digests)
    for program in pair.programs:
        said = program.err.splitlines()
        yield from (line for line in said if "Traceback" in line or '"level": "critical"' in line)


def _befall(run: Run) -> None:
    chance, deeds = run.chance, Counter[str]()
    with (
        running_server() as server,
        Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0.1) as service,
        tempfile.TemporaryDirectory(prefix="pair-") as root,
    ):
        os.chmod(root, 0o755)
        service.latency_seconds = 0.5  # so that what befalls a node finds an upload on the wire
        programs = Programs(Path(root, "programs"))
        try:
            nodes = Nodes(Path(root), server, service, programs)
            pair = Pair(nodes, chance)
            wait_until(lambda: any(one.events("daemon.started") for one in pair.programs), told=pair.said)
            while not run.is_over:
                pair.drop()
                let_pass(chance.uniform(0, 3))
                deed = chance.choice(_DEEDS)
                pair.befall(deed)
                deeds[deed] += 1
                run.counts["blows"] = deeds.total()
                run.counts["recordings"] = len(pair.dropped)
            pair.rest()
            run.judge(None, find_faults(pair, nodes, service))
            states = Counter(str(item.state) for item in nodes.items().values())
        finally:
            programs.close()
    takeovers = max(pair.takeovers, default=0.0)
    run.tell(f"{dict(deeds)}; {dict(states)}; takeovers within {takeovers:.1f} s")


TRIAL = Trial(
    "nodes",
    "of two nodes with one site, the one that works is killed, stopped, or cut off from the database's server, or "
    "that is killed",
    minutes=3,
    run=_befall,
)
