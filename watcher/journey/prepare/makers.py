"""Who makes the parts of a recording, by the way in which it is made acceptable."""

from collections.abc import Mapping
from typing import BinaryIO, Protocol

from watcher.domain import Mode
from watcher.errors import RecordingRefused
from watcher.journey.prepare.made import Order, Outcome


class Maker(Protocol):
    """Makes the parts of a recording in one way."""

    def make(self, file: BinaryIO, mode: Mode, order: Order, folder: int) -> Outcome:
        """Put the parts into the open folder, each whole.

        Raises RecordingRefused where there is no way to make them; CodecDied; RecordingUnreachable where it
        cannot be read; OSError, of the folder.
        """


class Makers:
    """All of them, as one."""

    def __init__(self, by_mode: Mapping[Mode, Maker]) -> None:
        self._by_mode = by_mode

    def make(self, file: BinaryIO, mode: Mode, order: Order, folder: int) -> Outcome:
        maker = self._by_mode.get(mode)
        if maker is None:
            raise RecordingRefused(
                "not_prepared",
                f"Nothing here can make it acceptable ({mode}).",
                hint="Install watcher with its extra `audio`, and retry it.",
            )
        return maker.make(file, mode, order, folder)
