"""Sites whose pages are looked at, served by the program's own server in the test's process."""

import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

from tests.places import Place
from tests.process.programs import CLOCK, PATIENCE_SECONDS
from tests.report.sites import drop_hostile, drop_many, refuse
from tests.store.recordings import item
from watcher.composition import Journey
from watcher.domain import Fault, Pause, PauseKind, State
from watcher.sandbox import FaultKind, Sandbox
from watcher.web.gate import Rules, allowed_hosts
from watcher.web.listener import bind, serving
from watcher.web.middleware import Gate
from watcher.web.routes import make_app

HELD = "2026-11-25/agent-1/in-doubt.wav"
DROPPED = 38
ARTIFICIAL = {
    f"2026-11-{20 + n % 5}/agent-{n % 3}/call-+4930{n:07}.wav"
    for n in range(DROPPED)
    if n % 8 == 3 and n % 10 != 9  # which is cut short
}
"""Of what drop_many drops, those whose voices the sandbox finds artificial."""


@dataclass(frozen=True)
class Served:
    """A site with its pages."""

    place: Place
    journey: Journey
    url: str

    def get(self, path: str) -> str:
        """The page at this address, as text."""
        with urllib.request.urlopen(f"{self.url}{path}") as answer:
            return str(answer.read().decode())

    def post(self, path: str, **fields: object) -> str:
        """The page that comes of a form that was sent, as text."""
        headers = {"Sec-Fetch-Site": "same-origin"}
        request = urllib.request.Request(f"{self.url}{path}", urlencode(fields).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return str(answer.read().decode())

    def status(self, path: str) -> int:
        try:
            self.get(path)
        except HTTPError as error:
            return error.code
        return 200


@contextmanager
def served(place: Place) -> Iterator[Served]:
    """The site's pages, behind the gate, as the daemon serves them. No step runs but those that the test takes."""
    with place.opened() as journey:
        bound = bind("127.0.0.1:0", is_open=False)
        port = bound.getsockname()[1]
        rules = Rules(allowed_hosts((), "127.0.0.1", port), read_only=place.config.web.read_only)
        with serving(Gate(make_app(journey.site), rules, None, place.clock), bound):
            _await_answer(port)
            yield Served(place, journey, f"http://127.0.0.1:{port}")


def _await_answer(port: int) -> None:
    """Wait until the server, in its thread, listens."""
    until = CLOCK.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS).close()
        except ConnectionRefusedError:
            assert CLOCK.monotonic() < until
            CLOCK.wait(0.01, threading.Event())
        else:
            return


def make_mixed(place: Place, service: Sandbox, number: int = DROPPED) -> None:
    """Forty mixed recordings: some are artificial, some fail, and one is held, since the answer was lost."""
    service.add_fault(FaultKind.LOSE_ANSWER, times=1)
    place.drop(HELD)
    place.run_once()
    service.clear_faults()
    drop_many(place, number)
    place.run_once(verdicts=True)
    assert place.states()[HELD] is State.HELD


def make_hostile(place: Place, service: Sandbox) -> None:
    """Recordings with hostile names, some of which failed."""
    refuse(service, 6)
    drop_hostile(place)
    place.run_once(verdicts=True)


def make_failed(place: Place, number: int) -> None:
    """So many failed recordings, as rows; no file lies anywhere."""
    fault = Fault("refused", "The uploaded file format is not supported.", "Convert it to WAV, and drop it again.")
    place.run_once()
    with place.books() as books:
        for n in range(number):
            row = item(n + 1, state=State.FAILED, path=f"agent-{n % 7}/call-{n:05}.wav".encode(), fault=fault)
            filed: dict[str, Any] = {"outcome": State.FAILED, "filed_as": row.path, "filed_at": row.arrived_at}
            books.items.add(replace(row, **filed), "refused")


def pause(place: Place) -> None:
    """Submitting is paused, by a person and because of the account."""
    now = place.clock.now()
    with place.books() as books:
        books.pauses.set(Pause(PauseKind.ACCOUNT, "no_credit", "The account has no credit left.", now, now + 600))
        books.pauses.set(Pause(PauseKind.PERSON, "person", "The disk is being replaced.", now, None, by="anna"))


def names_in(page: str) -> list[str]:
    """What the recordings on a page are called, in their order."""
    return re.findall(r'<a href="/recordings/[0-9a-f]{16}"><bdi>(.*?)</bdi></a>', page)


def seen_in(page: str) -> int:
    """The number of the last change that the page knows of."""
    found = re.search(r'name="seen" value="(\d+)"', page)
    assert found is not None
    return int(found[1])
