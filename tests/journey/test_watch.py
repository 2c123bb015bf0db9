"""The watch: however it goes deaf, it is set up again, and whatever came meanwhile is found."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.audio_files import recording
from tests.people import PROJECT, missing, needs_root
from tests.places import KEY, Place, speech
from tests.process.programs import CLOCK, ENVIRONMENT, Program, Programs, let_pass, wait_until
from tests.queues import listening, told
from watcher.composition import Journey
from watcher.domain import State
from watcher.journey.arrive.candidate import Candidate
from watcher.journey.arrive.look import Look
from watcher.journey.arrive.watch import Watch, try_events
from watcher.sandbox import Sandbox

HOURLY = {"settle_seconds": 0.2, "rescan_seconds": 3600}
"""The full look comes so seldom that only events, or the watch's own wish for one, show what is there."""


@pytest.fixture
def quick_service() -> Iterator[Sandbox]:
    with Sandbox(KEY, writes=(), reads=()) as running:
        yield running


MakePlace = Callable[..., Place]


@pytest.fixture
def make_place(tmp_path: Path, quick_service: Sandbox) -> MakePlace:
    def make(**settings: dict[str, Any]) -> Place:
        root = tmp_path / "site"
        root.mkdir()
        limits: dict[str, Any] = {"writes": [], "reads": []}
        return Place(root, quick_service.url, CLOCK, **({"limits": limits, "arrivals": HOURLY} | settings))

    return make


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    return make_place()


@contextmanager
def watched(place: Place) -> Iterator[tuple[Journey, Watch]]:
    """The drop folder was looked through, and is listened to."""
    with place.opened() as journey:
        watch = Watch(journey.site, journey.arrivals)
        watch.tend()
        journey.arrivals.step()
        try:
            yield journey, watch
        finally:
            watch.stop()


def assert_sees(journey: Journey, place: Place, name: str, within: float = 30.0) -> None:
    """A recording that is dropped now is seen."""
    place.drop(name, speech(name, seconds=0.1))
    assert_finds(journey, name, within)


def assert_finds(journey: Journey, name: str, within: float = 30.0) -> None:
    """The recording that lies there is seen."""

    def look() -> bool:
        journey.arrivals.step()
        seen = {settled.path for settled in journey.arrivals.settled}
        return os.fsencode(name) in seen | {file.path for file in journey.arrivals.waiting()}

    wait_until(look, f"{name} is seen", seconds=within)


def code_of_one(journey: Journey) -> str:
    """Why the one file waits, after another look; "" where none does."""
    journey.arrivals.step()
    return next((file.code for file in journey.arrivals.waiting()), "")


def lock_of_reader(watch: Watch) -> Any:
    """While somebody else has it, no event is taken in."""
    assert watch._observer is not None
    emitter: Any = next(iter(watch._observer.emitters))
    return emitter._inotify._lock


# A part of it dies


def stop_emitter(watch: Watch) -> None:
    assert watch._observer is not None
    for emitter in watch._observer.emitters:
        emitter.stop()
        emitter.join()


def stop_reader(watch: Watch) -> None:
    assert watch._observer is not None
    watch._observer._inotify_fd.stop()
    watch._observer._inotify_fd.join()


def stop_observer(watch: Watch) -> None:
    assert watch._observer is not None
    watch._observer.stop()
    watch._observer.join()


@pytest.mark.parametrize("stop", [stop_emitter, stop_reader, stop_observer], ids=lambda stop: stop.__name__)
def test_whichever_part_dies_it_is_set_up_again(place: Place, stop: Callable[[Watch], None]) -> None:
    """A dead thread is noticed though the others live; what came meanwhile is found, what comes is heard."""
    with watched(place) as (journey, watch):
        assert_sees(journey, place, "before.wav")
        stop(watch)
        place.drop("meanwhile.wav", speech("meanwhile", seconds=0.1))
        watch.tend()
        assert_finds(journey, "meanwhile.wav")
        journey.arrivals.step()
        assert_sees(journey, place, "after.wav")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_while_an_event_is_taken_in_ends_nothing(place: Place) -> None:
    """An exception in the handler ends watchdog's delivery for good: it is begun anew, and nothing is lost."""

    def fail() -> None:
        raise RuntimeError("nobody foresaw it")

    with watched(place) as (journey, watch):
        journey.arrivals.hints.wake = fail
        place.drop("first.wav", speech("first", seconds=0.1))
        wait_until(lambda: not watch._is_well(), "the delivery has died")
        journey.arrivals.hints.wake = lambda: None
        place.drop("second.wav", speech("second", seconds=0.1))
        watch.tend()
        assert_finds(journey, "first.wav")
        assert_finds(journey, "second.wav")
        assert_sees(journey, place, "third.wav")


