"""What is not ours to take: never opened, never sent, never moved. And names as strange as they come."""

import errno
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.people import CREW, StrangersPython, needs_root, python_for_strangers, shared_folder
from tests.places import KEY, REFUSED, Place, speech
from tests.process.programs import CLOCK, Programs
from tests.queues import drain, listening, posts, settle, told
from watcher.cli import main
from watcher.composition import Journey
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox

# Which names are opened


class Opened:
    """The names that this process opens, heard of from the interpreter itself."""

    def __init__(self) -> None:
        self.names: set[bytes] | None = None

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and self.names is not None and isinstance(arguments[0], str | bytes):
            self.names.add(os.path.basename(os.fsencode(arguments[0])))

    @contextmanager
    def heard(self) -> Iterator[set[bytes]]:
        self.names = set()
        try:
            yield self.names
        finally:
            self.names = None


_OPENED = Opened()
sys.addaudithook(_OPENED)


# Foreign things


def link_to_a_file(path: Path, outside: Path) -> None:
    (outside / "secret.wav").write_bytes(speech("secret"))
    path.symlink_to(outside / "secret.wav")


def link_to_a_folder(path: Path, outside: Path) -> None:
    (outside / "folder").mkdir()
    (outside / "folder/secret.wav").write_bytes(speech("secret"))
    path.symlink_to(outside / "folder")


def link_to_the_drop_folder(path: Path, outside: Path) -> None:
    path.symlink_to("..")


def link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to("nowhere")


def named_pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def socket_of_a_server(path: Path, outside: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)  # a socket's path may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def device(path: Path, outside: Path) -> None:
    needs_root()
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero: whoever reads it has no end


FOREIGN: list[Callable[[Path, Path], None]] = [
    *(link_to_a_file, link_to_a_folder, link_to_the_drop_folder, link_to_nothing),
    *(named_pipe, socket_of_a_server, device),
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda foreign: foreign.__name__)
def test_what_is_no_file_is_left_alone(
    place: Place, service: Sandbox, tmp_path: Path, foreign: Callable[[Path, Path], None]
) -> None:
    """It is not opened, not sent and not moved, is no reason to fail, and holds up nobody else."""
    (tmp_path / "outside").mkdir()
    path = place.drop("a/call.wav").with_name("foreign.wav")
    foreign(path, tmp_path / "outside")
    before = path.lstat()

    with _OPENED.heard() as opened, place.opened() as journey:
        for _ in range(2):
            journey.arrivals.hint(b"a/foreign.wav", is_closed=True)
            settle(journey)
            drain(journey)
        assert journey.arrivals.waiting() == []

    assert b"call.wav" in opened
    assert b"foreign.wav" not in opened
    assert b"secret.wav" not in opened
    assert path.lstat() == before
    assert place.states() == {"a/call.wav": State.DONE}
    assert service.charged == len(posts(service)) == 1


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda foreign: foreign.__name__)
def test_what_takes_the_name_of_a_recording_is_not_sent_in_its_stead(
    place: Place, service: Sandbox, tmp_path: Path, foreign: Callable[[Path, Path], None]
) -> None:
    """A queued recording that became a link, a pipe or a device was taken away: nothing of it is opened."""
    (tmp_path / "outside").mkdir()
    path = place.drop("a/call.wav")
    with place.opened() as journey:
        settle(journey)
        path.unlink()
        foreign(path, tmp_path / "outside")
        with _OPENED.heard() as opened:
            drain(journey, seconds=1)
            settle(journey)
    assert not opened & {b"call.wav", b"secret.wav"}
    assert place.states() == {"a/call.wav": State.WITHDRAWN}
    assert posts(service) == []


def test_a_folder_that_became_a_link_gives_nothing(place: Place, service: Sandbox, tmp_path: Path) -> None:
    """A queued recording's folder is replaced by a link to one outside that holds a file of the same name."""
    path = place.drop("a/call.wav")
    with place.opened() as journey:
        settle(journey)
        path.parent.rename(tmp_path / "elsewhere")
        path.parent.symlink_to(tmp_path / "elsewhere")
        drain(journey, seconds=1)
        settle(journey)
    assert place.states() == {"a/call.wav": State.WITHDRAWN}
    assert posts(service) == []
    assert (tmp_path / "elsewhere/call.wav").exists()


