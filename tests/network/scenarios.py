"""What is tried on each share. Run by `python -m tests.network`, with the share's kind in WATCHER_SHARE.

A scenario's docstring is its row in the table that README has.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from tests.network.conftest import KIND, PATIENCE_SECONDS, Corner, MakeSite
from tests.network.shares import Nfs, Share, make_read_only
from tests.places import Place, speech
from tests.process import recorders
from tests.process.programs import Program, Programs, let_pass, posts, wait_until
from watcher.domain import State
from watcher.sandbox import Sandbox

EACH = int(os.environ.get("WATCHER_RECORDINGS", "50"))
SILENCE_SECONDS = 12.0
UNCLOSED_SECONDS = 45.0
OUTAGE_SECONDS = 20.0
DRILL_SECONDS = 600.0


@pytest.fixture
def start(watcher: Programs) -> Callable[[Place], Program]:
    def begin(place: Place) -> Program:
        program = watcher.start("run", "--config", place.config_path)
        wait_until(lambda: program.events("daemon.started"), "it runs", seconds=60, told=lambda: program.err)
        return program

    return begin


def drop(folder: Path, names: list[str], *, seconds: float = 0.4) -> list[str]:
    """Whole recordings of these names lie there; their hashes."""
    hashes = []
    for name in names:
        content = speech(f"{folder} {name}", seconds=seconds, note=os.urandom(8))
        (folder / name).write_bytes(content)
        hashes.append(sha256(content).hexdigest())
    return hashes


def await_filed(place: Place, daemon: Program, number: int, *, seconds: float = PATIENCE_SECONDS) -> None:
    """So many recordings are done, their receipts too."""

    def look() -> bool:
        assert daemon.process.poll() is None, daemon.err
        with place.books() as books:
            due = any(books.filing.with_any_receipt_due())
        return list(place.states().values()).count(State.DONE) >= number and not due

    def told() -> str:
        with place.books() as books:
            waiting = [(one.path, one.code, one.reason) for one in books.waiting.listed()]
        return f"{Counter(place.states().values())}\n{waiting}\n{place.pauses()}\n{daemon.err[-6000:]}"

    wait_until(look, f"{number} are filed", seconds=seconds, told=told)


def check_books(place: Place, service: Sandbox, hashes: list[str], folder: Path) -> None:
    """Each recording was sent once, whole, and lies in done/ with its receipt; nothing is left in drop/."""
    assert Counter(entry.sha256 for entry in posts(service) if entry.is_whole) == Counter(hashes)
    items = place.items().values()
    assert Counter(item.sha256 for item in items) == Counter(hashes), [(i.path, i.state) for i in items]
    done = place.config.folders.done
    for item in items:
        assert item.filed_as is not None, item
        filed = Path(os.fsdecode(os.path.join(done, item.filed_as)))
        assert sha256(filed.read_bytes()).hexdigest() == item.sha256
        assert place.receipt(f"{filed}.json")["identifier"] == item.identifier
    left = [path.name for path in (folder / "drop").rglob("*") if path.is_file() and path.name[0] != "."]
    assert left == []


@pytest.mark.parametrize("only_drop", [False, True], ids=["all", "drop"])
def test_filed(
    only_drop: bool,
    corner: Corner,
    make_site: MakeSite,
    start: Callable[[Place], Program],
    service: Sandbox,
) -> None:
    """recordings from this client, another client and the server are each sent once and filed"""
    place = make_site(only_drop=only_drop)
    hashes = []
    places = {"ours": corner.client, "other": corner.other, "server": corner.server}
    for who, where in places.items():
        hashes += drop(where / "drop", [f"{who} {number}.wav" for number in range(0, EACH, 2)])
    daemon = start(place)
    for who, where in places.items():
        hashes += drop(where / "drop", [f"{who} {number}.wav" for number in range(1, EACH, 2)])
    await_filed(place, daemon, len(hashes))
    assert daemon.end(signal.SIGTERM, seconds=60) == 0
    check_books(place, service, hashes, corner.server)


@pytest.mark.parametrize("by", ["other", "server"])
def test_slow_writers(
    by: str,
    tmp_path: Path,
    corner: Corner,
    make_site: MakeSite,
    start: Callable[[Place], Program],
    service: Sandbox,
) -> None:
    """a file that is still being written, in whatever way, is not taken before it is complete"""
    place = make_site(arrivals={"unclosed_seconds": UNCLOSED_SECONDS, "settle_seconds": 2, "rescan_seconds": 5})
    sources = tmp_path / "sources"
    sources.mkdir()
    for way in recorders.RECORDERS:
        (sources / recorders.name_of(way)).write_bytes(_content(way))
    (sources / "go").touch()
    daemon = start(place)
    folder = (corner.other if by == "other" else corner.server) / "drop"
    steady = speech("steady", seconds=10)
    writers = subprocess.Popen(
        [sys.executable, recorders.__file__, sources, folder, str(SILENCE_SECONDS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with (folder / "steady.wav").open("wb") as file:
        piece = len(steady) // 40
        for begin in range(0, len(steady), piece):
            file.write(steady[begin : begin + piece])
            file.flush()
            let_pass(1)
    said, _ = writers.communicate(timeout=120)
    ways = [way for way in recorders.RECORDERS if f'"name": "{recorders.name_of(way)}"' in said]
    # A share knows no files without a name; and SMB renames no folder in which one is open.
    cannot = {recorders.names_it_before_it_is_written}
    cannot |= {recorders.moves_it_down_while_it_is_open} if KIND.startswith("smb") else set()
    for way in set(recorders.RECORDERS) - set(ways):
        assert way in cannot, said
        for begun in folder.rglob(recorders.name_of(way)):
            begun.unlink()
    hashes = [sha256(_content(way)).hexdigest() for way in ways]
    hashes.append(sha256(steady).hexdigest())
    await_filed(place, daemon, len(hashes))
    assert daemon.end(signal.SIGTERM, seconds=60) == 0
    check_books(place, service, hashes, corner.server)


def _content(way: Callable[[recorders.Take], None]) -> bytes:
    name = recorders.name_of(way)
    return mp3(name) if name.endswith(".mp3") else speech(name, seconds=4)


def mp3(seed: str) -> bytes:
    """MPEG frames of silence, as many for each seed as its bytes say."""
    frame = b"\xff\xfb\x90\x00" + bytes(413)
    return frame * (200 + sum(seed.encode()) % 50)


def test_names(corner: Corner, make_site: MakeSite, start: Callable[[Place], Program], service: Sandbox) -> None:
    """names that SMB cannot hold, with a final dot, in Latin-1 or NFD: each file that is seen is filed or
    reported as waiting
    """
    names = [b"a:b?.wav", b"call.wav.", b"caf\xe9.wav", "cafe\u0301.wav".encode(), b"plain.wav", b"a  b .wav"]
    for number, name in enumerate(names):
        content = speech("names", seconds=0.4, note=bytes([number]))
        path = os.path.join(os.fsencode(corner.server), b"drop", name)
        with open(path, "wb") as file:
            file.write(content)
    unseen = {"smb": 2, "smb-nobrl": 1}.get(KIND, 0)  # by the client itself; `check` wants iocharset=utf8
    place = make_site()
    daemon = start(place)

    def all_are_known() -> bool:
        done = list(place.states().values()).count(State.DONE)
        with place.books() as books:
            waiting = [file for file in books.waiting.listed() if file.code == "unreachable_name"]
        return done + len(waiting) >= len(names) - unseen

    wait_until(
        all_are_known, "all are known", seconds=PATIENCE_SECONDS, told=lambda: f"{place.states()} {daemon.err}"
    )
    assert len(posts(service)) == list(place.states().values()).count(State.DONE)
    if not KIND.startswith("smb"):
        assert len(posts(service)) == len(names)
    left = os.listdir(os.path.join(os.fsencode(corner.server), b"drop"))
    assert len([name for name in left if not name.startswith(b".")]) == len(names) - len(posts(service))
    assert daemon.end(signal.SIGTERM, seconds=60) == 0


@pytest.mark.parametrize("kind", ["server", "mount"])
def test_outage(
    kind: str,
    share: Share,
    corner: Corner,
    make_site: MakeSite,
    start: Callable[[Place], Program],
    service: Sandbox,
) -> None:
    """the server or the mount is away for 20 s in the middle: all work resumes, nothing is sent twice"""
    place = make_site(limits={"writes": ["2/second"], "reads": []})
    hashes = drop(corner.server / "drop", [f"{number}.wav" for number in range(20)])
    daemon = start(place)
    await_filed(place, daemon, 3)
    if kind == "server":
        share.stop()
        let_pass(OUTAGE_SECONDS)
        share.start()
    else:
        share.unmount(share.client)
        let_pass(OUTAGE_SECONDS)
        share.mount(share.client)
    hashes += drop(corner.server / "drop", ["afterwards.wav"])
    await_filed(place, daemon, len(hashes))
    assert daemon.end(signal.SIGTERM, seconds=60) == 0
    check_books(place, service, hashes, corner.server)


def test_full(
    share: Share, corner: Corner, make_site: MakeSite, start: Callable[[Place], Program], service: Sandbox
) -> None:
    """the server's disk is full: nothing is sent that could not be filed; all is sent once there is room"""
    place = make_site()
    daemon = start(place)
    hashes = drop(corner.server / "drop", ["a.wav", "b.wav"])
    filler = share.server / "filler"
    try:
        _fill(filler)
        wait_until(place.pauses, "it pauses", seconds=PATIENCE_SECONDS, told=lambda: daemon.err)
        let_pass(6)
        assert posts(service) == []
    finally:
        filler.unlink()
    await_filed(place, daemon, len(hashes))
    assert daemon.end(signal.SIGTERM, seconds=60) == 0
    check_books(place, service, hashes, corner.server)