def test_a_watch_that_is_well_is_left_alone(place: Place) -> None:
    """Looking after it costs no new watch, no scan and no line in the log."""
    with watched(place) as (_, watch):
        before = watch._observer
        with listening() as log:
            for _ in range(3):
                watch.tend()
        assert watch._observer is before
        assert log == []


# The folder goes


def test_a_folder_removed_and_made_again_is_listened_to(place: Place) -> None:
    """The kernel's watch died with the old folder; the new one, even of the same inode, is heard, and adopted."""
    drop = place.root / "drop"
    with watched(place) as (journey, watch), listening() as log:
        for again in range(3):
            shutil.rmtree(drop)
            drop.mkdir()
            place.drop("early.wav", speech("early", seconds=0.1))
            wait_until(lambda: watch.tend() and watch._is_well(), "it is well again")
            assert_finds(journey, "early.wav")
            assert_sees(journey, place, f"{again}.wav")
        assert [line["folder"] for line in told(log, "folder.adopted")] == ["drop"] * 3


def test_a_folder_of_the_same_inode_is_known_for_another_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new folder may have the old one's inode: then only the kernel's own watch tells them apart.

    Asked in the very moment, before any thread has heard that the old folder is gone.
    """
    with watched(place) as (_, watch):
        monkeypatch.setattr(type(place_folder := watch._site.drop), "identity", lambda _: watch._watched)
        for _ in range(10):
            shutil.rmtree(os.fsdecode(place_folder.root))
            (place.root / "drop").mkdir()
            assert not watch._is_well()
            watch.tend()
            assert watch._is_well()


def test_while_the_folder_is_away_nothing_is_made_in_its_place(place: Place) -> None:
    """It is not retried with an error a second, but paused once; when it is back it is heard at once."""
    drop, aside = place.root / "drop", place.root / "aside"
    with watched(place) as (journey, watch):
        with listening() as log:
            drop.rename(aside)
            for _ in range(5):
                watch.tend()
            journey.arrivals.step()
            assert not drop.exists()
            assert [line["kind"] for line in told(log, "submitting.paused")] == ["folder"]
            assert told(log, "watch.chosen") == []
        (aside / "meanwhile.wav").write_bytes(speech("meanwhile", seconds=0.1))
        aside.rename(drop)
        watch.tend()
        assert_finds(journey, "meanwhile.wav")
        assert_sees(journey, place, "after.wav")
        assert place.pauses() == []


def test_what_is_mounted_below_later_is_listened_to(place: Place) -> None:
    """A disk mounted over a watched subfolder hides what the kernel watches: the watch is set up anew."""
    needs_root()
    (place.root / "drop/disk").mkdir()
    with watched(place) as (journey, watch):
        assert_sees(journey, place, "disk/before.wav")
        with mounted(place.root / "drop/disk"):
            watch.tend()
            journey.arrivals.step()
            assert_sees(journey, place, "disk/mounted.wav")
        watch.tend()
        journey.arrivals.step()


@contextmanager
def mounted(point: Path) -> Iterator[None]:
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", point], check=True)


# What was heard until then


def test_what_a_copier_sets_after_its_close_is_not_waited_out(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Owner, mode and times, of a recording that is queued by then: it is not the file that was examined, but is
    still known to be closed.
    """
    monkeypatch.setattr("watcher.journey.arrive.look.is_being_written", lambda _: None)  # no lease is to be had
    with watched(place) as (journey, _):

        def is_queued() -> bool:
            journey.arrivals.step()
            journey.admission.step()
            return list(place.states().values()) == [State.QUEUED]

        path = place.root / "drop" / "call.wav"
        path.write_bytes(speech("call"))
        wait_until(is_queued, "it is queued")
        path.chmod(0o640)
        os.utime(path, (1, 1))
        journey.arrivals.recheck(b"call.wav")
        assert list(place.states().values()) == [State.WITHDRAWN]
        wait_until(is_queued, "it is queued again")


