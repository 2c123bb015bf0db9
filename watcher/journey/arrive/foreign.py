"""Files that are not recordings, neither by name nor by content: they are left where they are, without a row.

Reading a file is expensive, so the result is remembered by fingerprint: an unchanged file is read once, under
however many names.
"""

from collections import OrderedDict
from typing import BinaryIO

from watcher.audio import Examination, Raw, examine
from watcher.config import AudioConfig, Config
from watcher.domain import Fingerprint
from watcher.errors import RecordingRefused
from watcher.extensions import is_recording_name

FOREIGN = "foreign"
"""The code of a file that is left because it is not a recording."""

_TELLING_BYTES = 12  # with fewer, the format cannot be told

_REMEMBERED = 1_000  # each takes 700 bytes [measured]

SURE_SECONDS = 2.5
"""A bit more than the coarsest timestamps of file systems: what was read so long after a change is unchanged as
long as its fingerprint is."""


def may_be_left(config: Config, path: bytes) -> bool:
    """Return whether a file of this name is left where it is unless its content is a recording's."""
    is_named = is_recording_name(path) or config.audio.raw_for(path) is not None
    return config.arrivals.foreign == "leave" and not is_named


def is_left(config: Config, path: bytes, size: int, found: Examination | RecordingRefused | None) -> bool:
    """Return whether a file is left where it is, after a look at its content. `found`: None if it has none."""
    if not may_be_left(config, path):
        return False
    return size < _TELLING_BYTES or (isinstance(found, RecordingRefused) and found.is_foreign)


def look_into(
    file: BinaryIO, size: int, path: bytes, *, thorough: bool = False, raw: Raw | None = None
) -> Examination | RecordingRefused | None:
    """Return what the open file contains, or why it is refused; None for an empty one. See examine."""
    try:
        return examine(file, size, name=path, thorough=thorough, raw=raw) if size else None
    except RecordingRefused as error:
        return error.with_traceback(None)  # it would keep the frames alive, and the file with them


def find_raw(audio: AudioConfig, path: bytes) -> Raw | None:
    """Return what a file of this name is said to be, if it has no header."""
    named = audio.raw_for(path)
    return None if named is None else Raw(named.codec, named.rate, named.channels)


class Looks:
    """What was found in the files that were looked into last."""

    def __init__(self) -> None:
        self._found: OrderedDict[
            tuple[Fingerprint, Raw | None], tuple[Examination | RecordingRefused | None, bytes, bool]
        ] = OrderedDict()

    def look(
        self, file: BinaryIO, fingerprint: Fingerprint, path: bytes, quiet_seconds: float, raw: Raw | None = None
    ) -> Examination | RecordingRefused | None:
        """Return what is in the open file, read now or remembered. `quiet_seconds`: how long it has not changed.

        What was read soon after a change may be older than a second change with the same timestamp: it counts for
        another name of the file, but never for the same name, and not for long.
        """
        is_sure = quiet_seconds >= SURE_SECONDS
        key = fingerprint, raw
        known = self._found.get(key)
        if known is not None:
            found, of, was_sure = known
            if was_sure or (not is_sure and of != path):
                self._found.move_to_end(key)
                return found
        result = look_into(file, fingerprint.size, path, raw=raw)
        self._found[key] = result, path, is_sure
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return result