def test_six_gigabytes_are_refused_unread(place: Place, service: Sandbox) -> None:
    """A recording far over the limit is not opened even once: its size says enough."""
    path = place.drop("huge.wav", speech("huge"))
    os.truncate(path, 6_000_000_000)

    with _OPENED.heard() as opened:
        assert place.run_once().exit_code == Exit.INCOMPLETE

    assert b"huge.wav" not in opened
    assert b"huge.wav.json" in {os.fsencode(Path(name).name) for name in place.files()}
    receipt = place.receipt("failed/huge.wav.json")
    assert (receipt["error"]["code"], receipt["sha256"]) == ("too_large", None)
    filed = (place.root / "failed/huge.wav").stat()
    assert filed.st_size == 6_000_000_000
    assert filed.st_blocks * 512 < 1_000_000
    assert posts(service) == []


# Depth

LEVELS = 2_500


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Where a very deep tree may be left: only rm can remove it."""
    root = tmp_path / "deep"
    root.mkdir()
    yield root
    subprocess.run(["rm", "-rf", root], check=True)


def dig(folder: Path, content: bytes) -> bytes:
    """A recording lies below thousands of folders, deeper than a path can say. Its path."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(LEVELS):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with open(os.open("call.wav", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
        file.write(content)
    os.close(here)
    return b"d/" * LEVELS + b"call.wav"


def test_thousands_of_nested_folders_hang_nobody(deep: Path, watcher: Programs) -> None:
    """There at the start or made while the daemon runs: the recording at their end is filed as deep."""
    with Sandbox(KEY, writes=(), reads=()) as service:
        limits: dict[str, Any] = {"writes": [], "reads": []}
        place = Place(
            deep, service.url, CLOCK, limits=limits, arrivals={"settle_seconds": 0.2, "rescan_seconds": 1}
        )
        (deep / "drop/first").mkdir()
        dig(deep / "drop/first", speech("first"))
        daemon = watcher.daemon(place)
        daemon.wait_for("recording.done")
        (deep / "drop/second").mkdir()
        dig(deep / "drop/second", speech("second"))
        daemon.wait_for("recording.done", 2)
        place.drop("plain.wav")
        daemon.wait_for("recording.done", 3)
        assert {item.filed_as for item in place.items().values()} == {
            *(top + b"/d" * LEVELS + b"/call.wav" for top in (b"first", b"second")),
            b"plain.wav",
        }
        assert service.charged == 3
        assert daemon.stop() == 0


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path / "programs")
    yield programs
    programs.close()


# Names

ALIKE = [
    *(b"call.wav", b"CALL.WAV", b"Call.wav"),
    *(unicodedata.normalize(form, "Rückruf.wav").encode() for form in ("NFC", "NFD")),
    *(b"call .wav", b" call.wav", b"call..wav", b"call.wav.wav", b"ca\xe9ll.wav", "caéll.wav".encode()),
    *(b"new\nline.wav", b"new\\nline.wav", b"'quoted\".wav", b"*.wav", b"-n.wav", b"\x7f\x1b[2J.wav", b"\xff"),
    *(b"n" * 251 + b".wav", "ü".encode() * 125 + b"n.wav", b"no extension", b"call.json.wav", b"CON.wav"),
]


def test_names_that_look_alike_are_each_filed_under_their_own_bytes(place: Place, service: Sandbox) -> None:
    """Case, accents, spaces, quotes, controls, bytes that are no text: no two are confused, none is altered."""
    contents = {name: speech(f"name {n}", seconds=3 + n / 100) for n, name in enumerate(ALIKE)}
    for name, content in contents.items():
        place.drop(b"a/" + name, content)

    assert place.run_once().exit_code == Exit.WELL

    done = os.fsencode(place.root / "done/a")
    receipts = 0
    for name, content in contents.items():
        with open(os.path.join(done, name), "rb") as file:
            assert file.read() == content
        receipts += os.path.exists(os.path.join(done, name + b".json"))
    assert receipts == sum(len(name) <= 250 for name in contents)
    assert len(os.listdir(done)) == 2 * len(contents)
    assert os.listdir(place.root / "drop/a") == []
    assert service.charged == len(posts(service)) == len(contents)