@pytest.mark.parametrize("is_lost", [True, False], ids=["events were lost", "all was heard"])
def test_who_has_it_open_is_forgotten_with_the_watch_and_no_rename_makes_up_for_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    """After the kernel dropped events, or a new watch was set up, the opens are not known any more: that others
    rename the file, or open and close it, does not tell that its writer has closed it. Nor does a close by one who
    opened it before: there may be others.
    """
    monkeypatch.setattr("watcher.journey.arrive.look.is_being_written", lambda _: None)  # no lease is to be had
    with watched(place) as (journey, watch):

        def code_of(name: str) -> str:
            journey.arrivals.step()
            return next((file.code for file in journey.arrivals.waiting() if file.path == name.encode()), "")

        def settles(name: str) -> bool:
            journey.arrivals.step()
            return any(settled.path == name.encode() for settled in journey.arrivals.settled)

        with (place.root / "drop" / "tmp.wav").open("xb", buffering=0) as recorder:
            recorder.write(speech("call"))
            wait_until(lambda: code_of("tmp.wav") == "open", "it is open")
            if is_lost:
                watch._hints.miss()
                watch.tend()
                watch.tend()
            renamed = (place.root / "drop" / "tmp.wav").rename(place.root / "drop" / "call.wav")
            expected = "unclosed" if is_lost else "open"
            wait_until(lambda: code_of("call.wav") == expected, "it waits under its new name")
            renamed.open("ab").close()
            place.drop("other.wav", speech("other"))
            wait_until(lambda: settles("other.wav"), "what is closed is taken")
            wait_until(lambda: code_of("call.wav") == expected, "it waits all the same")
            assert not settles("call.wav")
        place.drop("next.wav", speech("next"))
        wait_until(lambda: settles("next.wav"), "what is closed is taken")
        assert settles("call.wav") is not is_lost


