"""The disk or share of a recording fails while its parts are made: not the spool's fault, nor the file's."""

import os
import stat
from typing import Any, BinaryIO

import pytest

from tests.audio_files import recording
from tests.conftest import MakePlace
from tests.odd_disk import OddDisk, odd_disk
from tests.places import Place
from tests.queues import settle
from watcher.domain import Mode, State
from watcher.journey.prepare.made import Order, Outcome
from watcher.journey.prepare.makers import Maker

__all__ = ["odd_disk"]  # a fixture

LIMIT = 200_000
CALLS = {
    "cut.wav": (recording("wav.mulaw", 60.0), Mode.CUT),
    "adpcm.wav": (recording("wav.ima", 120.0), Mode.CUT),
    "flac.wav": (recording("wav.stereo", 12.0), Mode.FLAC),
    "copy.mp3": (recording("mp3", 120.0), Mode.COPY),
    "remux.webm": (recording("webm", 8.0), Mode.REMUX),
}


class Failing:
    """From the moment when parts are made on, the disk gives no more than the first bytes."""

    def __init__(self, maker: Maker, disk: OddDisk) -> None:
        self._maker = maker
        self._disk = disk
        self.modes: list[Mode] = []

    def make(self, file: BinaryIO, mode: Mode, order: Order, folder: int) -> Outcome:
        self.modes.append(mode)
        self._disk.rule(reads_to=32_768)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return self._maker.make(file, mode, order, folder)


@pytest.fixture
def place(make_place: MakePlace, odd_disk: OddDisk) -> Place:
    """Its drop folder is on a disk that can have faults."""
    place = make_place(limits={"max_upload_bytes": LIMIT, "writes": []})
    odd_disk.mount(place.root / "drop")
    return place


@pytest.mark.parametrize("name", CALLS)
def test_a_disk_that_fails_while_parts_are_made_is_named_and_waited_for(
    place: Place, odd_disk: OddDisk, name: str
) -> None:
    """Whoever reads: the cutter here, or FFmpeg, which takes it for a broken recording. It waits, is not failed,
    and goes on by itself; the spool is not blamed, and other recordings do not wait.
    """
    content, mode = CALLS[name]
    with place.opened() as journey:
        place.drop(name, content)
        for _ in range(3):
            settle(journey)
            place.clock.wait(61, journey.stopping)
        assert place.states() == {name: State.PREPARING}
        real = journey.preparation._maker
        failing: Any = Failing(real, odd_disk)
        journey.preparation._maker = failing
        while journey.preparation.step() <= 0:
            pass
        assert failing.modes[0] is mode
        assert place.states() == {name: State.PREPARING}
        with place.books() as books:
            [obstacle] = books.obstacles.listed(10)
        assert obstacle.fault.code == "unreachable_file"
        assert "cannot be read to its end (Input/output error)" in obstacle.fault.message
        assert "spool" not in str(obstacle.fault)
        assert stat.S_ISDIR((place.root / "spool").stat().st_mode)
        assert list((place.root / "spool").iterdir()) == []

        odd_disk.rule()
        journey.preparation._maker = real
        place.clock.wait(700, journey.stopping)
        while journey.preparation.step() <= 0:
            pass
        assert place.states() == {name: State.QUEUED}
