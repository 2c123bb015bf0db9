"""Nothing that somebody still writes is sent, and what is closed is sent within seconds.

As an unattended server is run: the files are another user's, no lease is to be had, and all settings are defaults.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.audio_files import recording
from tests.people import CREW, SOMEBODY, Person, StrangersPython, shared_folder
from tests.places import Place, speech
from tests.process import recorders
from tests.process.programs import CLOCK, Programs, let_pass, posts, wait_until, waiting
from tests.process.servers import smbd, sshd
from tests.process.test_strangers import daemon_of, start
from watcher.sandbox import Sandbox

DEFAULTS = {"settle_seconds": 2.0, "unclosed_seconds": 60.0, "rescan_seconds": 30.0}
SILENCE = 5.0
SECONDS_AFTER = 8.0  # the settle time, and what a busy machine takes

WRITER = Person("writer", uid=SOMEBODY, gid=CREW)
GUEST = "games"  # a user of every machine's, and neither the daemon's nor the writers'

Closings = dict[str, tuple[str, float]]
"""By the names of the recorders: where the file lies in the end, and just before when it was closed."""


@pytest.fixture
def sources(open_folder: Path) -> Path:
    """What is to be recorded, by the recorders' names."""
    folder = open_folder / "sources"
    folder.mkdir()
    for way in recorders.RECORDERS:
        name = recorders.name_of(way)
        content = recording("mp3.bare", 10) if name.endswith(".mp3") else speech(name, seconds=10)
        (folder / name).write_bytes(content + (name.encode() if name.endswith(".mp3") else b""))
    return folder


@contextmanager
def recording_by_somebody(sources: Path, drop: Path, python: StrangersPython) -> Iterator[Closings]:
    """They are at work while the block runs, and have closed their files at its end."""
    script = sources.parent / "recorders.py"
    shutil.copy(recorders.__file__, script)
    script.chmod(0o644)
    writers = subprocess.Popen(
        [python.executable, str(script), str(sources), str(drop), str(SILENCE)],
        env=python.environment,
        stdout=subprocess.PIPE,
        text=True,
        user=SOMEBODY,
        group=CREW,
        extra_groups=[],
    )
    closed: Closings = {}

    def listen() -> None:
        assert writers.stdout is not None
        for line in writers.stdout:
            told = json.loads(line)
            closed[told["name"]] = (told["path"], told["closed_at"])

    listener = threading.Thread(target=listen)
    listener.start()
    with writers:
        try:
            yield closed
            assert writers.wait(60) == 0
        finally:
            writers.kill()
            listener.join()


@pytest.mark.parametrize("starts_amid", [False, True], ids=["before", "amid"])
def test_nobody_s_recording_is_sent_before_it_is_closed(
    starts_amid: bool,
    site: Place,
    service: Sandbox,
    watcher: Programs,
    python: StrangersPython,
    sources: Path,
) -> None:
    """Whether the daemon runs before anybody writes, or starts in the middle of it all.

    What got its name while it was open, and whose close nothing tells, is not sent within the time of this test.
    Nor, after a start in the middle, is what was open before: that one closes it says nothing of others.
    """
    site.configure(**quick(site, arrivals=DEFAULTS))
    if not starts_amid:
        daemon_of(watcher, python, site).wait_for("watch.chosen")
    with recording_by_somebody(sources, site.root / "drop", python) as closed:
        if starts_amid:
            let_pass(1.5)
            daemon_of(watcher, python, site).wait_for("watch.chosen")
            let_pass(SILENCE / 2)
        (sources / "go").touch()
        wait_until(lambda: len(closed) == len(recorders.RECORDERS), "all are closed", seconds=60)
    ways = set(recorders.RECORDERS) - set(recorders.HEARD_AMID) if starts_amid else recorders.UNHEARD
    unheard = {closed.pop(recorders.name_of(way))[0] for way in ways}
    sure = {sha256((sources / name).read_bytes()).hexdigest() for name in closed}
    wait_until(
        lambda: sure <= {entry.sha256 for entry in posts(service)},
        "all are sent",
        seconds=SECONDS_AFTER + 5,
        told=lambda: f"{waiting(site)}\n{watcher.ask(site, 'status')}",
    )
    assert_sent_once_closed(closed, sources, service)
    wait_until(lambda: len(site.states()) == len(closed), "all are filed")
    for name, (path, _) in closed.items():
        wait_until((site.root / "done" / path).exists, f"{path} is filed")
        assert (site.root / "done" / path).read_bytes() == (sources / name).read_bytes()
    wait_until(lambda: set(waiting(site)) == unheard, "the others wait, and nothing else")