@pytest.mark.parametrize("is_folder", [False, True], ids=["itself", "with its folder"])
def test_what_was_missed_before_its_move_was_heard_may_still_be_open_when_it_is_back(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    """A scan sees that it is gone a moment before the event that it left is read. It was there before we listened,
    so that it came back proves nothing; what comes from elsewhere is closed.
    """
    monkeypatch.setattr("watcher.journey.arrive.look.is_being_written", lambda _: None)  # no lease is to be had
    drop, aside = place.root / "drop", place.root / "aside"
    path = place.drop("week/call.wav")
    with path.open("ab"), watched(place) as (journey, watch):

        def seen() -> dict[bytes, str]:
            journey.arrivals.step()
            waiting = {file.path: file.code for file in journey.arrivals.waiting()}
            return waiting | {settled.path: "settled" for settled in journey.arrivals.settled}

        wait_until(lambda: seen() == {b"week/call.wav": "unclosed"}, "it waits")
        moved, back = (path.parent, drop / "came") if is_folder else (path, drop / "came.wav")
        with lock_of_reader(watch):  # no event is taken in meanwhile
            moved.rename(aside)
            journey.arrivals.recheck(b"week/call.wav")
            assert seen() == {}
        wait_until(lambda: journey.arrivals.openings.has_left, "it is heard that it left")
        aside.rename(back)
        place.drop("other.wav", speech("other"))
        came = b"came/call.wav" if is_folder else b"came.wav"
        wait_until(lambda: seen().keys() == {came, b"other.wav"}, "both are seen")
        wait_until(lambda: seen()[b"other.wav"] == "settled", "what is closed is taken")
        wait_until(lambda: seen()[came] == "unclosed", "it waits")


def test_a_look_first_hears_what_the_kernel_has_said_by_then(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its writer has opened again is open, though whoever reads the events is late."""
    monkeypatch.setattr("watcher.journey.arrive.look.is_being_written", lambda _: None)  # no lease is to be had
    with watched(place) as (journey, watch):
        path = place.drop("call.mp3", recording("mp3.bare", 10))
        wait_until(lambda: code_of_one(journey) == "settling", "it is known to be closed")
        looking, reading = threading.Thread(target=journey.arrivals.step), lock_of_reader(watch)
        reading.acquire()  # no event is taken in
        with path.open("r+b"):
            let_pass(2 * HOURLY["settle_seconds"])
            looking.start()
            let_pass(0.2)
            reading.release()
            looking.join()
            let_pass(2 * HOURLY["settle_seconds"])
            assert (code_of_one(journey), list(journey.arrivals.settled)) == ("open", [])
        wait_until(lambda: not code_of_one(journey) or bool(journey.arrivals.settled), "it is closed")


def test_a_look_hides_no_open_that_nobody_has_heard_yet(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that was hardly begun; what is closed later, through another descriptor, was not its last."""
    monkeypatch.setattr("watcher.journey.arrive.look.is_being_written", lambda _: None)  # no lease is to be had
    content = recording("mp3.bare", 10)
    with watched(place) as (journey, watch):
        looking, reading = threading.Thread(target=journey.arrivals.step), lock_of_reader(watch)
        reading.acquire()  # no event is taken in
        with (place.root / "drop" / "call.mp3").open("xb", buffering=0) as recorder:
            recorder.write(content[: len(content) // 2])
            journey.arrivals.hint(b"call.mp3", is_closed=False)
            looking.start()
            let_pass(0.3)
            reading.release()
            looking.join()
            wait_until(lambda: code_of_one(journey) == "open", "it is open")
            with (place.root / "drop" / "call.mp3").open("r+b", buffering=0) as mender:
                mender.write(content[:100])
            let_pass(2 * HOURLY["settle_seconds"])
            assert (code_of_one(journey), list(journey.arrivals.settled)) == ("open", [])
        wait_until(lambda: not code_of_one(journey) or bool(journey.arrivals.settled), "it is closed")


@pytest.mark.parametrize("is_stopped", [False, True], ids=["events were lost", "the reader was stopped"])
def test_what_is_forgotten_between_the_hints_and_the_look_is_not_closed(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_stopped: bool
) -> None:
    """Its writer has opened it again, and that was heard: with the events, who has it open is forgotten."""
    monkeypatch.setattr("watcher.journey.arrive.look.is_being_written", lambda _: None)  # no lease is to be had
    with watched(place) as (journey, watch):
        path = place.drop("call.mp3", recording("mp3.bare", 10))
        wait_until(lambda: code_of_one(journey) == "settling", "it is known to be closed")
        judge = Look.judge

        def lose_and_judge(look: Look, candidate: Candidate, *, is_attended: bool) -> None:
            if is_stopped:
                stop_reader(watch)
                watch.tend()
            else:
                watch._hints.miss()
            judge(look, candidate, is_attended=is_attended)

        with path.open("r+b"):
            let_pass(2 * HOURLY["settle_seconds"])
            monkeypatch.setattr(Look, "judge", lose_and_judge)
            journey.arrivals.step()
            assert not journey.arrivals.settled


def test_what_is_whole_is_settled_once_however_long_it_waits_to_be_examined(place: Place) -> None:
    """Our own look into it, which is heard too, leads to no other: the database may be away for hours."""
    with watched(place) as (journey, _):

        def is_told(code: str) -> bool:
            journey.arrivals.step()
            return [file.code for file in journey.arrivals.waiting()] == [code]

        with (place.root / "drop" / "call.wav").open("xb", buffering=0) as recorder:
            recorder.write(speech("call"))
            wait_until(lambda: is_told("open"), "it is open")
        settled = journey.arrivals.settled
        wait_until(lambda: journey.arrivals.step() >= 0 and bool(settled), "it is whole")
        for _ in range(10):
            let_pass(0.05)
            journey.arrivals.step()
        assert [one.path for one in settled] == [b"call.wav"]


def test_a_look_at_what_a_lease_shows_to_be_open_leads_to_no_other(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer was there before us: a reader's close is not that one's, least of all our own. The recording is
    looked at again after a while, and when somebody who wrote it closes it.
    """
    place = make_place(arrivals=HOURLY | {"settle_seconds": 600})
    path = place.root / "drop" / "call.wav"
    with path.open("xb", buffering=0) as recorder:
        recorder.write(speech("call"))
        looks: list[object] = []
        judge = Look.judge

        def count(it: Look, candidate: Candidate, *, is_attended: bool) -> None:
            looks.append(candidate)
            judge(it, candidate, is_attended=is_attended)

        monkeypatch.setattr(Look, "judge", count)
        with watched(place) as (journey, _):
            wait_until(lambda: journey.arrivals.step() >= 0 and bool(looks), "it is looked at")
            for _ in range(10):
                path.read_bytes()
                let_pass(0.05)
                journey.arrivals.step()
            assert len(looks) == 1
            recorder.close()
            wait_until(lambda: journey.arrivals.step() >= 0 and bool(journey.arrivals.settled), "it is closed")


# The machine gives none


@pytest.mark.parametrize(
    ("limit", "number"), [("max_inotify_watches", 0), ("max_inotify_instances", 0)], ids=["watches", "instances"]
)
def test_without_events_it_polls_and_tries_again(
    place: Place, quick_service: Sandbox, tmp_path: Path, limit: str, number: int
) -> None:
    """With no kernel's watch left recordings are found by looking; once there are some, events are used."""
    with confined(place, tmp_path, limit, number) as daemon:
        (chosen,) = daemon.wait_for("watch.chosen")
        assert chosen["watch"] == "polling"
        assert "limit reached" in chosen["reason"]
        place.drop("polled.wav", speech("polled"))
        daemon.wait_for("recording.done")
        let_pass(2)  # it tries again
        assert inotify_descriptors(daemon) == 0  # the tries in vain keep nothing
        allow(daemon, limit)
        # The tries come ever more seldom: the longer all this took, the longer the next one is to wait for.
        wait_until(lambda: len(daemon.events("watch.chosen")) > 1, seconds=120, told=lambda: daemon.err)
        _, chosen = daemon.events("watch.chosen")  # and it had said nothing in between
        assert chosen["watch"] == "events"
        wait_until(lambda: inotify_descriptors(daemon) == 1)
        place.drop("heard.wav", speech("heard"))
        daemon.wait_for("recording.done", 2)
        assert daemon.stop() == 0


def test_where_watches_run_out_below_the_folder_the_scan_finds_it(
    make_place: MakePlace, quick_service: Sandbox, tmp_path: Path
) -> None:
    """One watch, for the folder itself: what comes into its subfolders is found by the next full look."""
    place = make_place(arrivals={"settle_seconds": 0.2, "rescan_seconds": 1})
    for name in ("a", "b/c"):
        (place.root / "drop" / name).mkdir(parents=True)
    with confined(place, tmp_path, "max_inotify_watches", 1) as daemon:
        daemon.wait_for("watch.chosen")
        for name in ("a/one.wav", "b/c/two.wav", "d/three.wav"):
            place.drop(name)
        daemon.wait_for("recording.done", 3)
        assert quick_service.charged == 3
        assert daemon.stop() == 0


@contextmanager
def confined(place: Place, tmp_path: Path, limit: str, number: int) -> Iterator[Program]:
    """The daemon, in a user namespace in which the kernel gives so many of these and no more."""
    if subprocess.run(
        ["unshare", "--user", "--map-root-user", "true"], capture_output=True, check=False
    ).returncode:
        missing("no user namespace can be made here")
    script = tmp_path / "confined"
    script.write_text(
        "#!/bin/sh\nexec unshare --user --map-root-user sh -c "
        f'\'echo {number} > /proc/sys/user/{limit} && exec "$@"\' sh {sys.executable} "$@"\n'
    )
    script.chmod(0o755)
    programs = Programs(tmp_path / "programs")
    try:
        environment = ENVIRONMENT | {"IDENTIFAI_API_KEY": KEY, "PYTHONPATH": str(PROJECT)}
        yield programs.daemon(place, executable=str(script), environment=environment)
    finally:
        programs.close()


def allow(daemon: Program, limit: str) -> None:
    """The kernel gives enough again."""
    # As who we are: an ordinary user owns the namespace, and may not set groups in it.
    enter = ["nsenter", "--user", "--preserve-credentials", "--target", str(daemon.pid)]
    subprocess.run([*enter, "sh", "-c", f"echo 100 > /proc/sys/user/{limit}"], check=True)


def inotify_descriptors(daemon: Program) -> int:
    found = 0
    for descriptor in Path(f"/proc/{daemon.pid}/fd").iterdir():
        try:
            found += os.readlink(descriptor) == "anon_inode:inotify"
        except FileNotFoundError:
            continue
    return found


# What lies there already


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unreadable(path: Path) -> None:
    path.touch(0o000)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", [fifo, link, unreadable, listener, Path.mkdir], ids=lambda make: make.__name__)
def test_nothing_strange_under_a_name_of_ours_hangs_the_watch_or_is_touched(
    place: Place, make: Callable[[Path], None]
) -> None:
    """What a stranger put under the name of a trial neither holds the watch nor fools it: events are used."""
    strange = place.root / "drop" / ".watcher-probe"
    make(strange)
    before = strange.lstat()
    with listening() as log, watched(place) as (journey, _):
        assert [line["watch"] for line in told(log, "watch.chosen")] == ["events"]
        assert_sees(journey, place, "heard.wav")
    assert try_events(os.fsencode(place.root / "drop")) == ""
    assert strange.lstat().st_ino == before.st_ino


def test_polling_where_that_is_asked_for(make_place: MakePlace) -> None:
    """arrivals.watch = "polling": no event is asked for, and the folder is looked through each second."""
    place = make_place(arrivals={"settle_seconds": 0.2, "rescan_seconds": 3600, "watch": "polling"})
    with watched(place) as (journey, watch):
        let_pass(0.1)
        assert watch._observer is None
        assert_sees(journey, place, "polled.wav")
        assert_sees(journey, place, "sub/polled.wav")
