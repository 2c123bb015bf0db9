"""What is no recording, neither by its name nor by its content: it is left where it lies, and never has a row.

A look is dear, and so remembered by fingerprint: what stays the same, under however many names, is read once.
"""

from collections import OrderedDict
from typing import BinaryIO

from watcher.audio import Examination, examine
from watcher.config import Arrivals as Settings
from watcher.domain import Fingerprint
from watcher.errors import RecordingRefused
from watcher.extensions import is_recording_name

FOREIGN = "foreign"
"""The code of what is left because it is no recording."""

_TELLING_BYTES = 12  # fewer than these only begin to look like something

_REMEMBERED = 10_000
_SURE_SECONDS = 2.5  # the coarsest times that file systems keep, and some more


def may_be_left(settings: Settings, path: bytes) -> bool:
    """Whether a file of this name is left where it is, unless its content is a recording's."""
    return settings.foreign == "leave" and not is_recording_name(path)


def is_left(settings: Settings, path: bytes, size: int, found: Examination | RecordingRefused | None) -> bool:
    """Whether a file is left where it is, after a look at its content; null where there was none to look at."""
    if not may_be_left(settings, path):
        return False
    return size < _TELLING_BYTES or (isinstance(found, RecordingRefused) and found.is_foreign)


def look_into(
    file: BinaryIO, size: int, path: bytes, *, thorough: bool = False
) -> Examination | RecordingRefused | None:
    """What the open file holds, or why it is not taken; null for an empty one. See examine."""
    try:
        return examine(file, size, name=path, thorough=thorough) if size else None
    except RecordingRefused as error:
        return error.with_traceback(None)  # which would hold on to the frames, and the file with them


class Looks:
    """What was found in files that may be looked into again, those that were asked for last."""

    def __init__(self) -> None:
        self._found: OrderedDict[Fingerprint, tuple[Examination | RecordingRefused | None, bytes, bool]] = (
            OrderedDict()
        )

    def look(
        self, file: BinaryIO, fingerprint: Fingerprint, path: bytes, quiet_seconds: float
    ) -> Examination | RecordingRefused | None:
        """What is in the open file, read now or remembered. `quiet_seconds`: since when it is what it is.

        What was read within a moment of a change may be older than a second change, at the same time by the file
        system's clock: it is believed of another name of the file, never of the same, and not for long.
        """
        is_sure = quiet_seconds >= _SURE_SECONDS
        known = self._found.get(fingerprint)
        if known is not None:
            found, of, was_sure = known
            if was_sure or (not is_sure and of != path):
                self._found.move_to_end(fingerprint)
                return found
        result = look_into(file, fingerprint.size, path)
        self._found[fingerprint] = result, path, is_sure
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return result