def test_the_path_of_an_odd_name_can_be_given_back(place: Place) -> None:
    """What has an odd name is known by that name, byte for byte; of the same content, it is sent once."""
    for name in ALIKE:
        place.drop(b"a/" + name, speech("always the same"))
    place.run_once()

    with place.books() as books:
        items = {item.path: item for item in books.items.listed()}
    assert items.keys() == {b"a/" + name for name in ALIKE}
    assert len({item.identifier for item in items.values()}) == 1


def names_of(journey: Journey) -> set[bytes]:
    return {file.path for file in journey.arrivals.waiting()}


def test_temporary_names_are_not_taken_until_they_are_renamed(place: Place, service: Sandbox) -> None:
    """Uploads under a temporary name, in whatever folder, are nobody's before they bear their own."""
    temporary = [
        *("call.wav.filepart", "call.wav.part", ".call.wav.Xa81bQ", "call.wav.tmp", "call.wav~", "CALL.WAV.PART"),
        *("lost+found/call.wav", "@eaDir/call.wav", ".hidden/deeper/call.wav", "Thumbs.db", "._call.wav"),
    ]
    for name in temporary:
        place.drop(name)
    with place.opened() as journey:
        for name in temporary:
            journey.arrivals.hint(name.encode(), is_closed=True)
        settle(journey)
        assert names_of(journey) == set()
        assert place.states() == {}
        (place.root / "drop/call.wav.filepart").rename(place.root / "drop/call.wav")
        settle(journey)
        drain(journey)
    assert place.states() == {"call.wav": State.DONE}
    assert service.charged == 1


# Folders that are closed


def test_a_folder_that_cannot_be_read_waits_and_says_so() -> None:
    """`run --once` names it and exits 1; `status` and `why` tell, of all below it too; it ends by itself."""
    python = python_for_strangers()
    with Sandbox(KEY) as service, room_for_strangers(service.url) as (place, run):
        closed = place / "drop" / "noenter"
        closed.mkdir()
        (closed / "d.wav").write_bytes(speech("d"))
        closed.chmod(0o700)

        once = run(python, "run", "--once")
        assert once.returncode == Exit.INCOMPLETE
        assert "left: noenter: is a folder that cannot be read (Permission denied)" in once.stderr
        assert re.search(f"as .*root: (setfacl|chmod|chgrp) -R .* {closed}$", once.stderr, re.MULTILINE)
        assert "noenter: is a folder that cannot be read" in run(python, "status").stdout
        assert "noenter is a folder that cannot" in run(python, "why", "noenter").stdout
        below = run(python, "why", "noenter/d.wav").stdout
        assert "noenter/d.wav is in noenter, which is a folder that cannot be read" in below

        os.chown(closed, 0, CREW)
        closed.chmod(0o2770)
        os.chown(closed / "d.wav", 0, CREW)
        assert run(python, "run", "--once").returncode == Exit.WELL
        assert (place / "done" / "noenter" / "d.wav").exists()
        assert "is done" in run(python, "why", "noenter/d.wav").stdout


def test_a_closed_folder_is_news_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log tells it when it begins and when it ends, not at each look; what waits keeps its beginning."""
    closed = place.root / "drop" / "closed"
    closed.mkdir()
    real = os.open

    def refusing(path: Any, *args: Any, **kwargs: Any) -> int:  # root may look into every folder
        if path == b"closed":
            raise PermissionError(errno.EACCES, "refused")
        return real(path, *args, **kwargs)

    with place.opened() as journey, listening() as log:
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", refusing)
            for _ in range(3):
                settle(journey)
                place.clock.wait(60, journey.stopping)
            journey.arrivals.publish()
            with place.books() as books:
                (row,) = books.waiting.listed()
                assert books.waiting.total() == 1
            assert (row.path, row.code) == (b"closed", "folder_unreadable")
            assert row.since < place.clock.now() - 120
            assert journey.arrivals.waiting() == [row]
        settle(journey)
        assert journey.arrivals.waiting() == []
        assert len(told(log, "folder.unreadable")) == len(told(log, "folder.readable")) == 1


@contextmanager
def room_for_strangers(url: str) -> Iterator[tuple[Path, Callable[..., subprocess.CompletedProcess[str]]]]:
    """A site whose service runs as the stranger, in shared folders of root's; and how to run a command there."""
    root = Path(tempfile.mkdtemp(prefix="watcher-tests-"))
    try:
        root.chmod(0o755)
        for name in ("drop", "done", "failed", "state"):
            shared_folder(root / name)
        (root / "config.toml").write_text(
            f'[store]\nurl = "sqlite:///state/watcher.db"\n[identifai]\nbase_url = "{url}"\n'
            "[arrivals]\nunclosed_seconds = 3\n"
        )

        def run(python: StrangersPython, command: str, *words: str) -> subprocess.CompletedProcess[str]:
            given = ("-m", "watcher", command, "--config", str(root / "config.toml"), *words)
            return python.run(*given, env={"IDENTIFAI_API_KEY": KEY})

        yield root, run
    finally:
        subprocess.run(["rm", "-rf", root], check=True)