def _fill(path: Path) -> None:
    with path.open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()


def test_read_only(share: Share, corner: Corner, make_site: MakeSite, watcher: Programs, service: Sandbox) -> None:
    """the mount is read-only: nothing is sent, and it is reported; all work resumes once it is writable"""
    place = make_site()
    assert watcher.call("run", "--once", "--config", place.config_path, seconds=60).process.returncode == 0
    make_read_only(share.client)
    try:
        hashes = drop(corner.server / "drop", ["a.wav", "b.wav"])
        daemon = watcher.start("run", "--config", place.config_path)
        wait_until(place.pauses, "it pauses", seconds=PATIENCE_SECONDS, told=lambda: daemon.err)
        let_pass(6)
        assert posts(service) == []
    finally:
        make_read_only(share.client, undone=True)
    await_filed(place, daemon, len(hashes))
    assert daemon.end(signal.SIGTERM, seconds=60) == 0
    check_books(place, service, hashes, corner.server)


def test_root_squash(
    share: Share, corner: Corner, make_site: MakeSite, start: Callable[[Place], Program], service: Sandbox
) -> None:
    """the server maps root to nobody (root_squash)"""
    if not isinstance(share, Nfs):
        pytest.skip("only NFS does that")
    share.options = "rw,root_squash"
    share.export()
    try:
        place = make_site()
        hashes = drop(corner.server / "drop", ["a.wav", "b.wav"])
        daemon = start(place)
        await_filed(place, daemon, len(hashes))
        assert daemon.end(signal.SIGTERM, seconds=60) == 0
    finally:
        share.options = "rw,no_root_squash"
        share.export()
    check_books(place, service, hashes, corner.server)


