"""What submitting a folder would cost. Nothing is sent."""

from dataclasses import dataclass, field, replace

from watcher.domain import Mode
from watcher.errors import FolderError, RecordingError
from watcher.folders import Folder, hash_of
from watcher.ignore import Ignore
from watcher.journey.arrive.foreign import is_left
from watcher.journey.prepare.judgement import judge
from watcher.journey.prepare.plan import Plan, sum_up
from watcher.journey.submit.windows import describe, find_windows, seconds_for
from watcher.text import JsonObject
from watcher.views.context import CommandContext


@dataclass
class Estimate:
    """What a folder contains, and what submitting it would cost."""

    recordings: int = 0
    seconds_of_audio: float = 0.0
    of_unknown_length: int = 0
    bytes: int = 0
    submissions: int = 0  # at most
    fewest_submissions: int = 0  # how far some recordings shrink, only their samples tell
    modes: dict[str, int] = field(default_factory=dict)  # recordings by how they are made acceptable
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
    found, plans = _look_through(context, Folder(root, "named"))
    with context.store.reading() as books:
        new = [plan for key, plan in plans.items() if books.copies.original_of(key) is None]
        windows = find_windows(books, context.config.limits.writes, context.clock.now())
    fewest, most = sum_up(new)
    return replace(
        found,
        submissions=most,
        fewest_submissions=fewest,
        known=found.recordings - len(new),
        seconds_to_submit=seconds_for(most, windows),
        rate=describe(windows),
    )


def _look_through(context: CommandContext, folder: Folder) -> tuple[Estimate, dict[str, Plan]]:
    """What the folder contains, and how each is made acceptable, by its content key."""
    found = Estimate()
    plans: dict[str, Plan] = {}
    for entry in folder.walk(Ignore(context.config.arrivals.ignore).matching):
        if entry.kind != "file":
            continue
        try:
            _add(context, folder, entry.path, found, plans)
        except (RecordingError, FolderError):
            found.unreadable += 1
    return found, plans


def _add(context: CommandContext, folder: Folder, path: bytes, found: Estimate, plans: dict[str, Plan]) -> None:
    file, fingerprint = folder.open(path)
    with file:
        size = fingerprint.size
        judged = judge(context.config, file, size, path) if size else None
        if is_left(context.config, path, size, judged.found if judged else None):
            found.foreign += 1
            return
        if judged is None or judged.refusal is not None or judged.examination is None or judged.plan is None:
            found.refused += 1
            return
        file.seek(0)
        plans[context.content_key(hash_of(file))] = judged.plan
    found.recordings += 1
    found.bytes += size
    found.seconds_of_audio += judged.examination.seconds or 0.0
    found.of_unknown_length += judged.examination.seconds is None
    if judged.plan.mode is not Mode.AS_IS:
        found.modes[judged.plan.mode] = found.modes.get(judged.plan.mode, 0) + 1