class Recorder:
    """Has a file of its own open, with a header as a stream has it, and half of what it records."""

    def __init__(self, drop: Path, name: str) -> None:
        self.folder = shared_folder(drop / name)
        self.path = self.folder / "tmp-1.wav"
        self.content = speech(name, seconds=10)
        data = self.content.index(b"data") + 4
        unknown = b"\xff\xff\xff\xff"
        self._rest = self.content[60_000:]
        self._file = self.path.open("xb", buffering=0)
        self.path.chmod(0o664)
        self._file.write(self.content[:4] + unknown + self.content[8:data] + unknown)
        self._file.write(self.content[data + 4 : 60_000])

    def close(self) -> None:
        self._file.write(self._rest)
        self._file.seek(0)
        self._file.write(self.content[:60_000])
        self._file.close()


def is_left_alone(path: Path) -> Path:
    return path


def is_renamed(path: Path) -> Path:
    return path.rename(path.with_name("call.wav"))


def is_renamed_onto_another(path: Path) -> Path:
    shutil.copy(__file__, path.with_name("call.wav"))
    return is_renamed(path)


def is_renamed_with_its_folder(path: Path) -> Path:
    return path.parent.rename(path.parent.with_name("renamed")) / path.name


def goes_out_and_comes_back(path: Path) -> Path:
    aside = path.rename(path.parents[2] / "aside.wav")
    return aside.rename(path.with_name("call.wav"))


def goes_out_and_comes_back_with_its_folder(path: Path) -> Path:
    aside = path.parent.rename(path.parents[2] / "aside")
    return aside.rename(path.parent.with_name("came_back")) / path.name


def is_touched(path: Path) -> Path:
    subprocess.run(["touch", path], check=True)
    return path


def is_renamed_and_touched(path: Path) -> Path:
    return is_touched(is_renamed(path))


def is_scanned(path: Path) -> Path:
    """As some scanners for viruses do it, which open for writing so that they could mend it."""
    with path.open("r+b") as scanner:
        scanner.read()
    return path


def is_linked_and_touched(path: Path) -> Path:
    link = path.with_name("link.wav")
    link.hardlink_to(path)
    return is_touched(link)


def is_linked_and_its_first_name_removed(path: Path) -> Path:
    link = is_linked_and_touched(path)
    let_pass(0.5)
    path.unlink()
    return is_touched(link)


DEEDS: list[Callable[[Path], Path]] = [
    *(is_left_alone, is_renamed, is_renamed_onto_another, is_renamed_with_its_folder),
    *(goes_out_and_comes_back, goes_out_and_comes_back_with_its_folder),
    *(is_touched, is_renamed_and_touched, is_scanned),
]
LINKS: list[Callable[[Path], Path]] = [is_linked_and_touched, is_linked_and_its_first_name_removed]