# Receipts in the drop folder


def test_a_receipt_that_is_dragged_back_with_its_recording_is_no_recording(place: Place, service: Sandbox) -> None:
    """It waits while the recording is on its way, and is gone when that has been filed with a new one."""
    service.add_fault(**REFUSED, times=1)
    place.drop("call.wav")
    place.run_once()
    assert place.states() == {"call.wav": State.FAILED}
    receipt = place.root / "drop" / "call.wav.json"
    for name in ("call.wav.json", "call.wav"):
        (place.root / "failed" / name).rename(place.root / "drop" / name)

    with place.opened() as journey:
        settle(journey)
        (row,) = journey.arrivals.waiting()
        assert (row.path, row.code) == (b"call.wav.json", "receipt")
        assert "receipt of call.wav" in row.reason
        assert receipt.exists()
        drain(journey)
        assert place.states() == {"call.wav": State.DONE}
        place.clock.wait(60, journey.stopping)
        settle(journey)
        assert journey.arrivals.waiting() == []
    assert place.files() == {"done/call.wav", "done/call.wav.json"}


def test_one_pass_leaves_no_receipt_that_was_dragged_back(place: Place, service: Sandbox) -> None:
    """It is over when the recording has been filed, and the old receipt is gone with that."""
    service.add_fault(**REFUSED, times=1)
    place.drop("call.wav")
    place.run_once()
    for name in ("call.wav.json", "call.wav"):
        (place.root / "failed" / name).rename(place.root / "drop" / name)

    outcome = place.run_once()

    assert (outcome.exit_code, outcome.waiting) == (Exit.WELL, [])
    assert place.files() == {"done/call.wav", "done/call.wav.json"}


def test_a_receipt_that_is_dragged_back_alone_is_kept(place: Place) -> None:
    """It may be the only one: it lies where it is, and is explained. Other JSON is no recording."""
    place.drop("notes.wav", b"no recording")
    place.drop("other.wav.json", b"{}")
    place.run_once()
    (place.root / "failed" / "notes.wav.json").rename(place.root / "drop" / "notes.wav.json")

    outcome = place.run_once()

    (row,) = outcome.waiting
    assert "put it back beside its recording in failed/" in row.reason
    assert place.files() == {
        "drop/notes.wav.json",
        "drop/other.wav.json",
        "failed/notes.wav",
    }


# JSON that strangers put where ours is looked for

HOSTILE = [b"[" * 1_000 + b"]" * 1_000, b'{"id": "\\ud800", "format": 1}', b"{" * 2_000_000]


@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: repr(content[:16]))
def test_json_of_a_stranger_stops_nothing(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    """As a receipt in the drop folder or in done/, whose item is known: intake, filing and commands go on."""
    place.drop("call.wav")
    assert place.run_once().exit_code == Exit.WELL
    for name in ("drop/call.wav.json", "done/call.wav.json", "done/next.wav.json"):
        (place.root / name).write_bytes(content)
    place.drop("next.wav")

    place.run_once(verdicts=True)

    assert place.states()["next.wav"] is State.DONE
    assert service.charged == 2
    for command in ("status", "reconcile", "check"):
        main([command, "--config", str(place.config_path)])
    assert main(["why", "--config", str(place.config_path), "drop/call.wav.json"]) == Exit.WELL
    assert "Traceback" not in capsys.readouterr().err