@pytest.mark.parametrize("through", ["other", "server"])
def test_second_instance(
    through: str,
    corner: Corner,
    make_site: MakeSite,
    start: Callable[[Place], Program],
    watcher: Programs,
    service: Sandbox,
) -> None:
    """a second instance, through another mount or on the server itself, is refused; `check` reports it"""
    first = make_site()
    daemon = start(first)
    second = make_site("second", at=corner.other if through == "other" else corner.server)
    found = watcher.call("check", "--config", second.config_path, seconds=PATIENCE_SECONDS)
    assert found.process.returncode == 1, found.out
    assert "process " + str(daemon.pid) in found.out, found.out
    refused = watcher.call("run", "--config", second.config_path, seconds=PATIENCE_SECONDS)
    assert refused.process.returncode == 75, refused.err
    hashes = drop(corner.server / "drop", ["a.wav", "b.wav"])
    await_filed(first, daemon, len(hashes))
    assert daemon.end(signal.SIGTERM, seconds=60) == 0
    check_books(first, service, hashes, corner.server)


def test_killed(corner: Corner, make_site: MakeSite, start: Callable[[Place], Program], service: Sandbox) -> None:
    """after an instance was killed, the next one starts at once"""
    place = make_site()
    start(place).kill()
    hashes = drop(corner.server / "drop", ["a.wav", "b.wav"])
    daemon = start(place)
    await_filed(place, daemon, len(hashes))
    assert daemon.end(signal.SIGTERM, seconds=60) == 0
    check_books(place, service, hashes, corner.server)