def test_what_others_do_with_an_open_file_closes_it_for_nobody(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """Recorders had their files open before the daemon began; what is renamed, moved out and back, touched or
    linked meanwhile, or closed by one of them, must be quiet for long: nothing tells of all closes.
    """
    site.configure(**quick(site, arrivals=DEFAULTS))
    drop = site.root / "drop"
    recordings = {deed: Recorder(drop, deed.__name__) for deed in (*DEEDS, *LINKS)}
    daemon = daemon_of(watcher, python, site)
    daemon.wait_for("watch.chosen")
    wait_until(lambda: set(waiting(site).values()) == {"unclosed"}, "all wait", told=lambda: f"{waiting(site)}")

    lie_at = {deed: os.path.relpath(deed(one.path), drop) for deed, one in recordings.items()}

    let_pass(DEFAULTS["settle_seconds"] + 4)
    WRITER.does(Path.write_bytes, drop / "other.wav", speech("other"))
    daemon.wait_for("recording.done")
    assert {entry.sha256 for entry in posts(service)} == {sha256(speech("other")).hexdigest()}
    wait_until(lambda: set(lie_at.values()) <= set(waiting(site)), "all wait", told=lambda: f"{waiting(site)}")
    for one in recordings.values():
        one.close()
    WRITER.does(Path.write_bytes, drop / "next.wav", speech("next"))
    daemon.wait_for("recording.done", 2)
    let_pass(DEFAULTS["settle_seconds"] + 1)
    assert len(posts(service)) == 2
    assert daemon.stop() == 0


@pytest.mark.parametrize("name", ["call.wav", "call.mp3"])
def test_the_first_of_two_who_close_it_sends_it_for_neither(
    name: str, site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """Both had it open before the daemon began; the lengths are right all the time, or nothing tells them. It is
    sent once it has been quiet for long.
    """
    site.configure(**quick(site, arrivals=DEFAULTS | {"settle_seconds": 0.5, "unclosed_seconds": 15.0}))
    content = speech("call", seconds=10) if name.endswith(".wav") else recording("mp3.bare", 600)
    path, half = site.root / "drop" / name, content.rindex(content[:4], 0, len(content) // 2)
    half = half or len(content) // 2  # between two frames, where it has any
    with path.open("xb", buffering=0) as first, path.open("r+b", buffering=0) as second:
        path.chmod(0o664)
        first.truncate(len(content) if name.endswith(".wav") else 0)
        first.write(content[:half])
        daemon = start(watcher, python, "run", "--config", site.config_path)
        written_at = CLOCK.monotonic()

        def waits() -> bool:
            nonlocal written_at
            if CLOCK.monotonic() - written_at > 4:  # the daemon may take long to begin
                os.pwrite(first.fileno(), content[:1], 0)
                written_at = CLOCK.monotonic()
            return bool(daemon.events("watch.chosen")) and waiting(site) == {name: "unclosed"}

        wait_until(waits, "it waits", told=lambda: daemon.err)
        first.close()
        let_pass(4)  # far longer than a file that is closed need be quiet, and far shorter than this one must
        second.seek(half)
        pieces = 40
        for number in range(pieces):
            second.write(content[half + number * half // pieces : half + (number + 1) * half // pieces])
            let_pass(0.15)
        second.write(content[second.tell() :])
        assert posts(service) == []
    daemon.wait_for("recording.done")
    assert [entry.sha256 for entry in posts(service)] == [sha256(content).hexdigest()]
    assert daemon.stop() == 0


def test_what_a_killed_writer_left_waits_for_its_rest(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """The kernel closes it, and its header says that more is to come: it is not sent, the next one is."""
    site.configure(**quick(site, arrivals=DEFAULTS))
    daemon = daemon_of(watcher, python, site)
    daemon.wait_for("watch.chosen")
    half = site.root / "drop" / "half.wav"
    content = speech("half", seconds=10)
    script = (
        "import os, signal, sys\n"
        "os.umask(0o002)\n"
        "opened = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664)\n"
        "os.write(opened, sys.stdin.buffer.read())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [python.executable, "-c", script, half],
        input=content[: len(content) // 2],
        env=python.environment,
        check=False,
        **WRITER.spawning(),
    )
    wait_until(lambda: waiting(site) == {"half.wav": "cut_short"}, "it waits", told=lambda: daemon.err)
    WRITER.does(Path.write_bytes, site.root / "drop" / "next.wav", speech("next"))
    daemon.wait_for("recording.done")
    assert waiting(site) == {"half.wav": "cut_short"}

    WRITER.does(append, half, content[len(content) // 2 :])

    daemon.wait_for("recording.done", 2)
    assert [entry.sha256 for entry in posts(service)] == [sha256(c).hexdigest() for c in (speech("next"), content)]
    assert daemon.stop() == 0


def append(path: Path, rest: bytes) -> None:
    with path.open("ab") as file:
        file.write(rest)


@contextmanager
def put_by_sftp(source: Path, drop: Path, work: Path) -> Iterator[Callable[[], None]]:
    """The client stands still once a part of it is there, until it is told to go on."""
    with sshd(work) as server, server.putting(source, drop / source.name, user=GUEST, kilobits=2000) as client:
        wait_until(lambda: size(drop / source.name) > 0, "the upload has begun")
        client.send_signal(signal.SIGSTOP)

        def go_on() -> None:
            client.send_signal(signal.SIGCONT)
            assert client.wait(60) == 0

        yield go_on


@contextmanager
def put_by_samba(source: Path, drop: Path, work: Path) -> Iterator[Callable[[], None]]:
    """The client is given one half of it, and the other when it is told to go on."""
    with smbd(work, drop, user=GUEST) as server, server.putting(source.name) as client:
        content = source.read_bytes()
        assert client.stdin is not None
        client.stdin.write(content[: len(content) // 2])
        client.stdin.flush()
        wait_until(lambda: size(drop / source.name) > 0, "the upload has begun")

        def go_on() -> None:
            client.communicate(content[len(content) // 2 :], timeout=60)
            assert client.returncode == 0

        yield go_on


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("starts_amid", [False, True], ids=["before", "amid"])
@pytest.mark.parametrize("put", [put_by_sftp, put_by_samba], ids=lambda put: put.__name__)
def test_an_upload_that_stalls_is_not_sent_before_its_end(
    put: Callable[[Path, Path, Path], AbstractContextManager[Callable[[], None]]],
    starts_amid: bool,
    site: Place,
    service: Sandbox,
    watcher: Programs,
    python: StrangersPython,
    tmp_path: Path,
) -> None:
    """By a server that writes as a third user; what else comes meanwhile is sent. After a start in the middle of
    it the server's close tells nothing of others: it must be quiet for long.
    """
    site.configure(**quick(site, arrivals=DEFAULTS | {"unclosed_seconds": 300.0}))
    drop = site.root / "drop"
    drop.chmod(0o2777)
    tmp_path.chmod(0o755)
    source = site.root / "sources" / "upload.mp3"  # nothing in it tells how much is to come
    source.parent.mkdir()
    expected = recording("mp3.bare", 600)
    source.write_bytes(expected)
    daemon = None if starts_amid else daemon_of(watcher, python, site)
    if daemon is not None:
        daemon.wait_for("watch.chosen")
    with put(source, drop, site.root / "server") as go_on:
        daemon = daemon or daemon_of(watcher, python, site)
        daemon.wait_for("watch.chosen")
        let_pass(10)
        WRITER.does(Path.write_bytes, drop / "other.wav", speech("other"))
        daemon.wait_for("recording.done")
        assert [entry.sha256 for entry in posts(service)] == [sha256(speech("other")).hexdigest()]
        go_on()
        if starts_amid:
            WRITER.does(Path.write_bytes, drop / "next.wav", speech("next"))
        daemon.wait_for("recording.done", 2)
    if starts_amid:
        wait_until(lambda: waiting(site) == {source.name: "unclosed"}, "it waits", told=lambda: f"{waiting(site)}")
        expected = speech("next")
    sent = [entry.sha256 for entry in posts(service)]
    assert sent == [sha256(c).hexdigest() for c in (speech("other"), expected)]
    assert daemon.stop() == 0


def quick(site: Place, **settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The configuration of the site, with these sections changed."""
    tables: dict[str, dict[str, Any]] = {
        "store": {"url": site.config.store.url},
        "limits": {"writes": [], "reads": []},
        "verdicts": {"first_seconds": 0.1},
    }
    return tables | settings


def assert_sent_once_closed(closed: Closings, sources: Path, service: Sandbox) -> None:
    """Each was sent whole, once, after its close and soon; and nothing else was."""
    names = {sha256((sources / name).read_bytes()).hexdigest(): name for name in closed}
    sent = {names.get(entry.sha256 or "", f"{entry.size} bytes of nobody's"): entry for entry in posts(service)}
    assert sorted(sent) == sorted(closed)
    assert len(posts(service)) == len(closed)
    delays = {name: sent[name].time - sent[name].seconds - at for name, (_, at) in closed.items()}
    assert {name: delay for name, delay in delays.items() if not 0 <= delay <= SECONDS_AFTER} == {}
