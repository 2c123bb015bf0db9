"""How a file that has no item yet would be sent, or why it would be refused: as admission will find it."""

import os

from watcher.domain import Mode
from watcher.errors import FolderError, RecordingError
from watcher.folders import Folder
from watcher.journey.arrive.foreign import is_left
from watcher.journey.prepare.judgement import judge
from watcher.views.context import CommandContext


def explain_outlook(context: CommandContext, folder: Folder, path: bytes, *, is_settled: bool = True) -> str:
    """Return how the file of this path would be sent, as it is now; "" where that cannot be told.

    Of one that has not settled, what it lacks is not told: it may still come.
    """
    config = context.config
    try:
        file, fingerprint = folder.open(path)
        with file:
            size = fingerprint.size
            judged = judge(config, file, size, path, name=os.path.join(folder.root, path))
    except (OSError, RecordingError, FolderError):
        return ""
    if is_left(config, path, size, judged.found):
        return "It is not a recording, by its name or its content: it would be left where it is."
    if judged.refusal is not None:
        may_change = not is_settled and judged.plan is None
        return "" if may_change else f"It would be refused: {judged.refusal.as_fault()}"
    if judged.plan is None:
        return ""
    how = "as it is, in 1 submission." if judged.plan.mode is Mode.AS_IS else judged.plan.reason
    return f"How it would be sent: {how}"