def test_commands_in_an_outage(
    share: Share,
    corner: Corner,
    make_site: MakeSite,
    start: Callable[[Place], Program],
    watcher: Programs,
    service: Sandbox,
) -> None:
    """while the server does not answer, status, list, show, why and pause work, and SIGTERM ends the daemon,
    which says what hung
    """
    place = make_site()
    hashes = drop(corner.server / "drop", ["a.wav"])
    daemon = start(place)
    await_filed(place, daemon, 1)
    share.stop()
    try:
        wait_until(lambda: _names_its_drop_folder(watcher, place), "status says it", seconds=PATIENCE_SECONDS)
        asked = [["status"], ["list"], ["show", "a.wav"], ["why", "a.wav"]]
        asked += [["pause", "--reason", "the share is away"], ["resume"]]
        for command, *rest in asked:
            told = watcher.call(command, "--config", place.config_path, *rest, seconds=60)
            assert told.process.returncode == 0, told.err
        daemon.process.send_signal(signal.SIGTERM)

        def has_ended() -> bool:  # the kernel may keep the process until its lock's server answers
            return daemon.process.poll() is not None or bool(daemon.events("daemon.cut_off"))

        wait_until(has_ended, "it has ended, or says what hangs", seconds=200, told=lambda: daemon.err)
    finally:
        share.start()
    assert daemon.end(seconds=120) == (1 if daemon.events("daemon.cut_off") else 0)
    hashes += drop(corner.server / "drop", ["b.wav"])
    daemon = start(place)
    await_filed(place, daemon, 2)
    assert daemon.end(signal.SIGTERM, seconds=60) == 0
    check_books(place, service, hashes, corner.server)


def _names_its_drop_folder(watcher: Programs, place: Place) -> bool:
    """Whether `status` does, as one that does not answer or, where its client gives up at once, in the pause."""
    told = watcher.call("status", "--config", place.config_path, seconds=60)
    assert told.process.returncode == 0, told.err
    return os.fsdecode(place.config.folders.drop) in told.out


def test_check(corner: Corner, make_site: MakeSite, watcher: Programs, service: Sandbox) -> None:
    """`check` finds nothing wrong, says what the mount is, warns if `unclosed_seconds` is too short, leaves
    nothing behind
    """
    place = make_site(arrivals={"unclosed_seconds": 60})
    told = watcher.call("check", "--config", place.config_path, seconds=PATIENCE_SECONDS)
    assert told.process.returncode == 0, told.out + told.err
    kind = {"smb": "cifs", "sshfs": "fuse.sshfs"}.get(KIND.partition("-")[0], "nfs")
    assert kind in told.out
    hasty = make_site("hasty", arrivals={"unclosed_seconds": 5})
    told = watcher.call("check", "--config", hasty.config_path, seconds=PATIENCE_SECONDS)
    assert "arrivals.unclosed_seconds" in told.out
    assert "above 35" in told.out, told.out
    left = [path for name in ("drop", "done", "failed") for path in (corner.server / name).iterdir()]
    assert left == []
    (corner.server / "done").rmdir()
    told = watcher.call("check", "--config", place.config_path, seconds=PATIENCE_SECONDS)
    assert told.process.returncode != 0, told.out


def test_drill(corner: Corner, make_site: MakeSite, watcher: Programs) -> None:
    """`drill` kills the program in hidden folders there, says what the mount cannot promise, leaves nothing"""
    place = make_site()
    told = watcher.call(
        "drill", "--kills", "3", "--seed", "5", "--config", place.config_path, seconds=DRILL_SECONDS
    )
    assert told.process.returncode == 0, told.out + told.err
    assert "Proven by 3 kills" in told.out
    assert {"smb": "cifs", "sshfs": "fuse.sshfs"}.get(KIND.partition("-")[0], "nfs") in told.out
    limit = {"nfs": "(async: no)", "smb": "(Samba: strict sync)", "ssh": "is up to the server"}[KIND[:3]]
    assert limit in told.out, told.out
    left = [path for name in ("drop", "done", "failed") for path in (corner.server / name).iterdir()]
    assert left == []
