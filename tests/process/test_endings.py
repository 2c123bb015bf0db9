"""However the daemon ends, nothing is lost, and nothing is paid for twice."""

import random
import signal
from collections import Counter
from hashlib import sha256

import pytest

from tests.odd_disk import OddDisk, odd_disk
from tests.places import Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import CLOCK, Program, Programs, last_scan_at, let_pass, posts, wait_until
from watcher.domain import Attempt, State
from watcher.sandbox import FaultKind, Sandbox

__all__ = ["odd_disk"]  # a fixture

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)


def drop(place: Place, count: int, seconds: float = 4.0) -> dict[str, bytes]:
    contents = {f"agent-{n % 2}/{n}.wav": speech(f"recording {n}", seconds=seconds) for n in range(count)}
    for path, content in contents.items():
        place.drop(path, content)
    return contents


def assert_all_done_once(place: Place, service: Sandbox, contents: dict[str, bytes]) -> None:
    """Each content was charged once and lies in done/, whole, with the identifier that the service gave it."""
    wait_until(
        lambda: set(place.states().values()) == {State.DONE} and len(place.states()) == len(contents),
        "everything is done",
        told=lambda: str(place.states()),
    )
    given = {entry.sha256: entry.identifier for entry in posts(service) if entry.charged}
    assert service.charged == len(given) == len(contents)
    expected = {f"done/{path}{ending}" for path in contents for ending in ("", ".json")}
    assert place.files() == expected
    for path, content in contents.items():
        assert (place.root / "done" / path).read_bytes() == content
        assert place.receipt(f"done/{path}.json")["identifier"] == given[sha256(content).hexdigest()]


def test_a_stop_while_many_are_filed_on_a_slow_share_is_no_failure(
    make_place: MakePlace, odd_disk: OddDisk, service: Sandbox, watcher: Programs
) -> None:
    """It ends after the one in hand, with exit code 0; the next start files the rest, unpaid."""
    place = make_place()
    odd_disk.mount(place.root / "done")
    place.drop("first.wav", speech("same"))
    daemon = watcher.daemon(place)
    daemon.wait_for("recording.done")
    daemon.stop()
    odd_disk.rule(rename_seconds=1.0)
    for number in range(30):
        place.drop(f"{number}.wav", speech("same"))  # none of them is to be sent
    daemon = watcher.daemon(place)
    wait_until(lambda: sum(path.startswith("done/") for path in place.files()) > 4, "some are filed")

    assert daemon.end(signal.SIGTERM, seconds=60) == 0

    assert daemon.log[-1]["event"] == "daemon.stopped"
    assert daemon.events("daemon.cut_off") == []
    assert {State.DONE, State.FILING} <= set(place.states().values())
    odd_disk.rule()
    daemon = watcher.daemon(place)
    wait_until(lambda: Counter(place.states().values()) == {State.DONE: 31}, "the rest is filed")
    assert daemon.stop() == 0
    assert service.charged == 1


@SIGNALS
def test_a_stop_amid_uploads_finishes_them_and_the_next_start_does_the_rest(
    number: signal.Signals, make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Uploads under way get their answers, so none is ever sent again; the exit code is 0."""
    service.latency_seconds = 0.4
    place = make_place(limits={"in_flight": 2})
    contents = drop(place, 7)
    daemon = watcher.daemon(place)
    daemon.wait_for("recording.submitted")
    wait_until(lambda: State.SUBMITTING in place.states().values(), "an upload is under way")

    assert daemon.end(number) == 0

    assert daemon.log[-1]["event"] == "daemon.stopped"
    assert State.SUBMITTING not in place.states().values()
    assert State.QUEUED in place.states().values()
    service.latency_seconds = 0
    daemon = watcher.daemon(place)
    assert_all_done_once(place, service, contents)
    sent = Counter(entry.sha256 for entry in posts(service) if entry.is_whole)
    assert set(sent.values()) == {1}
    assert daemon.end(number) == 0


def test_a_stop_while_the_service_stalls_ends_when_it_goes_on(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """A body that is on its way when the daemon stops is finished or given up, and in neither case paid twice."""
    service.add_fault(FaultKind.STALL_READING, seconds=1)
    contents = drop(place, 2, seconds=60)
    daemon = watcher.daemon(place)
    wait_until(lambda: State.SUBMITTING in place.states().values(), "an upload is under way")

    assert daemon.stop() == 0

    assert set(place.states().values()) <= {State.QUEUED, State.FILING, State.DONE}
    watcher.daemon(place)
    assert_all_done_once(place, service, contents)


def test_a_stop_while_the_rate_windows_are_full_is_prompt_and_free(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Waiting is given up at once: before a body is begun, and with its last part still held back."""
    place = make_place(limits={"writes": ["1/4s"], "in_flight": 1})
    contents = drop(place, 3)
    daemon = watcher.daemon(place)
    daemon.wait_for("recording.submitted")
    wait_until(lambda: State.SUBMITTING in place.states().values(), "the next one waits with its last part")
    assert_ends_promptly(daemon)

    states = Counter(place.states().values())
    assert states[State.QUEUED] == 2
    assert service.charged == 1
    waited_for = next(path for path, state in place.states().items() if state is State.QUEUED)
    assert [(attempt.charged, attempt.decision) for attempt in requests(place, waited_for)] == [("no", "not sent")]

    place.configure(identifai={"base_url": service.url}, limits={"writes": ["1/minute"]})
    before = last_scan_at(place)
    daemon = watcher.daemon(place)
    wait_until(lambda: last_scan_at(place) != before, "it is at work")
    assert_ends_promptly(daemon)
    assert len(posts(service)) == 2

    place.configure(identifai={"base_url": service.url}, limits={"writes": []})
    watcher.daemon(place)
    assert_all_done_once(place, service, contents)


def assert_ends_promptly(daemon: Program) -> None:
    began = CLOCK.monotonic()
    assert daemon.stop() == 0
    assert CLOCK.monotonic() - began < 20  # of the minute that the windows ask for at last


def requests(place: Place, path: str) -> list[Attempt]:
    with place.books() as books:
        return books.ledger.of_item(place.item_in(books, path).id)


def test_killed_at_any_moment_nothing_is_lost_or_paid_twice(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """After kill -9, again and again, the next start goes on where the last one was."""
    service.latency_seconds = 0.05
    place = make_place(limits={"in_flight": 3})
    contents = drop(place, 24)
    for _ in range(4):
        before = len(posts(service))
        daemon = watcher.daemon(place)
        wait_until(lambda: len(posts(service)) > before, "something is sent", told=lambda: daemon.err)  # noqa: B023
        let_pass(random.uniform(0, 0.15))
        daemon.kill()

    daemon = watcher.daemon(place)

    assert_all_done_once(place, service, contents)
    assert daemon.stop() == 0
    assert watcher.call("run", "--once", "--config", place.config_path).process.returncode == 0
    assert service.charged == len(contents)
