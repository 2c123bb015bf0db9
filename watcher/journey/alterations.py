"""Whether a filed recording is still the one that was judged: somebody may have written on, or changed it."""

from watcher import logs
from watcher.domain import Alteration, Altered, Fault, Item, State, show_path
from watcher.errors import FolderError, RecordingError
from watcher.folders import Folder, hash_of, is_same_time

_log = logs.get_logger(__name__)


def find_alteration(folder: Folder, item: Item, now: float) -> Altered | None:
    """What was done to the recording since it was filed in this folder; null: nothing, or it is gone from there.

    Its size tells most, and costs a look. Where only its time is another, its bytes are read, so that what was
    merely touched is what it was. What was never read can only be told by its size.
    """
    if item.filed_as is None:
        return None
    try:
        there = folder.fingerprint(item.filed_as)
        if there.size != item.size:
            kind = Alteration.GROWN if there.size > item.size else Alteration.CHANGED
            return Altered(kind, there.size, now)
        if item.sha256 is None or is_same_time(there.mtime_ns, item.fingerprint.mtime_ns):
            return None
        file, _ = folder.open(item.filed_as)
        with file:
            return None if hash_of(file) == item.sha256 else Altered(Alteration.CHANGED, there.size, now)
    except (RecordingError, FolderError):  # collected, or out of reach: whoever compares the books says so
        return None


def explain(item: Item) -> Fault | None:
    """What was done to it since, and what to do, in words; null where nothing was."""
    altered = item.altered
    if altered is None:
        return None
    judged = "was judged" if item.state is State.DONE or item.outcome is State.DONE else "was looked at"
    if altered.kind is Alteration.GROWN:
        message = (
            f"It grew after it was filed, from {item.size:,} to {altered.size:,} bytes:"
            f" what {judged} is only what it had before"
        )
    elif altered.size != item.size:
        message = f"It was changed after it was filed: it has {altered.size:,} bytes, and had {item.size:,}"
    else:
        message = f"It was changed after it was filed: its bytes are not those that it had when it {judged}"
    if item.outcome is State.DONE:
        hint = (
            "Drop it again, as it is now, to have the whole of it judged: move it from"
            f" done/{show_path(item.filed_as or item.path)} back into the drop folder. It is submitted by itself."
        )
    else:
        hint = f"`watcher retry {item.id[:6]}` has it looked at as it is now."
    return Fault(altered.kind, message, hint)


def tell_alteration(item: Item) -> None:
    """One warning, where it is not what it was."""
    fault, altered = explain(item), item.altered
    if fault is not None and altered is not None:
        _log.warning(
            f"recording.{altered.kind}",
            item=item.id,
            path=item.path,
            filed_as=item.filed_as,
            size=altered.size,
            size_judged=item.size,
            reason=fault.message,
            hint=fault.hint,
        )
