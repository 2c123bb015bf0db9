"""What the daemon tells systemd, heard on a socket such as systemd's."""

import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.places import KEY, Place
from tests.process.programs import ENVIRONMENT, PATIENCE_SECONDS, Programs
from watcher.errors import Exit

_WATCHDOG_SECONDS = 0.3


class Ear:
    """The socket on which a service's notifications arrive, one datagram each."""

    def __init__(self, door: socket.socket, address: str) -> None:
        self._door = door
        self.address = address  # as $NOTIFY_SOCKET has it

    def hear(self) -> str:
        """The next notification. Fails the test when none comes."""
        try:
            return self._door.recv(4096).decode()
        except TimeoutError:
            raise AssertionError(f"nothing was said within {PATIENCE_SECONDS:g} s") from None

    def stop_listening(self) -> None:
        """Nothing more can be said, since nobody hears what was said until now."""
        to = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as voice, suppress(BlockingIOError):
            voice.setblocking(False)
            while True:
                voice.sendto(b"noise", to)

    def rest(self) -> list[str]:
        """What was said and not heard yet."""
        self._door.setblocking(False)
        said = []
        while True:
            try:
                said.append(self._door.recv(4096).decode())
            except BlockingIOError:
                return said


@contextmanager
def listening(*, abstract: bool = False) -> Iterator[Ear]:
    # Not in pytest's own folder, whose path may be longer than a socket's may be.
    with tempfile.TemporaryDirectory(prefix="notify-") as folder:
        path = str(Path(folder, "notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.bind("\0" + path if abstract else path)
            door.settimeout(PATIENCE_SECONDS)
            yield Ear(door, "@" + path if abstract else path)


def environment(ear: Ear, **more: str) -> dict[str, str]:
    return ENVIRONMENT | {"IDENTIFAI_API_KEY": KEY, "NOTIFY_SOCKET": ear.address, **more}


WATCHDOG = {"WATCHDOG_USEC": str(int(_WATCHDOG_SECONDS * 1_000_000))}


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_it_says_when_it_is_ready_alive_and_stopping(abstract: bool, place: Place, watcher: Programs) -> None:
    """READY=1 once, WATCHDOG=1 again and again while there is progress, STOPPING=1 at SIGTERM; then exit 0."""
    with listening(abstract=abstract) as ear:
        program = watcher.start("run", "--config", place.config_path, environment=environment(ear, **WATCHDOG))
        assert ear.hear() == "READY=1"
        assert [ear.hear() for _ in range(4)] == ["WATCHDOG=1"] * 4
        assert program.stop() == Exit.WELL
        *alive, last = ear.rest()
        assert last == "STOPPING=1"
        assert set(alive) <= {"WATCHDOG=1"}


def test_a_systemd_that_stands_still_holds_nothing_up(place: Place, watcher: Programs) -> None:
    """Neither start, work nor stop waits for it to listen; that it does not is in the log."""
    with listening() as ear:
        ear.stop_listening()
        program = watcher.start("run", "--config", place.config_path, environment=environment(ear, **WATCHDOG))
        program.wait_for("systemd.unreachable")
        place.drop("one.wav")
        program.wait_for("recording.done")
        assert program.stop() == Exit.WELL


def test_ready_means_that_the_database_is_up_to_date(place: Place, watcher: Programs) -> None:
    """At READY=1 the commands work: what is started after the daemon finds the database that it made."""
    with listening() as ear:
        program = watcher.start("run", "--config", place.config_path, environment=environment(ear))
        assert ear.hear() == "READY=1"
        assert watcher.ask_json(place, "status")[0]["paused"] is None
        assert program.stop() == Exit.WELL


def test_no_watchdog_is_fed_that_nobody_set_on_it(place: Place, watcher: Programs) -> None:
    """$WATCHDOG_USEC inherited from a service that started us is not ours: $WATCHDOG_PID says whose it is."""
    with listening() as ear:
        given = environment(ear, **WATCHDOG, WATCHDOG_PID="1")
        program = watcher.start("run", "--config", place.config_path, environment=given)
        assert ear.hear() == "READY=1"
        program.wait_for("daemon.started")
        place.drop("call.wav")
        program.wait_for("verdict.known")
        assert program.end(signal.SIGINT) == Exit.WELL
        assert ear.rest() == ["STOPPING=1"]


def test_it_does_not_say_ready_when_it_can_not_start(place: Place, watcher: Programs) -> None:
    """With a wrong configuration systemd hears nothing but the exit code, which keeps it from trying on."""
    place.configure(limits={"writes": ["often"]})
    with listening() as ear:
        program = watcher.start("run", "--config", place.config_path, environment=environment(ear, **WATCHDOG))
        assert program.end() == Exit.CONFIG
        assert ear.rest() == []


def test_it_runs_on_when_systemd_does_not_listen(place: Place, watcher: Programs) -> None:
    """A notification that reaches nobody is a warning in the log, not the end."""
    with listening() as ear:
        gone = environment(ear)
    program = watcher.daemon(place, environment=gone)
    assert program.wait_for("systemd.unreachable")[0]["level"] == "warning"
    assert program.stop() == Exit.WELL


@pytest.mark.parametrize("_try", range(3))
def test_one_signal_ends_it_at_whatever_moment(_try: int, place: Place, watcher: Programs) -> None:
    """A SIGTERM that comes just as the daemon begins to wait for one is not lost: systemd sends no second."""
    with listening() as ear:
        program = watcher.start("run", "--config", place.config_path, environment=environment(ear))
        assert ear.hear() == "READY=1"
        assert program.stop() == Exit.WELL
