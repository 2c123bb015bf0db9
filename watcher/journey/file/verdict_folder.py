"""The folder of a verdict, below done/: where a recording moves on to (folders.by_verdict)."""

import posixpath

from watcher.domain import Item, State, VerdictState
from watcher.journey.answer import read_answer
from watcher.journey.site import Site
from watcher.store import Books

_FOLDERS = {"human": b"human", "artificial": b"artificial", "inconclusive": b"inconclusive"}


def find_onward(books: Books, item: Item, site: Site) -> bytes | None:
    """Return where in done/ the item is to move on to; None where it lies right, or has no verdict to go by."""
    is_there = item.outcome is State.DONE and item.filed_as is not None and item.removed is None
    if not site.config.folders.by_verdict or not is_there:
        return None
    verdict = read_answer(books, item, site.config.audio).verdict
    if verdict is None or verdict.state is not VerdictState.KNOWN:
        return None
    return onward_of(item, verdict.classification or "")


def onward_of(item: Item, classification: str) -> bytes | None:
    """Return the path below the verdict's folder; None where the item lies there. Pure.

    The subfolders of its drop path are kept below it. How many there are tells whether it was moved on before: the
    first of them may have a verdict's name itself.
    """
    filed_as, folder = item.filed_as or item.path, _FOLDERS.get(classification)
    if folder is None:
        return None
    top, _, rest = filed_as.partition(b"/")
    # A name of last resort begins with the id, and has no subfolders.
    depth = 0 if posixpath.basename(filed_as).startswith(item.id.encode()) else item.path.count(b"/")
    was_moved_on = top in _FOLDERS.values() and filed_as.count(b"/") == depth + 1
    onward = posixpath.join(folder, rest if was_moved_on else filed_as)
    return None if onward == filed_as else onward
