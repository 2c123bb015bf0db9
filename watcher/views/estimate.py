"""What submitting a folder would cost. Nothing is sent."""

from dataclasses import dataclass, replace

from watcher.audio import Completeness, Examination
from watcher.config import Window
from watcher.errors import FolderError, RecordingError
from watcher.folders import Folder, hash_of
from watcher.ignore import Ignore
from watcher.journey.arrive.foreign import is_left, look_into
from watcher.journey.submit.windows import describe, find_windows
from watcher.text import JsonObject
from watcher.views.context import CommandContext


@dataclass
class Estimate:
    """What a folder contains, and what submitting it would cost."""

    recordings: int = 0
    seconds_of_audio: float = 0.0
    of_unknown_length: int = 0
    bytes: int = 0
    submissions: int = 0
    known: int = 0  # recordings whose bytes were submitted before, or are in the folder twice
    refused: int = 0
    unreadable: int = 0
    foreign: int = 0  # not recordings: they would be left where they are
    seconds_to_submit: float = 0.0
    rate: str = ""  # the rate limits, in words

    def as_json(self) -> JsonObject:
        return {name: value for name, value in vars(self).items() if name != "rate"}


def estimate_folder(context: CommandContext, root: bytes) -> Estimate:
    """What this folder contains, wherever it is, and what submitting it would cost."""
    found, keys = _look_through(context, Folder(root, "named"))
    with context.store.reading() as books:
        new = sum(books.copies.original_of(key) is None for key in keys)
        windows = find_windows(books, context.config.limits.writes, context.clock.now())
    return replace(
        found,
        submissions=new,
        known=found.recordings - new,
        seconds_to_submit=seconds_for(new, windows),
        rate=describe(windows),
    )


def _look_through(context: CommandContext, folder: Folder) -> tuple[Estimate, set[str]]:
    """What the folder contains, and the content keys of its recordings."""
    found = Estimate()
    keys: set[str] = set()
    for entry in folder.walk(Ignore(context.config.arrivals.ignore).matching):
        if entry.kind != "file":
            continue
        try:
            _add(context, folder, entry.path, found, keys)
        except (RecordingError, FolderError):
            found.unreadable += 1
    return found, keys


def seconds_for(submissions: int, windows: tuple[Window, ...]) -> float:
    """The least time that this many submissions take under the rate limits."""
    return max((window.seconds * submissions / window.limit for window in windows), default=0.0)


def _lacks(content: Examination) -> bool:
    return content.completeness is Completeness.SHORT or content.damage is not None or not content.has_sound


def _add(context: CommandContext, folder: Folder, path: bytes, found: Estimate, keys: set[str]) -> None:
    file, fingerprint = folder.open(path)
    with file:
        size, limit = fingerprint.size, context.config.limits.max_upload_bytes
        content = look_into(file, size, path, thorough=size <= limit)
        if is_left(context.config.arrivals, path, size, content):
            found.foreign += 1
            return
        if not isinstance(content, Examination) or size > limit or _lacks(content):
            found.refused += 1
            return
        file.seek(0)
        keys.add(context.content_key(hash_of(file)))
    found.recordings += 1
    found.bytes += size
    found.seconds_of_audio += content.seconds or 0.0
    found.of_unknown_length += content.seconds is None
