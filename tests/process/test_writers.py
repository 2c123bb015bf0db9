"""Strangers' software writes into the drop folder: none of it is taken half-written, all of it is taken once."""

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from struct import pack

import pytest

from tests.audio_files import recording
from tests.people import missing
from tests.places import Place, speech
from tests.process.conftest import QUICK, MakePlace
from tests.process.programs import Program, Programs, let_pass, posts, wait_until
from tests.process.servers import program, run, smbd, sshd
from watcher.domain import State
from watcher.sandbox import Sandbox
from watcher.store import Store

QUIET_SECONDS = float(QUICK["arrivals"]["settle_seconds"])
LONGER_THAN_QUIET = 2.5 * QUIET_SECONDS

Writer = Callable[[list[Path], Path, Path], None]
"""Writes these files into the drop folder under their names; the third path is a folder to work in."""


# The writers


def cp(sources: list[Path], drop: Path, _: Path) -> None:
    run("cp", "--preserve=timestamps", *sources, drop)


def mv(sources: list[Path], drop: Path, _: Path) -> None:
    run("mv", *sources, drop)


def mv_from_another_file_system(sources: list[Path], drop: Path, work: Path) -> None:
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == drop.stat().st_dev:
        missing("/dev/shm is no other file system to write to")
    aside = other / f"watcher-tests-{os.getpid()}"
    aside.mkdir()
    try:
        run("mv", *sources, aside)
        run("mv", *(aside / source.name for source in sources), drop)
    finally:
        shutil.rmtree(aside)


def dd_in_slow_motion(sources: list[Path], drop: Path, _: Path) -> None:
    writers = [
        subprocess.Popen(
            ["dd", f"of={drop / source.name}", "bs=4k", "status=none"],
            stdin=subprocess.PIPE,
        )
        for source in sources
    ]
    in_bursts(
        [source.read_bytes() for source in sources], [writer.stdin.fileno() for writer in writers if writer.stdin]
    )
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0


def a_recorder_that_pauses(sources: list[Path], drop: Path, _: Path) -> None:
    opened = [os.open(drop / source.name, os.O_WRONLY | os.O_CREAT, 0o644) for source in sources]
    in_bursts([source.read_bytes() for source in sources], opened)
    for descriptor in opened:
        os.close(descriptor)


def in_bursts(contents: list[bytes], descriptors: list[int]) -> None:
    """Three bursts, with nothing for longer than the quiet time before, between and after them."""
    for third in range(3):
        let_pass(LONGER_THAN_QUIET)
        for content, descriptor in zip(contents, descriptors, strict=True):
            size = len(content) // 3 + 1
            rest = memoryview(content)[third * size : (third + 1) * size]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
    let_pass(LONGER_THAN_QUIET)


def a_recorder_that_fills_in_its_header_at_the_end(sources: list[Path], drop: Path, _: Path) -> None:
    contents = [source.read_bytes() for source in sources]
    opened = [os.open(drop / source.name, os.O_WRONLY | os.O_CREAT, 0o644) for source in sources]
    in_bursts([bytes(44) + content[44:] for content in contents], opened)
    for content, descriptor in zip(contents, opened, strict=True):
        os.pwrite(descriptor, content[:44], 0)
        os.close(descriptor)


def rsync(sources: list[Path], drop: Path, _: Path) -> None:
    run(program("rsync"), "--archive", "--bwlimit=400", *sources, f"{drop}/")


def rsync_in_place(sources: list[Path], drop: Path, _: Path) -> None:
    run(program("rsync"), "--archive", "--inplace", "--bwlimit=400", *sources, f"{drop}/")


def sftp(sources: list[Path], drop: Path, work: Path) -> None:
    with sshd(work / "ssh") as server:
        server.batch(*(f'put -p "{source}" "{drop / source.name}"' for source in sources), kilobits=3000)


def sftp_under_another_name_first(sources: list[Path], drop: Path, work: Path) -> None:
    commands = []
    for source in sources:
        target = drop / source.name
        commands += [f'put "{source}" "{target}.filepart"', f'rename "{target}.filepart" "{target}"']
    with sshd(work / "ssh") as server:
        server.batch(*commands, kilobits=3000)


def samba(sources: list[Path], drop: Path, work: Path) -> None:
    with smbd(work / "smb", drop) as server:
        for source in sources:
            server.put(source, source.name)


WRITERS: list[Writer] = [
    *(cp, mv, mv_from_another_file_system),
    *(dd_in_slow_motion, a_recorder_that_pauses, a_recorder_that_fills_in_its_header_at_the_end),
    *(rsync, rsync_in_place, sftp, sftp_under_another_name_first, samba),
]


# What is held


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_what_a_writer_writes_is_sent_once_and_whole(
    writer: Writer, place: Place, service: Sandbox, watcher: Programs, tmp_path: Path
) -> None:
    """Each recording is sent exactly once, byte for byte what its writer meant, and nothing else ever is.

    Some prove their end by their own lengths, some (MP3 without a header, AAC) could go on at every moment.
    """
    contents = recordings()
    sources = [tmp_path / "outside" / name for name in contents]
    sources[0].parent.mkdir()
    for source in sources:
        source.write_bytes(contents[source.name])
        os.utime(source, (1_000_000_000, 1_000_000_000))
    work = tmp_path / "work"
    work.mkdir()
    daemon = watcher.daemon(place)

    writer(sources, place.root / "drop", work)

    daemon.wait_for("recording.done", len(contents))
    let_pass(LONGER_THAN_QUIET)
    assert Counter(entry.sha256 for entry in posts(service)) == Counter(map(digest, contents.values()))
    assert place.files() == {f"done/{name}{ending}" for name in contents for ending in ("", ".json")}
    for name, content in contents.items():
        assert (place.root / "done" / name).read_bytes() == content
    assert daemon.stop() == 0


def recordings() -> dict[str, bytes]:
    """By name: small and large ones, of kinds that prove their end and of kinds that do not."""
    return {
        "large.wav": speech("large", seconds=25),
        "small.wav": speech("small", seconds=3),
        "call.ogg": recording("ogg.opus", 4),
        "call.mp4": recording("mp4", 4),
        "bare.mp3": recording("mp3.bare", 12),
        "call.aac": recording("aac", 4),
    }


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


# Many at once


@pytest.fixture
def patient(make_place: MakePlace) -> Place:
    """A site whose full look comes so seldom that it is the events that find what comes."""
    return make_place(arrivals={"settle_seconds": 0.3, "rescan_seconds": 20})


def test_ten_thousand_files_in_a_burst_are_all_queued(patient: Place, service: Sandbox, watcher: Programs) -> None:
    """However many come at once, each is seen; while submitting is paused all of them wait, queued."""
    daemon = watcher.daemon(patient)
    watcher.ask(patient, "pause")

    make_many(patient.root / "drop", 10_000)

    wait_for_queue(patient, 10_000, daemon)
    assert posts(service) == []
    assert daemon.stop() == 0


def test_a_folder_of_two_thousand_files_moved_in_whole_is_queued(
    patient: Place, service: Sandbox, watcher: Programs
) -> None:
    """A folder that is dragged in makes one event, and every recording in it and below it is seen."""
    daemon = watcher.daemon(patient)
    watcher.ask(patient, "pause")
    outside = patient.root / "outside"
    for n in range(20):
        make_many(outside / f"agent={n % 4}" / f"day={n}", 100, seed=n)

    run("mv", outside, patient.root / "drop" / "export")

    wait_for_queue(patient, 2_000, daemon)
    assert daemon.stop() == 0


def test_what_the_kernel_could_not_tell_is_found_all_the_same(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """More files than the kernel's queue of events holds come while the daemon stands still: all are queued."""
    place = make_place(arrivals={"settle_seconds": 0.3, "rescan_seconds": 3})
    with short_queue(256) as number:
        daemon = watcher.daemon(place)
        daemon.wait_for("watch.chosen")
    watcher.ask(place, "pause")
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        make_many(place.root / "drop", number)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)

    wait_for_queue(place, number, daemon)
    assert posts(service) == []
    assert daemon.stop() == 0


@contextmanager
def short_queue(events: int) -> Iterator[int]:
    """Whoever begins to listen now is told of so many events at once and no more. How many files overflow that."""
    setting = Path("/proc/sys/fs/inotify/max_queued_events")
    before = setting.read_text()
    try:
        setting.write_text(str(events))
    except OSError:
        yield int(before)  # each file makes two events or more
        return
    try:
        yield 5_000
    finally:
        setting.write_text(before)


def make_many(folder: Path, number: int, seed: int = 0) -> None:
    """So many recordings lie there, all different, each written and closed."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = speech("many", seconds=0.02)
    for n in range(number):
        content = whole[:-8] + pack("<II", n, seed)
        opened = os.open(folder / f"call-{n:05}.wav", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(opened, content)
        os.close(opened)


def wait_for_queue(place: Place, number: int, daemon: Program) -> None:
    """So many recordings are queued, and nothing else has become of any. Asked seldom, as that is work too."""
    with Store(place.config.store.url) as store:

        def look() -> bool:
            let_pass(0.3)
            with store.reading() as books:
                return {s: n for s, n in books.items.counts().items() if n} == {State.QUEUED: number}

        wait_until(look, "all are queued", seconds=300, told=lambda: told(daemon))


def told(daemon: Program) -> str:
    return "\n".join(line for line in daemon.err.splitlines() if "recording.queued" not in line)[-3000:]
